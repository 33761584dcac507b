"""Segments: panoptic segmentation of drawn scenes, by a detector with a segmenter or by queries.

experiment = Experiment(
    __file__, __doc__, mask_queries.learner, task=QuerySegments(modules={...}), optimizer=AveragedAdamW()
)
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from flax import linen as nn

from dlcore.data.facts import Facts
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.images import labeled_images
from dlcore.kits.training import adapters, backbone
from dlcore.learner import Evaluator, Range
from dlcore.tasks import box_results, boxes, segment_results
from dlcore.weights.start import MODULES, Start, start_modules

__all__ = ["QuerySegments", "Segments"]


@dataclasses.dataclass(frozen=True)
class Segments(Task):
    """Scenes with the masks of things, and the stuff behind them.

    Args:
      modules: {prefix: detector}, then {field of the detector: head}; the simple fields are the flags `--PREFIX.FIELD`
      dataset: scenes (drawn), or coco: a folder in COCO's format
      data_dir: coco: instances_train.json, ..._val, ..._test, images.zip or images/
      image_size: height and width that images are stretched to
      max_boxes: boxes of an image at most; more are an error
      num_scenes: scenes: for training; a tenth as many again to validate, a sixth to test
      valid_fraction: coco: fraction of train held out for validation if there is no validation split
      flip: mirroring of training images
      zoom: factors between which training images are scaled, 1,1: none; by default 0.75,1.35 for coco, none for scenes
    """

    modules: dict[str, Callable[..., nn.Module]]
    dataset: Annotated[Literal["scenes", "coco"], "essential"] = "scenes"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[tuple[int, int], "essential"] = (96, 96)
    max_boxes: Annotated[int, Range(1)] = 32
    num_scenes: Annotated[int, Range(10)] = 4000
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    flip: Literal["none", "horizontal", "both"] = "both"
    zoom: Annotated[tuple[float, float] | None, Range(0.01), labeled_images.check_zoom] = None

    defaults: ClassVar[dict[str, Any]] = {
        "model.stages": (1, 1, 1, 1),
        "model.stem_stride": 2,
        "model.width": 16,
        "epochs": 8.0,
        "batch_size": 32,
        "eval_every": 500,
        "eval_batch_size": 64,
        "learning_rate": 4e-3,
        "ema": 0.99,
        "select": "last",
    }
    model = "resnet8_cifar"
    plain = boxes.PLAIN
    packages = ("pycocotools",)
    shared_settings = {**MODULES, **adapters.DENSE_SETTINGS}
    monitor = headline = "pq"
    inputs = staticmethod(box_results.inputs)
    describe = staticmethod(segment_results.describe)
    write = staticmethod(segment_results.write)
    panels = staticmethod(segment_results.panels)
    pictures = staticmethod(segment_results.pictures)

    def images(self, flags: Flags) -> boxes.BoxImages:
        """Read the record of the images from the flags.

        Args:
          flags: resolved settings.

        Returns:
          Images with masks and semantic maps.
        """
        names = ("dataset", "data_dir", "image_size", "max_boxes", "num_scenes", "valid_fraction", "flip", "zoom")
        values = {name: flags[name] for name in names}
        return boxes.BoxImages(**values, resizing=None, mixing=None, masks=True, stuff=True)

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name, with masks and semantic maps; see `dlcore.tasks.boxes.BoxImages.load`."""
        return self.images(flags).load(flags.seed)

    def start(self, setup: Setup) -> Start | None:
        """Start from the weights of `--init_from`."""
        return start_modules(setup, adapters.dense_adapter(setup.flags))

    def check(self, flags: Flags) -> None:
        """Check that the backbone has the maps that the network reads, and that the adapter of `--adapt` fits it."""
        backbone.check_stages(self.modules, flags)
        adapters.check_dense(flags)

    def detector(self, setup: Setup) -> nn.Module:
        """Build the detector on the backbone of `--model`, with its head for masks."""
        prefix, network = next(iter(self.modules.items()))
        size, fields = setup.spec["num_classes"], setup.flags.group("mask_head")
        return backbone.build_on(
            setup, network, prefix, mask_head=self.modules["mask_head"](size, dtype=setup.dtype, **fields)
        )

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the detector, the preprocessing and the augmentation."""
        return {
            "model": self.detector(setup),
            "preprocess": labeled_images.preprocess(setup),
            "augment": self.images(setup.flags).augment(Facts.of(setup.spec)),
        }

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Measure panoptic quality, and COCO's mAP of the boxes and masks."""
        from dlcore.segmentation.panoptic import panoptic_evaluator

        evaluator = panoptic_evaluator(segment_results.class_names(setup.spec), len(setup.spec["stuff_names"]))
        return [evaluator, *boxes.mask_evaluators(setup.spec["class_names"], splits, split)]


@dataclasses.dataclass(frozen=True)
class QuerySegments(Segments):
    """Segments, each of a query, by one of three networks.

    Args:
      network: Mask2Former or MaskFormer on the backbone of --model, or EoMT, a plain ViT of its own
    """

    network: Annotated[Literal["mask2former", "maskformer", "eomt"], "essential"] = "mask2former"

    external_fields: ClassVar[tuple[str, ...]] = ("eomt.image_size",)

    def check(self, flags: Flags) -> None:
        """Check that the network fits the backbone, or the image its patches."""
        name = flags.network
        if name != "eomt":
            backbone.check_stages({name: self.modules[name]}, flags)
            adapters.check_dense(flags)
            return
        if adapters.adapts_dense(flags):
            raise FlagError(f"adapt={flags.adapt}: --network=eomt has no backbone; allowed: full, or another network")
        patch = flags["eomt.patch_size"]
        if flags.image_size[0] % patch or flags.image_size[1] % patch:
            raise FlagError(
                f"image_size={flags.image_size}: patches do not cover it; allowed: multiples of eomt.patch_size={patch}"
            )

    def detector(self, setup: Setup) -> nn.Module:
        """Build the network for the classes of stuff and things."""
        name, spec = setup.flags.network, setup.spec
        num_classes = len(segment_results.class_names(spec))
        queries, segments = setup.flags.group(name)["num_queries"], spec["max_boxes"] + len(spec["stuff_names"])
        if queries < segments:
            raise FlagError(f"{name}.num_queries={queries}: too few; allowed: at least {segments} segments of an image")
        if name != "eomt":
            return backbone.build_on(setup, self.modules[name], name, num_classes=num_classes)
        fields: dict[str, Any] = {**setup.flags.group(name), "image_size": spec["image_shape"][0]}
        return self.modules[name](num_classes=num_classes, dtype=setup.dtype, **fields)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network, the preprocessing and the augmentation, and count the classes of stuff."""
        return {**super().arguments(setup), "num_stuff": len(setup.spec["stuff_names"])}

"""Boxes: object detection, of drawn scenes or of a folder in COCO's format, with masks and keypoints.

experiment = Experiment(
    __file__, __doc__, fcos.learner, task=Boxes(modules={"fcos": fcos.FCOS}), optimizer=AveragedAdamW()
)
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from flax import linen as nn

from dlcore.data.facts import Facts
from dlcore.data.normalization import normalizer
from dlcore.data.resizing import check_resize, shortest_edge
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.images import labeled_images
from dlcore.kits.training import adapters, backbone
from dlcore.learner import Evaluator, Range, check_record
from dlcore.tasks import anchor_recall, box_results
from dlcore.weights.start import MODULES, Start, start_modules

__all__ = [
    "DENSE_SMOKE",
    "SMALL",
    "SMOKE",
    "AnchorBoxes",
    "BoxImages",
    "BoxMAP",
    "Boxes",
    "DetectObjects",
    "QueryBoxes",
    "StretchedBoxes",
    "augmentation",
    "data",
]

SMALL = {"stages": ("stage3", "stage4"), "channels": 48, "extra_blocks": "none", "num_convs": 2, "num_groups": 8}
"""Fields of a detector on the small backbone: strides 8 and 16."""
SMOKE = {"steps": 4, "batch_size": 8, "num_scenes": 16, "eval_every": 4, "model.width": 8}
"""Settings of --smoke."""
DENSE_SMOKE = {**SMOKE, "topk_candidates": 20, "detections_per_img": 10}
"""Settings of --smoke of a detector that takes the best candidates of each level."""

_NUM_MEAN_SHAPES = 500
"""Number of training images whose mean masks and keypoints are the baseline."""


@dataclasses.dataclass(frozen=True)
class StretchedBoxes(Task):
    """Images and the boxes of their objects: drawn scenes, or a folder in COCO's format, stretched to one size.

    A detector with the module `mask_head` learns masks, too, and one with `keypoint_head` learns keypoints.

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
    stuff: ClassVar[bool] = False
    """Whether to load semantic maps, which only scenes have."""
    model = "resnet8_cifar"
    plain = {"flip": "none", "zoom": (1.0, 1.0), "weight_decay": 0.0, "ema": None}
    packages = ("pycocotools",)
    shared_settings = {**MODULES, **adapters.DENSE_SETTINGS}
    inputs = staticmethod(box_results.inputs)
    describe = staticmethod(box_results.describe)
    write = staticmethod(box_results.write)
    panels = staticmethod(box_results.panels)
    pictures = staticmethod(box_results.pictures)

    def start(self, setup: Setup) -> Start | None:
        """Start from the weights of `--init_from`."""
        return start_modules(setup, adapters.dense_adapter(setup.flags))

    @property
    def monitor(self) -> str:
        """The keypoints' PCK, the masks' mAP, or the boxes' mAP."""
        return "pck" if "keypoint_head" in self.modules else "mask_map" if "mask_head" in self.modules else "map"

    headline = monitor

    def check(self, flags: Flags) -> None:
        """Check that the backbone has the maps that the network reads, and that the adapter of `--adapt` fits it."""
        backbone.check_stages(self.modules, flags)
        adapters.check_dense(flags)

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name, with what the heads of the detector learn; see `data`."""
        return data(flags, "mask_head" in self.modules, "keypoint_head" in self.modules, self.stuff)

    def detector(self, setup: Setup) -> nn.Module:
        """Build the detector on the backbone of `--model`, with its heads."""
        prefix, network = next(iter(self.modules.items()))
        sizes = {"mask_head": setup.spec["num_classes"], "keypoint_head": len(setup.spec.get("keypoint_names", ()))}
        heads = {
            name: self.modules[name](size, dtype=setup.dtype, **setup.flags.group(name))
            for name, size in sizes.items()
            if name in self.modules
        }
        return backbone.build_on(setup, network, prefix, **heads)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the detector, the preprocessing and the augmentation."""
        return {
            "model": self.detector(setup),
            "preprocess": labeled_images.preprocess(setup),
            "augment": augmentation(setup.flags, setup.spec.get("keypoint_names", ())),
        }

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of COCO's mAP of boxes, masks and keypoints, and of PCK.

        On the test split they also measure a baseline that ignores the pixels in a box: mean_mask_map and
        mean_keypoint_pck take the detected boxes with their class's mean training mask and mean training keypoints.
        """
        from dlcore.evaluators.coco import coco_evaluator
        from dlcore.evaluators.keypoints import pck_evaluator
        from dlcore.evaluators.mean_shape import evaluate_class_means, mean_keypoints, mean_masks

        spec = setup.spec
        classes, names = spec["class_names"], spec.get("keypoint_names", ())
        measures = [coco_evaluator(classes, masks=spec.get("masks", False), keypoints=bool(names))]
        measures += [pck_evaluator(names)] if names else []
        if split == "test":
            arrays = splits.train.take(_NUM_MEAN_SHAPES).arrays
            if spec.get("masks"):
                masks = mean_masks(arrays, len(classes))
                measures.append(
                    evaluate_class_means(
                        coco_evaluator(classes, masks=True), {"mask_map": "mean_mask_map"}, masks=masks
                    )
                )
            if names:
                points = mean_keypoints(arrays, len(classes))
                measures.append(
                    evaluate_class_means(pck_evaluator(names), {"pck": "mean_keypoint_pck"}, keypoints=points)
                )
        return measures


@dataclasses.dataclass(frozen=True)
class Boxes(StretchedBoxes):
    """Boxes in images that are stretched to one size, or resized to a shortest edge and padded.

    Args:
      resize: coco: stretch to --image_size, or shortest_edge:S,L: the shorter side to S pixels, the longer to L at most
      canvas: height and width that images of --resize=shortest_edge are padded to; by default L, up to a multiple of 32
      mosaic: probability that a training image becomes a mosaic of four
      copy_paste: with masks: probability that objects of another training image are laid over an image
    """

    resize: Annotated[str, "if changed", check_resize] = "stretch"
    canvas: Annotated[tuple[int, int] | None, Range(1), "if changed"] = None
    mosaic: Annotated[float, Range(0, 1), "if changed", "regularizes"] = 0.0
    copy_paste: Annotated[float, Range(0, 1), "if changed", "regularizes"] = 0.0

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task; keypoints cannot be mixed, and only masks can be copied."""
        left_out = set() if "mask_head" in self.modules else {"copy_paste"}
        left_out |= {"mosaic", "copy_paste"} if "keypoint_head" in self.modules else set()
        return {name: setting for name, setting in super().settings().items() if name not in left_out}

    def check(self, flags: Flags) -> None:
        """Check as `StretchedBoxes`, and that images that are mixed have one size."""
        super().check(flags)
        for name in ("mosaic", "copy_paste"):
            if flags.get(name) and flags.resize != "stretch":
                raise FlagError(f"--{name}={flags[name]}: beside --resize={flags.resize}; allowed: --resize=stretch")


@dataclasses.dataclass(frozen=True)
class BoxImages:
    """Images and the boxes of their objects: drawn scenes, or a folder in COCO's format.

    Args:
      dataset: scenes (drawn), or coco: a folder in COCO's format
      data_dir: coco: instances_train.json, ..._val, ..._test, images.zip or images/
      image_size: height and width that images are stretched to
      max_boxes: boxes of an image at most; more are an error
      num_scenes: scenes: for training; a tenth as many again to validate, a sixth to test
      valid_fraction: coco: fraction of train held out for validation if there is no validation split
      flip: mirroring of training images
      zoom: factors between which training images are scaled, 1,1: none; by default 0.75,1.35 for coco, none for scenes
      resize: coco: stretch to --image_size, or shortest_edge:S,L: the shorter side to S pixels, the longer to L at most
      canvas: height and width that images of --resize=shortest_edge are padded to; by default L, up to a multiple of 32
      mosaic: probability that a training image becomes a mosaic of four
    """

    dataset: Annotated[Literal["scenes", "coco"], "essential"] = "scenes"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[tuple[int, int], "essential"] = (96, 96)
    max_boxes: Annotated[int, Range(1)] = 32
    num_scenes: Annotated[int, Range(10)] = 4000
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    flip: Literal["none", "horizontal", "both"] = "both"
    zoom: Annotated[tuple[float, float] | None, Range(0.01), labeled_images.check_zoom] = None
    resize: Annotated[str, "if changed", check_resize] = "stretch"
    canvas: Annotated[tuple[int, int] | None, Range(1), "if changed"] = None
    mosaic: Annotated[float, Range(0, 1), "if changed", "regularizes"] = 0.0

    packages: ClassVar[tuple[str, ...]] = ("pycocotools",)

    def __post_init__(self):
        check_record(self)

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset == "coco"

    def load(self, seed: int = 0) -> Splits:
        """Load the splits, see `data`.

        Args:
          seed: seed of the held-out validation images.
        """
        return data(self, seed=seed)

    def check(self, run: Run) -> None:
        """Check that images that are mixed have one size."""
        if self.mosaic and self.resize != "stretch":
            raise FlagError(f"--mosaic={self.mosaic}: beside --resize={self.resize}; allowed: --resize=stretch")

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique its `preprocess` and `augment`."""
        preprocess = normalizer(run.facts.mean, run.facts.std, dtype=run.dtype)
        return {"preprocess": preprocess, "augment": augmentation(self)}


@dataclasses.dataclass(frozen=True)
class BoxMAP:
    """COCO's mAP of boxes.

    Args:
      anchors: whether the best possible recall of the detector's anchors is printed before training
    """

    anchors: Annotated[bool, "no flag"] = False

    metric: ClassVar[str] = "map"
    mode: ClassVar[str] = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluator of the mAP."""
        from dlcore.evaluators.coco import coco_evaluator

        return [coco_evaluator(list(run.facts.class_names), masks=False, keypoints=False)]

    def messages(self, run: Run, splits: Splits) -> list[str]:
        """Describe the best possible recall of the detector's anchors."""
        if not self.anchors:
            return []
        model = run.parts.network.arguments(run)["model"]
        return [anchor_recall.recall_note("anchors", anchor_recall.anchors_of(model, run.facts.image_shape), splits)]

    def pictures(self, context: Any) -> dict[str, Any]:
        """Draw detections for TensorBoard."""
        return box_results.pictures(context)


class DetectObjects:
    """Use of a detector: `--mode=predict --input=FILE_OR_FOLDER` draws boxes and writes them in COCO's format."""

    def inputs(self, path: str, run: Run) -> tuple[Any, list[str]]:
        """Read the images under a path."""
        return box_results.inputs(run.setup.flags, run.setup.spec)

    def describe(self, outputs: Any, facts: Facts) -> list[dict]:
        """Describe the detections of each image."""
        return box_results.describe(outputs, facts.spec())

    def write(self, folder: Path, outputs: Any, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write pictures of the detections, and all of them as JSON."""
        return box_results.write(folder, outputs, source, names, facts.spec())


@dataclasses.dataclass(frozen=True)
class QueryBoxes(Boxes):
    """Boxes, each of a query: a detector with fewer queries than an image may have objects is refused."""

    def detector(self, setup: Setup) -> nn.Module:
        """Build the detector, see `Boxes`."""
        name = next(iter(self.modules))
        queries, max_boxes = setup.flags.group(name)["num_queries"], setup.spec["max_boxes"]
        if setup.flags.mosaic:
            max_boxes = 4 * max_boxes
        if queries < max_boxes:
            raise ValueError(f"{name}.num_queries={queries}: too few; allowed: at least {max_boxes} boxes of an image")
        return super().detector(setup)


@dataclasses.dataclass(frozen=True)
class AnchorBoxes(Boxes):
    """Boxes for a detector with anchors, whose best possible recall is printed before training."""

    def notes(self, setup: Setup, splits: Splits) -> list[str]:
        """Describe the best possible recall of the detector's anchors."""
        boxes = anchor_recall.anchors_of(self.detector(setup), setup.spec["image_shape"])
        return [anchor_recall.recall_note("anchors", boxes, splits)]


def data(
    flags: Any, masks: bool = False, keypoints: bool = False, stuff: bool = False, seed: int | None = None
) -> Splits:
    """Load the splits by name, with the statistics of the training split.

    Args:
      flags: `BoxImages`, or flags of the same names.
      masks: also load masks.
      keypoints: also load keypoints.
      stuff: also load semantic maps, which only scenes have.
      seed: seed of the held-out validation images; None takes that of the flags.

    Raises:
      ValueError: see `dlcore.data.scenes.scenes` and `dlcore.data.coco.coco_splits`; before data are read, the canvas
        is too small, or scenes would be resized.
      FileNotFoundError: see `dlcore.data.coco.coco_splits`.
    """
    from dlcore.data.augment import channel_statistics

    loaded = {"masks": masks, "keypoints": keypoints, "stuff": stuff}
    seed = flags.seed if seed is None and flags.dataset == "coco" else seed
    edge = shortest_edge(getattr(flags, "resize", "stretch"), getattr(flags, "canvas", None))
    if edge is not None and flags.dataset == "scenes":
        raise ValueError(f"resize={flags.resize}: scenes are drawn in --image_size; allowed: stretch, or dataset=coco")
    if flags.dataset == "scenes":
        train, valid, test, messages = _scenes(flags, **loaded)
    else:
        train, valid, test, messages = _coco(flags, seed, **loaded)
    mean, std = channel_statistics(train)
    spec = {
        "dataset": train.name.removesuffix(" (train)") if flags.dataset == "scenes" else Path(flags.data_dir).name,
        "class_names": list(train.class_names),
        "num_classes": len(train.class_names),
        "image_shape": list(train.arrays["image"].shape[1:]),
        "max_boxes": train.arrays["boxes"].shape[1],
        "mean": [float(m) for m in mean],
        "std": [float(s) for s in std],
    }
    if edge is not None:
        spec["resize"] = list(edge[:2])
    if masks:
        spec["masks"] = True
    if keypoints:
        spec["keypoint_names"] = list(train.keypoint_names)
        messages = (*messages, *_mirror_messages(flags, train.keypoint_names))
    if stuff:
        from dlcore.data.scenes import STUFF

        spec["stuff_names"] = list(STUFF)
    return Splits(train, valid, test, spec, messages)


def _scenes(flags: Any, **loaded: bool):
    from dlcore.data.scenes import check_scene_size, scenes

    side = check_scene_size(flags.image_size)
    counts = (flags.num_scenes, max(8, flags.num_scenes // 10), max(8, flags.num_scenes // 6))
    options = {"size": side, "max_boxes": min(6, flags.max_boxes), "largest": side // 2, **loaded}
    # Fixed seeds: every run is tested on the same scenes.
    return *(scenes(n, seed, **options) for seed, n in enumerate(counts)), ()


def _coco(flags: Any, seed: int | None, masks: bool, keypoints: bool, stuff: bool):
    from dlcore.data.carving import complete_splits
    from dlcore.data.coco import coco_splits

    if flags.data_dir is None:
        raise ValueError("data_dir=None: missing; allowed: a folder with instances_train.json and images")
    if stuff:
        raise ValueError("dataset=coco: its folders have no semantic maps; allowed: scenes")
    size = shortest_edge(getattr(flags, "resize", "stretch"), getattr(flags, "canvas", None)) or flags.image_size
    splits = coco_splits(flags.data_dir, size, flags.max_boxes, masks, keypoints)
    messages = [message for source in splits.values() for message in source.notes]
    train, valid, test, carving_messages = complete_splits(splits, flags.valid_fraction, seed or 0)
    return train, valid, test, tuple(dict.fromkeys((*messages, *carving_messages)))


def _mirror_messages(flags: Any, keypoint_names: Sequence[str]) -> tuple[str, ...]:
    """Name the mirrors of `--flip` that are left out because no keypoint has a left or right counterpart."""
    from dlcore.data.augment import has_pairs, mirror_orders

    mirrors = {"none": (), "horizontal": ("horizontal",), "both": ("horizontal", "vertical")}[flags.flip]
    orders = dict(zip(("horizontal", "vertical"), mirror_orders(keypoint_names), strict=True))
    if not (left_out := [mirror for mirror in mirrors if not has_pairs(orders[mirror])]):
        return ()
    return (
        f"flip={flags.flip}: no {' or '.join(left_out)} mirror, since no two of the keypoints "
        f"{', '.join(keypoint_names)} change places by their names (left and right, or l and r)",
    )


def augmentation(flags: Any, keypoint_names: Sequence[str] = ()):
    """Build the augmentation of `--flip` and `--zoom`, behind `--mosaic` and `--copy_paste`.

    Args:
      flags: `BoxImages`, or flags of the same names.
      keypoint_names: names of the keypoints; a mirror swaps left and right.

    Returns:
      `augment` of `dlcore.data.augment.examples.augment_examples`; None for none.
    """
    from dlcore.data.augment import compose_examples, random_flip_example, random_zoom_example
    from dlcore.data.augment.scene_mixing import SceneMixing

    parts = []
    if flags.flip != "none":
        parts.append(random_flip_example(0.5, 0.5 if flags.flip == "both" else 0.0, keypoint_names))
    zoom = flags.zoom or ((0.75, 1.35) if flags.dataset == "coco" else (1.0, 1.0))
    if tuple(zoom) != (1, 1):
        parts.append(random_zoom_example(*zoom))
    then, mixing = (
        compose_examples(*parts) if parts else None,
        (getattr(flags, "mosaic", 0.0), getattr(flags, "copy_paste", 0.0)),
    )
    return SceneMixing(*mixing, then) if any(mixing) else then

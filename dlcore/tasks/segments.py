"""Segments: panoptic segmentation of drawn scenes, by a detector with a segmenter or by queries.

experiment = Experiment(
    __file__, __doc__, mask_queries.learner, task=QuerySegments(modules={...}), optimizer=AveragedAdamW()
)
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from flax import linen as nn

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.kits.training import adapters, backbone
from dlcore.learner import Evaluator
from dlcore.tasks import segment_results
from dlcore.tasks.boxes import StretchedBoxes, data

__all__ = ["QuerySegments", "Segments"]


@dataclasses.dataclass(frozen=True)
class Segments(StretchedBoxes):
    """Scenes with the masks of things, and the stuff behind them."""

    stuff = True
    monitor = headline = "pq"
    describe = staticmethod(segment_results.describe)
    write = staticmethod(segment_results.write)
    panels = staticmethod(segment_results.panels)
    pictures = staticmethod(segment_results.pictures)

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name, with masks and semantic maps; see `dlcore.tasks.boxes.data`."""
        return data(flags, masks=True, stuff=self.stuff)

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Measure panoptic quality, and COCO's mAP of the boxes and masks."""
        from dlcore.segmentation.panoptic import panoptic_evaluator

        evaluator = panoptic_evaluator(segment_results.class_names(setup.spec), len(setup.spec["stuff_names"]))
        return [evaluator, *super().evaluators(setup, splits, split)]


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

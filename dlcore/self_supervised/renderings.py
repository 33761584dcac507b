"""Renderings, whose properties are known, beside photographs, whose properties only measure."""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp

from dlcore.data.factor_shapes import SHAPES, factor_shapes, simulate_camera
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.learner import Range, check_record
from dlcore.report.context import ReportContext
from dlcore.transfer.gradient_reversal import reversal_strength

__all__ = ["PhotoAccuracy", "Renderings", "pairs"]


def pairs(count: int, seed: int, size: int) -> Source:
    """Draw renderings with their labels beside photographs of other shapes.

    Args:
      count: number of renderings, and of photographs.
      seed: random seed.
      size: side in pixels.

    Returns:
      `image`, `label`, `factors`, and those of photographs, `photo`, `photo_label` and `photo_factors`.
    """
    renderings, photographs = (factor_shapes(count, seed + part, size) for part in (0, 10))
    arrays = {
        "image": renderings.arrays["image"],
        "label": renderings.arrays["label"],
        "factors": renderings.arrays["factors"],
        "photo": simulate_camera(photographs.arrays["image"], seed),
        "photo_label": photographs.arrays["label"],
        "photo_factors": photographs.arrays["factors"],
    }
    return Source(arrays, count, class_names=SHAPES, name="renderings and photographs")


@dataclasses.dataclass(frozen=True)
class Renderings:
    """Renderings, whose properties are known, beside photographs.

    Args:
      num_images: renderings, and as many photographs, to train on
      image_size: side in pixels
    """

    num_images: Annotated[int, Range(10), "essential"] = 4000
    image_size: Annotated[int, Range(8)] = 16

    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Draw the splits, from fixed seeds: every run is tested on the same images.

        Returns:
          The splits.
        """
        counts = (self.num_images, max(8, self.num_images // 10), max(8, min(1000, self.num_images // 2)))
        train, valid, test = (pairs(count, seed, self.image_size) for seed, count in enumerate(counts))
        spec = {
            "dataset": "factor_shapes",
            "class_names": list(SHAPES),
            "image_shape": [self.image_size, self.image_size, 1],
            "factor_scale": [float(s) for s in train.arrays["factors"].std(0)],
        }
        return Splits(train, valid, test, spec, ())

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique `factor_scale` and the `strength` of the adversary, which rises over the run."""
        return {
            "strength": lambda step: reversal_strength(step / run.steps),
            "factor_scale": jnp.asarray(run.facts.factor_scale),
        }


class PhotoAccuracy:
    """The accuracy of the shape of photographs, whose labels the technique does not see, with its panels."""

    metric = "photo_accuracy"
    mode = "max"

    def panels(self, context: ReportContext, run: Any) -> list:
        """Show what is read off the features of both domains, a plane of these, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.self_supervised import domain_plane
        from dlcore.report.tables import table

        numbers = context.numbers
        rows = [
            {"": "shape, %", "renderings": round(100 * numbers["accuracy"], 1),
             "photographs": round(100 * numbers["photo_accuracy"], 1)},
            {"": "factors, error by variance", "renderings": round(numbers["factor_error"], 3),
             "photographs": round(numbers["photo_factor_error"], 3)},
        ]  # fmt: skip
        caption = (
            f"The classifier tells domains apart in {100 * numbers['domain_accuracy']:.1f} % (50 %: it knows nothing)."
        )
        return [
            table(rows, "What is read off the features", caption)._replace(half=True),
            domain_plane(context.outputs["rendered"], context.outputs["features"], ("renderings", "photographs")),
            curves(context.history),
        ]

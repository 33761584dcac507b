"""Labeled digits of one domain, and unlabeled ones of another."""

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np

from dlcore.data.other_domain import two_domains
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.learner import check_record
from dlcore.setting import FlagError
from dlcore.transfer.advice import Setting as TransferSetting
from dlcore.transfer.advice import name_setting
from dlcore.transfer.gradient_reversal import reversal_strength

__all__ = ["TwoDomains"]

PATCHES = {"train": 2000, "valid": 500, "test": 500}
"""Patches of photographs; those of a split are no other's."""


@dataclasses.dataclass(frozen=True)
class TwoDomains:
    """Labeled digits of one domain, and digits of another, whose labels only measure.

    Args:
      dataset: the source: digits (embedded, enlarged to 16 pixels), mnist or fashion_mnist
      data_dir: where tfds data sets were prepared
      shift: shift of the target domain
      patches: images to blend with: the photographs that come with scikit-learn, or cifar10
    """

    dataset: Annotated[str, "essential"] = "digits"
    data_dir: Annotated[str | None, "essential"] = None
    shift: Annotated[Literal["blended", "inverted"], "essential"] = "blended"
    patches: Literal["photographs", "cifar10"] = "photographs"

    def __post_init__(self):
        check_record(self)

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.patches == "cifar10" or self.dataset != "digits"

    def load(self, seed: int = 0) -> Splits:
        """Load the splits, each of two domains.

        Args:
          seed: seed of the held-out validation images.
        """
        from dlcore.data.image_classification import load

        loaded, domains = load(self.dataset, self.data_dir, seed=seed), {}
        for order, split in enumerate(("train", "valid", "test")):
            source = getattr(loaded, split)
            source = _enlarged(source) if self.dataset == "digits" else source
            patches = self._patches(split, source.arrays["image"].shape[1])
            domains[split] = two_domains(source, patches, self.shift, order)
        spec = {
            "dataset": self.dataset,
            "class_names": list(loaded.class_names),
            "num_classes": len(loaded.class_names),
            "image_shape": list(domains["train"].arrays["image"].shape[1:]),
        }
        # The digits are the same classes of other pictures.
        message = f"setting: {', '.join(name_setting(TransferSetting(same_marginal=False)))}"
        return Splits(*domains.values(), spec, (*loaded.notes, message))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the `ramp` of the strength of the adaptation over the run."""
        return {"ramp": lambda step: reversal_strength(step / run.steps)}

    def _patches(self, split: str, side: int) -> np.ndarray:
        """Cut [M, side, side, 3] uint8."""
        from dlcore.data.image_classification import load
        from dlcore.data.photographs import photo_crops

        if self.patches == "photographs":
            return photo_crops(split, PATCHES[split], size=side).arrays["image"]
        images = getattr(load("cifar10", self.data_dir, seed=0), split).arrays["image"]
        if side > images.shape[1]:
            raise FlagError(f"--patches=cifar10: of {images.shape[1]} pixels; allowed: images of at most as many")
        return images[:, :side, :side]


def _enlarged(source: Source) -> Source:
    """Return digits of 8 pixels as 16, between neighbors the mean."""
    image = np.asarray(source.arrays["image"])
    for axis in (1, 2):
        last = np.take(image, [-1], axis)
        after = np.concatenate([np.take(image, range(1, image.shape[axis]), axis), last], axis)
        image = np.stack([image, (image + after) / 2], axis + 1).reshape(
            *image.shape[:axis], 2 * image.shape[axis], *image.shape[axis + 1 :]
        )
    return Source({**source.arrays, "image": image}, class_names=source.class_names, name=source.name)

"""Large and small crops of images, in several views."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import jax

from dlcore.data.augment.recipes import contrastive_augmentation
from dlcore.data.facts import Facts
from dlcore.data.images import Images, Views
from dlcore.learner import CheckedRecord, Range
from dlcore.setting import FlagError

__all__ = ["CroppedImages", "Crops"]


def _check_global_area(area: tuple[float, float]) -> None:
    _check_rising("global_area", area)


def _check_local_area(area: tuple[float, float]) -> None:
    _check_rising("local_area", area)


def _check_rising(name: str, area: tuple[float, float]) -> None:
    """Check that a range begins at its smaller end."""
    if area[0] > area[1]:
        raise ValueError(f"{name}={area[0]:g},{area[1]:g}: the first is larger; allowed: the smaller share first")


@dataclasses.dataclass(frozen=True)
class Crops(CheckedRecord):
    """Large and small crops of each image, augmented as views are.

    Args:
      views: the augmentation beside the crop.
      local_size: side of small crops in pixels; by default half of the input's
      global_area: range of the share of the image that a large crop shows
      local_area: range of the share of the image that a small crop shows
    """

    views: Views = dataclasses.field(default_factory=Views)
    local_size: Annotated[int | None, Range(1)] = None
    global_area: Annotated[tuple[float, float], Range(1e-3, 1), _check_global_area] = (0.4, 1.0)
    local_area: Annotated[tuple[float, float], Range(1e-3, 1), _check_local_area] = (0.1, 0.4)

    def names(self, facts: Facts) -> list[str]:
        """Name the kind of views."""
        return self.views.names(facts)

    def crops_streamed(self, facts: Facts) -> bool:
        """Return that crops are cut out on the device."""
        return False

    def build(self, facts: Facts, side: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """Build the large crop.

        Args:
          side: its side, in pixels.

        Returns:
          `(key, image [H, W, C] in [0, 1]) -> image`.
        """
        return contrastive_augmentation(*self.names(facts), self.global_area, side)

    def build_small(self, facts: Facts, side: int, stride: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """Build the small crop.

        Args:
          side: side of the large crop, in pixels.
          stride: side of a patch of the network, of which crops have a whole number.

        Returns:
          `(key, image [H, W, C] in [0, 1]) -> image`.
        """
        small = self.local_size or side // 2
        if small % stride or not 0 < small <= side:
            raise FlagError(
                f"--local_size={small}: no small crop; allowed: multiples of the patch's side {stride}, at most {side}"
            )
        return contrastive_augmentation(*self.names(facts), self.local_area, small)


@dataclasses.dataclass(frozen=True)
class CroppedImages(Images):
    """Images by name, whose `augmentation` are `Crops`."""

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique what `Images` gives, with large crops as `augment` and small ones as `augment_local`."""
        values, stride = super().arguments(run), getattr(run.parts.network.backbone.build(1), "patch_size", 1)
        values["augment_local"] = self.augmentation.build_small(run.facts, self.shorter_side(run.facts), stride)
        return values

"""DenoisedImages: generate images of noise alone by a U-Net that is trained on noisy ones."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from dlcore.experiment.parts import Run
from dlcore.generative.unet import UNet
from dlcore.tasks.image_generation import ImageGeneration

__all__ = ["DenoisedImages"]


@dataclasses.dataclass(frozen=True)
class DenoisedImages(ImageGeneration):
    """Images that a U-Net draws out of noise; the checks of the model switch averages off."""

    modules: ClassVar[dict[str, Callable]] = {"unet": UNet}
    defaults: ClassVar[dict[str, Any]] = {"epochs": 300.0, "eval_every": 1000, "select": "last"}
    plain: ClassVar[dict[str, Any]] = {"ema": None, "weight_decay": 0.0}

    def arguments(self, run: Run) -> dict[str, Any]:
        """Build the U-Net, and name the shape of the images."""
        return {
            "model": UNet(**run.flags.group("unet"), dtype=run.dtype),
            "shape": tuple(run.spec["image_shape"]),
        }

"""EditedImages: images that a U-Net draws out of noise, and edits of your own images by the trained network."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.generative.editing import Editing
from dlcore.learner import Range
from dlcore.tasks.denoised_images import DenoisedImages

__all__ = ["EditedImages"]

FLAGS = ("edit", "strength", "resamples", "mask")


@dataclasses.dataclass(frozen=True)
class EditedImages(DenoisedImages):
    """Images that a U-Net draws out of noise; `--mode=predict --input=IMAGE` edits images of the trained size.

    Args:
      edit: how --mode=predict edits --input: sdedit (noise, and draw from there), inversion (find the noise, and draw
        from it) or repaint (draw the masked part so that it fits the rest)
      strength: share of the path that sdedit and inversion go back; 0 leaves the image
      resamples: passes of repaint through each step
      mask: picture of the size of --input, white where it may change; by default everywhere
    """

    edit: Annotated[Literal["sdedit", "inversion", "repaint"], "no identity"] = "sdedit"
    strength: Annotated[float, Range(0, 1), "no identity"] = 0.5
    resamples: Annotated[int, Range(1), "no identity"] = 5
    mask: Annotated[str | None, "no identity"] = None

    input_kind = "IMAGE"

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the U-Net, and say how images are edited."""
        flags = setup.flags
        return super().arguments(setup) | {"editing": Editing(flags.edit, flags.strength, flags.resamples)}

    def drawn(self, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
        """Number the samples that `--mode=predict` draws without `--input`."""
        for name in FLAGS:
            if name in flags.given:
                raise FlagError(f"--{name}={flags[name]}: of no use without --input; allowed: beside --input=IMAGE")
        return DenoisedImages.drawn(flags, spec)

    def inputs(self, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
        """Read the images under `--input` with the mask of `--mask`.

        Returns:
          (source with `original` and `edit_mask`, paths).

        Raises:
          FlagError: repaint has no mask.
          ValueError: an image or the mask cannot be read, or has another size than the images of the training.
        """
        from dlcore.data.decoding import load_image
        from dlcore.data.image_folder import list_images

        height, width, channels = spec["image_shape"]

        def read(flag: str, path: Path, channels: int) -> np.ndarray:
            image = load_image(path, None, channels)
            if image.shape[:2] != (height, width):
                raise ValueError(
                    f"{flag}={path}: {image.shape[0]}x{image.shape[1]} pixels; allowed: {height}x{width}, the size of "
                    "the training images"
                )
            return image

        if flags.edit == "repaint" and flags.mask is None:
            raise FlagError("--edit=repaint: without a mask; allowed: beside --mask=PICTURE")
        if flags.mask is None:
            mask = np.ones((height, width, 1), np.float32)
        else:
            mask = (read("mask", Path(flags.mask), 1) > 127).astype(np.float32)
            if not mask.any():
                raise ValueError(f"mask={flags.mask}: no pixel above 127; allowed: white where the image may change")
        paths = list_images(Path(flags.input))
        images = np.stack([read("input", path, channels) for path in paths])
        masks = np.broadcast_to(mask, (len(images), *mask.shape)).copy()
        return Source({"original": images, "edit_mask": masks}, len(images)), [str(path) for path in paths]

"""EditImages: the use of a diffusion model, which draws images, and edits your own."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.data.source import Source
from dlcore.generative.editing import Editing
from dlcore.learner import Range
from dlcore.report.samples import DrawSamples
from dlcore.setting import FlagError

__all__ = ["EditImages"]

FLAGS = ("edit", "strength", "resamples", "mask")


@dataclasses.dataclass(frozen=True)
class EditImages(DrawSamples):
    """Use of a diffusion model: it draws images out of noise; `--mode=predict --input=IMAGE` edits images.

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

    input_kind: ClassVar[str] = "IMAGE"

    def arguments(self, run: Any) -> dict[str, Any]:
        """Say how images are edited."""
        return {"editing": Editing(self.edit, self.strength, self.resamples)}

    def samples(self, run: Any) -> tuple[Source, list[str]]:
        """Number the samples that `--mode=predict` draws without `--input`."""
        for name in FLAGS:
            if name in run.flags.given:
                raise FlagError(
                    f"--{name}={getattr(self, name)}: of no use without --input; allowed: beside --input=IMAGE"
                )
        return super().samples(run)

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
        """Read the images under a path with the mask.

        Args:
          path: a file or a folder of images of the size of the training images.
          run: the run.

        Returns:
          (source with `original` and `edit_mask`, paths).

        Raises:
          FlagError: repaint has no mask.
          ValueError: an image or the mask cannot be read, or has another size than the images of the training.
        """
        from dlcore.data.decoding import load_image
        from dlcore.data.image_folder import list_images

        height, width, channels = run.facts.image_shape

        def read(flag: str, path: Path, channels: int) -> np.ndarray:
            image = load_image(path, None, channels)
            if image.shape[:2] != (height, width):
                raise ValueError(
                    f"{flag}={path}: {image.shape[0]}x{image.shape[1]} pixels; allowed: {height}x{width}, the size of "
                    "the training images"
                )
            return image

        if self.edit == "repaint" and self.mask is None:
            raise FlagError("--edit=repaint: without a mask; allowed: beside --mask=PICTURE")
        if self.mask is None:
            mask = np.ones((height, width, 1), np.float32)
        else:
            mask = (read("mask", Path(self.mask), 1) > 127).astype(np.float32)
            if not mask.any():
                raise ValueError(f"mask={self.mask}: no pixel above 127; allowed: white where the image may change")
        paths = list_images(Path(path))
        images = np.stack([read("input", path, channels) for path in paths])
        masks = np.broadcast_to(mask, (len(images), *mask.shape)).copy()
        return Source({"original": images, "edit_mask": masks}, len(images)), [str(path) for path in paths]

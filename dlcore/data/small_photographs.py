"""Photographs in low resolution beside their originals."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.source import Source
from dlcore.data.splits import Splits, batch_facts
from dlcore.learner import CheckedRecord, Range
from dlcore.ops.checks import check_shapes

__all__ = ["SmallPhotographs", "downscale", "with_small"]


def float_batch(train: Source) -> dict[str, list]:
    """Describe the batch of `predict`: images as floats in [0, 1]; the data hold bytes."""
    return {name: [shape, "float32"] for name, (shape, _) in batch_facts(train).items()}


def in_memory(source: Source, size: int | tuple[int, int] | None) -> np.ndarray:
    """Return the resized images, [N, H, W, C] uint8."""
    pixels = source.arrays["image"]
    if not isinstance(pixels, np.ndarray):
        raise ValueError(f"{source.name}: too many images to hold in memory; allowed: at most 4 GiB, by --image_size")
    pixels = pixels if pixels.dtype == np.uint8 else np.rint(255 * pixels).astype(np.uint8)
    return pixels if size is None else _resized(pixels, size)


def _resized(pixels: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    from PIL import Image

    height, width = np.broadcast_to(size, 2).tolist()

    def resize(image: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)

    return np.stack([resize(image) for image in pixels])


def downscale(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Downscale images by Pillow's bicubic filter.

    Args:
      pixels: [N, H, W, C] uint8.
      factor: factor by which both sides shrink.

    Returns:
      [N, H / factor, W / factor, C] uint8.
    """
    from PIL import Image

    check_whole_number("factor", factor, 1)
    check_shapes(pixels=(pixels, "N H W C"))

    height, width = pixels.shape[1:3]
    if height % factor or width % factor:
        raise ValueError(f"image_size={height}: no multiple of factor={factor}; allowed: {height - height % factor}")
    size = (width // factor, height // factor)
    return np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in pixels])


@dataclasses.dataclass(frozen=True)
class SmallPhotographs(CheckedRecord):
    """Photographs; a network that enlarges them also gets downscaled copies, `low`.

    Without `data_dir` they are crops of one photograph: from its left part for training, from its right part for
    testing.

    Args:
      data_dir: folder (or .zip) of images, or of Flickr8k; by default a photograph that comes with scikit-learn
      image_size: side of the large images; by default 128 of Flickr8k and 64 of others
    """

    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[int | None, Range(4)] = None

    reads_files: ClassVar[bool] = True

    def load(self, seed: int = 0) -> Splits:
        """Load the large images.

        Args:
          seed: seed of the splits of a folder.

        Returns:
          The splits of `image`.
        """
        from dlcore.data.carving import shared_images

        messages = ()
        if self.data_dir is not None and not any(Path(self.data_dir).glob("captions_*.json*")):
            from dlcore.data.image_classification import load

            side, name = self.image_size or 64, "folder"
            loaded = load("folder", self.data_dir, seed=seed, image_size=side, min_classes=0)
            pixels = {split: in_memory(getattr(loaded, split), None) for split in ("train", "valid", "test")}
            pixels = {split: np.broadcast_to(x, (*x.shape[:3], 3)) for split, x in pixels.items()}
            messages = loaded.notes
        elif self.data_dir is not None:
            from dlcore.data.flickr8k import flickr8k

            side, name = self.image_size or 128, "flickr8k"
            pixels = {split: images.image for split, images in flickr8k(self.data_dir, side).items()}
        else:
            side, name = self.image_size or 64, "photograph"
            pixels = _pieces(side)
        train, valid, test = (
            Source({"image": pixels[split]}, name=f"{name}/{split}") for split in ("train", "valid", "test")
        )
        if name == "flickr8k":
            messages = shared_images(train, valid, test)
        spec = {"dataset": name, "image_shape": [side, side, 3], "batch": float_batch(train)}
        return Splits(train, valid, test, spec, messages, test.take(min(64, len(test))))

    def finish_data(self, splits: Splits, run: Any) -> Splits:
        """Add copies that are smaller by the factor of the generator."""
        return with_small(splits, run.parts.network.modules["generator"].keywords["factor"])


def with_small(splits: Splits, factor: int) -> Splits:
    """Add downscaled copies of images, `low`.

    Args:
      splits: splits of `image`, in memory.
      factor: ratio of the sides of the large images and of the small ones.

    Returns:
      The splits of `low` and `image`.
    """

    def both(source: Source) -> Source:
        pixels = source.arrays["image"]
        return Source({"low": downscale(pixels, factor), "image": pixels}, len(source), name=source.name)

    train, valid, test = map(both, (splits.train, splits.valid, splits.test))
    spec = {**splits.spec, "batch": float_batch(train)}
    return splits._replace(train=train, valid=valid, test=test, spec=spec, shown=test.take(min(64, len(test))))


def _pieces(side: int) -> dict[str, np.ndarray]:
    """Crop squares from a 427 x 640 photograph; the splits share no column."""
    from dlcore.data.sample_images import sample_image

    if side > 128:
        raise ValueError(f"image_size={side}: larger than the photograph's columns; allowed: at most 128")
    photograph, step = sample_image("china", 427), side // 4
    columns = {"train": (0, 384), "valid": (384, 512), "test": (512, 640)}
    return {
        split: np.stack(
            [
                photograph[y : y + side, x : x + side]
                for y in range(0, photograph.shape[0] - side + 1, step)
                for x in range(first, last - side + 1, step)
            ]
        )
        for split, (first, last) in columns.items()
    }

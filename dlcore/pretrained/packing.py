"""Packing of photographs: images that keep their proportions become sequences of patches (NaFlex).

    size     the largest scale s with ceil(s H / P) ceil(s W / P) <= N; sides are ceil(s H / P) P and ceil(s W / P) P
    patches  in row order, each by rows, columns and channels, then zeros up to N; a mask says where patches are

As transformers' Siglip2ImageProcessor: Tschannen et al. 2025, arXiv:2502.14786. The scale is found by bisection, with
its bounds and its precision.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.models.inputs import PackedImages
from dlcore.pretrained.processor import RESAMPLE, Processor, check_normalization, photographs_of

__all__ = ["PatchProcessor", "fitting_grid", "pack_image", "patch_processor_of_transformers"]

HALF = (0.5, 0.5, 0.5)


LARGEST_SCALE, PRECISION = 100.0, 1e-5


def fitting_grid(height: int, width: int, patch_size: int = 16, max_num_patches: int = 256) -> tuple[int, int]:
    """Find the grid of patches of an image that keeps its proportions and has at most so many patches.

    Args:
      height: height of the image in pixels.
      width: width of the image in pixels.
      patch_size: P, side in pixels of a patch.
      max_num_patches: N, the most patches.

    Returns:
      (rows, columns) of patches.
    """
    sizes = {"height": height, "width": width, "patch_size": patch_size, "max_num_patches": max_num_patches}
    for name, value in sizes.items():
        check_whole_number(name, value, 1)

    def grid(scale: float) -> tuple[int, int]:
        rows, columns = (max(1, math.ceil(side * scale / patch_size)) for side in (height, width))
        return rows, columns

    low, high = PRECISION / 10, LARGEST_SCALE
    while high - low >= PRECISION:
        middle = (low + high) / 2
        if math.prod(grid(middle)) <= max_num_patches:
            low = middle
        else:
            high = middle
    return grid(low)


def pack_image(
    image: np.ndarray,
    *,
    patch_size: int = 16,
    max_num_patches: int = 256,
    resample: str = "bilinear",
    scale: float = 1 / 255,
    mean: tuple[float, ...] | None = HALF,
    std: tuple[float, ...] | None = HALF,
) -> PackedImages:
    """Pack one photograph.

    Args:
      image: [H, W, 3] uint8, [H, W] or [H, W, 1] (gray), or [H, W, 4] (its transparency is left out).
      patch_size: P, side in pixels of a patch.
      max_num_patches: N, the most patches.
      resample: Pillow's filter: nearest, bilinear, bicubic, lanczos, box or hamming.
      scale: factor of a gray level.
      mean: mean of each channel after scaling; None leaves out mean and deviation.
      std: standard deviation of each channel after scaling.

    Returns:
      [N, P P 3] float32 patches, [N] int32 mask and [2] int32 grid.
    """
    processor = Processor(resample=resample, scale=scale, mean=mean, std=std)
    image = processor.pixels(np.asarray(image))
    rows, columns = fitting_grid(*image.shape[:2], patch_size, max_num_patches)
    processor = processor._replace(size=(rows * patch_size, columns * patch_size))
    pixels = processor.normalize(processor.pixels(image)).reshape(rows, patch_size, columns, patch_size, 3)
    count = rows * columns
    patches = np.zeros((max_num_patches, patch_size * patch_size * 3), np.float32)
    patches[:count] = pixels.transpose(0, 2, 1, 3, 4).reshape(count, -1)
    return PackedImages(patches, (np.arange(max_num_patches) < count).astype(np.int32), np.int32([rows, columns]))


class PatchProcessor(NamedTuple):
    """Preprocessing of photographs [H, W, 3] into patches; see `pack_image`.

    Args:
      patch_size: P, side in pixels of a patch.
      max_num_patches: N, the most patches.
      resample: Pillow's filter: nearest, bilinear, bicubic, lanczos, box or hamming.
      scale: factor of a gray level.
      mean: mean of each channel after scaling; None leaves out mean and deviation.
      std: standard deviation of each channel after scaling.
    """

    patch_size: int = 16
    max_num_patches: int = 256
    resample: str = "bilinear"
    scale: float = 1 / 255
    mean: tuple[float, ...] | None = HALF
    std: tuple[float, ...] | None = HALF

    def __call__(self, images: np.ndarray | Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Pack photographs of any sizes.

        Args:
          images: one photograph [H, W, 3] uint8, or several of them, as a list or [B, H, W, 3].

        Returns:
          `pixel_values: [B, N, P P 3]` float32, `pixel_attention_mask: [B, N]` int32 and `spatial_shapes: [B, 2]`
          int32.
        """
        packed = [pack_image(image, **self._asdict()) for image in photographs_of(images)]
        return {key: np.stack([getattr(image, key) for image in packed]) for key in PackedImages._fields}


def patch_processor_of_transformers(config: Mapping[str, Any]) -> PatchProcessor:
    """Read the preprocessor_config.json of transformers' Siglip2ImageProcessor.

    Args:
      config: content of the file.

    Returns:
      The processor.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"preprocessor_config.json: a {type(config).__name__}; allowed: a JSON object")
    for name in ("image_mean", "image_std"):
        if not isinstance(config.get(name) or HALF, tuple | list):
            raise ValueError(f"{name}={config[name]!r}: out of range; allowed: three numbers")
    normalizes = config.get("do_normalize", True)
    processor = PatchProcessor(
        config.get("patch_size", 16),
        config.get("max_num_patches", 256),
        RESAMPLE.get(config.get("resample", 2), config.get("resample")),
        config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0,
        tuple(config.get("image_mean") or HALF) if normalizes else None,
        tuple(config.get("image_std") or HALF) if normalizes else None,
    )
    check_normalization(processor.resample, processor.scale, processor.mean, processor.std)
    return processor

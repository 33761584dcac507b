"""Depth images: an image, and the depth of its pixels; rendered scenes, or a folder of one's own.

data=DepthImages("scenes", num_scenes=2000), measures=[Measure("abs_rel", "min")]

    SPLIT/images/NAME.jpg   SPLIT/depth/NAME.png        or NAME.npy; see `dlcore.data.paired_files`
"""

import dataclasses
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.normalization import normalizer
from dlcore.data.paired_files import FilePair, pair_files, read_below
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range

__all__ = ["DepthImages", "decode_depth", "mirror_depth"]


@dataclasses.dataclass(frozen=True)
class DepthImages(CheckedRecord):
    """Images and the depth of every pixel, 0 where it is not known.

    Args:
      dataset: scenes (rendered), or folder: images and depth below data_dir
      data_dir: folder: train, val and test (folders or .zip) with images/ and depth/, files of the same names
      image_size: height and width of the images; by default 64 x 64 for scenes, a folder's own where all are alike
      num_scenes: scenes: training images; an eighth as many validate, and as many test
      depth_scale: folder: number in an image file that is one unit of depth, such as 1000 for millimeters in 16-bit PNG
        files; .npy files hold depth itself
      valid_fraction: folder: fraction of train held out for validation if there is no validation split
      mirror: mirror half of the training images
    """

    dataset: Annotated[Literal["scenes", "folder"], "essential"] = "scenes"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[tuple[int, int] | None, Range(8), "essential"] = None
    num_scenes: Annotated[int, Range(4)] = 2000
    depth_scale: Annotated[float, Range(1e-6)] = 1000.0
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    mirror: bool = True

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset == "folder"

    def load(self, seed: int = 0) -> Splits:
        """Load the splits, with the statistics of the training images and the error of their mean map.

        Args:
          seed: seed of the held-out validation images.
        """
        from dlcore.data.augment import channel_statistics
        from dlcore.metrics.depth import align_scale_and_shift, depth_metrics

        train, valid, test, messages = self._scenes() if self.dataset == "scenes" else self._folder(seed)
        mean, std = channel_statistics(train)
        facts = Facts(
            dataset="rgbd scenes" if self.dataset == "scenes" else Path(self.data_dir or "").name,
            image_shape=train.arrays["image"].shape[1:],
            mean=tuple(float(m) for m in mean),
            std=tuple(float(s) for s in std),
        )
        disparity, targets = _disparity(train.arrays["depth"]), test.arrays["depth"]
        observed = (disparity > 0).sum(0)
        mean_map = np.where(observed > 0, disparity.sum(0) / np.maximum(observed, 1), disparity[disparity > 0].mean())
        maps = np.broadcast_to(mean_map.astype(np.float32), targets.shape)
        aligned = align_scale_and_shift(jnp.asarray(maps), jnp.asarray(_disparity(targets)), jnp.asarray(targets > 0))
        error = depth_metrics(1 / jnp.maximum(aligned, 1e-6), jnp.asarray(targets))["abs_rel"].compute()
        trivial = {"abs_rel": (float(error), "the training images' mean disparity map, fitted to each image")}
        return Splits(train, valid, test, {**facts.spec(), "trivial": trivial}, messages)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `preprocess` and `augment`."""
        preprocess = normalizer(run.facts.mean, run.facts.std, dtype=run.dtype)
        return {"preprocess": preprocess, "augment": mirror_depth if self.mirror else None}

    def _scenes(self) -> tuple[Source, Source, Source, tuple[str, ...]]:
        from dlcore.data.solids import rgbd_scenes

        height, width = self.image_size or (64, 64)
        if height != width:
            raise ValueError(f"image_size={self.image_size}: scenes are square; allowed: one number twice")
        few = max(4, self.num_scenes // 8)
        sources = []
        for seed, count in enumerate((self.num_scenes, few, few)):  # every run is tested on the same scenes
            scenes = rgbd_scenes(count, seed, height)
            image = np.rint(255 * scenes.arrays["image"].clip(0, 1)).astype(np.uint8)
            sources.append(Source({"image": image, "depth": scenes.arrays["depth"]}, count, name=scenes.name))
        return *sources, ()

    def _folder(self, seed: int) -> tuple[Source, Source, Source, tuple[str, ...]]:
        from dlcore.data.carving import complete_splits

        if self.data_dir is None or not Path(self.data_dir).exists():
            raise ValueError(f"data_dir={self.data_dir!r}: no folder or .zip; allowed: one with images/ and depth/")
        path = Path(self.data_dir)
        pairs, messages = pair_files(path, read_below(path), "depth", _is_depth)
        if not pairs.get("train"):
            raise ValueError(f"data_dir={str(path)!r}: no training images with depth; allowed: images/ and depth/")
        splits = {split: self._read(pairs[split]) for split in pairs}
        train, valid, test, carving = complete_splits(splits, self.valid_fraction, seed)
        return train, valid, test, (*messages, *carving)

    def _read(self, pairs: list[FilePair]) -> Source:
        with ThreadPoolExecutor() as pool:
            rows = list(pool.map(self._decoded, pairs))
        for pair, (image, _) in zip(pairs, rows, strict=True):
            if image.shape != rows[0][0].shape:
                raise ValueError(
                    f"image_size=None: {pair.image} has {image.shape[:2]} pixels, {pairs[0].image} "
                    f"{rows[0][0].shape[:2]}; allowed: height,width that all are resized to"
                )
        images, depths = zip(*rows, strict=True)
        return Source({"image": np.stack(images), "depth": np.stack(depths)}, len(pairs))

    def _decoded(self, pair: FilePair) -> tuple[np.ndarray, np.ndarray]:
        """Read (image [H, W, 3] uint8, depth [H, W]) at the size of the images."""
        from dlcore.data.decoding import decode_image, stretch_image
        from dlcore.data.workers import unreadable

        try:
            image = decode_image(io.BytesIO(pair.read_image()), None, 3)
            depth = decode_depth(pair.read_other(), pair.other, self.depth_scale)
        except Exception as error:
            raise ValueError(unreadable([(f"{pair.image} or {pair.other}", error)], False)) from None
        if depth.shape != image.shape[:2]:
            raise ValueError(f"{pair.other}: depth of {depth.shape} pixels; allowed: its image's {image.shape[:2]}")
        if self.image_size is None or image.shape[:2] == tuple(self.image_size):
            return image, depth
        # The nearest pixel: a mean of two depths is the depth of nothing.
        height, width = self.image_size
        rows = ((np.arange(height) + 0.5) * depth.shape[0] / height).astype(int)
        columns = ((np.arange(width) + 0.5) * depth.shape[1] / width).astype(int)
        return stretch_image(image, self.image_size), depth[rows[:, None], columns]


def decode_depth(content: bytes, name: str, scale: float = 1000.0) -> np.ndarray:
    """Read a depth map.

    Args:
      content: bytes of an .npy file, or of a gray image that keeps its numbers, such as a 16-bit PNG.
      name: name of the file, for errors.
      scale: number in an image that is one unit of depth; an .npy file holds depth itself.

    Returns:
      [H, W] float32, depth; 0 where it is not positive and finite.
    """
    from dlcore.data.mask_files import decode_mask

    is_array = content.startswith(b"\x93NUMPY")
    values = np.load(io.BytesIO(content), allow_pickle=False) if is_array else decode_mask(content)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ValueError(f"{name}: {values.dtype} {values.shape}; allowed: numbers [H, W]")
    values = values.astype(np.float32) / np.float32(1 if is_array else scale)
    return np.where(np.isfinite(values) & (values > 0), values, 0)


def mirror_depth(key: jax.Array, example: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Mirror an image and its depth, or leave both.

    Args:
      key: PRNG key.
      example: `image` [H, W, C] and `depth` [H, W].

    Returns:
      The example.
    """
    across = jax.random.bernoulli(key)
    return {**example, **{name: jnp.where(across, v[:, ::-1], v) for name, v in example.items() if v.ndim > 1}}


def _disparity(depth: np.ndarray) -> np.ndarray:
    return np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0)


def _is_depth(parts: Any) -> bool:
    return PurePosixPath(parts[-1]).suffix.lower() in (".npy", ".png", ".tif", ".tiff", ".pgm")

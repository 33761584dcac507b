"""Images to translate: edges beside their images, and unpaired images of two kinds."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.images import Images, Resizing
from dlcore.data.small_photographs import float_batch, in_memory
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.workers import DECODERS
from dlcore.generative.control_net import edge_map
from dlcore.report import prediction

__all__ = ["EdgeImages", "InputSize", "UnpairedImages", "unpaired_source"]

INKS = {"a": ((255, 255, 255), (217, 26, 26)), "b": ((153, 153, 153), (26, 51, 204))}
"""Background and ink color of both domains, RGB."""


@dataclasses.dataclass(frozen=True)
class InputSize(Resizing):
    """How images are resized; they are held in memory.

    Args:
      input_size: side of the square that images are resized to (bilinear); by default both sides of images under 16
        pixels are doubled
      memory_limit: GiB of decoded images to hold in memory
      workers: threads that decode images
      decoder: decoder of images
    """

    memory_limit: Annotated[float, "no flag"] = 4.0
    workers: Annotated[int | None, "no flag"] = None
    decoder: Annotated[Literal[DECODERS], "no flag"] = "pillow"


@dataclasses.dataclass(frozen=True)
class EdgeImages(Images):
    """Images by name, with their edges as `source`; the arguments are those of `Images`."""

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, and detect the edges.

        Args:
          seed: seed of the held-out validation images.
          min_classes: least number of classes of labeled images.

        Returns:
          The splits; a message gives the L1 distance of test images from the mean training image.

        Raises:
          ValueError: the images do not fit into memory.
        """
        splits = super().load(seed, min_classes)
        size = self.input_size(Facts.of(splits.spec))

        def with_edges(source: Source) -> Source:
            pixels = in_memory(source, size)
            return Source({"source": edge_map(pixels), "image": pixels}, len(source), name=source.name)

        train, valid, test = map(with_edges, (splits.train, splits.valid, splits.test))
        mean = train.arrays["image"][:10_000].mean(0)
        l1_of_mean = np.abs(test.arrays["image"][:10_000] - mean).mean() / 255
        shape = list(train.arrays["image"].shape[1:])
        spec = {**splits.spec, "image_shape": shape, "batch": float_batch(train)}
        message = f"l1 of the mean training image on the test split: {l1_of_mean:.4f}"
        return Splits(train, valid, test, spec, (*splits.notes, message), shown=test.take(min(64, len(test))))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique nothing: it takes bytes as they are."""
        return {}


def _inked(digits: np.ndarray, kind: str) -> np.ndarray:
    """Color digits [N, H, W, 1] of bytes, 255 for ink, as domain a (red on white) or b (blue on gray) does."""
    paper, ink = (np.array(color, np.float32) for color in INKS[kind])
    coverage = digits.astype(np.float32) / 255
    return np.rint(paper + coverage * (ink - paper)).astype(np.uint8)


def unpaired_source(a: np.ndarray, b: np.ndarray, cut_longer: bool = False, name: str = "unpaired") -> Source:
    """Build a source of images of two domains, without pairs.

    Args:
      a: [N, H, W, C] images of domain a.
      b: [N, H, W, C] images of domain b.
      cut_longer: drop images from the end of the longer list.
      name: name of the source.

    Returns:
      The source with `a` and `b`.
    """
    if len(a) != len(b) and not cut_longer:
        raise ValueError(f"{name}: {len(a)} images of a and {len(b)} of b; allowed: as many of each, or --cut_longer")
    n = min(len(a), len(b))
    return Source({"a": a[:n], "b": b[:n]}, n, name=name)


@dataclasses.dataclass(frozen=True)
class UnpairedImages(Images):
    """Images of two domains, a and b, without pairs: half of the digits in each color, or two folders.

    Validation and test digits also have their target images, `b_of_a` and `a_of_b`. Other arguments are those of
    `Images`.

    Args:
      dataset: digits (embedded) or a tfds name such as mnist, half of them in red ink and half in blue; or folder, with
        trainA, trainB, testA and testB
      image_size: side of the images; of a folder by default 64
      cut_longer: folder: leave out images of the longer list at its end
    """

    cut_longer: bool = False

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits.

        Args:
          seed: seed of the held-out validation images.
          min_classes: least number of classes of labeled images.

        Returns:
          The splits.

        Raises:
          ValueError: two lists have different lengths, or the images do not fit into memory.
          FileNotFoundError: a folder is missing.
        """
        if self.dataset == "folder":
            train, valid, test, messages = self._folders(seed)
        else:
            splits = super().load(seed, min_classes)
            messages, size = splits.notes, self.input_size(Facts.of(splits.spec))

            def halves(source: Source, seed: int) -> tuple[np.ndarray, np.ndarray]:
                pixels = in_memory(source, size)
                if pixels.shape[-1] != 1:
                    raise ValueError(f"dataset={self.dataset}: color images; allowed: gray images")
                order = np.random.default_rng(seed).permutation(len(pixels) // 2 * 2)
                return pixels[order[::2]], pixels[order[1::2]]

            def with_targets(source: Source) -> Source:
                a, b = halves(source, 1)
                arrays = {"a": _inked(a, "a"), "b": _inked(b, "b"), "b_of_a": _inked(a, "b"), "a_of_b": _inked(b, "a")}
                return Source(arrays, len(a), name=source.name)

            a, b = halves(splits.train, 0)
            train = unpaired_source(_inked(a, "a"), _inked(b, "b"), name=splits.train.name)
            valid, test = with_targets(splits.valid), with_targets(splits.test)
        shape = list(train.arrays["a"].shape[1:])
        spec = {"dataset": self.dataset, "image_shape": shape, "batch": float_batch(train)}
        return Splits(train, valid, test, spec, tuple(messages), shown=test.take(min(64, len(test))))

    def _folders(self, seed: int) -> tuple[Source, Source, Source, tuple[str, ...]]:
        from dlcore.data.decoding import load_image
        from dlcore.data.image_folder import list_images

        if self.data_dir is None:
            raise ValueError("data_dir=None: dataset 'folder' needs a folder of trainA, trainB, testA and testB")
        side, root = self.image_size or 64, Path(self.data_dir)

        def read(name: str) -> np.ndarray:
            if not (root / name).is_dir():
                raise FileNotFoundError(
                    f"data_dir={self.data_dir!r}: has no folder {name}; allowed: with trainA, trainB, testA and testB"
                )
            return prediction.read_all(list_images(root / name), lambda path: load_image(path, side, 3), self.skip_bad)[
                0
            ]

        sides = {name: read(name) for name in ("trainA", "trainB", "testA", "testB")}
        train = unpaired_source(sides["trainA"], sides["trainB"], self.cut_longer, "train")
        test = unpaired_source(sides["testA"], sides["testB"], self.cut_longer, "test")
        if len(train) < 2:
            raise ValueError(
                f"data_dir={self.data_dir!r}: trainA and trainB hold {len(train)} image of each; allowed: at least 2, "
                "one for validation"
            )
        order = np.random.default_rng(seed).permutation(len(train))
        num_valid = max(1, round(self.valid_fraction * len(train)))
        messages = (f"{len(train)} unpaired training images of each kind, {num_valid} of them for validation",)
        return train.subset(np.sort(order[num_valid:])), train.subset(np.sort(order[:num_valid])), test, messages

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique nothing: it takes bytes as they are."""
        return {}

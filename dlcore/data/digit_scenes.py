"""Scenes of one handwritten digit at a random position, alone or among clutter, to classify and to locate.

They follow the translated and cluttered MNIST of Mnih et al. 2014, arXiv:1406.6247, with scikit-learn's digits at twice
their size. The digits of training scenes are rotated, scaled and sheared a little at random, as there are few of them.
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.digits import digits
from dlcore.data.source import Source, whole_numbers
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range
from dlcore.ops.checks import check_shapes
from dlcore.setting import FlagError

__all__ = ["DIGIT", "DigitScenes", "digit_scenes"]

DIGIT = 16
"""Side of the digit in a scene, in pixels."""
_PIECE = 8
_SPLITS = {"train": ("train", slice(None, 1097)), "valid": ("train", slice(1097, None)), "test": ("test", slice(None))}


@whole_numbers
def digit_scenes(
    split: str, count: int, seed: int = 0, *, size: int = 60, clutter: int = 0, noise: float = 0.1
) -> Source:
    """Draw scenes: `image: [N, size, size, 1] uint8`, `label: [N] int32`, `box: [N, 4] float32` (corners x, y, x, y).

    Args:
      split: "train", "valid" or "test": no two splits share a digit's image, and "test" has other writers.
      count: N, number of scenes.
      seed: random seed; scene i depends on (seed, i) and not on `count`.
      size: side of a scene in pixels, at least 16.
      clutter: number of 8 x 8 pieces of random digits at random positions; the digit is drawn over them.
      noise: largest brightness of the background's uniform noise, in [0, 1].

    Returns:
      The source.
    """
    check_choice("split", split, _SPLITS)
    check_shapes(count=(count, ">= 0"), clutter=(clutter, ">= 0"), noise=(noise, "0 to 1"))
    if size < DIGIT:
        raise ValueError(f"size={size}: smaller than a digit; allowed: at least {DIGIT}")
    name, rows = _SPLITS[split]
    source = digits(name)
    images, labels = source.arrays["image"][rows, :, :, 0], source.arrays["label"][rows]
    scenes, boxes = np.zeros((count, size, size), np.uint8), np.zeros((count, 4), np.float32)
    digit_idx = np.zeros(count, np.int32)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        noisy = noise * rng.random((size, size))
        digit_idx[i] = rng.integers(len(images))
        row, column = map(int, rng.integers(size - DIGIT + 1, size=2))
        boxes[i] = column, row, column + DIGIT, row + DIGIT
        pieces = np.zeros((size, size))
        for _ in range(clutter):
            piece = _cut(rng, _enlarged(images[rng.integers(len(images))], np.eye(2)))
            y, x = rng.integers(size - _PIECE + 1, size=2)
            pieces[y : y + _PIECE, x : x + _PIECE] = piece
        warp = np.eye(2) if split != "train" else _warp(rng)
        pieces[row : row + DIGIT, column : column + DIGIT] = _enlarged(images[digit_idx[i]], warp)
        scenes[i] = np.rint(255 * np.maximum(noisy, pieces))
    arrays = {"image": scenes[..., None], "label": labels[digit_idx], "box": boxes}
    return Source(arrays, count, source.class_names, name=f"digit scenes/{split}")


def _enlarged(image: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """Return an image at twice its size, warped by a matrix about the center."""
    from scipy.ndimage import affine_transform

    matrix, middle = warp / 2, (len(image) - 1) / 2
    offset = middle - matrix @ np.full(2, len(image) - 0.5)
    return affine_transform(image, matrix, offset, (DIGIT, DIGIT), order=1, mode="grid-constant").clip(0, 1)


def _warp(rng: np.random.Generator) -> np.ndarray:
    angle, shear, scale = rng.normal(0, 0.1), rng.normal(0, 0.1), np.exp(rng.normal(0, 0.1, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.array([[1, shear], [0, 1]]) * scale


def _cut(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    row, column = rng.integers(len(image) - _PIECE + 1, size=2)
    return image[row : row + _PIECE, column : column + _PIECE]


@dataclasses.dataclass(frozen=True)
class DigitScenes(CheckedRecord):
    """Scenes of noise with a digit each.

    Args:
      scene_size: side of a scene, in pixels, a multiple of --network.grid
      clutter: pieces of other digits in a scene
      num_scenes: training scenes
      num_test_scenes: test scenes; half as many validate
    """

    scene_size: Annotated[int, Range(16)] = 60
    clutter: Annotated[int, Range(0)] = 0
    num_scenes: Annotated[int, Range(1)] = 8000
    num_test_scenes: Annotated[int, Range(2)] = 2000

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        """Draw the scenes; those of training, validation and test share no digit."""
        counts = {"train": self.num_scenes, "valid": self.num_test_scenes // 2, "test": self.num_test_scenes}
        splits = {
            split: digit_scenes(split, count, seed, size=self.scene_size, clutter=self.clutter)
            for seed, (split, count) in enumerate(counts.items())
        }
        names = list(splits["train"].class_names)
        spec = {"dataset": "digit scenes", "class_names": names, "scene_size": self.scene_size}
        return Splits(splits["train"], splits["valid"], splits["test"], spec)

    def check(self, run: Any) -> None:
        """Check that the places of the network's grid fill a scene."""
        size, grid = self.scene_size, run.flags["network.grid"]
        if size % grid:
            raise FlagError(
                f"--scene_size={size}: not a multiple of --network.grid={grid}; allowed: {grid}, {2 * grid}, ..."
            )

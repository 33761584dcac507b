"""Small crops of the two photographs that come with scikit-learn: colored images without a download.

Each photograph is divided into 2 x 3 fields, and the class of a crop is the field that it is cut from. Each field is
divided into one part per split, so that no pixel is in two splits:

    +---------+-----+
    |         |valid|
    |  train  +-----+
    |         |test |
    +---------+-----+
"""

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.sample_images import SAMPLE_IMAGES, sample_image
from dlcore.data.source import Source, check_seed, whole_numbers

__all__ = ["FIELDS", "photo_crops"]

FIELDS = tuple(
    f"{name}, {row} {column}"
    for name in SAMPLE_IMAGES
    for row in ("upper", "lower")
    for column in ("left", "middle", "right")
)
"""Names of the classes."""

_HEIGHT, _TRAIN = 214, 66
"""Height of a photograph, and width of a field's part for training, in pixels."""


@whole_numbers
def photo_crops(split: str, count: int, seed: int = 0, size: int = 32) -> Source:
    """Draw random crops: `image: [N, size, size, 3] uint8` and `label: [N] int32`, i mod 12 for crop i.

    Args:
      split: "train", "valid" or "test".
      count: N, number of crops.
      seed: random seed; crop i is the same for every `count`.
      size: side of a crop in pixels, 1 to 40.

    Returns:
      The source.
    """
    check_choice("split", split, ("train", "valid", "test"))
    if not 1 <= size <= 40:
        raise ValueError(f"size={size}: out of range; allowed: 1 to 40, the width of a field's part for the test")
    rng = np.random.default_rng((check_seed(seed), ("train", "valid", "test").index(split)))
    photographs = [sample_image(name, _HEIGHT) for name in SAMPLE_IMAGES]
    label = (np.arange(count) % len(FIELDS)).astype(np.int32)
    image = np.zeros((count, size, size, 3), np.uint8)
    for i, (down, right) in enumerate(rng.random((count, 2))):
        photograph = photographs[label[i] // 6]
        height, width = photograph.shape[0] // 2, photograph.shape[1] // 3
        top, left = label[i] % 6 // 3 * height, label[i] % 3 * width
        if split == "train":
            width = _TRAIN
        else:
            left, width, height = left + _TRAIN, width - _TRAIN, height // 2
            top += height * (split == "test")
        y, x = top + int(down * (height - size + 1)), left + int(right * (width - size + 1))
        image[i] = photograph[y : y + size, x : x + size]
    return Source({"image": image, "label": label}, class_names=FIELDS, name=f"photographs/{split}")

"""Boxes as words: a corner is two of a thousand words, so a language model detects by writing.

    <loc_k>,  k = floor(1000 x / W);   back: x = (k + 1/2) W / 1000

Chen et al. 2021, arXiv:2109.10852 (Pix2Seq); Xiao et al. 2023, arXiv:2311.06242 (Florence-2, whose words these are).
"""

import re

import numpy as np

from dlcore.ops.checks import check_shapes

__all__ = ["boxes_to_words", "words_to_boxes"]

BINS = 1000
WORD = re.compile(r"<loc_(\d+)>")


def boxes_to_words(boxes: np.ndarray, height: int, width: int) -> list[str]:
    """Write boxes as words.

    Args:
      boxes: [N, 4] (x1, y1, x2, y2) in pixels.
      height: of the image, in pixels.
      width: of the image, in pixels.

    Returns:
      N texts of four words.
    """
    check_shapes(boxes=(boxes, "N 4"), height=(height, "int >= 1"), width=(width, "int >= 1"))
    sizes = np.asarray([width, height, width, height], np.float64)
    bins = np.clip(np.floor(np.asarray(boxes, np.float64) * BINS / sizes), 0, BINS - 1).astype(int)
    return ["".join(f"<loc_{k}>" for k in row) for row in bins.tolist()]


def words_to_boxes(text: str, height: int, width: int) -> np.ndarray:
    """Read the boxes of a text, whatever stands between them.

    Args:
      text: words; each four `<loc_k>` are a box, and fewer at the end are left out.
      height: of the image, in pixels.
      width: of the image, in pixels.

    Returns:
      [N, 4] (x1, y1, x2, y2) float32 in pixels, the centers of the words' bins.
    """
    check_shapes(height=(height, "int >= 1"), width=(width, "int >= 1"))
    bins = [int(k) for k in WORD.findall(text)]
    corners = np.asarray(bins[: len(bins) // 4 * 4], np.float64).reshape(-1, 4)
    return ((corners + 0.5) * [width, height, width, height] / BINS).astype(np.float32)

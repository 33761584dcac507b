"""Block matching finds the depth that two cameras side by side see.

python -m experiments.classical_vision.stereo
    random dots on three planes
python -m experiments.classical_vision.stereo --input=LEFT.jpg,RIGHT.jpg --max_disparity=48

A rectified pair, whose rows correspond. Without `--input` the disparity is known: the claim is that at most 5 % of the
pixels that both cameras see are off by more than 1. A constant disparity stands beside it.

Reference: Scharstein & Szeliski 2002, "A taxonomy and evaluation of dense two-frame stereo correspondence algorithms".
"""

import jax
import numpy as np

from dlcore.classical_vision.stereo import block_matching, disparity_to_depth
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import new_figure, show_image
from experiments.classical_vision.match import read_images


def random_dots(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(left, right [H, W], disparity [H, W] of 3 with rectangles of 6 and 9 in front, what both cameras see)."""
    rng = np.random.default_rng(seed)
    disparity = np.full((height, width), 3)
    disparity[height // 6 : -height // 6, width // 4 : width * 11 // 20] = 6
    disparity[height // 3 : -height // 3, width * 3 // 5 : width * 17 // 20] = 9
    left, right = rng.uniform(size=(2, height, width)).astype(np.float32)
    nearest = np.zeros((height, width), int)
    for d in (3, 6, 9):
        rows, columns = np.nonzero((disparity == d) & (np.arange(width) >= d))
        right[rows, columns - d], nearest[rows, columns - d] = left[rows, columns], d
    rows, columns = np.mgrid[:height, :width]
    return left, right, disparity, nearest[rows, np.maximum(columns - disparity, 0)] == disparity


def study(
    *,
    input: str | None = None,
    height: PositiveInt = 120,
    max_disparity: PositiveInt = 16,
    window: PositiveInt = 5,
    focal: float = 500.0,
    baseline: float = 0.1,
    seed: Seed = 0,
) -> StudyResult:
    """Match a stereo pair.

    Args:
      input: the left and the right image with a comma between; None for random dots.
      max_disparity: largest disparity tried, in pixels.
      window: odd side of the windows.
      focal: focal length in pixels, for the depth.
      baseline: distance between the cameras, in units of the depth.
    """
    if input is None:
        left, right, target, visible = random_dots(height, height * 5 // 3, seed)
    else:
        left, right = (image.mean(-1) for image in read_images(input, height)[:2])
    disparity_map = jax.jit(lambda a, b: block_matching(a, b, max_disparity, window))(left, right)
    disparity, mask = np.asarray(disparity_map.disparity), np.asarray(disparity_map.mask)
    depth = np.asarray(disparity_to_depth(disparity, focal, baseline, mask & (disparity > 0)))
    numbers = {"matched pixels": float(mask.mean()), "median depth": float(np.median(depth[mask]))}
    holds, headline = None, None
    verdict = (
        f"{numbers['matched pixels']:.1%} of the pixels match, at a median depth of {numbers['median depth']:.3g}."
    )
    if input is None:
        both = visible & mask
        bad, constant = (float((np.abs(d - target) > 1)[both].mean()) for d in (disparity, np.median(target)))
        numbers |= {"bad-1.0": bad, "bad-1.0 of a constant": constant}
        holds = bad <= 0.05
        verdict = (
            f"{bad:.1%} of the pixels that both cameras see are off by more than 1, {constant:.1%} for a constant."
        )
        headline = Headline("bad-1.0", bad, "random dots", tolerance=0.1)
    figure, axes = new_figure((9, 3), 1, 3)
    show_image(axes[0], left, "left image", cmap="gray")
    artist = show_image(axes[1], np.where(mask, disparity, np.nan), "disparity, px", cmap="viridis")
    figure.colorbar(artist, ax=axes[1], shrink=0.7)
    artist = show_image(axes[2], np.where(mask & np.isfinite(depth), depth, np.nan), "depth", cmap="magma_r")
    figure.colorbar(artist, ax=axes[2], shrink=0.7)
    return StudyResult(numbers, verdict, {"stereo": figure}, holds, headline=headline)


experiment = Study(__file__, __doc__, study, smoke={"height": 48})

if __name__ == "__main__":
    main(experiment)

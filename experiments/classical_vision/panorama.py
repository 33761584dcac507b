"""Stitch photographs from one point of view into one panorama.

python -m experiments.classical_vision.panorama
    two parts of a photograph, the second turned by 4° and at 0.8 of the light
python -m experiments.classical_vision.panorama --input=A.jpg,B.jpg,C.jpg

Neighbors are matched by SIFT, aligned by a homography (RANSAC), matched in exposure and feathered. Reported is the PSNR
of their overlap, which should be 28 dB or more, beside that of the images laid side by side without alignment.

Reference: Brown & Lowe 2007, "Automatic panoramic image stitching using invariant features".
"""

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.panorama import overlap_psnr, stitch
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import new_figure, show_image
from experiments.classical_vision.match import read_images, turn


def two_parts(image: np.ndarray, degrees: float, light: float) -> list[np.ndarray]:
    """The left 3/5 of an image, and its right 3/5 turned about their middle, dimmed and without the border."""
    part = image.shape[1] * 3 // 5
    border = max(1, len(image) // 16)
    right, _ = turn(image[:, -part:], degrees, 1.0, light)
    return [image[:, :part], right[border:-border, border:-border]]


def study(
    *,
    input: str | None = None,
    height: PositiveInt = 300,
    count: PositiveInt = 600,
    degrees: float = 4.0,
    light: float = 0.8,
    seed: Seed = 0,
) -> StudyResult:
    """Stitch images.

    Args:
      input: image files with commas between, neighbors in order; None for two parts of a photograph.
      count: keypoints of each image.
      degrees: degrees of the second part's turn without input.
      light: factor of the second part without input.
    """
    images = (
        two_parts(read_images("china", height, 1)[0], degrees, light) if input is None else read_images(input, height)
    )
    panorama = stitch(images, seed, count)
    tall, width = np.min([image.shape[:2] for image in images], 0)
    mask = jnp.ones((tall, width), bool)
    unaligned = float(
        overlap_psnr(jnp.asarray(images[0][:tall, :width]), jnp.asarray(images[1][:tall, :width]), mask)[0]
    )
    numbers = {
        "overlap PSNR, dB": panorama.psnr.tolist(),
        "inliers": panorama.inliers.tolist(),
        "unaligned PSNR, dB": unaligned,
        "canvas": list(panorama.image.shape[:2]),
    }
    least = float(panorama.psnr.min())
    verdict = f"The overlaps agree to {least:.1f} dB or more; unaligned, the first two agree to {unaligned:.1f} dB."
    figure, axes = new_figure((9, 4))
    show_image(axes, np.where(panorama.mask[..., None], np.clip(panorama.image, 0, 1), 1))
    inputs, tiles = new_figure((9, 2.6), 1, len(images))
    for ax, image in zip(np.ravel(tiles), images, strict=True):
        show_image(ax, image)
    headline = None if input else Headline("overlap PSNR, dB", least, "china")
    figures = {"panorama": figure, "images": inputs}
    return StudyResult(numbers, verdict, figures, None if input else least >= 28, headline)


experiment = Study(__file__, __doc__, study, smoke={"height": 160, "count": 300})

if __name__ == "__main__":
    main(experiment)

"""Match two images by SIFT, and keep what one homography explains.

python -m experiments.classical_vision.match
    a photograph, and the same turned by 20°, at 0.8 of the size and 0.7 of the light
python -m experiments.classical_vision.match --input=A.jpg,B.jpg

Without `--input` the true place of each point is known: reported is the part of the matches by the ratio test within
two pixels of it, which should be 0.8 or more, beside matches by raw 16 x 16 pixels around the same points.

Reference: Lowe 2004, "Distinctive image features from scale-invariant keypoints".
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.homography import apply_homography, ransac_homography
from dlcore.classical_vision.matching import match_descriptors
from dlcore.classical_vision.sift import Keypoints, sift
from dlcore.data.sample_images import sample_image
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import GREEN, VERMILION, new_figure, show_image

SMALLEST = 16
"""Pixels of a side of an image that `sift` needs; a smaller one that is enlarged has no detail."""


def read_images(names: str, height: int, count: int = 2) -> list[np.ndarray]:
    """Images [height, W, 3] in [0, 1] of names with commas between, at least `count`."""
    files = [name.strip() for name in names.split(",") if name.strip()]
    if len(files) < count:
        raise ValueError(f"input={names}: {len(files)} images; allowed: at least {count}, with commas between")
    return [sample_image(name, height, SMALLEST).astype(np.float32) / 255 for name in files]


def check_matches(mask: jax.Array, names: str | None) -> None:
    """Refuse images with fewer matches than a homography needs, such as those of one color."""
    if (number := int(mask.sum())) < 4:
        raise ValueError(f"input={names}: {number} matches; allowed: at least 4, images of one scene")


def turn(image: np.ndarray, degrees: float, scale: float, light: float) -> tuple[np.ndarray, np.ndarray]:
    """(the image [H, W, C] turned about its middle, scaled and dimmed; [3, 3] from its pixels to those)."""
    from scipy.ndimage import affine_transform, gaussian_filter

    cos, sin = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    matrix, middle = np.array([[cos, -sin], [sin, cos]]), (np.array(image.shape[1::-1]) - 1) / 2
    shift, inverse = middle - matrix @ middle, np.linalg.inv(matrix)
    smooth = gaussian_filter(image, (0.5 * max(1 / scale - 1, 0),) * 2 + (0,))
    planes = [
        affine_transform(smooth[..., c], inverse[::-1, ::-1], (inverse @ -shift)[::-1], order=3)
        for c in range(image.shape[2])
    ]
    other = light * np.clip(np.stack(planes, -1), 0, 1)
    return other.astype(np.float32), np.block([[matrix, shift[:, None]], [np.zeros((1, 2)), np.ones((1, 1))]])


def raw_patches(image: np.ndarray, keypoints: Keypoints) -> np.ndarray:
    """[N, 256]: the 16 x 16 pixels around each keypoint of a gray image, minus their mean, of norm 1."""
    padded = np.pad(image, 8, mode="edge")
    corners = np.clip(np.round(np.asarray(keypoints.points)).astype(int), 0, np.array(image.shape)[::-1] - 1)
    patches = np.stack([padded[r : r + 16, c : c + 16].ravel() for c, r in corners])
    patches = patches - patches.mean(1, keepdims=True)
    return patches / (np.linalg.norm(patches, axis=1, keepdims=True) + 1e-6)


def correct_fraction(first: Keypoints, second: Keypoints, matches, true_transform: np.ndarray) -> tuple[int, float]:
    """(matches whose true place [3, 3] is in reach, the part of them within two pixels of it)."""
    mask = np.asarray(matches.mask)
    expected = np.asarray(apply_homography(jnp.asarray(true_transform, jnp.float32), first.points))
    error = np.linalg.norm(np.asarray(second.points)[np.asarray(matches.index)] - expected, axis=1)
    return int(mask.sum()), float((error[mask] <= 2).mean()) if mask.any() else 0.0


def study(
    *,
    input: str | None = None,
    height: PositiveInt = 300,
    count: PositiveInt = 600,
    ratio: float = 0.8,
    degrees: float = 20.0,
    scale: float = 0.8,
    light: float = 0.7,
    seed: Seed = 0,
) -> StudyResult:
    """Match two images.

    Args:
      input: two image files with a comma between; None for a photograph and itself, turned, scaled and dimmed.
      count: keypoints of each image.
      ratio: ratio of the ratio test.
      degrees: degrees of the turn without input.
      scale: scale of the second image without input.
      light: factor of the second image without input.
      seed: seed of RANSAC.
    """
    true_transform = None
    if input is None:
        first_image = read_images("china", height, 1)[0]
        second_image, true_transform = turn(first_image, degrees, scale, light)
    else:
        first_image, second_image = read_images(input, height)[:2]
    detect = jax.jit(sift, static_argnums=1)
    first, second = (detect(jnp.asarray(image.mean(-1)), count) for image in (first_image, second_image))
    masks = {"first_mask": first.mask, "second_mask": second.mask}
    matches = match_descriptors(first.descriptors, second.descriptors, ratio, **masks)
    check_matches(matches.mask, input)
    estimate = ransac_homography(
        jax.random.key(seed), first.points, second.points[matches.index], 3.0, 500, mask=matches.mask
    )
    inliers = np.asarray(estimate.inliers)
    numbers = {"matches": int(matches.mask.sum()), "inliers of one homography": int(inliers.sum())}
    holds, headline = None, None
    verdict = f"{numbers['matches']} matches, of which one homography explains {numbers['inliers of one homography']}."
    if true_transform is not None:
        patches = [raw_patches(i.mean(-1), k) for i, k in ((first_image, first), (second_image, second))]
        raw = match_descriptors(*map(jnp.asarray, patches), ratio, **masks)
        (_, correct), (raw_count, raw_correct) = (
            correct_fraction(first, second, m, true_transform) for m in (matches, raw)
        )
        numbers |= {"correct": correct, "raw patches: matches": raw_count, "raw patches: correct": raw_correct}
        holds = correct >= 0.8 and numbers["matches"] >= 100
        verdict += f" {correct:.1%} are right to 2 pixels, of {raw_count} matches of raw pixels {raw_correct:.1%}."
        headline = Headline("correct matches", correct, "china")
    figure, axes = new_figure((9, 4))
    width, tall = first_image.shape[1], max(len(first_image), len(second_image))
    pair = np.ones((tall, width + second_image.shape[1], 3), np.float32)
    pair[: len(first_image), :width], pair[: len(second_image), width:] = first_image, second_image
    show_image(axes, pair)
    index, mask = np.asarray(matches.index), np.asarray(matches.mask)
    for row in np.flatnonzero(mask)[:200]:
        (x, y), (u, v) = np.asarray(first.points[row]), np.asarray(second.points[index[row]])
        axes.plot([x, u + width], [y, v], color=GREEN if inliers[row] else VERMILION, linewidth=0.5)
    return StudyResult(numbers, verdict, {"matches": figure}, holds, headline=headline)


experiment = Study(__file__, __doc__, study, smoke={"height": 80, "count": 60})

if __name__ == "__main__":
    main(experiment)

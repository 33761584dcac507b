"""A network that learnt names alone tells where the object is: its saliency starts GrabCut.

python -m experiments.segmentation.saliency_grabcut

A small network learns to name the single shape of a scene, or to say that there is none; it sees no mask. The gradient
of its highest score with respect to the pixels, blurred, says where the object is; GrabCut takes colors from the most
and the least salient pixels and cuts the object out. Measured is the IoU with the true mask, beside that of Otsu's
threshold on the saliency, and of the ellipse of the mean size in the middle. The claim holds where GrabCut's mean over
scenes and seeds is at least 0.80, and above both.

Measured over three seeds: GrabCut 0.832 (0.795 to 0.852), Otsu 0.469, the ellipse 0.130; the classifiers are right for
91 % of the 32 scenes. Other roundings of the first training gave 0.783 to 0.879. With a classifier that is right for
31 % (250 steps, width 8) GrabCut reached 0.758 on half as many scenes.

References: Simonyan, Vedaldi & Zisserman 2013, arXiv:1312.6034; Rother, Kolmogorov & Blake 2004.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.otsu import otsu_threshold
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.interpretability.saliency import gradient_saliency
from dlcore.main import main
from dlcore.report.figure import new_figure, show_image
from dlcore.segmentation.grabcut import grabcut
from experiments.studies.scene_classifier import NOTHING, Classifier, fit, single_shapes
from experiments.studies.small_detectors import standardize

GRABCUT, OTSU, ELLIPSE = "GrabCut", "Otsu on saliency", "ellipse in the middle"


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two masks [H, W]; 1 where both are empty."""
    return float((a & b).sum() / max((a | b).sum(), 1)) if (a | b).any() else 1.0


def center_ellipse(masks: np.ndarray) -> np.ndarray:
    """The ellipse of the masks' mean height and width, in the middle: [H, W] bool."""
    size = masks.shape[1:]
    sides = [np.mean([np.ptp(np.flatnonzero(m.any(1 - axis))) + 1 for m in masks]) for axis in (0, 1)]
    y, x = (np.arange(n) + 0.5 - n / 2 for n in size)
    return np.square(y[:, None] / sides[0] * 2) + np.square(x[None] / sides[1] * 2) <= 1


def cut_out(
    net: Classifier, train: dict, test: dict, steps: int, batch_size: int, blur: float, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, float]]:
    """Train a classifier of a seed on scenes of one shape, and cut out what its saliency shows in the test scenes.

    Returns {way: masks [N, H, W]}, the saliency [N, H, W] blurred by `blur` pixels, and the accuracy and GrabCut's
    processor seconds an image.
    """
    from scipy.ndimage import gaussian_filter

    variables = fit(net, train["image"], train["label"], steps, batch_size, seed)

    def score(x):
        return net.apply(variables, x)[0]

    x = standardize(jnp.asarray(test["image"]))
    right = float((np.asarray(jax.jit(score)(x)).argmax(1) == test["label"]).mean())
    maps = np.asarray(jax.jit(lambda x: gradient_saliency(score, x))(x))
    maps = np.stack([gaussian_filter(m, blur) for m in maps])
    start = time.process_time()
    cuts = {GRABCUT: np.stack([grabcut(image, m, seed=seed) for image, m in zip(test["image"], maps, strict=True)])}
    seconds = (time.process_time() - start) / len(maps)
    cuts[OTSU] = np.stack([m > otsu_threshold(m) for m in maps])
    return cuts, maps, {"accuracy of the classifier": right, "GrabCut: processor seconds an image": seconds}


def study(
    *,
    num_train: PositiveInt = 1600,
    num_test: PositiveInt = 32,
    image_size: PositiveInt = 48,
    width: PositiveInt = 12,
    steps: PositiveInt = 700,
    batch_size: PositiveInt = 32,
    blur: float = 2.0,
    num_seeds: PositiveInt = 3,
) -> StudyResult:
    """Train a classifier for each seed, and cut out what its saliency shows.

    Args:
      num_train: training scenes, a sixth of them empty.
      num_test: test scenes, none empty.
      image_size: side of the images, in pixels, a multiple of 4.
      width: channels of the first layer.
      blur: blur of the saliency, sigma in pixels.
    """
    train, test = single_shapes(num_train, 0, image_size, empty=1 / 6), single_shapes(num_test, 2, image_size)
    net, overlaps, numbers = Classifier(width, NOTHING + 1), [], {}
    ellipses = [center_ellipse(train["mask"][train["label"] < NOTHING])] * num_test
    for seed in range(num_seeds):
        cuts, maps, measured = cut_out(net, train, test, steps, batch_size, blur, seed)
        ways = {**cuts, ELLIPSE: ellipses}
        overlaps.append({way: list(map(intersection_over_union, masks, test["mask"])) for way, masks in ways.items()})
        numbers |= {f"{name}, seed {seed}": value for name, value in measured.items()}
        if not seed:
            figures = {"cuts": draw(test["image"], maps, cuts[GRABCUT], cuts[OTSU], test["mask"])}
    return report(overlaps, numbers, figures)


def report(overlaps: list[dict[str, list[float]]], numbers: dict, figures: dict) -> StudyResult:
    """Judge the IoU of each way and test scene, a dict for each seed."""
    means = {way: np.array([np.mean(overlap[way]) for overlap in overlaps]) for way in (GRABCUT, OTSU, ELLIPSE)}
    numbers = {f"mean IoU, {way}": values.tolist() for way, values in means.items()} | numbers
    right = [value for name, value in numbers.items() if name.startswith("accuracy")]
    listed = ", ".join(f"{way} {values.mean():.3f}" for way, values in means.items())
    verdict = f"Mean IoU with the true mask: {listed}; the classifiers are right for {np.mean(right):.1%}."
    best_baseline = max(means[OTSU].mean(), means[ELLIPSE].mean())
    holds = bool(means[GRABCUT].mean() >= 0.8 and means[GRABCUT].mean() > best_baseline)
    baseline = (float(best_baseline), "the better of Otsu's threshold and the ellipse", "higher")
    headline = Headline("mean IoU of GrabCut from saliency", means[GRABCUT], "scenes of one shape", 0.05, baseline)
    return StudyResult(numbers, verdict, figures, holds, headline)


def draw(images, maps, cuts, thresholds, masks):
    """Draw up to six scenes with their saliency, both cuts and the true mask."""
    count = min(6, len(images))
    figure, axes = new_figure((1.4 * count, 7.0), 5, count, squeeze=False)
    rows = {"scene": images, "saliency": maps, "Otsu": thresholds, "GrabCut": cuts, "truth": masks}
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for ax, picture in zip(line, pictures, strict=False):
            show_image(ax, picture, cmap=None if name == "scene" else "gray")
        line[0].set_title(name, fontsize=9)
    return figure


SMOKE = {"num_train": 16, "num_test": 2, "image_size": 32, "width": 4, "steps": 2, "batch_size": 4, "num_seeds": 1}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)

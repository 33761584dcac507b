"""A network that learned to name shapes has units that stand for one shape; a random network has fewer.

python -m experiments.interpretability.dissection

A small network learns to name the single shape of a scene, and sees no mask. Dissection then asks of each unit of its
last map whether the places that excite it most are those of one shape (IoU above 0.04: a detector), and how selective
its mean is for one class. Beside it stand the same network before training, and a planted unit: the true mask of the
squares, at the map's resolution, among noise.

Measured: 43 of 48 units of the trained network are detectors, of all five shapes (best IoU: circle 0.30, triangle 0.19,
ring 0.18, square 0.16, cross 0.13); 24 of the untrained one, of two shapes: any blob has a little in common with a
shape. Mean selectivity 0.10 and 0.06. The planted unit has 0.89 with squares.

The claim holds where the planted unit is found (IoU of at least 0.5 with squares, below 0.1 with all others) and the
trained network has more detectors than the random one.

References: Bau et al. 2017, arXiv:1704.05796; Morcos et al. 2018, arXiv:1803.06959.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.scenes import SHAPES
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.interpretability.dissection import DETECTOR, activation_thresholds, class_selectivity, concept_iou
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, new_figure
from experiments.studies.scene_classifier import Classifier, fit, single_shapes
from experiments.studies.small_detectors import standardize

PLANTED = SHAPES.index("square")


def planted_map(masks: np.ndarray, like: np.ndarray, seed: int) -> np.ndarray:
    """One channel of the size of `like` [N, h, w, D]: the share of each cell that a square covers, and some noise."""
    count, height, width = like.shape[:3]
    cells = masks[..., PLANTED].reshape(count, height, masks.shape[1] // height, width, masks.shape[2] // width)
    noise = 0.01 * np.random.default_rng(seed).random((count, height, width))
    return (cells.mean((2, 4)) + noise)[..., None].astype(np.float32)


def study(
    *,
    num_train: PositiveInt = 3000,
    num_test: PositiveInt = 300,
    image_size: PositiveInt = 48,
    width: PositiveInt = 12,
    steps: PositiveInt = 1500,
    batch_size: PositiveInt = 32,
    share: float = 0.02,
    seed: Seed = 0,
) -> StudyResult:
    """Train a classifier of scenes, and dissect its last map.

    Args:
      num_train: training scenes of one shape.
      num_test: scenes that are dissected.
      image_size: side of the images, in pixels, a multiple of 4.
      width: channels of the first layer.
      share: fraction of the places that are a unit's most exciting ones; a shape covers about as many.
    """
    train, test = single_shapes(num_train, 0, image_size), single_shapes(num_test, 1, image_size)
    labels = test["label"]
    masks = test["mask"][..., None] & (labels[:, None, None, None] == np.arange(len(SHAPES)))
    net, x = Classifier(width), np.asarray(standardize(jnp.asarray(test["image"])))
    run = jax.jit(net.apply)
    networks = {
        "trained": fit(net, train["image"], train["label"], steps, batch_size, seed),
        "untrained": net.init(jax.random.key(seed + 1), x[:1]),
    }
    iou, selectivity = {}, {}
    for name, variables in networks.items():
        logits, maps = run(variables, x)
        iou[name] = np.asarray(concept_iou(maps["last"], masks, activation_thresholds(maps["last"], share)))
        selectivity[name] = class_selectivity(np.asarray(maps["last"].mean((1, 2))), labels).index
        if name == "trained":
            right = float((np.asarray(logits).argmax(1) == labels).mean())
            planted = jnp.asarray(planted_map(masks, np.asarray(maps["last"]), seed))
            iou["planted"] = np.asarray(concept_iou(planted, masks, jnp.array([0.5])))
    return report(iou, selectivity, right)


def report(iou: dict[str, np.ndarray], selectivity: dict[str, np.ndarray], right: float) -> StudyResult:
    """The numbers, the verdict and the figures."""
    numbers: dict[str, Any] = {"accuracy": right}
    detectors = {}
    for name in ("trained", "untrained"):
        best = iou[name].max(1)
        detectors[name] = int((best > DETECTOR).sum())
        numbers[f"detectors, {name}"] = detectors[name]
        numbers[f"concepts with a detector, {name}"] = len(set(iou[name].argmax(1)[best > DETECTOR].tolist()))
        numbers[f"selectivity, {name}"] = float(selectivity[name].mean())
        numbers |= {f"best IoU, {shape}, {name}": float(v) for shape, v in zip(SHAPES, iou[name].max(0), strict=True)}
    planted, largest_other = float(iou["planted"][0, PLANTED]), float(np.delete(iou["planted"][0], PLANTED).max())
    numbers |= {"IoU of the planted unit": planted, "IoU of the planted unit with other shapes": largest_other}
    units = len(iou["trained"])
    best = ", ".join(f"{shape} {numbers[f'best IoU, {shape}, trained']:.2f}" for shape in SHAPES)
    verdict = (
        f"{detectors['trained']} of {units} units of the trained network are detectors of a shape, "
        f"{detectors['untrained']} of {len(iou['untrained'])} of the untrained one; the best IoU: {best}. Mean "
        f"selectivity {numbers['selectivity, trained']:.2f} and {numbers['selectivity, untrained']:.2f}. The planted "
        f"unit has an IoU of {planted:.2f} with squares, at most {largest_other:.2f} with others. The network names "
        f"{right:.0%} of the scenes."
    )
    holds = planted >= 0.5 and largest_other < 0.1 and detectors["trained"] > detectors["untrained"]
    headline = Headline("units that detect a shape", detectors["trained"], "scenes of one shape", tolerance=0.3)
    return StudyResult(numbers, verdict, {"units": draw(iou)}, bool(holds), headline)


def draw(iou: dict[str, np.ndarray]):
    """The best IoU of each unit, the largest first."""
    figure, ax = new_figure((6.5, 3.2))
    for name, color in (("trained", BLUE), ("untrained", GRAY)):
        best = np.sort(iou[name].max(1))[::-1]
        ax.plot(np.arange(1, len(best) + 1), best, ".-", color=color, label=name)
    ax.axhline(DETECTOR, color=GRAY, linewidth=1, linestyle="--")
    ax.text(1, DETECTOR, " a detector from here", fontsize=7, va="bottom")
    ax.set(xlabel="unit, the best first", ylabel="IoU with its best shape", ylim=(0, None))
    ax.legend(frameon=False, fontsize=8)
    return figure


SMOKE = {"num_train": 16, "num_test": 10, "image_size": 32, "width": 4, "steps": 2, "batch_size": 4}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)

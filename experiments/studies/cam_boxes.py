"""Do class activation maps find objects for a network that learned their names and saw no box?

python -m experiments.studies.cam_boxes            (CorLoc 0.24 at the paper's share: no; 0.79 at a share of 0.5)

A small network whose head is one dense layer on the mean of the last map learns to name the single shape of a scene.
Its class activation map is resized to the image, and a box is put around the largest part above a share of the maximum.
CorLoc is the fraction of the scenes whose box has an IoU of at least 0.5 with the object's. Beside it stand the box of
the mean size in the middle, and the same network with random weights. The claim, the catalogue's: CorLoc above 0.5 in
every seed, and above both.

Reference: Zhou, Khosla, Lapedriza, Oliva & Torralba 2016, arXiv:1512.04150 (a share of 0.2).
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.scenes import SHAPES
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.interpretability.cam import class_activation_map, resize_map
from dlcore.interpretability.scores import box_of_map
from dlcore.main import main
from dlcore.nn import Conv, GroupNorm
from dlcore.ops import global_avg_pool
from dlcore.report.figure import VERMILION, new_figure, show_image
from experiments.studies.attribution import corloc
from experiments.studies.scene_classifier import fit, single_shapes
from experiments.studies.small_detectors import standardize

SHARES = (0.2, 0.3, 0.4, 0.5)


class MeanPooled(nn.Module):
    """Images [B, H, W, 3] -> (logits of the mean of the last map, {"last": map [B, H / 4, W / 4, 4 width]})."""

    width: int = 12

    @nn.compact
    def __call__(self, x):
        for i, (factor, stride) in enumerate([(1, 2), (2, 1), (2, 2), (4, 1), (4, 1)]):
            x = Conv(factor * self.width, (3, 3), stride, padding=1, name=f"conv{i}")(x)
            x = nn.relu(GroupNorm(4, name=f"norm{i}")(x))
        return nn.Dense(len(SHAPES), name="head")(global_avg_pool(x)), {"last": x}


class Localization(NamedTuple):
    """What is measured of one network: CorLoc by share of the maximum, accuracy, and the boxes of the first share."""

    corloc: dict[float, float]
    accuracy: float
    boxes: np.ndarray
    maps: np.ndarray


def localize(net: nn.Module, variables: Any, images: np.ndarray, labels: np.ndarray, boxes: np.ndarray) -> Localization:
    """Put boxes around the class activation maps of the true classes."""

    @jax.jit
    def maps_of(variables, images):
        logits, features = net.apply(variables, standardize(images))
        kernel = variables["params"]["head"]["kernel"]
        maps = jnp.maximum(class_activation_map(features["last"], kernel, jnp.asarray(labels)), 0)
        return logits, resize_map(maps, images.shape[1:3])

    logits, maps = (np.asarray(v) for v in maps_of(variables, jnp.asarray(images)))
    boxes_by_threshold = {threshold: np.stack([box_of_map(m, threshold) for m in maps]) for threshold in SHARES}
    scores = {threshold: corloc(b, boxes) for threshold, b in boxes_by_threshold.items()}
    return Localization(scores, float((logits.argmax(1) == labels).mean()), boxes_by_threshold[SHARES[0]], maps)


def report(trained: list[Localization], untrained: list[Localization], middle: float, test: dict) -> StudyResult:
    """Judge CorLoc at the paper's share."""
    each = [row.corloc[SHARES[0]] for row in trained]
    random = [row.corloc[SHARES[0]] for row in untrained]
    holds = all(a > max(0.5, b, middle) for a, b in zip(each, random, strict=True))
    by_share = ", ".join(f"{np.mean([row.corloc[s] for row in trained]):.2f} at {s:g}" for s in SHARES)
    verdict = (
        f"CorLoc by share of the maximum: {by_share}; random weights {np.mean(random):.2f}, the box in the middle "
        f"{middle:.2f}. The networks name {np.mean([row.accuracy for row in trained]):.0%} of the scenes."
    )
    count = min(6, len(test["image"]))
    figure, axes = new_figure((1.6 * count, 3.6), 2, count, squeeze=False)
    for i in range(count):
        for ax, picture in zip(axes[:, i], (test["image"][i], trained[0].maps[i]), strict=True):
            show_image(ax, picture, cmap="magma")
            ax.autoscale(False)
            for box, color in ((test["box"][i], "white"), (trained[0].boxes[i], VERMILION)):
                x, y, right, bottom = box - 0.5
                ax.plot([x, right, right, x, x], [y, y, bottom, bottom, y], color=color, lw=1.5)
        axes[0, i].set_title(SHAPES[test["label"][i]], fontsize=8)
    numbers: dict[str, Any] = {f"CorLoc at {s:g}": [row.corloc[s] for row in trained] for s in SHARES}
    numbers |= {"CorLoc, random weights": random, "CorLoc, box in the middle": middle}
    headline = Headline(
        "CorLoc of CAM's boxes", each, "scenes of one shape", tolerance=0.1, baseline=(middle, "middle box", "higher")
    )
    figures = {"scenes and maps (white: the object's box, red: the map's)": figure}
    return StudyResult(numbers, verdict, figures, holds, headline=headline)


def study(
    *,
    num_train: Annotated[int, Range(8)] = 3000,
    num_test: Annotated[int, Range(2)] = 200,
    image_size: Annotated[int, Range(16)] = 48,
    width: Annotated[int, Range(4)] = 12,
    steps: PositiveInt = 2000,
    num_seeds: PositiveInt = 1,
) -> StudyResult:
    """Localize objects by the class activation maps of classifiers.

    Args:
      num_train: training scenes of one shape.
      width: channels of the first layer, a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"width={width}: not a multiple of 4; allowed: {width - width % 4}")
    data, test = single_shapes(num_train, 0, image_size), single_shapes(num_test, 1, image_size)
    sides = (data["box"][:, 2:] - data["box"][:, :2]).mean(0)
    middle = np.tile(np.concatenate([image_size / 2 - sides / 2, image_size / 2 + sides / 2]), (num_test, 1))
    net, trained, untrained = MeanPooled(width), [], []
    for seed in range(num_seeds):
        variables = fit(net, data["image"], data["label"], steps, 32, seed)
        random = net.init(jax.random.key(seed + 100), standardize(jnp.asarray(test["image"][:1])))
        for results, weights in ((trained, variables), (untrained, random)):
            results.append(localize(net, weights, test["image"], test["label"], test["box"]))
    return report(trained, untrained, corloc(middle, test["box"]), test)


experiment = Study(
    __file__, __doc__, study, smoke={"num_train": 16, "num_test": 6, "image_size": 32, "width": 4, "steps": 2}
)

if __name__ == "__main__":
    main(experiment)

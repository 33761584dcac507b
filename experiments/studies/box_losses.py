"""Where boxes do not overlap, the IoU loss stands still; GIoU, DIoU and CIoU bring them together, CIoU fastest.

python -m experiments.studies.box_losses

As in section 3 of the paper, boxes of seven scales and seven shapes, spread over a disk around (10, 10), are drawn to
seven unit-area targets at its center by gradient descent on center, width and height, the step multiplied by 2 - IoU.
The paper has 5,000 places; the loss on the coordinates is the smooth L1. The claim holds where after the last step the
mean L1 distance of the boxes to their targets falls from IoU over GIoU to DIoU and CIoU, and where under the IoU loss
boxes that began without overlap have not moved.

Measured with the defaults: the distance is 3.57 (IoU), 0.036 (GIoU), 0.047 (DIoU), 0.019 (CIoU) and 0.0001 (smooth L1).
So the claim did not hold in one place: at the last step GIoU is ahead of DIoU, which does not pull at the shape.

Reference: Zheng et al. 2019, "Distance-IoU loss", arXiv:1911.08287; Rezatofighi et al. 2019, arXiv:1902.09630 (GIoU).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Seed, Study, StudyResult
from dlcore.losses.detection import complete_iou_loss, distance_iou_loss, generalized_iou_loss, iou_loss
from dlcore.losses.regression import smooth_l1_loss
from dlcore.main import main
from dlcore.ops.boxes import box_convert, paired_box_iou
from dlcore.report.figure import PALETTE, new_figure

LOSSES = {
    "smooth L1": lambda boxes, targets: 4 * smooth_l1_loss(boxes, targets),  # the sum over four coordinates
    "IoU": iou_loss,
    "GIoU": generalized_iou_loss,
    "DIoU": distance_iou_loss,
    "CIoU": complete_iou_loss,
}
RATIOS = (1 / 4, 1 / 3, 1 / 2, 1.0, 2.0, 3.0, 4.0)
SCALES = (0.5, 0.67, 0.75, 1.0, 1.33, 1.5, 2.0)
RADIUS = 3.0


def shapes(areas: tuple[float, ...]) -> np.ndarray:
    """(width, height) [areas x 7, 2] of boxes of the given areas and the seven ratios."""
    area, ratio = (g.ravel() for g in np.meshgrid(areas, RATIOS, indexing="ij"))
    return np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], 1)


def cases(num_places: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(start boxes, targets), both [places x 49 x 7, 4] as center x, center y, width, height."""
    rng = np.random.default_rng(seed)
    radius, angle = RADIUS * np.sqrt(rng.random(num_places)), 2 * np.pi * rng.random(num_places)
    centers = 10 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    anchors, targets = shapes(SCALES), shapes((1.0,))
    grid = np.stack([g.ravel() for g in np.meshgrid(*map(range, (num_places, 49, 7)), indexing="ij")])
    start = np.concatenate([centers[grid[0]], anchors[grid[1]]], 1)
    return start, np.concatenate([np.full((len(start), 2), 10.0), targets[grid[2]]], 1)


@functools.partial(jax.jit, static_argnums=(0, 3))
def descend(name: str, start: jax.Array, targets: jax.Array, steps: int, rate: float) -> tuple[jax.Array, jax.Array]:
    """(mean L1 distance after each step [steps], last boxes [N, 4] as center x, center y, width, height)."""

    def corners(boxes):
        return box_convert(boxes, "cxcywh", "xyxy")

    def step(boxes, _):
        gradients = jax.grad(lambda b: LOSSES[name](corners(b), corners(targets)).sum())(boxes)
        iou = paired_box_iou(corners(boxes), corners(targets))
        boxes = boxes - rate * (2 - iou)[:, None] * gradients
        boxes = boxes.at[:, 2:].set(jnp.maximum(boxes[:, 2:], 0.01))
        return boxes, jnp.abs(boxes - targets).sum(-1).mean()

    boxes, distance = jax.lax.scan(step, start, None, steps)
    return distance, boxes


def judge(last: dict[str, float], moved: float) -> bool:
    """Whether the last distances fall from IoU to CIoU, and disjoint boxes under IoU have not moved."""
    return last["IoU"] > last["GIoU"] > last["DIoU"] >= last["CIoU"] and moved < 1e-6


def draw(curves: dict[str, np.ndarray]):
    figure, axes = new_figure((7.0, 3.8), grid="both")
    for color, (name, curve) in zip(PALETTE, curves.items(), strict=False):
        axes.plot(1 + np.arange(len(curve)), curve, color=color, label=name)
    axes.set(xlabel="step", ylabel="mean L1 distance to the target", yscale="log")
    axes.legend(frameon=False)
    return figure


def study(
    *, num_places: PositiveInt = 500, steps: PositiveInt = 200, learning_rate: NonNegativeFloat = 0.1, seed: Seed = 0
) -> StudyResult:
    """Draw boxes to their targets by each loss.

    Args:
      num_places: places on the disk; at each start 49 boxes for each of 7 targets.
      steps: steps of gradient descent.
      learning_rate: first learning rate; a tenth of it after 80% of the steps.
    """
    start, targets = (jnp.asarray(v, jnp.float32) for v in cases(num_places, seed))
    corners = [box_convert(v, "cxcywh", "xyxy") for v in (start, targets)]
    disjoint = np.asarray(paired_box_iou(*corners) == 0)
    curves, moved = {}, 0.0
    for name in LOSSES:
        early, boxes = descend(name, start, targets, steps * 4 // 5, learning_rate)
        late, boxes = descend(name, boxes, targets, steps - steps * 4 // 5, learning_rate / 10)
        curves[name] = np.concatenate([early, late]).astype(np.float64)
        if name == "IoU":
            moved = float(np.abs(np.asarray(boxes - start))[disjoint].max(initial=0))
    last = {name: float(curve[-1]) for name, curve in curves.items()}
    verdict = (
        f"Mean L1 distance after {steps} steps: "
        + ", ".join(f"{name} {value:.3f}" for name, value in last.items())
        + f". {disjoint.mean():.0%} of the boxes begin without overlap; under the IoU loss they move by {moved:.1g}."
    )
    numbers = {f"{name}: last distance": value for name, value in last.items()}
    numbers |= {"share without overlap": float(disjoint.mean()), "their largest move under IoU": moved}
    headline = Headline("mean L1 distance, CIoU", last["CIoU"], "simulated boxes", tolerance=0.05)
    return StudyResult(numbers, verdict, {"box_losses": draw(curves)}, judge(last, moved), headline)


experiment = Study(__file__, __doc__, study, smoke={"num_places": 4, "steps": 10})

if __name__ == "__main__":
    main(experiment)

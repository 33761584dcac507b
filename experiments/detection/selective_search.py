"""Selective search finds nearly all objects with a few hundred boxes, where random boxes need thousands.

python -m experiments.detection.selective_search

Scenes of colored shapes on textures. Recall@n is the share of true boxes that one of the first n proposals overlaps
with an IoU of at least 0.5, and the mean best overlap is that of all of them. The claim holds where recall@2000 is at
least 0.95, and above the recall of as many random boxes as selective search makes.

Measured on 100 scenes: 207 proposals an image, recall@100 0.986 and @500 1.000; random boxes reach 0.445, 0.791 and
@2000 0.953, and 0.611 with 207.

Reference: Uijlings, van de Sande, Gevers & Smeulders 2013, "Selective search for object recognition".
"""

import time

import numpy as np

from dlcore.data.scenes import scenes
from dlcore.detection.selective_search import random_boxes, selective_search
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.ops.boxes import box_iou
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure, show_image

BUDGETS = (100, 500, 2000)


def overlaps(proposals: np.ndarray, boxes: np.ndarray, most: int) -> np.ndarray:
    """Best IoU of each true box [M, 4] with the first 1, 2, ..., `most` proposals: [M, most]."""
    padded = np.zeros((most, 4), np.float32)
    padded[: len(proposals)] = proposals[:most]
    return np.maximum.accumulate(np.asarray(box_iou(boxes, padded)), 1)


def draw(curves: dict[str, np.ndarray], image: np.ndarray, boxes: np.ndarray, proposals: np.ndarray):
    """Draw recall by the number of proposals, and the best proposal of each object of a scene."""
    figure, (left, right) = new_figure((8.0, 3.4), 1, 2, width_ratios=(3, 2))
    for (name, values), color in zip(curves.items(), (BLUE, VERMILION), strict=True):
        left.plot(1 + np.arange(values.shape[1]), (values >= 0.5).mean(0), color=color, label=name)
    left.set(xscale="log", xlabel="proposals", ylabel="recall at IoU .5", ylim=(0, 1.03))
    left.legend(frameon=False)
    left.grid(alpha=0.3)
    show_image(right, image, "30 proposals (gray), objects, and the best proposals")
    best = proposals[np.asarray(box_iou(boxes, proposals)).argmax(1)]
    for group, color, style in ((proposals[:30], GRAY, ":"), (boxes, GREEN, "-"), (best, VERMILION, "--")):
        for x1, y1, x2, y2 in group:
            right.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=color, ls=style, lw=1)
    return figure


def study(*, num_scenes: PositiveInt = 100, image_size: PositiveInt = 96, seed: Seed = 0) -> StudyResult:
    """Measure the recall of selective search and of random boxes.

    Args:
      num_scenes: scenes.
    """
    source = scenes(num_scenes, 2, size=image_size, largest=image_size // 2, empty=0.0)
    most, recalls, counts, seconds = BUDGETS[-1], {"selective search": [], "random boxes": []}, [], 0.0
    for i in range(num_scenes):
        image, boxes, valid = (source.arrays[name][i] for name in ("image", "boxes", "box_mask"))
        start = time.process_time()
        proposals = selective_search(image, max_proposals=most, seed=seed)
        seconds += time.process_time() - start
        random_proposals = random_boxes(most, image.shape[:2], seed=seed + i)
        recalls["selective search"].append(overlaps(proposals, boxes[valid], most))
        recalls["random boxes"].append(overlaps(random_proposals, boxes[valid], most))
        counts.append(len(proposals))
        if i == 0:
            example = image, boxes[valid], proposals
    curves = {name: np.concatenate(parts) for name, parts in recalls.items()}
    recall = {name: {n: float((c[:, n - 1] >= 0.5).mean()) for n in BUDGETS} for name, c in curves.items()}
    numbers = {f"recall@{n}, {name}": recall[name][n] for name in curves for n in BUDGETS}
    numbers |= {f"mean best overlap, {name}": float(c[:, -1].mean()) for name, c in curves.items()}
    mean_count, each = float(np.mean(counts)), seconds / num_scenes
    same = float((curves["random boxes"][:, round(mean_count) - 1] >= 0.5).mean())
    numbers |= {f"recall of {mean_count:.0f} random boxes": same, "proposals an image": mean_count}
    numbers["processor seconds an image"] = each
    ours = recall["selective search"]
    verdict = (
        f"{mean_count:.0f} proposals an image in {each:.2f} processor seconds: recall "
        + ", ".join(f"{100 * ours[n]:.1f}% @{n}" for n in BUDGETS)
        + f", mean best overlap {numbers['mean best overlap, selective search']:.3f}; random boxes "
        + ", ".join(f"{100 * recall['random boxes'][n]:.1f}% @{n}" for n in BUDGETS)
        + f", {100 * same:.1f}% as many as selective search makes."
    )
    holds = ours[most] >= 0.95 and ours[most] > same
    headline = Headline("recall@2000 of selective search", ours[most], "scenes")
    return StudyResult(numbers, verdict, {"recall": draw(curves, *example)}, bool(holds), headline)


experiment = Study(__file__, __doc__, study, smoke={"num_scenes": 2, "image_size": 48})

if __name__ == "__main__":
    main(experiment)

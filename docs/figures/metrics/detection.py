"""Figure of dlcore.metrics.detection; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.metrics.detection import average_precision, match_detections, precision_recall_curve
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["detection"]


def detection() -> "Figure":
    """Precision and recall of 22 detections of 20 objects, and what false boxes cost.

    Left: precision after each detection (gray) and its best value at this recall or above (blue); the area below is the
    average precision. Right: average precision with further false boxes. With low scores they cost nothing; with high
    scores, or as doubles of right boxes, they cost much.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    truth = np.array([[30.0 * i, 0, 30 * i + 20, 20] for i in range(20)])
    rng = np.random.default_rng(2)
    hits = np.concatenate([truth[:16] + rng.uniform(-1.5, 1.5, (16, 4)), truth[:6] + 900])
    scores = np.concatenate([rng.uniform(0.4, 0.95, 16), rng.uniform(0.3, 0.85, 6)])
    correct = match_detections(hits, scores, truth)
    precision, recall = precision_recall_curve(correct, scores, 20)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    left.plot(recall, precision, "o--", color=GRAY, markersize=3, linewidth=1)
    left.step(np.r_[0, recall], np.r_[envelope[0], envelope], where="pre", color=BLUE)
    left.fill_between(np.r_[0, recall], np.r_[envelope[0], envelope], step="pre", color=BLUE, alpha=0.15)
    area = average_precision(correct, scores, 20)
    left.text(0.3, 0.35, f"area {area:.2f}", color=BLUE)
    left.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.05))
    counts, far = np.arange(17), truth[:16] + np.array([0, 500, 0, 500])
    kinds = (
        ("low scores", far, np.full(16, 0.1), BLUE, "-"),
        ("doubles", hits[:16], scores[:16] - 0.001, GRAY, "-."),
        ("high scores", far, np.full(16, 0.99), VERMILION, "--"),
    )
    for name, boxes, more, color, style in kinds:
        values = []
        for count in counts:
            all_scores = np.concatenate([scores, more[:count]])
            matched = match_detections(np.concatenate([hits, boxes[:count]]), all_scores, truth)
            values.append(average_precision(matched, all_scores, 20))
        right.plot(counts, values, style, color=color, label=name)
    right.set(xlabel="further false boxes", ylabel="average precision", ylim=(0, 1))
    right.legend(frameon=False, fontsize=8, loc="lower left")
    return figure

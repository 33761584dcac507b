"""Report panels of few-shot episodes."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from dlcore.ops.checks import check_finite, check_shapes
from dlcore.report.panel import Panel
from dlcore.report.pictures import data_uri, strip, to_uint8
from dlcore.report.tables import table

__all__ = ["accuracies", "episode"]

ROWS = {
    "accuracy": "this network",
    "untrained_accuracy": "untrained network",
    "pixel_means_accuracy": "class means of pixels",
}


def accuracies(numbers: Mapping[str, Any], spec: Mapping[str, Any]) -> Panel:
    """Show the accuracy beside trivial baselines.

    Args:
      numbers: `accuracy`, `interval` (None for one episode), metrics of ROWS, and those of `episode_accuracy`.
      spec: facts of the data: `way`, `shot`, and `characters`, the numbers for training, validation and test.

    Returns:
      The panel.
    """
    rows = [{"": text, "accuracy, %": 100 * numbers[name]} for name, text in ROWS.items() if name in numbers]
    rows[0]["95 % interval"] = _half_width(numbers["interval"])
    rows.append({"": "chance", "accuracy, %": 100 / spec["way"]})
    for name in [name for name in numbers if name.startswith("accuracy_")]:
        half = _half_width(numbers[name.replace("accuracy", "interval")])
        way, shot = name.removeprefix("accuracy_").removesuffix("shot").split("way")
        title = f"this network, {way}-way {shot}-shot"
        rows.append({"": title, "accuracy, %": 100 * numbers[name], "95 % interval": half})
    train, _, test = spec["characters"]
    kind = f"{spec['shot']}-shot" if spec["shot"] else "zero-shot, classes described by attributes"
    subtitle = f"{spec['way']}-way {kind}; {test} test characters; training used {train} others."
    return table(rows, "Episodes of the test", subtitle)


def _half_width(interval: float | None) -> str:
    """Half the interval in percent; one episode has none."""
    return "" if interval is None else f"± {100 * interval:.2f}"


def episode(supports: np.ndarray | None, queries: np.ndarray, logits: np.ndarray, classes: int = 8) -> Panel:
    """Show one episode: supports of each class, and the queries that were predicted as it.

    Args:
      supports: [1, W, S, H, W, C], or None.
      queries: [1, W, Q, H, W, C].
      logits: [W Q, W]; query i has class i // Q.
      classes: largest number of classes.

    Returns:
      The panel.
    """
    check_shapes(classes=(classes, "int >= 1"), queries=(queries, "1 W Q H L C"))
    way, num_queries = queries.shape[1:3]
    check_shapes(supports=(supports, f"1 {way} S H L C or None"), logits=(logits, f"{way * num_queries} {way}"))
    check_finite("logits", logits)
    predicted, images = logits.argmax(-1), queries[0].reshape(-1, *queries.shape[3:])

    def picture(pictures: np.ndarray) -> str:
        return f'<img alt="" src="{data_uri(strip(to_uint8(pictures)))}">' if len(pictures) else ""

    rows = []
    for k in range(min(way, classes)):
        is_class = np.arange(way * num_queries) // num_queries == k
        cells = [images[(predicted == k) & is_class], images[(predicted == k) & ~is_class]]
        cells = ["" if supports is None else picture(supports[0, k]), *map(picture, cells)]
        rows.append(f'<tr><th scope="row">{k + 1}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    names = ("class", "supports", "correct queries", "wrong queries")
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    html = f'<div class="scroll"><table class="classes"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
    return Panel("An episode", html + "</table></div>")

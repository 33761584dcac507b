"""Episodes of few-shot learning, as panels of a report."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from dlcore.report.panel import Panel
from dlcore.report.pictures import data_uri, strip, to_uint8
from dlcore.report.tables import table

__all__ = ["accuracies", "episode"]

ROWS = {"accuracy": "this network", "untrained_accuracy": "the same, untrained", "pixel_accuracy": "means of pixels"}


def accuracies(numbers: Mapping[str, float], spec: Mapping[str, Any]) -> Panel:
    """Show the accuracy beside what is trivial.

    Args:
      numbers: `accuracy`, `interval`, of ROWS those that there are, and those of `episode_accuracy`.
      spec: `way`, `shot` and `characters`, those of training, validation and test.

    Returns:
      The panel.
    """
    rows = [{"": text, "accuracy, %": round(100 * numbers[name], 2)} for name, text in ROWS.items() if name in numbers]
    rows[0]["95 % interval"] = f"± {100 * numbers['interval']:.2f}"
    rows.append({"": "chance", "accuracy, %": round(100 / spec["way"], 2)})
    for name in [name for name in numbers if name.startswith("accuracy_")]:
        half = numbers[name.replace("accuracy", "interval")]
        way, shot = name.removeprefix("accuracy_").removesuffix("shot").split("way")
        title = f"this network, {way}-way {shot}-shot"
        rows.append({"": title, "accuracy, %": round(100 * numbers[name], 2), "95 % interval": f"± {100 * half:.2f}"})
    train, _, test = spec["characters"]
    kind = f"{spec['shot']}-shot" if spec["shot"] else "zero-shot, classes described by attributes"
    note = f"{spec['way']}-way {kind}; {test} characters that training, on {train} others, has not seen."
    return table(rows, "Episodes of the test", note)


def episode(supports: np.ndarray | None, queries: np.ndarray, logits: np.ndarray, classes: int = 8) -> Panel:
    """Show one episode: of each class its supports, and the queries that it was taken for.

    Args:
      supports: [1, W, S, H, W, C], or None.
      queries: [1, W, Q, H, W, C].
      logits: [W Q, W], query i being of class i // Q.
      classes: the most that are shown.

    Returns:
      The panel.
    """
    way, each = queries.shape[1:3]
    guess, images = logits.argmax(-1), queries[0].reshape(-1, *queries.shape[3:])

    def shown(pictures: np.ndarray) -> str:
        return f'<img alt="" src="{data_uri(strip(to_uint8(pictures)))}">' if len(pictures) else ""

    rows = []
    for k in range(min(way, classes)):
        own = np.arange(way * each) // each == k
        cells = [images[(guess == k) & own], images[(guess == k) & ~own]]
        cells = ["" if supports is None else shown(supports[0, k]), *map(shown, cells)]
        rows.append(f'<tr><th scope="row">{k + 1}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    names = ("class", "supports", "queries that it got", "and wrongly")
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    html = f'<div class="scroll"><table class="classes"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
    return Panel("An episode", html + "</table></div>")

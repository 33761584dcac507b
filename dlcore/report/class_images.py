"""Images by class: what training makes of them, and those that a classifier is surest and least sure of."""

from collections.abc import Sequence
from html import escape

import numpy as np

from dlcore.report.panel import Panel
from dlcore.report.pictures import data_uri, strip, to_uint8

__all__ = ["best_and_worst", "training_images"]


def training_images(
    images: np.ndarray, versions: np.ndarray, names: Sequence[str], note: str = "", title: str = "Training images"
) -> Panel:
    """Show images of the training split, each beside what training makes of it.

    Args:
      images: [N, H, W, C], as they are in the data.
      versions: [V, N, H', W', C], what the network gets, in [0, 1] or uint8.
      names: N texts, such as the images' classes.
      note: a line under the title.
      title: title of the panel.

    Returns:
      The panel.
    """
    shown = to_uint8(images)
    shown = shown[..., None] if shown.ndim == 3 else shown
    cells = []
    for i, name in enumerate(names):
        own = data_uri(strip(shown[i : i + 1], 0))
        drawn = data_uri(strip(versions[:, i], 0))
        cells.append(
            f'<tr><th scope="row">{escape(str(name))}</th><td><img alt="" src="{own}"></td>'
            f'<td><img alt="" src="{drawn}"></td></tr>'
        )
    head = "<tr><th></th><th>in the data</th><th>in training</th></tr>"
    html = (
        f'<div class="scroll"><table class="classes"><thead>{head}</thead><tbody>{"".join(cells)}</tbody></table></div>'
    )
    return Panel(title, html, note, half=True)


def best_and_worst(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str] | None = None,
    count: int = 7,
    max_classes: int = 12,
    title: str = "Best and worst by class",
) -> Panel:
    """Show, of each class, the examples to which the classifier gave it the highest and the lowest probability.

    Args:
      images: [N, H, W, C] as `dlcore.report.pictures.to_uint8` takes them.
      labels: [N] int, the true classes.
      probabilities: [N, K].
      class_names: K names; None for numbers.
      count: the most images of each kind; a class of fewer than twice as many shows half of its examples in each.
      max_classes: the most classes that are shown; of more, those of the lowest recall.
      title: title of the panel.

    Returns:
      The panel.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    names = [str(k) for k in range(probabilities.shape[1])] if class_names is None else class_names
    own, right = probabilities[np.arange(len(labels)), labels], probabilities.argmax(-1) == labels
    present = np.unique(labels)
    recall = {int(k): right[labels == k].mean() for k in present}
    chosen = present if len(present) <= max_classes else np.sort(np.array(sorted(recall, key=recall.get)[:max_classes]))
    rows = []
    for k in chosen:
        order = np.flatnonzero(labels == k)
        order = order[np.argsort(-own[order], kind="stable")]
        each = min(count, max(1, len(order) // 2))
        cells = ""
        for which in (order[:each], order[-each:][::-1] if len(order) > 1 else order[:0]):
            picture = f'<img alt="" src="{data_uri(strip(images[which], 0))}">' if len(which) else ""
            span = f"{100 * own[which].max():.0f} – {100 * own[which].min():.0f} %" if len(which) else ""
            cells += f'<td>{picture}</td><td class="rate">{span}</td>'
        rows.append(
            f'<tr><th scope="row">{escape(str(names[k]))}</th><td class="number">{100 * recall[int(k)]:.1f} %</td>'
            f"{cells}</tr>"
        )
    head = "<tr><th></th><th>recall</th><th>surest of it</th><th></th><th>least sure of it</th><th></th></tr>"
    html = (
        f'<div class="scroll"><table class="classes"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
    which = "" if len(chosen) == len(present) else f"The {len(chosen)} of {len(present)} classes of lowest recall. "
    note = f"{which}Test images, with the range of the probability of their own class."
    return Panel(title, html, note)

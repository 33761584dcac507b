"""Images by class: their augmentations, and those with the highest and the lowest predicted probability."""

from collections.abc import Sequence
from html import escape

import numpy as np

from dlcore.ops.checks import check_class_ids, check_finite, check_shapes
from dlcore.report.panel import Panel
from dlcore.report.pictures import data_uri, strip, to_uint8

__all__ = ["best_and_worst", "training_images"]


def training_images(
    images: np.ndarray, versions: np.ndarray, names: Sequence[str], subtitle: str = "", title: str = "Training images"
) -> Panel:
    """Show training images beside their augmentations.

    Args:
      images: [N, H, W, C], the original images.
      versions: [V, N, H', W', C], the augmented images, in [0, 1] or uint8.
      names: N texts, such as the images' classes.
      subtitle: a line under the title.
      title: title of the panel.

    Returns:
      The panel.
    """
    if np.ndim(versions) != 5 or not len(names) == len(images) == np.shape(versions)[1]:
        shape = np.shape(versions)
        raise ValueError(
            f"versions={shape}, names={len(names)}: for {len(images)} images; allowed: [V, N, H, W, C] and N"
        )
    pixels = to_uint8(images)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    cells = []
    for i, name in enumerate(names):
        original = data_uri(strip(pixels[i : i + 1], 0))
        augmented = data_uri(strip(versions[:, i], 0))
        cells.append(
            f'<tr><th scope="row">{escape(str(name))}</th><td><img alt="" src="{original}"></td>'
            f'<td><img alt="" src="{augmented}"></td></tr>'
        )
    head = "<tr><th></th><th>in the data</th><th>in training</th></tr>"
    html = (
        f'<div class="scroll"><table class="classes"><thead>{head}</thead><tbody>{"".join(cells)}</tbody></table></div>'
    )
    return Panel(title, html, subtitle, half=True)


def best_and_worst(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str] | None = None,
    count: int = 7,
    max_classes: int = 12,
    title: str = "Best and worst by class",
) -> Panel:
    """Show each class's examples with the highest and the lowest probability of that class.

    Args:
      images: [N, H, W, C] as `dlcore.report.pictures.to_uint8` takes them.
      labels: [N] int, the true classes.
      probabilities: [N, K].
      class_names: K names; None for numbers.
      count: largest number of images on each side; a class with fewer than twice as many shows half on each.
      max_classes: largest number of classes; the ones with the lowest recall are shown.
      title: title of the panel.

    Returns:
      The panel.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    check_shapes(count=(count, "int >= 1"), max_classes=(max_classes, "int >= 1"))
    check_shapes(labels=(labels, f"int {len(images)}"), probabilities=(probabilities, f"{len(images)} K"))
    check_class_ids("labels", labels, probabilities.shape[1])
    check_finite("probabilities", probabilities)
    if class_names is not None and len(class_names) != probabilities.shape[1]:
        classes = probabilities.shape[1]
        raise ValueError(f"class_names={len(class_names)} names: wrong length; allowed: {classes}, one a class")
    names = [str(k) for k in range(probabilities.shape[1])] if class_names is None else class_names
    probs, correct = probabilities[np.arange(len(labels)), labels], probabilities.argmax(-1) == labels
    present = np.unique(labels)
    recall = {int(k): correct[labels == k].mean() for k in present}
    ids = present if len(present) <= max_classes else np.sort(np.array(sorted(recall, key=recall.get)[:max_classes]))
    rows = []
    for k in ids:
        order = np.flatnonzero(labels == k)
        order = order[np.argsort(-probs[order], kind="stable")]
        per_side = min(count, max(1, len(order) // 2))
        cells = ""
        for idx in (order[:per_side], order[-per_side:][::-1] if len(order) > 1 else order[:0]):
            picture = f'<img alt="" src="{data_uri(strip(images[idx], 0))}">' if len(idx) else ""
            texts = (
                dict.fromkeys(f"{100 * end:.0f}" for end in (probs[idx].max(), probs[idx].min())) if len(idx) else {}
            )
            span = f"{' – '.join(texts)} %" if texts else ""
            cells += f'<td>{picture}</td><td class="rate">{span}</td>'
        rows.append(
            f'<tr><th scope="row">{escape(str(names[k]))}</th><td class="number">{100 * recall[int(k)]:.1f} %</td>'
            f"{cells}</tr>"
        )
    head = "<tr><th></th><th>recall</th><th>highest probability</th><th></th><th>lowest probability</th><th></th></tr>"
    html = (
        f'<div class="scroll"><table class="classes"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
    idx = "" if len(ids) == len(present) else f"The {len(ids)} of {len(present)} classes with the lowest recall. "
    subtitle = f"{idx}Test images, with the range of the probability of their true class."
    return Panel(title, html, subtitle)

"""Panels of a classifier: confusion matrix, worst mistakes, reliability diagram."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from dlcore.ops.checks import check_class_ids, check_counts, check_finite, check_shapes
from dlcore.report.chart import INK, SERIES, SURFACE, chart_svg, legend_key, new_chart, percent_ticks
from dlcore.report.figure import BLUE, VERMILION, rgb
from dlcore.report.panel import Panel
from dlcore.report.pictures import captioned_images, data_uri, to_uint8
from dlcore.report.tables import table

__all__ = ["confusion_matrix", "reliability_diagram", "worst_mistakes"]

_ANNOTATED_CLASSES = 20
_HALF_CLASSES = 10
_CORRECT, _INCORRECT = rgb(BLUE), rgb(VERMILION)


def confusion_matrix(
    counts: np.ndarray, class_names: Sequence[str] | None = None, title: str = "Confusion matrix"
) -> Panel:
    """Show the confusion matrix.

    Up to 20 classes it is a table with each class's recall and precision; beyond, a picture beside the most frequent
    confusions and the classes with the lowest recall. The color scale is logarithmic in a cell's fraction of its row,
    so that rare errors are visible.

    Args:
      counts: int [C, C], true classes in rows and predicted classes in columns.
      class_names: C names; None for numbers.
      title: title of the panel.

    Returns:
      The panel.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"counts={counts.shape}: wrong shape; allowed: [C, C]")
    names = [str(name) for name in (range(len(counts)) if class_names is None else class_names)]
    if len(names) != len(counts):
        raise ValueError(f"class_names={len(names)} names: wrong length; allowed: {len(counts)}, one a class")
    check_counts("counts", counts)
    fraction = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    intensity = np.log1p(199 * fraction) / np.log(200)
    total = counts.sum()
    subtitle = f"Rows are the true class, columns the predicted one; {np.trace(counts):,} of {total:,} on the diagonal."
    if len(counts) <= _ANNOTATED_CLASSES:
        html = _annotated(counts, names, intensity)
    else:
        html = f'<div class="columns"><div class="wide">{_heat_map(intensity)}</div>{_hardest(counts, names)}</div>'
    return Panel(title, html, subtitle, half=len(counts) <= _HALF_CLASSES)


def _annotated(counts: np.ndarray, names: list[str], intensity: np.ndarray) -> str:
    correct = np.diag(counts)
    recall, precision = _rates(correct, counts.sum(1)), _rates(correct, counts.sum(0))
    tall = "tall" if max(map(len, names)) > 4 else ""
    head = "".join(f'<th scope="col" class="{tall}"><span>{escape(name)}</span></th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(names[i])}</th>'
        + "".join(
            _count_cell(counts[i, j], intensity[i, j], i == j, f"{names[i]} → {names[j]}") for j in range(len(names))
        )
        + f'<td class="rate">{recall[i]}</td></tr>'
        for i in range(len(names))
    )
    foot = "".join(f'<td class="rate">{rate}</td>' for rate in precision)
    return (
        '<div class="scroll"><table class="confusion"><thead>'
        f'<tr><th class="axis">predicted →<br>true ↓</th>{head}<th class="axis">recall, %</th></tr></thead>'
        f'<tbody>{rows}<tr><th class="axis">precision, %</th>{foot}<td></td></tr></tbody></table></div>'
    )


def _count_cell(count: int, intensity: float, is_correct: bool, label: str) -> str:
    if count == 0:
        return '<td class="none">·</td>'
    red, green, blue = _CORRECT if is_correct else _INCORRECT
    color = f"rgba({red},{green},{blue},{0.14 + 0.58 * intensity:.2f})"
    return f'<td style="background:{color}" title="{escape(label)}: {count:,}">{count:,}</td>'


def _heat_map(intensity: np.ndarray) -> str:
    """Draw one square per cell; intensity is opacity, which suits light and dark pages."""
    classes = len(intensity)
    image = np.zeros((classes, classes, 4), np.uint8)
    image[..., :3] = np.where(np.eye(classes, dtype=bool)[..., None], _CORRECT, _INCORRECT)
    image[..., 3] = np.rint(255 * intensity)
    scale = max(1, 640 // classes)
    last = classes - 1
    caption = f"true class 0 (top) to {last} (bottom), predicted class 0 (left) to {last} (right)"
    return (
        f'<figure><img class="clear" alt="confusion matrix of {classes} classes" src="{data_uri(image, scale)}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _hardest(counts: np.ndarray, names: list[str], count: int = 10) -> str:
    """List the most frequent confusions and the classes with the lowest recall."""
    errors = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    pairs = np.argsort(-errors, axis=None, kind="stable")[:count]
    confusions = [
        {"true": names[i], "predicted": names[j], "times": int(errors[i, j])}
        for i, j in zip(*np.unravel_index(pairs, errors.shape), strict=True)
        if errors[i, j] > 0
    ]
    present = np.flatnonzero(counts.sum(1))
    recall = np.diag(counts)[present] / counts.sum(1)[present]
    worst = [{"class": names[present[k]], "recall": f"{100 * recall[k]:.1f} %"} for k in np.argsort(recall)[:count]]
    parts = (("Most frequent confusions", confusions), ("Lowest recall", worst))
    return "<div>" + "".join(f"<h3>{name}</h3>{table(rows).html}" for name, rows in parts if rows) + "</div>"


def _rates(correct: np.ndarray, totals: np.ndarray) -> list[str]:
    return [f"{100 * hit / total:.1f}" if total else "" for hit, total in zip(correct, totals, strict=True)]


def worst_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str] | None = None,
    count: int = 24,
    title: str = "Worst mistakes",
) -> Panel:
    """Show the wrong predictions with the highest confidence.

    Args:
      images: [N, H, W, C] as `dlcore.report.pictures.to_uint8` takes them.
      labels: [N] int, the true classes.
      probabilities: [N, K].
      class_names: K names; None for numbers.
      count: largest number of images.
      title: title of the panel.

    Returns:
      The panel.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if not len(images) == len(labels) == len(probabilities):
        raise ValueError(
            f"labels={len(labels)} labels: wrong length for {len(images)} images and {len(probabilities)} rows of "
            "probabilities; allowed: equal lengths"
        )
    if probabilities.ndim != 2:
        raise ValueError(f"probabilities={probabilities.shape}: wrong shape; allowed: [N, K]")
    if class_names is None:
        class_names = [str(number) for number in range(probabilities.shape[1])]
    if len(class_names) != probabilities.shape[1]:
        classes = probabilities.shape[1]
        raise ValueError(f"class_names={len(class_names)} names: wrong length; allowed: {classes}, one a class")
    check_shapes(labels=(labels, "int N"), probabilities=(probabilities, "N K"))
    check_shapes(count=(count, "int >= 1"))
    check_class_ids("labels", labels, probabilities.shape[1])
    check_finite("probabilities", probabilities)
    predicted = probabilities.argmax(-1)
    errors = np.flatnonzero(predicted != labels)
    if not len(errors):
        return Panel(title, f"<p>No mistakes in {len(labels):,} examples.</p>")
    worst = errors[np.argsort(-probabilities[errors].max(-1), kind="stable")][:count]
    captions = [
        f'<span class="highlight">{escape(str(class_names[predicted[i]]))} {100 * probabilities[i].max():.0f} %</span>'
        f"<br>is {escape(str(class_names[labels[i]]))}"
        for i in worst
    ]
    selection = (
        f"the {len(worst)} of highest confidence" if len(worst) < len(errors) else "all, the most confident first"
    )
    subtitle = (
        f"{len(errors):,} of {len(labels):,} predictions are wrong; {selection}. In color: prediction and confidence."
    )
    pictures = images[worst] if hasattr(images, "dtype") else np.asarray(images)[worst]
    return Panel(title, captioned_images(to_uint8(pictures), captions), subtitle, half=True)


def reliability_diagram(calibration: Mapping[str, Any] | None, title: str = "Calibration", about: str = "") -> Panel:
    """Show the reliability diagram: accuracy by confidence, and the histogram of confidences.

    Args:
      calibration: result of `dlcore.metrics.Calibration.compute()`; None if there were no examples.
      title: title of the panel.
      about: a sentence that is added to the numbers, such as what makes the error.

    Returns:
      The panel.
    """
    if calibration is None:
        return Panel(title, "<p>There are no examples.</p>")
    figure, (top, bottom) = new_chart((5.4, 4.6), 2, height_ratios=(3, 1), sharex=True)
    count, edges = np.asarray(calibration["bin_count"]), np.asarray(calibration["bin_edges"])
    accuracy, confidence = np.asarray(calibration["bin_accuracy"]), np.asarray(calibration["bin_confidence"])
    nonempty, width = count > 0, np.diff(edges)
    keys = [legend_key("accuracy", 1)]
    style = {"align": "edge", "edgecolor": SURFACE, "linewidth": 0.8}
    top.bar(edges[:-1][nonempty], np.minimum(accuracy, confidence)[nonempty], width[nonempty], color=SERIES[0], **style)
    for low, high, name, number in (
        (accuracy, confidence, "overconfident by", 2),
        (confidence, accuracy, "underconfident by", 6),
    ):
        gap = nonempty & (high > low)
        if gap.any():
            top.bar(edges[:-1][gap], (high - low)[gap], width[gap], low[gap], color=SERIES[number - 1], **style)
            keys.append(legend_key(name, number))
    top.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    top.set(ylim=(0, 1), xlim=(0, 1), ylabel="accuracy")
    bottom.bar(edges[:-1], count / count.sum(), width, color=SERIES[2], **style)
    bottom.set(xlabel="confidence", ylabel="fraction")
    bottom.tick_params("x", pad=7)
    for axis in (top.yaxis, bottom.yaxis, bottom.xaxis):
        axis.set_major_formatter(percent_ticks())
    keys.append(legend_key("fraction of examples", 3))
    chart = f"<figure><figcaption>{''.join(keys)}</figcaption>{chart_svg(figure, 'reliability diagram')}</figure>"
    subtitle = (
        f"Accuracy {100 * (count * accuracy).sum() / count.sum():.1f} % at a mean confidence of "
        f"{100 * calibration['mean_confidence']:.1f} %. Their gap is {100 * calibration['ece']:.2f} % on average "
        f"(expected calibration error) and {100 * calibration['mce']:.1f} % in the worst bin. {about}"
    ).rstrip()
    html = f"{chart}<details><summary>As numbers</summary>{_bins(count, confidence, accuracy)}</details>"
    return Panel(title, html, subtitle, half=True)


def _bins(count: np.ndarray, conf: np.ndarray, acc: np.ndarray) -> str:
    """Tabulate the nonempty bins."""
    cells = [(f"{100 * s:.1f} %", f"{100 * r:.1f} %", f"{n:,}") for n, s, r in zip(count, conf, acc, strict=True) if n]
    rows = "".join("<tr>" + "".join(f'<td class="number">{cell}</td>' for cell in row) + "</tr>" for row in cells)
    head = "".join(f'<th class="number">{name}</th>' for name in ("confidence", "accuracy", "examples"))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'

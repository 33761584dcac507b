"""The panels of a report: curves, images, filters, confusions, calibration, tables and text.

Each function takes host arrays or plain values and returns a `Panel` for `dlcore.report.html.render`.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from dlcore.report.curves import curves, reliability
from dlcore.report.html import Panel, definition_table
from dlcore.report.pictures import data_uri, examples, filters, worst_mistakes

__all__ = [
    "Panel",
    "confusion_matrix",
    "curves",
    "examples",
    "filters",
    "reliability",
    "table",
    "text",
    "worst_mistakes",
]

_ANNOTATED_CLASSES = 20
_RIGHT, _WRONG = (0, 114, 178), (213, 94, 0)


def text(title: str, body: str, note: str = "") -> Panel:
    """Plain text; blank lines part paragraphs."""
    paragraphs = (f"<p>{escape(part.strip())}</p>" for part in body.split("\n\n") if part.strip())
    return Panel(title, "".join(paragraphs), note)


def table(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], title: str = "Table", note: str = "") -> Panel:
    """A table of rows that share names (a blank for a missing or None value), or of one mapping's names and values."""
    if isinstance(rows, Mapping):
        return Panel(title, definition_table(rows), note)
    names = list(dict.fromkeys(name for row in rows for name in row))
    numeric = {name for name in names if all(isinstance(row.get(name), int | float | None) for row in rows)}
    kinds = {name: ' class="number"' if name in numeric else "" for name in names}
    head = "".join(f"<th{kinds[name]}>{escape(str(name))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td{kinds[name]}>{escape(_cell(row.get(name)))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    html = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return Panel(title, html, note)


def confusion_matrix(
    counts: np.ndarray, class_names: Sequence[str] | None = None, title: str = "Confusion matrix"
) -> Panel:
    """What was taken for what. counts: int [C, C], rows true. class_names: C names, or None for numbers.

    Up to 20 classes it is a table with each class's recall and precision; beyond, a picture with the commonest
    confusions and the hardest classes beside it. The colour grows with the logarithm of a cell's share of its row, so
    that rare errors are seen. Raises ValueError where counts is not square or names are missing.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"counts has shape {counts.shape}; it must be [C, C]")
    names = [str(name) for name in (range(len(counts)) if class_names is None else class_names)]
    if len(names) != len(counts):
        raise ValueError(f"class_names has {len(names)} entries for {len(counts)} classes")
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    strength = np.log1p(199 * share) / np.log(200)
    total = counts.sum()
    note = f"Rows are the true class, columns the predicted one; {np.trace(counts):,} of {total:,} on the diagonal."
    if len(counts) <= _ANNOTATED_CLASSES:
        html = _annotated(counts, names, strength)
    else:
        html = f'<div class="columns"><div class="wide">{_heat_map(strength)}</div>{_hardest(counts, names)}</div>'
    return Panel(title, html, note)


def _annotated(counts: np.ndarray, names: list[str], strength: np.ndarray) -> str:
    hits = np.diag(counts)
    recall, precision = _rates(hits, counts.sum(1)), _rates(hits, counts.sum(0))
    tall = "tall" if max(map(len, names)) > 4 else ""
    head = "".join(f'<th scope="col" class="{tall}"><span>{escape(name)}</span></th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(names[i])}</th>'
        + "".join(
            _count_cell(counts[i, j], strength[i, j], i == j, f"{names[i]} → {names[j]}") for j in range(len(names))
        )
        + f'<td class="rate">{recall[i]}</td></tr>'
        for i in range(len(names))
    )
    foot = "".join(f'<td class="rate">{rate}</td>' for rate in precision)
    return (
        '<div class="scroll"><table class="confusion"><thead>'
        f'<tr><th class="axis">true ↓ &nbsp; predicted →</th>{head}<th class="axis">recall</th></tr></thead>'
        f'<tbody>{rows}<tr><th class="axis">precision</th>{foot}<td></td></tr></tbody></table></div>'
    )


def _count_cell(count: int, strength: float, right: bool, label: str) -> str:
    if count == 0:
        return '<td class="none">·</td>'
    red, green, blue = _RIGHT if right else _WRONG
    colour = f"rgba({red},{green},{blue},{0.14 + 0.58 * strength:.2f})"
    return f'<td style="background:{colour}" title="{escape(label)}: {count:,}">{count:,}</td>'


def _heat_map(strength: np.ndarray) -> str:
    """One square a cell; transparency carries the strength, so that it suits light and dark pages."""
    classes = len(strength)
    image = np.zeros((classes, classes, 4), np.uint8)
    image[..., :3] = np.where(np.eye(classes, dtype=bool)[..., None], _RIGHT, _WRONG)
    image[..., 3] = np.rint(255 * strength)
    scale = max(1, 640 // classes)
    last = classes - 1
    caption = f"true class 0 (top) to {last} (bottom), predicted class 0 (left) to {last} (right)"
    return (
        f'<figure><img class="clear" alt="confusion matrix of {classes} classes" src="{data_uri(image, scale)}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _hardest(counts: np.ndarray, names: list[str], count: int = 10) -> str:
    """The commonest confusions and the classes found least often."""
    errors = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    pairs = np.argsort(-errors, axis=None, kind="stable")[:count]
    confusions = [
        {"true": names[i], "predicted": names[j], "times": int(errors[i, j])}
        for i, j in zip(*np.unravel_index(pairs, errors.shape), strict=True)
        if errors[i, j] > 0
    ]
    seen = np.flatnonzero(counts.sum(1))
    share = np.diag(counts)[seen] / counts.sum(1)[seen]
    worst = [{"class": names[seen[k]], "recall": f"{100 * share[k]:.1f} %"} for k in np.argsort(share)[:count]]
    parts = (("Commonest confusions", confusions), ("Lowest recall", worst))
    return "<div>" + "".join(f"<h3>{name}</h3>{table(rows).html}" for name, rows in parts if rows) + "</div>"


def _rates(hits: np.ndarray, totals: np.ndarray) -> list[str]:
    return [f"{100 * hit / total:.1f} %" if total else "" for hit, total in zip(hits, totals, strict=True)]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

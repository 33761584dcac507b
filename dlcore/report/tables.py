"""Panels of text and of tables."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dlcore.report.panel import Panel

__all__ = ["definition_table", "table", "text"]


def text(title: str, body: str, subtitle: str = "") -> Panel:
    """Show plain text.

    Args:
      title: title of the panel.
      body: plain text, escaped; blank lines separate paragraphs.
      subtitle: a line under the title.

    Returns:
      The panel.
    """
    paragraphs = (f"<p>{escape(part.strip())}</p>" for part in body.split("\n\n") if part.strip())
    return Panel(title, "".join(paragraphs), subtitle)


def table(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], title: str = "Table", subtitle: str = "") -> Panel:
    """Show rows, or one mapping, as a table.

    Args:
      rows: rows by column name, blank for missing or None values; or one mapping, shown as names beside values.
      title: title of the panel.
      subtitle: a line under the title.

    Returns:
      The panel.
    """
    if not isinstance(rows, Mapping | Sequence) or not all(isinstance(row, Mapping | str) for row in rows):
        raise ValueError(f"rows={type(rows).__name__}: no rows; allowed: a list of dicts, or one dict")
    if isinstance(rows, Mapping):
        return Panel(title, definition_table({name: _cell(value) for name, value in rows.items()}), subtitle)
    names = list(dict.fromkeys(name for row in rows for name in row))
    numeric = {name for name in names if all(isinstance(row.get(name), int | float | None) for row in rows)}
    kinds = {name: ' class="number"' if name in numeric else "" for name in names}
    head = "".join(f"<th{kinds[name]}>{escape(str(name))}</th>" for name in names)
    body = "".join(
        "<tr>"
        + "".join(f"<td{kinds[name] or _unit(row.get(name))}>{escape(_cell(row.get(name)))}</td>" for name in names)
        + "</tr>"
        for row in rows
    )
    html = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return Panel(title, html, subtitle)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _unit(value: Any) -> str:
    """The class of a cell that keeps a share or a size beside its unit."""
    return ' class="unit"' if re.fullmatch(r"[-\d.,]+ (%|([KMGT]i)?B)", str(value)) else ""


def definition_table(rows: Mapping[str, Any]) -> str:
    """Lay out names and values as a table of two columns.

    Args:
      rows: {name: value}, both escaped.

    Returns:
      HTML.
    """
    cells = (f"<tr><th scope='row'>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in rows.items())
    return f'<div class="scroll"><table class="pairs">{"".join(cells)}</table></div>'

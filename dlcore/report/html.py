"""A run's report as one HTML file: headline numbers, panels, and settings.

The file is self-contained (no script, no external address), follows the reader's light or dark mode, and works on a
phone and in print.
"""

import itertools
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dlcore.report.figure import BLUE, GREEN, SKY, VERMILION
from dlcore.report.measures import explain_measure
from dlcore.report.panel import Panel
from dlcore.report.tables import definition_table

__all__ = ["render"]


def render(
    title: str,
    panels: Sequence[Panel],
    summary: Mapping[str, str],
    subtitle: str = "",
    details: Mapping[str, Mapping[str, Any]] | None = None,
    banner: str = "",
) -> str:
    """Render a report as one HTML file. All text but the panels' `html` is escaped; panels without `html` are left out.

    Args:
      title: the heading, and the browser's title.
      panels: the sections in order; four or more get a table of contents.
      summary: the headline numbers, {name: formatted value}, shown as cards in this order.
      subtitle: a line under the title; empty for none.
      details: collapsed tables by name, such as {"Settings": {...}, "Environment": {...}}; empty ones are left out.
      banner: warning above the title, for example of a smoke test; empty for none.

    Returns:
      The file's text.
    """
    panels = _in_pairs([panel for panel in panels if panel.html])
    return _PAGE.format(
        banner=f'<p class="banner" role="note">{escape(banner)}</p>' if banner else "",
        title=escape(title),
        style=_STYLE,
        subtitle=f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else "",
        cards=_cards(summary),
        contents=_contents(panels),
        panels=_sections(panels),
        details="\n".join(
            f"<details><summary>{escape(name)}</summary>{definition_table(rows)}</details>"
            for name, rows in (details or {}).items()
            if rows
        ),
    )


def _cards(summary: Mapping[str, str]) -> str:
    if not summary:
        return ""
    named = ((explain_measure(str(name), "dt").replace("_", "_<wbr>"), escape(str(v))) for name, v in summary.items())
    cards = (f"<div>{name}<dd>{v}</dd></div>" for name, v in named)
    return f'<dl class="cards">{"".join(cards)}</dl>'


def _contents(panels: Sequence[Panel]) -> str:
    if len(panels) < 4:
        return ""
    names = (panel.title.partition(":")[0] for panel in panels)
    links = (f'<a href="#panel-{number}">{escape(name)}</a>' for number, name in enumerate(names, 1))
    return f'<nav aria-label="Contents">{"".join(links)}</nav>'


def _in_pairs(panels: Sequence[Panel]) -> list[Panel]:
    """Order the panels so that half-width panels come in pairs."""
    rest, ordered, halves = list(panels), [], 0
    while rest:
        panel = rest.pop(0)
        halves = halves + 1 if panel.half else 0
        ordered.append(panel)
        if halves % 2 and not (rest and rest[0].half):
            neighbor = next((other for other in rest if other.half), None)
            if neighbor is not None:
                rest.remove(neighbor)
                ordered.append(neighbor)
    return ordered


def _sections(panels: Sequence[Panel]) -> str:
    """Render the panels, half-width neighbors side by side."""
    rows = itertools.groupby(enumerate(panels, 1), key=lambda numbered: numbered[1].half)
    html = []
    for half, numbered in rows:
        sections = [_section(number, panel) for number, panel in numbered]
        html += [f'<div class="halves">{"".join(sections)}</div>'] if half else sections
    return "\n".join(html)


def _section(number: int, panel: Panel) -> str:
    subtitle = f'<p class="note">{escape(panel.subtitle)}</p>' if panel.subtitle else ""
    return f'<section id="panel-{number}"><h2>{escape(panel.title)}</h2>{subtitle}{panel.html}</section>'


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>{banner}<h1>{title}</h1>{subtitle}{cards}{contents}</header>
<main>
{panels}
{details}
</main>
</body>
</html>
"""

# --c1 ... --c6: Okabe and Ito's palette, told apart by readers of every color vision; lifted a little in dark mode.
_LIGHT = f"""
--page: #f4f5f7; --surface: #ffffff; --ink: #1c2126; --muted: #5c6670; --line: #dfe3e8; --gap: #b9c4cf;
--c1: {BLUE}; --c2: {VERMILION}; --c3: {GREEN}; --c4: #b0518a; --c5: #b87f00; --c6: #3d97cc;
"""
_DARK = f"""
--page: #111418; --surface: #1a1f25; --ink: #e7eaee; --muted: #a0abb6; --line: #343c45; --gap: #3e5166;
--c1: {SKY}; --c2: #ff8a3d; --c3: #2cc79a; --c4: #e39ac4; --c5: #f0b53a; --c6: #8fd0f5;
"""

_STYLE = (
    f":root {{ {_LIGHT} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}\n"
    + """
* { box-sizing: border-box; }
html { color-scheme: light dark; -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0 auto; padding: clamp(16px, 4vw, 40px); max-width: 1640px; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif; }
h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 0; }
p { margin: .4rem 0; max-width: 90ch; }
.subtitle, .note, figcaption, dt { color: var(--muted); }
.banner { margin: 0 0 1rem; padding: 10px 14px; max-width: none; border: 1px solid var(--c2); border-radius: 10px;
  border-left-width: 6px; background: var(--surface); font-weight: 600; }
[title] { text-decoration: underline dotted var(--muted); text-underline-offset: 3px; cursor: help; }
.subtitle { overflow-wrap: anywhere; max-width: none; }
.cards { display: flex; flex-wrap: wrap; gap: 12px;
  margin: 1.4rem 0 0; }
.cards div, section, details { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; }
.cards div { flex: 1 1 112px; min-width: max-content; max-width: 280px; padding: 12px 14px; }
.cards dt { width: 0; min-width: 100%; overflow-wrap: anywhere; }
.cards dd { white-space: nowrap; font-size: 1.4rem; }
dt { font-size: .85rem; }
dd { margin: 0; font-size: 1.55rem; font-weight: 650; line-height: 1.25; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }
.measures { margin: 0; columns: 2 380px; column-gap: 36px; } .measures dt { font-weight: 600; color: var(--ink); }
.measures dd { font-size: .9rem; font-weight: 400; margin: 0 0 .5rem; break-inside: avoid; break-before: avoid; }
nav { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 1.2rem 0 0; font-size: .92rem; }
a { color: var(--c1); text-underline-offset: 3px; }
section, details { margin: 20px 0; padding: clamp(14px, 2.5vw, 24px); }
.halves { display: grid; gap: 20px; margin: 20px 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 540px), 1fr)); }
.halves section { margin: 0; min-width: 0; } .halves svg { max-width: 620px; }
.halves > :last-child:nth-child(odd) { grid-column: 1 / -1; }
section > * + * { margin-top: 12px; }
section > .note { margin-top: 2px; }
summary { cursor: pointer; font-weight: 600; }
details .scroll { margin-top: 10px; }
section details { border: 0; padding: 0; margin: 12px 0 0; } section summary { font-weight: 400; color: var(--muted); }
figure { margin: 0; min-width: 0; }
section > figure + figure { margin-top: 16px; }
figcaption { font-size: .88rem; line-height: 1.35; }
svg { display: block; width: 100%; height: auto; overflow: visible; fill: var(--ink); }
svg text { font-family: inherit; }
.charts { display: flex; flex-wrap: wrap; gap: 22px 28px; align-items: end; }
.charts figure { flex: 1 1 min(100%, 400px); max-width: 820px; }
.charts.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 290px), 1fr)); }
.charts figcaption b { color: var(--ink); font-weight: 600; margin-right: .7em; overflow-wrap: anywhere; }
.key { display: inline-block; margin-right: .9em; color: var(--ink); font-variant-numeric: tabular-nums; }
.key::before { content: ""; display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .4em;
  background: var(--color); }
.images { display: grid; gap: 14px 12px; grid-template-columns: repeat(auto-fill, minmax(108px, 1fr)); }
.images img { width: 100%; border-radius: 4px; }
.images.large { grid-template-columns: repeat(auto-fill, minmax(min(100%, 280px), 1fr)); }
.images.strips { grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); }
.images.strips.narrow { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.tight td, .tight th { padding: 4px 6px; }
.classes td, .classes th { vertical-align: middle; padding: 3px 10px 3px 0; white-space: nowrap; }
.classes img { height: 40px; width: auto; max-width: none; }
.images figcaption { font-size: .84rem; margin-top: 4px; overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; image-rendering: pixelated; background: var(--line); }
img.smooth { image-rendering: auto; }
img.clear { background: none; border: 1px solid var(--line); }
img.tiles { background: var(--gap); }
.once { max-width: none; font-size: .88rem; } .once b { font-weight: 600; margin: 0 .4em 0 .6em; }
.highlight { color: var(--c2); font-weight: 600; }
.scroll { overflow-x: auto; background: linear-gradient(90deg, var(--surface) 30%, transparent) 0 0 / 40px 100% local,
  linear-gradient(-90deg, var(--surface) 30%, transparent) 100% 0 / 40px 100% local,
  linear-gradient(90deg, var(--gap), transparent) 0 0 / 12px 100% scroll,
  linear-gradient(-90deg, var(--gap), transparent) 100% 0 / 12px 100% scroll; background-repeat: no-repeat; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
td.number, th.number { text-align: right; }
td.number, th.number, td.unit { white-space: nowrap; }
.pairs th { color: var(--muted); font-weight: 500; white-space: nowrap; }
.pairs td { overflow-wrap: anywhere; font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace;
  font-size: .85rem; }
.confusion th, .confusion td { border: 0; padding: 0; text-align: center; vertical-align: middle; }
.confusion td { border: 1px solid var(--surface); height: 36px; min-width: 41px; padding: 0 3px; }
.halves .confusion td { min-width: 33px; padding: 0 1px; } .halves .confusion th { padding: 3px 2px; }
.confusion th { font-weight: 500; padding: 3px 5px; }
.confusion tbody th { text-align: right; white-space: nowrap; }
.confusion thead th.tall { vertical-align: bottom; }
.tall span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; display: inline-block; }
.confusion .axis, .confusion .rate { color: var(--muted); font-size: .84rem; white-space: nowrap; }
.confusion .none { color: var(--muted); opacity: .45; }
.columns { display: grid; gap: 20px 36px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 260px), 1fr));
  align-items: start; }
.wide { grid-column: span 2; }
h3:not(:first-child) { margin-top: 18px; }
h3 { font-size: .95rem; margin: 0 0 6px; }
pre + pre { margin-top: 8px; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .88rem; }
@media (max-width: 640px) { svg { --text: 1.45; } .charts.small svg { --text: 1; }
  .wide { grid-column: auto; } .images { grid-template-columns: repeat(3, 1fr); }
  .confusion { font-size: .76rem; } .confusion .axis { font-size: .7rem; white-space: normal; }
  .confusion .rate { font-size: .6rem; }
  .confusion td, .halves .confusion td { min-width: 23px; height: 26px; padding: 0; }
  .confusion th, .halves .confusion th { padding: 2px; } }
@media print {
  body { max-width: none; padding: 0; background: none; font-size: 12px; }
  section, details { border: 0; padding: 0; } nav { display: none; }
  .charts figure { flex-basis: 45%; } .charts.small { grid-template-columns: 1fr 1fr 1fr; } .halves { display: block; }
  .confusion { font-size: 10px; } .confusion .rate { font-size: 9px; } .confusion td { min-width: 0; padding: 0 2px; }
  .wide { max-width: 420px; } .scroll { overflow: visible; }
  section, figure, tr, .cards div { break-inside: avoid; } h2, .note { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
)

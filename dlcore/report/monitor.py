"""Panels of `--watch`: snapshots of a network in training."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from dlcore.diagnostics.monitor import RATIO, findings
from dlcore.report.panel import Panel
from dlcore.report.tables import text

__all__ = ["monitor_panels"]

WIDTH, HEIGHT = 110, 26


def monitor_panels(snapshots: Sequence[dict[str, Any]], kernel_order: Sequence[str] | None = None) -> list[Panel]:
    """Show the snapshots of a run: findings as text, updates and gradients by array, activations.

    Args:
      snapshots: snapshots from `dlcore.diagnostics.monitor.snapshot`, on the host, each with its "step", in the order
        of time.
      kernel_order: names of the kernels from input to output, to find vanishing or exploding gradients; None skips
        that.

    Returns:
      The panels; none without snapshots.
    """
    if not snapshots:
        return []
    steps = [snapshot["step"] for snapshot in snapshots]
    kinds: dict[str, dict[int, list[str]]] = {}
    for snapshot in snapshots:
        for finding in findings(snapshot, kernel_order):
            kinds.setdefault(finding.kind, {}).setdefault(snapshot["step"], []).append(finding.message)
    middle = {
        name: float(np.median([snapshot["updates"][name] for snapshot in snapshots]))
        for name in snapshots[-1]["updates"]
    }
    last = [
        f"At step {steps[-1]}: {finding.message}."
        for finding in findings({**snapshots[-1], "updates": {}}, kernel_order)
    ]
    last += [
        f"In the middle of the run, {finding.message}."
        for finding in findings({"updates": middle, "gradients": {}, "activations": {}})
    ]
    before = [
        f"{kind.capitalize()}: at {len(messages)} of {len(snapshots)} snapshots, the first at step {min(messages)}"
        f" ({len(messages[min(messages)])} arrays, such as: {messages[min(messages)][0]})."
        for kind, messages in kinds.items()
        if kind != "updates" and set(messages) != {steps[-1]}
    ]
    healthy = f"No finding in {len(snapshots)} snapshots, steps {steps[0]} to {steps[-1]}."
    panels = [text("Health of the network", "\n\n".join([*last[:10], *before] or [healthy]))]
    panels.append(_updates(snapshots, steps))
    if snapshots[-1]["activations"]:
        panels.append(_activations(snapshots))
    return panels


def _updates(snapshots: Sequence[dict], steps: list[int]) -> Panel:
    rows = []
    for name in snapshots[-1]["updates"]:
        ratios = np.array([snapshot["updates"][name] for snapshot in snapshots], float)
        norms = [snapshot["gradients"][name]["norm"] for snapshot in snapshots if name in snapshot["gradients"]]
        out = not RATIO[0] <= ratios[-1] <= RATIO[1]
        rows.append(
            f"<tr><td>{escape(name)}</td>"
            f'<td class="number{" highlight" if out and name.endswith("kernel") else ""}">{ratios[-1]:.1e}</td>'
            f'<td class="number">{np.median(ratios):.1e}</td><td>{_line_svg(ratios, RATIO)}</td>'
            + (_gradient(norms, snapshots[-1]["gradients"][name]) if norms else "")
            + "</tr>"
        )
    gradients = "<th class=number>gradient</th><th>over the run</th><th>histogram</th>"
    gradients = gradients if snapshots[-1]["gradients"] else ""
    head = "<tr><th>array</th><th class=number>update / weight</th><th class=number>median</th><th>over the run</th>"
    head += f"{gradients}</tr>"
    subtitle = (
        f"Norm of an array's update over its own norm, in {len(steps)} snapshots of steps {steps[0]} to {steps[-1]}; "
        "about 1e-3 is usual, the band is 1e-4 to 1e-2. Logarithmic."
    )
    return Panel("Updates and gradients", _table(head, rows), subtitle)


def _gradient(norms: list[float], last: dict) -> str:
    return (
        f'<td class="number">{norms[-1]:.2e}</td><td>{_line_svg(np.array(norms, float))}</td>'
        f"<td>{_histogram_svg(last)}</td>"
    )


def _activations(snapshots: Sequence[dict]) -> Panel:
    rows = []
    first = snapshots[0]["activations"]
    for name, now in snapshots[-1]["activations"].items():
        dead, saturated = now["dead"], now.get("saturated")
        saturated_text = "" if saturated is None else f"{100 * saturated:.1f} %"
        rows.append(
            f'<tr><td>{escape(name)}</td><td class="number">{now["mean"]:.3g}</td>'
            f'<td class="number">{now["std"]:.3g}</td>'
            f'<td class="number{" highlight" if dead >= 0.5 else ""}">{100 * dead:.1f} %</td>'
            f'<td class="number{" highlight" if (saturated or 0) >= 0.5 else ""}">{saturated_text}</td>'
            f"<td>{_histogram_svg(first[name]) if name in first else ''}</td><td>{_histogram_svg(now)}</td></tr>"
        )
    names = ("mean", "std", "dead units", "saturated")
    head = "<tr><th>activation</th>" + "".join(f"<th class=number>{n}</th>" for n in names)
    head += f"<th>at step {snapshots[0]['step']}</th><th>at step {snapshots[-1]['step']}</th></tr>"
    subtitle = "Of a batch of training data. Dead units give 0 for every example; bars grow with the root of the count."
    return Panel("Activations", _table(head, rows), subtitle)


def _table(head: str, rows: list[str]) -> str:
    head = head.replace("<th class=number>", '<th class="number">')
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _histogram_svg(numbers: dict[str, Any]) -> str:
    """Draw a histogram whose bars grow with the square root of the count, with the outer edges below it."""
    counts, edges = np.sqrt(np.asarray(numbers["counts"], float)), np.asarray(numbers["edges"], float)
    if not np.isfinite(edges).all() or counts.max() == 0:
        return "not finite" if not np.isfinite(edges).all() else ""
    step = WIDTH / len(counts)
    bars = "".join(
        f'<rect x="{i * step:.1f}" y="{HEIGHT * (1 - c / counts.max()):.1f}" width="{step * 0.9:.1f}" '
        f'height="{HEIGHT * c / counts.max():.1f}" fill="var(--c1)"/>'
        for i, c in enumerate(counts)
    )
    style = f'y="{HEIGHT + 10}" font-size="9" fill="var(--muted)"'
    labels = f'<text x="0" {style}>{edges[0]:.2g}</text>'
    labels += f'<text x="{WIDTH}" text-anchor="end" {style}>{edges[-1]:.2g}</text>'
    return _svg(bars + labels, f"histogram from {edges[0]:.2g} to {edges[-1]:.2g}", HEIGHT + 12)


def _line_svg(values: np.ndarray, band: tuple[float, float] | None = None) -> str:
    """Draw a small line of the positive values on a logarithmic axis, before a band; "" for fewer than two points."""
    valid = np.isfinite(values) & (values > 0)
    if valid.sum() < 2:
        return ""
    x = np.linspace(2, WIDTH - 2, len(values))[valid]
    y = np.log10(values[valid])
    low, high = y.min(), y.max()
    if band is not None:
        low, high = min(low, np.log10(band[0]) - 0.3), max(high, np.log10(band[1]) + 0.3)
    low, high = (low, high) if high - low > 0.2 else (low - 0.1, high + 0.1)

    def y_of(value):
        return HEIGHT * (1 - (value - low) / (high - low))

    parts = []
    if band is not None:
        top, bottom = y_of(np.log10(band[1])), y_of(np.log10(band[0]))
        parts.append(f'<rect x="0" y="{top:.1f}" width="{WIDTH}" height="{bottom - top:.1f}" fill="var(--line)"/>')
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y_of(y), strict=True))
    parts.append(f'<polyline points="{points}" fill="none" stroke="var(--c1)" stroke-width="1.5"/>')
    return _svg("".join(parts), f"from {values[valid][0]:.1e} to {values[valid][-1]:.1e}", HEIGHT)


def _svg(content: str, label: str, height: int) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" style="width:{WIDTH}px;height:{height}px" role="img" '
        f'aria-label="{escape(label)}">{content}</svg>'
    )

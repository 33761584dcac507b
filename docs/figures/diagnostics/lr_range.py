"""Figure of dlcore.diagnostics.lr_range; its docstring is the caption."""

from typing import TYPE_CHECKING

from dlcore.diagnostics.lr_range import lr_range_test, read_range_test
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from experiments.figure_parts import digit_network, losses_by_rate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["lr_range"]


def lr_range() -> "Figure":
    """One test of 300 steps on digits, and three trainings at rates that it suggests.

    Left: as the rate rises, the loss first stays, then falls, and at last rises. Marked are the steepest fall (blue),
    the lowest loss (green) and the divergence (red). Right: the network learns at the first; at a hundredth of it the
    loss hardly moves, at the last it explodes.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    loss, weights, batches = digit_network(300)
    rates, losses = lr_range_test(loss, weights, batches, 1e-3, 100.0)
    found = read_range_test(rates, losses)
    left.semilogx(rates, losses, color=GRAY, linewidth=1)
    marks = (found.steepest, BLUE, "-"), (found.lowest, GREEN, ":"), (found.diverges, VERMILION, "--")
    for rate, color, style in marks:
        left.axvline(rate, color=color, linestyle=style)
    left.set(xlabel="learning rate", ylabel="loss / nats", ylim=(0, 8))
    chosen = found.steepest / 100, found.steepest, found.diverges
    colors = (GREEN, "-."), (BLUE, "-"), (VERMILION, "--")
    for rate, run, (color, style) in zip(chosen, losses_by_rate(loss, weights, batches, chosen), colors, strict=True):
        right.plot(run, style, color=color, linewidth=1, label=f"rate {rate:.2g}")
    right.set(xlabel="step", ylabel="loss / nats", ylim=(0, 8))
    right.legend(frameon=False, fontsize=8)
    return figure

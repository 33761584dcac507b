"""Figure of dlcore.diagnostics.scaling_law; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.data.digits import digits
from dlcore.diagnostics.scaling_law import fit_power_law
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["scaling_law"]


def scaling_law() -> "Figure":
    """Errors of the nearest neighbor on digits by the number of examples, and laws fitted to them.

    Left: laws fitted to five and to nine sizes, with intervals for new measurements. The errors approach a floor, which
    small sizes hardly show. Right: predictions for 1,280 examples. Their interval holds the measured 4.0% each time,
    and narrows with larger sizes.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    sizes = np.geomspace(40, 1280, 11).astype(int)
    errors = 100 * _errors(sizes)
    left.loglog(sizes, errors, "o", color=GRAY, markersize=4, label="measured")
    wide = np.geomspace(40, 1280, 60)
    for last, color, style in ((5, VERMILION, "--"), (9, BLUE, "-")):
        law = fit_power_law(sizes[:last], errors[:last])
        low, high = np.array([law.interval(size) for size in wide]).T
        left.plot(wide, law(wide), style, color=color, label=f"fit to {sizes[last - 1]}")
        left.fill_between(wide, low, high, color=color, alpha=0.15, linewidth=0)
    left.set(xlabel="training examples", ylabel="errors (%)", ylim=(1, 40))
    counts = np.arange(5, 11)
    laws = [fit_power_law(sizes[:n], errors[:n]) for n in counts]
    low, high = np.array([law.interval(1280) for law in laws]).T
    middle, reach = (high + low) / 2, (high - low) / 2
    right.errorbar(sizes[counts - 1], middle, reach, fmt="o", color=BLUE, label="predicted")
    right.axhline(errors[-1], color=GRAY, linestyle="--", label="measured")
    right.set(xlabel="largest size of the fit", ylabel="errors at 1,280 (%)", ylim=(0, 16))
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure


def _errors(sizes: np.ndarray, repeats: int = 20) -> np.ndarray:
    """Mean share of wrong test digits by the nearest neighbor among so many random training digits."""
    train, test = (digits(split).arrays for split in ("train", "test"))
    a, b = (arrays["image"].reshape(len(arrays["label"]), -1) for arrays in (test, train))
    distances, rng = np.square(b).sum(1) - 2 * a @ b.T, np.random.default_rng(0)

    def error(size: int) -> float:
        rows = rng.permutation(len(b))[:size]
        return float((train["label"][rows][distances[:, rows].argmin(1)] != test["label"]).mean())

    return np.array([np.mean([error(size) for _ in range(repeats)]) for size in sizes])

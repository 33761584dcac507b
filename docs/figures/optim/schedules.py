"""Figure of dlcore.optim.schedules; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.optim import schedules as rules
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["schedules"]


def schedules() -> "Figure":
    """Learning rates of a run of 1000 steps from a peak of 1, by six schedules.

    Left: the cosine stays high long and ends softly; steps fall at once to a tenth; the inverse square root falls at
    once and then hardly. Middle: a warm-up, and one cycle that rises and falls. Right: restarts raise the rate again,
    each cycle twice as long as the last; a cyclic rate halves its height.
    """
    figure, axes = new_figure((7.4, 2.5), 1, 3, sharey=True)
    groups = (
        (
            ("cosine", rules.cosine(1.0, 1000)),
            ("step decay", rules.step_decay(1.0, 333)),
            ("inverse sqrt", rules.inverse_sqrt(1.0)),
        ),
        (("warm-up, cosine", rules.warm_up(rules.cosine(1.0, 800), 200)), ("one cycle", rules.one_cycle(1.0, 1000))),
        (("restarts", rules.cosine_restarts(1.0, 143, 2)), ("cyclic", rules.cyclic(0.1, 1.0, 125, mode="triangular2"))),
    )
    steps = np.arange(0, 1000, 10)
    for ax, group in zip(axes, groups, strict=True):
        for (name, schedule), color, style in zip(group, PALETTE, ("-", "--", "-."), strict=False):
            ax.plot(steps, [float(schedule(step)) for step in steps], style, color=color, label=name)
        ax.set(xlabel="step", xticks=[0, 500, 1000], ylim=(0, 1.55), yticks=[0, 0.5, 1])
        ax.legend(frameon=False, fontsize=8, loc="upper right")
    axes[0].set_ylabel("learning rate / peak")
    return figure

"""Figure of dlcore.video.fusion; its docstring is the caption."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.video.fusion import ClipClassifier
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fusion"]


def fusion() -> "Figure":
    """What networks of random weights know of the order of eight frames, by the kind of fusion.

    Left: change of the scores when the frames are reversed. Single frames and late fusion by the mean cannot see it.
    Right: influence of each frame. All count about alike in a mean, the LSTM forgets the first ones, and slow fusion
    sees less of both ends.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    kinds = ("single", "late_pool", "late_dense", "early", "slow", "lstm", "slowfast")
    clips = jax.random.normal(jax.random.key(0), (12, 8, 24, 24, 3))
    results = {kind: sensitivity(kind, clips) for kind in kinds}
    changes = [results[kind][0] for kind in kinds]
    left.barh(kinds, changes, color=BLUE)
    for y, change in enumerate(changes):
        left.text(change + 1, y, f"{change:.0f}", va="center", fontsize=8)
    left.invert_yaxis()
    left.set(xlabel="change of the scores / %")
    styles = ("s--", GRAY), ("o-", BLUE), ("^-.", VERMILION), ("D:", GREEN)
    for kind, (style, color) in zip(("late_pool", "slow", "lstm", "early"), styles, strict=True):
        right.plot(range(1, 9), results[kind][1] / results[kind][1].sum(), style, color=color, markersize=4, label=kind)
    right.set(xlabel="frame", ylabel="share of the influence", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    return figure


def sensitivity(kind: str, clips: jax.Array) -> tuple[float, np.ndarray]:
    """Change of the scores when the frames are reversed, in percent, and with another sign of each frame [T]."""
    model, count = ClipClassifier(10, kind, 8), clips.shape[1]
    apply = jax.jit(functools.partial(model.apply, nonzero_variables(model, clips)))
    flipped = [clips.at[:, t].multiply(-1) for t in range(count)]
    first, *others = apply(jnp.concatenate([clips, clips[:, ::-1], *flipped])).reshape(2 + count, len(clips), -1)
    changes = np.array([np.linalg.norm(scores - first, axis=1).mean() for scores in others])
    return 100 * changes[0] / float(jnp.linalg.norm(first - first.mean(1, keepdims=True), axis=1).mean()), changes[1:]

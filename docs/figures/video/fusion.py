"""Figure of dlcore.video.fusion; its docstring is the caption."""

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

    Left: change of the scores when the frames are reversed. Single and late fusion by the mean see nothing of it.
    Right: change of the scores with each frame alone.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    kinds = ("single", "late_pool", "late_dense", "early", "slow", "lstm", "slowfast")
    clip = jax.random.normal(jax.random.key(0), (1, 8, 24, 24, 3))
    results = {kind: sensitivity(kind, clip) for kind in kinds}
    print(results)
    changes = [100 * results[kind][0] for kind in kinds]
    left.barh(kinds, changes, color=BLUE)
    for y, change in enumerate(changes):
        left.text(change + 1, y, f"{change:.0f}", va="center", fontsize=8)
    left.invert_yaxis()
    left.set(xlabel="change of the scores / %")
    for kind, style, color in (
        ("late_pool", "s--", GRAY),
        ("slow", "o-", BLUE),
        ("lstm", "^-.", VERMILION),
        ("early", "D:", GREEN),
    ):
        right.plot(range(1, 9), results[kind][1] / results[kind][1].sum(), style, color=color, markersize=4, label=kind)
    right.set(xlabel="frame", ylabel="share of the influence", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    return figure


def sensitivity(kind: str, clip: jax.Array) -> tuple[float, np.ndarray]:
    """Change of the scores when the frames are reversed, as a share, and with other noise in each frame [T]."""
    model, count = ClipClassifier(10, kind, 8), clip.shape[1]
    changed = jnp.repeat(clip, count, 0).at[jnp.arange(count), jnp.arange(count)].multiply(-1)
    clips = jnp.concatenate([clip, clip[:, ::-1], changed])
    scores = jax.jit(lambda x: model.apply(nonzero_variables(model, x), x))(clips)
    changes = np.linalg.norm(scores - scores[0], axis=1)
    return changes[1] / np.linalg.norm(scores[0] - scores[0].mean()), changes[2:]

"""Figure of dlcore.vision_language.video_caption; its docstring is the caption."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.words import START
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.vision_language.video_caption import ClipEncoder, VideoCaptioner
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["video_caption"]


def video_caption() -> "Figure":
    """Networks of random weights that read a dot that moves, and write.

    Left: change of the clip's summary when its frames are reversed, by the dot's speed. The mean of the frames does not
    change; the pairs of neighbors do. Right: change of the logits with the summary. Where it enters with each word, its
    influence stays; through the first state alone it fades.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    speeds = jnp.linspace(0, 2, 11)
    clips = jax.vmap(moving_dot)(speeds)
    encoder = ClipEncoder((8, 16, 16), hidden_size=32)
    encode = jax.jit(functools.partial(encoder.apply, capture_intermediates=True))
    variables = nonzero_variables(encoder, clips)
    (summary, parts), (back, back_parts) = (encode(variables, x) for x in (clips, clips[:, ::-1]))
    frames, back_frames = (x["intermediates"]["project"]["__call__"][0].mean(1) for x in (parts, back_parts))
    left.plot(speeds, change(summary, back), "o-", color=BLUE, markersize=4, label="summary")
    left.plot(speeds, change(frames, back_frames), "--", color=GRAY, label="mean of the frames alone")
    left.set(xlabel="speed / pixels a frame", ylabel="change if reversed / %")
    left.legend(frameon=False, fontsize=8)
    every, first = influences(clips[2:3])
    right.plot(range(1, 21), every, "o-", color=BLUE, markersize=4, label="summary enters with each word")
    right.plot(range(1, 21), first, "s--", color=VERMILION, markersize=4, label="first state alone")
    right.set(xlabel="word", ylabel="change of the logits", yscale="log")
    right.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1, 0.7))
    return figure


def moving_dot(speed: jax.Array) -> jax.Array:
    """A clip [8, 24, 24, 3] of a dot that moves to the right and enters again at the left."""
    y, x = jnp.mgrid[:24, :24]
    column = 4 + speed * jnp.arange(8)[:, None, None]
    distance = jnp.minimum((x - column) % 24, (column - x) % 24)
    dot = jnp.exp(-(distance**2 + (y - 12) ** 2) / 8)
    return jnp.repeat(dot[..., None], 3, -1)


def change(x: jax.Array, y: jax.Array) -> np.ndarray:
    """Distance of the rows in percent of their norm."""
    return 100 * np.linalg.norm(x - y, axis=1) / np.linalg.norm(x, axis=1)


def influences(clip: jax.Array) -> np.ndarray:
    """Change [2, 20] of each word's logits with a step of the clip's summary: at each word, and as first state."""
    model, tokens = VideoCaptioner(50, (8, 16, 16), hidden_size=32), jnp.array([[START, *range(4, 23)]])

    @jax.jit
    def moved() -> jax.Array:
        variables = nonzero_variables(model, clip, tokens)
        carry = model.apply(variables, clip, method="encode")
        write = lambda *carry: model.apply(variables, carry, tokens, method="write")[1]  # noqa: E731
        step = jax.tree.map(lambda x: jax.random.normal(jax.random.key(0), x.shape), carry)
        still = jax.tree.map(jnp.zeros_like, step)
        steps = (step[0], still[1]), (still[0], step[1])
        return jnp.stack([jax.jvp(write, carry, tangent)[1][0] for tangent in steps])

    return np.linalg.norm(moved(), axis=-1)

"""Figure of dlcore.generative.text_to_image; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.shape_grid import Placed, draw_shapes, read_shapes
from dlcore.generative.text_to_image import WordEncoder, object_correctness
from dlcore.report.figure import new_figure, show_image
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["text_to_image"]


def text_to_image() -> "Figure":
    """How a prompt is read, and how samples are measured.

    Left: change of the encoded words (rows) if one word (column) is another, at random weights. Each code depends on
    other words too. Right: samples of "red circle left of blue cross". Objects is the share of those named that are
    there; scene is 1 only where nothing else is, and the order is right.
    """
    figure, (left, *axes) = new_figure((7.4, 2.8), 1, 5, width_ratios=(1.7, 1, 1, 1, 1))
    words = ("red", "circle", "left of", "blue", "cross")
    changes = influence(len(words))
    left.imshow(changes, cmap="Blues", vmin=0)
    left.set(xticks=range(5), yticks=range(5), xlabel="changed word", ylabel="encoded word")
    left.set_xticklabels(words, rotation=60)
    left.set_yticklabels(words)
    first, second = ("red", "circle"), ("blue", "cross")
    scenes = {
        "as asked": (first, second),
        "other order": (second, first),
        "wrong color": (first, ("green", "cross")),
        "one more": (first, second, ("cyan", "square")),
    }
    for ax, (name, things) in zip(axes, scenes.items(), strict=True):
        image = draw_shapes(np.random.default_rng(0), [Placed(*x, cell) for cell, x in enumerate(things)], 32, 2)
        scores = measured(image / 255, [first, second])
        show_image(ax, image, name)
        text = "objects {object_correctness:g}\nscene {scene_correctness:g}".format(**scores)
        ax.text(0.5, -0.06, text, transform=ax.transAxes, ha="center", va="top", fontsize=9)
    return figure


def influence(count: int) -> np.ndarray:
    """Change [T, T] of each encoded word (row) by another word at one place (column), over the largest."""
    model, tokens = WordEncoder(40, 32), jnp.arange(1, count + 1)[None]
    changed = jnp.repeat(tokens, 1 + count, 0).at[1 + jnp.arange(count), jnp.arange(count)].add(count)
    context = jax.jit(model.apply)(nonzero_variables(model, tokens), changed)
    change = np.linalg.norm(context[1:] - context[0], axis=-1).T
    return change / change.max()


def measured(image: np.ndarray, prompt: list[tuple[str, str]]) -> dict[str, float]:
    """What the evaluator says of one sample."""
    evaluator = object_correctness(lambda x: read_shapes(x, 2), lambda rows: [prompt], None)
    return evaluator.finish(evaluator.add(None, {"sample": image[None]}, {}))

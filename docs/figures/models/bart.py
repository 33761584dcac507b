"""Figure of dlcore.models.bart; its docstring is the caption."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.models import create_model
from dlcore.models.registry import example_inputs
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bart"]


def _parameters(name: str, parts: Mapping[str, str]) -> dict[str, float]:
    """Millions of parameters of the published model by part: the first pattern that its path matches."""
    shapes = jax.eval_shape(create_model(name).init, jax.random.key(0), *example_inputs(name, {}))
    sums = dict.fromkeys(parts, 0.0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        named = "/".join(key.key for key in path)
        sums[next(part for part, pattern in parts.items() if re.search(pattern, named))] += leaf.size / 1e6
    return sums


def _stack(axes: "Axes", names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> None:
    """A horizontal bar for each name, stacked of its parts."""
    left = np.zeros(len(names))
    for part, color in zip(rows[0], PALETTE, strict=False):
        widths = np.array([row[part] for row in rows])
        axes.barh(names, widths, left=left, color=color, label=part, height=0.7)
        left += widths
    axes.invert_yaxis()


def bart() -> "Figure":
    """Parameters of the two sizes of BART and of Marian by part, counted from shapes.

    The one table of tokens serves the encoder, the decoder and the head; in Marian, the narrowest, it is the largest
    part, and sines in place of learned positions have no parameters.
    """
    parts = {
        "table of tokens": r"shared|head_bias",
        "self-attention": r"/attn/",
        "attention to the source": "cross_attn",
        "feed-forward": "/mlp/",
        "positions, norms": "_positions|norm",
    }
    figure, axes = new_figure((7, 2.6))
    names = ("bart_base", "bart_large", "marian")
    _stack(axes, names, [_parameters(name, parts) for name in names])
    axes.set(xlabel="parameters in millions")
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure

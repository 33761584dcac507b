"""Figure of dlcore.models.bart; its docstring is the caption."""

from typing import TYPE_CHECKING

from dlcore.report.figure import new_figure
from experiments.figure_parts import parameters_by_part, stacked_bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bart"]


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
    stacked_bars(axes, names, [parameters_by_part(name, parts) for name in names])
    axes.set(xlabel="parameters in millions")
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure

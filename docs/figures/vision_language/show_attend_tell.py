"""Figure of dlcore.vision_language.show_attend_tell; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.data.words import START
from dlcore.models import create_model
from dlcore.report.figure import new_figure, show_image
from dlcore.vision_language.show_attend_tell import ShowAttendTell
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["show_attend_tell"]


def show_attend_tell() -> "Figure":
    """Where a captioner of random weights looks before three words, and what the penalty asks for.

    Left: each word has its own weights over the 64 places (dark is much); the next word's context is the mean by these
    weights. Right: the penalty by the number of words, for sharp looks (red) and for even ones (blue). While there are
    fewer words than places, even looks cost less.
    """
    figure, (*axes, right) = new_figure((7.4, 2.3), 1, 4, width_ratios=(1, 1, 1, 1.6))
    model = ShowAttendTell(create_model("small_cnn"), 50, hidden_size=64, embedding_dim=32)
    image, tokens = jax.random.normal(jax.random.key(0), (1, 32, 32, 3)), jnp.array([[START, *range(4, 44)]])
    sharp = nonzero_variables(model, image, tokens[:, :-1], gain=3.0)
    even = jax.tree_util.tree_map_with_path(lambda path, x: x * ("attend" not in str(path)), sharp)
    memory = model.apply(sharp, image, method="encode")
    _, sown = model.apply(sharp, memory, tokens, method="decode", mutable=["intermediates"])
    weights = model.alignment(sown["intermediates"])[0]
    print(weights.shape, weights.max(-1)[:9])
    for t, ax in enumerate(axes):
        show_image(ax, weights[t].reshape(memory["grid"].shape[1:3]), f"word {t + 1}", cmap="Blues")
    return figure

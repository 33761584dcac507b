"""Figure of dlcore.models.t5; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.models.t5 import T5
from dlcore.nn.position import relative_buckets
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["t5"]


def t5() -> "Figure":
    """Buckets of distances in T5's encoder and decoder, and the bias of one head of an untrained encoder.

    Near distances have a bucket each, far ones share ever wider buckets, and the farthest all share the last; the
    decoder, which sees no later tokens, has all its buckets for earlier ones. A bias depends on the distance
    alone, so that it is constant along the diagonals.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    offset = jnp.arange(-160, 161)
    for bidirectional, label, color in ((True, "encoder", PALETTE[0]), (False, "decoder", PALETTE[1])):
        bucket = relative_buckets(offset, T5.num_buckets, T5.max_distance, bidirectional)
        left.step(offset, bucket, color=color, label=label, where="mid")
    left.set(xlabel="position of the key less that of the query", ylabel="bucket")
    left.legend(frameon=False)
    model = T5(vocab_size=8, encoder_layers=1, decoder_layers=1, width=8, mlp_features=8, num_heads=2, head_features=4)
    tokens = jnp.ones((1, 2), int)
    variables = model.init(jax.random.key(0), tokens, tokens)
    bias = model.apply(variables, "encoder", jnp.arange(160), 160, method="bias")
    drawn = right.imshow(bias[0], cmap="coolwarm", vmin=-0.05, vmax=0.05)
    right.set(xlabel="position of the key", ylabel="position of the query")
    figure.colorbar(drawn, ax=right, label="bias of the score")
    return figure

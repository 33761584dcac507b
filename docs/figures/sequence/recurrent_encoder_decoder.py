"""Figure of dlcore.sequence.recurrent_encoder_decoder; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import PALETTE, new_figure
from dlcore.sequence.recurrent_encoder_decoder import RecurrentEncoderDecoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["recurrent_encoder_decoder"]


def recurrent_encoder_decoder() -> "Figure":
    """How far the memory for the decoder moves with each of 24 tokens of the source, in an untrained network.

    The summary holds the last state of each direction, 2 x 32 numbers, so that tokens in the middle hardly reach it;
    attention reads the states of all positions, each of which moves with the tokens near it.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    model = RecurrentEncoderDecoder(50, None, "additive", 32, 32)
    source = jnp.asarray(np.random.default_rng(0).integers(4, 49, 24))
    changed = jnp.concatenate([source[None], source + jnp.eye(24, dtype=int)])

    @jax.jit
    def encode(source: jax.Array) -> dict[str, jax.Array]:
        variables = model.init(jax.random.key(0), source, source)
        return model.apply(variables, source, method="encode")

    memory = encode(changed)
    moved = {name: jnp.linalg.norm(memory[name][1:] - memory[name][0], axis=-1) for name in ("summary", "states")}
    left.plot(np.arange(1, 25), moved["summary"], "o-", ms=3, color=PALETTE[0])
    left.set(xlabel="changed token of the source", ylabel="distance of the summary", yscale="log")
    drawn = right.imshow(moved["states"].T, cmap="viridis", norm="log", extent=(0.5, 24.5, 24.5, 0.5))
    right.set(xlabel="changed token of the source", ylabel="position of the state")
    figure.colorbar(drawn, ax=right, label="distance of the state")
    return figure

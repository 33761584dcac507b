"""Losses of sequences: over all time steps or the last, and over all alignments.

    all:   L = sum_t m_t l_t          every step has an answer (captions, language models)
    last:  L = l_T                    one answer, T the last step that counts (sentiment)
    CTC:   L = -log sum of p(path)    over all paths of T symbols that become the label when repeats are merged and
                                      blanks removed                          Graves et al. 2006

The recursion of CTC is optax's, with a log 0 of -1e30 in place of -1e5, so that scores of 1e4 do not drown in it.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from dlcore.losses._precision import at_least_float32

__all__ = ["ctc_loss", "sequence_loss"]

_LOG_ZERO = -1e30


def sequence_loss(losses: jax.Array, mask: jax.Array | None = None, steps: Literal["all", "last"] = "all") -> jax.Array:
    """The scalar loss of a sequence with the losses [T] of its steps.

    mask: [T]; steps where it is 0 do not count, whatever their loss. steps: the sum over all that count, or the last
    of them alone. Without one it is 0. Raises ValueError for other steps.
    """
    if steps not in ("all", "last"):
        raise ValueError(f"steps is {steps!r}; it must be 'all' or 'last'")
    losses = at_least_float32(losses)
    keep = jnp.ones(losses.shape, bool) if mask is None else mask > 0
    if steps == "last":
        position = jnp.arange(len(losses))
        keep = keep & (position == jnp.where(keep, position, -1).max())
    return jnp.where(keep, losses, 0).sum()


def ctc_loss(
    logits: jax.Array,
    label: jax.Array,
    logits_length: jax.Array | None = None,
    label_length: jax.Array | None = None,
    blank: int = 0,
) -> jax.Array:
    """The scalar loss of `logits: [T, C]` for the symbols `label: [L] int`, L >= 1, of which the first `_length` count.

    Where the label does not fit into the steps it is infinite, and its gradient 0. torch's mean over a batch divides
    by the length of the label first.
    """
    logits = at_least_float32(logits)
    late, behind = (
        jnp.zeros(n) if length is None else (jnp.arange(n) >= length).astype(logits.dtype)
        for n, length in ((len(logits), logits_length), (len(label), label_length))
    )
    loss = optax.ctc_loss(logits[None], late[None], label[None], behind[None], blank_id=blank, log_epsilon=_LOG_ZERO)[0]
    return jnp.where(loss > -_LOG_ZERO / 2, jnp.inf, loss)

"""Losses of sequences: over all time steps or the last, and over all alignments.

    all:   L = sum_t m_t l_t          every step has an answer (captions, language models)
    last:  L = l_T                    one answer, T the last step that counts (sentiment)
    CTC:   L = -log sum of p(path)    over all paths of T symbols that become the label when repeats are merged and
                                      blanks removed                          Graves et al. 2006

The recursion of CTC is optax's, with a log 0 of -1e30 in place of -1e5, so that scores of 1e4 do not drown in it.
"""

import math
from typing import Any, Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.choices import check_choice
from dlcore.ops.checks import check_class_ids, check_indices, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["ctc_loss", "sequence_loss"]

_LOG_ZERO = -1e30


def sequence_loss(losses: jax.Array, mask: jax.Array | None = None, steps: Literal["all", "last"] = "all") -> jax.Array:
    """Sum the losses of a sequence's steps, or take the last one.

    Args:
      losses: [..., T], one loss a step.
      mask: [..., T]; steps of mask 0 (padding) do not count, whatever their loss. None counts all.
      steps: "all" sums the steps that count, "last" takes the last of them.

    Returns:
      [...], one loss a sequence; 0 where no step counts.
    """
    check_choice("steps", steps, ("all", "last"))
    losses = to_acc_dtype(losses)
    check_shapes(losses=(losses, "... T"), mask=(mask, "mask ... T or None"))
    is_valid = jnp.ones(losses.shape, bool) if mask is None else mask > 0  # [..., T]
    if steps == "last":
        position = jnp.arange(losses.shape[-1])
        # The last step that counts.
        is_valid = is_valid & (position == jnp.where(is_valid, position, -1).max(-1, keepdims=True))
    return jnp.where(is_valid, losses, 0).sum(-1)


def ctc_loss(
    logits: jax.Array,
    labels: jax.Array,
    logits_length: jax.Array | None = None,
    labels_length: jax.Array | None = None,
    blank: int = 0,
) -> jax.Array:
    """Connectionist temporal classification: the likelihood of a label sequence over all its alignments.

    torch's mean over a batch divides by the length of the label first.

    Args:
      logits: [..., T, C], unnormalized scores of each step.
      labels: [..., L] int, symbols in [0, C) without the blank; L is at least 1.
      logits_length: [...] int, steps that count; None counts all T.
      labels_length: [...] int, symbols that count; None counts all L.
      blank: the class that stands for no symbol.

    Returns:
      [...], one loss a sequence, in nats; infinite, with a gradient of 0, where the label does not fit into the steps.
    """
    logits, labels = to_acc_dtype(logits), jnp.asarray(labels)
    check_shapes(
        logits=(logits, "... T C"),
        labels=(labels, "int ... L"),
        logits_length=(logits_length, "int ... or None"),
        labels_length=(labels_length, "int ... or None"),
    )
    batch, (t, c), n = logits.shape[:-2], logits.shape[-2:], labels.shape[-1]
    check_class_ids("blank", blank, c)
    for name, length, most in (("logits_length", logits_length, t), ("labels_length", labels_length, n)):
        if length is not None:
            check_indices(name, length, most + 1, f"lengths up to {most}")
    if not any(isinstance(x, jax.core.Tracer) for x in (labels, labels_length)):
        _check_symbols(np.asarray(labels), labels_length, c, blank)
    size = math.prod(batch)
    if logits_length is not None:
        is_step = jnp.arange(t) < jnp.expand_dims(jnp.asarray(logits_length), -1)
        logits = jnp.where(is_step[..., None], logits, 0)
    # optax multiplies log-probabilities by zeros and ones: a class that is ruled out takes the finite log 0.
    logits = jnp.maximum(jax.nn.log_softmax(logits), _LOG_ZERO)

    def padding(steps, length):
        if length is None:
            return jnp.zeros((size, steps), logits.dtype)
        return (jnp.arange(steps) >= jnp.reshape(jnp.asarray(length), (size, 1))).astype(logits.dtype)

    loss = optax.ctc_loss(
        logits.reshape(size, t, c),
        padding(t, logits_length),
        labels.reshape(size, n),
        padding(n, labels_length),
        blank_id=blank,
        log_epsilon=_LOG_ZERO,
    ).reshape(batch)
    return jnp.where(loss > -_LOG_ZERO / 2, jnp.inf, loss)


def _check_symbols(labels: np.ndarray, lengths: Any, num_classes: int, blank: int) -> None:
    counts = np.arange(labels.shape[-1]) < np.expand_dims(labels.shape[-1] if lengths is None else lengths, -1)
    check_class_ids("labels", np.where(counts, labels, 0), num_classes)
    if (counts & (labels == blank)).any():
        raise ValueError(f"labels={blank}: the blank is no symbol; allowed: the other classes, of {num_classes}")

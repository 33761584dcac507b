"""Autoregressive generation: each token is chosen from the logits and fed back.

    p(token) = softmax(logits / temperature);  at temperature 0 the most probable token (greedy)
    top-k      draws from the k most probable tokens (Fan et al. 2018, arXiv:1805.04833)
    top-p      draws from the fewest tokens whose probabilities sum to p (Holtzman et al. 2019, arXiv:1904.09751)
    beam       keeps the K most probable beginnings:  score = log p(tokens) / ((5 + length) / 6)^length_penalty
               (Wu et al. 2016, arXiv:1609.08144)

A decoder is a function step: (carry, tokens [B]) -> (carry, logits [B, V]), recurrent or with a cache. A sequence ends
with the stop token, or at `max_length`. All of it runs inside jit, and stops when every sequence of the batch has.
Where the logits of a step are NaN (a cache that is too short, weights that diverged) the token is -1, which is none.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.words import END, PAD, START, UNKNOWN
from dlcore.learner import Range, root_key
from dlcore.ops.categorical import sample_categorical
from dlcore.ops.checks import check_indices, check_logits, check_range, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = [
    "Beam",
    "beam_search",
    "check_beam",
    "filter_logits",
    "forbid_special",
    "generate",
    "generate_sentences",
    "sample_token",
]

Step = Callable[[Any, jax.Array], tuple[Any, jax.Array]]


class Beam(NamedTuple):
    """How sequences are searched for.

    Args:
      beam_size: hypotheses that `predict` follows; 1 is greedy.
      length_penalty: exponent of (5 + length) / 6, by which the log-probability of a hypothesis is divided; 0 ranks
        hypotheses by probability, and greater values favor longer ones.
    """

    beam_size: Annotated[int, Range(1)] = 1
    length_penalty: Annotated[float, Range(0)] = 0.0


def filter_logits(logits: jax.Array, top_k: int = 0, top_p: float | jax.Array = 1.0) -> jax.Array:
    """Rule out improbable tokens: first all but the k most probable, then those outside the nucleus.

    Args:
      logits: [..., V], already divided by the temperature.
      top_k: tokens to keep; 0 keeps all. Tokens as probable as the last of them stay.
      top_p: keep the fewest tokens whose probabilities sum to at least this, of equal ones the first; 1 keeps all, and
        one token always stays.

    Returns:
      [..., V], -inf where a token is ruled out.
    """
    check_range("top_p", top_p, 0, 1)
    check_shapes(logits=(logits, "... V"))
    check_logits("logits", logits)
    logits, size = to_acc_dtype(logits), logits.shape[-1]
    check_shapes(top_k=(top_k, "int >= 0"))
    if top_k > size:
        raise ValueError(f"top_k={top_k}: out of range; allowed: 0 (all) to the {size} tokens")
    if 0 < top_k < size:
        logits = jnp.where(logits >= jax.lax.top_k(logits, top_k)[0][..., -1:], logits, -jnp.inf)
    if isinstance(top_p, float | int) and top_p >= 1:
        return logits
    top_p = jnp.asarray(top_p)[..., None]
    order = jnp.argsort(logits, axis=-1, stable=True, descending=True)  # [..., V]
    p = jax.nn.softmax(jnp.take_along_axis(logits, order, -1), axis=-1)
    # A sum may miss `top_p` by its rounding: 0.5 + 0.3 reaches 0.8.
    reached = jnp.cumsum(p, axis=-1)[..., :-1] >= top_p - 1e-6
    inside = jnp.concatenate([jnp.ones_like(reached[..., :1]), ~reached], -1)
    is_allowed = jnp.take_along_axis(inside, jnp.argsort(order, axis=-1), -1)
    return jnp.where(is_allowed | (top_p >= 1), logits, -jnp.inf)


def sample_token(
    key: jax.Array,
    logits: jax.Array,
    temperature: float | jax.Array = 1.0,
    top_k: int = 0,
    top_p: float | jax.Array = 1.0,
) -> jax.Array:
    """Draw a token.

    Args:
      key: PRNG key of the draw.
      logits: [V].
      temperature: temperature of the distribution; 0 takes the first of the largest logits.
      top_k: draw from as many of the most probable tokens; 0: from all.
      top_p: draw from the fewest tokens whose probabilities sum to this; 1: from all.

    Returns:
      [] int32; -1 where a traced logit is NaN.
    """
    check_range("temperature", temperature, 0)
    check_shapes(logits=(logits, "V"))
    check_logits("logits", logits)
    logits = to_acc_dtype(logits)
    temperature = jnp.asarray(temperature, logits.dtype)
    # Differences to the largest logit stay finite at any temperature.
    scaled = (logits - logits.max()) / jnp.where(temperature > 0, temperature, 1)
    sampled = sample_categorical(key, filter_logits(scaled, top_k, top_p))
    return jnp.where(temperature > 0, sampled, sample_categorical(key, logits, 0))


def _check_stop(stop_token: Any, size: int) -> None:
    """A stop token outside the vocabulary would never end a sequence."""
    if stop_token is not None:
        check_indices("stop_token", stop_token, size, "tokens")


def generate(
    step: Step,
    carry: Any,
    logits: jax.Array,
    keys: jax.Array,
    max_length: int,
    temperature: float | jax.Array = 1.0,
    stop_token: int | jax.Array | None = None,
    *,
    top_k: int = 0,
    top_p: float = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """Generate one sequence for each key.

    Args:
      step: (carry, tokens [B]) -> (carry, logits [B, V]).
      carry: after the prompt.
      logits: [B, V], of the first token.
      keys: [B], one a sequence; token t is drawn with `fold_in(key, t)`.
      max_length: tokens of the longest sequence, at least 1.
      temperature: [] or [B]; the number 0 compiles to the largest logit alone.
      stop_token: ends a sequence; None lets all run to `max_length`.
      top_k: draw from as many of the most probable tokens; 0: from all.
      top_p: draw from the fewest tokens whose probabilities sum to this; 1: from all.

    Returns:
      (tokens [B, max_length] int32, lengths [B] int32); the stop token counts, and is repeated after a sequence's end.
      So is -1, where the logits of a step are NaN.
    """
    check_range("temperature", temperature, 0)
    check_shapes(max_length=(max_length, "int >= 1"), logits=(logits, "B V"), keys=(keys, "B"))
    if np.ndim(temperature):
        check_shapes(logits=(logits, "B V"), temperature=(temperature, "B"))
    check_logits("logits", logits)
    _check_stop(stop_token, logits.shape[1])
    logits, batch = to_acc_dtype(logits), logits.shape[0]
    greedy = isinstance(temperature, float | int) and temperature == 0
    temperature = jnp.broadcast_to(jnp.asarray(temperature, logits.dtype), (batch,))
    fill = 0 if stop_token is None else stop_token

    def draw(key, logits, temperature, t):
        return sample_token(jax.random.fold_in(key, t), logits, temperature, top_k, top_p)

    def choose(t, logits, tokens, lengths, done):
        if greedy:
            token = sample_categorical(keys, logits, 0)
        else:
            token = jax.vmap(draw, (0, 0, 0, None))(keys, logits, temperature, t)
        # A finished sequence repeats the stop token.
        token = jnp.where(done, fill, token).astype(jnp.int32)
        ended = token < 0 if stop_token is None else (token < 0) | (token == stop_token)
        return tokens.at[:, t].set(token), lengths + ~done, done | ended

    def unfinished(loop):
        t, _, _, _, done = loop
        return (t < max_length) & ~done.all()

    def append(loop):
        t, carry, tokens, lengths, done = loop
        # One step of the decoder on the last token.
        carry, logits = step(carry, tokens[:, t - 1])
        return t + 1, carry, *choose(t, logits, tokens, lengths, done)

    tokens = jnp.full((batch, max_length), fill, jnp.int32)
    first = choose(0, logits, tokens, jnp.zeros(batch, jnp.int32), jnp.zeros(batch, bool))
    _, _, tokens, lengths, _ = jax.lax.while_loop(unfinished, append, (jnp.ones((), jnp.int32), carry, *first))
    return jnp.where(jnp.cumsum(tokens < 0, 1) > 0, -1, tokens), lengths


def check_beam(beam_size: int, size: int | None) -> None:
    """Check that a beam is narrower than the vocabulary.

    Args:
      beam_size: sequences that are kept.
      size: number of tokens; None where it is not known yet.
    """
    check_shapes(beam_size=(beam_size, "int >= 1"))
    if size is not None and beam_size >= size:
        raise ValueError(f"beam_size={beam_size}: out of range; allowed: 1 to {size - 1}")


def beam_search(
    step: Step,
    carry: Any,
    logits: jax.Array,
    max_length: int,
    beam_size: int = 4,
    stop_token: int | None = None,
    length_penalty: float | jax.Array = 0.0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Search for the most probable sequences.

    Each step extends the K alive hypotheses of a row by every token. Those among the K best extensions that end are put
    aside as finished; the K best of the others live on. A row stops with K finished hypotheses that no alive one can
    beat. A beam of one stops with its first, so it is the greedy sequence, whatever the penalty.

    Args:
      step: (carry, tokens [B K]) -> (carry, logits [B K, V]).
      carry: after the prompt; every leaf leads with [B].
      logits: [B, V], of the first token.
      max_length: tokens of the longest sequence, at least 1.
      beam_size: K.
      stop_token: ends a sequence; None lets all run to `max_length`.
      length_penalty: 0 ranks by probability; greater values favor longer sequences. An array may be traced.

    Returns:
      (tokens [B, K, max_length] int32, lengths [B, K] int32, scores [B, K]), the finished ones first, then those that
      reached `max_length`, each by score. The stop token counts, and is repeated after a sequence's end. Where
      logits of a step are NaN, tokens are -1 from there on, and scores NaN.
    """
    check_shapes(max_length=(max_length, "int >= 1"), logits=(logits, "B V"))
    check_logits("logits", logits)
    logits, (batch, size) = to_acc_dtype(logits), logits.shape
    check_beam(beam_size, size)
    check_range("length_penalty", length_penalty, 0)
    _check_stop(stop_token, size)
    k, fill = beam_size, 0 if stop_token is None else stop_token
    rows, infinity = jnp.arange(batch)[:, None], jnp.array(jnp.inf, logits.dtype)

    def normalized(log_p, length):
        return log_p / ((5 + length) / 6) ** length_penalty

    def is_finished(log_p, scores):
        """[B]: whether a row is done. The best that becomes of an alive hypothesis is to be long without new cost."""
        full = jnp.isfinite(scores).all(-1)
        return full if k == 1 else full & (normalized(log_p.max(-1), max_length) <= scores.min(-1))

    def extend(t, carry, logits, active, log_p, finished, scores, lengths):
        """Choose token t of every hypothesis; carry's leaves lead with [B K]."""
        # Scores of all extensions, [B, K, V].
        total = log_p[..., None] + jax.nn.log_softmax(to_acc_dtype(logits).reshape(batch, k, size), axis=-1)
        # The 2K best: at least K of them do not end. NaN of one sign comes first.
        total = jnp.where(jnp.isnan(total), jnp.nan, total).reshape(batch, k * size)
        best, flat_idx = jax.lax.top_k(total, 2 * k)  # [B, 2K] each
        parent = flat_idx // size
        token = jnp.where(jnp.isnan(best), -1, flat_idx % size).astype(jnp.int32)
        sequences = active[rows, parent].at[:, :, t].set(token)  # [B, 2K, T]
        done = is_finished(log_p, scores)[:, None]
        # Hypotheses that end compete with the finished ones, by normalized score.
        is_stop = jnp.zeros_like(token, bool) if stop_token is None else token == stop_token
        new = is_stop & (jnp.arange(2 * k) < k) & jnp.isfinite(best) & ~done
        pool = jnp.concatenate([scores, jnp.where(new, normalized(best, t + 1), -infinity)], 1)
        scores, top_idx = jax.lax.top_k(pool, k)  # [B, K] each
        finished = jnp.concatenate([finished, sequences], 1)[rows, top_idx]
        lengths = jnp.concatenate([lengths, jnp.full((batch, 2 * k), t + 1)], 1)[rows, top_idx]
        # The best that do not end stay active.
        active_log_p, top_idx = jax.lax.top_k(jnp.where(is_stop, -infinity, best), k)
        # Reorder the decoder's cache.
        source = (rows * k + parent[rows, top_idx]).reshape(-1)
        carry = jax.tree.map(lambda x: x[source], carry)
        return carry, sequences[rows, top_idx], jnp.where(done, log_p, active_log_p), finished, scores, lengths

    def unfinished(loop):
        t, _, _, log_p, _, scores, _ = loop
        return (t < max_length) & ~is_finished(log_p, scores).all()

    def append(loop):
        t, carry, active, *rest = loop
        carry, logits = step(carry, active[:, :, t - 1].reshape(-1))
        return t + 1, *extend(t, carry, logits, active, *rest)

    empty = jnp.full((batch, k, max_length), fill, jnp.int32)
    carry, repeated = jax.tree.map(lambda x: jnp.repeat(x, k, 0), (carry, logits))
    log_p = jnp.full((batch, k), -infinity).at[:, 0].set(0)
    none = empty, jnp.full((batch, k), -infinity), jnp.zeros((batch, k), jnp.int32)
    first = extend(0, carry, repeated, empty, log_p, *none)
    loop = jax.lax.while_loop(unfinished, append, (jnp.ones((), jnp.int32), *first))
    _, _, active, log_p, finished, scores, lengths = loop
    # Empty slots of `finished` are its last ones: the best of the alive fill them.
    missing = ~jnp.isfinite(scores) | jnp.isnan(log_p).any(1, keepdims=True)
    order = jnp.maximum(jnp.cumsum(missing, 1) - 1, 0)
    return (
        jnp.where(missing[..., None], active[rows, order], finished),
        jnp.where(missing, max_length, lengths),
        jnp.where(missing, normalized(log_p, max_length)[rows, order], scores),
    )


def forbid_special(logits: jax.Array) -> jax.Array:
    """Rule out PAD, START and UNKNOWN, which no sentence shows.

    Args:
      logits: [..., V].

    Returns:
      [..., V], -inf at these three.
    """
    check_shapes(logits=(logits, "... V"), size=(logits.shape[-1], ">= 4"))
    return logits.at[..., np.array([PAD, START, UNKNOWN])].set(-jnp.inf)


def generate_sentences(
    step: Step, carry: Any, batch: int, max_length: int, beam_size: int = 1, length_penalty: float | jax.Array = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Write the most probable sentence after START that a search finds, without PAD, START and UNKNOWN.

    Args:
      step: (carry, tokens [B]) -> (carry, logits [B, V]).
      carry: before START; every leaf has the batch as its leading axis.
      batch: B.
      max_length: most tokens, END included.
      beam_size: hypotheses that are followed; 1 is greedy.
      length_penalty: exponent of (5 + length) / 6, by which the log-probability of a hypothesis is divided.

    Returns:
      (tokens [B, max_length], w1 .. wn END with PAD behind; lengths [B], END included).
    """
    check_shapes(
        batch=(batch, "int >= 1"),
        max_length=(max_length, "int >= 1"),
        beam_size=(beam_size, "int >= 1"),
        length_penalty=(length_penalty, ">= 0"),
    )

    def allowed(carry: Any, tokens: jax.Array) -> tuple[Any, jax.Array]:
        carry, logits = step(carry, tokens)
        return carry, forbid_special(logits)

    # Start with START; PAD, START and UNKNOWN are never generated.
    carry, logits = allowed(carry, jnp.full(batch, START, jnp.int32))
    if beam_size == 1:
        keys = jax.random.split(root_key(0), batch)  # of no account at temperature 0
        tokens, length = generate(allowed, carry, logits, keys, max_length, 0.0, END)
    else:
        options = {"beam_size": beam_size, "max_length": max_length, "length_penalty": length_penalty}
        tokens, length, _ = beam_search(allowed, carry, logits, stop_token=END, **options)
        tokens, length = tokens[:, 0], length[:, 0]
    return jnp.where(jnp.arange(max_length) < length[:, None], tokens, PAD), length

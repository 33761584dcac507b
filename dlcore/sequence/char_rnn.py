"""A language model of characters by a recurrent network, trained by truncated back-propagation through time.

Karpathy, "The unreasonable effectiveness of recurrent neural networks" (2015); truncation as in Williams & Peng 1990.

    L = 1/T sum_t -log softmax(y_t)[x_{t+1}],   (h_t, y_t) = f_w(h_{t-1}, x_t),   t = 1 .. T
    the next T characters go on from stop_gradient(h_T)

The text is cut into B streams that are read side by side. Streams and carries are part of the state, as environments
are in reinforcement learning: `init` takes the streams from its batch, and `update` ignores the contents of its batch.
Step k reads the next T characters of every stream. After each pass over the streams the carry is reset to zero, and
reading starts one character later than before, so that the last few characters of a stream are read too.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.learner import Learner, Metrics, Range, State, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics.language import token_metrics
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.ops.replica import replica_key
from dlcore.optim import apply_gradients
from dlcore.sequence.decoding import generate

__all__ = ["CharRNNState", "chunk_at", "learner", "next_token_loss"]


@struct.dataclass
class CharRNNState(State):
    """The network and the text that it reads.

    Args:
      streams: [B, L] tokens, read side by side.
      carry: carry of the network, leaves [B, ...], after the characters read so far.
    """

    streams: jax.Array
    carry: Any


def chunk_at(streams: jax.Array, step: jax.Array, chunk_length: int) -> tuple[jax.Array, jax.Array]:
    """Cut out the tokens that a training step reads.

    Args:
      streams: [B, L] tokens.
      step: [] int.
      chunk_length: T.

    Returns:
      (tokens [B, T + 1], whether a pass over the streams begins); input and target overlap but for one token.
    """
    check_shapes(streams=(streams, "B L"), step=(step, "int >= 0"), chunk_length=(chunk_length, "int >= 1"))
    chunks, spare = divmod(streams.shape[1] - 1, chunk_length)
    if chunks < 1:
        raise ValueError(f"chunk_length={chunk_length}: longer than a stream; allowed: at most {streams.shape[1] - 1}")
    epoch, chunk = jnp.divmod(step, chunks)
    first = chunk * chunk_length + epoch % (spare + 1)
    return jax.lax.dynamic_slice_in_dim(streams, first, chunk_length + 1, axis=1), chunk == 0


def next_token_loss(
    model: nn.Module, params: Any, carry: Any, tokens: jax.Array, dropout: jax.Array | None = None
) -> tuple[jax.Array, Any, jax.Array]:
    """Measure the cross-entropy of each next token.

    Args:
      model: `__call__(carry, tokens [B, T]) -> (carry, logits [B, T, V])`.
      params: parameters of the model.
      carry: after the tokens before.
      tokens: [B, T + 1] int.
      dropout: PRNG key of the model's dropout; None applies none.

    Returns:
      (losses [B, T] in nats, the carry after the tokens, logits [B, T, V]).
    """
    check_shapes(tokens=(tokens, "int B T"))
    if tokens.shape[1] < 2:
        raise ValueError(f"tokens={list(tokens.shape)}: nothing to predict; allowed: at least 2 in a row")
    rngs = None if dropout is None else {"dropout": dropout}
    carry, logits = model.apply({"params": params}, carry, tokens[:, :-1], rngs=rngs)
    check_indices("tokens", tokens, logits.shape[-1], "tokens")
    target = tokens[:, 1:].astype(jnp.int32)
    return softmax_cross_entropy_loss(logits, target), carry, logits


def _measure_streams(model: nn.Module, params: Any, text: jax.Array, length: jax.Array, chunk_length: int) -> Metrics:
    """Metrics of rows [B, L] from a zero carry on, chunk by chunk, of `length` [B] targets."""
    num_targets = text.shape[1] - 1
    chunks = -(-num_targets // chunk_length)
    text = jnp.pad(text, ((0, 0), (0, chunks * chunk_length - num_targets)))

    def chunk(carry, first):
        tokens = jax.lax.dynamic_slice_in_dim(text, first, chunk_length + 1, axis=1)
        nats, carry, logits = next_token_loss(model, params, carry, tokens)
        mask = first + jnp.arange(chunk_length) < length[:, None]
        return carry, token_metrics(nats, logits, tokens[:, 1:], mask)

    _, metrics = jax.lax.scan(chunk, model.start(len(text)), jnp.arange(chunks) * chunk_length)
    return {name: metric.collapse() for name, metric in metrics.items()}


def _continue(
    model: nn.Module,
    params: Any,
    prompt: jax.Array,
    keys: jax.Array,
    sample_length: int,
    temperature: float | jax.Array,
    stop_token: Any,
) -> tuple[jax.Array, jax.Array]:
    """Sample after a prompt [B, P]: (tokens [B, sample_length], length [B])."""

    def step(carry, tokens):
        carry, logits = model.apply({"params": params}, carry, tokens[:, None])
        return carry, logits[:, -1]

    carry, logits = model.apply({"params": params}, model.start(prompt.shape[0]), prompt)
    return generate(step, carry, logits[:, -1], keys, sample_length, temperature, stop_token)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    chunk_length: Annotated[int, Range(1)] = 64,
    sample_length: Annotated[int, Range(1)] = 400,
    stop_token: Any = None,
) -> Learner:
    """Train a model of the next token of `{"text": [B, L] int, "index": [B]}`, one stream a row.

    Args:
      model: `__call__(carry, tokens [B, T]) -> (carry, logits [B, T, V])` and `start(B) -> carry`.
      optimizer: any optax transformation.
      chunk_length: T, characters of each stream in a step; no gradient goes further back.
      sample_length: characters of a sample.
      stop_token: ends a sample; None lets it run to its full length.

    Returns:
      The learner. `evaluate` reads each row from a zero carry to its end, or to `length: [B]` targets. `predict`
      continues `prompt: [B, P]` (by default the row's first token) at `temperature: [B]` (by default 1), and gives
      `{"tokens": [B, sample_length], "length": [B]}`.
    """

    def init(rng: jax.Array, batch: dict) -> CharRNNState:
        streams = jnp.asarray(batch["text"])
        carry = model.start(streams.shape[0])
        params = model.init(jax.random.fold_in(rng, 0), carry, streams[:, :1])["params"]
        return CharRNNState(
            step=jnp.zeros((), jnp.int32),
            rng=jax.random.fold_in(rng, 1),
            params=params,
            opt_state=optimizer.init(params),
            streams=streams,
            carry=carry,
        )

    def loss(params: Any, state: CharRNNState, batch: dict) -> tuple[jax.Array, Metrics]:
        tokens, _ = chunk_at(batch["text"], 0, chunk_length)
        nats, _, logits = next_token_loss(model, params, model.start(tokens.shape[0]), tokens)
        mask = jnp.broadcast_to(mask_of(batch)[:, None], nats.shape)
        return masked_mean(nats, mask), token_metrics(nats, logits, tokens[:, 1:], mask)

    def update(state: CharRNNState, batch: dict) -> tuple[CharRNNState, Metrics]:
        # Next chunk of every stream; the carry is zero where a new pass begins.
        tokens, new_pass = chunk_at(state.streams, state.step, chunk_length)
        # Truncated BPTT: the carry goes on, the gradient does not.
        carry = jax.tree.map(lambda h: jnp.where(new_pass, 0, h), state.carry)
        dropout = replica_key(jax.random.fold_in(state.rng, state.step))

        def objective(params):
            nats, last_carry, logits = next_token_loss(model, params, carry, tokens, dropout)  # [B, T]
            return nats.mean(), (last_carry, token_metrics(nats, logits, tokens[:, 1:]))

        # Gradient of the next-token loss through one chunk.
        gradients, (carry, metrics) = jax.grad(objective, has_aux=True)(state.params)
        # Optimizer step; the carry is part of the state.
        return apply_gradients(state, optimizer, gradients, carry=carry), metrics

    def evaluate(state: CharRNNState, batch: dict) -> Metrics:
        text, num_targets = batch["text"], batch["text"].shape[1] - 1
        length = batch.get("length", jnp.full(len(text), num_targets)) * (mask_of(batch) > 0)  # [B]
        return _measure_streams(model, state.params, text, length, chunk_length)

    def predict(state: CharRNNState, batch: dict) -> dict[str, jax.Array]:
        prompt = batch["prompt"] if "prompt" in batch else batch["text"][:, :1]
        keys, temperature = example_keys(state.rng, batch), batch.get("temperature", 1.0)
        tokens, length = _continue(model, state.params, prompt, keys, sample_length, temperature, stop_token)
        return {"tokens": tokens, "length": length}

    def classes(state: CharRNNState, batch: dict) -> dict[str, int]:
        return {"text": model.vocab_size} if hasattr(model, "vocab_size") else {}

    return Learner(init, update, evaluate, predict, loss, ("streams", "carry/*"), classes)

"""A language model by a decoder-only transformer: predict the next token from a window of those before it.

    L = mean over tokens of -log softmax(f_w(x_1 .. x_t))[x_{t+1}],   t = 1 .. T

Radford et al. 2018, "Improving language understanding by generative pre-training". Training rows may be longer than a
window: each step then cuts its windows at random places, so that every position of a text is the first of some window.
A window knows nothing of the text before it.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Batch, Learner, Metrics, Range, State, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics.language import token_metrics
from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import replica_key
from dlcore.ops.split_sequence import split_sequence
from dlcore.optim import apply_gradients, init_state
from dlcore.sequence.decoding import generate

__all__ = ["check_rows", "continue_text", "learner"]


def continue_text(
    model: nn.Module,
    variables: Any,
    prompt: jax.Array,
    lengths: jax.Array,
    keys: jax.Array,
    max_length: int,
    **settings: Any,
) -> tuple[jax.Array, jax.Array]:
    """Continue prompts of several lengths with the model's cache.

    Where prompt and continuation do not fit into the window together, a row whose window is full goes on from the last
    half of it, read again in one call.

    Args:
      model: such as `dlcore.models.gpt2.GPT2`: `init_cache`, `prefill` and `__call__(tokens, cache=)`.
      variables: variables of the model.
      prompt: [B, P] int, padded at the end with any tokens; P at most the window.
      lengths: [B] int, tokens of each prompt, at least 1.
      keys: [B], one a row.
      max_length: new tokens of the longest row.
      settings: arguments of `dlcore.sequence.decoding.generate`: temperature, stop_token, top_k, top_p.

    Returns:
      (tokens [B, max_length] int32, lengths [B] int32).
    """
    check_shapes(
        prompt=(prompt, "int B P"), lengths=(lengths, "int B"), keys=(keys, "B"), max_length=(max_length, "int >= 1")
    )
    batch, width = prompt.shape
    fits = width + max_length - 1 <= model.window
    capacity = width + max_length - 1 if fits else model.window
    # Prefill the cache with the prompt.
    cache, logits = model.apply(variables, prompt, lengths, model.init_cache(batch, capacity), method="prefill")

    def step(cache, tokens):
        logits, cache = model.apply(variables, tokens[:, None], cache=cache)
        return cache, logits[:, 0]

    # Everything fits in the window: one cache serves the whole text.
    if fits:
        return generate(step, cache, logits, keys, max_length, **settings)

    # Else the window slides: a full cache is rebuilt from the last half of its tokens.
    num_kept = capacity // 2
    recent = jnp.pad(prompt.astype(jnp.int32), ((0, 0), (0, capacity - width)))

    def slide(carry):
        """Full rows keep the last half of their tokens, the others all; both read them again."""
        _, recent, count = carry
        drop = jnp.where(count >= capacity, count - num_kept, 0)
        recent = jax.vmap(lambda row, n: jnp.roll(row, -n))(recent, drop)
        cache, _ = model.apply(variables, recent, count - drop, model.init_cache(batch, capacity), method="prefill")
        return cache, recent, count - drop

    def sliding(carry, tokens):
        cache, recent, count = jax.lax.cond((carry[2] >= capacity).any(), slide, lambda carry: carry, carry)
        recent = jax.vmap(lambda row, token, n: row.at[n].set(token))(recent, tokens, count)
        cache, logits = step(cache, tokens)
        return (cache, recent, count + 1), logits

    return generate(sliding, (cache, recent, lengths.astype(jnp.int32)), logits, keys, max_length, **settings)


def check_rows(batch: Batch, least: int, what: str) -> None:
    """Check that the rows of a batch hold a window.

    Args:
      batch: batch with `text: [B, L]`.
      least: tokens of a row.
      what: noun for them in the error message.
    """
    shape = batch["text"].shape
    if shape[1] < least:
        raise ValueError(f"text={list(shape)}: rows of {shape[1]} tokens; allowed: at least {least}, {what}")


def _next_token_losses(
    model: nn.Module, params: Any, tokens: jax.Array, dropout: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(losses [B, T], logits [B, T, V], targets [B, T]) of tokens [B, T + 1]."""
    rngs = None if dropout is None else {"dropout": dropout}
    inputs, target = split_sequence(tokens[:, :-1]), split_sequence(tokens[:, 1:].astype(jnp.int32))  # [B, T] each
    logits = model.apply({"params": params}, inputs, dropout is not None, rngs=rngs)
    return softmax_cross_entropy_loss(logits, target), logits, target


def _token_mask(batch: dict, window: int) -> jax.Array:
    """[B, T]: the targets that are a row's own."""
    position, rows = jnp.arange(window), batch["index"].shape
    first, length = batch.get("first", jnp.zeros(rows, int)), batch.get("length", jnp.full(rows, window))
    return (position >= first[:, None]) & (position < length[:, None]) & (mask_of(batch)[:, None] > 0)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    sample_length: Annotated[int, Range(1)] = 400,
    top_k: Annotated[int, Range(0)] = 0,
    top_p: Annotated[float, Range(0, 1)] = 1.0,
    stop_token: Any = None,
) -> Learner:
    """Train a model of the next token of `{"text": [B, L] int, "index": [B]}`, L above the window T.

    Args:
      model: `__call__(tokens [B, T], train) -> logits [B, T, V]` with a field `window`, T; see `continue_text`.
      optimizer: any optax transformation.
      sample_length: tokens of a sample.
      top_k: draw samples from as many of the most probable tokens; 0: from all.
      top_p: draw samples from the fewest tokens whose probabilities sum to this; 1: from all.
      stop_token: ends a sample; None lets it run to its full length.

    Returns:
      The learner. `update` cuts a window out of every row, at a random place where the row is longer. `evaluate` reads
      the first window of every row, and counts the targets from `first: [B]` to `length: [B]` (by default all).
      `predict` continues `prompt: [B, P]`, of `prompt_length: [B]` tokens (by default P; where there is no prompt, the
      row's first token), at `temperature: [B]` (by default 1), and gives `{"tokens": [B, sample_length],
      "length": [B]}`.
    """
    window = model.window

    def objective(params, tokens, batch, dropout=None):
        # Teacher forcing: predict each next token.
        nats, logits, target = _next_token_losses(model, params, tokens, dropout)  # [B, T]
        mask = _token_mask(batch, window)
        return masked_mean(nats, mask), token_metrics(nats, logits, target, mask)

    def init(rng: jax.Array, batch: dict) -> State:
        check_rows(batch, window + 1, f"the window of {window} tokens and the one that follows")
        params = model.init(jax.random.fold_in(rng, 0), jnp.asarray(batch["text"])[:1, :window])["params"]
        return init_state(params, optimizer, rng)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        check_rows(batch, window + 1, f"the window of {window} tokens and the one that follows")
        return objective(params, batch["text"][:, : window + 1], batch)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        crop_key, dropout_key = jax.random.split(jax.random.fold_in(state.rng, state.step))
        # Replicas draw different dropout masks.
        dropout_key = replica_key(dropout_key)
        check_rows(batch, window + 1, f"the window of {window} tokens and the one that follows")
        # A random window of T + 1 tokens of each row.
        spare = batch["text"].shape[1] - window - 1
        starts = jax.vmap(lambda key: jax.random.randint(key, (), 0, spare + 1))(example_keys(crop_key, batch))  # [B]
        tokens = jax.vmap(lambda text, i: jax.lax.dynamic_slice_in_dim(text, i, window + 1))(batch["text"], starts)
        # Gradient of the mean loss a token.
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, tokens, batch, dropout_key)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        prompt = batch["prompt"] if "prompt" in batch else batch["text"][:, :1]
        lengths = batch.get("prompt_length", jnp.full(prompt.shape[0], prompt.shape[1], jnp.int32))
        tokens, length = continue_text(
            model,
            {"params": state.params},
            prompt,
            lengths,
            example_keys(state.rng, batch),
            sample_length,
            temperature=batch.get("temperature", 1.0),
            stop_token=stop_token,
            top_k=top_k,
            top_p=top_p,
        )
        return {"tokens": tokens, "length": length}

    def classes(state: State, batch: dict) -> dict[str, int]:
        return {"text": model.vocab_size} if hasattr(model, "vocab_size") else {}

    return Learner(init, update, evaluate, predict, loss, classes=classes)

"""Momentum contrast: a query is matched with its key among a queue of keys, all from a slowly following encoder.

He, Fan, Wu, Xie & Girshick 2020, arXiv:1911.05722 (v1); Chen, Fan, Girshick & He 2020, arXiv:2003.04297 (v2).

    w_k <- m w_k + (1 - m) w_q,   q = f(view 1; w_q),   k+ = stop_gradient f(view 2; w_k)
    L = -log e^{q k+ / tau} / (e^{q k+ / tau} + sum_j e^{q k_j / tau}),   k_j the K keys in the queue

The keys of a batch then replace the oldest in the queue (first in, first out). v2 is v1 with a hidden layer in the
head, blur among the augmentations, a cosine schedule and tau = 0.2.

Batch norm could give away which key belongs to a query, as both are in the same position of the same batch. Under pmap,
with `axis` and a model whose statistics stay on their replica, keys are shuffled over the replicas before the encoder
and brought back after it. In one program the statistics are the whole batch's, which do not depend on order.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import info_nce_loss, masked_mean
from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import all_gather, is_replicated, local_rows, pmean
from dlcore.optim import apply_gradients
from dlcore.optim.ema import init_average, momentum_update
from dlcore.self_supervised.networks import encode, init_variables, predict_features, unit
from dlcore.self_supervised.views import alignment, two_views

__all__ = ["MoCoState", "enqueue", "learner", "shuffle", "unshuffle"]


@struct.dataclass
class MoCoState(State):
    """Query encoder (`params`), key encoder and queue.

    Args:
      model_state: batch statistics of the query encoder.
      key_params: w_k.
      key_model_state: batch statistics of the key encoder.
      queue: [K, E], keys of length 1.
      pointer: [] int32, index of the oldest key.
    """

    model_state: Any
    key_params: Any
    key_model_state: Any
    queue: jax.Array
    pointer: jax.Array


def enqueue(
    queue: jax.Array, pointer: jax.Array, keys: jax.Array, mask: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Replace the oldest keys of a circular queue.

    Args:
      queue: [K, E].
      pointer: [] int32, index of the oldest key.
      keys: [B, E], B at most K.
      mask: [B], 0 for padding, which does not enter; None: all keys do.

    Returns:
      (queue, pointer to the oldest).
    """
    check_shapes(pointer=(pointer, "int >= 0"))
    check_shapes(queue=(queue, "K E"), keys=(keys, "B E"), mask=(mask, "mask B or None"))
    size, count = queue.shape[0], keys.shape[0]
    if count > size:
        raise ValueError(f"queue_size={size}: smaller than a batch; allowed: at least {count}")
    is_key = jnp.ones(count, bool) if mask is None else jnp.asarray(mask) > 0
    # Ring buffer: the oldest keys are overwritten; padding goes to a row that does not exist.
    rows = jnp.where(is_key, (pointer + jnp.cumsum(is_key) - 1) % size, size)
    queue = jnp.asarray(queue).at[rows].set(keys, mode="drop")
    return queue, ((pointer + is_key.sum()) % size).astype(jnp.int32)


def shuffle(rng: jax.Array, x: jax.Array) -> jax.Array:
    """Exchange rows between replicas at random, inside pmap.

    Args:
      rng: key, the same on each replica.
      x: [B, ...], this replica's rows.

    Returns:
      [B, ...], this replica's share of all rows in a random order.
    """
    rows = all_gather(x)
    return local_rows(rows[jax.random.permutation(rng, len(rows))])


def unshuffle(rng: jax.Array, x: jax.Array) -> jax.Array:
    """Undo `shuffle`.

    Args:
      rng: key that `shuffle` was given.
      x: [B, ...], this replica's rows.

    Returns:
      [B, ...], the rows that this replica had before.
    """
    rows = all_gather(x)
    return local_rows(rows[jnp.argsort(jax.random.permutation(rng, len(rows)))])


def _contrast(
    q: jax.Array, k: jax.Array, queue: jax.Array, mask: jax.Array, temperature: float | jax.Array
) -> tuple[jax.Array, Metrics]:
    """Contrast queries [B, E] with their keys and a queue [K, E] of negatives; no gradient goes to a key."""
    k, queue = jax.lax.stop_gradient((k, queue))
    # InfoNCE: the positive first, then the queue of negatives.
    losses = info_nce_loss(q, k, queue, temperature)  # [B]
    is_nearest = (q * k).sum(-1) >= (q @ queue.T).max(-1)  # [B]
    return masked_mean(losses, mask), {"loss": Sum.of(losses, mask), "accuracy": Sum.of(is_nearest, mask)}


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: Augmentation,
    preprocess: Preprocess = lambda images: images,
    queue_size: Annotated[int, Range(1)] = 65536,
    key_momentum: Annotated[float, Range(0, 1)] = 0.999,
    temperature: Annotated[float, Range(1e-3)] = 0.07,
) -> Learner:
    """Train an encoder of `{"image": [B, H, W, C], "index": [B]}`; labels are not used.

    Args:
      model: `__call__(x, train) -> {"features": [B, D], "embeddings": [B, E]}`, see `Embedder`.
      optimizer: any optax transformation.
      augment: `(key, image [H, W, C] in [0, 1]) -> image`, called twice for the two views.
      preprocess: batch of views to the model's input.
      queue_size: K, the number of negatives; at least a batch.
      key_momentum: m, by which the key encoder keeps its weights at each step.
      temperature: tau, by which cosines are divided.

    Returns:
      The learner. `evaluate` contrasts two views of each image with the queue; `predict` is `predict_features`.
    """

    def views(batch, rng):
        return two_views(augment, preprocess, example_keys(rng, batch), batch["image"])

    def init(rng: jax.Array, batch: dict) -> MoCoState:
        images = preprocess(batch["image"])
        model_state = init_variables(model, rng, images)
        params = model_state.pop("params")
        size = jax.eval_shape(lambda: encode(model, params, model_state, images)[0]["embeddings"]).shape[-1]
        queue = unit(jax.random.normal(jax.random.fold_in(rng, 2**31 - 2), (queue_size, size)))
        key_params, key_model_state = init_average(params), jax.tree.map(jnp.copy, model_state)
        step, opt_state = jnp.zeros((), jnp.int32), optimizer.init(params)
        return MoCoState(step, rng, params, opt_state, model_state, key_params, key_model_state, queue, step)

    def update(state: MoCoState, batch: dict) -> tuple[MoCoState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        views_key, order, dropout = (jax.random.fold_in(rng, k) for k in range(3))
        # Two views of each image: query and key.
        first, second = views(batch, views_key)
        # EMA of the key encoder.
        key_params = momentum_update(state.key_params, state.params, key_momentum)
        # Shuffled batch norm: statistics of the keys must not give away the pairs.
        if is_replicated():
            second = shuffle(order, second)
        # Key encoder forward, no gradient.
        out, key_model_state = encode(model, key_params, state.key_model_state, second, dropout)
        keys = unshuffle(order, out["embeddings"]) if is_replicated() else out["embeddings"]  # [B, E]

        def objective(params):
            # Query encoder forward, contrasted with its key and the queue.
            out, model_state = encode(model, params, state.model_state, first, dropout)
            mean, metrics = _contrast(out["embeddings"], keys, state.queue, mask_of(batch), temperature)
            return mean, (model_state, metrics)

        # Gradient by the query encoder alone.
        gradients, (model_state, metrics) = jax.grad(objective, has_aux=True)(state.params)
        # Enqueue the keys of all replicas; the oldest leave.
        queue, pointer = enqueue(state.queue, state.pointer, *all_gather((keys, mask_of(batch))))
        # Optimizer step of the query encoder.
        state = apply_gradients(state, optimizer, gradients, model_state=model_state, queue=queue, pointer=pointer)
        return state.replace(key_params=key_params, key_model_state=pmean(key_model_state)), metrics

    def embed_views(params, state, batch):
        first, second = views(batch, state.rng)
        q, _ = encode(model, params, state.model_state, first)
        k, _ = encode(model, state.key_params, state.key_model_state, second)
        return q["embeddings"], k["embeddings"], second

    def loss(params: Any, state: MoCoState, batch: dict) -> tuple[jax.Array, Metrics]:
        q, k, _ = embed_views(params, state, batch)
        return _contrast(q, k, state.queue, mask_of(batch), temperature)

    def evaluate(state: MoCoState, batch: dict) -> Metrics:
        q, k, second = embed_views(state.params, state, batch)
        other, _ = encode(model, state.params, state.model_state, second)
        metrics = _contrast(q, k, state.queue, mask_of(batch), temperature)[1]
        return metrics | alignment(q, other["embeddings"], mask_of(batch))

    return Learner(init, update, evaluate, functools.partial(predict_features, model, preprocess), loss)

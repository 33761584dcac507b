"""Prototypical networks: a class is the mean of its supports' embeddings, or the embedding of its description.

Snell, Swersky & Zemel, "Prototypical networks for few-shot learning" (2017), arXiv:1703.05175.

    c_k = 1/S sum_s f(x_ks)    few- and one-shot            c_k = g(v_k)    zero-shot, v_k the attributes of class k
    logits_k = -|f(x) - c_k|^2,    L = CE(softmax(logits), y)               the squared distance, not its root

All images of a batch of episodes go through f together, so that batch norm normalizes over them all in training. In
evaluation it takes the running statistics: the logits of a query do not depend on the other queries (inductive).
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics.interval import HalfInterval
from dlcore.nn import BatchNorm, Conv, Dense
from dlcore.nn.apply import apply_model
from dlcore.ops import max_pool, squared_distances
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.replica import REPLICA
from dlcore.optim import apply_gradients

__all__ = ["PrototypicalNet", "learner", "prototype_logits"]


class PrototypicalNet(nn.Module):
    """Conv-4 of the few-shot literature: convolution, batch norm, ReLU and pooling; the last map is the embedding.

    Args:
      channels: number of output channels of each convolution.
      blocks: number of blocks; each halves the side.
      axis_name: mapped axis to average batch statistics over.
      dtype: dtype of the computation; None takes the parameters'.
    """

    channels: Annotated[int, Range(1)] = 64
    blocks: Annotated[int, Range(1)] = 4
    axis_name: str | None = REPLICA
    dtype: Any = None

    @nn.compact
    def __call__(
        self, images: jax.Array, attributes: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, jax.Array | None]:
        """Embed images, and descriptions of classes.

        Args:
          images: [N, H, W, C].
          attributes: [..., A], or None.
          train: normalize by batch statistics, and update the running ones.

        Returns:
          (embeddings [N, D], those of the descriptions [..., D] or None), at least float32.
        """
        x = images
        for i in range(self.blocks):
            x = Conv(self.channels, (3, 3), use_bias=False, dtype=self.dtype, name=f"conv{i}")(x)
            x = BatchNorm(not train, axis_name=self.axis_name, dtype=self.dtype, name=f"norm{i}")(x)
            x = max_pool(nn.relu(x), (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1).astype(acc_dtype_of(x.dtype))
        return x, None if attributes is None else Dense(x.shape[-1], name="description")(attributes)


def prototype_logits(queries: jax.Array, prototypes: jax.Array) -> jax.Array:
    """Score classes by their distance.

    Args:
      queries: [N, D].
      prototypes: [W, D], one a class.

    Returns:
      [N, W], -|query - prototype|^2.
    """
    check_shapes(queries=(queries, "N D"), prototypes=(prototypes, "W D"))
    return -squared_distances(queries, prototypes)


def _loss_and_accuracy(logits: jax.Array, batch: dict) -> tuple[jax.Array, jax.Array]:
    """(loss [B], accuracy [B]) of episodes."""
    way, queries = batch["query"].shape[1:3]
    label = jnp.broadcast_to(jnp.arange(way).repeat(queries), logits.shape[:2])  # [B, W Q]
    losses = softmax_cross_entropy_loss(logits, label)  # [B, W Q]
    return losses.mean(1), (logits.argmax(-1) == label).astype(jnp.float32).mean(1)


def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda images: images,
) -> Learner:
    """Train on episodes `{"support": [B, W, S, ...] or "attributes": [B, W, A], "query": [B, W, Q, ...], "index"}`.

    Args:
      model: `__call__(images, attributes, train) -> (embeddings, embeddings of attributes)`, see `PrototypicalNet`.
      optimizer: any optax transformation.
      preprocess: batch of images to the model's input.

    Returns:
      The learner. Metrics: `accuracy` of the queries and `interval`, half of its 95 % interval over the episodes.
      `evaluate` measures two others on the same episodes: `untrained_accuracy` by the embedding as it was initialized,
      and with supports `pixel_means_accuracy` by class means of pixels. `predict` returns `logits: [B, W Q, W]`; query
      i is of class i // Q.
    """

    def images_of(batch: dict) -> jax.Array:
        """[N, H, W, C], the supports of all episodes first."""
        parts = [batch[name] for name in ("support", "query") if name in batch]
        return preprocess(jnp.concatenate([part.reshape(-1, *part.shape[3:]) for part in parts]))

    def logits_of(embeddings: jax.Array, prototypes: jax.Array | None, batch: dict) -> jax.Array:
        """Logits [B, W Q, W] of embeddings [N, D] in the order of `images_of`."""
        episodes, way, queries = batch["query"].shape[:3]
        query_embeddings = embeddings[-episodes * way * queries :].reshape(episodes, way * queries, -1)
        if prototypes is None:
            supports = embeddings[: -episodes * way * queries]
            # Prototypes: the mean embedding of each class's supports.
            prototypes = supports.reshape(episodes, way, batch["support"].shape[2], -1).mean(2)  # [B, W, D]
        return jax.vmap(prototype_logits)(query_embeddings, prototypes)

    def objective(params, model_state, batch, train=False):
        images, attributes = images_of(batch), batch.get("attributes")
        outputs, model_state = apply_model(model, params, model_state, images, attributes, train=train)
        losses, correct = _loss_and_accuracy(logits_of(*outputs, batch), batch)
        mask = mask_of(batch)
        metrics = {"loss": Sum.of(losses, mask), "accuracy": Sum.of(correct, mask)}
        return masked_mean(losses, mask), (model_state, metrics | {"interval": HalfInterval.of(correct, mask)})

    def init_variables(rng: jax.Array, batch: dict) -> dict:
        return dict(model.init(jax.random.fold_in(rng, 2**31 - 1), images_of(batch)[:1], batch.get("attributes")))

    def init(rng: jax.Array, batch: dict) -> ModelState:
        model_state = init_variables(rng, batch)
        params = model_state.pop("params")
        return ModelState(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params), model_state)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (_, metrics) = objective(params, state.model_state, batch)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        # Gradient of the queries' cross-entropy over the episodes' prototypes.
        gradients, (model_state, metrics) = jax.grad(objective, has_aux=True)(
            state.params, state.model_state, batch, True
        )
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        metrics, mask, images = loss(state.params, state, batch)[1], mask_of(batch), images_of(batch)
        baselines = {
            "untrained_accuracy": model.apply(init_variables(state.rng, batch), images, batch.get("attributes"))
        }
        if "support" in batch:
            baselines["pixel_means_accuracy"] = (images.reshape(len(images), -1), None)
        return metrics | {
            name: Sum.of(_loss_and_accuracy(logits_of(*x, batch), batch)[1], mask) for name, x in baselines.items()
        }

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        variables = {"params": state.params, **state.model_state}
        return {"logits": logits_of(*model.apply(variables, images_of(batch), batch.get("attributes")), batch)}

    return Learner(init, update, evaluate, predict, loss)

"""Monocular depth up to scale and shift: a network learns disparity from images of unknown cameras (MiDaS, DPT).

    disparity     d = 1 / depth;   L = min over s, t of |s p + t - d|² / 2n + a gradients of s p + t - d
    depth         L = scale-invariant(log p; λ), where the network says metric depth
    measured      depth of s p + t, s and t by least squares on each image's target

Ranftl, Lasinger, Hafner, Schindler & Koltun, "Towards robust monocular depth estimation" (2020), arXiv:1907.01341; its
loss trained DPT (arXiv:2103.13413) and Depth Anything (arXiv:2401.10891).
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, scale_and_shift_invariant_loss, scale_invariant_depth_loss
from dlcore.metrics.depth import align_scale_and_shift, depth_metrics
from dlcore.nn.apply import apply_model
from dlcore.ops.replica import replica_key
from dlcore.ops.resize import resize
from dlcore.optim import apply_gradients, init_model_state

__all__ = ["learner"]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    augment: Any = None,
    gradient_weight: Annotated[float, Range(0)] = 0.5,
    variance_weight: Annotated[float, Range(0, 1)] = 0.5,
    max_depth: Annotated[float, Range(1e-6)] = 80.0,
) -> Learner:
    """Train on `{"image": [B, H, W, C], "depth": [B, H, W], 0 where unknown, "index": [B]}`.

    Args:
      model: `__call__(image, train: bool) -> [B, h, w]`, disparity up to scale and shift; depth where its field
        `metric` is true. A map of another size is enlarged to the image's.
      optimizer: optax transformation for params.
      preprocess: normalizes a batch of images.
      augment: `(key, example) -> example` of one preprocessed training example of image and depth; None for none.
      gradient_weight: a, weight of the gradients of the residual.
      variance_weight: λ of a metric network's loss.
      max_depth: greatest depth of an aligned disparity, in the data's units.

    Returns:
      The learner. `evaluate` returns the measures of `depth_metrics` after the alignment; predict gives `depth`
      [B, H, W] of a metric network, otherwise `disparity` [B, H, W].
    """
    is_metric = bool(getattr(model, "metric", False))

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, preprocess(batch["image"]))

    def forward(params: Any, model_state: Any, images: jax.Array, dropout: jax.Array | None = None) -> tuple:
        """(map [B, H, W], model_state), in training where there is a key for dropout."""
        y, model_state = apply_model(model, params, model_state, images, train=dropout is not None, rng=dropout)
        return resize(y[..., None], images.shape[1:3])[..., 0], model_state

    def objective(
        params: Any, state: ModelState, example: dict, batch: dict, dropout: jax.Array | None = None
    ) -> tuple:
        y, model_state = forward(params, state.model_state, example["image"], dropout)  # [B, H, W]
        depth = example["depth"]
        observed = depth > 0
        if is_metric:
            log_depth = jnp.log(jnp.maximum(y, 1e-6))
            losses = scale_invariant_depth_loss(log_depth, depth, observed, jnp.float32(variance_weight))  # [B]
        else:
            disparity = jnp.where(observed, 1 / jnp.where(observed, depth, 1), 0)
            losses = scale_and_shift_invariant_loss(y, disparity, observed, gradient_weight)  # [B]
        mask = mask_of(batch)
        return masked_mean(losses, mask), (model_state, {"loss": Sum.of(losses, mask)}, y)

    def example_of(batch: dict) -> dict:
        return {"image": preprocess(batch["image"]), "depth": batch["depth"]}

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (_, metrics, _) = objective(params, state, example_of(batch), batch)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng, example = jax.random.fold_in(state.rng, state.step), example_of(batch)
        # Augment images and depth maps together.
        if augment is not None:
            example = jax.vmap(augment)(example_keys(jax.random.fold_in(rng, 0), batch), example)
        # Replicas draw different dropout masks.
        dropout = replica_key(jax.random.fold_in(rng, 1))
        # Gradient of the loss after the best scale and shift of each map.
        gradients, (model_state, metrics, _) = jax.grad(objective, has_aux=True)(
            state.params, state, example, batch, dropout
        )
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        _, (_, metrics, y) = objective(state.params, state, example_of(batch), batch)
        depth = batch["depth"]
        observed = depth > 0
        if not is_metric:
            disparity = align_scale_and_shift(y, 1 / jnp.where(observed, depth, 1), observed)
            y = 1 / jnp.maximum(disparity, 1 / max_depth)
        return metrics | depth_metrics(y, depth, observed, mask_of(batch))

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        y, _ = forward(state.params, state.model_state, preprocess(batch["image"]))
        return {"depth" if is_metric else "disparity": y}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)

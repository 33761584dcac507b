"""RAFT: optical flow by a recurrent network that reads all-pairs correlations around its current estimate.

Teed & Deng, "RAFT: recurrent all-pairs field transforms for optical flow" (2020), arXiv:2003.12039.

    h_i, d_i = GRU(h_{i-1}, context, u_{i-1}, lookup(correlations, p + stopgrad(u_{i-1})))        u_0 = 0
    u_i      = stopgrad(u_{i-1}) + d_i                                                       i = 1 ... N
    L        = sum_i gamma^{N-i} mean over valid p of |u_i(p) - u*(p)|_1

The network is `dlcore.video.raft_network`'s, its lookup and upsampling `dlcore.video.correlation`'s. The loss is the
mean over the valid pixels of each image, where the authors' code divides by all pixels.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.classical_vision.optical_flow import endpoint_error
from dlcore.data.augment import Preprocess
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.nn.apply import apply_model
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.optim import init_model_state
from dlcore.optim.apply import descend

__all__ = ["learner", "sequence_loss"]


def sequence_loss(
    flows: jax.Array, target: jax.Array, valid: jax.Array | None = None, gamma: float | jax.Array = 0.8
) -> jax.Array:
    """Weighted L1 distance of all estimates from the true flow; later ones weigh more.

    Args:
      flows: [N, B, H, W, 2] in pixels, after each update.
      target: [B, H, W, 2] in pixels.
      valid: [B, H, W], 0 where the true flow is unknown; None for known everywhere.
      gamma: weight of an estimate relative to the next one.

    Returns:
      [B], one loss an example; 0 where no pixel is valid.
    """
    check_shapes(
        flows=(flows, "N B H W 2"),
        target=(target, "B H W 2"),
        valid=(valid, "mask B H W or None"),
        gamma=(gamma, ">= 0"),
    )
    flows, target = to_acc_dtype(flows), to_acc_dtype(target)
    is_valid = jnp.ones(target.shape[:3], bool) if valid is None else valid > 0
    distances = jnp.abs(flows - jnp.where(is_valid[..., None], target, 0)).sum(-1)  # [N, B, H, W]
    weights = jnp.asarray(gamma, distances.dtype) ** jnp.arange(len(flows) - 1, -1, -1)  # [N]
    pixels = jnp.where(is_valid, jnp.tensordot(weights, distances, 1), 0)  # [B, H, W]
    return pixels.sum((1, 2)) / jnp.maximum(is_valid.sum((1, 2)), 1)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Preprocess = lambda images: images,
    gamma: Annotated[float, Range(0, 1)] = 0.8,
) -> Learner:
    """Train on `{"first": [B, H, W, C], "second": [B, H, W, C], "flow": [B, H, W, 2], "index": [B]}`.

    A batch may have `valid: [B, H, W]`, 0 where the flow is unknown.

    Args:
      model: `__call__(first, second, train, last_only) -> [N, B, H, W, 2]`, see `RAFT`.
      optimizer: optax transformation for params.
      preprocess: batch of frames to the model's input.
      gamma: weight of an estimate in the loss, relative to that of the next update.

    Returns:
      The learner. `evaluate` returns `epe`, the mean endpoint error of the last estimate over valid pixels; `predict`
      gives `flow [B, H, W, 2]`.
    """

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, *(preprocess(batch[name]) for name in ("first", "second")))

    def estimate(params: Any, model_state: Any, batch: dict, train: bool, last_only: bool) -> tuple[jax.Array, Any]:
        frames = (preprocess(batch[name]) for name in ("first", "second"))
        return apply_model(model, params, model_state, *frames, train=train, last_only=last_only)

    def measure(flows: jax.Array, batch: dict) -> tuple[jax.Array, Metrics]:
        mask, target = mask_of(batch), batch["flow"]
        # Pixels with a known flow, of examples that are no padding.
        is_valid = jnp.broadcast_to(mask[:, None, None] > 0, target.shape[:3])
        is_valid = is_valid & (batch["valid"] > 0) if "valid" in batch else is_valid
        losses = sequence_loss(flows, target, is_valid, gamma)  # [B]
        errors = endpoint_error(flows[-1], target)  # [B, H, W]
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask), "epe": Sum.of(errors, is_valid)}

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        flows, _ = estimate(params, state.model_state, batch, train=False, last_only=False)
        return measure(flows, batch)

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        def objective(params: Any) -> tuple[jax.Array, tuple]:
            # Flow after each update of the recurrent network.
            flows, model_state = estimate(params, state.model_state, batch, train=True, last_only=False)
            # L1 distances of all of them, the last with weight 1.
            value, metrics = measure(flows, batch)
            return value, (metrics, model_state)

        # Gradient of the sequence loss, then the optimizer step.
        return descend(state, optimizer, objective)

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        flows, _ = estimate(state.params, state.model_state, batch, train=False, last_only=True)
        return {"flow": flows[-1]}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)

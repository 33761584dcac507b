"""Monocular depth and surface normals: a fully convolutional network from an image to both.

    L = scale-invariant(log depth; λ) + w mean(1 - cos(normals))

Eigen, Puhrsch & Fergus 2014, arXiv:1406.2283; Eigen & Fergus 2015, arXiv:1411.4734. With λ = 1 depth is learned up to
a factor; λ = 1/2, the papers' choice, fixes the factor too.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean, scale_invariant_depth_loss, surface_normal_loss
from dlcore.metrics.depth import depth_metrics
from dlcore.nn import Conv, ConvTranspose
from dlcore.ops.precision import to_acc_dtype
from dlcore.optim import init_state
from dlcore.optim.apply import descend

__all__ = ["DepthNet", "learner"]


class DepthNet(nn.Module):
    """A fully convolutional encoder and decoder: [B, H, W, C] -> (log depth [B, H, W], normals [B, H, W, 3]).

    Args:
      widths: channels at each size, the finest first; each further size is half the one before.
      initial_depth: depth that an untrained network predicts about.
      dtype: dtype of the computation; None means by promotion.
    """

    widths: tuple[int, ...] = (16, 32, 64, 64)
    initial_depth: Annotated[float, Range(1e-6)] = 4.0
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Predict depth and normals.

        Args:
          image: [B, H, W, C].

        Returns:
          (log depth [B, H, W], normals [B, H, W, 3], of any length).
        """
        stride = 2 ** (len(self.widths) - 1)
        if image.shape[1] % stride or image.shape[2] % stride:
            raise ValueError(f"image.shape={image.shape}: cannot be halved; allowed: sides that {stride} divides")

        def conv(x: jax.Array, width: int, name: str, strides: int = 1) -> jax.Array:
            return nn.relu(Conv(width, (3, 3), strides=strides, padding=1, dtype=self.dtype, name=name)(x))

        # Encoder: each size keeps its map for the decoder's skip connection.
        x, maps = image, []
        for i, width in enumerate(self.widths):
            x = conv(conv(x, width, f"down{i}_0", 2 if i else 1), width, f"down{i}_1")
            maps.append(x)
        # Decoder: double the side and concatenate the encoder's map of that size.
        for i in reversed(range(len(self.widths) - 1)):
            up = ConvTranspose(self.widths[i], (4, 4), strides=2, padding=1, dtype=self.dtype, name=f"up{i}")
            x = conv(jnp.concatenate([nn.relu(up(x)), maps[i]], -1), self.widths[i], f"join{i}")
        x = Conv(4, (3, 3), padding=1, dtype=self.dtype, name="head")(x)
        x = to_acc_dtype(x)  # [B, H, W, 4]
        # An output of 0 stands for the initial depth.
        return x[..., 0] + jnp.log(self.initial_depth), x[..., 1:]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    variance_weight: Annotated[float, Range(0, 1)] = 0.5,
    normal_weight: Annotated[float, Range(0)] = 0.2,
) -> Learner:
    """Train on `{"image": [B, H, W, C], "depth": [B, H, W], "normals": [B, H, W, 3], "index": [B]}`.

    Args:
      model: `__call__(image) -> (log depth [B, H, W], normals [B, H, W, 3])`.
      optimizer: optax transformation for params.
      variance_weight: λ of the scale-invariant loss.
      normal_weight: w of the normals' loss.

    Returns:
      The learner. `evaluate` returns the measures of `depth_metrics` and `normal_error`, the mean of 1 - cos; `predict`
      gives `depth [B, H, W]` and `normals [B, H, W, 3]` of length 1.
    """

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), batch["image"])["params"]
        return init_state(params, optimizer, rng)

    def measure(params: Any, batch: dict) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(losses [B], errors of normals [B], depth [B, H, W])."""
        log_depth, normals = model.apply({"params": params}, batch["image"])
        errors = surface_normal_loss(normals, batch["normals"]).mean((1, 2))  # [B]
        weight = jnp.float32(variance_weight)
        losses = scale_invariant_depth_loss(log_depth, batch["depth"], variance_weight=weight)  # [B]
        return losses + normal_weight * errors, errors, jnp.exp(log_depth)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        losses, _, _ = measure(params, batch)
        return masked_mean(losses, mask_of(batch)), {"loss": Sum.of(losses, mask_of(batch))}

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Gradient of the losses of depth and normals, then the optimizer step.
        return descend(state, optimizer, lambda params: loss(params, state, batch))

    def evaluate(state: State, batch: dict) -> Metrics:
        losses, errors, depth = measure(state.params, batch)
        mask = mask_of(batch)
        metrics = {"loss": Sum.of(losses, mask), "normal_error": Sum.of(errors, mask)}
        return metrics | depth_metrics(depth, batch["depth"], mask=mask)

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        log_depth, normals = model.apply({"params": state.params}, batch["image"])
        length = jnp.linalg.norm(normals, axis=-1, keepdims=True)
        return {"depth": jnp.exp(log_depth), "normals": normals / jnp.maximum(length, 1e-12)}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)

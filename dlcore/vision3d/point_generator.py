"""Point set generator: a network that draws all points of a shape at once, trained by the Chamfer distance.

    image -> convolutions -> dense -> M points;    L = Chamfer(points, surface)

Fan, Su & Guibas 2017, arXiv:1612.00603, the "vanilla version" with a fully connected predictor. The Chamfer distance
does not ask in which order points come, so that none is prescribed.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import chamfer_loss, masked_mean
from dlcore.metrics import point_f1
from dlcore.nn import Dense
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.optim import init_state
from dlcore.optim.apply import descend
from dlcore.vision3d.image_encoder import ImageEncoder

__all__ = ["PointGenerator", "learner", "point_measures"]


class PointGenerator(nn.Module):
    """Predict a point set from an image: [B, H, W, C] -> [B, num_points, 3].

    Args:
      num_points: M.
      widths: channels of the encoder's stages, each of stride 2.
      hidden: widths of the dense layers.
      depth: depth of the points' center at first, along the camera's axis.
      dtype: dtype of the computation; None means by promotion.
    """

    num_points: int = 256
    widths: tuple[int, ...] = (16, 32, 64)
    hidden: tuple[int, ...] = (256,)
    depth: Annotated[float, Range(0.01)] = 4.0
    dtype: Any = None

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Predict points.

        Args:
          image: [B, H, W, C].

        Returns:
          [B, num_points, 3] in the camera's coordinates.
        """
        x = ImageEncoder(self.widths, dtype=self.dtype, name="encoder")(image)[-1]
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            x = nn.relu(Dense(width, dtype=self.dtype, name=f"hidden{i}")(x))
        x = Dense(3 * self.num_points, dtype=self.dtype, name="points")(x).reshape(-1, self.num_points, 3)
        # Outputs near 0 are points around the center, in front of the camera.
        return to_acc_dtype(x) + jnp.array([0.0, 0.0, self.depth])


def point_measures(points: jax.Array, target: jax.Array, mask: jax.Array, threshold: float) -> Metrics:
    """Measure predicted point sets: Chamfer distance and F1.

    Args:
      points: [B, M, 3].
      target: [B, N, 3].
      mask: [B], 0 where an example is padding.
      threshold: distance up to which a point is correct.

    Returns:
      {"chamfer", "f1"}.
    """
    check_shapes(
        points=(points, "B M 3"), target=(target, "B N 3"), mask=(mask, "mask B"), threshold=(threshold, ">= 0")
    )
    f1 = jax.vmap(lambda p, q: point_f1(p, q, threshold)["f1"])(points, target)  # [B]
    return {"chamfer": Sum.of(chamfer_loss(points, target), mask), "f1": Sum.of(f1, mask)}


@check_arguments
def learner(
    *, model: nn.Module, optimizer: optax.GradientTransformation, threshold: Annotated[float, Range(0)] = 0.1
) -> Learner:
    """Train a generator on `{"image": [B, H, W, C], "points": [B, N, 3], "index": [B]}`.

    Args:
      model: `__call__(image) -> points [B, M, 3]`.
      optimizer: optax transformation for params.
      threshold: distance up to which a point is correct, for F1.

    Returns:
      The learner. `predict` returns `{"points": [B, M, 3]}`.
    """

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), batch["image"])["params"]
        return init_state(params, optimizer, rng)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        losses = chamfer_loss(model.apply({"params": params}, batch["image"]), batch["points"])  # [B]
        return masked_mean(losses, mask_of(batch)), {"loss": Sum.of(losses, mask_of(batch))}

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Gradient of the Chamfer distance, then the optimizer step.
        return descend(state, optimizer, lambda params: loss(params, state, batch))

    def evaluate(state: State, batch: dict) -> Metrics:
        points = model.apply({"params": state.params}, batch["image"])
        measures = point_measures(points, batch["points"], mask_of(batch), threshold)
        return {"loss": measures["chamfer"], **measures}

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        return {"points": model.apply({"params": state.params}, batch["image"])}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)

"""Implicit surfaces: a network of the coordinates whose level set is the surface, as occupancy or as signed distance.

    occupancy   o(x) = sigmoid(f(x)), surface at 1/2      L = cross-entropy(f(x), x is inside)
    distance    f(x) < 0 inside, surface at 0             L = |f(x) - d(x)| + w (|grad f(x)| - 1)²

A distance has a gradient of length 1 almost everywhere (the eikonal equation), which the second term asks for between
the samples; its gradient needs second derivatives, so that activations are smooth. Mescheder et al. 2019, "Occupancy
networks", arXiv:1812.03828; Park et al. 2019, "DeepSDF", arXiv:1901.05103; Gropp et al. 2020, arXiv:2002.10099.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.nn import Dense
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.surface_nets import surface_nets
from dlcore.optim import init_state
from dlcore.optim.apply import descend

__all__ = ["ImplicitSurface", "extract_surface", "grid_points", "learner"]


class ImplicitSurface(nn.Module):
    """A multilayer perceptron of coordinates: [B, 3] -> [B].

    Args:
      hidden: widths of the layers.
      sharpness: β of the activation softplus(β x) / β; the larger, the nearer to relu.
      dtype: dtype of the computation; None means by promotion.
    """

    hidden: tuple[int, ...] = (64, 64, 64)
    sharpness: Annotated[float, Range(1e-3)] = 10.0
    dtype: Any = None

    @nn.compact
    def __call__(self, points: jax.Array) -> jax.Array:
        """Compute the field.

        Args:
          points: [B, 3].

        Returns:
          [B]: logits of occupancy, or distances.
        """
        x = points
        for i, width in enumerate(self.hidden):
            x = Dense(width, dtype=self.dtype, name=f"hidden{i}")(x)
            x = jax.nn.softplus(self.sharpness * x) / self.sharpness  # smooth: the loss needs second derivatives
        x = Dense(1, dtype=self.dtype, name="field")(x)[..., 0]
        return to_acc_dtype(x)


def grid_points(resolution: int, half_side: float = 1.0) -> np.ndarray:
    """List the corners of a regular grid over a cube around the origin.

    Args:
      resolution: R, corners along each side.
      half_side: half the side of the cube.

    Returns:
      [R³, 3] float32, the last axis the fastest.
    """
    check_whole_number("resolution", resolution, 2)
    check_shapes(half_side=(half_side, "> 0"))
    check_shapes(half_side=(half_side, "finite"))
    axis = np.linspace(-half_side, half_side, resolution, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def extract_surface(
    field: Callable[[np.ndarray], Any], resolution: int = 48, half_side: float = 1.0, closed: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Extract the mesh of an implicit surface by surface nets.

    Args:
      field: points [N, 3] -> [N], positive inside: logits of occupancy, or negative distances.
      resolution: samples along each side of the cube.
      half_side: half the side of the cube around the origin.
      closed: refuse a surface that leaves the cube, at whose border the mesh would be open.

    Returns:
      (vertices [V, 3] float32, faces [F, 3] int32, outward).
    """
    values = np.asarray(field(grid_points(resolution, half_side)))
    check_shapes(field=(values, f"{resolution**3}"))
    values = values.reshape((resolution,) * 3)  # [R, R, R]
    vertices, faces = surface_nets(values, closed=closed)
    # From the grid's indices to coordinates of the cube.
    return vertices * np.float32(2 * half_side / (resolution - 1)) - np.float32(half_side), faces


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    target: Literal["occupancy", "distance"] = "occupancy",
    eikonal_weight: Annotated[float, Range(0)] = 0.1,
) -> Learner:
    """Train an implicit surface on `{"points": [B, 3], "distance": [B], "index": [B]}` of one solid.

    Args:
      model: `__call__(points [B, 3]) -> [B]`.
      optimizer: optax transformation for params.
      target: quantity that the field predicts.
      eikonal_weight: w, weight of the eikonal term; for distances only.

    Returns:
      The learner. `evaluate` returns `iou` of the points inside, and for distances `distance_error`, the mean of
      |f - d|, `gradient_norm`, the mean of |grad f|, and `eikonal_error`, the mean of ||grad f| - 1|. `predict` returns
      `{"field": [B]}`, positive inside for both targets.
    """
    is_distance = target == "distance"

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), batch["points"])["params"]
        return init_state(params, optimizer, rng)

    def apply(params: Any, points: jax.Array) -> jax.Array:
        return model.apply({"params": params}, points)

    def gradient_norms(params: Any, points: jax.Array) -> jax.Array:
        """[B]: length of the field's gradient."""
        # A value depends on its own point alone, so that the gradient of the sum holds all gradients.
        gradient = jax.grad(lambda x: apply(params, x).sum())(points)  # [B, 3]
        squares = jnp.square(gradient).sum(-1)
        # The floor keeps the root's derivative finite where the field is flat.
        return jnp.sqrt(jnp.maximum(squares, 1e-12))

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        field, distance, mask = apply(params, batch["points"]), batch["distance"], mask_of(batch)
        if is_distance:
            losses = jnp.abs(field - distance)  # [B]
            losses += eikonal_weight * jnp.square(gradient_norms(params, batch["points"]) - 1)  # eikonal term
        else:
            losses = optax.sigmoid_binary_cross_entropy(field, (distance <= 0).astype(field.dtype))
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask)}

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Gradient by the parameters; the eikonal term differentiates twice, then the optimizer step.
        return descend(state, optimizer, lambda params: loss(params, state, batch))

    def evaluate(state: State, batch: dict) -> Metrics:
        metrics, mask = loss(state.params, state, batch)[1], mask_of(batch)
        field, inside = predict(state, batch)["field"], batch["distance"] <= 0
        intersection, union = (field > 0) & inside & (mask > 0), ((field > 0) | inside) & (mask > 0)
        metrics["iou"] = Sum(intersection.sum(dtype=jnp.float32), union.sum(dtype=jnp.int32))
        if is_distance:
            slope = gradient_norms(state.params, batch["points"])
            # `predict` has changed the sign of the distance, so that the error is a sum.
            metrics["distance_error"] = Sum.of(jnp.abs(field + batch["distance"]), mask)
            metrics["gradient_norm"] = Sum.of(slope, mask)
            metrics["eikonal_error"] = Sum.of(jnp.abs(slope - 1), mask)
        return metrics

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        field = apply(state.params, batch["points"])
        return {"field": -field if is_distance else field}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)

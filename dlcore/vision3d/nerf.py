"""A neural radiance field (NeRF): density and color of a scene's points, learned from posed images by volume rendering.

    (σ, c) = f(γ(x), γ(d))     γ(x) = (x, sin 2^k x, cos 2^k x for k < K), so that a small network fits fine detail
    C(ray) = Σ T_i α_i c_i,    α_i = 1 - exp(-σ_i δ_i),   T_i = exp(-Σ_{j<i} σ_j δ_j)    of samples δ_i apart
    L = mean over rays of |C(ray) - pixel|²

Mildenhall et al. 2020, arXiv:2003.08934. In training the depths of the samples are stratified: one uniform draw from
each of equal bins between near and far; else they are the bins' centers.

Deviations: one network without the second, importance-sampled pass; softplus in place of relu for the density.
"""

import math
from typing import Annotated, Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.nn import Dense
from dlcore.ops.checks import check_range, check_shapes
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype
from dlcore.ops.safe_product import safe_product
from dlcore.optim import init_state
from dlcore.optim.apply import descend

__all__ = ["PeakSignalToNoise", "RadianceField", "frequency_encoding", "learner", "volume_render"]


class PeakSignalToNoise(Sum):
    """PSNR of all pixels together, for values in [0, 1]: `PeakSignalToNoise.of(squared errors, mask)`."""

    def compute(self) -> float | None:
        """Read the ratio.

        Returns:
          -10 log10 of the mean square, in dB; None where nothing was counted.
        """
        mean = super().compute()
        return None if mean is None else -10 * math.log10(max(mean, 1e-10))


def frequency_encoding(x: jax.Array, num_frequencies: int) -> jax.Array:
    """Encode coordinates by sines and cosines of doubling frequency.

    Args:
      x: [..., D].
      num_frequencies: K, from 2^0 to 2^(K - 1) radians a unit.

    Returns:
      [..., D (1 + 2 K)]: x, then the sines of all frequencies of the first coordinate and so on, then the cosines.
    """
    check_shapes(x=(x, "... D"), num_frequencies=(num_frequencies, "int >= 0"))
    angle = (x[..., None] * 2.0 ** jnp.arange(num_frequencies)).reshape(*x.shape[:-1], -1)
    return jnp.concatenate([x, jnp.sin(angle), jnp.cos(angle)], -1)


def volume_render(
    density: jax.Array, color: jax.Array, depths: jax.Array, far: float | jax.Array, background: float = 0.0
) -> dict[str, jax.Array]:
    """Integrate the light along rays, by the quadrature of piecewise constant density.

    Args:
      density: [..., S], at least 0.
      color: [..., S, C].
      depths: [..., S] of the samples, ascending, or [S] of those of all rays.
      far: depth at which the last interval ends; in one without an end any density stops all light.
      background: radiance of the light from behind.

    Returns:
      {"color": [..., C], "depth": [...], the mean depth of what is hit, where light that passes counts as `far` (not at
      all where `far` is infinite and anything is hit), "opacity": [...], 1 where no light passes, "weights": [..., S],
      of the samples}. Depth is measured as `depths` are: along rays of length 1 it is the distance, not the z that
      `unproject` takes, which is the distance over the length of the direction that `pixel_rays` gives.
    """
    axes = "... S" if np.ndim(depths) > 1 else "S"
    check_shapes(density=(density, "... S"), depths=(depths, axes), color=(color, "... S C"))
    check_range("density", density, 0)
    if not any(isinstance(value, jax.core.Tracer) for value in (depths, far)):
        endpoints = np.concatenate([depths, np.broadcast_to(far, (*depths.shape[:-1], 1))], -1)
        if not (np.diff(endpoints) >= 0).all():
            raise ValueError("depths: not ascending up to far; allowed: ascending depths, far behind the last")
    density, color, depths = map(to_acc_dtype, (density, color, depths))
    depths = jnp.broadcast_to(depths, density.shape)
    bin_ends = jnp.concatenate([depths[..., 1:], jnp.full_like(depths[..., :1], far)], -1)
    is_open = jnp.isinf(bin_ends)
    optical = safe_product(jnp.where(is_open, 0, bin_ends - depths), density)  # optical depth of each interval
    stopped = jnp.where(is_open, density > 0, -jnp.expm1(-optical))
    # The light that passes all intervals before, times what this interval stops.
    before = jnp.concatenate([jnp.zeros_like(optical[..., :1]), jnp.cumsum(optical[..., :-1], -1)], -1)
    weights = jnp.exp(-before) * stopped  # [..., S]
    opacity = weights.sum(-1)
    shade = (weights[..., None] * color).sum(-2) + background * (1 - opacity)[..., None]
    depth = (weights * depths).sum(-1)
    mean = jnp.where(opacity > 0, depth / jnp.where(opacity > 0, opacity, 1), jnp.inf)
    depth = jnp.where(jnp.isinf(far), mean, depth + jnp.where(jnp.isinf(far), 0, far) * (1 - opacity))
    return {"color": shade, "depth": depth, "opacity": opacity, "weights": weights}


class RadianceField(nn.Module):
    """A multilayer perceptron of points and directions.

    Args:
      hidden: widths of the layers before the density.
      point_frequencies: frequencies of the points' encoding; 0 for none.
      direction_frequencies: frequencies of the directions' encoding.
      scale: factor of the points before their encoding.
      dtype: dtype of the computation; None means by promotion.
    """

    hidden: tuple[int, ...] = (64, 64, 64)
    point_frequencies: Annotated[int, Range(0, 16)] = 6
    direction_frequencies: Annotated[int, Range(0, 8)] = 1
    scale: Annotated[float, Range(1e-3)] = 1.0
    dtype: Any = None

    @nn.compact
    def __call__(self, points: jax.Array, directions: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute the field.

        Args:
          points: [..., 3].
          directions: [..., 3] of length 1.

        Returns:
          (density [...], at least 0, color [..., 3] in [0, 1]).
        """
        x = frequency_encoding(self.scale * points, self.point_frequencies)
        for i, width in enumerate(self.hidden):
            x = nn.relu(Dense(width, dtype=self.dtype, name=f"hidden{i}")(x))
        # Density depends on the point alone; color depends on the direction too.
        density = Dense(1, dtype=self.dtype, name="density")(x)[..., 0]
        x = jnp.concatenate([x, frequency_encoding(directions, self.direction_frequencies).astype(x.dtype)], -1)
        x = nn.relu(Dense(self.hidden[-1] // 2, dtype=self.dtype, name="view")(x))
        color = Dense(3, dtype=self.dtype, name="color")(x)
        acc_dtype = acc_dtype_of(color.dtype)
        return jax.nn.softplus(density.astype(acc_dtype)), jax.nn.sigmoid(color.astype(acc_dtype))


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    near: Annotated[float, Range(0)] = 2.0,
    far: Annotated[float, Range(1e-3)] = 6.0,
    num_samples: Annotated[int, Range(2)] = 64,
    background: Annotated[float, Range(0, 1)] = 0.0,
) -> Learner:
    """Fit a scene to rays, `{"origin": [B, 3], "direction": [B, 3], "color": [B, 3], "index": [B]}`.

    Args:
      model: `__call__(points [B, S, 3], directions [B, S, 3]) -> (density [B, S], color [B, S, 3])`.
      optimizer: optax transformation for params.
      near: depth along a ray, of unit directions, at which samples begin.
      far: depth at which they end.
      num_samples: samples along a ray.
      background: brightness behind `far`.

    Returns:
      The learner. `evaluate` returns the loss, `mse` and `psnr` of all pixels together; `predict` returns `color [B,
      3]`, `depth [B]` and `opacity [B]`.
    """
    if far <= near:
        raise ValueError(f"far={far}: not behind near={near}; allowed: above near")

    def init(rng: jax.Array, batch: dict) -> State:
        point = batch["origin"][:1, None]
        params = model.init(jax.random.fold_in(rng, 0), point, point)["params"]
        return init_state(params, optimizer, rng)

    def render(params: Any, batch: dict, jitter: jax.Array | float) -> dict[str, jax.Array]:
        """Render rays with samples at `jitter`, in [0, 1), of each bin."""
        origin, direction = batch["origin"][:, None], batch["direction"][:, None]  # [B, 1, 3]
        bins = (jnp.arange(num_samples) + jitter) / num_samples
        depths = jnp.broadcast_to(near + (far - near) * bins, (origin.shape[0], num_samples))
        points = origin + depths[..., None] * direction  # [B, S, 3]
        density, color = model.apply({"params": params}, points, jnp.broadcast_to(direction, points.shape))
        return volume_render(density, color, depths, far, background)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        # Stratified sampling: a random depth in each bin.
        key = jax.random.fold_in(state.rng, state.step)
        jitter = jax.random.uniform(key, (batch["origin"].shape[0], num_samples))
        losses = jnp.square(render(params, batch, jitter)["color"] - batch["color"]).mean(-1)  # [B]
        return masked_mean(losses, mask_of(batch)), {"loss": Sum.of(losses, mask_of(batch))}

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Gradient of the squared error of the rays' colors, then the optimizer step.
        return descend(state, optimizer, lambda params: loss(params, state, batch))

    def evaluate(state: State, batch: dict) -> Metrics:
        error = jnp.square(render(state.params, batch, 0.5)["color"] - batch["color"]).mean(-1)
        mask = mask_of(batch)
        return {"loss": Sum.of(error, mask), "mse": Sum.of(error, mask), "psnr": PeakSignalToNoise.of(error, mask)}

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        rendered = render(state.params, batch, 0.5)
        return {name: rendered[name] for name in ("color", "depth", "opacity")}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)

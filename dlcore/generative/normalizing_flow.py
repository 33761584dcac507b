"""Normalizing flows, RealNVP and Glow: an invertible network turns images into noise, and its likelihood is exact.

RealNVP: Dinh, Sohl-Dickstein & Bengio 2017, arXiv:1605.08803. Glow: Kingma & Dhariwal 2018, arXiv:1807.03039.

    log p(x) = log N(f(x); 0, I) + log |det df / dx|
    coupling     y_1 = x_1,   y_2 = x_2 exp(s(x_1)) + t(x_1),    log |det| = sum s
    actnorm      y = exp(s) (x + b),  s and b of each channel, from the first batch,    log |det| = H W sum s
    1x1          y = W x at each pixel,  W = P L (U + diag d),    log |det| = H W sum log |d|
    split        half of the channels become noise,  e = (z - mean(x)) / sigma(x),    log |det| = -sum log sigma

Images have levels q, spread to x = (q + u) / levels - 1/2 with u ~ U[0, 1); -log p(q) <= D log levels - E_u log p(x).

A level of the network halves the sides, makes four channels of one, and applies its steps: normalization, a mixing of
the channels, a coupling. After each level but the last, half of the channels leave as noise, whose mean and deviation
the other half predicts. A sample runs the same network backwards, in one pass.

mixing="conv" is Glow. mixing="swap" is RealNVP, whose couplings take turns in which half they change; here it has
activation normalization in place of batch normalization, and no checkerboard couplings. P and the signs of d are
constants; L, U and log |d| start as those of a random rotation. Scales are bounded by a learned factor times tanh, as
RealNVP's, where Glow has a sigmoid.
"""

import math
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.generative.likelihood import likelihood_metrics, quantize
from dlcore.generative.pixels import check_shape, halve_sides
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.nn import Conv
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.ops.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from dlcore.optim import apply_gradients, init_state

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "InvertibleConv",
    "NormalizingFlow",
    "dequantize",
    "flow_log_likelihood",
    "learner",
]

ZEROS = nn.initializers.zeros


class ActNorm(nn.Module):
    """Activation normalization: scale and shift each channel, so that the first batch has mean 0 and variance 1.

    Parameters `bias` and `log_scale`: [C]; `init` takes both from its batch.
    """

    @nn.compact
    def __call__(self, x: jax.Array, inverse: bool = False) -> tuple[jax.Array, jax.Array]:
        """Normalize, or undo it.

        x [B, H, W, C]; inverse, compute x from y -> (y [B, H, W, C], log |det dy / dx| []).
        """
        axes = tuple(range(x.ndim - 1))
        bias = self.param("bias", lambda key: -x.mean(axes))
        log_scale = self.param("log_scale", lambda key: -jnp.log(x.std(axes) + 1e-6))
        log_det = x.shape[1] * x.shape[2] * log_scale.sum()
        return (x * jnp.exp(-log_scale) - bias, -log_det) if inverse else ((x + bias) * jnp.exp(log_scale), log_det)


class InvertibleConv(nn.Module):
    """Invertible 1x1 convolution: mix the channels of each pixel by a matrix whose determinant is cheap.

    Parameters `lower` and `upper`: [C, C], read below and above the diagonal, and `log_diagonal`: [C].

    Args:
      seed: seed of the rotation at the start.
    """

    seed: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, inverse: bool = False) -> tuple[jax.Array, jax.Array]:
        """Mix the channels, or undo it.

        x [B, H, W, C]; inverse, compute x from y -> (y [B, H, W, C], log |det dy / dx| []).
        """
        order, sign, initial = _factors_of_rotation(x.shape[-1], self.seed)
        lower, upper, log_diagonal = (
            self.param(name, nn.initializers.constant(value), value.shape) for name, value in initial.items()
        )
        lower = jnp.tril(lower, -1) + jnp.eye(len(order))
        upper = jnp.triu(upper, 1) + jnp.diag(jnp.asarray(sign) * jnp.exp(log_diagonal))
        log_det = x.shape[1] * x.shape[2] * log_diagonal.sum()
        if not inverse:
            return (x @ (lower @ upper).T)[..., order], log_det
        columns = x[..., np.argsort(order)].reshape(-1, len(order)).T
        columns = jax.scipy.linalg.solve_triangular(lower, columns, lower=True, unit_diagonal=True)
        columns = jax.scipy.linalg.solve_triangular(upper, columns)
        return columns.T.reshape(x.shape), -log_det


def _factors_of_rotation(channels: int, seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Factor a random rotation W = P L U: the channel that each output of P takes, signs of U's diagonal, L and U."""
    from scipy.linalg import lu

    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(channels, channels)))
    permutation, lower, upper = lu(rotation)
    diagonal = np.diag(upper)
    initial = {"lower": lower, "upper": upper, "log_diagonal": np.log(np.abs(diagonal))}
    return (
        permutation.argmax(1),
        np.sign(diagonal).astype(np.float32),
        {name: value.astype(np.float32) for name, value in initial.items()},
    )


class AffineCoupling(nn.Module):
    """Affine coupling: half of the channels says how to scale and shift the other half; the identity at the start.

    Args:
      width: channels of the two hidden layers.
      swap: change the first half of the channels in place of the second.
    """

    width: int
    swap: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, inverse: bool = False) -> tuple[jax.Array, jax.Array]:
        """Scale and shift half of the channels, or undo it.

        x [B, H, W, C], C even; inverse, compute x from y -> (y [B, H, W, C], log |det dy / dx| [B]).
        """
        first, second = jnp.split(x, 2, -1)
        same, other = (second, first) if self.swap else (first, second)
        # A small network of the half that stays.
        h = nn.relu(Conv(self.width, (3, 3), name="conv0")(same))
        h = nn.relu(Conv(self.width, (1, 1), name="conv1")(h))
        shift, raw = jnp.split(Conv(2 * other.shape[-1], (3, 3), kernel_init=ZEROS, name="conv2")(h), 2, -1)
        log_scale = self.param("scale", nn.initializers.ones, raw.shape[-1:]) * jnp.tanh(raw)
        log_det = log_scale.sum((1, 2, 3))
        if inverse:
            other, log_det = (other - shift) * jnp.exp(-log_scale), -log_det
        else:
            other = other * jnp.exp(log_scale) + shift
        return jnp.concatenate((other, same) if self.swap else (same, other), -1), log_det


class _Step(nn.Module):
    """Activation normalization, a mixing of the channels, an affine coupling."""

    width: int
    mixing: str
    index: int

    def setup(self):
        mixing = [InvertibleConv(self.index)] if self.mixing == "conv" else []
        swap = self.mixing == "swap" and self.index % 2 == 1
        self.layers = [ActNorm(), *mixing, AffineCoupling(self.width, swap)]

    def __call__(self, x, inverse=False):
        log_det = jnp.zeros(x.shape[0])
        for layer in reversed(self.layers) if inverse else self.layers:
            x, change = layer(x, inverse)
            log_det = log_det + change
        return x, log_det


class NormalizingFlow(nn.Module):
    """RealNVP or Glow: an invertible map between images [B, H, W, C] and noise [B, H W C].

    Args:
      shape: (H, W, C) of an image; sides are multiples of 2^num_levels.
      num_levels: levels, each of which halves the sides.
      num_steps: steps of a level.
      width: channels of the hidden layers of the couplings.
      mixing: conv, invertible 1x1 convolutions (Glow), or swap, couplings that take turns (RealNVP).
    """

    shape: tuple[int, ...]
    num_levels: Annotated[int, Range(1)] = 2
    num_steps: Annotated[int, Range(1)] = 8
    width: Annotated[int, Range(1)] = 64
    mixing: Literal["conv", "swap"] = "conv"

    def setup(self) -> None:
        """Make the layers."""
        check_choice("mixing", self.mixing, ("conv", "swap"))
        grid = halve_sides(self.shape, self.num_levels, f", as num_levels={self.num_levels} asks")
        self.steps = [
            [_Step(self.width, self.mixing, level * self.num_steps + k) for k in range(self.num_steps)]
            for level in range(self.num_levels)
        ]
        channels = [self.shape[-1] * 2 ** (level + 2) for level in range(self.num_levels)]
        self.priors = [Conv(c, (3, 3), kernel_init=ZEROS) for c in channels[:-1]]
        self.prior = self.param("prior", ZEROS, (2, *grid, channels[-1]))

    def _prior(self, level: int, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log sigma of what becomes noise at the end of a level."""
        if level == self.num_levels - 1:
            return self.prior[0], self.prior[1]
        mean, log_sigma = jnp.split(self.priors[level](x), 2, -1)
        return mean, log_sigma

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Turn images into noise: [B, H, W, C] -> (noise [B, H W C], log |det d noise / dx| [B])."""
        noises, log_det = [], jnp.zeros(x.shape[0])
        for level, steps in enumerate(self.steps):
            x = pixel_unshuffle(x, 2)
            for step in steps:
                x, change = step(x)
                log_det = log_det + change
            # Half of the channels leave; of the last level all.
            x, z = jnp.split(x, 2, -1) if level < self.num_levels - 1 else (x, x)
            mean, log_sigma = self._prior(level, x)
            noises.append(((z - mean) * jnp.exp(-log_sigma)).reshape(x.shape[0], -1))
            log_det = log_det - jnp.broadcast_to(log_sigma, z.shape).sum((1, 2, 3))
        return jnp.concatenate(noises, -1), log_det

    def decode(self, noise: jax.Array) -> jax.Array:
        """Turn noise into images, the inverse: [B, H W C] -> x [B, H, W, C]."""
        height, width, channels = self.shape
        x = None
        for level in reversed(range(self.num_levels)):
            rows, columns = height // 2 ** (level + 1), width // 2 ** (level + 1)
            # The last level's noise stands at the end.
            last = level == self.num_levels - 1
            count = channels * 2 ** (level + 1) * (2 if last else 1)
            noise, z = jnp.split(noise, [noise.shape[-1] - rows * columns * count], -1)
            z = z.reshape(-1, rows, columns, count)
            mean, log_sigma = self._prior(level, z if x is None else x)
            z = z * jnp.exp(log_sigma) + mean
            x = z if x is None else jnp.concatenate([x, z], -1)
            for step in reversed(self.steps[level]):
                x, _ = step(x, inverse=True)
            x = pixel_shuffle(x, 2)
        return x


def dequantize(keys: jax.Array, x: jax.Array, levels: int) -> jax.Array:
    """Spread each level over its interval, evenly.

    Args:
      keys: [B], of the examples.
      x: [B, ...] int in [0, levels).
      levels: values of a dimension, at least 2.

    Returns:
      [B, ...] float32 in [-1/2, 1/2).
    """
    check_shapes(levels=(levels, "int >= 2"), keys=(keys, str(len(x))))
    check_indices("x", x, levels, "levels")
    u = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))(keys)
    return (x + u) / levels - 0.5


def flow_log_likelihood(model: nn.Module, params: Any, x: jax.Array) -> jax.Array:
    """Compute the log density of images, exactly.

    Args:
      model: an invertible network, as `NormalizingFlow`.
      params: parameters of the network.
      x: [B, H, W, C].

    Returns:
      [B] float32, in nats.
    """
    noise, log_det = model.apply({"params": params}, x)
    return -0.5 * (jnp.square(noise) + math.log(2 * math.pi)).sum(-1) + log_det


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    levels: Annotated[int, Range(3, 256)] = 16,
    temperature: Annotated[float, Range(0)] = 1.0,
) -> Learner:
    """Train a normalizing flow on `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: an invertible network, as `NormalizingFlow`.
      shape: (H, W, C) of an image.
      levels: values of a pixel, to which intensities are quantized; 256 keeps those of a file.
      temperature: deviation of the noise of samples; below 1 they are more probable and less diverse.

    Returns:
      The learner. `loss` is in nats a dimension; `evaluate` returns a bound on the nats of an image and its bits per
      dimension too, with one draw of u. `predict` needs `index` alone and gives `{"sample": [B, H, W, C] in [0, 1]}`,
      and with an `image` its `nats: [B]`.
    """
    check_shape(shape)
    dimensions = math.prod(shape)

    def nats_of(params, batch, key):
        x = dequantize(example_keys(key, batch), quantize(batch["image"], levels), levels)
        return dimensions * math.log(levels) - flow_log_likelihood(model, params, x)

    def init(rng: jax.Array, batch: dict) -> State:
        # Activation normalization starts from the statistics of the batch.
        x = dequantize(example_keys(rng, batch), quantize(batch["image"], levels), levels)
        return init_state(model.init(jax.random.fold_in(rng, 0), x)["params"], optimizer, rng)

    def objective(params, batch, key):
        nats, mask = nats_of(params, batch, key), mask_of(batch)  # [B], [B]
        metrics = {
            "loss": Sum.of(nats / dimensions, mask),
            **likelihood_metrics(nats, dimensions, f"{levels}_levels", mask),
        }
        return masked_mean(nats / dimensions, mask), metrics

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, batch, state.rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # New positions within the levels.
        rng = jax.random.fold_in(state.rng, state.step)
        # Gradient of the negative log-likelihood per dimension.
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, batch, rng)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return objective(state.params, batch, state.rng)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        keys = example_keys(jax.random.fold_in(state.rng, 1), batch)
        # Noise backwards through the flow.
        noise = temperature * jax.vmap(lambda key: jax.random.normal(key, (dimensions,)))(keys)  # [B, D]
        x = model.apply({"params": state.params}, noise, method="decode")  # [B, H, W, C]
        # The level of each pixel.
        q = jnp.clip(jnp.floor((x + 0.5) * levels), 0, levels - 1)
        outputs = {"sample": q / (levels - 1)}
        return outputs | ({"nats": nats_of(state.params, batch, state.rng)} if "image" in batch else {})

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)

"""Train one network to undo noise: what DDPM, flow matching and their kin share.

A technique says two things: the loss of noised examples, and how samples are drawn. The rest is the same: what is
diffused (pixels, or codes of a frozen autoencoder), what the network is given besides (`Condition`), classifier-free
guidance, and keys that belong to examples, so that a sample does not depend on its batch.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.data.augment import to_float
from dlcore.generative.condition import Condition, classes_of, read
from dlcore.generative.pixels import check_shape, denormalize, normalize
from dlcore.generative.schedules import check_floats
from dlcore.learner import Learner, Metrics, State, Sum, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of
from dlcore.optim import apply_gradients

__all__ = ["DiffusionState", "decode_pixels", "denoising_learner", "encode_pixels", "example_noise"]


@struct.dataclass
class DiffusionState(State):
    """The state of diffusion.

    Args:
      locked: parameters that are used but do not learn, such as those of an autoencoder; {} for none.
    """

    locked: Any


def encode_pixels(params: Any, keys: jax.Array, batch: dict) -> jax.Array:
    """Scale the images of a batch to [-1, 1].

    Args:
      params: not used.
      keys: not used.
      batch: `{"image": [B, H, W, C]}`.

    Returns:
      [B, H, W, C].
    """
    return normalize(batch["image"])


def decode_pixels(params: Any, x: jax.Array) -> jax.Array:
    """Scale samples to [0, 1].

    Args:
      params: not used.
      x: [B, H, W, C] in [-1, 1].

    Returns:
      [B, H, W, C].
    """
    return denormalize(x)


def example_noise(keys: jax.Array, x: jax.Array) -> jax.Array:
    """Draw the noise that is added to each example in training.

    Args:
      keys: [B], of the examples.
      x: [B, ...], the examples.

    Returns:
      [B, ...], standard normal, at least float32.
    """
    check_floats("x", x)
    check_shapes(keys=(keys, str(len(x))))

    def one(key, x):
        return jax.random.normal(jax.random.fold_in(key, 1), x.shape, acc_dtype_of(x.dtype))

    return jax.vmap(one)(keys, x)


def denoising_learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    losses: Callable[..., jax.Array],
    draw: Callable[..., jax.Array],
    condition: Condition | None,
    encode: Callable[[Any, jax.Array, dict], jax.Array],
    decode: Callable[[Any, jax.Array], jax.Array],
    frozen: Sequence[str],
    condition_dropout: float,
    edit: Callable[..., jax.Array] | None = None,
) -> Learner:
    """Build the learner of a denoising technique.

    Args:
      model: `__call__(x [B, *shape], t [B]) -> [B, *shape]`; with a condition it is the third argument.
      shape: shape of one diffused example.
      losses: (network (x, t [B], *cond) -> output, keys [B], x [B, *shape], cond, step []) -> [B], the loss of each
        example after `step` updates.
      draw: (network (x, t [], *cond) -> output, keys [B] or [B, 2], cond, fractions [B] or None) -> [B, *shape].
      encode: (parameters, keys [B], batch) -> [B, *shape], what is diffused.
      decode: (parameters, samples [B, *shape]) -> images in [0, 1].
      frozen: submodules of the model that do not learn; their parameters are `DiffusionState.locked`.
      condition_dropout: share of the training examples that lose their condition.
      edit: (network, keys [B], cond, x [B, *shape], mask [B, H, W, 1]) -> [B, *shape], for batches with `original`, the
        images to edit, and `edit_mask`; None edits none.
    """
    check_shape(shape)
    check_shapes(condition_dropout=(condition_dropout, "0 to 1"))

    def init(rng: jax.Array, batch: dict) -> State:
        cond = read(condition, jax.tree.map(lambda leaf: leaf[:1], batch))
        variables = model.init(jax.random.fold_in(rng, 0), jnp.zeros((1, *shape)), jnp.zeros(1, jnp.int32), *cond)
        params = {name: leaf for name, leaf in variables["params"].items() if name not in frozen}
        frozen_params = {name: leaf for name, leaf in variables["params"].items() if name in frozen}
        rng = jax.random.fold_in(rng, 1)
        return DiffusionState(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params), frozen_params)

    def objective(params, state, batch, rng, dropout=0.0):
        keys, mask, params = example_keys(rng, batch), mask_of(batch), {**params, **state.locked}
        # Clean example; latent diffusion encodes it by the frozen autoencoder.
        x = encode(params, jax.vmap(lambda key: jax.random.fold_in(key, 2))(keys), batch)
        # Classifier-free guidance: drop the condition of some examples.
        cond = read(condition, batch, keys, dropout)
        network = functools.partial(model.apply, {"params": params})
        values = losses(network, keys, x, cond, state.step)  # [B]
        return masked_mean(values, mask), {"loss": Sum.of(values, mask)}

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, state, batch, state.rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # New times and noise at each step.
        rng = jax.random.fold_in(state.rng, state.step)
        # Gradient of the loss by the trainable parameters alone.
        gradient = jax.grad(objective, has_aux=True)
        gradients, metrics = gradient(state.params, state, batch, rng, condition_dropout)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return objective(state.params, state, batch, state.rng)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        params, cond = {**state.params, **state.locked}, read(condition, batch)
        keys, fractions = example_keys(state.rng, batch), batch.get("share")
        if fractions is not None:
            # Interpolation: noise on the arc between that of two keys.
            keys = jax.vmap(jax.vmap(lambda i: jax.random.fold_in(state.rng, i)))(batch["ends"])  # [B, 2]

        def network(x, t, *cond):
            return model.apply({"params": params}, x, jnp.full(x.shape[0], t), *cond)

        if edit is None or "original" not in batch:
            return {"sample": decode(params, draw(network, keys, cond, fractions))}
        images, mask = to_float(batch["original"]), batch["edit_mask"]
        edited = decode(params, edit(network, keys, cond, encode(params, keys, {"image": images}), mask))
        # What stays has the pixels themselves, not their way through the range of the network.
        return {"sample": jnp.where(mask != 0, edited, images)}

    return Learner(init, update, evaluate, predict, loss, classes=classes_of(condition))

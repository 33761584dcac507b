"""Denoising diffusion: one network learns to predict the noise that was added to an example.

Ho, Jain & Abbeel 2020, arXiv:2006.11239.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,   t uniform in the steps, eps ~ N(0, I)
    L = |eps - eps_theta(x_t, t)|^2, averaged over the dimensions

One network serves all steps, told t (some lectures draw one network a step). Samples are drawn by any of
`dlcore.generative.samplers`; the average of the parameters that the paper samples from is `dlcore.optim.use_ema`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.generative.samplers import SAMPLERS
from dlcore.generative.schedules import SCHEDULES, alpha_bars, diffuse
from dlcore.learner import Learner, Metrics, Range, State, Sum, example_keys, mask_of

__all__ = ["from_unit", "learner", "sample", "to_unit"]


def from_unit(image: jax.Array) -> jax.Array:
    """uint8, or floats in [0, 1], to [-1, 1]."""
    return 2 * to_float(image) - 1


def to_unit(x: jax.Array) -> jax.Array:
    """[-1, 1] to [0, 1], clipped."""
    return jnp.clip((x + 1) / 2, 0, 1)


def sample(
    denoise: Callable[[jax.Array, jax.Array], jax.Array],
    keys: jax.Array,
    shape: tuple[int, ...],
    table: Any,
    *,
    sampler: str = "ddim",
    steps: int = 50,
    eta: float = 0.0,
    clip: bool = True,
    dtype: Any = jnp.float32,
    trace: bool = False,
) -> Any:
    """One example a key, from it alone: keys [B] -> [B, *shape]. table: alpha_bars. See `samplers` for the rest."""

    def noise(k):
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, k + 1), shape, dtype))(keys)

    own = {"eta": eta} if sampler == "ddim" else {}
    return SAMPLERS[sampler](denoise, noise(-1), noise, table, steps=steps, clip=clip, trace=trace, **own)


def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    encode: Callable[[jax.Array], jax.Array] = from_unit,
    decode: Callable[[jax.Array], jax.Array] = to_unit,
    diffusion_steps: Annotated[int, Range(2)] = 1000,
    noise_schedule: Literal["linear", "cosine", "scaled_linear"] = "linear",
    sampler: Literal["ddpm", "ddim", "dpmpp"] = "ddpm",
    sampling_steps: Annotated[int, Range(1)] = 1000,
    eta: Annotated[float, Range(0, 1)] = 0.0,
    clip: bool = True,
    axis: str | None = None,
) -> Learner:
    """A diffusion model of `{"image": [B, *shape], "index": [B]}`; samples need `index` alone.

    Args:
      model: `__call__(x [B, *shape], t [B] int) -> noise [B, *shape]`.
      optimizer: any optax transformation.
      shape: of one example.
      encode: images as the data has them to about [-1, 1].
      decode: the way back, of samples.
      diffusion_steps: steps between data and noise in training.
      noise_schedule: how the variance of the noise rises.
      sampler: ddpm (ancestral), ddim or dpmpp; see dlcore.generative.samplers.
      sampling_steps: of the sampler, at most diffusion_steps.
      eta: ddim: noise drawn in each step; 0 is a deterministic path, 1 has the ancestral variance.
      clip: keep the predicted clean example in [-1, 1] while sampling.
      axis: unused; nothing acts across examples.

    evaluate measures the loss, with t and noise drawn for each example by its index; predict gives
    `{"sample": [B, *shape]}`.

    Raises:
      ValueError: there are more sampling steps than diffusion steps.
    """
    if sampling_steps > diffusion_steps:
        raise ValueError(f"sampling_steps={sampling_steps} must be at most diffusion_steps={diffusion_steps}")
    table = alpha_bars(SCHEDULES[noise_schedule](diffusion_steps))

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), jnp.zeros((1, *shape)), jnp.zeros(1, jnp.int32))["params"]
        return State(jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 1), params, optimizer.init(params))

    def objective(params, batch, rng):
        x = encode(batch["image"])

        def draw(key, x):
            t = jax.random.randint(jax.random.fold_in(key, 0), (), 0, diffusion_steps)
            noise = jax.random.normal(jax.random.fold_in(key, 1), x.shape, x.dtype)
            return t, noise, diffuse(x, noise, jnp.asarray(table, x.dtype)[t])

        t, noise, noisy = jax.vmap(draw)(example_keys(rng, batch), x)
        predicted = model.apply({"params": params}, noisy, t)
        losses = jnp.square(noise - predicted).reshape(x.shape[0], -1).mean(-1)
        mask = mask_of(batch)
        mean = jnp.where(mask > 0, losses, 0).sum() / jnp.maximum(mask.sum(), 1)
        return mean, {"loss": Sum.of(losses, mask)}

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, batch, state.rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, batch, rng)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return objective(state.params, batch, state.rng)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        def denoise(x, t):
            return model.apply({"params": state.params}, x, jnp.full(x.shape[0], t))

        x = sample(
            denoise, example_keys(state.rng, batch), tuple(shape), table,
            sampler=sampler, steps=sampling_steps, eta=eta, clip=clip,
        )  # fmt: skip
        return {"sample": decode(x)}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)

"""Denoising diffusion: one network learns to predict the noise that was added to an example.

Ho, Jain & Abbeel 2020, arXiv:2006.11239.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,   t uniform in the timesteps, eps ~ N(0, I)
    L = |eps - eps_theta(x_t, t)|^2, averaged over the dimensions

The network gets the timestep t as an input. The paper samples from an average of the parameters, which is
`dlcore.optim.use_ema` here.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.generative.dpm_solver import dpmpp_sample
from dlcore.generative.pixels import denormalize, normalize
from dlcore.generative.samplers import Denoise, Noise, ddim_sample, ddpm_sample, timesteps
from dlcore.generative.schedules import SCHEDULES, add_noise, alphas_cumprod
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.optim import apply_gradients

__all__ = ["SAMPLERS", "interpolate", "learner", "sample"]

SAMPLERS = {"ddpm": ddpm_sample, "ddim": ddim_sample, "dpmpp": dpmpp_sample}


def sample(
    denoise: Denoise,
    keys: jax.Array,
    shape: tuple[int, ...],
    alphas_cumprod: np.ndarray,
    *,
    sampler: Literal["ddpm", "ddim", "dpmpp"] = "ddim",
    num_inference_steps: int = 50,
    **options: Any,
) -> Any:
    """Draw one example for each key, from that key alone.

    Args:
      denoise: (x [B, *shape], timestep []) -> predicted noise [B, *shape].
      keys: [B].
      shape: of an example.
      alphas_cumprod: [T].
      sampler: a name of SAMPLERS.
      num_inference_steps: at most T.
      **options: of the sampler.

    Returns:
      [B, *shape]; with `return_trajectory=True` (samples, [num_inference_steps + 1, B, *shape]).
    """
    grid = timesteps(len(alphas_cumprod), num_inference_steps)
    noise = _noise_of(keys, shape)
    return SAMPLERS[sampler](denoise, noise(-1), noise, alphas_cumprod, grid, **options)


def interpolate(
    denoise: Denoise,
    keys: jax.Array,
    shares: jax.Array,
    shape: tuple[int, ...],
    alphas_cumprod: np.ndarray,
    *,
    sampler: Literal["ddpm", "ddim", "dpmpp"] = "ddim",
    num_inference_steps: int = 50,
    **options: Any,
) -> Any:
    """Draw the examples between those of two keys: all noise, of the start and of each step, lies on the arc between.

    On an arc noise keeps its length, which on a straight line it would lose (DDIM, section 5.3).

    Args:
      denoise: (x [B, *shape], timestep []) -> predicted noise [B, *shape].
      keys: [2].
      shares: [B] in [0, 1]; 0 gives `sample` of the first key and 1 that of the second.
      shape: of an example.
      alphas_cumprod: [T].
      sampler: a name of SAMPLERS.
      num_inference_steps: at most T.
      **options: of the sampler.

    Returns:
      As `sample`.
    """
    ends, shares = _noise_of(keys, shape), jnp.asarray(shares)

    def noise(k):
        return jax.vmap(lambda share: _on_arc(*ends(k), share))(shares)

    grid = timesteps(len(alphas_cumprod), num_inference_steps)
    return SAMPLERS[sampler](denoise, noise(-1), noise, alphas_cumprod, grid, **options)


def _noise_of(keys: jax.Array, shape: tuple[int, ...]) -> Noise:
    """Draws of each step k from -1 on, of each key."""
    return lambda k: jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, k + 1), shape))(keys)


def _on_arc(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
    """Spherical interpolation; on the line where the two directions are one."""
    angle = jnp.arccos(jnp.clip(jnp.vdot(a, b) / (jnp.linalg.norm(a) * jnp.linalg.norm(b)), -1, 1))
    sine = jnp.sin(angle)
    is_arc = sine > 1e-3
    safe = jnp.where(is_arc, sine, 1)
    return (
        jnp.where(is_arc, jnp.sin((1 - share) * angle) / safe, 1 - share) * a
        + jnp.where(is_arc, jnp.sin(share * angle) / safe, share) * b
    )


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    num_timesteps: Annotated[int, Range(2)] = 1000,
    beta_schedule: Literal["linear", "cosine", "scaled_linear"] = "linear",
    sampler: Literal["ddpm", "ddim", "dpmpp"] = "ddpm",
    num_inference_steps: Annotated[int, Range(1)] = 1000,
    eta: Annotated[float, Range(0, 1)] = 0.0,
    clip_sample: bool = True,
    axis: str | None = None,
) -> Learner:
    """Train a diffusion model of `{"image": [B, *shape], "index": [B]}`.

    Args:
      model: `__call__(x [B, *shape], t [B] int) -> noise [B, *shape]`.
      optimizer: any optax transformation.
      shape: of one example.
      num_timesteps: timesteps between data and noise in training.
      beta_schedule: how the variance of the noise rises over the timesteps.
      sampler: ddpm (ancestral), ddim or dpmpp (DPM-Solver++).
      num_inference_steps: steps of the sampler, at most num_timesteps.
      eta: ddim: noise drawn in each step; 0 follows a deterministic path, 1 has the ancestral variance.
      clip_sample: clip the predicted clean example to [-1, 1] while sampling.
      axis: not used; nothing acts across examples.

    Returns:
      The learner. `evaluate` measures the loss with t and noise drawn for each example by its index; `predict` needs
      `index` alone and gives `{"sample": [B, *shape]}`.

    Raises:
      ValueError: num_inference_steps exceeds num_timesteps.
    """
    if num_inference_steps > num_timesteps:
        raise ValueError(f"num_inference_steps={num_inference_steps}: too many; allowed: at most {num_timesteps=}")
    abar = alphas_cumprod(SCHEDULES[beta_schedule](num_timesteps))
    options = {"sampler": sampler, "num_inference_steps": num_inference_steps, "clip_sample": clip_sample}
    options |= {"eta": eta} if sampler == "ddim" else {}

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), jnp.zeros((1, *shape)), jnp.zeros(1, jnp.int32))["params"]
        return State(jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 1), params, optimizer.init(params))

    def objective(params, batch, rng):
        x, mask = normalize(batch["image"]), mask_of(batch)

        def diffuse(key, x):
            t = jax.random.randint(jax.random.fold_in(key, 0), (), 0, num_timesteps)
            noise = jax.random.normal(jax.random.fold_in(key, 1), x.shape, x.dtype)
            return t, noise, add_noise(x, noise, jnp.asarray(abar, x.dtype)[t])

        t, noise, noisy = jax.vmap(diffuse)(example_keys(rng, batch), x)
        predicted = model.apply({"params": params}, noisy, t)
        losses = jnp.square(noise - predicted).reshape(x.shape[0], -1).mean(-1)
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask)}

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, batch, state.rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, batch, rng)
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return objective(state.params, batch, state.rng)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        def denoise(x, t):
            return model.apply({"params": state.params}, x, jnp.full(x.shape[0], t))

        samples = sample(denoise, example_keys(state.rng, batch), tuple(shape), abar, **options)
        return {"sample": denormalize(samples)}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)

"""Denoising diffusion: one network learns to predict the noise that was added to an example.

Ho, Jain & Abbeel 2020, arXiv:2006.11239.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,   t uniform in the timesteps, eps ~ N(0, I)
    L = |eps - eps_theta(x_t, t)|^2, averaged over the dimensions

The network gets the timestep t as an input. The paper samples from an average of the parameters, which is
`dlcore.optim.use_ema` here.

A network may be given a condition y as well: a class, a text, an edge map. In training it is now and then replaced by
the null condition, so that one network predicts eps(x_t, t, y) and eps(x_t, t), and samples can be guided by their
difference (`dlcore.generative.samplers.guide`). What is diffused may be a code of the example instead of its pixels.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from dlcore.generative.dpm_solver import dpmpp_sample
from dlcore.generative.latents import slerp
from dlcore.generative.pixels import denormalize, normalize
from dlcore.generative.samplers import (
    Denoise,
    Noise,
    ddim_sample,
    ddpm_sample,
    euler_sample,
    guide,
    target_of,
)
from dlcore.generative.schedules import (
    SCHEDULES,
    add_noise,
    alphas_cumprod,
    rescale_zero_terminal_snr,
    sampling_grid,
    timesteps,
)
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.optim import apply_gradients

__all__ = ["SAMPLERS", "Condition", "DiffusionState", "class_condition", "interpolate", "learner", "sample"]

SAMPLERS = {"ddpm": ddpm_sample, "ddim": ddim_sample, "dpmpp": dpmpp_sample, "euler": euler_sample}
Sampler = Literal["ddpm", "ddim", "dpmpp", "euler"]


@struct.dataclass
class DiffusionState(State):
    """The state of diffusion.

    Args:
      locked: parameters that are used but do not learn, such as those of an autoencoder; {} for none.
    """

    locked: Any


class Condition(NamedTuple):
    """What a network is given besides x_t and t.

    Args:
      read: batch -> pytree of [B, ...], its third argument.
      null: that pytree -> the same of examples without a condition.
      classes: label of the batch -> number of classes, which training checks; None where there is no label.
    """

    read: Callable[[dict], Any]
    null: Callable[[Any], Any]
    classes: dict[str, int] | None = None


def class_condition(num_classes: int, name: str = "label") -> Condition:
    """Condition on a class; the null class is the one after the last.

    Args:
      num_classes: K.
      name: of the labels [B] in the batch.

    Returns:
      The condition, labels [B] from 0 to K.
    """
    return Condition(
        lambda batch: batch[name].astype(jnp.int32), lambda y: jnp.full_like(y, num_classes), {name: num_classes}
    )


def sample(
    denoise: Denoise,
    keys: jax.Array,
    shape: tuple[int, ...],
    alphas_cumprod: np.ndarray,
    *,
    shares: jax.Array | None = None,
    sampler: Sampler = "ddim",
    num_inference_steps: int = 50,
    spacing: Literal["leading", "trailing", "linspace"] = "leading",
    final_alpha: Literal["one", "first"] = "one",
    sigmas: Literal["training", "karras"] = "training",
    **options: Any,
) -> Any:
    """Draw one example for each key, from that key alone, or one between each two keys.

    Between two keys all noise, of the start and of each step, lies on the arc between theirs: on an arc noise keeps its
    length, which on a straight line it would lose (DDIM, section 5.3).

    Args:
      denoise: (x [B, *shape], timestep []) -> predicted noise [B, *shape].
      keys: [B], or [B, 2] with `shares`.
      shape: of an example.
      alphas_cumprod: [T].
      shares: [B] in [0, 1]; 0 gives the example of the first of two keys and 1 that of the second.
      sampler: a name of SAMPLERS.
      num_inference_steps: at most T.
      spacing: see `dlcore.generative.schedules.timesteps`.
      final_alpha: see `dlcore.generative.schedules.sampling_grid`.
      sigmas: see `dlcore.generative.schedules.sampling_grid`.
      **options: of the sampler.

    Returns:
      [B, *shape]; with `return_trajectory=True` (samples, [num_inference_steps + 1, B, *shape]).
    """
    sampling_timesteps = timesteps(len(alphas_cumprod), num_inference_steps, spacing)
    grid = sampling_grid(alphas_cumprod, sampling_timesteps, final_alpha=final_alpha, sigmas=sigmas)
    if shares is None:
        noise = _noise_of(keys, shape)
    else:
        start_noise, end_noise = _noise_of(keys[:, 0], shape), _noise_of(keys[:, 1], shape)

        def noise(k):
            return jax.vmap(slerp)(start_noise(k), end_noise(k), shares)

    return SAMPLERS[sampler](denoise, noise(-1), noise, grid, **options)


def interpolate(denoise: Denoise, keys: jax.Array, shares: jax.Array, *args: Any, **options: Any) -> Any:
    """Draw the examples between those of two keys, see `sample`.

    Args:
      denoise: (x [B, *shape], timestep []) -> predicted noise [B, *shape].
      keys: [2].
      shares: [B] in [0, 1]; 0 gives `sample` of the first key and 1 that of the second.
      *args: of `sample`, from `shape` on.
      **options: of `sample`.

    Returns:
      As `sample`.
    """
    fractions = jnp.asarray(shares)
    return sample(denoise, jnp.broadcast_to(keys, (len(fractions), 2)), *args, shares=fractions, **options)


def _noise_of(keys: jax.Array, shape: tuple[int, ...]) -> Noise:
    """Draws of each step k from -1 on, of each key."""
    return lambda k: jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, k + 1), shape))(keys)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    condition: Condition | None = None,
    encode: Callable[[Any, jax.Array, dict], jax.Array] = lambda params, keys, batch: normalize(batch["image"]),
    decode: Callable[[Any, jax.Array], jax.Array] = lambda params, x: denormalize(x),
    locked: Sequence[str] = (),
    num_timesteps: Annotated[int, Range(2)] = 1000,
    beta_schedule: Literal["linear", "cosine", "scaled_linear"] = "linear",
    zero_terminal_snr: bool = False,
    prediction: Literal["epsilon", "v", "sample"] = "epsilon",
    sampler: Sampler = "ddpm",
    num_inference_steps: Annotated[int, Range(1)] = 1000,
    spacing: Literal["leading", "trailing", "linspace"] = "leading",
    final_alpha: Literal["one", "first"] = "one",
    sigmas: Literal["training", "karras"] = "training",
    eta: Annotated[float, Range(0, 1)] = 0.0,
    clip_sample: bool = True,
    guidance: Annotated[float, Range(0)] = 1.0,
    condition_dropout: Annotated[float, Range(0, 1)] = 0.1,
) -> Learner:
    """Train a diffusion model of `{"image": [B, *shape], "index": [B]}`, and of what `condition` reads.

    Args:
      model: `__call__(x [B, *shape], t [B] int) -> noise [B, *shape]`; with a condition it is the third argument.
      optimizer: any optax transformation.
      shape: of what is diffused, one example.
      condition: what the network is given besides; None for nothing.
      encode: (parameters, keys [B], batch) -> [B, *shape], what is diffused; the pixels in [-1, 1] by default.
      decode: (parameters, samples [B, *shape]) -> images in [0, 1].
      locked: submodules of the model that do not learn; their parameters are `DiffusionState.locked`.
      num_timesteps: timesteps between data and noise in training.
      beta_schedule: how the variance of the noise rises over the timesteps.
      zero_terminal_snr: rescale the schedule so that the last timestep is noise alone (Lin et al. 2023); best sampled
        with spacing=trailing, which starts there.
      prediction: what the network predicts: epsilon (the noise), v (the velocity) or sample (the clean example).
      sampler: ddpm (ancestral), ddim, dpmpp (DPM-Solver++) or euler.
      num_inference_steps: steps of the sampler, at most num_timesteps.
      spacing: of the sampler's timesteps: leading, trailing or linspace.
      final_alpha: abar where sampling ends: one, or that of the first timestep.
      sigmas: of the sampler: those of training's timesteps, or spaced after Karras between them.
      eta: ddim: noise drawn in each step; 0 follows a deterministic path, 1 has the ancestral variance.
      clip_sample: clip the predicted clean example to [-1, 1] while sampling.
      guidance: strength w of the condition in samples: 0 without, 1 as trained, more at the price of variety.
      condition_dropout: share of the training examples that lose their condition.

    Returns:
      The learner. `evaluate` measures the loss with t and noise drawn for each example by its index, every condition
      kept; `predict` needs `index` and the condition, and gives `{"sample": images}`. With `ends: [B, 2]` and `share:
      [B]` in the batch it draws between the samples of two indices.

    Raises:
      ValueError: num_inference_steps exceeds num_timesteps, samples shall be guided without a condition, noise is
        predicted where there is nothing but noise, sigmas are spaced from an infinite one on, or the first step of the
        sampler, from almost pure noise to x_s, would multiply an error of the predicted noise by more than 100:
        sqrt(abar_s / abar_t), where nothing is clipped.
    """
    if num_inference_steps > num_timesteps:
        raise ValueError(f"num_inference_steps={num_inference_steps}: too many; allowed: at most {num_timesteps=}")
    if condition is None and guidance != 1:
        raise ValueError(f"guidance={guidance}: the network takes no condition; allowed: 1")
    if zero_terminal_snr and prediction == "epsilon":
        raise ValueError(
            "prediction=epsilon: where noise is all there is, it tells nothing of the example, with "
            "zero_terminal_snr=True; allowed: v, sample"
        )
    betas = SCHEDULES[beta_schedule](num_timesteps)
    alphas_bar = alphas_cumprod(rescale_zero_terminal_snr(betas) if zero_terminal_snr else betas)
    grid = sampling_grid(alphas_bar, timesteps(num_timesteps, num_inference_steps, spacing), sigmas=sigmas)
    if prediction == "epsilon" and not clip_sample:
        growth = np.sqrt(grid.alphas_cumprod[1] / grid.alphas_cumprod[0])
        if growth > 100:
            raise ValueError(
                f"spacing={spacing} with beta_schedule={beta_schedule}, prediction=epsilon and clip_sample=False: the "
                f"first of {num_inference_steps} steps multiplies the error of the predicted noise by {growth:.0f}; "
                "allowed: prediction=v, clip_sample=True, spacing=leading, or another schedule"
            )
    options = {
        "sampler": sampler,
        "num_inference_steps": num_inference_steps,
        "spacing": spacing,
        "final_alpha": final_alpha,
        "sigmas": sigmas,
        "prediction": prediction,
        "clip_sample": clip_sample,
    }
    options |= {"eta": eta} if sampler == "ddim" else {}

    def apply(params: Any, x: jax.Array, t: jax.Array, cond: Any = None) -> jax.Array:
        return model.apply({"params": params}, x, t, *(() if condition is None else (cond,)))

    def init(rng: jax.Array, batch: dict) -> State:
        one = jax.tree.map(lambda leaf: leaf[:1], batch)
        cond = () if condition is None else (condition.read(one),)
        variables = model.init(jax.random.fold_in(rng, 0), jnp.zeros((1, *shape)), jnp.zeros(1, jnp.int32), *cond)
        params = {name: leaf for name, leaf in variables["params"].items() if name not in locked}
        frozen = {name: leaf for name, leaf in variables["params"].items() if name in locked}
        return DiffusionState(
            jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 1), params, optimizer.init(params), frozen
        )

    def objective(params, frozen, batch, rng, dropout=0.0):
        keys, mask = example_keys(rng, batch), mask_of(batch)
        # Clean example; latent diffusion encodes it by the frozen autoencoder.
        x = encode({**params, **frozen}, jax.vmap(lambda key: jax.random.fold_in(key, 2))(keys), batch)

        def diffuse(key, x):
            t = jax.random.randint(jax.random.fold_in(key, 0), (), 0, num_timesteps)
            noise = jax.random.normal(jax.random.fold_in(key, 1), x.shape, x.dtype)
            alpha_cumprod = jnp.asarray(alphas_bar, x.dtype)[t]
            return t, add_noise(x, noise, alpha_cumprod), target_of(x, noise, alpha_cumprod, prediction)

        # Forward process: a timestep and noise for each example.
        t, noisy, target = jax.vmap(diffuse)(keys, x)  # [B], [B, ...], [B, ...]
        cond = None if condition is None else condition.read(batch)
        if condition is not None and dropout:
            # Classifier-free guidance: drop the condition of some examples.
            cond_drop_mask = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, 3), dropout))(keys)
            cond = jax.tree.map(
                lambda value, null: jnp.where(cond_drop_mask.reshape(-1, *[1] * (value.ndim - 1)), null, value),
                cond,
                condition.null(cond),
            )
        # Simple loss: squared error of the predicted noise, velocity or sample.
        losses = jnp.square(target - apply({**params, **frozen}, noisy, t, cond)).reshape(x.shape[0], -1).mean(-1)
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask)}

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, state.locked, batch, state.rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # New timesteps and noise at each step.
        rng = jax.random.fold_in(state.rng, state.step)
        # Gradient of the simple loss by the trainable parameters alone.
        gradients, metrics = jax.grad(objective, has_aux=True)(
            state.params, state.locked, batch, rng, condition_dropout
        )
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return objective(state.params, state.locked, batch, state.rng)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        params = {**state.params, **state.locked}

        def network(x, t, cond=None):
            return apply(params, x, jnp.full(x.shape[0], t), cond)

        cond = None if condition is None else condition.read(batch)

        def denoise(x, t):
            return network(x, t, cond)

        if guidance != 1:
            # Classifier-free guidance.
            denoise = guide(network, cond, condition.null(cond), guidance)
        keys, fractions = example_keys(state.rng, batch), None
        # Interpolation: noise on the arc between that of two keys.
        if "share" in batch:
            fractions = batch["share"]
            keys = jax.vmap(lambda endpoints: jax.vmap(lambda i: jax.random.fold_in(state.rng, i))(endpoints))(
                batch["ends"]
            )
        return {"sample": decode(params, sample(denoise, keys, tuple(shape), alphas_bar, shares=fractions, **options))}

    def classes(state: State, batch: dict) -> dict[str, int]:
        return condition.classes

    checked = classes if condition is not None and condition.classes else None
    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss, classes=checked)

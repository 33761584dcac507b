"""Denoising diffusion: one network learns to predict the noise that was added to an example.

Ho, Jain & Abbeel 2020, arXiv:2006.11239.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,   t uniform in the timesteps, eps ~ N(0, I)
    L = |eps - eps_theta(x_t, t)|^2, averaged over the dimensions

The loss may be weighted by the signal-to-noise ratio of the timestep (Hang et al. 2023, arXiv:2303.09556), so that no
level of noise outweighs the others: `min_snr_weight`.

The network gets the timestep t as an input. The paper samples from an average of the parameters, which is
`dlcore.optim.use_ema` here.

A network may be given a condition y as well: a class, a text, an edge map. In training it is now and then replaced by
the null condition, so that one network predicts eps(x_t, t, y) and eps(x_t, t), and samples can be guided by their
difference (`dlcore.generative.samplers.guide`). What is diffused may be a code of the example instead of its pixels.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.generative.condition import Condition
from dlcore.generative.denoising import DiffusionState, decode_pixels, denoising_learner, encode_pixels
from dlcore.generative.diffusion import NoiseSchedule, Sampling, check_sampling, denoiser, noise_of, sample
from dlcore.generative.editing import Editing, edit_images
from dlcore.generative.samplers import Prediction, target_of
from dlcore.generative.schedules import add_noise, sampling_grid, timesteps
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops.checks import check_range, check_shapes
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype

__all__ = ["DiffusionState", "diffuse", "learner", "min_snr_weight", "simple_loss"]


def diffuse(
    keys: jax.Array, x: jax.Array, alphas_cumprod: Any, prediction: Prediction = "epsilon"
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw a timestep and noise for each example: the forward process q(x_t | x_0).

    Args:
      keys: [B], of the examples.
      x: [B, ...], x_0.
      alphas_cumprod: [T], abar.
      prediction: what the network is to predict.

    Returns:
      (t [B] int, x_t [B, ...], target of the prediction [B, ...]), of the dtype of x.
    """
    check_choice("prediction", prediction, Prediction)
    check_shapes(alphas_cumprod=(alphas_cumprod, "T"))
    check_range("alphas_cumprod", alphas_cumprod, 0, 1)
    check_shapes(keys=(keys, str(len(x))))
    acc_dtype = acc_dtype_of(x.dtype)

    def one(key, x):
        t = jax.random.randint(jax.random.fold_in(key, 0), (), 0, len(alphas_cumprod))
        # In float32: in half precision abar of the first timesteps is 1.
        noise = jax.random.normal(jax.random.fold_in(key, 1), x.shape, acc_dtype)
        alpha_cumprod = jnp.asarray(alphas_cumprod, acc_dtype)[t]
        return t, add_noise(x, noise, alpha_cumprod), target_of(x, noise, alpha_cumprod, prediction)

    return jax.vmap(one)(keys, x)


def min_snr_weight(alpha_cumprod: Any, gamma: float = 5.0, prediction: Prediction = "epsilon") -> jax.Array:
    """Weight the squared error of what a network predicts by min(SNR, gamma) of the clean example.

        SNR = abar / (1 - abar)
        epsilon: min(SNR, gamma) / SNR,   v: min(SNR, gamma) / (SNR + 1),   sample: min(SNR, gamma)

    Where the SNR is 0 the weight is 1, as in the authors' program: samples start there, so that it must be learned.

    Args:
      alpha_cumprod: [...], abar of the timesteps, below 1.
      gamma: largest weight of the clean example's error, above 0.
      prediction: what the network predicts.

    Returns:
      [...], at least float32.
    """
    check_choice("prediction", prediction, Prediction)
    check_shapes(gamma=(gamma, "> 0"))
    check_range("alpha_cumprod", alpha_cumprod, 0, 1)
    alpha_cumprod = to_acc_dtype(alpha_cumprod)
    # Written so that no weight is 0 / 0 where abar is 0 or 1.
    snr = alpha_cumprod / (1 - alpha_cumprod)
    weight = {
        "epsilon": jnp.minimum(gamma / snr, 1),
        "v": jnp.minimum(alpha_cumprod, gamma * (1 - alpha_cumprod)),
        "sample": jnp.minimum(snr, gamma),
    }[prediction]
    return jnp.where(alpha_cumprod > 0, weight, 1.0)


def simple_loss(
    network: Callable[..., jax.Array],
    keys: jax.Array,
    x: jax.Array,
    cond: tuple,
    alphas_cumprod: Any,
    prediction: Prediction = "epsilon",
    min_snr_gamma: float | None = None,
) -> jax.Array:
    """Compute L of each example: the squared error of the predicted noise, velocity or clean example.

    Args:
      network: (x_t [B, ...], t [B], *cond) -> prediction [B, ...].
      cond: the condition, or () for none.
      prediction: what the network predicts.
      min_snr_gamma: gamma of `min_snr_weight`; None weights all timesteps alike.
      As `diffuse`.

    Returns:
      [B], at least float32.
    """
    # Forward process: a timestep and noise for each example.
    t, noisy, target = diffuse(keys, x, alphas_cumprod, prediction)  # [B], [B, ...], [B, ...]
    output = network(noisy, t, *cond)
    check_shapes(x=(x, "..."), output=(output, "..."))
    error = to_acc_dtype(target) - to_acc_dtype(output)
    values = jnp.square(error).reshape(x.shape[0], -1).mean(-1)  # [B]
    if min_snr_gamma is None:
        return values
    return min_snr_weight(jnp.asarray(alphas_cumprod, values.dtype)[t], min_snr_gamma, prediction) * values


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    condition: Condition | None = None,
    encode: Callable[[Any, jax.Array, dict], jax.Array] = encode_pixels,
    decode: Callable[[Any, jax.Array], jax.Array] = decode_pixels,
    locked: Sequence[str] = (),
    noise_schedule: NoiseSchedule = NoiseSchedule(),
    prediction: Prediction = "epsilon",
    sampling: Sampling = Sampling(),
    condition_dropout: Annotated[float, Range(0, 1)] = 0.1,
    min_snr_gamma: Annotated[float | None, Range(1e-3), "if changed"] = None,
    editing: Editing | None = None,
) -> Learner:
    """Train a diffusion model of `{"image": [B, *shape], "index": [B]}`, and of what `condition` reads.

    Args:
      model: `__call__(x [B, *shape], t [B] int) -> noise [B, *shape]`; with a condition it is the third argument.
      shape: shape of one diffused example.
      encode: (parameters, keys [B], batch) -> [B, *shape], what is diffused; the pixels in [-1, 1] by default.
      decode: (parameters, samples [B, *shape]) -> images in [0, 1].
      locked: submodules of the model that do not learn; their parameters are `DiffusionState.locked`.
      prediction: what the network predicts: epsilon (the noise), v (the velocity) or sample (the clean example).
      condition_dropout: share of the training examples that lose their condition.
      min_snr_gamma: weight the loss of a timestep by min(SNR, gamma) of the clean example; None weights all alike.
      editing: how `predict` edits the images `original` [B, H, W, C] of a batch where its `edit_mask` [B, H, W, 1] is
        not 0; None edits none.

    Returns:
      The learner. `evaluate` measures the loss with t and noise drawn for each example by its index, every condition
      kept; `predict` needs `index` and the condition, and gives `{"sample": images}`. With `ends: [B, 2]` and `share:
      [B]` in the batch it draws between the samples of two indices.
    """
    check_sampling(noise_schedule, sampling, prediction, condition is not None)
    alphas_cumprod = noise_schedule.alphas_cumprod()

    def losses(network, keys, x, cond, step):
        return simple_loss(network, keys, x, cond, alphas_cumprod, prediction, min_snr_gamma)

    def guided(network, cond):
        return denoiser(
            network,
            condition,
            cond,
            sampling.guidance,
            interval=tuple(fraction * (noise_schedule.num_timesteps - 1) for fraction in sampling.guidance_interval),
            rescale=sampling.guidance_rescale,
        )

    def draw(network, keys, cond, fractions):
        options = {"prediction": prediction, "shares": fractions, **sampling.options()}
        return sample(guided(network, cond), keys, tuple(shape), alphas_cumprod, **options)

    def edit(network, keys, cond, x, mask):
        steps = timesteps(noise_schedule.num_timesteps, sampling.num_inference_steps, sampling.spacing)
        grid = sampling_grid(alphas_cumprod, steps, final_alpha=sampling.final_alpha, sigmas=sampling.sigmas)
        source, noise = denoiser(network, condition, cond, 1.0), noise_of(keys, tuple(shape))
        options = {"prediction": prediction, "clip_sample": sampling.clip_sample}
        return edit_images(editing, source, guided(network, cond), x, mask, noise, grid, **options)

    return denoising_learner(
        model=model,
        optimizer=optimizer,
        shape=shape,
        losses=losses,
        draw=draw,
        condition=condition,
        encode=encode,
        decode=decode,
        frozen=locked,
        condition_dropout=condition_dropout,
        edit=None if editing is None else edit,
    )

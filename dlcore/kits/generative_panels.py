"""What experiments that generate images show: samples, and for diffusion models every sampler and its trajectories."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.experiment.experiment import Setup
from dlcore.generative import ddpm
from dlcore.generative.pixels import denormalize
from dlcore.generative.schedules import SCHEDULES, alphas_cumprod
from dlcore.kits.generative import NUM_REAL, NUM_SHOWN
from dlcore.learner import Learner, example_keys
from dlcore.optim import parameter_ema

__all__ = ["diffusion_panels", "film_of_samples", "panels", "pictures"]


def panels(context: Any) -> list:
    """Show the first samples, the curves, and real images.

    Args:
      context: the ReportContext.

    Returns:
      Report panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.generative import sample_grid

    flags, test = context.flags, context.data.test
    network = flags.network or f"a classifier trained for {flags.network_steps} steps"
    note = (
        f"The first {NUM_SHOWN}, unselected. Fréchet distance {context.numbers['frechet_distance']:.2f} over "
        f"{flags.num_samples:,} samples and {min(NUM_REAL, len(test)):,} test images, in the features of {network}."
    )
    return [
        sample_grid(context.outputs["sample"], "Samples", note),
        curves(context.history),
        sample_grid(test.arrays["image"][:NUM_SHOWN], "Real images"),
    ]


def film_of_samples(build: Callable[[Setup], Learner], setup: Setup) -> list:
    """Film the same samples over training, from the same noise.

    Args:
      build: of the experiment.
      setup: of the run.

    Returns:
      The hook, in a list.
    """
    from dlcore.modes.film import film_hooks
    from dlcore.report.generative import picture_grid

    batch = {"index": np.arange(NUM_SHOWN, dtype=np.int32)}
    return film_hooks(build, setup, batch, lambda outputs: picture_grid(outputs["sample"], 8), "Samples by step")


def pictures(context: Any) -> dict[str, np.ndarray]:
    """Show the first samples in TensorBoard.

    Args:
      context: the ReportContext.

    Returns:
      {"samples": one image of all}.
    """
    from dlcore.report.generative import picture_grid

    return {"samples": picture_grid(context.outputs["sample"], 8)}


def diffusion_panels(context: Any, model: nn.Module) -> list:
    """Show samples, DDIM's trajectories as a film and side by side, and each sampler's samples from the same noise.

    Args:
      context: the ReportContext of a run with the flags of `dlcore.generative.ddpm.learner`.
      model: the network that predicts the noise.

    Returns:
      Report panels.
    """
    from dlcore.report.film import film
    from dlcore.report.generative import picture_grid, sample_path, sample_rows
    from dlcore.report.triage import triage_panels

    flags, shape = context.flags, tuple(context.spec["image_shape"])
    params = parameter_ema(context.state.opt_state, context.state.params) if flags.ema else context.state.params
    abar = alphas_cumprod(SCHEDULES[flags.beta_schedule](flags.num_timesteps))

    @partial(jax.jit, static_argnums=(2, 3))
    def draw(params, keys, sampler, num_inference_steps):
        """Samples after every step, [num_inference_steps + 1, B, H, W, C]."""

        def denoise(x, t):
            return model.apply({"params": params}, x, jnp.full(x.shape[0], t))

        options = {
            "sampler": sampler,
            "num_inference_steps": num_inference_steps,
            "clip_sample": flags.clip_sample,
            "prediction": flags.prediction,
        }
        return denormalize(ddpm.sample(denoise, keys, shape, abar, **options, return_trajectory=True)[1])

    keys = example_keys(context.state.rng, {"index": jnp.arange(16)})
    steps = min(50, flags.num_timesteps)
    runs = {"dpmpp": min(15, steps), "ddim": steps, "ddpm": flags.num_timesteps}
    paths = {sampler: np.asarray(draw(params, keys, sampler, count)) for sampler, count in runs.items()}
    columns = np.unique(np.linspace(0, steps, 13).round().astype(int))
    trajectory = sample_path(
        paths["ddim"][columns, :6], note=f"DDIM after {', '.join(map(str, columns))} of {steps} steps."
    )
    chain = [picture_grid(images, 4) for images in paths["ddim"]]
    moving = film(chain, "From noise to samples, as a film", f"{steps} steps of DDIM, sixteen samples.", 100)
    rows = {f"{name}, {count} steps": paths[name][-1] for name, count in runs.items()}
    by_sampler = sample_rows(rows, "Samplers", "From the same noise as the first samples above.")
    samples, *others = panels(context)
    return [samples, moving, trajectory, by_sampler, *triage_panels(context.history, floor=None), *others]

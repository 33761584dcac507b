"""Panels of experiments that generate images: samples, nearest training images, interpolations of codes, films.

Diffusion models also show every sampler and its trajectories.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.images import NUM_SHOWN
from dlcore.generative import diffusion
from dlcore.generative.pixels import denormalize
from dlcore.learner import example_keys
from dlcore.optim import parameter_ema
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.report.samples import NUM_REAL

__all__ = [
    "DiffusionPanels",
    "FilmSamples",
    "ShowSamples",
    "diffusion_panels",
    "edits",
    "interpolations",
    "nearest_training",
    "panels",
    "pictures",
    "traversals",
]

NUM_NEAREST = 12
"""Number of samples that are shown with their nearest training images."""


MOST_COLUMNS = 16
"""Largest number of classes that get a column of samples each."""


NUM_WALKS = 6
"""Number of interpolations, of traversed dimensions, and of edited factors."""


def panels(context: ReportContext) -> list[Panel]:
    """Show the first samples, one column per requested class, the curves, and real images."""
    from dlcore.report.curves import curves
    from dlcore.report.generative import sample_grid

    flags, test, samples = context.flags, context.data.test, context.outputs["sample"]
    columns, classes, distance = 8, "", ""
    if "label" in context.data.shown.arrays and 1 < context.spec["num_classes"] <= MOST_COLUMNS:
        columns = context.spec["num_classes"]
        samples = samples[: len(samples) // columns * columns]
        classes = f" A column a class: {', '.join(map(str, context.spec['class_names']))}."
    if context.numbers.get("frechet_distance") is not None:
        distance = f" Fréchet distance {context.numbers['frechet_distance']:.2f} over {_counts(flags, context)}."
    caption = f"The first {len(samples)}, unselected.{classes}{distance}"
    return [
        sample_grid(samples, "Samples", caption, columns),
        curves(context.history),
        sample_grid(test.arrays["image"][:NUM_SHOWN], "Real images"),
    ]


def _counts(flags: Any, context: ReportContext) -> str:
    about = context.spec.get("about", {}).get("frechet_distance")
    trained = (
        "" if flags.network or flags.smoke or context.spec["num_classes"] == 1 else f" ({flags.network_steps} steps)"
    )
    if about is None:
        return f"{flags.num_samples:,} samples and {min(NUM_REAL, len(context.data.test)):,} test images"
    network, samples, real = about.split(", ")
    return f"{samples} and {real.removesuffix(' real')} test images, in the features of {network}{trained}"


def nearest_training(context: ReportContext) -> Any:
    """Show samples with the nearest training images; copies would mean memorization.

    Args:
      context: the ReportContext, whose outputs have `sample`.

    Returns:
      The panel; its caption has the mean distance of samples, and of as many test images, which cannot be copies.
    """
    from dlcore.report.generative import nearest_images, sample_rows

    train, test = context.data.train.arrays["image"], context.data.test.arrays["image"]
    samples = np.asarray(context.outputs["sample"])[:NUM_SHOWN]
    nearest, distances = nearest_images(samples, train)
    test_distances = nearest_images(test[: len(samples)], train)[1]
    caption = (
        f"By the pixels' Euclidean distance, of {len(train):,} images: on average {distances.mean():.2f} from samples "
        f"and {test_distances.mean():.2f} from test images, over {len(samples)} each; copies would be at 0."
    )
    rows = {"samples": samples[:NUM_NEAREST], "nearest training images": train[nearest[:NUM_NEAREST]]}
    return sample_rows(rows, "Are samples copies?", caption)


def interpolations(context: ReportContext) -> Any:
    """Show spherical interpolations between the codes of test images.

    Args:
      context: the ReportContext of a learner whose `predict` returns `path` if the batch has `other`.

    Returns:
      The panel.
    """
    from dlcore.report.generative import sample_path

    test = context.data.test
    n = min(NUM_WALKS, len(test) // 2)
    pairs = {**test[:n], "other": test.arrays["image"][n : 2 * n]}
    path = np.asarray(jax.jit(context.learner.predict)(context.state, pairs)["path"])
    return sample_path(
        path.swapaxes(0, 1), "Interpolation", "From one test image to another, on the arc of their codes."
    )


def traversals(context: ReportContext) -> Any:
    """Show traversals of the code of the first test image, along the dimensions with the largest KL.

    Args:
      context: the ReportContext of a learner whose `predict` decodes `latent`, with `features` and `kl` by dimension.

    Returns:
      The panel; its caption says how many dimensions are active.
    """
    from dlcore.generative.latents import traverse
    from dlcore.report.generative import sample_path

    kl = np.asarray(context.outputs["kl"]).mean(0)
    dimensions = np.argsort(-kl, kind="stable")[:NUM_WALKS]
    codes = traverse(jnp.asarray(context.outputs["features"][0]), dimensions, np.linspace(-2.5, 2.5, 9))
    images = _decoded(context, codes.reshape(-1, codes.shape[-1])).reshape(
        *codes.shape[:2], *context.spec["image_shape"]
    )
    varied = ", ".join(f"{d} ({kl[d]:.2f})" for d in dimensions)
    caption = (
        f"From -2.5 to 2.5, a dimension a row: {varied}; in brackets nats of KL. {(kl > 0.01).sum()} of {len(kl)} "
        "dimensions have more than 0.01 nats."
    )
    return sample_path(images.swapaxes(0, 1), "Latent traversal", caption)


def edits(context: ReportContext) -> Any:
    """Edit known factors of the first test image, along directions fitted on the codes of training images.

    Args:
      context: the ReportContext of a run whose data have `factors`, and whose `predict` decodes `latent`.

    Returns:
      The panel.
    """
    from dlcore.generative.latents import attribute_direction, edit
    from dlcore.report.generative import sample_rows

    rows = context.data.train[: min(2000, len(context.data.train))]
    codes = np.asarray(jax.jit(context.learner.predict)(context.state, rows)["features"])
    first = jnp.asarray(context.outputs["features"][0])
    pictures = {}
    for k, name in enumerate(context.spec["factors"]):
        factor = rows["factors"][:, k]
        amounts = np.linspace(-1.5, 1.5, 7) * factor.std()
        images = _decoded(context, edit(first, attribute_direction(codes, factor), amounts))
        pictures[f"{name}, by {amounts[0]:.2f} to {amounts[-1]:.2f}"] = images
    return sample_rows(
        pictures, "Editing", "The first test image; each direction is a least-squares fit on training codes."
    )


def _decoded(context: ReportContext, codes: jax.Array) -> np.ndarray:
    batch = {"latent": codes, "index": np.arange(len(codes), dtype=np.int32)}
    return np.asarray(jax.jit(context.learner.predict)(context.state, batch)["decoded"])


class ShowSamples:
    """Report of generated images: samples, the curves, and real images; TensorBoard shows the samples."""

    def panels(self, context: ReportContext, run: Any) -> list[Panel]:
        """Show the first samples, one column per requested class, the curves, and real images."""
        return panels(context)

    def pictures(self, context: ReportContext) -> dict[str, np.ndarray]:
        """Show the first samples."""
        return pictures(context)


class FilmSamples:
    """Report with a film of the samples, of the same noise while the network trains."""

    def report_hooks(self, run: Any) -> list:
        """Film the samples."""
        from dlcore.report.filming import film_hooks
        from dlcore.report.generative import picture_grid

        batch = {"index": np.arange(NUM_SHOWN, dtype=np.int32)}
        return film_hooks(run, batch, lambda outputs: picture_grid(outputs["sample"], 8), "Samples by step")


def pictures(context: ReportContext) -> dict[str, np.ndarray]:
    """Show the first samples in TensorBoard."""
    from dlcore.report.generative import picture_grid

    return {"samples": picture_grid(context.outputs["sample"], 8)}


class DiffusionPanels:
    """Report of a diffusion model of noise alone: its samples, their trajectories, and every sampler's."""

    def panels(self, context: ReportContext, run: Any) -> list[Panel]:
        """Build the panels, see `diffusion_panels`."""
        return diffusion_panels(context, run.parts.network)

    def pictures(self, context: ReportContext) -> dict[str, np.ndarray]:
        """Show the first samples."""
        return pictures(context)


def diffusion_panels(context: ReportContext, model: nn.Module) -> list[Panel]:
    """Show samples, DDIM trajectories as a film and side by side, and every sampler's samples from the same noise.

    Args:
      context: the ReportContext of a run with the flags of `dlcore.generative.ddpm.learner`.
      model: the network that predicts the noise.
    """
    from dlcore.report.film import film
    from dlcore.report.generative import picture_grid, sample_path, sample_rows
    from dlcore.report.triage import triage_panels

    flags, shape = context.flags, tuple(context.spec["image_shape"])
    params = parameter_ema(context.state.opt_state, context.state.params) if flags.ema else context.state.params
    alphas = flags.group("learner")["noise_schedule"].alphas_cumprod()

    @partial(jax.jit, static_argnums=(2, 3))
    def sample_trajectory(params, keys, sampler, num_inference_steps):
        """Return the samples after every step, [num_inference_steps + 1, B, H, W, C]."""

        def denoise(x, t):
            return model.apply({"params": params}, x, jnp.full(x.shape[0], t))

        options = {
            "sampler": sampler,
            "num_inference_steps": num_inference_steps,
            "clip_sample": flags.clip_sample,
            "prediction": flags.prediction,
        }
        return denormalize(diffusion.sample(denoise, keys, shape, alphas, **options, return_trajectory=True)[1])

    keys = example_keys(context.state.rng, {"index": jnp.arange(16)})
    steps = min(50, flags.num_timesteps)
    runs = {"dpmpp": min(15, steps), "ddim": steps, "ddpm": flags.num_timesteps}
    paths = {sampler: np.asarray(sample_trajectory(params, keys, sampler, count)) for sampler, count in runs.items()}
    columns = np.unique(np.linspace(0, steps, 13).round().astype(int))
    trajectory = sample_path(
        paths["ddim"][columns, :6], subtitle=f"DDIM after {', '.join(map(str, columns))} of {steps} steps."
    )
    chain = [picture_grid(images, 4) for images in paths["ddim"]]
    moving = film(chain, "From noise to samples, as a film", f"{steps} steps of DDIM, sixteen samples.", 100)
    rows = {f"{name}, {count} steps": paths[name][-1] for name, count in runs.items()}
    by_sampler = sample_rows(rows, "Samplers", "From the same noise as the first samples above.")
    samples, *other_panels = panels(context)
    return [samples, moving, trajectory, by_sampler, *triage_panels(context.history, floor=None), *other_panels]

"""StyleGAN: generate digits from mapped styles and per-layer noise, and interpolate in the latent space.

python -m experiments.generative.style_gan                     (Fréchet distance 1.19, noise share 1.03)
python -m experiments.generative.style_gan --mode=predict --run=RUN --output=samples
python -m experiments.generative.style_gan --dataset=fashion_mnist --data_dir=D --generator.width=16 \\
    --discriminator.width=16 --steps=2000 --eval_every=1000

`noise_share` is how far noise alone moves samples in a classifier's features, over how far another latent does, and
`path_length` how fast they change along walks. The report walks along the principal directions of the styles. The
last command was not run.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.evaluators.latent_distances import noise_share, path_length
from dlcore.experiment import Experiment, Setup
from dlcore.experiment.splits import Splits
from dlcore.generative import gan, sagan, style_gan
from dlcore.generative.latents import attribute_direction, edit, principal_directions, slerp
from dlcore.generative.pixels import denormalize
from dlcore.kits.generative import image_generation
from dlcore.kits.generative.gan_optimizer import GANAdam
from dlcore.learner import Evaluator, Learner
from dlcore.main import main
from dlcore.tasks.image_generation import ImageGeneration
from dlcore.weights.network import feature_extractor
from experiments.classification.supervised import experiment as classifier
from experiments.smoke import few_samples

STEP = 0.01
"""Share of a walk between the two images of a path length."""
NUM_PAIRS = 200
NUM_CODES = 2000
NUM_DIRECTIONS = 5


def walks(count: int, latent_dim: int, num_noise: int, step: float = STEP) -> Source:
    """Draw pairs of latents, a small step apart on the arc between two others, with the same noise."""
    rng = np.random.default_rng(0)
    starts, endpoints = (jnp.asarray(rng.normal(size=(count, latent_dim)), jnp.float32) for _ in range(2))
    fractions = rng.uniform(0, 1 - step, count).astype(np.float32)
    noise = np.repeat(rng.normal(size=(count, num_noise)), 2, 0)
    points = np.stack([np.asarray(jax.vmap(slerp)(starts, endpoints, fractions + s)) for s in (0, step)], 1)
    latents = np.concatenate([points.reshape(2 * count, latent_dim), noise], -1).astype(np.float32)
    return Source({"latent": latents}, len(latents), name="walks")


def noisy(count: int, latent_dim: int, num_noise: int) -> Source:
    """Draw latents by threes: any, the same with other noise, another with the noise of the first."""
    rng = np.random.default_rng(0)
    z, other = rng.normal(size=(2, count, latent_dim))
    noise, new = rng.normal(size=(2, count, num_noise))
    rows = [np.concatenate(pair, -1) for pair in ((z, noise), (z, new), (other, noise))]
    latents = np.stack(rows, 1).reshape(3 * count, -1).astype(np.float32)
    return Source({"latent": latents}, len(latents), name="latents")


@dataclasses.dataclass(frozen=True)
class StyledImages(ImageGeneration):
    """Images whose styles and noise are measured and shown."""

    monitor = None
    generator_class: ClassVar[type[style_gan.Generator]] = style_gan.Generator

    def generator_of(self, setup: Setup) -> style_gan.Generator:
        shape = tuple(setup.spec["image_shape"])
        return self.generator_class(shape, **setup.flags.group("generator"), dtype=setup.dtype)

    def discriminator_of(self, setup: Setup) -> nn.Module:
        return sagan.Discriminator(**{**setup.flags.group("discriminator"), "num_classes": 0, "dtype": setup.dtype})

    def arguments(self, setup: Setup) -> dict[str, Any]:
        return {"generator": self.generator_of(setup), "discriminator": self.discriminator_of(setup)}

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Measure samples against real images; at the end of a run also the path length and what noise changes."""
        evaluators = super().evaluators(setup, splits, split)
        if split != "test":
            return evaluators
        network = image_generation.network_of(setup.flags.replace(frechet_network=None), setup.spec, self.classifier)
        extract = feature_extractor(network)

        def features(images: np.ndarray) -> np.ndarray:
            return extract(images)[0]

        latent_dim, count = setup.flags.latent_dim, min(NUM_PAIRS, setup.flags.num_samples)
        num_noise = self.generator_of(setup).num_noise
        return [
            *evaluators,
            path_length(features, walks(count, latent_dim, num_noise), STEP),
            noise_share(features, noisy(count, latent_dim, num_noise)),
        ]

    def panels(self, context: Any) -> list:
        """Show samples, walks along the principal directions of the styles, more and less ink, and noise alone."""
        from dlcore.report.generative import sample_path, sample_rows

        generator = self.generator_class(tuple(context.spec["image_shape"]), **context.flags.group("generator"))
        state, latent_dim = context.state, context.flags.latent_dim
        variables = state.generator_ema or {"params": state.params["generator"]}
        rng = np.random.default_rng(0)
        z = jnp.asarray(rng.normal(size=(NUM_CODES, latent_dim)), jnp.float32)
        noise = jnp.asarray(rng.normal(size=(8, generator.num_noise)), jnp.float32)
        styles = jax.jit(lambda z: generator.apply(variables, z, method="styles"))(z)

        @jax.jit
        def draw(w, noise):
            return denormalize(generator.apply(variables, w, noise, method="synthesize"))

        def with_one_noise(w: np.ndarray) -> np.ndarray:
            return np.asarray(draw(w, jnp.broadcast_to(noise[0], (len(w), generator.num_noise))))

        amounts = np.linspace(-3, 3, 9, dtype=np.float32)
        count = min(NUM_DIRECTIONS, latent_dim)
        directions, fractions = principal_directions(np.asarray(styles), count)
        along = np.stack([with_one_noise(edit(styles[0], direction, amounts)) for direction in directions])
        percentages = ", ".join(f"{100 * fraction:.1f} %" for fraction in fractions)
        walked = sample_path(
            along.swapaxes(0, 1),
            "Principal directions",
            f"From -3 to 3 deviations of {NUM_CODES:,} styles, a direction a row; shares of variance: {percentages}.",
        )
        ink = with_one_noise(styles[:500]).mean((1, 2, 3))
        brighter = []
        if np.ptp(ink):  # a young network may draw all images white
            direction = attribute_direction(np.asarray(styles[:500]), ink)
            change = np.linspace(-2, 2, 9, dtype=np.float32) * ink.std()
            edited = np.stack([with_one_noise(edit(styles[k], direction, change)) for k in range(4)])
            text = (
                f"Four samples, by {change[0]:.2f} to {change[-1]:.2f} along the least-squares direction of 500 styles."
            )
            brighter = [sample_path(edited.swapaxes(0, 1), "Editing the mean pixel", text)]
        rows = {f"sample {k}": np.asarray(draw(jnp.repeat(styles[k : k + 1], 8, 0), noise)) for k in range(4)}
        noise_panel = sample_rows(rows, "Noise alone", "The same latent a row, with other noise in each image.")
        samples, *other_panels = super().panels(context)
        return [samples, walked, *brighter, noise_panel, *other_panels]

    def build(self, technique: Callable, optimizer: GANAdam, setup: Setup, arguments: Any = None) -> Learner:
        """Build the learner; its latent holds the noise of the layers, too."""
        latent_dim = setup.flags.latent_dim + self.generator_of(setup).num_noise
        return technique(
            **self.arguments(setup),
            generator_optimizer=optimizer.build(setup),
            discriminator_optimizer=optimizer.build(setup),
            **{**setup.flags.group("learner"), "latent_dim": latent_dim},
        )


experiment = Experiment(
    __file__,
    __doc__,
    gan.learner,
    task=StyledImages(classifier=classifier),
    optimizer=GANAdam(learning_rate=1e-3, momentum=0.0),
    modules={"generator": style_gan.Generator, "discriminator": sagan.Discriminator},
    defaults={
        "generator.width": 24,
        "discriminator.width": 32,
        "discriminator.attention": False,
        "discriminator.spectral_norm": False,
        "latent_dim": 64,
        "r1": 0.3,
        "steps": 2500,
        "batch_size": 64,
        "ema": 0.999,
        "eval_every": 1250,
        "select": "last",
    },
    smoke={**few_samples(2), "generator.width": 4, "discriminator.width": 4, "latent_dim": 8},
)

if __name__ == "__main__":
    main(experiment)

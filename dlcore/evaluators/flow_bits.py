"""Bits per dimension of test images, by the probability flow of a trained score, beside the distance of samples."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.data.splits import Splits
from dlcore.evaluators.flow_measures import state_evaluator
from dlcore.evaluators.image_generation import Frechet
from dlcore.experiment.parts import Run
from dlcore.generative import score_sde
from dlcore.generative.likelihood import nats_to_bits, quantize
from dlcore.learner import Evaluator
from dlcore.optim import parameter_ema

__all__ = ["FrechetAndBits", "bits_of_levels"]

LEVELS = 16


NUM_IMAGES = 100


LIKELIHOOD_STEPS = 40


def bits_of_levels(
    score: score_sde.Score, key: jax.Array, images: jax.Array, sde: score_sde.SDE, num_steps: int
) -> jax.Array:
    """Bound the bits per dimension of images that are cut into LEVELS.

    Args:
      score: score of noisy images.
      key: PRNG key.
      images: [B, H, W, C] in [0, 1].
      sde: how noise rises with time.
      num_steps: steps of Runge and Kutta along the flow.

    Returns:
      [B] bits.
    """
    noise = jax.random.uniform(jax.random.fold_in(key, 0), images.shape)
    probes = jax.random.rademacher(jax.random.fold_in(key, 1), (1, *images.shape), jnp.float32)
    x = 2 * (quantize(images, LEVELS) + noise) / LEVELS - 1
    log_density = score_sde.flow_log_likelihood(score, x, sde, num_steps=num_steps, probes=probes)
    dimensions = math.prod(images.shape[1:])
    # A level is a cube of side 2 / LEVELS.
    return -nats_to_bits(log_density + dimensions * math.log(2 / LEVELS), dimensions)


@dataclasses.dataclass(frozen=True)
class FrechetAndBits(Frechet):
    """The distances of samples to real images, and for the test split the bits per dimension of images.

    Args:
      classifier: page that trains the classifier where no flag names one
      num_samples: samples for the Fréchet distance at each evaluation
      monitor: metric that selects the checkpoint; None for the last
    """

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators; the bits are those of the average of the parameters."""
        distances = super().evaluators(run, splits, split)
        if split != "test" or not distances:
            return distances
        smoke = run.flags.smoke
        images = jnp.asarray(splits.test.arrays["image"][: 2 if smoke else NUM_IMAGES])
        sde, network = run.parts.technique.keywords["sde"], run.parts.network.clone(dtype=run.dtype)
        num_steps, name = 2 if smoke else LIKELIHOOD_STEPS, f"bits_per_dim_{LEVELS}_levels"

        @jax.jit
        def bits(state: Any) -> jax.Array:
            params = parameter_ema(state.opt_state, state.params) if run.parts.optimizer.ema else state.params

            def predict(x, t):
                return network.apply({"params": params}, x, jnp.full(x.shape[0], t))

            return bits_of_levels(score_sde.score_of(predict, sde), state.rng, images, sde, num_steps)

        return [*distances, state_evaluator(name, bits, distances[0].source)]

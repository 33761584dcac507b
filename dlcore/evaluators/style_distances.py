"""Distances of a GAN of styles: samples, walks through its latents, and its noise."""

import dataclasses

import numpy as np

from dlcore.data.splits import Splits
from dlcore.evaluators import image_generation
from dlcore.evaluators.image_generation import Frechet
from dlcore.evaluators.latent_distances import noise_share, path_length
from dlcore.experiment.parts import Run
from dlcore.generative.styles import NUM_PAIRS, STEP, noisy, walks
from dlcore.learner import Evaluator
from dlcore.weights.network import feature_extractor

__all__ = ["StyleDistances"]


@dataclasses.dataclass(frozen=True)
class StyleDistances(Frechet):
    """Distances of samples to real images and, at the end of a run, the path length and what noise changes.

    Args:
      classifier: page that trains the classifier where no flag names one
      num_samples: samples for the Fréchet distance at each evaluation
      monitor: metric that selects the checkpoint; None for the last
    """

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators."""
        evaluators = super().evaluators(run, splits, split)
        if split != "test":
            return evaluators
        generator = run.parts.network.build(run.facts, run.dtype)["generator"]
        network = image_generation.network_of(run.flags.replace(frechet_network=None), run.spec, self.classifier)
        extract = feature_extractor(network)

        def features(images: np.ndarray) -> np.ndarray:
            return extract(images)[0]

        sizes = min(NUM_PAIRS, self.num_samples), run.parts.technique.keywords["latent_dim"], generator.num_noise
        return [*evaluators, path_length(features, walks(*sizes), STEP), noise_share(features, noisy(*sizes))]

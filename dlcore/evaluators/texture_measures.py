"""How far a synthesized texture is from its sample, beside noise and beside a shuffled sample."""

import jax

from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.interpretability import texture_synthesis
from dlcore.interpretability.style_transfer import noise_image
from dlcore.learner import Evaluator, root_key
from dlcore.weights.frozen_network import average_pooling
from dlcore.weights.network import load_network

__all__ = ["TextureMeasures"]

BASELINES = ("gram_loss_noise", "gram_loss_tiled", "repetition")


class TextureMeasures:
    """The Gram loss of the image, and at the end of the noise and of the repeated sample, and the repetition."""

    metric = "loss"
    mode = "min"
    headline = "gram_loss"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure at the end the Gram loss of the noise and of the repeated sample, and the repetition."""
        if split != "test":
            return []

        def finish(images):
            image, sample = images
            network, size = load_network(run.parts.network.network), run.facts.size
            model, layers = average_pooling(network.model), run.parts.technique.keywords["style_layers"]
            loss = jax.jit(texture_synthesis.texture_loss(model, network.mean, network.std, layers))
            noise = noise_image(root_key(run.seed), image.shape)
            baselines = {"noise": noise, "tiled": texture_synthesis.tile_sample(sample, size)}
            numbers = {f"gram_loss_{name}": float(loss(network.variables, x, sample)) for name, x in baselines.items()}
            sides = zip(size, sample.shape, strict=False)  # the sample also has channels
            is_larger = any(side > part for side, part in sides)
            period = sample.shape[:2]
            return numbers | ({"repetition": texture_synthesis.repetition(image, period)} if is_larger else {})

        return [Evaluator(lambda acc, outputs, rows: (outputs["image"][0], rows["sample"][0]), finish, names=BASELINES)]

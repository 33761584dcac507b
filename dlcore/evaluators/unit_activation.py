"""How strongly a unit answers to the images that were made for it, beside noise."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.interpretability.unit_images import unit_activation
from dlcore.learner import Evaluator, root_key
from dlcore.weights.network import load_network

__all__ = ["UnitActivation"]


class UnitActivation:
    """The activation of units by their images, and at the end by noise of the strength that the images start from."""

    metric = "activation"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure at the end the activation of each unit by noise."""
        if split != "test":
            return []

        def finish(numbers):
            network, values = load_network(run.parts.network.network), run.parts.technique.keywords
            shape = (100, values["side"], values["side"], len(network.mean))
            noise = jnp.clip(network.mean + values["noise"] * jax.random.normal(root_key(0), shape), 0, 1)
            x = (noise - network.mean) / network.std
            maps = jax.jit(lambda v, x: network.model.apply(v, x, method="features"))(network.variables, x)
            units = run.parts.data.parsed
            return {"activation_noise": float(np.mean([unit_activation(maps, units[k]).mean() for k in numbers]))}

        def add(numbers, outputs, rows):
            return [*(numbers or []), *rows["unit"].tolist()]

        return [Evaluator(add, finish, names=("activation_noise",))]

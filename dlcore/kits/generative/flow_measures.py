"""What flows of images are measured by: the Fréchet distance of their samples, and the straightness of their paths."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.evaluators.manifold import half_interval
from dlcore.experiment.parts import Run
from dlcore.experiment.splits import Splits
from dlcore.generative import flow_matching
from dlcore.kits.generative.image_generation import Frechet
from dlcore.learner import Evaluator, example_keys
from dlcore.optim import parameter_ema

__all__ = ["FrechetAndStraightness"]

NUM_PATHS = 256
PATH_STEPS = 50


@dataclasses.dataclass(frozen=True)
class FrechetAndStraightness:
    """The Fréchet distance of samples, and at the end of a run the straightness of the paths to them.

    Args:
      frechet: the distance.
    """

    frechet: Frechet

    metric: ClassVar[str] = "frechet_distance"
    mode: ClassVar[str] = "min"

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Say what is compared."""
        return self.frechet.finish_data(splits, run)

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the distances of samples to images, and for the test split the straightness of the paths."""
        distances = self.frechet.evaluators(run, splits, split)
        if split != "test" or not distances:
            return distances
        return [*distances, straightness_evaluator(run, distances[0].source)]


def straightness_evaluator(run: Run, source: Any) -> Evaluator:
    """Build the evaluator of the straightness of NUM_PATHS paths, solved by PATH_STEPS steps of Euler's method.

    Args:
      run: the run.
      source: source of the samples that are drawn anyway.
    """
    flags, times = run.setup.flags, flow_matching.flow_times(PATH_STEPS if not run.setup.flags.smoke else 4)
    network, shape = run.parts.network.clone(dtype=run.dtype), run.facts.image_shape

    @jax.jit
    def straightness(state: Any) -> jax.Array:
        params = parameter_ema(state.opt_state, state.params) if flags.ema else state.params
        params = params if flags.init_from is None else params["student"]
        keys = example_keys(state.rng, {"index": jnp.arange(NUM_PATHS)})
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)

        def velocity(x, t):
            return network.apply({"params": params}, x, jnp.full(x.shape[0], t))

        path = flow_matching.solve_flow(velocity, noise, times, return_trajectory=True)[1]
        return flow_matching.path_straightness(path, times)  # [NUM_PATHS]

    def finish(values: np.ndarray) -> dict[str, float]:
        return {"straightness": float(values.mean()), "straightness_interval": half_interval(values)}

    names = ("straightness", "straightness_interval")
    return Evaluator(
        lambda acc, outputs, rows: acc, finish, source, names, start=lambda state: np.asarray(straightness(state))
    )

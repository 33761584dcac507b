"""What flows of images are measured by: the Fréchet distance of their samples, and the straightness of their paths."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.splits import Splits
from dlcore.evaluators.image_generation import Frechet
from dlcore.evaluators.manifold import half_interval
from dlcore.experiment.parts import Run
from dlcore.generative import flow_matching
from dlcore.learner import Evaluator, example_keys
from dlcore.optim import parameter_ema

__all__ = ["FrechetAndStraightness", "state_evaluator"]

NUM_PATHS = 256


PATH_STEPS = 50


@dataclasses.dataclass(frozen=True)
class FrechetAndStraightness(Frechet):
    """The Fréchet distance of samples, and at the end of a run the straightness of the paths to them.

    Args:
      classifier: page that trains the classifier where no flag names one
      num_samples: samples for the Fréchet distance at each evaluation
      monitor: metric that selects the checkpoint; None for the last
    """

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the distances of samples to images, and for the test split the straightness of the paths."""
        distances = super().evaluators(run, splits, split)
        if split != "test" or not distances:
            return distances
        return [*distances, straightness_evaluator(run, distances[0].source)]


def straightness_evaluator(run: Run, source: Any) -> Evaluator:
    """Build the evaluator of the straightness of NUM_PATHS paths, solved by PATH_STEPS steps of Euler's method.

    Args:
      run: the run.
      source: source of the samples that are drawn anyway.
    """
    flags, times = run.flags, flow_matching.flow_times(PATH_STEPS if not run.flags.smoke else 4)
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

    return state_evaluator("straightness", straightness, source)


def state_evaluator(name: str, values_of: Callable[[Any], jax.Array], source: Any) -> Evaluator:
    """Build the evaluator of a number that the state alone gives, with an interval.

    Args:
      name: name of the number.
      values_of: state -> [N], a value for each of N draws.
      source: source of the samples that are drawn anyway.

    Returns:
      The evaluator of the mean `name` and of `name_interval`.
    """

    def finish(values: np.ndarray) -> dict[str, float]:
        return {name: float(values.mean()), f"{name}_interval": half_interval(values)}

    return Evaluator(
        lambda acc, outputs, rows: acc,
        finish,
        source,
        (name, f"{name}_interval"),
        start=lambda state: np.asarray(values_of(state)),
    )

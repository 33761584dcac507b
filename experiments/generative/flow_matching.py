"""Flow matching (rectified flow): generate digits along straight lines from noise to data.

python -m experiments.generative.flow_matching
python -m experiments.generative.flow_matching --mode=evaluate --run=RUN --num_inference_steps=4 --solver=heun
python -m experiments.generative.flow_matching --init_from=RUN --time_density=uniform --steps=800
python -m experiments.generative.flow_matching --dataset=fashion_mnist --data_dir=D --unet.patch_size=2 \\
    --batch_size=64 --steps=7000 --learning_rate=0.002 --eval_every=3500                                  (not run)

The first command reaches a Fréchet distance of 0.99 by 50 steps of Euler's method (DDPM by 50 steps of DDIM: 0.91), one
seed. The second measures a network by fewer steps. That of an earlier run, 0.95 by 50 steps of Euler, has 1.02 by 16,
1.04 by 4 of Heun, which call the network 7 times, 2.27 by 4 of Euler, and 90.6 by 1 of Euler, as the velocity at pure
noise points to the mean image. DDPM's distances are over the same network of features.

The third command is reflow: a second flow starts from the weights of the first, and learns the pairs of noise and image
that the first connects. The report's straightness is 0 for paths that are lines. This command was not run;
`experiments.studies.sampler_table` measures a smaller flow before and after: by one step of Euler 103.7 and 7.4, by
four 8.2 and 5.6, by 64 4.5 and 5.1.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.evaluators.manifold import half_interval
from dlcore.experiment import Experiment, Setup
from dlcore.experiment.splits import Splits
from dlcore.generative import flow_matching
from dlcore.generative.unet import UNet
from dlcore.learner import Evaluator, example_keys
from dlcore.main import main
from dlcore.optim import parameter_ema
from dlcore.tasks.distilled_images import OPTIMIZER, DistilledImages
from experiments.classification.supervised import experiment as classifier
from experiments.smoke import few_samples

NUM_PATHS = 256
PATH_STEPS = 50


def straightness_evaluator(setup: Setup, source: Any) -> Evaluator:
    """Build the evaluator of the straightness of NUM_PATHS paths, solved by PATH_STEPS steps of Euler's method."""
    flags, times = setup.flags, flow_matching.flow_times(PATH_STEPS if not setup.flags.smoke else 4)
    network, shape = UNet(**flags.group("unet"), dtype=setup.dtype), tuple(setup.spec["image_shape"])

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


@dataclasses.dataclass(frozen=True)
class FlowImages(DistilledImages):
    """Images that a flow carries out of noise, and the straightness of its paths."""

    teacher_page: ClassVar = "generative.flow_matching"
    teacher_use: ClassVar = "whose noise and samples are the pairs of reflow; by default any noise and example are one"

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:  # pyright: ignore
        """Build the distances of samples to images, and for the test split the straightness of the paths."""
        distances = DistilledImages.evaluators(setup, splits, split)
        if split != "test" or not distances:
            return distances
        return [*distances, straightness_evaluator(setup, distances[0].source)]


experiment = Experiment(
    __file__,
    __doc__,
    flow_matching.learner,
    task=FlowImages(classifier=classifier),
    optimizer=OPTIMIZER,
    smoke={**few_samples(3), "unet.width": 8, "unet.channel_multipliers": (1,), "num_inference_steps": 4},
)

if __name__ == "__main__":
    main(experiment)

"""Unit images: what units of three depths of a network look for, by gradient ascent on the pixels.

python -m experiments.interpretability.unit_images           (mean activation 3.40, of noise 0.26; 35 s)
python -m experiments.interpretability.unit_images --units=relu2_1:3,relu2_1:3@8:8 --side=48                 (not run)
python -m experiments.interpretability.unit_images --network=weights/resnet50 --side=224 --units=layer3:17   (not run)

`LAYER:CHANNEL` is the mean of a channel over its map, `LAYER:CHANNEL@ROW:COLUMN` the unit at one position. The network
is the small VGG of CIFAR-10 that dlcore ships, or any of yours with maps (`--network`). `activation_noise` is the
activation by the noise that the images start from. `experiments.interpretability.attribution --unit` shows which pixels
of a photograph a unit responds to.
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.source import Source
from dlcore.experiment import Experiment, Flags, Run, Splits
from dlcore.interpretability import unit_images
from dlcore.interpretability.unit_images import Unit, parse_unit, unit_activation
from dlcore.learner import Evaluator
from dlcore.main import main
from dlcore.tasks.optimized_images import OptimizedImages, check_batch_size, image_panels
from dlcore.weights.network import load_network

UNITS = tuple(f"{layer}:{channel}" for layer in ("relu1_2", "relu2_2", "relu3_2") for channel in (0, 1, 2, 3))


def units_of(flags: Flags) -> tuple[Unit, ...]:
    return tuple(parse_unit(text, "units") for text in flags.units)


@dataclasses.dataclass(frozen=True)
class NetworkUnits(OptimizedImages):
    """Units of a network, an image of each.

    Args:
      units: units, each LAYER:CHANNEL (the mean over its map) or LAYER:CHANNEL@ROW:COLUMN
    """

    units: Annotated[tuple[str, ...], "essential"] = UNITS

    monitor = headline = "activation"
    monitor_mode: ClassVar = "max"

    def num_images(self, run: Run) -> int:
        """Count the images that are optimized, one for each unit."""
        return len(run.spec["units"])

    def data(self, flags: Flags) -> Splits:
        check_batch_size(flags.batch_size, len(flags.units))
        source = Source({"unit": np.arange(len(units_of(flags)), dtype=np.int32)}, name="units")
        return Splits(source, source, source, {"dataset": "units", "units": list(flags.units)})

    def arguments(self, run: Run) -> dict[str, Any]:
        return {**super().arguments(run), "units": units_of(run.flags)}

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure at the end the activation of each unit by noise of the strength that the images start from."""
        if split != "test":
            return []

        def finish(numbers):
            network, settings = load_network(run.flags.network), run.flags.group("learner")
            shape = (100, settings["side"], settings["side"], len(network.mean))
            noise = jnp.clip(network.mean + settings["noise"] * jax.random.normal(jax.random.key(0), shape), 0, 1)
            x = (noise - network.mean) / network.std
            maps = jax.jit(lambda v, x: network.model.apply(v, x, method="features"))(network.variables, x)
            units = units_of(run.flags)
            return {"activation_noise": float(np.mean([unit_activation(maps, units[k]).mean() for k in numbers]))}

        def add(numbers, outputs, rows):
            return [*(numbers or []), *rows["unit"].tolist()]

        return [Evaluator(add, finish, names=("activation_noise",))]

    def panels(self, context: Any) -> list:
        images = dict(zip(context.spec["units"], context.outputs["image"], strict=True))
        caption = "Activation {activation:.3g}; of noise {activation_noise:.3g}.".format(**context.numbers)
        return image_panels(context, images, "Images of highest activation", caption)


experiment = Experiment(
    __file__,
    __doc__,
    unit_images.learner,
    task=NetworkUnits(optimizer="adam", learning_rate=0.02),
    defaults={"batch_size": len(UNITS)},
    smoke={"steps": 2, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)

"""Neural ODE: learn the velocity field of a spiral from trajectories.

python -m experiments.sequence.neural_ode                        (mean squared error 1e-4)
python -m experiments.sequence.neural_ode --gradient=direct      (the gradient of the solver's steps; not run)
python -m experiments.sequence.neural_ode --solver=euler         (not run)

Training sees segments of one second; `loss` of validation and test is the mean squared error over the whole
ten seconds from starts that training has not seen.
"""

import dataclasses
from typing import Annotated, Any

from dlcore.data.spirals import segments, spirals
from dlcore.experiment import Experiment, Flags, PositiveInt, Range, Setup, Splits
from dlcore.experiment.settings import ONLY_F32
from dlcore.experiment.task import Task
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.sequence import neural_ode
from experiments.smoke import few_steps


@dataclasses.dataclass(frozen=True)
class Spirals(Task):
    """Trajectories of a spiral, of which training sees segments.

    Args:
      num_trajectories: training trajectories
      segment_length: points of a training example
      num_test: trajectories of validation, and as many of test
    """

    num_trajectories: PositiveInt = 64
    segment_length: Annotated[int, Range(2, 101)] = 11
    num_test: PositiveInt = 32

    monitor = headline = "loss"
    monitor_mode = "min"

    def data(self, flags: Flags) -> Splits:
        train = segments(spirals(flags.num_trajectories, 0), flags.segment_length)
        valid, test = (spirals(flags.num_test, seed) for seed in (1, 2))
        batch = {"state": [[2, 2], "float32"], "time": [[2], "float32"]}  # any times after the first state
        return Splits(train, valid, test, {"dataset": "spirals", "batch": batch})

    def arguments(self, setup: Setup) -> dict[str, Any]:
        return {"model": neural_ode.VectorField(**setup.flags.group("field"))}

    def panels(self, context: Any) -> list:
        from dlcore.report.curves import curves
        from dlcore.report.figure import BLUE, GRAY, figure_panel, new_figure

        figure, axes = new_figure((9, 3.2), 1, 3)
        target, ours = context.data.test.arrays["state"], context.outputs["state"]
        for ax, y, h in zip(axes, target, ours, strict=False):
            ax.plot(*y.T, color=GRAY, lw=3, alpha=0.5, label="truth")
            ax.plot(*h.T, color=BLUE, lw=1, label="solved")
            ax.plot(*y[0], "o", color=GRAY)
            ax.set_aspect("equal")
        axes[0].legend(frameon=False)
        caption = "From the dots on, over the whole time; the first three test trajectories."
        return [figure_panel("Trajectories", figure, caption), curves(context.history)]


experiment = Experiment(
    __file__,
    __doc__,
    neural_ode.learner,
    task=Spirals(),
    optimizer=AveragedAdamW(optimizer="adam", learning_rate=3e-3, weight_decay=0.0),
    modules={"field": neural_ode.VectorField},
    settings=ONLY_F32,
    defaults={"steps": 4000, "batch_size": 128, "eval_batch_size": 32, "eval_every": 1000},
    smoke={**few_steps(4), "num_trajectories": 2, "num_test": 3, "eval_batch_size": 3, "field.hidden_size": 8},
)

if __name__ == "__main__":
    main(experiment)

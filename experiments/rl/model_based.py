"""Model-based planning on Pendulum with a model learned from 1,600 steps, three seeds at once; here below a hand rule.

python -m experiments.rl.model_based        (mean return -173, the three -202, -130 and -186; 3 min on one core)
python -m experiments.rl.model_based --known_reward=false                                        (not run)
python -m experiments.rl.model_based --iterations=1 --num_elites=1 --population=300              (not run)
python -m experiments.rl.model_based --warm_start=false                                          (not run)

The return is that of ten test episodes. Random actions return -1,233 and no torque -1,246. Each step is one episode of
200 steps and the training of the model after it; the first two episodes are random. `model_error` is the squared error
of the next observation in the episodes of the test, 0.0002, and `no_change_error` that of predicting that nothing
changes, 0.51. The third command plans by random shooting.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from dlcore.evaluators.returns import Returns, return_panels
from dlcore.experiment import Experiment, Flags, Steps
from dlcore.experiment.parts import Run
from dlcore.main import main
from dlcore.optim.annealed_adam import AnnealedAdam
from dlcore.report.panel import Panel
from dlcore.rl import model_based
from dlcore.rl.gymnax_environments import GymnaxEnvironments
from dlcore.setting import FlagError
from experiments.smoke import ENVIRONMENTS


@dataclasses.dataclass(frozen=True)
class EnvironmentModel:
    """Networks that predict what an action does, and the reward of it that plans are made with.

    Args:
      known_reward: plan with the environment's reward; else learn it
      fields: values of the fields of the networks
    """

    known_reward: Annotated[bool, "essential"] = True
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modules(self) -> dict[str, Callable]:
        return {"network": partial(model_based.Dynamics, **self.fields)}

    def with_flags(self, flags: Flags) -> "EnvironmentModel":
        return EnvironmentModel(flags.known_reward, flags.group("network"))

    def check(self, run: Run) -> None:
        name = run.parts.data.environment
        if self.known_reward and name not in model_based.REWARDS:
            reward_names = ", ".join(model_based.REWARDS)
            raise FlagError(f"--known_reward=True: unknown for {name}; allowed: false, and true for {reward_names}")

    def arguments(self, run: Run) -> dict[str, Any]:
        reward = model_based.REWARDS[run.parts.data.environment] if self.known_reward else None
        num_outputs = run.parts.data.build().observation_shape[-1] + (reward is None)
        return {"model": model_based.Dynamics(num_outputs, **self.fields), "reward": reward}


def panels(context: Any) -> list[Panel]:
    """Compare returns with those of no plan, and errors with those of no model."""
    from dlcore.report.tables import table

    numbers = context.numbers
    rows = {"this planner": "return", "random actions": "random_return", "no action": "zero_return"}
    returns = [{"": name, "mean return": round(numbers[key], 1)} for name, key in rows.items() if key in numbers]
    errors = {"the model": "model_error", "nothing changes": "no_change_error"}
    steps = [{"": name, "squared error": numbers[key]} for name, key in errors.items()]
    caption = "Of the next observation, over the deviation of its change, in the episodes of the test."
    return [table(returns, "Returns"), table(steps, "One step of the model", caption), *return_panels(context)]


experiment = Experiment(
    __file__,
    __doc__,
    technique=model_based.learner,
    data=GymnaxEnvironments("Pendulum-v1", num_seeds=3, eval_episodes=10),
    network=EnvironmentModel(known_reward=True, fields={"width": 64}),
    optimizer=AnnealedAdam(
        learning_rate=1e-3, lr_schedule="linear", max_grad_norm=10.0, updates=lambda values: values["num_updates"]
    ),
    length=Steps(8, batch_size=1, eval_every=8, select="last"),
    measures=[Returns()],
    report=[panels],
    defaults={"log_every": 1},
    smoke={
        **ENVIRONMENTS,
        "num_updates": 3,
        "minibatch_size": 4,
        "buffer_size": 16,
        "random_steps": 4,
        "horizon": 3,
        "population": 6,
        "num_elites": 2,
        "iterations": 2,
        "network.width": 8,
        "eval_episodes": 2,
    },
)

if __name__ == "__main__":
    main(experiment)

"""Model-based planning on Pendulum with a model learned from 1,600 steps, three seeds at once.

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
from typing import Annotated, Any

from dlcore.experiment import Experiment, Flags, Setup
from dlcore.experiment.setting import FlagError
from dlcore.main import main
from dlcore.rl import model_based
from dlcore.tasks.environments import SMOKE, Environments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planning(Environments):
    """Environments to plan in with a learned model.

    Args:
      known_reward: plan with the environment's reward; else learn it
    """

    known_reward: Annotated[bool, "essential"] = True

    def check(self, flags: Flags) -> None:
        super().check(flags)
        if flags.known_reward and flags.environment not in model_based.REWARDS:
            reward_names = ", ".join(model_based.REWARDS)
            raise FlagError(
                f"--known_reward=True: unknown for {flags.environment}; allowed: false, and true for {reward_names}"
            )

    def arguments(self, setup: Setup) -> dict[str, Any]:
        self.check(setup.flags)
        arguments = super().arguments(setup)
        reward = model_based.REWARDS[setup.flags.environment] if setup.flags.known_reward else None
        num_outputs = arguments["environment"].observation_shape[-1] + (reward is None)
        model = model_based.Dynamics(num_outputs, **setup.flags.group("network"))
        return {**arguments, "model": model, "reward": reward}

    def panels(self, context: Any) -> list:
        from dlcore.report.tables import table

        numbers = context.numbers
        rows = {"this planner": "return", "random actions": "random_return", "no action": "zero_return"}
        returns = [{"": name, "mean return": round(numbers[key], 1)} for name, key in rows.items() if key in numbers]
        errors = {"the model": "model_error", "nothing changes": "no_change_error"}
        steps = [{"": name, "squared error": numbers[key]} for name, key in errors.items()]
        caption = "Of the next observation, over the deviation of its change, in the episodes of the test."
        return [table(returns, "Returns"), table(steps, "One step of the model", caption), *super().panels(context)]


experiment = Experiment(
    __file__,
    __doc__,
    model_based.learner,
    task=Planning(
        updates=lambda flags: flags.num_updates,
        environment="Pendulum-v1",
        num_seeds=3,
        eval_episodes=10,
        learning_rate=1e-3,
        max_grad_norm=10.0,
    ),
    modules={"network": model_based.Dynamics},
    defaults={"steps": 8, "batch_size": 1, "eval_every": 8, "log_every": 1, "select": "last"},
    smoke={
        **SMOKE,
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

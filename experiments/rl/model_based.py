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

from dlcore.experiment import Experiment, Flags, Setup
from dlcore.experiment.setting import FlagError, Setting
from dlcore.kits.rl import agents
from dlcore.main import main
from dlcore.rl import model_based


def check(flags: Flags) -> None:
    agents.check(flags)
    if flags.known_reward and flags.environment not in model_based.REWARDS:
        known = ", ".join(model_based.REWARDS)
        raise FlagError(f"--known_reward=True: unknown for {flags.environment}; allowed: false, and true for {known}")


def build(setup: Setup):
    check(setup.flags)
    reward = model_based.REWARDS[setup.flags.environment] if setup.flags.known_reward else None

    def network(environment, **fields):
        return model_based.Dynamics(environment.observation_shape[-1] + (reward is None), **fields)

    def learner(**arguments):
        return model_based.learner(reward=reward, **arguments)

    return agents.build(setup, learner, network, setup.steps * setup.flags.num_updates)


def panels(context):
    from dlcore.report.tables import table

    numbers = context.numbers
    rows = {"this planner": "return", "random actions": "random_return", "no action": "zero_return"}
    returns = [{"": name, "mean return": round(numbers[key], 1)} for name, key in rows.items() if key in numbers]
    errors = {"the model": "model_error", "nothing changes": "no_change_error"}
    steps = [{"": name, "squared error": numbers[key]} for name, key in errors.items()]
    note = "Of the next observation, over the deviation of its change, in the episodes of the test."
    return [table(returns, "Returns"), table(steps, "One step of the model", note), *agents.panels(context)]


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=model_based.learner,
    build=build,
    modules={"network": model_based.Dynamics},
    defaults={
        "environment": "Pendulum-v1",
        "steps": 8,
        "num_seeds": 3,
        "batch_size": 1,
        "learning_rate": 1e-3,
        "max_grad_norm": 10.0,
        "eval_episodes": 10,
        "eval_every": 8,
        "log_every": 1,
        "select": "last",
    },
    smoke={
        **agents.SMOKE,
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
    panels=panels,
    **agents.FIELDS
    | {
        "settings": agents.SETTINGS
        | {"known_reward": Setting(True, "plan with the environment's reward; else learn it", essential=True)},
        "check": check,
    },
)

if __name__ == "__main__":
    main(experiment)

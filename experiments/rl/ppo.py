"""Balance a pole by proximal policy optimisation, five seeds at once.

python -m experiments.rl.ppo        (return 500 of 500 for each of the five, 25 s on two cores)
python -m experiments.rl.ppo --environment=Breakout-MinAtar --num_seeds=1 --batch_size=64 --steps=1000      (not run)
"""

from dlcore.experiment import Experiment, Setting, Setup
from dlcore.kits import rl
from dlcore.learner import Range
from dlcore.main import main
from dlcore.optim import create_optimizer, create_schedule
from dlcore.rl import environments, networks, ppo
from dlcore.run.seeds import over_seeds


def build(setup: Setup):
    flags = setup.flags
    environment = environments.make(flags.environment)
    updates = setup.steps * flags.passes * flags.minibatches
    learner = ppo.learner(
        model=networks.ActorCritic(environment.num_actions, flags.width),
        optimizer=create_optimizer(
            "adam", create_schedule("linear", flags.learning_rate, updates), clip_norm=0.5, axis=setup.axis
        ),
        environment=environment,
        axis=setup.axis,
        **flags.group("learner"),
    )
    return over_seeds(learner, flags.num_seeds)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=ppo.learner,
    data=rl.data,
    build=build,
    settings={
        **rl.SETTINGS,
        "width": Setting(64, "of the networks", limits=Range(1)),
        "learning_rate": Setting(2.5e-3, "at the start; it falls linearly to 0", limits=Range(0)),
    },
    defaults={"steps": 200, "batch_size": 32, "rollout_steps": 64, "log_every": 10, "eval_every": 50, "select": "last"},
    smoke={"steps": 2, "batch_size": 8, "rollout_steps": 8, "num_seeds": 2, "log_every": 1, "eval_every": 2},
    monitor="return",
    headline="return",
    panels=rl.panels,
)

if __name__ == "__main__":
    main(experiment)

"""Balance a pole by deep Q-learning, five seeds at once.

python -m experiments.rl.dqn        (mean return 482 of 500, four of the five seeds 500; 4 min beside other jobs)
"""

from dlcore.experiment import Experiment, Setting, Setup
from dlcore.kits import rl
from dlcore.learner import Range
from dlcore.main import main
from dlcore.optim import create_optimizer, create_schedule
from dlcore.rl import dqn, environments, networks
from dlcore.run.seeds import over_seeds


def build(setup: Setup):
    flags = setup.flags
    environment = environments.make(flags.environment)
    schedule = create_schedule("linear", flags.learning_rate, setup.steps * flags.steps_per_update)
    learner = dqn.learner(
        model=networks.QNetwork(environment.num_actions, flags.width),
        optimizer=create_optimizer("adam", schedule, clip_norm=10.0, axis=setup.axis),
        environment=environment,
        axis=setup.axis,
        **flags.group("learner"),
    )
    return over_seeds(learner, flags.num_seeds)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=dqn.learner,
    data=rl.data,
    build=build,
    settings={
        **rl.SETTINGS,
        "width": Setting(64, "of the network", limits=Range(1)),
        "learning_rate": Setting(5e-4, "at the start; it falls linearly to 0", limits=Range(0)),
    },
    defaults={
        "steps": 1000,
        "batch_size": 16,
        "target_every": 50,
        "log_every": 50,
        "eval_every": 100,
        "select": "best",
    },
    smoke={
        "steps": 2,
        "batch_size": 8,
        "steps_per_update": 4,
        "buffer_steps": 16,
        "warmup_steps": 2,
        "num_seeds": 2,
        "log_every": 1,
        "eval_every": 2,
    },
    monitor="return",
    headline="return",
    panels=rl.panels,
)

if __name__ == "__main__":
    main(experiment)

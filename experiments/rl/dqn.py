"""DQN (deep Q-learning) on CartPole, five seeds at once.

python -m experiments.rl.dqn        (mean return 482 of 500, four of the five seeds 500; 4 min beside other jobs)
python -m experiments.rl.dqn --environment=Breakout-MinAtar --num_seeds=1 --steps=1500 --eval_every=250 \\
    --buffer_size=4096 --exploration_steps=4000 --target_update_interval=200 --learning_rate=3e-4   (return 17; 9 min)
"""

from dlcore.experiment import Experiment, Setup
from dlcore.kits.rl import agents
from dlcore.main import main
from dlcore.rl import dqn, networks


def build(setup: Setup):
    return agents.build(setup, dqn.learner, networks.q_network, updates=setup.steps * setup.flags.num_steps)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=dqn.learner,
    build=build,
    modules={"network": networks.QNetwork},
    defaults={
        "steps": 1000,
        "batch_size": 16,
        "learning_rate": 5e-4,
        "max_grad_norm": 10.0,
        "network.width": 64,
        "target_update_interval": 50,
        "eval_every": 100,
        "select": "best",
    },
    smoke={**agents.SMOKE, "buffer_size": 16, "learning_starts": 2},
    panels=lambda context: agents.panels(context, networks.q_network),
    **agents.FIELDS,
)

if __name__ == "__main__":
    main(experiment)

"""A2C (advantage actor-critic) on CartPole, five seeds at once.

python -m experiments.rl.a2c                                                  (500 of 500 for each of the five; 29 s)
python -m experiments.rl.a2c --environment=Acrobot-v1 --eval_every=150 --eval_episodes=100   (return -84.2; 52 s)
"""

from dlcore.experiment import Experiment, Setup
from dlcore.kits.rl import agents
from dlcore.main import main
from dlcore.rl import a2c, networks


def build(setup: Setup):
    return agents.build(setup, a2c.learner, networks.actor_critic, updates=setup.steps * setup.flags.num_rollouts)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=a2c.learner,
    build=build,
    modules={"network": networks.ActorCritic},
    defaults={"steps": 300, "batch_size": 16, "learning_rate": 2e-3, "eval_every": 50, "select": "last"},
    smoke={**agents.SMOKE, "num_rollouts": 2},
    panels=lambda context: agents.panels(context, networks.actor_critic),
    **agents.FIELDS,
)

if __name__ == "__main__":
    main(experiment)

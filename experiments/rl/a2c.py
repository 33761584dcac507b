"""A2C (advantage actor-critic) on CartPole, five seeds at once.

python -m experiments.rl.a2c                                                  (500 of 500 for each of the five; 29 s)
python -m experiments.rl.a2c --environment=Acrobot-v1 --eval_every=150 --eval_episodes=100   (return -84.2; 52 s)
"""

from dlcore.experiment import Experiment
from dlcore.main import main
from dlcore.rl import a2c, networks
from dlcore.tasks.agents import Agents
from dlcore.tasks.environments import SMOKE

experiment = Experiment(
    __file__,
    __doc__,
    a2c.learner,
    task=Agents(network=networks.actor_critic, updates=lambda flags: flags.num_rollouts, learning_rate=2e-3),
    modules={"network": networks.ActorCritic},
    defaults={"steps": 300, "batch_size": 16, "eval_every": 50, "select": "last"},
    smoke={**SMOKE, "num_rollouts": 2},
)

if __name__ == "__main__":
    main(experiment)

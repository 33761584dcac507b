"""A2C (advantage actor-critic) on CartPole, five seeds at once.

python -m experiments.rl.a2c                                                  (500 of 500 for each of the five; 29 s)
python -m experiments.rl.a2c --environment=Acrobot-v1 --eval_every=150 --eval_episodes=100   (return -84.2; 52 s)
"""

from dlcore.evaluators.returns import EpisodeReport, Returns
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.optim.annealed_adam import AnnealedAdam
from dlcore.rl import a2c, networks
from dlcore.rl.agents import Agent
from dlcore.rl.gymnax_environments import GymnaxEnvironments
from experiments.smoke import ENVIRONMENTS

experiment = Experiment(
    __file__,
    __doc__,
    technique=a2c.learner,
    data=GymnaxEnvironments("CartPole-v1", num_seeds=5, eval_episodes=20),
    network=Agent(networks.actor_critic, networks.ActorCritic, {"width": 64}),
    optimizer=AnnealedAdam(
        learning_rate=2e-3, lr_schedule="linear", max_grad_norm=0.5, updates=lambda values: values["num_rollouts"]
    ),
    length=Steps(300, batch_size=16, eval_every=50, select="last"),
    measures=[Returns()],
    report=[EpisodeReport()],
    smoke={**ENVIRONMENTS, "num_rollouts": 2},
)

if __name__ == "__main__":
    main(experiment)

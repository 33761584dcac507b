"""DQN (deep Q-learning) on CartPole, five seeds at once; here below a hand rule.

python -m experiments.rl.dqn        (mean return 482 of 500, four of the five seeds 500; 4 min beside other jobs)
python -m experiments.rl.dqn --environment=Breakout-MinAtar --num_seeds=1 --steps=1500 --eval_every=250 \\
    --buffer_size=4096 --exploration_steps=4000 --target_update_interval=200 --learning_rate=3e-4   (return 17; 9 min)
"""

from functools import partial

from dlcore.evaluators.returns import EpisodeReport, Returns
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.optim.annealed_adam import AnnealedAdam
from dlcore.rl import dqn, networks
from dlcore.rl.agents import Agent
from dlcore.rl.gymnax_environments import GymnaxEnvironments
from experiments.smoke import ENVIRONMENTS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(dqn.learner, target_update_interval=50),
    data=GymnaxEnvironments("CartPole-v1", num_seeds=5, eval_episodes=20),
    network=Agent(networks.q_network, networks.QNetwork, {"width": 64}),
    optimizer=AnnealedAdam(
        learning_rate=5e-4, lr_schedule="linear", max_grad_norm=10.0, updates=lambda values: values["num_steps"]
    ),
    length=Steps(1000, batch_size=16, eval_every=100, select="best"),
    measures=[Returns()],
    report=[EpisodeReport()],
    smoke={**ENVIRONMENTS, "buffer_size": 16, "learning_starts": 2},
)

if __name__ == "__main__":
    main(experiment)

"""DQN (deep Q-learning) on CartPole, five seeds at once.

python -m experiments.rl.dqn        (mean return 482 of 500, four of the five seeds 500; 4 min beside other jobs)
python -m experiments.rl.dqn --environment=Breakout-MinAtar --num_seeds=1 --steps=1500 --eval_every=250 \\
    --buffer_size=4096 --exploration_steps=4000 --target_update_interval=200 --learning_rate=3e-4   (return 17; 9 min)
"""

from dlcore.experiment import Experiment
from dlcore.main import main
from dlcore.rl import dqn, networks
from dlcore.tasks.agents import Agents
from dlcore.tasks.environments import SMOKE

experiment = Experiment(
    __file__,
    __doc__,
    dqn.learner,
    task=Agents(
        network=networks.q_network, updates=lambda flags: flags.num_steps, learning_rate=5e-4, max_grad_norm=10.0
    ),
    modules={"network": networks.QNetwork},
    defaults={
        "steps": 1000,
        "batch_size": 16,
        "network.width": 64,
        "target_update_interval": 50,
        "eval_every": 100,
        "select": "best",
    },
    smoke={**SMOKE, "buffer_size": 16, "learning_starts": 2},
)

if __name__ == "__main__":
    main(experiment)

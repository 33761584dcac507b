"""PPO (proximal policy optimization) on CartPole, five seeds at once; here below a hand rule.

python -m experiments.rl.ppo        (return 472 of 500, mean of three runs from 453 to 500; 17 s on two cores)
python -m experiments.rl.ppo --environment=Acrobot-v1 --eval_every=100 --eval_episodes=100      (return -78.4; 44 s)
python -m experiments.rl.ppo --environment=Pendulum-v1 --normalize_observation --normalize_reward --gamma=0.9 \\
    --num_epochs=10 --learning_rate=1e-3 --steps=150 --eval_episodes=100                          (return -210; 2 min)
python -m experiments.rl.ppo --environment=Breakout-MinAtar --num_seeds=1 --batch_size=64 --steps=400 \\
    --lr_schedule=constant --eval_every=100 --learning_rate=1e-3 --ent_coef=0.01                  (return 7.0; 8 min)
python -m experiments.rl.ppo --environment=Breakout-MinAtar --num_seeds=1 --batch_size=64 --steps=1000 \\
    --eval_every=250 --learning_rate=1e-3 --ent_coef=0.01         (return 15.3; 16 min on one core)
"""

from functools import partial

from dlcore.evaluators.returns import EpisodeReport, Returns
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.optim.annealed_adam import AnnealedAdam
from dlcore.rl import networks, ppo
from dlcore.rl.agents import Agent
from dlcore.rl.gymnax_environments import GymnaxEnvironments
from experiments.smoke import ENVIRONMENTS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(ppo.learner, num_steps=64),
    data=GymnaxEnvironments("CartPole-v1", num_seeds=5, eval_episodes=20),
    network=Agent(networks.actor_critic, networks.ActorCritic),
    optimizer=AnnealedAdam(
        learning_rate=2.5e-3,
        lr_schedule="linear",
        max_grad_norm=0.5,
        updates=lambda values: values["ppo"].num_epochs * values["ppo"].num_minibatches,
    ),
    length=Steps(200, batch_size=32, eval_every=50, select="last"),
    measures=[Returns()],
    report=[EpisodeReport()],
    smoke={**ENVIRONMENTS, "num_steps": 8},
)

if __name__ == "__main__":
    main(experiment)

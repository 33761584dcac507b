"""Recurrent PPO (LSTM policy): CartPole without velocities, five seeds at once; here below a hand rule.

python -m experiments.rl.recurrent_ppo                           (498 of 500, 429 on another processor; 4 min)
python -m experiments.rl.ppo --mask_velocities --normalize_observation                          (44: without memory)
python -m experiments.rl.ppo --mask_velocities --normalize_observation --stack_frames=4         (not run)

CartPole-v1 shows its agent two positions; `--nomask_velocities` shows the velocities too. Positions are small numbers:
without `--normalize_observation` nothing was learned in 800,000 steps.
"""

from functools import partial

from dlcore.evaluators.returns import EpisodeReport, Returns
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.optim.annealed_adam import AnnealedAdam
from dlcore.rl import networks, recurrent_ppo
from dlcore.rl.agents import Agent
from dlcore.rl.gymnax_environments import GymnaxEnvironments
from dlcore.rl.ppo import PPO
from dlcore.rl.rollout import GAE, Normalization
from experiments.smoke import ENVIRONMENTS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        recurrent_ppo.learner,
        num_steps=64,
        gae=GAE(gamma=0.98, gae_lambda=0.8),
        ppo=PPO(num_epochs=10, num_minibatches=2),
        normalization=Normalization(normalize_observation=True),
    ),
    data=GymnaxEnvironments("CartPole-v1", num_seeds=5, eval_episodes=20, mask_velocities=True, whole_sequences=True),
    network=Agent(networks.recurrent_actor_critic, networks.RecurrentActorCritic, {"width": 64}),
    optimizer=AnnealedAdam(
        learning_rate=1e-3,
        lr_schedule="linear",
        max_grad_norm=0.5,
        updates=lambda values: values["ppo"].num_epochs * values["ppo"].num_minibatches,
    ),
    length=Steps(300, batch_size=16, eval_every=50, select="last"),
    measures=[Returns()],
    report=[EpisodeReport()],
    smoke={**ENVIRONMENTS, "num_steps": 8},
)

if __name__ == "__main__":
    main(experiment)

"""Recurrent PPO (LSTM policy) for partial observability: CartPole without velocities, five seeds at once.

python -m experiments.rl.recurrent_ppo                           (498 of 500, 429 on another processor; 4 min)
python -m experiments.rl.ppo --mask_velocities --normalize_observation                          (44: without memory)
python -m experiments.rl.ppo --mask_velocities --normalize_observation --stack_frames=4         (not run)

CartPole-v1 shows its agent two positions; `--nomask_velocities` shows the velocities too. Positions are small numbers:
without `--normalize_observation` nothing was learned in 800,000 steps.
"""

import dataclasses

from dlcore.experiment import Experiment, Flags
from dlcore.main import main
from dlcore.rl import networks, recurrent_ppo
from dlcore.tasks.agents import Agents
from dlcore.tasks.environments import SMOKE


@dataclasses.dataclass(frozen=True)
class RecurrentAgents(Agents):
    """Agents that learn from whole sequences of each environment."""

    def check(self, flags: Flags) -> None:
        """Check the environment, and that minibatches hold whole sequences."""
        super().check(flags, whole_sequences=True)


experiment = Experiment(
    __file__,
    __doc__,
    recurrent_ppo.learner,
    task=RecurrentAgents(
        network=networks.recurrent_actor_critic,
        updates=lambda flags: flags.num_epochs * flags.num_minibatches,
        mask_velocities=True,
        learning_rate=1e-3,
    ),
    modules={"network": networks.RecurrentActorCritic},
    defaults={
        "normalize_observation": True,
        "steps": 300,
        "batch_size": 16,
        "num_steps": 64,
        "num_epochs": 10,
        "num_minibatches": 2,
        "gamma": 0.98,
        "gae_lambda": 0.8,
        "eval_every": 50,
        "select": "last",
    },
    smoke={**SMOKE, "num_steps": 8},
)

if __name__ == "__main__":
    main(experiment)

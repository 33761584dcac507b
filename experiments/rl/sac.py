"""SAC (soft actor-critic) on Pendulum, five seeds at once.

python -m experiments.rl.sac             (mean return -141.9, the five -149.6 to -131.8, above -155 from 6,000 of 20,000
                                          environment steps a seed on; 84 s on one core)
python -m experiments.rl.sac --environment=MountainCarContinuous-v0 --repeat_actions=8               (95.5; 86 s)
python -m experiments.rl.sac --environment=CartPole-v1                                               (not run)

A seed takes 20,000 environment steps, with one gradient step for each. Discrete actions are summed over. The car on the
mountain meets its goal by random pushes only if each lasts: `--repeat_actions`.
"""

from functools import partial

from dlcore.evaluators.returns import EpisodeReport, Returns
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.optim.annealed_adam import AnnealedAdam
from dlcore.rl import networks, sac
from dlcore.rl.agents import Agent
from dlcore.rl.gymnax_environments import GymnaxEnvironments
from dlcore.rl.off_policy import OffPolicy
from experiments.smoke import ENVIRONMENTS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(sac.learner, off_policy=OffPolicy(num_steps=25, gradient_steps=4, reward_scale=0.1)),
    data=GymnaxEnvironments("Pendulum-v1", num_seeds=5, eval_episodes=100),
    network=Agent(networks.actor_twin_critic, networks.ActorTwinCritic, {"width": 64}),
    optimizer=AnnealedAdam(
        learning_rate=1e-3,
        lr_schedule="constant",
        max_grad_norm=1e3,
        updates=lambda values: values["off_policy"].num_steps * values["off_policy"].gradient_steps,
    ),
    length=Steps(200, batch_size=4, eval_every=20, select="last"),
    measures=[Returns()],
    report=[EpisodeReport()],
    smoke={**ENVIRONMENTS, "buffer_size": 32, "minibatch_size": 16, "learning_starts": 2, "eval_episodes": 2},
)

if __name__ == "__main__":
    main(experiment)

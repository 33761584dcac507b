"""TD3 or DDPG on Pendulum, five seeds at once.

python -m experiments.rl.td3                    (mean return -148.7, the five -155 to -138; 79 s on one core)
python -m experiments.rl.td3 --kind=ddpg        (not run)

A seed takes 20,000 environment steps, with one gradient step for each.
"""

from dlcore.experiment import Experiment
from dlcore.kits.rl import agents
from dlcore.main import main
from dlcore.rl import td3

experiment = Experiment(
    file=__file__, doc=__doc__, defaults=agents.PENDULUM, **agents.actor_twin_critic_fields(td3.learner)
)

if __name__ == "__main__":
    main(experiment)

"""TD3 or DDPG on Pendulum, five seeds at once.

python -m experiments.rl.td3                    (mean return -148.7, the five -155 to -138; 79 s on one core)
python -m experiments.rl.td3 --kind=ddpg        (not run)

A seed takes 20,000 environment steps, with one gradient step for each.
"""

from dlcore.experiment import Experiment
from dlcore.main import main
from dlcore.rl import td3
from dlcore.tasks.agents import ActorTwinCritics

experiment = Experiment(__file__, __doc__, td3.learner, task=ActorTwinCritics())

if __name__ == "__main__":
    main(experiment)

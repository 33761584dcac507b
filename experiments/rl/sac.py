"""SAC (soft actor-critic) on Pendulum, five seeds at once.

python -m experiments.rl.sac             (mean return -141.9, the five -149.6 to -131.8, above -155 from 6,000 of 20,000
                                          environment steps a seed on; 84 s on one core)
python -m experiments.rl.sac --environment=MountainCarContinuous-v0 --repeat_actions=8               (95.5; 86 s)
python -m experiments.rl.sac --environment=CartPole-v1                                               (not run)

A seed takes 20,000 environment steps, with one gradient step for each. Discrete actions are summed over. The car on the
mountain meets its goal by random pushes only if each lasts: `--repeat_actions`.
"""

from dlcore.experiment import Experiment
from dlcore.main import main
from dlcore.rl import sac
from dlcore.tasks.agents import ActorTwinCritics

experiment = Experiment(__file__, __doc__, sac.learner, task=ActorTwinCritics())

if __name__ == "__main__":
    main(experiment)

"""Behavior cloning on CartPole from four episodes of an expert, five seeds at once.

python -m experiments.rl.behavior_cloning        (return 500 of 500 for each of the five; 1 min, the expert 40 s more)
python -m experiments.rl.behavior_cloning --num_demonstrations=1 --every=10                   (500: 50 steps suffice)
python -m experiments.rl.behavior_cloning --expert=RUN_OF_PPO
python -m experiments.rl.behavior_cloning --demonstrations=FILE.npz

The first command first trains `experiments.rl.ppo`, a run of its own that the next command finds again, and keeps
sixteen of its episodes in that run's folder as demonstrations.npz. A random policy returns 22.
"""

from dlcore.experiment import Experiment
from dlcore.main import main
from dlcore.rl import behavior_cloning, networks
from dlcore.tasks.imitation import Imitation
from experiments.rl.ppo import experiment as ppo

experiment = Experiment(
    __file__,
    __doc__,
    behavior_cloning.learner,
    task=Imitation(first_phase=ppo, network=behavior_cloning.actor, updates=lambda flags: 1, learning_rate=1e-3),
    modules={"network": networks.CategoricalActor},
    defaults={"steps": 2000, "batch_size": 32, "eval_every": 1000, "select": "last"},
    smoke={"steps": 2, "batch_size": 4, "num_seeds": 3, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)

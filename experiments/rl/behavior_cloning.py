"""Behavior cloning on CartPole from four episodes of an expert, five seeds at once.

python -m experiments.rl.behavior_cloning        (return 500 of 500 for each of the five; 1 min, the expert 40 s more)
python -m experiments.rl.behavior_cloning --num_demonstrations=1 --every=10                   (500: 50 steps suffice)
python -m experiments.rl.behavior_cloning --expert=RUN_OF_PPO
python -m experiments.rl.behavior_cloning --demonstrations=FILE.npz

The first command first trains `experiments.rl.ppo`, a run of its own that the next command finds again, and keeps
sixteen of its episodes in that run's folder as demonstrations.npz. A random policy returns 22.
"""

from dlcore.evaluators.imitation import ReturnBesideExpert, seed_curves
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.optim.annealed_adam import AnnealedAdam
from dlcore.rl import behavior_cloning, networks
from dlcore.rl.agents import Agent
from dlcore.weights.expert import Demonstrations
from experiments.rl import ppo

experiment = Experiment(
    __file__,
    __doc__,
    technique=behavior_cloning.learner,
    data=Demonstrations(
        "CartPole-v1", num_demonstrations=4, every=1, num_seeds=5, eval_episodes=20, first_phase=ppo.experiment
    ),
    network=Agent(behavior_cloning.actor, networks.CategoricalActor, {"width": 64}),
    optimizer=AnnealedAdam(learning_rate=1e-3, lr_schedule="linear", max_grad_norm=0.5),
    length=Steps(2000, batch_size=32, eval_every=1000, select="last"),
    measures=[ReturnBesideExpert()],
    report=[seed_curves],
    smoke={"steps": 2, "batch_size": 4, "num_seeds": 3, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)

"""GAIL on CartPole from 50 steps of an expert, without the reward, five seeds at once; here below a hand rule.

python -m experiments.rl.gail        (mean return 495 of 500, each of the five at least 477; 44 s on one core)
python -m experiments.rl.gail --reward=negative                                             (not run)
python -m experiments.rl.gail --num_demonstrations=4                                        (not run)
python -m experiments.rl.gail --discriminator_steps=0                                       (not run)
python -m experiments.rl.gail --discriminator_steps=0 --absorbing=false                     (not run)
python -m experiments.rl.gail --discriminator_steps=0 --absorbing=false --reward=negative   (not run)

The first command first trains `experiments.rl.ppo`, a run of its own that the next command finds again. In the last
three the discriminator says nothing: what they reach is the reward's bias, and no imitation. After 100 steps one seed
returned 23 with absorbing states, and 500 after 50 steps without them: survival alone balances the pole.
`clone_return` is what behavior cloning reaches from the same steps: 500, since an expert that acts by its most probable
action is easy to clone.
"""

from functools import partial

from dlcore.evaluators.imitation import ReturnBesideExpert
from dlcore.evaluators.returns import EpisodeReport
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.optim.annealed_adam import AdversarialAdam
from dlcore.rl import gail, networks
from dlcore.rl.agents import AgentAndDiscriminator
from dlcore.rl.ppo import PPO
from dlcore.weights.expert import Demonstrations
from experiments.rl import ppo
from experiments.smoke import ENVIRONMENTS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(gail.learner, num_steps=64, ppo=PPO(ent_coef=0.003)),
    data=Demonstrations(
        "CartPole-v1",
        num_demonstrations=1,
        every=10,
        num_seeds=5,
        eval_episodes=20,
        adversarial=True,
        first_phase=ppo.experiment,
    ),
    network=AgentAndDiscriminator(
        networks.actor_critic, networks.ActorCritic, {"width": 64}, discriminator={"width": 64}
    ),
    optimizer=AdversarialAdam(
        learning_rate=2.5e-3,
        lr_schedule="linear",
        max_grad_norm=0.5,
        updates=lambda values: values["ppo"].num_epochs * values["ppo"].num_minibatches,
        discriminator_learning_rate=1e-3,
    ),
    length=Steps(150, batch_size=32, eval_every=50, select="last"),
    measures=[ReturnBesideExpert(clone=True)],
    report=[EpisodeReport()],
    smoke={**ENVIRONMENTS, "num_steps": 8, "num_demonstrations": 4, "every": 1, "eval_episodes": 2},
)

if __name__ == "__main__":
    main(experiment)

"""TD3 or DDPG on Pendulum, five seeds at once.

python -m experiments.rl.td3                    (mean return -148.7, the five -155 to -138; 79 s on one core)
python -m experiments.rl.td3 --kind=ddpg        (not run)

A seed takes 20,000 environment steps, with one gradient step for each.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.kits.rl import agents
from dlcore.main import main
from dlcore.rl import networks, td3


def build(setup: Setup):
    flags = setup.flags
    updates = setup.steps * flags.num_steps * flags.gradient_steps
    return agents.build(setup, td3.learner, networks.actor_twin_critic, updates)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=td3.learner,
    build=build,
    modules={"network": networks.ActorTwinCritic},
    defaults={
        "environment": "Pendulum-v1",
        "steps": 200,
        "batch_size": 4,
        "num_steps": 25,
        "gradient_steps": 4,
        "learning_rate": 1e-3,
        "lr_schedule": "constant",
        "max_grad_norm": 1e3,
        "reward_scale": 0.1,
        "eval_episodes": 100,
        "eval_every": 20,
        "select": "last",
    },
    smoke={**agents.SMOKE, "buffer_size": 32, "minibatch_size": 16, "learning_starts": 2, "eval_episodes": 2},
    panels=lambda context: agents.panels(context, networks.actor_twin_critic),
    **agents.FIELDS,
)

if __name__ == "__main__":
    main(experiment)

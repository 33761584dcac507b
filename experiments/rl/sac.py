"""SAC (soft actor-critic) on Pendulum, five seeds at once.

python -m experiments.rl.sac             (mean return -141.9, the five -149.6 to -131.8, above -155 from 6,000 of 20,000
                                          environment steps a seed on; 84 s on one core)
python -m experiments.rl.sac --environment=MountainCarContinuous-v0 --repeat_actions=8               (95.5; 86 s)
python -m experiments.rl.sac --environment=CartPole-v1                                               (not run)

A seed takes 20,000 environment steps, with one gradient step for each. Discrete actions are summed over. The car on the
mountain meets its goal by random pushes only if each lasts: `--repeat_actions`.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.kits.rl import agents
from dlcore.main import main
from dlcore.rl import networks, sac


def build(setup: Setup):
    flags = setup.flags
    updates = setup.steps * flags.num_steps * flags.gradient_steps
    return agents.build(setup, sac.learner, networks.actor_twin_critic, updates)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=sac.learner,
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

"""Balance a pole by proximal policy optimisation, five seeds at once.

python -m experiments.rl.ppo
python -m experiments.rl.ppo --environment=Breakout-MinAtar --steps=2000
"""

from dlcore.data.source import Source
from dlcore.learner import Range
from dlcore.optim import create_optimizer, create_schedule
from dlcore.rl import environments, networks, ppo
from dlcore.run.flags import Flags, Setting
from dlcore.run.page import Data, Page, Setup, main
from dlcore.run.seeds import over_seeds, split_by_seed


def data(flags: Flags) -> Data:
    """Indices: of environments to train in, of episodes to validate and test on."""
    valid, test = (Source.indices(flags.episodes, f"{name} episodes") for name in ("validation", "test"))
    return Data(Source.indices(flags.batch_size, "environments"), valid, test, {"dataset": flags.environment})


def build(setup: Setup):
    flags = setup.flags
    environment = environments.make(flags.environment)
    updates = setup.steps * flags.passes * flags.minibatches
    schedule = create_schedule("linear", flags.learning_rate, updates)
    optimizer = create_optimizer("adam", schedule, clip_norm=0.5, axis=setup.axis)
    model = networks.ActorCritic(environment.num_actions, flags.width)
    return over_seeds(
        ppo.learner(
            model=model, optimizer=optimizer, environment=environment, axis=setup.axis, **flags.group("learner")
        ),
        flags.num_seeds,
    )


def panels(context):
    from dlcore.diagnostics.curves import curves

    joined, seeds = split_by_seed(context.history)
    keep = ("step", "split", "return")
    returns = [{k: row.get(k) for k in keep} for row in seeds]
    return [curves(returns, title="Return of finished episodes, by seed")] * bool(seeds) + [curves(joined)]


page = Page(
    file=__file__,
    doc=__doc__,
    learner=ppo.learner,
    data=data,
    build=build,
    settings={
        "environment": Setting("CartPole-v1", "a gymnax environment with discrete actions"),
        "num_seeds": Setting(5, "seeds trained side by side in one step", limits=Range(1)),
        "width": Setting(64, "of the networks", limits=Range(1)),
        "learning_rate": Setting(2.5e-3, "at the start; it falls linearly to 0", limits=Range(0)),
        "episodes": Setting(20, "episodes of each evaluation", limits=Range(1)),
    },
    defaults={"steps": 150, "batch_size": 32, "rollout_steps": 64, "log_every": 10, "eval_every": 50, "select": "last"},
    smoke={"steps": 2, "batch_size": 4, "rollout_steps": 8, "num_seeds": 2, "log_every": 1, "eval_every": 2},
    monitor="return",
    headline="return",
    panels=panels,
)

if __name__ == "__main__":
    main(page)

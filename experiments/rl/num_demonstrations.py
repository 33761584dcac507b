"""Adversarial imitation needs fewer steps of an expert than cloning does.

python -m experiments.rl.num_demonstrations

An expert, PPO after `--expert_steps` updates, balances the pole of CartPole and shows one step in `--every` of 1, 2, 4
or 8 of its episodes. A clone learns its actions by cross-entropy; GAIL acts in the environment, without its reward,
until a discriminator cannot tell its steps from the expert's. Both are measured by the return of their most probable
actions, beside the expert and a random policy, over the same seeds. The claim holds where, from one episode, the mean
return of GAIL exceeds that of the clone by 50 or more.

Reference: Ho & Ermon 2016, "Generative adversarial imitation learning", figure 1.

Measured: from 1, 2, 4 and 8 episodes, of ten steps each, cloning returns 18, 65, 81 and 500, and GAIL 499, 500, 496 and
500, as the expert does; three seeds, 3 minutes on one core.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.source import Source
from dlcore.evaluators.imitation import clone_return
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.optim import create_optimizer, create_schedule
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.rl import demonstrations, environments, gail, networks, ppo
from dlcore.rl.baseline_policies import trivial_returns
from dlcore.weights.expert import greedy

INSTANCES, NUM_STEPS, EPISODES = 32, 64, 20


class Returns(NamedTuple):
    """Mean returns of the expert's episodes and of a random policy, and {arm: {number of episodes: [seeds]}}."""

    expert: float
    random: float
    arms: dict[str, dict[int, np.ndarray]]


def adam(steps: int):
    """Adam with a rate that falls to 0, and gradients of norm 0.5 at most."""
    return create_optimizer("adam", create_schedule("linear", 2.5e-3, steps * 16), clip_norm=0.5)


def expert_of(environment: environments.Environment, steps: int) -> demonstrations.Demonstrations:
    """Train PPO, and record eight episodes of its most probable actions."""
    model = networks.actor_critic(environment)
    learner = ppo.learner(model=model, environment=environment, optimizer=adam(steps), num_steps=NUM_STEPS)
    batch = Source.indices(INSTANCES)[np.arange(INSTANCES)]
    state, update = jax.jit(learner.init)(jax.random.key(0), batch), jax.jit(learner.update)
    for _ in range(steps):
        state, _ = update(state, batch)

    return demonstrations.record(environment, greedy(model, state.params), jax.random.split(jax.random.key(1), 8))


def clone(environment: environments.Environment, demos: dict, steps: int, num_seeds: int) -> np.ndarray:
    """[seeds] returns of clones."""
    trained = clone_return(environment, demos, {"index": jnp.arange(EPISODES)}, steps)
    return np.asarray(jax.jit(jax.vmap(trained))(jax.random.split(jax.random.key(2), num_seeds)))


def imitate(environment: environments.Environment, demos: dict, steps: int, num_seeds: int) -> np.ndarray:
    """[seeds] returns of GAIL."""
    learner = gail.learner(
        model=networks.actor_critic(environment),
        discriminator=gail.Discriminator(),
        optimizer=adam(steps),
        discriminator_optimizer=create_optimizer("adam", 1e-3),
        environment=environment,
        num_steps=NUM_STEPS,
        ppo=ppo.PPO(ent_coef=0.003),
    )
    rows = {name: jnp.asarray(x) for name, x in demos.items()} | {"index": jnp.arange(len(demos["action"]))}
    batch = {"environments": {"index": jnp.arange(INSTANCES)}, "demonstrations": rows}
    keys = jax.random.split(jax.random.key(3), num_seeds)
    state = jax.jit(jax.vmap(learner.init, (0, None)))(keys, batch)
    update = jax.jit(jax.vmap(learner.update, (0, None)))
    for _ in range(steps):
        state, _ = update(state, batch)
    episodes = jax.jit(jax.vmap(learner.predict, (0, None)))(state, {"index": jnp.arange(EPISODES)})
    return np.asarray(episodes["return"]).mean(1)


def report(returns: Returns, figures: dict | None = None) -> StudyResult:
    """Judge the returns."""
    means = {arm: {n: float(values.mean()) for n, values in by_count.items()} for arm, by_count in returns.arms.items()}
    fewest = min(means["GAIL"])
    holds = means["GAIL"][fewest] >= means["cloning"][fewest] + 50
    numbers = {
        f"{arm}, {n} episodes": values.tolist()
        for arm, by_count in returns.arms.items()
        for n, values in by_count.items()
    }
    numbers |= {"expert": returns.expert, "random policy": returns.random}
    curves = "; ".join(
        f"{arm} {', '.join(f'{value:.0f}' for value in by_count.values())}" for arm, by_count in means.items()
    )
    counts = ", ".join(map(str, means["GAIL"]))
    verdict = (
        f"From {counts} episodes: {curves}. The expert returns {returns.expert:.0f}, a random policy "
        f"{returns.random:.0f}."
    )
    headline = Headline(f"GAIL's mean return from {fewest} episode", returns.arms["GAIL"][fewest], "CartPole-v1", 25.0)
    return StudyResult(numbers, verdict, figures or {}, bool(holds), headline)


def draw(returns: Returns):
    """Returns over the number of episodes."""
    figure, ax = new_figure((6, 3.4))
    for (arm, by_count), color in zip(returns.arms.items(), (BLUE, VERMILION), strict=True):
        counts = list(by_count)
        ax.plot(counts, [values.mean() for values in by_count.values()], "o-", color=color, label=arm)
        for n, values in by_count.items():
            ax.plot([n] * len(values), values, ".", color=color, alpha=0.4)
    for name, value in (("expert", returns.expert), ("random policy", returns.random)):
        ax.axhline(value, color=GRAY, linestyle=":")
        ax.annotate(name, (counts[-1], value), ha="right", va="bottom", color=GRAY, fontsize=8)
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts, counts)
    ax.set(xlabel="episodes of the expert", ylabel="return")
    ax.legend(frameon=False, fontsize=8)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    every: PositiveInt = 50,
    counts: tuple[PositiveInt, ...] = (1, 2, 4, 8),
    expert_steps: PositiveInt = 200,
    clone_steps: PositiveInt = 1000,
    gail_steps: PositiveInt = 150,
) -> StudyResult:
    """Imitate an expert from more and more of its episodes.

    Args:
      num_seeds: number of seeds of the imitators.
      every: one step in so many of an episode is shown.
      counts: episodes that are shown, at most 8.
      expert_steps: updates of PPO.
      clone_steps: steps of Adam.
      gail_steps: updates of GAIL.
    """
    environment = environments.make("CartPole-v1")
    expert = expert_of(environment, expert_steps)
    arms = {"cloning": {}, "GAIL": {}}
    for count in counts:
        demos = demonstrations.select(expert.first(count), every, seed=0, absorbing=True)
        arms["cloning"][count] = clone(environment, demos, clone_steps, num_seeds)
        arms["GAIL"][count] = imitate(environment, demos, gail_steps, num_seeds)
    returns = Returns(expert.mean_return, trivial_returns(environment)["random_return"], arms)
    return report(returns, {"returns": draw(returns)})


SMOKE = {"num_seeds": 3, "counts": (1, 2), "every": 2, "expert_steps": 1, "clone_steps": 2, "gail_steps": 1}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)

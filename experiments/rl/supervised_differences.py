"""Reinforcement learning differs from supervised learning by noise, delay, lost derivatives and data that move.

python -m experiments.rl.supervised_differences

Four measures of an agent, each beside a twin that is told the best action of every cell and learns it from a fixed data
set.

Noise: one fixed policy in a slippery grid gets another return with each seed; a fixed table has one loss. Measured is
the standard deviation over the seeds, as a share of the mean's size.

Delay: a corridor pays at its end alone. Counted are the steps until Q-learning walks right in each cell, over the
corridor's length, and the labeled examples until the twin knows each cell; compared are the powers of the length.

Lost derivatives: how much of the exact gradient automatic differentiation misses, through sampled episodes for the
return of a soft policy, and through the loss for the twin, whose truth are finite differences. The score function needs
no derivative of the episode.

Data that move: total variation between the states that the untrained and the trained policy meet, and between the first
and the last quarter of the twin's examples.

The claim holds where the agent's numbers exceed its twin's: noise of 5 % at least against none, a power that is larger
by 0.5, a derivative that misses 99 % against 1 % (the score function at most 20 %), and states that differ by 0.2 and
by twice as much as the twin's.

References: Sutton & Barto 2018, "Reinforcement learning", chapter 1; Ross, Gordon & Bagnell 2011, "A reduction of
imitation learning and structured prediction to no-regret online learning" (states that a policy meets).

Measured: returns spread by 93 % of their mean, losses by none; 32 steps of corridor take 11,570 steps and 133 examples,
powers of 2.3 and 1.3; derivatives through episodes miss 100 % of the gradient, the score function 8 %, the twin's none;
states differ by 0.55 and 0.07 in total variation. 40 s on a shared core.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.report.gridworld import draw_grid
from dlcore.rl import dynamic_programming as dp
from dlcore.rl import gridworld, mdp, q_learning
from dlcore.rl.policy_gradient import policy_gradient_loss, score_weights
from dlcore.rl.seeds import over_seeds

RIGHT = gridworld.ACTIONS.index("right")
HORIZON = 60


def slippery() -> gridworld.GridWorld:
    return gridworld.make(gridworld.MAPS["pit"], gamma=0.9, slip=0.3, step_reward=-0.02)


def labels(grid: gridworld.GridWorld) -> np.ndarray:
    """[S] the best action."""
    return np.asarray(dp.value_iteration(grid.mdp).policy).argmax(1)


def twin_loss(logits: jax.Array, states: jax.Array, actions: jax.Array) -> jax.Array:
    """Cross-entropy of a table [S, A] on examples."""
    return optax.softmax_cross_entropy_with_integer_labels(logits[states], actions).mean()


def noise(num_seeds: int) -> dict[str, np.ndarray]:
    """{arm: [seeds]}: returns of the best policy, and losses of a fixed table on fixed examples."""
    grid, best = slippery(), labels(slippery())
    policy = np.eye(4)[best]

    @jax.jit
    def rollout(key):
        return mdp.discounted_sum(mdp.rollout(grid.mdp, policy, key, HORIZON).reward, grid.mdp.gamma)

    states = np.flatnonzero(~grid.mdp.absorbing)
    loss = jax.jit(twin_loss)
    return {
        "agent": np.array([float(rollout(jax.random.key(seed))) for seed in range(num_seeds)]),
        "twin": np.array([float(loss(policy, states, best[states])) for _ in range(num_seeds)]),
    }


def delay(length: int, num_seeds: int, most_steps: int) -> dict[str, np.ndarray]:
    """{arm: [seeds]}: steps of Q-learning, and examples of the twin, until each cell of a corridor is right."""
    grid = gridworld.make(gridworld.corridor(length), gamma=0.9)
    chunk = 20
    learner = over_seeds(
        q_learning.learner(
            environment=gridworld.environment(grid, 4 * length**2),
            num_steps=chunk,
            epsilon=1.0,
            step_power=0.0,
            initial_std=0.0,
        ),
        num_seeds,
    )
    batch = {"index": jnp.arange(1)}
    state, update = jax.jit(learner.init)(jax.random.key(length), batch), jax.jit(learner.update)
    steps = np.full(num_seeds, most_steps)
    for count in range(chunk, most_steps + 1, chunk):
        state, _ = update(state, batch)
        tables = np.asarray(state.params).reshape(num_seeds, -1, 4)[:, :length]
        right = (tables.argmax(2) == RIGHT).all(1)
        steps = np.where(right, np.minimum(steps, count), steps)
        if right.all():
            break
    rng = np.random.default_rng(length)
    examples = []
    for _ in range(num_seeds):
        steps_left = rng.integers(0, length, most_steps)
        examples.append(max(np.argmax(steps_left == cell) for cell in range(length)) + 1)
    return {"agent": steps, "twin": np.array(examples)}


def power(lengths, counts) -> float:
    """p of count ~ length^p, by least squares in the logarithms; counts: [lengths][seeds]."""
    return float(np.polyfit(np.log(lengths), [np.log(c).mean() for c in counts], 1)[0])


def relative_error(gradient, exact) -> float:
    gradient, exact = np.asarray(gradient, np.float64), np.asarray(exact, np.float64)
    return float(np.linalg.norm(gradient - exact) / np.linalg.norm(exact))


def derivatives(num_episodes: int) -> dict[str, float]:
    """{estimator: share of the exact gradient that it misses}."""
    grid = slippery()
    process, states = grid.mdp, np.flatnonzero(~grid.mdp.absorbing)
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(process.num_states, 4)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), num_episodes)

    def value(logits):
        return process.start @ dp.solve_policy(process, jax.nn.softmax(logits))

    def sample_episode(logits, key):
        return mdp.rollout(process, jax.nn.softmax(logits), key, HORIZON)

    @jax.jit
    def through_episodes(logits):
        return jax.vmap(lambda key: mdp.discounted_sum(sample_episode(logits, key).reward, process.gamma))(keys).mean()

    @jax.jit
    def score(logits):
        episode = jax.vmap(lambda key: sample_episode(logits, key))(keys)
        weights = score_weights(episode.reward, "to_go", process.gamma)

        def loss(logits):
            log_probs = jax.nn.log_softmax(logits)[episode.state, episode.action]
            return jax.vmap(policy_gradient_loss)(log_probs, weights, episode.running).mean()

        return -jax.grad(loss)(logits)

    def loss(logits):
        return twin_loss(logits, states, labels(grid)[states])

    exact = jax.grad(value)(logits)
    with jax.enable_x64(True):
        logits_64, step = jnp.asarray(np.asarray(logits), jnp.float64), 1e-5
        bumps = step * jnp.eye(logits.size).reshape(-1, *logits.shape)
        differences = jax.vmap(lambda bump: (loss(logits_64 + bump) - loss(logits_64 - bump)) / (2 * step))(bumps)
        differences = np.asarray(differences).reshape(logits.shape)
    return {
        "agent": relative_error(jax.grad(through_episodes)(logits), exact),
        "agent, score function": relative_error(score(logits), exact),
        "twin": relative_error(jax.grad(loss)(logits), differences),
    }


def met(process: mdp.MDP, policy: np.ndarray) -> np.ndarray:
    """[S] share of an episode's steps in each state, of those that are no end."""
    occupancy = np.asarray(mdp.state_distributions(process, policy, HORIZON), np.float64).sum(0) * ~process.absorbing
    return occupancy / occupancy.sum()


def shift(num_examples: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """({arm: total variation}, {name: [H, W] share of the steps})."""
    grid = gridworld.make(gridworld.MAPS["four_rooms"], gamma=0.95, slip=0.2, step_reward=-0.02)
    process = grid.mdp
    before = met(process, mdp.uniform_policy(process))
    after = met(process, np.asarray(dp.value_iteration(process).policy))
    free = np.flatnonzero(~process.absorbing)
    examples = np.random.default_rng(0).choice(free, num_examples)
    quarter = num_examples // 4
    first, last = (
        np.bincount(part, minlength=process.num_states) / quarter for part in (examples[:quarter], examples[-quarter:])
    )
    numbers = {"agent": float(0.5 * np.abs(after - before).sum()), "twin": float(0.5 * np.abs(last - first).sum())}
    maps = {"untrained policy": before, "trained policy": after, "the twin's examples": last}
    return numbers, {name: gridworld.on_grid(grid, values) for name, values in maps.items()}


def report(noises, delays, missing, shifts, figures: dict | None = None) -> StudyResult:
    """Judge {arm: [seeds]}, {length: {arm: [seeds]}}, {estimator: share} and {arm: total variation}."""
    spread = {arm: float(np.std(values) / np.abs(np.mean(values))) for arm, values in noises.items()}
    lengths = sorted(delays)
    powers = {arm: power(lengths, [delays[length][arm] for length in lengths]) for arm in ("agent", "twin")}
    holds = (
        spread["agent"] >= 0.05 > 1e-6 >= spread["twin"]
        and powers["agent"] >= powers["twin"] + 0.5
        and missing["agent"] >= 0.99
        and missing["twin"] <= 0.01
        and missing["agent, score function"] <= 0.2
        and shifts["agent"] >= max(0.2, 2 * shifts["twin"])
    )
    longest = delays[lengths[-1]]
    verdict = (
        f"Over the seeds the return of one policy spreads by {spread['agent']:.0%} of its mean, the twin's loss by "
        f"{spread['twin']:.0%}. A corridor of {lengths[-1]} steps takes {np.mean(longest['agent']):.0f} steps and the "
        f"twin {np.mean(longest['twin']):.0f} examples; they grow by the power {powers['agent']:.1f} and "
        f"{powers['twin']:.1f} of the length. Derivatives through episodes miss {missing['agent']:.0%} of the "
        f"gradient, those of the twin's loss {missing['twin']:.1%}, the score function "
        f"{missing['agent, score function']:.0%}. Training changes the states that are met by {shifts['agent']:.2f} in "
        f"total variation, the twin's examples by {shifts['twin']:.2f}."
    )
    numbers = {f"spread, {arm}": value for arm, value in spread.items()}
    numbers |= {f"{arm}, {n} steps": np.asarray(d[arm]).tolist() for n, d in sorted(delays.items()) for arm in d}
    numbers |= {f"power, {arm}": value for arm, value in powers.items()}
    numbers |= {f"missing derivative, {name}": value for name, value in missing.items()}
    numbers |= {f"shift of the states, {arm}": value for arm, value in shifts.items()}
    headline = Headline("power of the corridor's length by which learning slows", powers["agent"], "grid world", 0.1)
    return StudyResult(numbers, verdict, figures or {}, bool(holds), headline)


def draw(noises, delays, missing):
    figure, axes = new_figure((13, 3.4), 1, 3)
    axes[0].hist(noises["agent"], 30, color=BLUE, label="returns of one policy")
    axes[0].set(xlabel="return, a seed each", ylabel="seeds", title="noise")
    lengths = sorted(delays)
    for arm, color, label in (("agent", BLUE, "Q-learning, steps"), ("twin", VERMILION, "twin, examples")):
        axes[1].loglog(lengths, [np.mean(delays[n][arm]) for n in lengths], "o-", color=color, label=label)
    axes[1].set_xticks(lengths, lengths, minor=False)
    axes[1].minorticks_off()
    axes[1].set(xlabel="length of the corridor", ylabel="until each cell is right", title="delay")
    axes[1].legend(frameon=False, fontsize=8)
    axes[2].barh(range(len(missing)), [100 * v for v in missing.values()], color=[BLUE, BLUE, VERMILION])
    axes[2].set_yticks(range(len(missing)), ["through episodes", "score function", "twin's loss"])
    axes[2].set(xlabel="% of the exact gradient that is missed", title="lost derivatives")
    axes[2].invert_yaxis()
    return figure


def draw_shift(maps):
    figure, axes = new_figure((11, 3.4), 1, 3)
    for ax, (name, values) in zip(axes, maps.items(), strict=True):
        draw_grid(ax, values, title=name)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 10,
    num_episodes: PositiveInt = 10_000,
    lengths: tuple[PositiveInt, ...] = (4, 8, 16, 32),
    most_steps: PositiveInt = 100_000,
    num_examples: PositiveInt = 20_000,
) -> StudyResult:
    """Measure four differences between an agent and a supervised twin.

    Args:
      num_seeds: number of seeds of learning in a corridor; the returns take twenty times as many.
      num_episodes: number of episodes of the gradients.
      lengths: steps from a corridor's start to its end.
      most_steps: after which learning in a corridor is given up.
      num_examples: number of examples of the baseline's training.
    """
    noises = noise(20 * num_seeds)
    delays = {length: delay(length, num_seeds, most_steps) for length in lengths}
    missing, (shifts, maps) = derivatives(num_episodes), shift(num_examples)
    figures = {"noise_delay_and_derivatives": draw(noises, delays, missing), "states_that_are_met": draw_shift(maps)}
    return report(noises, delays, missing, shifts, figures)


SMOKE = {"num_seeds": 3, "num_episodes": 20, "lengths": (2, 3), "most_steps": 200, "num_examples": 400}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)

"""How much of a policy gradient's noise does a baseline remove, and does the mean stay?

python -m experiments.studies.policy_gradient_variance

Episodes of CartPole under an untrained policy; each gives three estimates of the same gradient: the whole return, the
reward to go, and the reward to go less the mean of the other episodes at that time. Compared are the traces of their
covariances, and the difference of their means in standard errors. The claim holds where each estimate has less variance
than the one before it on every policy, and the means differ by less than two standard errors.

References: Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning";
Greensmith, Bartlett & Baxter 2004, "Variance reduction techniques for gradient estimates in reinforcement learning".
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import new_figure, seed_dots
from dlcore.rl import environments, networks
from dlcore.rl.policy_gradient import WEIGHTS, policy_gradient_loss, score_weights


def episodes(environment, apply, params, keys, max_steps):
    """Play one episode a key: (observations [N, T, ...], actions [N, T], rewards [N, T], alive [N, T])."""

    def one(key):
        state, observation = environment.reset(jax.random.fold_in(key, 0))

        def step(carry, t):
            state, observation, going = carry
            choose, move = jax.random.split(jax.random.fold_in(key, t + 1))
            action = jax.random.categorical(choose, apply(params, observation[None])[0])
            after, out = environment.step(move, state, action)
            transition = (observation, action, jnp.where(going, out.reward, 0.0), going)
            return (after, out.observation, going & ~(out.terminated | out.truncated)), transition

        return jax.lax.scan(step, (state, observation, jnp.array(True)), jnp.arange(max_steps))[1]

    return jax.vmap(one)(keys)


def study(
    *,
    num_seeds: PositiveInt = 5,
    num_episodes: PositiveInt = 2048,
    group_size: PositiveInt = 16,
    max_steps: PositiveInt = 100,
) -> StudyResult:
    """Measure variance and mean of three estimates of one policy gradient.

    Args:
      num_seeds: untrained policies.
      num_episodes: episodes of each policy.
      group_size: episodes that share a baseline.
      max_steps: longest episode in steps.
    """
    environment = environments.make("CartPole-v1")
    model = networks.QNetwork(environment.num_actions, 32)

    def apply(params, observation):
        return model.apply({"params": params}, observation)

    @jax.jit
    def estimates(key):
        params = model.init(jax.random.fold_in(key, 0), jnp.zeros((1, *environment.observation_shape)))["params"]
        keys = jax.random.split(jax.random.fold_in(key, 1), num_episodes)
        observations, actions, rewards, mask = episodes(environment, apply, params, keys, max_steps)
        grouped = rewards.reshape(-1, group_size, max_steps)

        def gradient(observations, actions, weights, mask):
            def loss(params):
                scores = jax.nn.log_softmax(apply(params, observations))
                log_probs = jnp.take_along_axis(scores, actions[:, None], 1)[:, 0]
                return policy_gradient_loss(log_probs, weights, mask)

            return ravel_pytree(jax.grad(loss)(params))[0]

        return {
            kind: jax.vmap(gradient)(
                observations,
                actions,
                jax.vmap(lambda r, kind=kind: score_weights(r, kind))(grouped).reshape(rewards.shape),
                mask,
            )
            for kind in WEIGHTS
        }

    traces, distances = {kind: [] for kind in WEIGHTS}, []
    for seed in range(num_seeds):
        results = {kind: np.asarray(g, np.float64) for kind, g in estimates(jax.random.key(seed)).items()}
        for kind in WEIGHTS:
            traces[kind].append(float(results[kind].var(0).sum()))
        difference = results["return"] - results["baseline"]
        error = np.sqrt((difference.var(0) / num_episodes).sum())
        distances.append(float(np.linalg.norm(difference.mean(0)) / error))
    variance_ratio = {kind: float(np.mean(np.array(traces[kind]) / np.array(traces["return"]))) for kind in WEIGHTS}
    figure, axes = new_figure((7, 3))
    names = dict(zip(WEIGHTS, ("whole return", "reward to go", "less a baseline"), strict=True))
    groups = {name: np.divide(traces[kind], traces["return"]) for kind, name in names.items()}
    seed_dots(axes, groups, horizontal=True)
    axes.set_xlabel("variance of the gradient, over that of the whole return (dots: policies)")
    falls = all(np.diff([traces[kind][s] for kind in WEIGHTS]).max() < 0 for s in range(num_seeds))
    equal = max(distances) < 2
    verdict = (
        f"Over {num_seeds} policies the reward to go has {variance_ratio['to_go']:.0%} of the whole return's variance, "
        f"and with a baseline {variance_ratio['baseline']:.0%}; the means differ by {max(distances):.2f} standard "
        f"errors at most ({'no more than chance' if equal else 'MORE than chance'} allows)."
    )
    numbers = {f"variance {kind}": values for kind, values in traces.items()} | {"distance of means": distances}
    headline = Headline(
        "variance with a baseline, over the whole return's",
        np.array(traces["baseline"]) / traces["return"],
        "CartPole-v1",
    )
    return StudyResult(numbers, verdict, {"variance": figure}, bool(falls and equal), headline)


experiment = Study(
    __file__, __doc__, study, smoke={"num_seeds": 2, "num_episodes": 32, "group_size": 8, "max_steps": 10}
)

if __name__ == "__main__":
    main(experiment)

"""A score function's gradient gets noisier with each dimension, a pathwise one needs a derivative; their means agree.

python -m experiments.rl.gradient_estimators

A normal x of `--dimensions` coordinates has the cost |x - c|², whose expected gradient is known exactly. Measured is
how many standard errors the mean of the samples' gradients lies from it (the norm of the difference, over what chance
alone is expected to give), and the variance of a coordinate. Where the cost jumps, and where x is one of a few values,
the exact gradient is an integral and a sum over the values; the derivative along a sample is zero there. In a graph
with both, a normal x that sets the chance of an event b, the surrogate loss takes the derivative along x and the score
of b; it stands beside the score of both, and quadrature gives the truth.

The claim holds where each estimator that must be right is within three standard errors in every problem, the score
function's variance over the pathwise one's grows from each number of dimensions to the next, and the pathwise one
misses more than half of the gradient where the cost jumps or x is discrete.

References: Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning";
Schulman, Heess, Weber & Abbeel 2015, "Gradient estimation using stochastic computation graphs"; Kingma & Welling 2014,
"Auto-encoding variational Bayes".

Measured on 20,000 samples: at most 1.26 standard errors off; the score function has 5.9× the variance in one dimension,
20× in 4, 411× in 16 and 5,590× in 64. The pathwise derivative misses 100 % of the gradient at a jump and of a discrete
x, and 46 % in the graph, where the surrogate loss has 0.27 of the variance of the score of both. 10 s.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.rl.gradient_estimators import (
    enumerated_gradient,
    pathwise_gradients,
    score_function_gradients,
    surrogate_loss,
)


def normal_sample(params, key):
    return params["mean"] + jnp.exp(params["log_std"]) * jax.random.normal(key, params["mean"].shape)


def normal_log_probability(params, x):
    return norm.logpdf(x, params["mean"], jnp.exp(params["log_std"])).sum()


def compare(gradients, exact) -> dict[str, float]:
    """Measure gradients [N, ...] against the exact one, over all leaves.

    Returns: `distance` in standard errors, `variance` of a coordinate, and `missing`, the relative error of the mean.
    """
    flat = [np.asarray(x, np.float64).reshape(len(x), -1) for x in jax.tree.leaves(gradients)]
    values, expected = np.concatenate(flat, 1), np.concatenate([np.ravel(x) for x in jax.tree.leaves(exact)])
    off, trace = np.linalg.norm(values.mean(0) - expected), values.var(0).sum()
    return {
        "distance": float(off / max(np.sqrt(trace / len(values)), 1e-12)),
        "variance": float(trace / len(expected)),
        "missing": float(off / np.linalg.norm(expected)),
    }


def quadratic(dimension: int, keys: jax.Array, seed: int) -> dict[str, dict[str, float]]:
    """A normal of so many coordinates with a quadratic cost."""
    rng = np.random.default_rng(seed)
    center, std = jnp.asarray(rng.normal(size=dimension), jnp.float32), 0.7
    params = {"mean": jnp.zeros(dimension), "log_std": jnp.log(std)}
    # E|x - c|^2 = |mean - c|^2 + D std^2
    exact = {"mean": -2 * center, "log_std": 2 * dimension * std**2}
    cost = lambda x: jnp.square(x - center).sum()  # noqa: E731
    args = (normal_sample, normal_log_probability, cost, params, keys)
    baseline = np.square(center).sum() + dimension * std**2
    return {
        "score": compare(score_function_gradients(*args), exact),
        "score with a baseline": compare(score_function_gradients(*args, baseline), exact),
        "pathwise": compare(pathwise_gradients(normal_sample, cost, params, keys), exact),
    }


def jump(keys: jax.Array) -> dict[str, dict[str, float]]:
    """A cost of 1 where x > 0: its derivative is the density at 0, by the mean, and -mean times that, by log std."""
    params = {"mean": jnp.array([0.3]), "log_std": jnp.log(0.7)}
    density = norm.pdf(0.3 / 0.7)
    exact = {"mean": np.array([density / 0.7]), "log_std": -0.3 / 0.7 * density}
    cost = lambda x: (x[0] > 0).astype(jnp.float32)  # noqa: E731
    score = score_function_gradients(normal_sample, normal_log_probability, cost, params, keys)
    return {
        "score": compare(score, exact),
        "pathwise": compare(pathwise_gradients(normal_sample, cost, params, keys), exact),
    }


def discrete(keys: jax.Array, seed: int, count: int = 6) -> dict[str, dict[str, float]]:
    """One of a few values, drawn by the largest of logits and Gumbel noise."""
    rng = np.random.default_rng(seed)
    logits, costs = (jnp.asarray(rng.normal(size=count), jnp.float32) for _ in range(2))

    def sample(logits, key):
        return (logits + jax.random.gumbel(key, (count,))).argmax()

    exact = enumerated_gradient(jax.nn.softmax, lambda x: costs[x], logits, count)
    score = score_function_gradients(
        sample, lambda logits, x: jax.nn.log_softmax(logits)[x], lambda x: costs[x], logits, keys
    )
    return {
        "score": compare(score, exact),
        "pathwise": compare(pathwise_gradients(sample, lambda x: costs[x], logits, keys), exact),
    }


def graph_cost(x, event):
    return jnp.square(x - 1) + 2 * event * x


def graph_exact(mean: float, nodes: int = 60) -> float:
    """d/d mean of E[(x - 1)² + 2 b x], b of probability sigmoid(x), x normal about the mean: by quadrature."""
    at, weights = np.polynomial.hermite_e.hermegauss(nodes)
    x = mean + at
    prob = 1 / (1 + np.exp(-x))
    slope = 2 * (x - 1) + 2 * prob + 2 * x * prob * (1 - prob)
    return float(weights @ slope / weights.sum())


def graph(keys: jax.Array, mean: float = 0.5) -> dict[str, dict[str, float]]:
    """A normal x, and an event b of probability sigmoid(x)."""

    def log_event(x, event):
        return jax.nn.log_sigmoid(jnp.where(event > 0, x, -x))

    def draw(mean, key):
        noise, prob = jax.random.split(key)
        x = mean + jax.random.normal(noise)
        return x, (jax.random.uniform(prob) < jax.nn.sigmoid(x)).astype(jnp.float32)

    def surrogate(mean, key):
        x, event = draw(mean, key)
        return surrogate_loss(graph_cost(x, event), log_event(x, event))

    exact = graph_exact(mean)
    whole = score_function_gradients(
        draw,
        lambda mean, xb: norm.logpdf(xb[0], mean) + log_event(*xb),
        lambda xb: graph_cost(*xb),
        jnp.float32(mean),
        keys,
    )
    along = pathwise_gradients(draw, lambda xb: graph_cost(*xb), jnp.float32(mean), keys)
    mixed = jax.vmap(lambda key: jax.grad(surrogate)(jnp.float32(mean), key))(keys)
    return {name: compare(g, exact) for name, g in (("score", whole), ("surrogate", mixed), ("pathwise", along))}


def report(results: dict[str, dict[str, dict[str, float]]], figures: dict | None = None) -> StudyResult:
    """Judge {problem: {estimator: what `compare` gives}}; problems "D dimensions", "jump", "discrete" and "graph"."""
    biased = {("jump", "pathwise"), ("discrete", "pathwise"), ("graph", "pathwise")}
    pairs = [(problem, arm) for problem, arms in results.items() for arm in arms]
    distance = max(results[p][a]["distance"] for p, a in pairs if (p, a) not in biased)
    missing = {problem: results[problem]["pathwise"]["missing"] for problem, _ in sorted(biased)}
    by_dimension = sorted((int(p.split()[0]), arms) for p, arms in results.items() if p.endswith("dimensions"))
    ratios = [arms["score"]["variance"] / arms["pathwise"]["variance"] for _, arms in by_dimension]
    grows = bool((np.diff(ratios) > 0).all())
    blind = min(missing["jump"], missing["discrete"]) > 0.5
    listed = ", ".join(f"{ratio:.3g}× in {d}" for (d, _), ratio in zip(by_dimension, ratios, strict=True))
    verdict = (
        f"Estimators that must be right are at most {distance:.2f} standard errors off the exact gradients. The "
        f"variance of the score function is that of the pathwise one {listed} dimensions. The pathwise derivative "
        f"misses {missing['jump']:.0%} of the gradient where the cost jumps, {missing['discrete']:.0%} where x is "
        f"discrete and {missing['graph']:.0%} in the graph, where the surrogate loss has {_share(results):.2f} of the "
        "variance of the score of both."
    )
    numbers = {f"{name}, {arm}, {problem}": results[problem][arm][name] for problem, arm in pairs for name in KEPT}
    headline = Headline("variance of the score function over the pathwise one's", ratios[-1], "normal, quadratic", 0.1)
    return StudyResult(numbers, verdict, figures or {}, bool(distance <= 3 and grows and blind), headline)


KEPT = ("distance", "variance", "missing")


def _share(results) -> float:
    return results["graph"]["surrogate"]["variance"] / results["graph"]["score"]["variance"]


def draw(results, dimensions):
    figure, (left, right) = new_figure((11, 3.6), 1, 2)
    for arm, color in (("score", VERMILION), ("score with a baseline", GREEN), ("pathwise", BLUE)):
        left.loglog(
            dimensions, [results[f"{d} dimensions"][arm]["variance"] for d in dimensions], "o-", color=color, label=arm
        )
    left.set(xlabel="dimensions", ylabel="variance of a coordinate")
    left.legend(frameon=False, fontsize=8)
    bars = [(p, a) for p in ("jump", "discrete", "graph") for a in results[p]]
    for row, (problem, arm) in enumerate(bars):
        color = {"score": VERMILION, "pathwise": BLUE}.get(arm, GREEN)
        right.barh(row, 100 * results[problem][arm]["missing"], color=color, alpha=0.8)
    right.axvline(0, color=GRAY, lw=1)
    right.set_yticks(range(len(bars)), [f"{p}: {a}" for p, a in bars])
    right.set(xlabel="error of the mean gradient, % of the exact one")
    right.invert_yaxis()
    return figure


def study(
    *, num_samples: PositiveInt = 20_000, dimensions: tuple[PositiveInt, ...] = (1, 2, 4, 8, 16, 32, 64), seed: Seed = 0
) -> StudyResult:
    """Compare estimators of gradients of an expected cost.

    Args:
      num_samples: gradients of each estimator.
      dimensions: coordinates of the normal.
    """
    keys = jax.random.split(jax.random.key(seed), num_samples)
    results = {f"{d} dimensions": quadratic(d, keys, seed) for d in dimensions}
    results |= {"jump": jump(keys), "discrete": discrete(keys, seed), "graph": graph(keys)}
    return report(results, {"variance_and_error": draw(results, dimensions)})


experiment = Study(__file__, __doc__, study, smoke={"num_samples": 200, "dimensions": (1, 4)})

if __name__ == "__main__":
    main(experiment)

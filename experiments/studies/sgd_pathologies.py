"""What makes gradient descent slow or stuck: ill-conditioning, saddle points, plateaus and noise.

python -m experiments.studies.sgd_pathologies

Bowl: iterations to a millionth of the first error on (x^2 + kappa y^2) / 2 at the best learning rates, by the condition
number; theory says kappa for gradient descent and sqrt(kappa) for heavy-ball momentum (Polyak 1964). Saddle: x^2 - y^2
from the ridge y = 0, over 20 seeds of gradient noise. How common saddles are: the share of random symmetric matrices
(Gaussian orthogonal ensemble) that are positive definite, as a minimum's Hessian would be, by dimension (Dauphin et al.
2014). Plateau: steps to leave the flat part of a sigmoid's squared error, by its saturation.

References: Polyak 1964, "Some methods of speeding up the convergence of iteration methods"; Dauphin et al. 2014,
arXiv:1406.2572.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, GREEN, ORANGE, VERMILION, new_figure, seed_lines


def iterations(kappa, learning_rate, momentum, tolerance=1e-6, most=10**6):
    """Count steps of v <- m v - lr g, w <- w + v on the bowl, from (1, 1) until |w| <= tolerance |(1, 1)|."""
    curvature = jnp.stack([jnp.ones_like(kappa), kappa])

    def going(carry):
        w, _, step = carry
        return (jnp.linalg.norm(w) > tolerance * jnp.sqrt(2.0)) & (step < most)

    def step(carry):
        w, v, step = carry
        v = momentum * v - learning_rate * curvature * w
        return w + v, v, step + 1

    start = jnp.ones(2, kappa.dtype)
    return jax.lax.while_loop(going, step, (start, jnp.zeros_like(start), jnp.zeros((), jnp.int32)))[2]


def bowl(kappas: np.ndarray) -> dict[str, np.ndarray]:
    """Count iterations at the best learning rates: 2 / (1 + kappa), and with momentum 4 / (1 + sqrt(kappa))^2."""
    root = np.sqrt(kappas)
    plain = (2 / (1 + kappas), np.zeros_like(kappas))
    heavy = (4 / (1 + root) ** 2, ((root - 1) / (root + 1)) ** 2)
    run = jax.jit(jax.vmap(iterations))
    return {
        name: np.asarray(run(*(jnp.asarray(v, jnp.float32) for v in (kappas, learning_rate, momentum))))
        for name, (learning_rate, momentum) in (("gradient descent", plain), ("momentum", heavy))
    }


def slope(kappas: np.ndarray, counts: np.ndarray) -> float:
    """Fit the slope of log iterations over log kappa by least squares."""
    return float(np.polyfit(np.log(kappas), np.log(counts), 1)[0])


def saddle_path(key, learning_rate, momentum, noise, steps):
    """Descend on x^2 - y^2 from (1, 0), with Gaussian noise of that deviation on the gradients: [steps + 1, 2]."""

    def step(carry, k):
        w, v = carry
        gradient = 2 * w * jnp.array([1.0, -1.0]) + noise * jax.random.normal(jax.random.fold_in(key, k), (2,))
        v = momentum * v - learning_rate * gradient
        return (w + v, v), w + v

    start = jnp.array([1.0, 0.0])
    _, path = jax.lax.scan(step, (start, jnp.zeros(2)), jnp.arange(steps))
    return jnp.concatenate([start[None], path])


def saddle(num_seeds: int, steps: int, learning_rate: float = 0.02, noise: float = 1e-3) -> dict[str, np.ndarray]:
    """Compute paths [seeds, steps + 1, 2] of four ways to descend."""
    keys = jax.random.split(jax.random.key(0), num_seeds)
    run = jax.jit(jax.vmap(saddle_path, (0, None, None, None, None)), static_argnums=4)
    return {
        name: np.asarray(run(keys, learning_rate, momentum, deviation, steps))
        for name, momentum, deviation in (
            ("gradient descent", 0.0, 0.0),
            ("momentum", 0.9, 0.0),
            ("noise", 0.0, noise),
            ("momentum and noise", 0.9, noise),
        )
    }


def minima_share(dimensions: tuple[int, ...], num_draws: int) -> np.ndarray:
    """Estimate the share of random symmetric matrices of each dimension whose eigenvalues are all positive."""
    rng = np.random.default_rng(0)
    minima_fractions = []
    for n in dimensions:
        a = rng.normal(size=(num_draws, n, n))
        minima_fractions.append((np.linalg.eigvalsh(a + a.swapaxes(1, 2))[:, 0] > 0).mean())
    return np.array(minima_fractions)


def plateau(logits: np.ndarray, learning_rate: float = 1.0, most: int = 10**6) -> np.ndarray:
    """Count steps of gradient descent on sigmoid(z)^2 / 2 from z = logit until sigmoid(z) < 1/2."""

    def run(z):
        def step(carry):
            z, count = carry
            p = jax.nn.sigmoid(z)
            return z - learning_rate * p * p * (1 - p), count + 1

        return jax.lax.while_loop(lambda c: (c[0] >= 0) & (c[1] < most), step, (z, jnp.zeros((), jnp.int32)))[1]

    return np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(logits, jnp.float32)))


def report(kappas, counts, paths, dimensions, minima_fractions, logits, flat) -> StudyResult:
    """Judge and draw the measurements."""
    slopes = {name: slope(kappas, n) for name, n in counts.items()}
    out = {name: int((np.abs(p[:, :, 1]).max(1) > 1).sum()) for name, p in paths.items()}
    num_seeds = len(paths["noise"])
    as_theory = abs(slopes["gradient descent"] - 1) <= 0.15 and abs(slopes["momentum"] - 0.5) <= 0.15
    escapes = out["gradient descent"] == out["momentum"] == 0 and out["momentum and noise"] > max(
        num_seeds // 2, out["noise"]
    )
    verdict = (
        f"Iterations grow as kappa^{slopes['gradient descent']:.2f} for gradient descent and "
        f"kappa^{slopes['momentum']:.2f} with momentum: {'as' if as_theory else 'NOT as'} theory's 1 and 0.5. From the "
        f"ridge of the saddle {out['gradient descent']} of {num_seeds} escape by gradient descent, {out['momentum']} "
        f"with momentum alone, {out['noise']} with noise alone and {out['momentum and noise']} with both in "
        f"{paths['noise'].shape[1] - 1} steps. Of random symmetric matrices {100 * minima_fractions[0]:.0f}% are "
        f"positive definite in {dimensions[0]} dimension and {100 * minima_fractions[-1]:.2f}% in {dimensions[-1]}. A "
        f"sigmoid saturated at logit {logits[-1]:g} needs {flat[-1] / max(flat[0], 1):.0f} times the steps of one at "
        f"{logits[0]:g}."
    )
    numbers = {f"iterations, {name}": n.tolist() for name, n in counts.items()}
    numbers |= {"kappa": list(kappas), **{f"slope, {name}": s for name, s in slopes.items()}}
    numbers |= {f"escapes, {name}": n for name, n in out.items()}
    numbers |= {"dimensions": list(dimensions), "share positive definite": minima_fractions.tolist()}
    numbers |= {"saturation": list(logits), "steps off the plateau": flat.tolist()}
    headline = Headline("power of the condition number, gradient descent", slopes["gradient descent"], "quadratic")
    return StudyResult(
        numbers,
        verdict,
        {"pathologies": draw(kappas, counts, paths, dimensions, minima_fractions, logits, flat)},
        bool(as_theory and escapes and minima_fractions[-1] < minima_fractions[0] and flat[-1] > flat[0]),
        headline,
    )


def draw(kappas, counts, paths, dimensions, minima_fractions, logits, flat):
    figure, panels = new_figure((9, 6.4), 2, 2)
    bowl_axes, saddle_axes, minima_axes, plateau_axes = panels.ravel()
    colors = {"gradient descent": BLUE, "momentum": ORANGE, "noise": GREEN, "momentum and noise": VERMILION}
    for name, n in counts.items():
        bowl_axes.loglog(kappas, n, "o-", color=colors[name], label=f"{name}: slope {slope(kappas, n):.2f}")
    bowl_axes.set(xlabel="condition number", ylabel="iterations", title="Ill-conditioned bowl")
    bowl_axes.legend(frameon=False)
    for name, path in paths.items():
        label = name if path[:, :, 1].any() else f"{name}: stays on it"
        seed_lines(saddle_axes, np.maximum(np.abs(path[:, :, 1]), 1e-7), colors[name], label)
    saddle_axes.axhline(1, color=GRAY, lw=0.8, ls=":")
    saddle_axes.set(yscale="log", xlabel="step", ylabel="distance from the ridge", title="Saddle", ylim=(1e-7, 1e2))
    saddle_axes.legend(frameon=False)
    minima_axes.semilogy(dimensions, np.where(minima_fractions > 0, minima_fractions, np.nan), "o-", color=BLUE)
    minima_axes.set(xlabel="dimensions", ylabel="share positive definite", title="How rare minima are")
    plateau_axes.semilogy(logits, np.maximum(flat, 1), "o-", color=BLUE)
    plateau_axes.set(xlabel="logit at the start", ylabel="steps", title="Plateau of a saturated sigmoid")
    for axes in (bowl_axes, saddle_axes, minima_axes, plateau_axes):
        axes.grid(alpha=0.3)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 20,
    steps: PositiveInt = 120,
    max_condition_number: float = 3000.0,
    num_draws: PositiveInt = 20000,
) -> StudyResult:
    """Measure how gradient descent fares on four difficult surfaces.

    Args:
      num_seeds: seeds of the gradient noise at the saddle.
      steps: steps at the saddle.
      max_condition_number: largest condition number of the bowl.
      num_draws: random matrices of each dimension.
    """
    kappas = np.geomspace(10, max_condition_number, 8)
    dimensions, logits = (1, 2, 3, 4, 5, 6), (0.0, 2.0, 4.0, 6.0, 8.0)
    return report(
        kappas,
        bowl(kappas),
        saddle(num_seeds, steps),
        dimensions,
        minima_share(dimensions, num_draws),
        logits,
        plateau(np.array(logits)),
    )


experiment = Study(
    __file__, __doc__, study, smoke={"num_seeds": 4, "steps": 60, "max_condition_number": 300.0, "num_draws": 500}
)

if __name__ == "__main__":
    main(experiment)

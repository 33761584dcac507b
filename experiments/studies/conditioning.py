"""Do good initial weights, normalization and shortcuts make the loss of a deep network better conditioned?

python -m experiments.studies.conditioning

Perceptrons of eight tanh layers on digits of 4 x 4 pixels start from weights of the usual scale 1 / sqrt(inputs),
from weights too small (0.4 of it) and too large (3 times); the bad starts are repeated with layer norm and with
shortcuts. At 730 parameters all eigenvalues of the Hessian at the start are computed, and the ends of its spectrum are
checked against Lanczos iteration. Two numbers describe the conditioning: the largest eigenvalue, which limits the
learning rate, and the spread, the largest over the median magnitude; the usual condition number means nothing where
half of the eigenvalues are negative. The losses after 300 steps of gradient descent at rate 1 / the largest eigenvalue
stand beside them.

The claim holds where in every seed (1) the usual scale has a largest eigenvalue of at most a tenth of that of large
weights, and a spread of at most a third of that of small ones, (2) layer norm divides the largest eigenvalue of large
weights by at least 3, (3) shortcuts divide the spread of small weights by at least 5, and (4) Lanczos agrees to 1e-3.

References: Ioffe & Szegedy 2015, arXiv:1502.03167; Santurkar et al. 2018, arXiv:1805.11604; Li et al. 2018,
arXiv:1712.09913; Ghorbani, Krishnan & Xiao 2019, arXiv:1901.10159.
"""

import functools
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dlcore.diagnostics.hessian import lanczos_eigenvalues
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from experiments.studies.convexity import small_digits

DEPTH, WIDTH, CLASSES, STEPS = 8, 8, 10, 300


class Arm(NamedTuple):
    """One network: the scale of its initial weights, layer norm before each tanh, and shortcuts around each layer."""

    scale: float
    norm: bool = False
    shortcuts: bool = False


ARMS = {
    "usual weights": Arm(1.0),
    "small weights": Arm(0.4),
    "large weights": Arm(3.0),
    "small weights, layer norm": Arm(0.4, norm=True),
    "large weights, layer norm": Arm(3.0, norm=True),
    "small weights, shortcuts": Arm(0.4, shortcuts=True),
    "large weights, shortcuts": Arm(3.0, shortcuts=True),
    "usual weights, layer norm": Arm(1.0, norm=True),
    "usual weights, shortcuts": Arm(1.0, shortcuts=True),
}


class Conditioning(NamedTuple):
    """What is measured of one network at its start."""

    values: np.ndarray
    lanczos_error: float
    loss: float

    @property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(self.values.max())

    @property
    def spread(self) -> float:
        """The largest eigenvalue over the median magnitude."""
        return self.largest / max(float(np.median(np.abs(self.values))), np.finfo(np.float32).tiny)

    @property
    def negative(self) -> float:
        """Fraction of the eigenvalues below -1e-6 of the largest."""
        return float((self.values < -1e-6 * self.largest).mean())


def initial_params(key: jax.Array, scale: float, depth: int = DEPTH) -> list[dict[str, jax.Array]]:
    """Kernels of deviation scale / sqrt(inputs), and zero biases."""
    sizes = [16] + [WIDTH] * depth + [CLASSES]
    keys = jax.random.split(key, depth + 1)
    return [
        {"kernel": scale / np.sqrt(n) * jax.random.normal(k, (n, m)), "bias": jnp.zeros(m)}
        for k, n, m in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def logits_of(params: list[dict[str, jax.Array]], x: jax.Array, norm: bool, shortcuts: bool) -> jax.Array:
    """Logits [B, 10] of inputs [B, 16]: affine layers, layer norm without parameters, tanh, shortcuts."""
    for i, layer in enumerate(params[:-1]):
        z = x @ layer["kernel"] + layer["bias"]
        if norm:
            z = jax.nn.standardize(z, epsilon=1e-5)
        x = x + jnp.tanh(z) if shortcuts and i else jnp.tanh(z)
    return x @ params[-1]["kernel"] + params[-1]["bias"]


def loss_of(params, norm: bool, shortcuts: bool, count: int):
    """The loss as a function of a vector, and the vector of these parameters."""
    x, y = small_digits(count)
    flat, unravel = ravel_pytree(params)
    return lambda w: softmax_cross_entropy_loss(logits_of(unravel(w), x, norm, shortcuts), y).mean(), flat


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def lanczos_values(params, key: jax.Array, norm: bool, shortcuts: bool, count: int) -> jax.Array:
    """Eigenvalues by Lanczos iteration, ascending; the first and the last approximate those of the Hessian."""
    return lanczos_eigenvalues(*loss_of(params, norm, shortcuts, count), key, 150)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def eigenvalues(params, norm: bool, shortcuts: bool, count: int) -> jax.Array:
    """All eigenvalues of the Hessian, ascending."""
    loss, flat = loss_of(params, norm, shortcuts, count)
    hessian = jax.hessian(loss)(flat)
    return jnp.linalg.eigvalsh((hessian + hessian.T) / 2)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def loss_after_descent(params, rate: jax.Array, norm: bool, shortcuts: bool, count: int) -> jax.Array:
    """The loss after STEPS steps of gradient descent."""
    loss, flat = loss_of(params, norm, shortcuts, count)
    return loss(jax.lax.fori_loop(0, STEPS, lambda _, w: w - rate * jax.grad(loss)(w), flat))


def measure(arm: Arm, seed: int, count: int) -> Conditioning:
    """Eigenvalues at the start, their check by Lanczos, and the loss after gradient descent on `count` digits."""
    key = jax.random.key(seed)
    params = initial_params(key, arm.scale)
    setting = (arm.norm, arm.shortcuts, count)
    values, extreme_values = eigenvalues(params, *setting), lanczos_values(params, jax.random.fold_in(key, 1), *setting)
    loss = loss_after_descent(params, 1 / values[-1], *setting)
    error = max(abs(values[0] - extreme_values[0]), abs(values[-1] - extreme_values[-1])) / values[-1]
    return Conditioning(np.asarray(values, np.float64), float(error), float(loss))


def report(results: dict[str, list[Conditioning]]) -> StudyResult:
    """Judge {arm: [what was measured a seed]}."""
    largest = {arm: np.array([r.largest for r in rows]) for arm, rows in results.items()}
    spread = {arm: np.array([r.spread for r in rows]) for arm, rows in results.items()}
    by_scale = (largest["large weights"] / largest["usual weights"]).min()
    by_scale_spread = (spread["small weights"] / spread["usual weights"]).min()
    by_norm = (largest["large weights"] / largest["large weights, layer norm"]).min()
    by_shortcuts = (spread["small weights"] / spread["small weights, shortcuts"]).min()
    error = max(r.lanczos_error for rows in results.values() for r in rows)
    holds = bool(by_scale >= 10 and by_scale_spread >= 3 and by_norm >= 3 and by_shortcuts >= 5 and error <= 1e-3)
    loss = {arm: float(np.mean([r.loss for r in rows])) for arm, rows in results.items()}
    verdict = (
        f"In the worst seed, the usual scale divides the largest eigenvalue of large weights by {by_scale:.3g} and the "
        f"spread of small ones by {by_scale_spread:.3g}; layer norm divides the largest eigenvalue of large weights by "
        f"{by_norm:.3g}; shortcuts divide the spread of small weights by {by_shortcuts:.3g}. At usual weights layer "
        f"norm changes the largest eigenvalue from {largest['usual weights'].mean():.3g} to "
        f"{largest['usual weights, layer norm'].mean():.3g}. Loss after {STEPS} steps at 1 / the largest eigenvalue: "
        + ", ".join(f"{arm} {value:.3g}" for arm, value in loss.items())
        + f". Lanczos agrees to {error:.1e}."
    )
    figure, axes = new_figure((6.5, 3.6))
    colors = {"usual": GRAY, "small": BLUE, "large": VERMILION}
    for arm, rows in results.items():
        setting = ARMS[arm]
        style = ":" if setting.norm else "--" if setting.shortcuts else "-"
        magnitude = np.sort(np.abs(rows[0].values))[::-1]
        axes.semilogy(magnitude, style, color=colors[arm.split()[0]], lw=1.2, label=arm)
    axes.set(xlabel="rank", ylabel="magnitude of the eigenvalue", ylim=(1e-8, None))
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    numbers = {f"largest eigenvalue, {arm}": v.tolist() for arm, v in largest.items()}
    numbers |= {f"spread, {arm}": v.tolist() for arm, v in spread.items()}
    numbers |= {f"fraction negative, {arm}": [r.negative for r in rows] for arm, rows in results.items()}
    numbers |= {f"loss, {arm}": value for arm, value in loss.items()}
    baseline = (float(spread["small weights"].mean()), "without shortcuts", "lower")
    headline = Headline(
        "spread of the eigenvalues of small weights with shortcuts",
        spread["small weights, shortcuts"].tolist(),
        "digits",
        tolerance=0.3,
        baseline=baseline,
    )
    figures = {"spectrum at the start, seed 0 (dotted: layer norm, dashed: shortcuts)": figure}
    return StudyResult(numbers | {"Lanczos error": error}, verdict, figures, holds, headline=headline)


def study(*, num_seeds: PositiveInt = 3, count: Annotated[int, Range(10)] = 200) -> StudyResult:
    """Compare the Hessians of networks at their start.

    Args:
      num_seeds: initial weights of each network.
      count: digits.
    """
    return report({name: [measure(arm, seed, count) for seed in range(num_seeds)] for name, arm in ARMS.items()})


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "count": 20})

if __name__ == "__main__":
    main(experiment)

"""What a loss curve looks like at every learning rate, and whether the triage and the range test name the good ones.

python -m experiments.studies.learning_rate_regimes

The picture of CS231n ("Training neural networks, part 3"): with too low a learning rate the loss falls along a line,
with a high one it falls fast and stalls, with too high a one it rises. Deep perceptrons on digits by SGD with momentum,
learning rates by factors of the square root of ten; `dlcore.diagnostics.triage` reads the loss of each batch and names
the regime. A range test (Smith 2017) of one short run is compared with it. The claim holds where the lowest learning
rate is called too low and the highest too high on every seed, the names come in order, and the learning rate of the
lowest final loss is called good.

References: CS231n, "Training neural networks, part 3"; Smith 2017, arXiv:1506.01186 (range test).

Measured over three seeds (12 s of one core): it holds. Up to 3.2e-5 learning rates are called too low, from 1e-4 to
0.03 good, and from 0.32 on too high; no run stays high without diverging. The lowest final loss, 0.011, is that of
0.032. The range test, of a quarter of a run, has its steepest fall at 0.027 and diverges at 0.5: the best learning rate
lies between them on every seed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.diagnostics.lr_range import RangeTest, lr_range_test, read_range_test
from dlcore.diagnostics.triage import learning_rate_triage
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.report.figure import BLUE, GREEN, ORANGE, SKY, VERMILION, new_figure
from experiments.studies.small_runs import SmallNet, minimize, shuffled_digits

ORDER = ("too low", "good", "high", "too high")
COLORS = dict(zip(ORDER, (SKY, GREEN, ORANGE, VERMILION), strict=True))


def sgd(learning_rate: jax.Array | optax.Schedule) -> optax.GradientTransformation:
    """Make SGD with a momentum of 0.9."""
    return optax.sgd(learning_rate, 0.9)


def setting(depth: int, steps: int, batch_size: int, key: jax.Array):
    """Set up one seed: (loss of (params, batch), first parameters, rows of the batches [steps, batch_size])."""
    data, net = shuffled_digits(), SmallNet((64,) * depth)
    images, labels = jnp.asarray(data.images, jnp.float32), jnp.asarray(data.labels)
    rows = jax.random.randint(jax.random.fold_in(key, 1), (steps, batch_size), 0, len(images))

    def loss(params, rows):
        logits = net.apply({"params": params}, images[rows], False)
        return softmax_cross_entropy_loss(logits, labels[rows]).mean()

    return loss, net.init(jax.random.fold_in(key, 0), images[:2], False)["params"], rows


def curves(learning_rates: np.ndarray, num_seeds: int, depth: int, steps: int, batch_size: int) -> np.ndarray:
    """Measure the loss of each batch before its step, at constant learning rates: [learning rates, seeds, steps]."""

    def one(learning_rate, key):
        loss, params, batches = setting(depth, steps, batch_size, key)
        return minimize(loss, params, sgd(learning_rate), batches)[1]

    keys = jax.random.split(jax.random.key(0), num_seeds)
    all_runs = jax.jit(jax.vmap(lambda learning_rate: jax.vmap(lambda key: one(learning_rate, key))(keys)))
    return np.asarray(all_runs(jnp.asarray(learning_rates, jnp.float32)), np.float64)


def range_tests(num_seeds: int, depth: int, steps: int, batch_size: int, low: float, high: float):
    """Run a range test of each seed: (learning rates [steps], losses [seeds, steps])."""

    def one(key):
        return lr_range_test(*setting(depth, steps, batch_size, key), low, high, sgd)

    learning_rates, losses = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), num_seeds))
    return np.asarray(learning_rates[0]), np.asarray(losses)


def names(losses: np.ndarray) -> np.ndarray:
    """Name the triage's regime [learning rates, seeds] of each curve of losses [learning rates, seeds, steps]."""
    return np.array([[learning_rate_triage(curve).kind for curve in row] for row in losses])


def judge(learning_rates: np.ndarray, losses: np.ndarray, tests: list[RangeTest]) -> tuple[str, bool]:
    """Judge losses [learning rates, seeds, steps] and a range test of each seed."""
    regimes = names(losses)
    final_loss = losses[:, :, -losses.shape[2] // 5 :].mean(-1)
    best = np.where(np.isfinite(final_loss), final_loss, np.inf).mean(1).argmin()
    parts = []
    for name in ORDER:
        named = learning_rates[(regimes == name).any(1)]
        if len(named):
            parts.append(f"{name} {named.min():.2g} to {named.max():.2g}")
    inside = [t.steepest <= learning_rates[best] <= (t.diverges or np.inf) for t in tests]
    verdict = (
        f"The triage's regimes of learning rates, on any of {regimes.shape[1]} seeds: {', '.join(parts)}. The lowest "
        f"final loss is {final_loss[best].mean():.3g} at {learning_rates[best]:.2g}, called good on "
        f"{int((regimes[best] == 'good').sum())}. "
        f"The range test puts the steepest fall at {np.median([t.steepest for t in tests]):.2g} and the end at "
        f"{np.median([t.diverges or np.inf for t in tests]):.2g} (medians); the best rate lies between on "
        f"{sum(inside)}."
    )
    rank = np.vectorize(ORDER.index)(regimes)
    holds = (regimes[0] == "too low").all() and (regimes[-1] == "too high").all() and (regimes[best] == "good").all()
    return verdict, bool(holds and (np.diff(rank, axis=0) >= 0).all())


def draw(learning_rates, losses, swept, tested, tests):
    figure, (left, middle, right) = new_figure((11, 3.8), 1, 3, width_ratios=(1.3, 0.9, 1), grid="both")
    regimes, means = names(losses), losses.reshape(*losses.shape[:2], -1, 10).mean(-1)
    x, labeled = np.arange(means.shape[2]) * 10 + 5, set()
    for row, row_regimes in zip(means, regimes, strict=True):
        label = None if row_regimes[0] in labeled else row_regimes[0]
        labeled.add(row_regimes[0])
        left.plot(
            x, np.where(np.isfinite(row[0]), np.minimum(row[0], 10), np.nan), color=COLORS[row_regimes[0]], label=label
        )
    left.set(yscale="log", ylim=(1e-3, 12), xlabel="step", ylabel="training loss, means of 10 steps (seed 0)")
    left.legend(frameon=False, fontsize=8, loc="lower left")
    final_loss = np.minimum(np.nan_to_num(losses[:, :, -losses.shape[2] // 5 :].mean(-1), nan=10), 10)
    for seed in range(regimes.shape[1]):
        middle.scatter(
            learning_rates, final_loss[:, seed], c=[COLORS[n] for n in regimes[:, seed]], s=26, alpha=0.8, linewidths=0
        )
    middle.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="loss of the last fifth (10: or above)")
    for line in tested:
        right.plot(swept, np.where(np.isfinite(line), np.minimum(line, 10), np.nan), color=BLUE, alpha=0.4, lw=1)
    for rate, word, style in (
        (np.median([t.steepest for t in tests]), "steepest", ":"),
        (np.median([t.diverges or np.inf for t in tests]), "diverges", "--"),
    ):
        if np.isfinite(rate):
            right.axvline(rate, color="0.3", ls=style, lw=1.2, label=f"{word}, {rate:.2g}")
    right.set(xscale="log", yscale="log", xlabel="learning rate of the step", ylabel="loss of the range test")
    right.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 800,
    depth: PositiveInt = 4,
    batch_size: PositiveInt = 32,
    min_learning_rate: float = 1e-6,
    decades: PositiveInt = 7,
) -> StudyResult:
    """Train at every learning rate, and name the regime of each loss curve.

    Args:
      steps: training steps of each run, a multiple of 10; the range test takes a quarter of them.
      depth: hidden layers of 64 units.
      min_learning_rate: lowest learning rate.
      decades: powers of ten that the learning rates span, two learning rates to each.
    """
    learning_rates = min_learning_rate * 10 ** (np.arange(2 * decades + 1) / 2)
    losses = curves(learning_rates, num_seeds, depth, steps, batch_size)
    swept, tested = range_tests(num_seeds, depth, steps // 4, batch_size, learning_rates[0], learning_rates[-1])
    tests = [read_range_test(swept, line) for line in tested]
    verdict, holds = judge(learning_rates, losses, tests)
    regimes = names(losses)
    numbers = {f"rate {learning_rate:.2g}": ", ".join(regimes[k]) for k, learning_rate in enumerate(learning_rates)}
    numbers |= {f"range test, {field}": [getattr(t, field) for t in tests] for field in RangeTest._fields}
    headline = Headline("learning rate of the range test's steepest fall", [t.steepest for t in tests], "digits")
    figures = {"regimes": draw(learning_rates, losses, swept, tested, tests)}
    return StudyResult(numbers, verdict, figures, holds, headline)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 80, "depth": 1, "decades": 3})

if __name__ == "__main__":
    main(experiment)

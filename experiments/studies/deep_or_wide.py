"""Does a deep network need fewer parameters than one wide layer, and is it harder to train without shortcuts?

python -m experiments.studies.deep_or_wide

The target is a composed function of eight normal numbers, a tree of three levels. Each node folds the sum of its two
inputs, h(a, b) = (|a + b| - m) / s, where m and s give it mean 0 and variance 1 for normal inputs. ReLU networks of one
and of three hidden layers, as wide as each number of parameters of `--budgets` allows, learn it from new examples at
each step by Adam, and so do networks of twelve hidden layers with the most parameters, plain and with shortcuts around
all layers but the first, which start at zero, so that the network begins as one of one layer. The rate is the best of a
few for each, chosen on other examples than those of the test. The measure is the unexplained variance, the squared
error over the variance of the target.

The claim holds where on every seed (1) three layers leave less than half as much variance unexplained as one layer,
both with the most parameters, (2) three layers leave less with the second largest budget than one layer with the
largest, and (3) twelve plain layers leave more than three layers and more than twelve with shortcuts.

Measured over three seeds: (1) and (2) hold, (3) does not. With 3,000 parameters one layer leaves 57 % unexplained,
three layers 2.7 %, and 27 % with 1,000. Twelve plain layers leave 9.7 %, more than three on every seed, but on two of
three less than twelve with shortcuts, which leave 18 %.

References: Telgarsky 2016, arXiv:1602.04485; Poggio et al. 2017, arXiv:1611.00740 (composed functions); He et al. 2015,
arXiv:1512.03385 (shortcuts).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, mean_and_range, new_figure
from experiments.studies.small_runs import minimize

NUM_INPUTS, BATCH_SIZE, NUM_TESTS = 8, 256, 4096
RATES = (0.001, 0.003, 0.01)
DEEP, VERY_DEEP = 3, 12


class Arm(NamedTuple):
    """A depth in hidden layers, and whether the input of each but the first is added to its output, at first zero."""

    depth: int
    shortcuts: bool = False


WIDE, DEEPER, PLAIN, RESIDUAL = Arm(1), Arm(DEEP), Arm(VERY_DEEP), Arm(VERY_DEEP, shortcuts=True)
NAMES = {
    WIDE: "1 layer", DEEPER: f"{DEEP} layers", PLAIN: f"{VERY_DEEP} layers",
    RESIDUAL: f"{VERY_DEEP} layers with shortcuts",
}  # fmt: skip
COLORS = {WIDE: VERMILION, DEEPER: BLUE, PLAIN: GRAY, RESIDUAL: GREEN}


class Net(nn.Module):
    """A ReLU perceptron: [..., NUM_INPUTS] -> [...]."""

    arm: Arm
    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        start = nn.initializers.zeros if self.arm.shortcuts else nn.initializers.he_normal()
        x = nn.Dense(self.width, kernel_init=nn.initializers.he_normal(), name="dense0")(x)
        for k in range(1, self.arm.depth):
            out = nn.Dense(self.width, kernel_init=start, name=f"dense{k}")(nn.relu(x))
            x = x + out if self.arm.shortcuts else out
        return nn.Dense(1, name="head")(nn.relu(x))[..., 0]


def target(x: jax.Array) -> jax.Array:
    """Compose folds in a tree: [..., NUM_INPUTS] -> [...]."""
    mean, std = 2 / np.sqrt(np.pi), np.sqrt(2 - 4 / np.pi)  # of |a + b|, where a and b are normal
    while x.shape[-1] > 1:
        x = (jnp.abs(x[..., ::2] + x[..., 1::2]) - mean) / std
    return x[..., 0]


def num_parameters(depth: int, width: int) -> int:
    """Count the weights and biases of a `Net`."""
    return (NUM_INPUTS + 1) * width + (depth - 1) * (width + 1) * width + width + 1


def widest(depth: int, budget: int) -> int:
    """Find the largest width whose network has at most `budget` parameters, at least 1."""
    width = 1
    while num_parameters(depth, width + 1) <= budget:
        width += 1
    return width


def unexplained(arm: Arm, budget: int, num_seeds: int, steps: int) -> np.ndarray:
    """Train one shape of network at its best learning rate: unexplained variances [seeds]."""
    net = Net(arm, widest(arm.depth, budget))
    held_out = jax.random.normal(jax.random.key(2**31), (2, NUM_TESTS, NUM_INPUTS))

    def one(rate, key):
        params = net.init(jax.random.fold_in(key, steps), held_out[0, :1])
        optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

        def loss(params, step):
            x = jax.random.normal(jax.random.fold_in(key, step), (BATCH_SIZE, NUM_INPUTS))
            return jnp.square(net.apply(params, x) - target(x)).mean()

        params, _ = minimize(loss, params, optimizer, jnp.arange(steps))
        y = target(held_out)
        return jnp.square(net.apply(params, held_out) - y).mean(1) / y.var(1)  # [2]: validation, test

    keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))
    measured = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(jnp.array(RATES), keys)
    valid, test = np.moveaxis(np.asarray(measured, np.float64), -1, 0)  # [R, seeds]
    return test[np.nan_to_num(valid.mean(1), nan=np.inf).argmin()]


def report(variance: dict[tuple[Arm, int], np.ndarray], budgets: tuple[int, ...]) -> StudyResult:
    """Judge {(arm, budget): unexplained variances [seeds]}."""
    most, second = budgets[-1], budgets[-2]
    shallow, deep, plain, residual = (variance[arm, most] for arm in NAMES)
    expressive = bool((deep < shallow / 2).all())
    smaller = bool((variance[DEEPER, second] < shallow).all())
    worse = {
        name: bool((plain > values).all())
        for name, values in ((NAMES[DEEPER], deep), ("those with shortcuts", residual))
    }
    holds = expressive and smaller and all(worse.values())
    listed = ", ".join(f"{name} {100 * variance[arm, most].mean():.1f} %" for arm, name in NAMES.items())
    verdict = (
        f"Unexplained variance with at most {most:,} parameters: {listed}. {DEEP} layers with {second:,} parameters "
        f"leave {100 * variance[DEEPER, second].mean():.1f} %, {'less' if smaller else 'not less'} than one layer with "
        f"{most:,} on every seed. {VERY_DEEP} plain layers leave "
        + " and ".join(f"{'more' if more else 'not more'} than {name}" for name, more in worse.items())
        + " on every seed."
    )
    figure, axes = new_figure((5.5, 3.4))
    for arm, name in NAMES.items():
        rows = np.stack([100 * variance[arm, budget] for budget in budgets if (arm, budget) in variance], -1)
        x = [num_parameters(arm.depth, widest(arm.depth, b)) for b in budgets if (arm, b) in variance]
        mean_and_range(axes, x, rows, COLORS[arm], name, "o-")
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="unexplained variance, %")
    axes.set_xticks(budgets, [f"{budget:,}" for budget in budgets])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
    numbers = {
        f"unexplained variance, {NAMES[arm]}, {budget} parameters": v.tolist() for (arm, budget), v in variance.items()
    }
    headline = Headline(
        f"unexplained variance, {DEEP} hidden layers, {most} parameters", deep, "composed folds", 0.3,
        (float(shallow.mean()), "one hidden layer", "lower"),
    )  # fmt: skip
    return StudyResult(numbers, verdict, {"depth and parameters": figure}, holds, headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 2000,
    budgets: tuple[PositiveInt, ...] = (300, 1000, 3000),
) -> StudyResult:
    """Train networks of several depths with equally many parameters.

    Args:
      steps: training steps of each run, of 256 examples.
      budgets: numbers of parameters, two or more, ascending.

    Raises:
      ValueError: `budgets` are fewer than two, not ascending, or too small for the deepest network.
    """
    least = num_parameters(VERY_DEEP, 2)
    if len(budgets) < 2 or list(budgets) != sorted(set(budgets)) or budgets[0] < least:
        raise ValueError(f"budgets={budgets}: wrong; allowed: two or more, ascending, of {least} and more")
    arms = [(arm, budget) for arm in (WIDE, DEEPER) for budget in budgets]
    arms += [(arm, budgets[-1]) for arm in (PLAIN, RESIDUAL)]
    return report({(arm, budget): unexplained(arm, budget, num_seeds, steps) for arm, budget in arms}, budgets)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 2, "budgets": (120, 240)})

if __name__ == "__main__":
    main(experiment)

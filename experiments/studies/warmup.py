"""A warm-up saves runs whose initial weights are too large, and none whose initial weights are right.

python -m experiments.studies.warmup

Perceptrons of eight hidden layers without normalization on digits, by SGD with momentum, with He's initial weights and
with weights 1.5x as large. Either the learning rate is at its peak from the first step on, or it rises to it over a
quarter of the run; it falls along a cosine afterwards. A run is lost where its last training loss is not finite or no
better than chance, log 10. The claim holds where from the large weights fewer runs are lost with the warm-up, and at no
learning rate more.

References: Goyal et al. 2017, arXiv:1706.02677 (a linear warm-up for large batches); Gilmer et al. 2021,
arXiv:2110.04369 (it leads to regions of lower curvature before the learning rate peaks).

Measured over eight learning rates and eight seeds (100 s of one core): it holds. From the large weights 36 of 64 runs
are lost without the warm-up (31 not finite) and 26 with it (12); the best mean test accuracy is 89.1 % without and
91.9 % with it, at 4x the learning rate. From He's weights the warm-up saves none: 20 runs are lost without it and 21
with it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.optim.schedules import cosine, warm_up
from dlcore.report.figure import BLUE, VERMILION, mean_and_range, new_figure
from experiments.studies.small_runs import log_loss_and_accuracy, shuffled_digits, train

STARTS = {"He's": 1.0, "1.5 times He's": 1.5}
COLORS = {"without": VERMILION, "with": BLUE}


def schedule(learning_rate: jax.Array, steps: int, warmup_steps: int) -> optax.Schedule:
    """Rise to the peak by equal steps, then fall along a cosine; no warm-up for 0 steps."""
    decay = cosine(learning_rate, steps - warmup_steps)
    return warm_up(decay, warmup_steps, learning_rate) if warmup_steps else decay


class DeepNet(nn.Module):
    """Hidden layers of 64 units with ReLU, and a head; kernels from N(0, gain^2 2 / fan in), He's for a gain of 1."""

    depth: int
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, dropout_rate: float = 0.0) -> jax.Array:
        """Images [B, ...] -> logits [B, 10]."""
        kernel = nn.initializers.variance_scaling(2 * self.gain**2, "fan_in", "normal")
        x = x.reshape(x.shape[0], -1)
        for i in range(self.depth):
            x = nn.relu(nn.Dense(64, kernel_init=kernel, name=f"dense{i}")(x))
        return nn.Dense(10, name="head")(x)


def runs(
    net: nn.Module, learning_rates: np.ndarray, num_seeds: int, steps: int, warmup_steps: int, num_evaluations: int = 40
) -> np.ndarray:
    """Measure training loss and test accuracy [R, seeds, evaluations, 2]; NaN once weights are not finite."""
    data = shuffled_digits()
    images, labels = jnp.asarray(data.images, jnp.float32), jnp.asarray(data.labels)

    def one(learning_rate, key):
        optimizer = optax.sgd(schedule(learning_rate, steps, warmup_steps), momentum=0.9)
        variables, _ = train(key, net, optimizer, images, labels, steps, snapshots=num_evaluations)

        def look(variables):
            train_rows, valid_rows = (
                log_loss_and_accuracy(jax.nn.log_softmax(net.apply(variables, x, False)), y)
                for x, y in ((images, labels), (data.test_images, data.test_labels))
            )
            return jnp.where(jnp.isfinite(train_rows[0]), jnp.stack([train_rows[0], valid_rows[1]]), jnp.nan)

        return jax.lax.map(look, variables)

    keys = jax.random.split(jax.random.key(0), num_seeds)
    all_runs = jax.jit(jax.vmap(lambda learning_rate: jax.vmap(lambda key: one(learning_rate, key))(keys)))
    return np.asarray(all_runs(jnp.asarray(learning_rates, jnp.float32)), np.float64)


def diverged(results: np.ndarray) -> np.ndarray:
    """Tell which runs [R, seeds, evaluations, 2] end without a finite loss below that of chance: [R, seeds]."""
    return ~(results[:, :, -1, 0] < 0.99 * math.log(10))


def judge(learning_rates: np.ndarray, results: dict[str, dict[str, np.ndarray]]) -> tuple[str, bool]:
    """Judge runs [R, seeds, evaluations, 2] by initial weights, He's first, without and with the warm-up."""
    num_lost = {start: {name: diverged(v).sum(1) for name, v in arms.items()} for start, arms in results.items()}
    sentences = []
    for start, arms in results.items():
        nan = {name: int((~np.isfinite(v[:, :, -1, 0])).sum()) for name, v in arms.items()}
        best = {name: np.where(diverged(v), 0.1, v[:, :, -1, 1]).mean(1) for name, v in arms.items()}
        without, with_it = (
            f"{best[name].max():.1%} at rate {learning_rates[best[name].argmax()]:.2g}" for name in COLORS
        )
        sentences.append(
            f"From {start} weights {num_lost[start]['without'].sum()} of {arms['with'][..., 0, 0].size} runs are lost "
            f"without the warm-up ({nan['without']} not finite) and {num_lost[start]['with'].sum()} with it "
            f"({nan['with']}); the best mean test accuracy is {without} without and {with_it} with it."
        )
    large = num_lost[list(results)[-1]]
    holds = large["with"].sum() < large["without"].sum() and (large["with"] <= large["without"]).all()
    return " ".join(sentences), bool(holds)


def draw(learning_rates, results, steps):
    figure, panels = new_figure((11, 6.2), 2, 3, sharex="col")
    for row, (start, arms) in zip(panels, results.items(), strict=True):
        left, middle, right = row
        saved = diverged(arms["without"]).sum(1) - diverged(arms["with"]).sum(1)
        rate_idx = int(saved.argmax()) if saved.max() > 0 else len(learning_rates) // 2
        for shift, (name, color) in zip((-0.2, 0.2), COLORS.items(), strict=True):
            left.bar(
                np.arange(len(learning_rates)) + shift,
                diverged(arms[name]).sum(1),
                0.4,
                color=color,
                label=f"{name} warm-up",
            )
            accuracy = 100 * np.where(diverged(arms[name]), 0.1, arms[name][:, :, -1, 1])
            mean_and_range(middle, learning_rates, accuracy.T, color, style="o-")
            x = np.arange(1, arms[name].shape[2] + 1) * steps / arms[name].shape[2]
            right.plot(x, np.clip(arms[name][rate_idx, :, :, 0].T, 1e-3, 1e3), color=color, alpha=0.6, lw=1.2)
        left.set_xticks(range(len(learning_rates)), [f"{r:.2g}" for r in learning_rates], fontsize=8)
        left.set(ylabel=f"runs lost, of {arms['with'].shape[1]}", title=f"{start} weights")
        middle.set(xscale="log", ylabel="test accuracy, % (lost: 10)", ylim=(0, 100))
        right.axhline(math.log(10), color="0.5", ls="--", lw=1)
        right.set(yscale="log", ylabel="training loss", title=f"at rate {learning_rates[rate_idx]:.2g}")
        for axes in row:
            axes.grid(alpha=0.25)
    figure.axes[0].legend(frameon=False)
    for axes, label in zip(figure.axes[3:], ("peak rate", "peak rate", "step"), strict=True):
        axes.set_xlabel(label)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 8,
    steps: PositiveInt = 400,
    warmup_steps: PositiveInt = 100,
    depth: PositiveInt = 8,
    min_learning_rate: float = 0.004,
    num_learning_rates: PositiveInt = 8,
) -> StudyResult:
    """Count the runs lost by learning rate, with and without a warm-up.

    Args:
      steps: training steps of each run, a multiple of 40.
      warmup_steps: steps of the warm-up.
      min_learning_rate: lowest peak learning rate; each is twice the one before.
      num_learning_rates: learning rates that are tried.
    """
    learning_rates = min_learning_rate * 2.0 ** np.arange(num_learning_rates)
    results = {
        start: {
            name: runs(DeepNet(depth, gain), learning_rates, num_seeds, steps, warm)
            for name, warm in (("without", 0), ("with", warmup_steps))
        }
        for start, gain in STARTS.items()
    }
    verdict, holds = judge(learning_rates, results)
    numbers = {"learning_rates": learning_rates.tolist()}
    for start, arms in results.items():
        for name, v in arms.items():
            numbers[f"{start}, lost by rate, {name}"] = diverged(v).sum(1).tolist()
            numbers[f"{start}, not finite by rate, {name}"] = (~np.isfinite(v[:, :, -1, 0])).sum(1).tolist()
    headline = Headline(
        "runs saved by a warm-up from large weights",
        np.subtract(*(diverged(results[list(STARTS)[-1]][name]).sum(0) for name in ("without", "with"))),
        "digits",
    )
    return StudyResult(numbers, verdict, {"warmup": draw(learning_rates, results, steps)}, holds, headline)


SMOKE = {"num_seeds": 1, "steps": 40, "warmup_steps": 10, "depth": 2, "num_learning_rates": 2}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)

"""Is layer norm better than batch norm in a recurrent network over sequences of unequal length?

python -m experiments.studies.sequence_normalization

A recurrent network h_t = tanh(norm(W x_t + U h_t-1)) reads noise and says at the end of its sequence whether the sum
of what it read is positive. Lengths are geometric: most sequences are short, few are long. Batch norm takes statistics
of each step over the sequences of a batch. Where padding counts, those of a late step are mostly of zeros behind the
end of a sequence; with a mask, they are of the few sequences that are still there, and of one alone nothing is left.
Layer norm takes them within each example. The same network without norm stands beside them. The claim holds where on
every seed layer norm has the best accuracy of the three on long sequences.

Measured over three seeds: it does not hold. On long sequences layer norm reaches 89.3 %, the masked batch norm, whose
late steps have few sequences, 78.5 %, but batch norm with padding counted 91.8 %, and no norm at all 94.8 %.

References: Cooijmans et al. 2016, arXiv:1603.09025 (batch norm by step); Ba, Kiros & Hinton 2016, arXiv:1607.06450.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.nn import BatchNorm, LayerNorm
from dlcore.nn.initializers import orthogonal
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

MAX_LENGTH, MIN_LENGTH, MEAN_LENGTH = 24, 3, 8
LONG = 13
"""Steps from which on a sequence counts as long."""
BATCH_SIZE, HIDDEN = 16, 32
NONE, PADDED, MASKED, LAYER = ARMS = ("no norm", "batch norm, padding counted", "batch norm, masked", "layer norm")
COLORS = dict(zip(ARMS, (GRAY, VERMILION, BLUE, GREEN), strict=True))


class Cell(nn.Module):
    """One step of an arm of ARMS; a sequence that has ended keeps its state.

    train: normalize by the batch, and update the running statistics.
    """

    arm: str
    train: bool

    @nn.compact
    def __call__(self, h: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        """State [B, H] and (input [B, 1], whether the sequence goes on [B]) -> the next state."""
        x, valid = step
        a = nn.Dense(HIDDEN, use_bias=False, name="input")(x)
        a += nn.Dense(HIDDEN, kernel_init=orthogonal(), name="hidden")(h)
        if self.arm == LAYER:
            a = LayerNorm(name="norm")(a)
        elif self.arm in (PADDED, MASKED):
            a = BatchNorm(not self.train, name="norm")(a, mask=valid if self.arm == MASKED else None)
        new = jnp.tanh(a)
        return (new if self.arm == PADDED else jnp.where(valid[:, None], new, h)), new


class Net(nn.Module):
    """The recurrent network of an arm and a linear classifier of the state at the end of each sequence."""

    arm: str

    @nn.compact
    def __call__(self, x: jax.Array, length: jax.Array, train: bool) -> jax.Array:
        """Compute the logits [B, 2] of x [B, T, 1], whose first `length` [B] steps count."""
        scan = nn.scan(
            Cell, variable_axes={"batch_stats": 0}, variable_broadcast="params", split_rngs={"params": False}
        )
        valid = jnp.arange(x.shape[1])[:, None] < length  # [T, B]
        start = jnp.zeros((x.shape[0], HIDDEN))
        _, states = scan(self.arm, train, name="cell")(start, (x.swapaxes(0, 1), valid))  # [T, B, H]
        return nn.Dense(2, name="head")(states[length - 1, jnp.arange(x.shape[0])])


def draw(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw sequences [count, MAX_LENGTH, 1], 0 behind their end, their lengths, and whether their sum is positive."""
    keys = jax.random.split(key)
    length = MIN_LENGTH - 1 + jax.random.geometric(keys[0], 1 / (MEAN_LENGTH - MIN_LENGTH + 1), (count,))
    length = jnp.minimum(length, MAX_LENGTH)
    x = jax.random.normal(keys[1], (count, MAX_LENGTH)) * (jnp.arange(MAX_LENGTH) < length[:, None])
    return x[..., None], length, (x.sum(1) > 0).astype(jnp.int32)


def accuracies(arm: str, num_seeds: int, steps: int, num_test: int) -> np.ndarray:
    """Train on each seed: test accuracy by length [seeds, MAX_LENGTH + 1], NaN where no sequence has it."""
    net, optimizer = Net(arm), optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    def update(carry, key):
        params, stats, opt_state = carry
        x, length, label = draw(key, BATCH_SIZE)

        def loss(params):
            logits, new = net.apply({"params": params, **stats}, x, length, True, mutable=["batch_stats"])
            return softmax_cross_entropy_loss(logits, label).mean(), dict(new)

        gradients, stats = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), stats, opt_state), None

    @jax.jit
    def run(key):
        keys = jax.random.split(key, 3)
        x, length, _ = draw(keys[0], 2)
        stats = dict(net.init(keys[0], x, length, False))
        params = stats.pop("params")
        carry = (params, stats, optimizer.init(params))
        (params, stats, _), _ = jax.lax.scan(update, carry, jax.random.split(keys[1], steps))
        x, length, label = draw(keys[2], num_test)
        correct = (net.apply({"params": params, **stats}, x, length, False).argmax(-1) == label).astype(jnp.int32)
        return jnp.stack([jnp.bincount(length, weights, length=MAX_LENGTH + 1) for weights in (correct, None)])

    return np.array([np.asarray(run(jax.random.key(seed))) for seed in range(num_seeds)], np.float64)


def accuracy(counts: np.ndarray, first: int = 0) -> np.ndarray:
    """Accuracy [seeds] on sequences of at least `first` steps, from counts [seeds, (correct, all), lengths]."""
    correct, total = counts[..., first:].sum(-1).T
    return correct / np.maximum(total, 1)


def report(counts: dict[str, np.ndarray]) -> StudyResult:
    """Judge {arm: numbers of correct and of all test sequences by length [seeds, 2, MAX_LENGTH + 1]}."""
    long, overall = ({arm: accuracy(values, first) for arm, values in counts.items()} for first in (LONG, 0))
    best_batch = np.maximum(long[PADDED], long[MASKED])
    holds = bool((long[LAYER] > best_batch).all())
    listed = ", ".join(f"{arm} {long[arm].mean():.1%} ({overall[arm].mean():.1%})" for arm in ARMS)
    verdict = f"Accuracy on sequences of {LONG} steps or more (on all): {listed}."
    figure, axes = new_figure((5.5, 3.2))
    for arm, values in counts.items():
        correct, total = values.sum(0)
        axes.plot(
            100 * correct[MIN_LENGTH:] / np.maximum(total[MIN_LENGTH:], 1), "o-", ms=3, color=COLORS[arm], label=arm
        )
    axes.set_xticks(range(0, MAX_LENGTH - MIN_LENGTH + 1, 3), range(MIN_LENGTH, MAX_LENGTH + 1, 3))
    axes.set(xlabel="steps of the sequence", ylabel="test accuracy, %")
    axes.legend(frameon=False, fontsize=8)
    numbers = {f"accuracy on long sequences, {arm}": values.tolist() for arm, values in long.items()}
    numbers |= {f"accuracy, {arm}": values.tolist() for arm, values in overall.items()}
    headline = Headline(
        "accuracy of layer norm on long sequences",
        long[LAYER],
        "sums of noise",
        0.05,
        (float(best_batch.mean()), "the better batch norm", "higher"),
    )
    return StudyResult(numbers, verdict, {"accuracy by length": figure}, holds, headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 1500,
    num_test: PositiveInt = 20000,
) -> StudyResult:
    """Train the recurrent network with each norm.

    Args:
      steps: training steps of each run, of 16 sequences.
    """
    return report({arm: accuracies(arm, num_seeds, steps, num_test) for arm in ARMS})


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 2, "num_test": 64})

if __name__ == "__main__":
    main(experiment)

"""Does linear attention recall what a sequence said, where a vanilla RNN of as many parameters does not?

python -m experiments.studies.fast_weights

Associative recall: a sequence pairs each of K letters with a digit, in a random order, and then asks for the digit of
one letter. Every sequence pairs anew, so the answer is in no trained weight. A layer of linear attention writes each
pair into its fast weight matrix and reads it by the letter; a vanilla RNN with an orthogonal recurrent kernel and about
as many parameters has to hold all pairs in its state. Both take the same number of steps of Adam. Guessing gives 1 / K.

References: Schmidhuber 1992; Ba et al. 2016, arXiv:1610.06258; Katharopoulos et al. 2020, arXiv:2006.16236.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.nn import Dense
from dlcore.nn.fast_weights import FastWeightAttention
from dlcore.nn.recurrent import Recurrent
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, seed_dots
from experiments.studies.small_runs import minimize

SOLVED, BELOW = 0.95, 0.7
"""Accuracy: at least, of linear attention; at most, of the RNN."""


def recall(key: jax.Array, count: int, symbols: int) -> tuple[jax.Array, jax.Array]:
    """Draw sequences of K pairs and a question, and the digits of the answers [count].

    Sequences are [count, K + 1, 2 K + 1]: a letter and its digit, one-hot, and last the letter and a mark.
    """

    def one(key):
        order, digits, asked = jax.random.split(key, 3)
        letters = jax.random.permutation(order, symbols)
        values = jax.random.randint(digits, (symbols,), 0, symbols)
        position = jax.random.randint(asked, (), 0, symbols)
        pairs = jnp.concatenate(
            [jax.nn.one_hot(letters, symbols), jax.nn.one_hot(values, symbols), jnp.zeros((symbols, 1))], 1
        )
        question = jnp.concatenate([jax.nn.one_hot(letters[position], symbols), jnp.zeros(symbols), jnp.ones(1)])
        return jnp.concatenate([pairs, question[None]]), values[position]

    return jax.vmap(one)(jax.random.split(key, count))


class Recaller(nn.Module):
    """Sequences [B, T, D] -> scores [B, symbols] of the answer, from the last step, by "fast weights" or "rnn"."""

    arm: str
    width: int
    symbols: int

    @nn.compact
    def __call__(self, x):
        if self.arm == "rnn":
            layer = Recurrent(rnn_width(self.width, x.shape[-1]), "rnn", name="recurrent")
            outputs = layer(layer.initial_carry(x.shape[0]), x)[1]
        else:
            outputs = FastWeightAttention(self.width, name="attention")(x)
        return Dense(self.symbols, name="head")(outputs[:, -1])


def rnn_width(width: int, inputs: int) -> int:
    """The width H at which H^2 + H inputs, an RNN's kernels, are about the 3 width inputs of the attention's."""
    return round((np.sqrt(inputs**2 + 12 * width * inputs) - inputs) / 2)


def accuracies(
    arm: str, seed: int, *, symbols: int, width: int, steps: int, batch_size: int, learning_rate: float
) -> float:
    """Train one arm, "fast weights" or "rnn", and measure its accuracy on 1,000 new sequences."""
    net = Recaller(arm, width, symbols)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    )

    def loss(params, key):
        sequences, targets = recall(key, batch_size, symbols)
        scores = net.apply({"params": params}, sequences)
        return optax.softmax_cross_entropy_with_integer_labels(scores, targets).mean()

    @jax.jit
    def run(key):
        start, train, test = jax.random.split(key, 3)
        sequences, targets = recall(test, 1000, symbols)
        params = net.init(start, sequences[:1])["params"]
        params, _ = minimize(loss, params, optimizer, jax.random.split(train, steps))
        return (net.apply({"params": params}, sequences).argmax(-1) == targets).mean()

    return float(run(jax.random.key(seed)))


def report(results: dict[str, list[float]], symbols: int) -> StudyResult:
    """Judge {arm: accuracy a seed}."""
    solved, below = min(results["fast weights"]) >= SOLVED, max(results["rnn"]) <= BELOW
    verdict = (
        f"Linear attention recalls {100 * min(results['fast weights']):.1f} % of the digits or more, a vanilla RNN of "
        f"as many parameters {100 * max(results['rnn']):.1f} % at most; guessing gives {100 / symbols:.1f} %."
    )
    figure, axes = new_figure((4.5, 3))
    groups = {"linear attention": results["fast weights"], "vanilla RNN": results["rnn"]}
    seed_dots(axes, groups, (BLUE, VERMILION))
    axes.axhline(1 / symbols, color=GRAY, ls=":", lw=1)
    axes.set(ylabel="accuracy", ylim=(0, 1.02))
    headline = Headline("accuracy of linear attention, associative recall", results["fast weights"], "recall")
    return StudyResult(
        {f"accuracy, {arm}": values for arm, values in results.items()},
        verdict,
        {"accuracy of the recall": figure},
        solved and below,
        headline,
    )


def study(
    *,
    num_seeds: PositiveInt = 3,
    symbols: Annotated[int, Range(2)] = 8,
    width: PositiveInt = 32,
    steps: PositiveInt = 1500,
    batch_size: PositiveInt = 64,
    learning_rate: NonNegativeFloat = 1e-2,
    rnn_learning_rate: NonNegativeFloat = 2e-3,
) -> StudyResult:
    """Train linear attention and a vanilla RNN on associative recall.

    Args:
      symbols: letters and digits.
      width: width of the attention's vectors; the RNN has about as many parameters.
      learning_rate: learning rate of linear attention at the start.
      rnn_learning_rate: learning rate of the RNN at the start.
    """
    options = {"symbols": symbols, "width": width, "steps": steps, "batch_size": batch_size}
    rates = {"fast weights": learning_rate, "rnn": rnn_learning_rate}
    results = {
        arm: [accuracies(arm, seed, learning_rate=rate, **options) for seed in range(num_seeds)]
        for arm, rate in rates.items()
    }
    return report(results, symbols)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 10, "symbols": 3, "width": 4})

if __name__ == "__main__":
    main(experiment)

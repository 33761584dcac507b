"""The loss of a transformer falls as a power of its parameters, and small models predict a larger one.

python -m experiments.studies.transformer_scaling

GPT of two layers and several widths reads a synthetic language without end: of each pair of tokens one token follows
with probability 0.8, by a fixed random table, and else any token, by Zipf's law. Rare pairs take parameters to
remember. A power law L = a N^-b + c is fitted to the test losses of all widths but the last, over several seeds; the
last model has about twice the parameters of the largest of them. The claim holds where its mean loss lies in the 95 %
interval of the prediction, and where the loss falls with the size. The same is asked of the tokens read so far, for the
largest model of the fit, and reported beside it. Operations of training are 6 N a token.

Measured over three seeds in 4 minutes of one core: the exponent is 0.72 (0.53 to 0.90), and the held-out model was
predicted at 1.016 nats (0.936 to 1.097) and has 1.048.

References: Kaplan et al. 2020, arXiv:2001.08361; Hoffmann et al. 2022, arXiv:2203.15556.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.diagnostics.scaling_law import PowerLaw, fit_power_law
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Range, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.models.gpt2 import GPT2
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

PARTS = 16
"""Equal parts of the training, after each of which the test loss is measured; the law uses 1, 2, 4, 8 and 16."""


class Language(NamedTuple):
    """A second-order Markov chain.

    Args:
      table: [V, V] int, the token that follows each pair.
      log_zipf: [V], log-probabilities of any token.
      follow: probability that a token is the table's.
    """

    table: jax.Array
    log_zipf: jax.Array
    follow: float = 0.8

    @property
    def entropy(self) -> float:
        """Nats a token of the best model of an infinite size, the mean over next tokens of a Zipf-distributed table."""
        zipf = np.exp(np.asarray(self.log_zipf, np.float64))
        rest = (1 - self.follow) * zipf
        total = -(rest * np.log(rest)).sum()
        named = rest + self.follow
        return float((zipf * (total + rest * np.log(rest) - named * np.log(named))).sum())


def language(vocabulary: int, seed: int = 0) -> Language:
    """Draw a Markov chain over a vocabulary; entries of its table follow Zipf's law, too."""
    zipf = 1 / np.arange(1, vocabulary + 1)
    zipf /= zipf.sum()
    table = np.random.default_rng(seed).choice(vocabulary, (vocabulary, vocabulary), p=zipf)
    return Language(jnp.asarray(table, jnp.int32), jnp.asarray(np.log(zipf), jnp.float32))


def sequences(key: jax.Array, chain: Language, count: int, length: int) -> jax.Array:
    """Draw sequences [count, length] of a language."""

    def one(key):
        start, follow, other = jax.random.split(key, 3)
        first = jax.random.categorical(start, chain.log_zipf, shape=(2,))
        follows = jax.random.bernoulli(follow, chain.follow, (length - 2,))
        distractors = jax.random.categorical(other, chain.log_zipf, shape=(length - 2,))

        def step(pair, x):
            token = jnp.where(x[0], chain.table[pair[0], pair[1]], x[1])
            return (pair[1], token), token

        return jnp.concatenate([first, jax.lax.scan(step, (first[0], first[1]), (follows, distractors))[1]])

    return jax.vmap(one)(jax.random.split(key, count))


def num_parameters(model: GPT2) -> int:
    """Count the parameters of a model."""
    tokens = jax.ShapeDtypeStruct((1, model.window), jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def losses_of(
    model: GPT2, num_seeds: int, chain: Language, *, steps: int, batch_size: int, learning_rate: float
) -> np.ndarray:
    """Train a model from several seeds, and measure its test loss after each part: [num_seeds, PARTS] in nats a token.

    The learning rate is reached after the first 16th of the steps, a multiple of PARTS.
    """
    window = model.window
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.linear_schedule(0.0, learning_rate, max(1, steps // PARTS)))
    )

    def loss(params, tokens):
        # The first two tokens are drawn at random; the rest is what the language says.
        logits = model.apply({"params": params}, tokens)[:, 1:-1]
        return softmax_cross_entropy_loss(logits, tokens[:, 2:]).mean()

    def step(carry, key):
        params, state = carry
        gradients = jax.grad(loss)(params, sequences(key, chain, batch_size, window))
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def run(key):
        start, train, test = jax.random.split(key, 3)
        held_out = sequences(test, chain, 512, window)
        params = model.init(start, held_out[:1])["params"]

        def part(carry, keys):
            carry, _ = jax.lax.scan(step, carry, keys)
            return carry, loss(carry[0], held_out)

        keys = jax.random.split(train, (PARTS, steps // PARTS))
        return jax.lax.scan(part, (params, optimizer.init(params)), keys)[1]

    return np.stack([np.asarray(run(jax.random.key(seed))) for seed in range(num_seeds)])


def predict_last(sizes: np.ndarray, losses: np.ndarray) -> tuple[PowerLaw, tuple[float, float], bool]:
    """Fit the law to losses [K, seeds] of all sizes [K] but the last, and see whether the last is predicted.

    Returns the law, the 95 % interval of the last size, and whether its mean loss lies in it and below that of the
    largest size of the fit.
    """
    law = fit_power_law(np.repeat(sizes[:-1], losses.shape[1]), losses[:-1].reshape(-1))
    low, high = law.interval(sizes[-1])
    mean = losses.mean(1)
    return law, (low, high), bool(low <= mean[-1] <= high and (np.diff(mean) < 0).all())


def draw(sizes, losses, law, tokens, by_tokens, token_law):
    figure, axes = new_figure((8.4, 3.6), columns=2)
    for ax, x, y, fitted, label in (
        (axes[0], sizes, losses, law, "parameters"),
        (axes[1], tokens, by_tokens, token_law, "tokens read"),
    ):
        along = np.geomspace(x[0], x[-1], 60)
        bounds = np.array([fitted.interval(n) for n in along])
        ax.fill_between(along, *bounds.T, color=GRAY, alpha=0.25, lw=0, label="95 % interval")
        ax.plot(along, fitted(along), color=GRAY, lw=1)
        for seed in range(y.shape[1]):
            ax.plot(x[:-1], y[:-1, seed], "o", color=BLUE, ms=4, label=None if seed else "fitted")
            ax.plot(x[-1], y[-1, seed], "o", color=VERMILION, ms=4, label=None if seed else "held out")
        ax.set(xlabel=label, ylabel="test loss, nats a token", xscale="log")
        ax.minorticks_off()
        ax.set_xticks(x, [f"{n / 1000:.0f}k" for n in x])
        ax.grid(alpha=0.25)
        ax.legend(frameon=False, fontsize=8)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    widths: tuple[PositiveInt, ...] = (8, 12, 16, 22, 32, 46),
    num_layers: PositiveInt = 2,
    vocabulary: Annotated[int, Range(3)] = 32,
    window: Annotated[int, Range(4)] = 32,
    steps: Annotated[int, Range(16)] = 1200,
    batch_size: PositiveInt = 32,
    learning_rate: NonNegativeFloat = 3e-3,
) -> StudyResult:
    """Train transformers of several widths, and predict the largest.

    Args:
      widths: even, rising; the last is held out.
      num_layers: number of layers of every model.
      vocabulary: tokens of the language.
      window: tokens of a sequence.
      steps: training steps, rounded down to a multiple of 16.
      learning_rate: learning rate of Adam, constant after the warmup.

    Raises:
      ValueError: there are fewer than 4 widths, or 5 for one seed, or one is odd or not above the one before.
    """
    if (len(widths) - 1) * num_seeds < 4 or len(widths) < 4 or any(w % 2 for w in widths) or any(np.diff(widths) <= 0):
        raise ValueError(f"widths={widths}: allowed: 4 or more even numbers, rising; 5 for one seed")
    steps, chain = steps // PARTS * PARTS, language(vocabulary)
    models = [GPT2(vocabulary, window, num_layers=num_layers, num_heads=2, width=width) for width in widths]
    options = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    runs = np.array([losses_of(model, num_seeds, chain, **options) for model in models])  # [widths, seeds, PARTS]
    sizes = np.array([num_parameters(model) for model in models], float)
    law, interval, holds = predict_last(sizes, runs[..., -1])
    read = 2 ** np.arange(PARTS.bit_length())  # parts of the training: 1, 2, 4, 8, 16
    tokens = read * steps // PARTS * batch_size * window
    by_tokens = runs[-2][:, read - 1].T
    token_law, token_interval, token_holds = predict_last(tokens.astype(float), by_tokens)
    mean = runs[-1, :, -1].mean()
    verdict = (
        f"L = {law.a:.3g} N^-{law.b:.2f} + {law.c:.3f}, exponent {law.exponent_interval()[0]:.2f} to "
        f"{law.exponent_interval()[1]:.2f}. A model of {sizes[-1] / sizes[-2]:.1f} times the largest fitted size was "
        f"predicted at {law(sizes[-1]):.3f} nats ({interval[0]:.3f} to {interval[1]:.3f}) and has {mean:.3f}. Twice "
        f"the tokens: predicted {token_law(tokens[-1]):.3f} ({token_interval[0]:.3f} to {token_interval[1]:.3f}), "
        f"measured {by_tokens[-1].mean():.3f}{'' if token_holds else ', outside'}."
    )
    numbers = {f"{n:.0f} parameters: loss": losses for n, losses in zip(sizes, runs[..., -1].tolist(), strict=True)}
    numbers |= {
        "law of parameters: a, b, c": [law.a, law.b, law.c],
        "law of tokens: a, b, c": [token_law.a, token_law.b, token_law.c],
        "loss by tokens": dict(zip(map(str, tokens.tolist()), by_tokens.tolist(), strict=True)),
        "operations of the held-out training": float(6 * sizes[-1] * tokens[-1]),
        "entropy of the language, about": chain.entropy,
    }
    headline = Headline(
        "test loss of the held-out model, nats a token",
        runs[-1, :, -1].tolist(),
        "Zipf chain",
        baseline=(float(runs[-2, :, -1].mean()), "the largest model of the fit", "lower"),
    )
    figures = {"transformer_scaling": draw(sizes, runs[..., -1], law, tokens.astype(float), by_tokens, token_law)}
    return StudyResult(numbers, verdict, figures, holds, headline=headline)


SMOKE = {
    "num_seeds": 2,
    "widths": (2, 4, 8, 16),
    "num_layers": 1,
    "steps": 64,
    "vocabulary": 8,
    "window": 8,
    "batch_size": 8,
}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)

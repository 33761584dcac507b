"""MNIST-1D: ten short curves, padded, moved, sheared and covered with noise; a table of small networks."""

import functools
from collections.abc import Callable

import jax
import numpy as np
import optax
from flax import linen as nn
from scipy.ndimage import gaussian_filter1d

from dlcore.classification import supervised
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.models.mlp import MLP
from dlcore.nn import BidirectionalRecurrent, Conv, Dense
from dlcore.run.fit import fit
from experiments.papers.table import Run, Table
from experiments.papers.training import error

__all__ = ["TABLES", "draw_signal", "mnist_1d"]

CURVES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
"""[10, 12], the curve of each digit."""


def stretch(signal: np.ndarray, length: int) -> np.ndarray:
    """Interpolate a signal linearly to another length."""
    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(signal)), signal)


def draw_signal(curve: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw an example of a digit.

    36 to 60 zeros are appended, and the whole is stretched to 72, scaled by 0.8 to 1.2 and rotated by up to 47; where
    the curve is not, there is smooth noise; then come white noise, a shear, and 40 samples.

    Args:
      curve: [12], which begins and ends at 0.
      rng: random numbers.

    Returns:
      [40].
    """
    padding = rng.integers(36, 61)
    is_curve = stretch(np.append(np.ones(12), np.zeros(padding)), 72) > 0
    signal = stretch(np.append(curve, np.zeros(padding)), 72) * rng.uniform(0.8, 1.2)
    shift = rng.integers(48)
    signal, is_curve = np.roll(signal, shift), np.roll(is_curve, shift)
    smooth_noise = gaussian_filter1d(0.25 * rng.standard_normal(72), 2)
    signal = np.where(is_curve, signal, smooth_noise) + 0.02 * rng.standard_normal(72)
    return stretch(signal - rng.uniform(-0.375, 0.375) * np.linspace(-0.5, 0.5, 72), 40)


@functools.cache
def mnist_1d(seed: int, is_shuffled: bool = False) -> tuple[Source, Source]:
    """Draw 4,000 training and 1,000 test signals: `image` [N, 40, 1] float32, `label` [N] int32.

    Args:
      seed: seed of the signals.
      is_shuffled: whether the 40 samples are in another order, the same for all signals.
    """
    rng = np.random.default_rng(seed)
    curves = (CURVES - CURVES.mean(1, keepdims=True)) / CURVES.std(1, keepdims=True)
    curves = (curves - curves[:, :1]) / 6
    labels = rng.permutation(np.arange(5000) % 10).astype(np.int32)
    signals = np.stack([draw_signal(curves[label], rng) for label in labels])
    signals = (signals - signals.mean()) / signals.std()
    if is_shuffled:
        signals = signals[:, rng.permutation(40)]
    signals = signals.astype(np.float32)[..., None]
    train, test = ({"image": signals[part], "label": labels[part]} for part in (slice(4000), slice(4000, None)))
    return Source(train), Source(test)


class ResidualMLP(nn.Module):
    """Two hidden layers of 100, the second beside a skip."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Classify [B, 40, 1]."""
        hidden = nn.relu(Dense(100)(x.reshape(len(x), -1)))
        return Dense(10)(hidden + nn.relu(Dense(100)(hidden)))


class SmallConvNet(nn.Module):
    """Three convolutions of stride 2 with 25 channels, and a linear layer."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Classify [B, 40, 1]."""
        for size in (5, 3, 3):
            x = nn.relu(Conv(25, (size,), strides=2, padding=1)(x))
        return Dense(10)(x.reshape(len(x), -1))


class SmallGRU(nn.Module):
    """A GRU of 6 units that reads both ways, and a linear layer on its outputs of all times."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Classify [B, 40, 1]."""
        _, outputs = BidirectionalRecurrent(6, "gru")(None, x)
        return Dense(10)(outputs.reshape(len(x), -1))


def network(model: nn.Module, is_shuffled: bool) -> Callable[[int], float]:
    """Train a network for 6,000 steps."""
    learner = supervised.learner(model=model, optimizer=optax.adam(1e-2))

    def measure(seed: int) -> float:
        train_set, test_set = mnist_1d(seed, is_shuffled)
        batches = Pipeline(train_set, 100, shuffle=False)
        state = fit(learner, batches, steps=6000, seed=seed, progress=False).state
        return 100 - error(learner, state, test_set)

    return measure


TABLES = (
    Table(
        key="mnist-1d",
        paper="Greydanus 2020, Scaling down deep learning",
        place="the table of the data set's README",
        source="arXiv 2011.14439; greydanus/mnist1d@7878d960, README",
        setting="4,000 training and 1,000 test signals of 40 samples; Adam 0.01, batch 100 in order, 6,000 steps; "
        "shuffled: the 40 samples in one other order.",
        metric="test accuracy, %",
        better="higher",
        margin=3.0,
        runs=tuple(
            Run(f"{name}{suffix}", network(model, is_shuffled), accuracy, seeds=(0,))
            for suffix, is_shuffled in (("", False), (", shuffled", True))
            for name, model, accuracy in (
                ("logistic regression", MLP(hidden=()), 32.0),
                ("MLP", ResidualMLP(), 68.0),
                ("CNN", SmallConvNet(), 56.0 if is_shuffled else 94.0),
                ("GRU", SmallGRU(), 57.0 if is_shuffled else 91.0),
            )
        ),
        differs="The signals are drawn by a program of our own, from the same distributions; each seed draws its own.",
        verdict="Logistic regression and the CNN are where the table has them, in both orders. The MLP and the GRU "
        "are 2 to 6 points below it; beside the repository's newest notebook (MLP 65.1, GRU 89.1; shuffled "
        "66.0 and 53.3) they are within 2.",
    ),
)

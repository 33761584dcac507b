"""MNIST-1D's signals: their parts by hand, and the number of parameters of its networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.papers import mnist_1d as page


class Middle(np.random.Generator):
    """Random numbers in the middle of their range, and no noise."""

    def integers(self, low, high=None):
        return low if high else 0

    def uniform(self, low, high):
        return (low + high) / 2

    def standard_normal(self, size):
        return np.zeros(size)


def test_a_signal_without_noise_is_the_stretched_curve_and_zeros():
    signal = page.draw_signal(
        np.ones(12), Middle(np.random.PCG64(0))
    )  # 12 ones and 36 zeros, of which 40 samples are read
    position = np.linspace(0, 47, 40)
    np.testing.assert_allclose(signal[position < 10], 1.0, atol=1e-12)
    np.testing.assert_allclose(signal[position > 13], 0.0, atol=1e-12)


def test_each_digit_is_there_as_often_and_signals_have_unit_deviation():
    train, test = page.mnist_1d(0)
    assert (len(train), len(test)) == (4000, 1000)
    signals = np.concatenate([train.arrays["image"], test.arrays["image"]])
    labels = np.concatenate([train.arrays["label"], test.arrays["label"]])
    assert np.bincount(labels).tolist() == [500] * 10
    assert signals.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("model", "parameters"), [(page.ResidualMLP(), 15_210), (page.SmallConvNet(), 5_210), (page.SmallGRU(), 5_134)]
)
def test_networks_have_the_papers_number_of_parameters(model, parameters):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 40, 1)), False))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == parameters

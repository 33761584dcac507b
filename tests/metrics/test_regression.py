"""The root of a mean over all parts, not a mean of roots."""

import jax.numpy as jnp
import pytest

from dlcore.metrics.regression import RootMeanSquare


def test_parts_are_joined_before_the_root_is_taken():
    first = RootMeanSquare.of(jnp.array([9.0, 1.0, 100.0]), jnp.array([1, 1, 0]))
    second = RootMeanSquare.of(jnp.array([[2.0, 12.0]]))
    assert first.compute() == pytest.approx(5**0.5)
    assert first.merge(second).compute() == pytest.approx(6**0.5)  # (9 + 1 + 2 + 12) / 4
    assert first.empty().compute() is None

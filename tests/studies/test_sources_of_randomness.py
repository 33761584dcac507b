"""Each source of randomness changes what it is named after, and has a spread."""

import jax
import numpy as np
import pytest

from experiments.studies import sources_of_randomness as study


@pytest.mark.weekly
def test_each_seed_is_that_of_its_source():
    _, same = study.train(0, 0, 0, 2)
    for seeds in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        _, other = study.train(*seeds, 2)
        assert any(not np.array_equal(a, b) for a, b in zip(same, other, strict=True)), seeds
    _, again = study.train(0, 0, 0, 2)
    jax.tree.map(np.testing.assert_array_equal, same, again)


@pytest.mark.weekly
def test_a_spread_is_the_standard_deviation_of_its_source():
    """Of two numbers it is their distance over the root of 2."""
    numbers = study.study(num_seeds=2, steps=2).numbers
    for source in study.SOURCES:
        assert numbers[f"std {source}"] == pytest.approx(abs(np.subtract(*numbers[f"accuracy {source}"])) / 2**0.5)

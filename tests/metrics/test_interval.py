"""Half of a 95 % interval, of parts joined in any way, beside NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.metrics.interval import HalfInterval

VALUES = np.array([1.0, 2, 4, 7, 9, 3, 5], np.float32)


def part(values):
    """The metric of values, by NumPy."""
    mean = np.mean(values) if len(values) else 0.0
    return HalfInterval(np.float32(mean), np.float32(((values - mean) ** 2).sum()), np.int32(len(values)))


def half(values):
    return 1.96 * np.std(values, ddof=1) / np.sqrt(len(values))


def test_masked_values_do_not_count():
    metric = HalfInterval.of(jnp.asarray(VALUES), jnp.array([1, 1, 1, 0, 2, 0, 0]))
    expected = part(VALUES[[0, 1, 2, 4]])
    np.testing.assert_allclose([metric.mean, metric.squares], [expected.mean, expected.squares], rtol=1e-6)
    assert metric.count == 4
    assert metric.compute() == pytest.approx(half(VALUES[[0, 1, 2, 4]]))
    with pytest.raises(ValueError, match="mask"):
        HalfInterval.of(jnp.asarray(VALUES), jnp.ones(3))
    one = HalfInterval.of(jnp.asarray(VALUES), jnp.arange(7) == 2)
    assert (float(one.mean), float(one.squares), int(one.count)) == (4, 0, 1)


def test_parts_joined_one_by_one_and_at_once_are_the_whole():
    parts = [part(VALUES[:3]), part(VALUES[:0]), part(VALUES[3:5]), part(VALUES[5:])]
    merged = parts[0]
    for later in parts[1:]:
        merged = merged.merge(later)
    collapsed = HalfInterval(*(np.stack(leaves) for leaves in zip(*map(jax.tree.leaves, parts), strict=True)))
    for metric in (merged, collapsed.collapse()):
        np.testing.assert_allclose([metric.mean, metric.squares], [VALUES.mean(), 7 * VALUES.var()], rtol=1e-6)
        assert metric.count == 7
        assert metric.compute() == pytest.approx(half(VALUES))


def test_fewer_than_two_values_have_no_interval():
    assert part(VALUES[:1]).compute() is None
    assert part(VALUES[:2]).compute() == pytest.approx(1.96 * 0.5)  # s^2 = 0.5, of which sqrt(0.5 / 2) is 0.5
    empty = part(VALUES[:0])
    for metric in (empty.merge(empty), HalfInterval(np.zeros(2), np.zeros(2), np.zeros(2, int)).collapse()):
        assert [metric.mean, metric.squares, metric.count] == [0, 0, 0]

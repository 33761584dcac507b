"""Scores of attribution maps, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.interpretability.scores import (
    area_under_curve,
    box_of_map,
    deletion_insertion,
    pointing_game,
    rank_correlation,
)


def test_the_largest_value_points():
    maps = np.array([[[0, 3], [1, 2]], [[0, 3], [4, 2]], [[5, 5], [0, 0]]])
    masks = np.array([[[0, 1], [0, 0]], [[0, 1], [0, 1]], [[0, 1], [0, 0]]], bool)
    assert pointing_game(maps, masks).tolist() == [True, False, False]


def test_the_box_is_around_the_largest_part_above_a_share_of_the_maximum():
    values = np.zeros((6, 8))
    values[1, 1] = 10.0  # the maximum stands alone
    values[3:5, 4:7] = 2.5
    values[4, 7] = 1.5
    assert box_of_map(values, 0.2).tolist() == [4, 3, 7, 5]
    assert box_of_map(values, 0.1).tolist() == [4, 3, 8, 5]
    assert box_of_map(values, 0.5).tolist() == [1, 1, 2, 2]
    assert box_of_map(-values).tolist() == [0, 0, 8, 6]


def test_deletion_and_insertion_follow_the_order_of_the_map():
    """Pixels 1, 2, 4, 8; the map ranks 8, then 1, then the others: deletion leaves 15, 7, 6, 4, 0."""

    def score(x):
        return jnp.stack([0 * x.sum((1, 2, 3)), x.sum((1, 2, 3))], -1)

    image = jnp.array([1.0, 2, 4, 8]).reshape(1, 2, 2, 1)
    order = jnp.array([[[3.0, 1.0], [1.0, 9.0]]])
    deletion, insertion = deletion_insertion(score, image, order, jnp.array([1]), steps=4)
    assert deletion.tolist() == [[15, 7, 6, 4, 0]]
    assert insertion.tolist() == [[0, 8, 9, 11, 15]]
    # Halves: trapezoids (7.5 + 7 + 6 + 4 + 0) / 4
    assert area_under_curve(deletion).tolist() == [(7.5 + 7 + 6 + 4) / 4]
    deletion, insertion = deletion_insertion(score, image, order, jnp.array([1]), steps=2, baseline=1.0)
    assert deletion.tolist() == [[15, 8, 4]]
    assert insertion.tolist() == [[4, 11, 15]]
    all_at_once = jax.eval_shape(lambda x: deletion_insertion(score, x, order, jnp.array([1]), steps=1), image)
    assert [curve.shape for curve in all_at_once] == [(1, 2), (1, 2)]


def test_rank_correlation_sees_order_only():
    a = np.array([[[1.0, 2], [3, 4]]])
    assert rank_correlation(a, np.exp(a)).tolist() == pytest.approx([1])
    assert rank_correlation(a, -a).tolist() == pytest.approx([-1])
    # Ranks 2 1 3 4: 1 - 6 (1 + 1) / (4 * 15) = .8
    assert rank_correlation(a, np.array([[[5.0, 2], [8, 9]]])).tolist() == pytest.approx([0.8])


def test_many_steps_of_a_large_image_cover_all_of_it():
    """256 x 256 pixels in 2 ** 15 steps (a product of 2 ** 31): two pixels a step, first the darkest of the map."""
    score = lambda x: x.mean((1, 2))  # noqa: E731
    maps = -jnp.arange(2.0**16).reshape(1, 256, 256)
    program = jax.make_jaxpr(lambda x: deletion_insertion(score, x, maps, np.array([0]), steps=2**15))(
        jnp.ones((1, 256, 256, 1))
    )
    (numbers,) = [c for c in program.consts if np.shape(c) == (2**15 + 1,)]
    np.testing.assert_array_equal(numbers, 2 * np.arange(2**15 + 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_bytes_are_covered_by_fractions_and_large_numbers(dtype):
    """Four pixels of 2, 4, 6 and 8, the last first, behind 0.5 or 300; the map may be unsigned."""
    images = np.array([2, 4, 6, 8], dtype).reshape(1, 2, 2, 1)
    maps = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    for baseline in (0.5, 300):
        deletion, insertion = deletion_insertion(
            lambda x: x.sum((1, 2)), images, maps, np.array([0]), steps=4, baseline=baseline
        )
        b = baseline
        np.testing.assert_allclose(deletion, [[20, 12 + b, 6 + 2 * b, 2 + 3 * b, 4 * b]], rtol=1e-6)
        np.testing.assert_allclose(insertion, [[4 * b, 8 + 3 * b, 14 + 2 * b, 18 + b, 20]], rtol=1e-6)

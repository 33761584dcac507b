"""Masks of clips: tubes through all times, sizes in range, and masks that would cover all or nothing."""

import jax
import numpy as np
import pytest

from dlcore.self_supervised.patch_masks import block_shapes
from dlcore.self_supervised.tube_masks import block_tubes, tube_noise


@pytest.mark.covers("VD-21")
def test_tubes_are_the_same_at_all_times_and_never_all_nor_none():
    """Of 6 x 6 places 10 to 15 % are 3.6 to 5.4, with an aspect of 0.75 to 1.5: 2 x 2. Five of them hide 4 to 20."""
    assert block_shapes((6, 6), (0.1, 0.15), (0.75, 1.5)).tolist() == [[2, 2]]
    draw = jax.jit(jax.vmap(lambda key: block_tubes(key, (3, 6, 6), 5, (0.1, 0.15))))
    masks = np.asarray(draw(jax.random.split(jax.random.key(0), 200))).reshape(200, 3, 36)
    np.testing.assert_array_equal(masks[:, 0], masks[:, 1])
    np.testing.assert_array_equal(masks[:, 0], masks[:, 2])
    counts = masks[:, 0].sum(1)
    assert counts.min() >= 4
    assert counts.max() <= 20
    assert len(np.unique(masks, axis=0)) > 190
    assert masks.any((0, 1)).all(), "every place is hidden at some time"


@pytest.mark.slow
@pytest.mark.covers("VD-21")
def test_blocks_that_would_hide_the_last_place_are_left_out():
    """Each of four blocks is a column of 4 x 2 places: where both columns are drawn, the later one must be left out."""
    draw = jax.jit(jax.vmap(lambda key: block_tubes(key, (3, 4, 2), 4, (0.5, 0.5), (4, 4))))
    masks = np.asarray(draw(jax.random.split(jax.random.key(0), 50)))
    assert {tuple(mask) for mask in masks.astype(int).tolist()} == {(1, 0) * 12, (0, 1) * 12}


@pytest.mark.covers("VD-21")
def test_noise_ranks_whole_tubes():
    noise = np.asarray(tube_noise(jax.random.key(0), (3, 2, 4))).reshape(3, 8)
    np.testing.assert_array_equal(noise, noise[:1].repeat(3, 0))
    assert len(np.unique(noise[0])) == 8


def test_masks_that_cover_all_or_nothing():
    with pytest.raises(ValueError, match=r"scale=\(0\.9, 1\.0\): a block can cover all 4x4 places; allowed: smaller"):
        block_tubes(jax.random.key(0), (2, 4, 4), 2, (0.9, 1.0))

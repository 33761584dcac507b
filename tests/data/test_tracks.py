"""Tracks and depths: the noise, the laws of motion, and what does not change with the number of rows."""

import numpy as np
import pytest

from dlcore.data.tracks import DRIFT, noisy_depths, tracks


@pytest.mark.covers("SQ-17")
@pytest.mark.parametrize("maneuvering", [False, True])
def test_the_noise_has_a_deviation_of_one(maneuvering):
    arrays = tracks(200, 0, 20, maneuvering).arrays
    error = arrays["observation"].astype(np.float64) - arrays["position"]
    assert np.sqrt(np.square(error).mean()) == pytest.approx(1, abs=0.03)  # 8,000 numbers: +-.008
    assert abs(error.mean()) < 0.05


@pytest.mark.covers("SQ-18")
def test_a_straight_track_drifts_as_the_model_says():
    """p'' = v' - v + (q w' - q w) / 2 = q (w_t + w_(t+1)) / 2: a variance of q^2 / 2."""
    position = tracks(300, 1, 20).arrays["position"].astype(np.float64)
    assert (tracks(1).name, tracks(1, maneuvering=True).name) == ("straight tracks", "maneuvering tracks")
    second = np.diff(position, n=2, axis=1)
    assert second.var() == pytest.approx(DRIFT**2 / 2, rel=0.05)


@pytest.mark.covers("SQ-17")
def test_a_maneuvering_target_turns_at_one_of_three_rates():
    position = tracks(50, 2, 40, maneuvering=True).arrays["position"].astype(np.float64)
    step = np.diff(position, axis=1)
    heading = np.unwrap(np.arctan2(step[..., 1], step[..., 0]), axis=1)
    turn = np.diff(heading, axis=1).ravel()
    nearest = np.abs(turn[:, None] - np.array([-0.35, 0, 0.35])).argmin(1)
    assert np.bincount(nearest).min() > 0.2 * len(turn)
    # A new angle with a probability of 0.1 is another one in 2 of 3 draws: 130 changes of 1,950, give or take 11.
    assert 90 < np.count_nonzero(np.diff(nearest.reshape(50, -1), axis=1)) < 170
    assert np.abs(np.linalg.norm(step[:, 0], axis=-1) - 3).max() < 0.5


@pytest.mark.covers("SQ-17")
def test_a_box_stays_in_its_range_and_moves_slowly():
    arrays = noisy_depths(100, 0).arrays
    depth = arrays["depth"][..., 0].astype(np.float64)
    assert depth.min() >= 1
    assert depth.max() <= 5
    assert np.abs(np.diff(depth, axis=1)).max() <= 0.08 + 1e-5
    assert (arrays["seen"][..., 0] - depth).std() == pytest.approx(0.25, abs=0.01)


def test_a_row_depends_on_seed_and_index_alone():
    for make, name in ((tracks, "observation"), (noisy_depths, "seen")):
        few, many = make(2, 5, 6).arrays[name], make(4, 5, 6).arrays[name]
        np.testing.assert_array_equal(few, many[:2])
        assert (few != make(2, 6, 6).arrays[name]).any()
        with pytest.raises(ValueError, match="count=0: out of range"):
            make(0, 0, 6)

"""What comes back of eight ways down and up, by hand."""

import jax
import numpy as np
import pytest

from experiments.studies import poolings as study


@pytest.fixture(scope="module")
def back():
    """Of rows 1 2 5 6 / 4 3 8 7, twice, the second time 10 higher."""
    rows = np.array([[1, 2, 5, 6], [4, 3, 8, 7]], np.float32)
    image = np.concatenate([rows, rows + 10])[None, :, :, None]
    found = jax.jit(study.round_trips)(image, jax.random.key(0))
    return image[0, :, :, 0], {name: np.asarray(x)[0, :, :, 0] for name, x in found.items()}


def repeated(values):
    return np.array(values).repeat(2, 0).repeat(2, 1)


def test_each_way_down_and_up_by_hand(back):
    image, found = back
    largest, mean = repeated([[4, 8], [14, 18]]), repeated([[2.5, 6.5], [12.5, 16.5]])
    for name, want in {
        "average, nearest": mean,
        "adaptive average, nearest": mean,
        "maximum, nearest": largest,
        "adaptive maximum, nearest": largest,
        "maximum, max unpooling": np.where(image == largest, image, 0),
        "maximum, bed of nails": np.where([[1, 0, 1, 0], [0] * 4] * 2, largest, 0),
        "pixel unshuffle, shuffle": image,
    }.items():
        np.testing.assert_allclose(found[name], want, err_msg=name)
    assert len(found) == 8
    # Fractional windows are of 1 or 2 pixels; here 4 to 2 leaves the last maximum, and only pixels of the image.
    fractional = found["fractional maximum, nearest"]
    assert fractional[-1, -1] == 18
    assert set(fractional.ravel().tolist()) <= set(image.ravel().tolist())

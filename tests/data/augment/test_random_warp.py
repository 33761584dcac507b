"""Random maps by where they take a point, with every number at three quarters of its range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.augment.random_warp import random_lens, random_perspective, random_warp, warp_augmentation
from dlcore.data.augment.warp import affine_warp, flip_warp, lens_warp, perspective_warp, warp_points

SIZE = (8, 12)
POINTS = jnp.float32([[1.0, 2.0], [9.0, 3.0], [5.0, 7.0]])


@pytest.fixture(autouse=True)
def three_quarters(monkeypatch):
    def uniform(key, shape=(), minval=0.0, maxval=1.0):
        return jnp.broadcast_to(minval + 0.75 * (maxval - minval), shape)

    monkeypatch.setattr(jax.random, "uniform", uniform)
    monkeypatch.setattr(jax.random, "bernoulli", lambda key, p: jnp.array(p > 0.5))


def taken(warp):
    return np.asarray(warp_points(POINTS, warp))


CASES = {
    # Half of the largest angle, move and shear; factors at 3/4 of the logarithm: 1 * 16^(3/4) = 8.
    "degrees": ({"degrees": 40.0}, lambda: affine_warp(SIZE, 20.0)),
    "translate": ({"translate": 0.5}, lambda: affine_warp(SIZE, 0.0, (0.25 * 12, 0.25 * 8))),
    "scale": ({"scale": (1.0, 16.0)}, lambda: affine_warp(SIZE, 0.0, (0, 0), (8.0, 8.0))),
    # 16^(1/2 / 2) = 2 times wider, 2 times lower.
    "stretch": ({"stretch": 16.0}, lambda: affine_warp(SIZE, 0.0, (0, 0), (2.0, 0.5))),
    "shear": ({"shear": 20.0}, lambda: affine_warp(SIZE, shear=(10.0, 10.0))),
    "flip": ({"flip": 0.6}, lambda: flip_warp(SIZE, True)),
    "no flip": ({"flip": 0.4}, lambda: affine_warp(SIZE)),
    # Corners move inward by 0.75 * 0.4 / 2 = 0.15 of each side: 1.8 and 1.2 pixels.
    "perspective": (
        {"perspective": 0.4},
        lambda: perspective_warp(
            jnp.float32([[0, 0], [12, 0], [12, 8], [0, 8]]),
            jnp.float32([[1.8, 1.2], [10.2, 1.2], [10.2, 6.8], [1.8, 6.8]]),
        ),
    ),
    "lens": ({"lens": 0.2}, lambda: lens_warp(SIZE, 0.1)),
}


@pytest.mark.parametrize("name", CASES)
def test_one_number_at_a_time(name):
    settings, expected = CASES[name]
    warp = random_warp(**settings)(jax.random.key(0), SIZE)
    np.testing.assert_allclose(taken(warp), taken(expected()), rtol=1e-4, atol=1e-4)


def test_short_names():
    for draw, name in ((random_perspective(0.4), "perspective"), (random_lens(0.2), "lens")):
        np.testing.assert_allclose(taken(draw(jax.random.key(0), SIZE)), taken(CASES[name][1]()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"stretch": 0.9}, r"stretch=0.9: out of range; allowed: at least 1"),
    ],
)
def test_numbers_out_of_range_are_named(settings, problem):
    with pytest.raises(ValueError, match=problem):
        random_warp(**settings)


def test_an_image_is_warped_by_what_is_drawn():
    """Mirrored, and moved by half of 1/3 of 18 pixels to the right and of 12 down: by 3 and 2."""
    image = np.arange(216, dtype=np.float32).reshape(12, 18, 1)
    move = warp_augmentation(random_warp(flip=0.6, translate=1 / 3), "nearest", 7.0)
    moved = jax.jit(move)(jax.random.key(0), image)
    np.testing.assert_array_equal(moved[2:, 3:], image[:, ::-1][:-2, :-3])
    assert (moved[:2] == 7).all()
    assert (moved[:, :3] == 7).all()

"""DeepDream: its gradient beside PyTorch's, steps that rise, and octaves by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.interpretability.deep_dream import ascend, deep_dream, octave_sizes, squared_norm


@pytest.mark.weekly
@pytest.mark.covers("VI-14")
def test_of_a_resnet18_the_gradient_is_that_of_torch(resnet18):
    def norm(x):
        return squared_norm(resnet18.model.apply(resnet18.variables, x, method="features")["layer4"])

    resnet18.check("dream", jax.jit(jax.grad(norm))(resnet18.images))


@pytest.mark.covers("VI-14")
def test_a_step_by_hand_and_one_that_is_left_out():
    """F = mean (2x - 1)^2 of pixels .75, .5: 1/2 (.25 + 0); g = (2 .5, 0), |g| mean .5: the first moves by 2 s."""
    image = jnp.array([0.75, 0.5]).reshape(1, 2, 1)
    moved, values = ascend(
        lambda x: squared_norm(2 * x - 1), image, jax.random.key(0), steps=1, step_size=0.05, jitter=0
    )
    np.testing.assert_allclose(moved.ravel(), [0.85, 0.5], atol=1e-6)
    np.testing.assert_allclose(values, [[0.125, 0.245]], atol=1e-6)
    # A peak at .8: a step of .1 would pass it, .05 reaches it, and no later one is taken.
    peaked = lambda x: -jnp.abs(x[0, 0, 0] - 0.8)  # noqa: E731
    moved, values = ascend(peaked, image, jax.random.key(0), steps=6, step_size=0.1, jitter=0)
    np.testing.assert_allclose(moved[0, 0, 0], 0.8, atol=0.01)
    assert (values[:, 1] >= values[:, 0]).all()
    assert (values[0, 1] == values[0, 0]).all()


@pytest.mark.weekly
@pytest.mark.covers("VI-14")
def test_the_norm_rises_at_every_step_and_pixels_stay_in_their_range():
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))

    def norm(image):
        x = jax.lax.conv_general_dilated(
            image[None] - 0.5, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return squared_norm(jax.nn.relu(x))

    image = jax.random.uniform(jax.random.key(2), (45, 50, 3))
    dreamt, values = deep_dream(norm, image, jax.random.key(0), octaves=3, steps=5, jitter=2)
    chex.assert_equal_shape([dreamt, image])
    assert 0 <= dreamt.min() <= dreamt.max() <= 1
    assert len(values) == 2, "32 x 36 and 45 x 50; 23 x 26 is too small"
    for risen in values:
        assert (risen[:, 1] > risen[:, 0]).all()
    assert norm(dreamt) > 1.5 * norm(image)
    flat = deep_dream(lambda x: 0 * x.sum(), image, jax.random.key(0), octaves=3, steps=1)[0]
    np.testing.assert_allclose(flat, image, atol=1e-6, err_msg="what a copy gained is carried over, not the copy")
    again = deep_dream(norm, image, jax.random.key(0), octaves=3, steps=5, jitter=2)[0]
    np.testing.assert_array_equal(again, dreamt)
    assert (deep_dream(norm, image, jax.random.key(1), octaves=3, steps=5, jitter=2)[0] != dreamt).any(), "the shifts"


def test_gains_of_an_octave_are_carried_to_the_next_one():
    """A gray image of 64 x 80, and half of it: the mean rises by the size of a step where all pixels do.

    Two steps of .05 up from .5 at 32 x 40 are .6, two more at 64 x 80 are .7, at the values .5 .55 .6 and .6 .65 .7.
    """
    image, settings = np.full((64, 80, 1), 0.5, np.float32), {"steps": 2, "step_size": 0.05, "jitter": 2}
    run = jax.jit(lambda: deep_dream(jnp.mean, image, jax.random.key(0), octaves=2, scale=2.0, **settings))
    dreamt, values = run()
    np.testing.assert_allclose(dreamt, np.full((64, 80, 1), 0.7), atol=1e-5)
    np.testing.assert_allclose(values, [[[0.5, 0.55], [0.55, 0.6]], [[0.6, 0.65], [0.65, 0.7]]], atol=1e-5)


def test_shifts_are_taken_back():
    """An objective of one pixel's neighborhood moves no other pixel, whatever the shift, of -2 to 2 along each side."""
    marked = np.full((7, 6, 1), 0.5, np.float32)
    marked[2, 4] = 0.9
    seen = []

    def bright(x):
        jax.debug.callback(lambda x: seen.append(tuple(np.unravel_index(x[..., 0].argmax(), x.shape[:2]))), x)
        return (x * (x > 0.8)).sum()

    climb = jax.jit(lambda key: ascend(bright, marked, key, steps=1, step_size=1e-4, jitter=2)[0])
    for seed in range(30):
        assert np.argwhere(np.abs(climb(jax.random.key(seed)) - marked)[..., 0] > 1e-6).tolist() == [[2, 4]]
    jax.effects_barrier()
    assert {row for row, _ in seen} == {0, 1, 2, 3, 4}
    assert {column for _, column in seen} == {2, 3, 4, 5, 0}


def test_octaves():
    assert octave_sizes((64, 128), 3, 2.0, smallest=16) == [(16, 32), (32, 64), (64, 128)]
    assert octave_sizes((64, 128), 3, 2.0) == [(32, 64), (64, 128)]
    assert octave_sizes((20, 20), 3, 2.0) == [(20, 20)]
    assert octave_sizes((64, 64), 1, 1.4) == [(64, 64)]
    with pytest.raises(ValueError, match=r"octaves=0, scale=1\.4"):
        octave_sizes((64, 64), 0, 1.4)

"""Directions have the filters' lengths, and the surface of a quadratic is the one that algebra gives."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.diagnostics.loss_landscape import filter_normalized_direction, loss_surface

pytestmark = pytest.mark.covers("ZO-12")


@pytest.mark.covers("TR-22")
def test_every_filter_keeps_its_length_and_vectors_do_not_move():
    params = {"kernel": jax.random.normal(jax.random.key(0), (3, 3, 2, 5)) * jnp.arange(1.0, 6), "bias": jnp.ones(5)}
    direction = filter_normalized_direction(jax.random.key(1), params)
    lengths = [jnp.sqrt(jnp.square(tree["kernel"]).sum((0, 1, 2))) for tree in (params, direction)]
    np.testing.assert_allclose(*lengths, rtol=1e-5)
    assert jnp.abs(direction["kernel"] - params["kernel"]).max() > 0.1
    np.testing.assert_array_equal(direction["bias"], 0)
    other = filter_normalized_direction(jax.random.key(2), params)
    assert jnp.abs(direction["kernel"] - other["kernel"]).max() > 0.1


@pytest.mark.covers("TR-22")
def test_the_surface_of_a_quadratic():
    params, d, e = jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]), jnp.array([0.0, -1.0])
    found = loss_surface(lambda w: w @ w, params, (d, e), jnp.array([-1.0, 0.0, 2.0]))
    # |(1 + a, 2 - b)|^2 with a down the rows and b along the columns
    np.testing.assert_allclose(found, [[9, 4, 0], [10, 5, 1], [18, 13, 9]])


@pytest.mark.slow
@pytest.mark.covers("TR-22")
def test_the_center_is_the_loss_of_the_trained_parameters():
    """Least squares, solved: the plane along normalized directions is lowest at its center, with the loss itself."""
    x, y = (jax.random.normal(jax.random.key(k), (30, size)) for k, size in ((0, 4), (1, 3)))
    trained = {"kernel": jnp.linalg.lstsq(x, y)[0], "bias": jnp.zeros(3)}

    def loss(params):
        return jnp.square(x @ params["kernel"] + params["bias"] - y).mean()

    directions = tuple(filter_normalized_direction(jax.random.key(k), trained) for k in (2, 3))
    surface = loss_surface(loss, trained, directions, jnp.linspace(-1, 1, 5))
    chex.assert_shape(surface, (5, 5))
    assert float(surface[2, 2]) == pytest.approx(float(loss(trained)), rel=1e-6)
    assert surface.argmin() == 12  # the middle of 25


def test_it_does_not_see_the_scale_of_weights_before_a_normalization():
    w, x = jax.random.normal(jax.random.key(0), (4, 3)), jax.random.normal(jax.random.key(1), (20, 4))

    def loss(w):
        y = x @ w
        return jnp.tanh((y - y.mean(0)) / y.std(0)).sum()

    def surface(w):
        directions = tuple(filter_normalized_direction(jax.random.key(k), w) for k in (2, 3))
        return loss_surface(loss, w, directions, jnp.linspace(-1, 1, 5))

    np.testing.assert_allclose(surface(w), surface(100 * w), atol=1e-3)

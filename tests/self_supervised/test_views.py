"""Two views a key, and a measure that leaves padding out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.self_supervised.views import alignment, multi_crops, two_views


@pytest.mark.slow
def test_views_differ_and_depend_on_the_key_alone():
    images = np.full((3, 2, 2, 1), 51, np.uint8)  # 0.2
    keys = jax.random.split(jax.random.key(0), 3)

    def augment(key, image):
        return image + jax.random.uniform(key)

    first, second = two_views(augment, lambda x: 10 * x, keys, images)
    drawn = [[0.2 + jax.random.uniform(jax.random.fold_in(k, v)) for k in keys] for v in (0, 1)]
    np.testing.assert_allclose(first[:, 0, 0, 0], 10 * jnp.array(drawn[0]), rtol=1e-6)
    np.testing.assert_allclose(second[:, 0, 0, 0], 10 * jnp.array(drawn[1]), rtol=1e-6)
    alone = two_views(augment, lambda x: 10 * x, keys[1:2], images[1:2])[0]
    np.testing.assert_array_equal(alone[0], first[1])


def test_crops_of_two_sizes_are_drawn_under_keys_of_their_own():
    batch = {"image": np.full((3, 4, 4, 1), 0.5, np.float32), "index": np.arange(3)}

    def augment(key, image):
        return image + jax.random.uniform(key)

    large, small = multi_crops(augment, lambda key, image: augment(key, image[:2, :2]), 3, batch, jax.random.key(0))
    assert (large.shape, small.shape) == ((2, 3, 4, 4, 1), (3, 3, 2, 2, 1))
    assert len(np.unique([*np.ravel(large[:, :, 0, 0]), *np.ravel(small[:, :, 0, 0])])) == 15
    (alone,) = multi_crops(augment, augment, 0, batch, jax.random.key(0))
    np.testing.assert_array_equal(alone, large)


def test_alignment_by_hand_without_the_padding():
    a = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    b = jnp.array([[0.0, 1.0], [-1.0, 0.0], [5.0, 5.0]])
    metrics = alignment(a, b, jnp.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(metrics["alignment"].compute(), 1.0, rtol=1e-6)  # (2 + 0) / 2

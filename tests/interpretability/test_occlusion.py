"""Occlusion: windows by hand, and a ResNet-18 beside PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.interpretability.occlusion import occlusion_grid, occlusion_map, window_starts


def total(x):
    """Scores [B, 2]: the sum of the image, and its negative."""
    value = x.sum((1, 2, 3))
    return jnp.stack([value, -value], -1)


IMAGE = jnp.arange(12.0).reshape(1, 3, 4, 1)


@pytest.mark.parametrize(
    ("settings", "starts"),
    [((8, 2, 2), [0, 2, 4, 6]), ((8, 3, 3), [0, 3, 5]), ((5, 5, 1), [0]), ((7, 2, 4), [0, 4, 5])],
)
def test_windows_reach_both_borders(settings, starts):
    assert window_starts(*settings).tolist() == starts


@pytest.mark.covers("VI-05")
def test_the_fall_of_a_sum_is_the_covered_sum():
    """Windows of 2 x 2 at (0, 0), (0, 2), (1, 0), (1, 2): 0 + 1 + 4 + 5 = 10, 2 + 3 + 6 + 7 = 18, 26, 34."""
    grid = occlusion_grid(total, IMAGE, jnp.array([0]), window=2, stride=2, chunk=3)
    assert grid.tolist() == [[[10, 18], [26, 34]]]
    against = occlusion_grid(total, IMAGE, jnp.array([1]), window=2, stride=2)
    assert against.tolist() == [[[-10, -18], [-26, -34]]]
    # Covered by 1 in place of 0, four pixels keep 1 each.
    assert occlusion_grid(total, IMAGE, window=2, stride=2, value=1.0).tolist() == [[[6, 14], [22, 30]]]


@pytest.mark.covers("VI-05")
def test_a_pixel_gets_the_mean_over_the_windows_that_cover_it():
    got = occlusion_map(total, IMAGE, window=2, stride=2)
    assert got.tolist() == [[[10, 10, 18, 18], [18, 18, 26, 26], [26, 26, 34, 34]]]
    apart = occlusion_map(total, IMAGE[:, :1], window=1, stride=3)
    assert apart.tolist() == [[[0, 0, 0, 3]]]


@pytest.mark.weekly
@pytest.mark.covers("VI-05")
def test_of_a_resnet18_it_is_that_of_torch(resnet18):
    def after(x):
        whole = resnet18.score(x)[:, resnet18.labels[0]]
        grid = occlusion_grid(resnet18.score, x, resnet18.labels, window=16, stride=16)
        return whole[:, None, None] - grid

    resnet18.check("occlusion", jax.jit(after)(resnet18.images))


def test_images_are_explained_one_by_one():
    both = jnp.concatenate([IMAGE, 2 * IMAGE])
    got = occlusion_map(total, both, window=2, stride=1)
    np.testing.assert_allclose(got[1], 2 * occlusion_map(total, IMAGE, window=2, stride=1)[0])


@pytest.mark.parametrize("settings", [{"window": 5}, {"window": 0}, {"window": 2, "stride": 0}])
def test_windows_that_do_not_fit_are_named(settings):
    with pytest.raises(ValueError, match=r"do not fit a side of 3 pixels; allowed: 1 <= window <= 3"):
        occlusion_grid(total, IMAGE, **settings)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.uint8])
def test_images_of_any_type_fall_as_the_same_floats(dtype):
    """A linear score of whole numbers: the fall of a window is its sum minus 4 times the value that covers it."""
    images = jnp.arange(16).reshape(1, 4, 4, 1).astype(dtype)
    fall = jax.jit(lambda x: occlusion_grid(lambda x: x.sum((1, 2)), x, window=2, stride=2, value=0.5))(images)
    np.testing.assert_allclose(fall, [[[10 - 2, 18 - 2], [42 - 2, 50 - 2]]])

"""The recipes by name: what they accept, keep and change. One jitted program a recipe, on a batch of small images."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.augment.recipes import (
    CLASSIFICATION,
    STRONG,
    VIEWS,
    classification_augmentation,
    contrastive_augmentation,
)

SIDE, COUNT = 12, 64
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def apply(augmentation, image):
    """COUNT results of one image, each under its own key."""
    keys = jax.random.split(jax.random.key(0), COUNT)
    return np.asarray(jax.jit(jax.vmap(augmentation, (0, None)))(keys, image))


def photograph(channels=3):
    return jax.random.uniform(jax.random.key(1), (SIDE, SIDE, channels))


@pytest.mark.slow(only=["affine"])
@pytest.mark.parametrize("name", CLASSIFICATION[1:])
def test_plain_recipes_bring_in_black(name):
    mean, std = jnp.array(MEAN), jnp.array(STD)
    results = apply(classification_augmentation(name, SIDE, MEAN, STD), (photograph() - mean) / std)
    chex.assert_shape(results, (COUNT, SIDE, SIDE, 3))
    pixels = results * STD + MEAN
    assert pixels.min() > -1e-5
    assert pixels.max() < 1 + 1e-5
    assert len(np.unique(results.reshape(COUNT, -1), axis=0)) > 8  # shift: 3 x 3 positions
    if name in ("affine", "shift", "shift_flip"):
        np.testing.assert_allclose(pixels.min((0, 1, 2)), 0, atol=1e-6)


@pytest.mark.slow(unless=["cutout"])
@pytest.mark.parametrize("strong", STRONG)
def test_strong_recipes_follow_a_plain_one(strong):
    assert classification_augmentation("none", SIDE, MEAN, STD) is None
    image = (photograph() - jnp.array(MEAN)) / jnp.array(STD)
    results = apply(classification_augmentation("none", SIDE, MEAN, STD, strong), image)
    pixels = results * STD + MEAN
    assert pixels.min() > -1e-5
    assert pixels.max() < 1 + 1e-5
    if strong == "cutout":
        # A square of half the side is set to 0, the mean.
        np.testing.assert_array_equal((results == 0).all(-1).sum((1, 2)), (SIDE // 2) ** 2)
    else:
        assert (results != np.asarray(image)).any((1, 2, 3)).mean() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", VIEWS)
def test_views_differ_and_keep_shape_and_scale(kind):
    channels = 3 if kind == "color" else 1
    views = apply(contrastive_augmentation(kind), photograph(channels))
    chex.assert_shape(views, (COUNT, SIDE, SIDE, channels))
    assert np.isfinite(views).all()
    assert len(np.unique(views.reshape(COUNT, -1), axis=0)) == COUNT
    if kind != "digit":  # whose noise is not clipped
        assert views.min() >= -1e-6
        assert views.max() <= 1 + 1e-6


def test_a_fifth_of_the_color_views_is_gray():
    views = apply(contrastive_augmentation("color"), photograph())
    # 64 draws with probability 0.2: 12.8, give or take three standard deviations of sqrt(64 * 0.2 * 0.8) = 3.2.
    assert 3 <= (np.ptp(views, axis=-1).max((1, 2)) < 1e-6).sum() <= 23


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="name='flip': unknown; allowed: none, affine"):
        classification_augmentation("flip", SIDE, MEAN, STD)
    with pytest.raises(ValueError, match="strong='mixup': unknown; allowed: None, cutout"):
        classification_augmentation("none", SIDE, MEAN, STD, "mixup")
    with pytest.raises(ValueError, match="kind='sepia': unknown; allowed: digit, gray, color"):
        contrastive_augmentation("sepia")

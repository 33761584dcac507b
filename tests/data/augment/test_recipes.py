"""The recipes by name: what they accept, keep and change. One jitted program a recipe, on a batch of small images."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data import augment
from dlcore.data.augment import jitter, occlusion
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


@pytest.mark.slow(unless=["shift_flip"])
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


@pytest.mark.slow
def test_a_fifth_of_the_color_views_is_gray():
    views = apply(contrastive_augmentation("color"), photograph())
    # 64 draws with probability 0.2: 12.8, give or take three standard deviations of sqrt(64 * 0.2 * 0.8) = 3.2.
    assert 3 <= (np.ptp(views, axis=-1).max((1, 2)) < 1e-6).sum() <= 23


@pytest.fixture
def applied(monkeypatch):
    """Function from an augmentation to the parts that it applies, in order: their names and all their arguments."""
    calls = []

    def replace(module, name):
        signature = inspect.signature(getattr(module, name))

        def make(*args, **kwargs):
            arguments = signature.bind(*args, **kwargs)
            arguments.apply_defaults()
            made = (name, *(getattr(value, "made", value) for value in arguments.arguments.values()))

            def part(key, image):
                calls.append(made)
                return image

            part.made = made
            return part

        monkeypatch.setattr(module, name, make)

    general = ("affine", "shift", "flip", "crop", "resized_crop")
    for name in (*(f"random_{part}" for part in general), "cutout", "rand_augment", "auto_augment"):
        replace(augment, name)
    for name in ("color_jitter", "random_apply", "random_blur", "random_gray"):
        replace(jitter, name)
    for name in ("random_resized_crop", "random_erasing", "gaussian_noise"):
        replace(occlusion, name)

    def parts(augmentation):
        calls.clear()
        augmentation(jax.random.key(0), np.zeros((2, 2, 3), np.float32))
        return list(calls)

    return parts


def test_classification_recipes_have_these_parts(applied):
    """A shift by a 16th of the side, a padding of an eighth, at least a pixel each; the strong parts come last."""
    flip, aspects = ("random_flip", 0.5), (3 / 4, 4 / 3)
    recipe = functools.partial(classification_augmentation, mean=MEAN, std=STD)
    parts = {name: applied(recipe(name, 40)) for name in CLASSIFICATION[1:]}
    assert parts == {
        "affine": [("random_affine", 20, 0.125, (0.8, 1.2), 15)],
        "shift": [("random_shift", 2)],
        "shift_flip": [("random_shift", 2), flip],
        "crop_flip": [("random_crop", 5, "reflect"), flip],
        "resized_crop_flip": [("random_resized_crop", (0.08, 1.0), aspects, None), flip],
    }
    assert applied(recipe("crop_flip", 3)) == [("random_crop", 1, "reflect"), flip]
    assert applied(recipe("shift", 3)) == [("random_shift", 1)]
    strong = {
        "cutout": ("cutout", 20, False, 0.0),
        "rand_augment": ("rand_augment", 2, 9, 31, "nearest", 0.5),
        "auto_augment": ("auto_augment", "cifar10", "nearest", 0.5),
    }
    for name, part in strong.items():
        assert applied(recipe("none", 40, strong=name)) == [part]
        assert applied(recipe("shift", 40, strong=name)) == [("random_shift", 2), part]
    assert applied(recipe("none", 1, strong="cutout")) == [("cutout", 1, False, 0.0)]


def test_views_have_these_parts(applied):
    """The color view is SimCLR's: jitter of (0.4, 0.4, 0.4, 0.1) in 4 of 5, gray in 1 of 5, blur in half."""
    flip, aspects, boxes = ("random_flip", 0.5), (3 / 4, 4 / 3), (0.3, 3.3)
    digit = [
        ("random_affine", 20, 0.15, (0.7, 1.2), 15),
        ("color_jitter", 0.4, 0.0, 0.0, 0.0),
        ("random_erasing", 0.5, (0.02, 0.2), boxes),
        ("gaussian_noise", 0.05),
    ]
    assert applied(contrastive_augmentation("digit")) == digit
    whole = ("random_resized_crop", (1.0, 1.0), aspects, 8)
    assert applied(contrastive_augmentation("digit", side=8)) == [whole, *digit]
    assert applied(contrastive_augmentation("gray")) == [
        ("random_resized_crop", (0.3, 1.0), aspects, None),
        flip,
        ("random_apply", ("color_jitter", 0.6, 0.6, 0.0, 0.0), 0.8),
        ("random_blur", (0.1, 1.5), 0.3, 2),
        ("random_erasing", 0.3, (0.02, 0.2), boxes),
    ]
    color = [
        flip,
        ("random_apply", ("color_jitter", 0.4, 0.4, 0.4, 0.1), 0.8),
        ("random_gray", 0.2),
        ("random_blur", (0.1, 2.0), 0.5, 2),
    ]
    assert applied(contrastive_augmentation("color")) == [("random_resized_crop", (0.2, 1.0), aspects, None), *color]
    small = contrastive_augmentation("color", area=(0.05, 0.4), side=16)
    assert applied(small) == [("random_resized_crop", (0.05, 0.4), aspects, 16), *color]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="strong='mixup': unknown; allowed: None, cutout"):
        classification_augmentation("none", SIDE, MEAN, STD, "mixup")

"""Every deterministic transform against torchvision's, inside jit."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data import augment
from dlcore.data.augment import OPERATIONS, apply_operation

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "tvops_transforms.npz")
IMAGE = jnp.asarray(GOLDEN["data/x"].transpose(1, 2, 0), jnp.float32)
LEVELS = jnp.asarray(GOLDEN["data/u8"].transpose(1, 2, 0))
SIZE = (11, 14)
CORNERS = [[0, 0], [13, 0], [13, 10], [0, 10]]
ENDS = [[1, 2], [12, 0], [13, 8], [0, 10]]


def operation(name, strength, sign=1.0):
    return lambda x: apply_operation(OPERATIONS.index(name), x, strength, sign)


def warp(make, interpolation, fill=None):
    return lambda x: augment.warp_image(x, make(), interpolation, fill)


def turn():
    return augment.affine_warp(SIZE, 30.0)


def affine():
    # torchvision's angle and shear are clockwise.
    return augment.affine_warp(SIZE, -15.0, (2, -1), 1.2, -5.0)


def perspective():
    return augment.perspective_warp(jnp.array(CORNERS), jnp.array(ENDS))


CASES = {
    "adjust_brightness": ("RG-27", lambda x: augment.adjust_brightness(x, 1.4)),
    "adjust_contrast": ("RG-27", lambda x: augment.adjust_contrast(x, 0.6)),
    "adjust_saturation": ("RG-27", lambda x: augment.adjust_saturation(x, 1.7)),
    "adjust_sharpness": ("RG-27", lambda x: augment.adjust_sharpness(x, 2.0)),
    "adjust_gamma": ("RG-16", lambda x: augment.adjust_gamma(x, 0.7)),
    "adjust_hue": ("RG-16", lambda x: augment.adjust_hue(x, 0.2)),
    "rgb_to_grayscale": ("RG-18", augment.gray),
    "posterize": ("RG-27", lambda x: augment.posterize(x, 3)),
    "equalize": ("RG-27", augment.equalize),
    "autocontrast": ("RG-27", augment.autocontrast),
    "invert": ("RG-27", augment.invert),
    "solarize": ("RG-27", lambda x: augment.solarize(x, 0.5)),
    "horizontal_flip": ("RG-15", augment.flip_horizontal),
    "vertical_flip": ("RG-15", augment.flip_vertical),
    "normalize": ("RG-16", lambda x: augment.normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(None, x)),
    "gaussian_blur": ("RG-18", lambda x: augment.gaussian_blur(x, (1.1, 0.8), (2, 1))),
    "rotate.nearest": ("RG-17", warp(turn, "nearest", 0.0)),
    "rotate.bilinear": ("RG-17", warp(turn, "bilinear", 0.0)),
    "affine.nearest": ("RG-17", warp(affine, "nearest")),
    "affine.bilinear": ("RG-17", warp(affine, "bilinear")),
    "perspective.nearest": ("RG-17", warp(perspective, "nearest")),
    "perspective.bilinear": ("RG-17", warp(perspective, "bilinear")),
    "center_crop": ("RG-14", lambda x: augment.center_crop(x, (6, 5))),
    "five_crop": ("RG-14", lambda x: augment.five_crop(x, (5, 6))),
    "resized_crop": ("RG-14", lambda x: augment.resized_crop(x, 1, 2, 7, 6, (9, 8))),
    "resize.antialias": ("RG-14", lambda x: augment.resized_crop(x, 0, 0, 11, 14, (5, 6))),
    "resize.bicubic_antialias": ("RG-14", lambda x: augment.resized_crop(x, 0, 0, 11, 14, (5, 17), "cubic")),
    "pad.reflect": ("RG-14", lambda x: jnp.pad(x, ((1, 0), (2, 3), (0, 0)), "reflect")),
    "erase": ("RG-12", lambda x: augment.erase(x, 2, 3, 4, 5, 0.25)),
}


def present():
    names = json.loads(str(GOLDEN["meta"]))["cases"]
    assert {name.removesuffix(".u8") for name in names} == set(CASES), "every case is compared"
    return [pytest.param(name, marks=pytest.mark.covers(CASES[name.removesuffix(".u8")][0])) for name in names]


@pytest.mark.slow(only=["five_crop"])
@pytest.mark.parametrize("name", present())
def test_equals_torchvision(name):
    levels = name.endswith(".u8")
    out = jax.jit(CASES[name.removesuffix(".u8")][1])(LEVELS if levels else IMAGE)
    want = GOLDEN[f"{name}/out"]
    assert out.dtype == want.dtype
    difference = np.abs(np.moveaxis(np.asarray(out, np.float64), -1, -3) - want).max()
    assert difference <= (1 if levels else 1e-5)


POLICY_CASES = {
    "adjust_sharpness": ("sharpness", 1.0, lambda x: augment.adjust_sharpness(x, 1.9)),
    "brightness": ("brightness", 1 / 3, lambda x: augment.adjust_brightness(x, 1.3)),
    "color": ("color", 2 / 3, lambda x: augment.adjust_saturation(x, 1.6)),
    "contrast": ("contrast", 1 / 3, lambda x: augment.adjust_contrast(x, 1.3)),
    "posterize": ("posterize", 1.0, lambda x: augment.posterize(x, 4)),
    "solarize": ("solarize", 0.25, lambda x: augment.solarize(x, 0.75)),
    "autocontrast": ("autocontrast", 0.3, augment.autocontrast),
    "equalize": ("equalize", 0.3, augment.equalize),
    "invert": ("invert", 0.3, augment.invert),
    "rotate": ("rotate", 1.0, warp(turn, "nearest")),
    "shear_x": (
        "shear_x",
        1.0,
        lambda x: augment.warp_image(
            x, augment.affine_warp(SIZE, shear=-np.rad2deg(np.arctan(0.3)), center=(0.0, 0.0)), "nearest"
        ),
    ),
    "translate_y": ("translate_y", 1.0, lambda x: jnp.pad(x[: 11 - 4], ((4, 0), (0, 0), (0, 0)))),  # 4.98
    "translate_x": ("translate_x", 0.5, lambda x: jnp.pad(x[:, : 14 - 3], ((0, 0), (3, 0), (0, 0)))),  # 3.17
}


@pytest.fixture(scope="module")
def policy_outputs():
    """All cases in one program, as a batch with an operation for each example."""
    places = jnp.array([OPERATIONS.index(name) for name, _, _ in POLICY_CASES.values()])
    strengths = jnp.array([strength for _, strength, _ in POLICY_CASES.values()])
    apply = jax.jit(jax.vmap(apply_operation, (0, None, 0)))
    outputs = {dtype: apply(places, image, strengths) for dtype, image in (("float", IMAGE), ("uint8", LEVELS))}
    return outputs, jax.jit(jax.vmap(apply_operation, (0, None, None)))(jnp.arange(15), IMAGE, 0.0)


@pytest.mark.slow
@pytest.mark.weekly(only=["adjust_sharpness"])
@pytest.mark.covers("RG-27")
@pytest.mark.parametrize("place", range(len(POLICY_CASES)), ids=list(POLICY_CASES))
def test_policy_operations_are_those_transforms(place, policy_outputs):
    want = list(POLICY_CASES.values())[place][2]
    np.testing.assert_allclose(policy_outputs[0]["float"][place], want(IMAGE), atol=1e-5)
    np.testing.assert_allclose(
        np.asarray(policy_outputs[0]["uint8"][place], int), np.asarray(want(LEVELS), int), atol=1
    )


@pytest.mark.slow
@pytest.mark.covers("RG-27")
def test_strength_zero_is_the_identity_for_every_operation(policy_outputs):
    np.testing.assert_array_equal(policy_outputs[1], jnp.broadcast_to(IMAGE, (15, *IMAGE.shape)))

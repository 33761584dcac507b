"""ViTPose against transformers, and sub-pixel maxima of heat maps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.vitpose import ViTPose, dark_keypoints
from dlcore.models import create_model, load_torch
from dlcore.models.stored_counts import stored_models
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule
from tests.wiring import assert_wiring

FIELDS = {"num_keypoints": 5, "image_size": (32, 24), "patch_size": 8, "depth": 2, "width": 32, "num_heads": 4}
FIELDS |= {"mlp_features": 64}


@pytest.mark.slow
def test_vitpose_equals_transformers():
    golden, meta, weights = read_golden("hf_vitpose")
    name = "vitpose_base_simple"
    model, variables = create_model(name, **FIELDS), load_torch(name, weights, **FIELDS)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    check_output(golden, meta, "heatmaps", nchw(jax.jit(model.apply)(variables, x)))


def test_the_classic_decoder_enlarges_fourfold():
    model, x = ViTPose(**FIELDS, simple=False, decoder_features=6), jnp.zeros((1, 32, 24, 3))
    maps, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x))
    chex.assert_shape(maps, (1, 16, 12, 5))
    chex.assert_shape(variables["params"]["keypoint_head_deconv2"]["kernel"], (4, 4, 6, 6))
    with pytest.raises(
        ValueError, match=r"x.shape=\(1, 24, 32, 3\): no positions for it; allowed: images of \(32, 24\)"
    ):
        jax.eval_shape(lambda: model.init(jax.random.key(0), x.transpose(0, 2, 1, 3)))


def gaussian(center, height=9, width=12):
    """A Gaussian of deviations 2 and 1.5 along turned axes, with its maximum at (x, y)."""
    x, y = np.meshgrid(np.arange(width) - center[0], np.arange(height) - center[1])
    return np.exp(-(x**2 / 8 + y**2 / 4.5 + x * y / 10))


def test_the_maximum_of_a_gaussian_is_exact():
    """Its logarithm is a parabola; the first point is nearest to pixel (5, 4), which has the score."""
    centers = np.array([[4.8, 4.3], [6.4, 2.6], [3.0, 5.0]])
    maps = np.stack([gaussian(center) for center in centers], -1)[None].astype(np.float32)
    points, scores = jax.jit(dark_keypoints)(maps)
    np.testing.assert_allclose(points[0], centers, atol=1e-4)
    np.testing.assert_allclose(scores[0, 0], np.exp(-(0.04 / 8 + 0.09 / 4.5 - 0.06 / 10)), rtol=1e-5)


def test_a_maximum_at_the_border_or_on_a_plain_is_its_pixel():
    border, plain = gaussian((0.2, 4.0)), np.zeros((9, 12))
    points, _ = jax.jit(dark_keypoints)(np.stack([border, plain], -1)[None].astype(np.float32))
    np.testing.assert_array_equal(points[0], [[0, 4], [0, 0]])
    with pytest.raises(ValueError, match="heat_maps"):
        dark_keypoints(jnp.zeros((2, 3, 4)))


def test_parameter_counts_are_the_papers():
    """Table 1 of the paper: 86M of ViTPose-B with the simple decoder, 90M with the classic one."""
    stored = stored_models("detection")
    assert round(stored["vitpose_base_simple"]["parameters"] / 1e6) == 86
    assert round(stored["vitpose_base"]["parameters"] / 1e6) == 90


def test_the_wiring_of_vi_tpose_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        ViTPose(num_keypoints=3, image_size=(16, 16), patch_size=8, depth=1, width=8, num_heads=2, mlp_features=12),
        (1, 16, 16, 3),
        [6.68743, -0.137403],
    )


def test_the_wiring_of_vi_tpose_with_other_fields_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        ViTPose(
            num_keypoints=3,
            image_size=(16, 16),
            patch_size=8,
            depth=1,
            width=8,
            num_heads=2,
            mlp_features=12,
            simple=False,
            decoder_features=8,
        ),
        (1, 16, 16, 3),
        [7.53836, -1.59008],
    )

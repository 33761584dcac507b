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


def surroundings(left, right, up, down, diagonal, other):
    """A map of 3 x 3 pixels whose logarithm has its maximum 0 in the middle."""
    return np.exp(np.array([[diagonal, up, other], [left, 0, right], [other, down, diagonal]]))


def test_the_place_of_a_maximum_is_a_step_of_newton_or_its_pixel():
    """g = (0.05, 0.05) and H = [[-0.3, h], [h, -0.3]], h = (2 diagonal - 2 other) / 4: a step of 0.05 / (0.3 - h).

    At h = 0.1 that is 0.25; at h = 0.28 it is 2.5, out of reach; at h = 0.4 H has no maximum; with gradients
    (0.05, 0) and curvatures (-0.3, -0.5) of h = 0 the step is (1 / 6, 0). Less than 0.001 counts as 0.001: with
    log 0.001 = -6.908 on the left and -1 on the right the step is 5.908 / 2 / 7.908. A map of zeros has its maximum at
    (0, 0), and those on a border stay there.
    """
    sides = (-0.2, -0.1, -0.2, -0.1)
    maps = [surroundings(*sides, -0.01, other) for other in (-0.21, -0.57, -0.81)]
    maps += [surroundings(-0.2, -0.1, -0.25, -0.25, -0.3, -0.3), np.zeros((3, 3))]
    maps.append(surroundings(-30, -1, -2, -2, -9, -8))
    x, y = np.meshgrid(np.arange(3), np.arange(3))
    borders = [(0, 1), (2, 1), (1, 0), (1, 2)]
    maps += [np.exp(-((x - u - 0.1) ** 2) - (y - v + 0.1) ** 2) for u, v in borders]
    points, scores = jax.jit(dark_keypoints)(np.stack(maps, -1)[None].astype(np.float32))
    expected = [[1.25, 1.25], [1, 1], [1, 1], [1 + 1 / 6, 1], [0, 0], [1 + 5.90776 / 2 / 7.90776, 1], *borders]
    np.testing.assert_allclose(points[0], expected, atol=1e-5)
    np.testing.assert_allclose(scores[0], [1, 1, 1, 1, 0, 1, *[np.exp(-0.02)] * 4], rtol=1e-5)


def test_parameter_counts_are_the_papers():
    """Table 1 of the paper: 86M of ViTPose-B with the simple decoder, 90M with the classic one."""
    stored = stored_models("detection")
    assert round(stored["vitpose_base_simple"]["parameters"] / 1e6) == 86
    assert round(stored["vitpose_base"]["parameters"] / 1e6) == 90


def test_the_wiring_of_vi_tpose_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        ViTPose(num_keypoints=3, image_size=(16, 24), patch_size=8, depth=1, width=8, num_heads=2, mlp_features=12),
        (2, 16, 24, 3),
        [19.335, 2.13834],
    )


def test_the_wiring_of_vi_tpose_with_other_fields_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        ViTPose(
            num_keypoints=3,
            image_size=(16, 24),
            patch_size=8,
            depth=1,
            width=8,
            num_heads=2,
            mlp_features=12,
            simple=False,
            decoder_features=8,
        ),
        (2, 16, 24, 3),
        [11.7857, 7.02475],
    )

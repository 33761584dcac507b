"""The bench of detection: what is timed gives the same results, and a dilated convolution is as many plain ones."""

import chex
import jax
import numpy as np
import pytest

from experiments.bench.conv_algorithms import algorithms, normal
from experiments.bench.detection import LEAST, PARTS, boxes_of, check, matching, measure


def test_the_assignments_of_both_sides_cost_the_same():
    functions = matching(batch=2, queries=7, boxes=3)
    chex.assert_shape(functions["ours"](), (2, 3))
    assert len(functions["scipy"]()) == 2


def test_boxes_lie_inside_their_image():
    boxes = boxes_of(0, 4, 50, size=(130, 200))
    assert (boxes >= 0).all()
    assert (boxes <= [200, 130, 200, 130]).all()
    assert (boxes[..., 2:] - boxes[..., :2]).min() >= 7.9


def test_a_difference_stops_the_bench():
    check("same", [1.0, 2], [1.0, 2], 0)
    with pytest.raises(ValueError, match=r"part: differs from its peer by 0\.5; allowed: 0\.1"):
        check("part", [1.0], [1.5], 0.1)


def test_every_part_is_claimed_and_unknown_ones_are_named():
    assert {name.removesuffix(" backward") for name in LEAST} == set(PARTS)
    with pytest.raises(ValueError, match="only='yolo': in no name"):
        measure(only="yolo")


@pytest.mark.parametrize(("side", "dilation"), [(12, 6), (13, 4), (7, 5)])
def test_a_dilated_convolution_is_plain_ones_on_every_dth_pixel(side, dilation):
    x, w = normal(0, 2, side, side + 1, 3), normal(1, 3, 3, 3, 4)
    want, _, got = (jax.jit(f)(x, w) for f in algorithms(3, 1, dilation).values())
    np.testing.assert_allclose(got, want, atol=1e-4)

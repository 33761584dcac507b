"""Colors of optical flow by hand, the wheel, and the exact flow of clips."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from dlcore.data.clips import clips
from dlcore.report.flow import color_wheel, flow_colors, flow_panel


@pytest.mark.covers("VD-14")
def test_hue_is_the_direction_and_saturation_the_length():
    # Right is red, left cyan; half of the largest motion is half white; no motion is white.
    flow = np.array([[[2, 0], [-2, 0], [1, 0], [0, 0]]], np.float32)
    wanted = [[[1, 0, 0], [0, 1, 1], [1, 0.5, 0.5], [1, 1, 1]]]
    np.testing.assert_allclose(flow_colors(flow), wanted, atol=1e-6)
    # A quarter turn down is hue 1/4: between yellow (1/6) and green (1/3).
    np.testing.assert_allclose(flow_colors(np.array([[[0, 3.0]]])), [[[0.5, 1, 0]]], atol=1e-6)
    wheel = color_wheel(9)
    np.testing.assert_array_equal(wheel[0, 0], [1, 1, 1])
    np.testing.assert_allclose(wheel[4, 8], flow_colors(np.array([[[8 / 9, 0]]]), 1.0)[0, 0], atol=1e-6)


@pytest.mark.covers("VD-14")
def test_the_flow_of_a_clip_says_where_its_pixels_went():
    # A camera alone moves the ground by whole pixels: frame f + 1 at p + (dx, dy) is frame f at p, but for the noise.
    arrays = clips(1, seed=3, frames=2, size=16, camera=True, flow=True).arrays
    (before, after), flow = arrays["clip"][0].astype(float), arrays["flow"][0, 0]
    dx, dy = np.median(flow.reshape(-1, 2), 0).astype(int)
    ground = (flow == [dx, dy]).all(-1)
    moved = np.roll(after, (-dy, -dx), (0, 1))
    difference = np.abs(moved - before).mean(-1)[ground]
    assert np.median(difference) < 8  # of noise of deviation 4


def test_a_panel_has_the_key():
    frame, flow = np.zeros((4, 6, 3), np.uint8), np.ones((4, 6, 2), np.float32)
    panel = flow_panel([frame], [flow], "Flow")
    assert "1.4 pixels" in panel.subtitle
    heights = []
    for data in re.findall(r"base64,([^\"]+)", flow_panel([frame] * 8, [flow] * 8, "Flow").html):
        heights.append(Image.open(io.BytesIO(base64.b64decode(data))).height)
    assert len(heights) == 3
    assert len({*heights}) == 1, "the wheel is as large as a frame"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flow_colors(np.zeros((4, 4))), r"no flow field; allowed: \[..., H, W, 2\]"),
        (lambda: flow_colors(np.full((4, 4, 2), np.nan)), "not finite"),
        (lambda: flow_colors(np.zeros((4, 4, 2)), 0), "largest=0: out of range"),
        (lambda: flow_panel([], [], "x"), "flows=0 fields: 0 frames"),
    ],
)
def test_bad_flow(call, message):
    with pytest.raises(ValueError, match=message):
        call()

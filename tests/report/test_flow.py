"""Colors of optical flow by hand, the wheel, and the exact flow of clips."""

import base64
import colorsys
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


def test_colors_are_those_of_the_library_s_hues():
    flow = np.random.default_rng(0).normal(size=(2, 3, 4, 2)).astype(np.float32)
    for largest, scale in ((None, np.hypot(*np.moveaxis(flow, -1, 0)).max()), (1.5, 1.5)):
        found = flow_colors(flow, largest)
        for at in np.ndindex(2, 3, 4):
            x, y = flow[at]
            hue, length = np.arctan2(y, x) / (2 * np.pi) % 1, min(np.hypot(x, y) / scale, 1)
            np.testing.assert_allclose(found[at], colorsys.hsv_to_rgb(hue, length, 1), atol=1e-5)
    np.testing.assert_array_equal(flow_colors(np.zeros((1, 2, 2))), np.ones((1, 2, 3)))


def test_the_key_is_as_large_as_the_shorter_side_and_colors_are_those_of_the_largest_motion():
    """Frames of 4 by 6 pixels, of motions 1 and 2 to the right: half of red, and red."""
    frames = [np.full((4, 6, 3), level, np.uint8) for level in (50, 90)]
    flows = [np.tile(np.float32([length, 0]), (4, 6, 1)) for length in (1, 2)]
    panel = flow_panel(frames, flows, "Flow")
    pictures = []
    for data in re.findall(r"base64,([^\"]+)", panel.html):
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        scale = picture.shape[0] // 4
        pictures.append(picture[::scale, ::scale])
    rows, colors, key = pictures
    assert [picture.shape for picture in pictures] == [(4, 13, 3)] * 3
    assert rows[0, [0, 5, 7]].tolist() == [[50] * 3, [50] * 3, [90] * 3]
    assert colors[0, [0, 7]].tolist() == [[255, 128, 128], [255, 0, 0]]
    np.testing.assert_array_equal(key[:, :4], np.rint(255 * color_wheel(4)))
    assert (key[:, 4:] == 255).all()
    # Offsets of a pixel's center from that of the wheel: 1.5 / 2 and 0.5 / 2 of the radius.
    np.testing.assert_allclose(color_wheel(4)[1, 3], flow_colors(np.array([[[0.75, -0.25]]]), 1.0)[0, 0], atol=1e-6)
    assert panel.subtitle == "Hue: direction, as on the wheel; saturation: up to 2.0 pixels per frame."
    assert "up to 1.0 pixels" in flow_panel(frames[:1], [0 * flows[0]], "Flow").subtitle
    with pytest.raises(ValueError, match="flows=1 fields: 2 frames"):
        flow_panel(frames, flows[:1], "Flow")

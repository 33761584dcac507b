"""Depth of a photograph: its size, its levels of 16 bits, GLPN's processor, and the command."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from dlcore import cli
from dlcore.modes.photograph_depth import depth_file, depth_levels, photograph_depth
from dlcore.pretrained.processor import processor_of_transformers


class Net:
    """A network of depth whose map has one row of two pixels."""

    family = SimpleNamespace(kind="depth")

    def __init__(self, name, **fields):
        self.name, self.fields = name, fields

    def __call__(self, photograph):
        return {"predicted_depth": np.float32([[[1, 3]]])}


@pytest.mark.covers("TD-19")
def test_levels_are_millimeters_or_the_whole_range():
    np.testing.assert_array_equal(depth_levels(np.array([[0.0014, 2.5, 70]]), True), [[1, 2500, 65535]])
    np.testing.assert_array_equal(depth_levels(np.array([[2.0, 3, 4]]), False), [[0, 32768, 65535]])
    np.testing.assert_array_equal(depth_levels(np.full((1, 2), 2.0), False), [[0, 0]])


@pytest.mark.covers("TD-19")
@pytest.mark.parametrize(
    ("net", "row", "text"),
    [  # bilinear, pixel centers: 1, 1.5, 2.5, 3 of four columns
        (Net("glpn"), [1000, 1500, 2500, 3000], "depth: 1.000 to 3.000 meters\n"),
        (Net("depth_anything_small", metric=True), [1000, 1500, 2500, 3000], "depth: 1.000 to 3.000 meters\n"),
        (Net("dpt_large"), [0, 16384, 49151, 65535], "inverse depth: 1 to 3, without a unit; large is near\n"),
    ],
)
def test_the_command_writes_depth_at_the_size_of_the_photograph(net, row, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dlcore.modes.photograph_depth.from_pretrained", lambda folder: net)
    Image.fromarray(np.zeros((2, 4, 3), np.uint8)).save(tmp_path / "photo.png")
    output = tmp_path / "out.png"
    assert cli.main(["depth", str(tmp_path), f"--input={tmp_path / 'photo.png'}", f"--output={output}"]) == 0
    assert capsys.readouterr().out.startswith(text)
    np.testing.assert_array_equal(np.asarray(Image.open(output)), [row, row])
    # Near is bright, and both ends of the colors are there.
    ends = colormaps["magma"]([1.0, 0.0] if text.startswith("depth") else [0.0, 1.0], bytes=True)[:, :3]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out_color.png"))[0, [0, -1]], ends)


def test_a_map_that_is_larger_than_its_photograph_is_sampled_between_its_pixels():
    found = photograph_depth(
        lambda photograph: {"predicted_depth": np.float32([[[0, 7, 14, 28]]])}, np.zeros((1, 2, 3), np.uint8)
    )
    np.testing.assert_allclose(found, [[3.5, 21]])


def test_a_network_of_another_kind_has_no_depth(tmp_path, monkeypatch):
    net = SimpleNamespace(name="vit", family=SimpleNamespace(kind="classification"))
    monkeypatch.setattr("dlcore.modes.photograph_depth.from_pretrained", lambda folder: net)
    Image.fromarray(np.zeros((2, 4, 3), np.uint8)).save(tmp_path / "photo.png")
    with pytest.raises(ValueError, match=r"folder='some': vit predicts no depth; allowed: GLPN, DPT, Depth Anything"):
        depth_file("some", tmp_path / "photo.png", tmp_path / "out.png")


@pytest.mark.covers("TD-19")
def test_glpn_rounds_sides_down_to_multiples_of_32():
    """And scales pixels to [0, 1] without a mean."""
    processor = processor_of_transformers({"image_processor_type": "GLPNImageProcessor", "size_divisor": 32})
    assert processor.resized(70, 127) == (64, 96)
    assert (processor.mean, processor.scale) == (None, 1 / 255)

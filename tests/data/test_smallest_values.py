"""The smallest numbers that a function which draws data allows, all at once, and the next smaller ones, each named."""

import importlib

import numpy as np
import pytest

from dlcore.data.scenes import check_scene_size
from dlcore.data.solids import Solid
from dlcore.data.source import Source

TRIANGLE = [(0, -1), (1, -1), (0, 1)]
NUMBERED = Source({"image": np.zeros((4, 1)), "label": np.arange(4) % 2})

# Name -> (arguments of other kinds, smallest allowed numbers).
LEAST = {
    "adding.adding": ({}, {"count": 1, "length": 2}),
    "bank_and_queries.bank_and_queries": ({"train": NUMBERED, "queries": NUMBERED}, {"size": 1}),
    "bounces.bounces": ({"count": 1}, {"frames": 2, "size": 16, "samples": 4}),
    "captions.captions": ({}, {"count": 0, "grid": 2, "size": 16, "pairs": 0}),
    "clips.clips": ({"count": 1}, {"frames": 2, "size": 16}),
    "crossings.crossings": ({}, {"count": 1, "frames": 2, "size": 48, "objects": 1, "score_drop": 0, "alarms": 0}),
    "digit_scenes.digit_scenes": ({"split": "test", "count": 1}, {"size": 16}),
    "factor_shapes.factor_shapes": ({}, {"count": 1, "size": 8}),
    "few_labels.few_labels": ({"source": NUMBERED, "seed": 0}, {"per_class": 1}),
    "font_digits.font_digits": ({}, {"count": 0, "rotation": 0, "shear": 0, "scale": 0, "shift": 0}),
    "grammar.grammar_pairs": ({}, {"count": 0}),
    "labeled_lines.page_lines": ({}, {"length": 1}),
    "melodies.melodies": ({}, {"count": 1}),
    "melodies.melody_waveform": ({"text": "C"}, {"sample_rate": 1}),
    "photographs.photo_crops": ({"split": "train", "count": 1}, {"size": 1}),
    "planted_organs.planted_organs": ({"size": (8, 8, 8)}, {"count": 1, "noise": 0, "bias": 0}),
    "questions.questions": ({}, {"count": 0, "grid": 3, "size": 24}),
    "sample_images.sample_image": ({"name": "china"}, {"height": 1}),
    "scene_rays.scene_rays": ({}, {"num_views": 1, "size": 8}),
    "scenes.scenes": ({"largest": 3, "size": 4}, {"count": 0, "max_boxes": 1, "smallest": 3, "overlap": 0, "empty": 0}),
    "sentiment.sentiment_sentences": ({}, {"count": 1}),
    "solid_images.solid_images": ({}, {"count": 1, "size": 8, "num_points": 1, "grid": 0}),
    "solid_meshes.revolve_profile": ({"profile": TRIANGLE}, {"segments": 3}),
    "solid_meshes.solid_clouds": ({}, {"count": 1, "num_points": 1, "noise": 0}),
    "solid_meshes.torus_mesh": ({}, {"segments": 3, "sides": 3}),
    "solids.occupancy_grid": ({"solid": Solid("sphere", np.ones(3))}, {"resolution": 1}),
    "solids.rgbd_scenes": ({}, {"count": 1, "size": 8}),
    "solids.surface_points": (
        {"solid": Solid("sphere", np.full(3, 0.5)), "rng": np.random.default_rng(0)},
        {"count": 1},
    ),
    "spirals.spirals": ({}, {"count": 1, "length": 2}),
    "strings.strings": ({"task": "copy", "count": 1, "length": (1, 1)}, {"vocabulary": 1}),
    "stroke_characters.stroke_characters": ({"classes": range(1)}, {"per_class": 1, "size": 8}),
    "tones.tones": ({}, {"count": 1, "length": 1, "sample_rate": 3520, "noise": 0, "detune": 0}),
    "topics.topic_lines": ({}, {"length": 1, "count": 1, "documents": 1}),
    "tracks.noisy_depths": ({}, {"count": 1, "length": 1, "noise": 0}),
    "tracks.tracks": ({}, {"count": 1, "length": 1}),
    "voxel_solids.occupancy": ({"kind": "box", "half_extents": np.ones(3)}, {"resolution": 1}),
    "voxel_solids.voxel_solids": ({}, {"count": 1, "resolution": 8}),
    # Above 2 * 1.08 * 3010 = 6501.6 Hz, twice the highest formant of the shortest vocal tract.
    "vowels.vowels": ({}, {"count": 1, "length": 1, "sample_rate": 6502, "breath": 0}),
}


@pytest.mark.parametrize("name", LEAST)
def test_the_smallest_numbers_are_allowed_and_smaller_ones_are_named(name):
    module, function = name.split(".")
    draw = getattr(importlib.import_module(f"dlcore.data.{module}"), function)
    others, least = LEAST[name]
    drawn = draw(**others, **least)
    if isinstance(drawn, Source) and "count" in least | others:
        assert len(drawn) == (least | others)["count"]
    for argument, value in least.items():
        called = "labels_per_class" if argument == "per_class" and module == "few_labels" else argument
        with pytest.raises(ValueError, match=rf"{called}={value - 1}\b.*; allowed: "):
            draw(**others | least | {argument: value - 1})


def test_the_largest_numbers_are_allowed():
    from dlcore.data.photographs import photo_crops
    from dlcore.data.spirals import segments, spirals
    from dlcore.data.stroke_characters import stroke_characters

    assert photo_crops("test", 1, size=40).arrays["image"].shape == (1, 40, 40, 3)
    assert segments(spirals(1, length=5), 5).arrays["time"].shape == (1, 5)
    assert segments(spirals(1, length=5), 2).arrays["time"].shape == (4, 2)
    assert stroke_characters(range(15503, 15504), 1, 8).class_names == ("character 15503",)
    assert check_scene_size((32, 32)) == 32
    with pytest.raises(ValueError, match=r"image_size=\(31, 31\): no room for objects of 16 pixels"):
        check_scene_size((31, 31))

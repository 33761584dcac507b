"""Every procedural source draws the same examples on every machine: the checksums of its first ones.

After a change that is meant: DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/data/test_checksums.py -n 0
"""

import functools
import hashlib
import importlib
import inspect
import json
import os
import pkgutil
from pathlib import Path

import numpy as np
import pytest

import dlcore.data
from dlcore.data.digit_scenes import digit_scenes
from dlcore.data.factor_shapes import simulate_camera
from dlcore.data.grammar import grammar_pairs
from dlcore.data.melodies import melodies
from dlcore.data.photographs import photo_crops
from dlcore.data.scene_rays import scene_rays
from dlcore.data.solid_meshes import SOLID_MESHES, posed_solid_mesh
from dlcore.data.solids import SOLID_KINDS, random_solid, surface_points
from dlcore.data.source import Source
from dlcore.data.strings import STRING_TASKS, strings
from dlcore.data.style_patterns import STYLE_PATTERNS, style_pattern
from dlcore.data.topics import topic_lines

SNAPSHOT = Path(__file__).resolve().parents[1] / "goldens" / "source_checksums.json"


def procedural_sources():
    """{module.function: function} of every public function of dlcore.data that is called (count, seed) -> Source."""
    found = {}
    for info in pkgutil.iter_modules(dlcore.data.__path__, "dlcore.data."):
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            function = getattr(module, name)
            if not inspect.isfunction(function) or function.__module__ != info.name:
                continue
            signature = inspect.signature(function)
            if [*signature.parameters][:2] == ["count", "seed"] and signature.return_annotation in (Source, "Source"):
                found[f"{info.name.rpartition('.')[2]}.{name}"] = function
    return found


SOURCES = procedural_sources()
NUMBERS = ("mean", "std", "tilt")
NAMES = {
    "adding.adding": "adding problem",
    "bounces.bounces": "bounces",
    "captions.captions": "shapes with captions",
    "clips.clips": "clips of straight paths",
    "crossings.crossings": "crossings, scores falling by 0",
    "factor_shapes.factor_shapes": "factor shapes",
    "font_digits.font_digits": "font digits",
    "planted_organs.planted_organs": "planted organs",
    "questions.questions": "shapes with questions",
    "scenes.scenes": "scenes",
    "segmentation.scene_maps": "scenes",
    "sentiment.sentiment_sentences": "film sentences",
    "solid_images.solid_images": "solid images",
    "solid_meshes.solid_clouds": "solids",
    "solids.rgbd_scenes": "rgbd scenes",
    "spirals.spirals": "spirals",
    "text_images.text_images": "text images",
    "tones.tones": "tones",
    "tracks.noisy_depths": "noisy depths",
    "tracks.tracks": "straight tracks",
    "vowels.vowels": "vowels",
    "voxel_solids.voxel_solids": "voxel solids",
}
"""Source -> its name, as checkpoints and reports print it."""
OPTIONS = {
    "adding.adding": [{"length": 7}],
    "bounces.bounces": [{"frames": 5, "size": 32, "samples": 8}],
    "captions.captions": [{"size": 40, "grid": 2, "pairs": 0.2}],
    "clips.clips": [
        {"path": "hopping", "frames": 5},
        {"directions": 8, "camera": True, "flow": True, "size": 24},
        {"shuffled": True, "distinct": True},
    ],
    "crossings.crossings": [{"frames": 9, "size": 64, "objects": 3, "score_drop": 0.3, "alarms": 2.0}],
    "factor_shapes.factor_shapes": [{"size": 24}],
    "font_digits.font_digits": [{"rotation": 40.0, "shear": 0.5, "scale": 0.1, "shift": 6.0}],
    "planted_organs.planted_organs": [{"size": (8, 20, 12), "noise": 0.1, "bias": 1.0}],
    "questions.questions": [{"size": 40, "grid": 4}],
    "scenes.scenes": [{"masks": True, "keypoints": True, "overlap": 0.6, "size": 64}, {"stuff": True, "empty": 0.5}],
    "segmentation.scene_maps": [{"stuff": True}],
    "solid_images.solid_images": [{"pose": True, "size": 24, "num_points": 16}, {"grid": 8}],
    "solid_meshes.solid_clouds": [{"num_points": 16, "noise": 0.1}],
    "solids.rgbd_scenes": [{"size": 24}],
    "spirals.spirals": [{"length": 11, "interval": 0.3}],
    "text_images.text_images": [{"alphabet": "abg", "lengths": (1, 2), "size": (32, 64), "exclude": ("a", "b", "ab")}],
    "tones.tones": [{"length": 64, "sample_rate": 3600, "noise": 0.1, "detune": 0.3}],
    "tracks.tracks": [{"maneuvering": True}],
    "vowels.vowels": [{"length": 128, "sample_rate": 7000, "breath": 0.2}],
    "voxel_solids.voxel_solids": [{"resolution": 10}],
}
"""Settings of sources that draw other examples than the defaults."""
LONG = ("crossings.crossings", "solids.rgbd_scenes")


def meshes(kind):
    vertices, faces, rotation = posed_solid_mesh(kind, np.random.default_rng(0))
    return {"vertices": vertices, "faces": faces, "rotation": rotation}


def surfaces(kind):
    rng = np.random.default_rng(0)
    solid = random_solid(rng, kind, upright=kind == "box")
    points, normals = surface_points(solid, 64, rng)
    return {"size": solid.size, "rotation": solid.rotation, "points": points, "normals": normals}


def text(*lines):
    return {"text": np.frombuffer("\n".join(lines).encode(), np.uint8)}


def topics():
    lines = topic_lines(6, 8, 3)
    return {"text": lines.text, "tokens": lines.tokens, "labels": lines.labels, "size": np.array(lines.size)}


DRAWN = {
    "digit_scenes": lambda: digit_scenes("train", 6, 1, clutter=3).arrays,
    "digit_scenes of a test": lambda: digit_scenes("test", 6, size=40, noise=0.5).arrays,
    "grammar_pairs": lambda: text(*grammar_pairs(40).source, *grammar_pairs(40).target),
    "grammar_pairs backwards": lambda: text(*grammar_pairs(9, 2, "en", "de").target),
    "melodies": lambda: text(melodies(8)),
    "photo_crops": lambda: photo_crops("train", 13, size=20).arrays,
    "photo_crops to validate": lambda: photo_crops("valid", 12).arrays,
    "photo_crops of a test": lambda: photo_crops("test", 12, 3).arrays,
    "scene_rays": lambda: scene_rays(3, size=12).arrays,
    "simulate_camera": lambda: {"image": simulate_camera(SOURCES["factor_shapes.factor_shapes"](4, 0).arrays["image"])},
    "topic_lines": topics,
    **{f"strings to {task}": lambda task=task: strings(task, 9, vocabulary=30).arrays for task in STRING_TASKS},
    **{f"style {name}": lambda name=name: {"image": style_pattern(name, 30)} for name in STYLE_PATTERNS},
    **{f"mesh of {kind}": functools.partial(meshes, kind) for kind in SOLID_MESHES},
    **{f"surface of {kind}": functools.partial(surfaces, kind) for kind in SOLID_KINDS},
}
"""What functions of other arguments draw."""


def drawn(name, **options):
    """Twelve examples of a source, so that all of its kinds occur; of long ones three."""
    return lambda: SOURCES[name](3 if name in LONG else 12, 0, **options).arrays


CASES = {
    **{name: drawn(name) for name in SOURCES},
    **{f"{name} {options}": drawn(name, **options) for name, several in OPTIONS.items() for options in several},
    **DRAWN,
}


def summary(arrays):
    """{array: its type and shape, and the checksum of whole numbers, or the mean, the deviation and the mean of the
    numbers times a wave, which tells their order and signs}."""
    rows = {}
    for name, array in sorted(arrays.items()):
        array = np.asarray(array[:] if np.ndim(array) else array)
        row = {"dtype": array.dtype.name, "shape": list(array.shape)}
        if np.issubdtype(array.dtype, np.floating):
            flat = array.astype(np.float64).reshape(-1)
            means = flat.mean(), flat.std(), (flat * np.cos(np.arange(flat.size))).mean()
            row |= dict(zip(NUMBERS, map(float, means), strict=True))
        else:
            row["sha256"] = hashlib.sha256(
                np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
            ).hexdigest()
        rows[name] = row
    return rows


@pytest.mark.covers("MI-06")
@pytest.mark.parametrize("name", CASES)
def test_a_procedural_source_draws_what_it_drew(name):
    now = summary(CASES[name]())
    known = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {}
    if os.environ.get("DLCORE_UPDATE_SNAPSHOTS"):
        known[name] = now
        SNAPSHOT.write_text(json.dumps({k: known[k] for k in sorted(known) if k in CASES}, indent=1) + "\n")
    assert name in known, "a new source: see this file's docstring"
    assert now.keys() == known[name].keys()
    for array, row in known[name].items():
        for key, value in row.items():
            wanted = pytest.approx(value, rel=1e-4, abs=1e-6) if key in NUMBERS else value
            assert now[array][key] == wanted, f"{array}: {key}"


@pytest.mark.covers("MI-06")
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_has_its_name_and_another_seed_draws_others(name):
    one, other = SOURCES[name](3, 0), SOURCES[name](3, 1)
    assert one.name == NAMES[name]
    assert summary(one.arrays) != summary(other.arrays)


def test_the_sources_are_found():
    assert set(SOURCES) == set(NAMES)

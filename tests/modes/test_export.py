"""An exported run gives what `predict` gives, for any number of examples, in a process that has no dlcore."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from dlcore.data.decoding import load_center_crop, load_image
from dlcore.data.digits import digits
from dlcore.data.source import Source
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun, restore_state
from dlcore.main import run
from dlcore.models import create_model
from dlcore.modes.export import export_function, input_rule, load_exported
from dlcore.modes.exported_loader import predict as loaded_predict
from dlcore.modes.exported_loader import preprocess
from dlcore.run.evaluate import predict
from experiments.classification.supervised import experiment


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    assert run(experiment, ["--smoke", "--model=mlp", f"--run_dir={folder}"]) == 0
    assert run(experiment, ["--mode=export", f"--run={folder}"]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.covers("SY-08")
def test_a_run_exported_is_what_the_run_predicts(trained):
    manifest, weights, function = load_exported(trained / "export")
    assert list(manifest["inputs"]) == ["image"]
    assert manifest["inputs"]["image"]["shape"] == ["batch", 8, 8, 1]
    assert manifest["platforms"] == ["cpu", "cuda", "tpu"]
    assert manifest["spec"]["class_names"] == [str(i) for i in range(10)]
    assert not any("opt_state/0/0" in name for name in weights), "moments of the optimizer are not read"
    resolved = ResolvedRun(experiment, resolve(experiment, [f"--run={trained}"]))
    spec = resolved.config()["spec"]
    learner = experiment.build(resolved.setup(spec))
    state = restore_state(resolved, learner, experiment.example(spec), "last")[1]
    for rows in (1, 5):
        source = digits("test").take(rows)
        got = function(weights, {"image": source.arrays["image"]})
        want = predict(learner, state, source, placement=resolved.placement())
        np.testing.assert_allclose(got["logits"], want["logits"], atol=1e-5)
        np.testing.assert_allclose(got["probabilities"].sum(-1), 1, atol=1e-6)
    with pytest.raises(ValueError, match="Shape mismatch"):
        function(weights, {"image": np.zeros((2, 9, 9, 1), np.float32)})


@pytest.mark.slow
@pytest.mark.covers("SY-08")
def test_the_loader_runs_without_this_package(trained, tmp_path):
    check = "import runpy, sys; sys.path = [p for p in sys.path if p not in ('', '.')]\n"
    check += "sys.modules['dlcore'] = sys.modules['flax'] = sys.modules['PIL'] = None\n"
    check += f"names = runpy.run_path({str(trained / 'export' / 'load.py')!r}, run_name='__main__')\n"
    check += "import numpy; print(names['predict'](numpy.zeros((30, 20, 1), numpy.uint8)))\n"
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "'logits': ((2, 10), 'float32')" in done.stdout
    assert "{'class': '" in done.stdout


@pytest.mark.slow
def test_the_loader_predicts_what_the_run_predicts(trained, capsys):
    images = digits("test").take(5).arrays["image"]
    assert images.dtype == np.float32
    levels = np.rint(images * 255).astype(np.uint8)
    resolved = ResolvedRun(experiment, resolve(experiment, [f"--run={trained}"]))
    spec = resolved.config()["spec"]
    learner = experiment.build(resolved.setup(spec))
    state = restore_state(resolved, learner, experiment.example(spec), "last")[1]
    source = Source({"image": levels.astype(np.float32) / 255, "label": np.zeros(5, np.int32)}, 5)
    want = experiment.describe(predict(learner, state, source, placement=resolved.placement()), spec)
    folder = trained / "export"
    for found in (loaded_predict(levels, folder), loaded_predict(levels.astype(np.float64) / 255, folder)):
        assert [row["class"] for row in found] == [row["class"] for row in want]
        for mine, theirs in zip(found, want, strict=True):
            assert mine["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-5)
    assert loaded_predict(levels[1], folder)["probabilities"] == pytest.approx(want[1]["probabilities"], abs=1e-5)
    for bad, message in (
        (levels.astype(np.float32), r"image: floats from 0 to 255; allowed: floats in \[0, 1\], uint8"),
        (images - 0.5, "image: floats from -0.5 to 0.5"),
        (np.full((8, 8, 1), np.nan), "image: floats from nan to nan"),
        (levels.astype(np.int32), "image: dtype int32; allowed: uint8"),
        (np.zeros((8, 8, 3), np.uint8), r"image: shape \(1, 8, 8, 3\); allowed: \[H, W, 1\] or"),
        (np.zeros((8, 8), np.uint8), r"image: shape \(8, 8\)"),
    ):
        with pytest.raises(ValueError, match=message):
            loaded_predict(bad, folder)


@pytest.mark.slow(only=["size0-1.0"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (48, 32), (20, 30)])
def test_the_loader_resizes_as_training_data_were(tmp_path, size, crop_pct):
    """Pillow rounds to gray levels after each axis, and center_box to whole pixels."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    waves = [np.sin(y / 7 + k) * np.cos(x / (5 + k)) for k in range(3)]
    picture = np.rint(127.5 + 120 * np.stack(waves, -1)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    if crop_pct == 1:
        want = load_image(tmp_path / "picture.png", (28, 28), 3)
    else:
        want = load_center_crop(tmp_path / "picture.png", (28, 28), 3, crop_pct)
    found = preprocess(picture[None], {"shape": ["batch", 28, 28, 3], "crop_pct": crop_pct})[0]
    apart = np.abs(np.rint(found * 255) - want)
    assert apart.max() <= 2, apart.max()


@pytest.mark.slow
def test_the_manifest_states_the_input_and_all_may_read_it(trained):
    manifest, _, _ = load_exported(trained / "export")
    rule = manifest["input"]
    assert (rule["shape"], rule["dtype"], rule["range"]) == (["batch", 8, 8, 1], "float32", [0.0, 1.0])
    assert (rule["layout"], rule["channels"], rule["crop_pct"]) == ("NHWC", "gray", 1.0)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (trained / "export").iterdir()}
    assert set(modes.values()) == {modes["manifest.json"]}, modes
    spec = {"image_shape": [4, 4, 3], "class_names": ["a"], "crop_pct": 0.9}
    inputs = {"image": {"dtype": "float32"}}
    assert input_rule(spec, inputs, {"probabilities": 0})["channels"] == "RGB"
    assert input_rule(spec, inputs, {"boxes": 0}) is None
    assert input_rule({}, {"observation": {}}, {"probabilities": 0}) is None


@pytest.mark.slow
def test_a_second_export_replaces_the_first_and_nothing_else(trained, capsys):
    folder = trained / "export"
    (folder / "stale").touch()
    assert run(experiment, ["--mode=export", f"--run={trained}"]) == 0
    assert "the earlier export is replaced" in capsys.readouterr().out
    assert sorted(p.name for p in folder.iterdir()) == [
        "load.py",
        "manifest.json",
        "model.jaxexp",
        "weights.safetensors",
    ]
    content = (folder / "manifest.json").read_text()
    (folder / "manifest.json").unlink()
    assert run(experiment, ["--mode=export", f"--run={trained}"]) == 1
    assert "holds other files than an export; allowed: after they are moved away" in capsys.readouterr().err
    (folder / "manifest.json").write_text(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("resnet18", {"stages": (1, 1, 1, 1)}),
        ("mobilenet_v2", {"width_mult": 0.25}),
        ("vit_b_32", {"depth": 2, "image_size": 32}),
        ("convnext_tiny", {"stages": (1, 1, 1, 1)}),
        ("swin_t", {"stages": (2, 1), "num_heads": (3, 6)}),
    ],
)
def test_models_of_the_zoo_are_exported_with_a_free_batch(tmp_path, name, fields):
    side = 32
    model = create_model(name, num_classes=3, **fields)
    x = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    leaves, tree = jax.tree.flatten(jax.device_get(variables))
    weights = {str(i): leaf + np.float32(0.01) for i, leaf in enumerate(leaves)}

    def function(weights, inputs):
        return model.apply(jax.tree.unflatten(tree, [weights[str(i)] for i in range(len(leaves))]), inputs["image"])

    export_function(tmp_path, function, weights, {"image": x}, {"model": name})
    _, saved, exported = load_exported(tmp_path)
    assert set(saved) == set(weights)
    np.testing.assert_allclose(
        exported(saved, {"image": x}), jax.jit(function)(weights, {"image": x}), rtol=1e-4, atol=1e-4
    )


@pytest.mark.covers("SY-08")
def test_what_is_not_read_is_left_out_and_files_are_checked(tmp_path):
    weights = {"a": np.ones(3, np.float32), "moment": np.ones(3, np.float32)}
    inputs = {"x": np.ones((1, 3), np.float32), "label": np.zeros(1, np.int32)}
    manifest = export_function(tmp_path / "f", lambda w, i: {"y": i["x"] @ w["a"]}, weights, inputs, {})
    assert list(manifest["weights"]) == ["a"]
    assert list(manifest["inputs"]) == ["x"]
    assert manifest["outputs"] == {"y": {"shape": ["batch"], "dtype": "float32"}}
    assert json.loads((tmp_path / "f" / "manifest.json").read_text()) == manifest
    _, saved, function = load_exported(tmp_path / "f")
    np.testing.assert_allclose(function(saved, {"x": np.full((4, 3), 2, np.float32)})["y"], 6)
    with pytest.raises(ValueError, match="not empty; allowed: a new or an empty folder"):
        export_function(tmp_path / "f", lambda w, i: i["x"], weights, inputs, {})
    program = tmp_path / "f" / "model.jaxexp"
    program.write_bytes(program.read_bytes()[:-1])
    with pytest.raises(ValueError, match="changed or cut; allowed: the program"):
        load_exported(tmp_path / "f")


def test_without_a_run_there_is_an_error(tmp_path, capsys):
    assert run(experiment, ["--mode=export", f"--run_dir={tmp_path / 'none'}"]) == 2
    assert "there is no run" in capsys.readouterr().err

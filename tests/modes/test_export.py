"""An exported run gives what `predict` gives, for any number of examples, in a process that has no dlcore."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from dlcore.data.decoding import load_center_crop, load_image
from dlcore.data.digits import digits
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun, restore_state
from dlcore.main import run
from dlcore.models import create_model
from dlcore.modes import export, exported_loader
from dlcore.modes.export import LOADER, detection_rule, export_function, input_rule, load_exported
from dlcore.modes.exported_loader import predict as loaded_predict
from dlcore.modes.exported_loader import preprocess, read
from dlcore.nn.cache import Cache
from dlcore.nn.group_norm import GroupNorm
from dlcore.run.evaluate import predict
from dlcore.setting import FlagError
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
    learner = resolved.training(spec).build()
    step, state = restore_state(resolved, learner, resolved.example(spec), "last")
    facts = {name: spec[name] for name in ("class_names", "image_shape", "mean", "std", "dataset")}
    assert (manifest["experiment"], manifest["step"], manifest["spec"]) == ("classification.supervised", step, facts)
    for rows in (1, 5):
        source = digits("test").take(rows)
        got = function(weights, {"image": source.arrays["image"]})
        want = predict(learner, state, source, placement=resolved.placement())
        np.testing.assert_allclose(got["logits"], want["logits"], atol=1e-5)
        np.testing.assert_allclose(got["probabilities"].sum(-1), 1, atol=1e-6)
    with pytest.raises(ValueError, match="Shape mismatch"):
        function(weights, {"image": np.zeros((2, 9, 9, 1), np.float32)})


@pytest.fixture(scope="module")
def normalized(tmp_path_factory):
    """A run of a network with batch norm."""
    folder = tmp_path_factory.mktemp("fold") / "run"
    assert run(experiment, ["--smoke", "--ema=none", f"--run_dir={folder}"]) == 0
    return folder


@pytest.mark.weekly
@pytest.mark.covers("SY-08")
def test_batch_norms_are_merged_where_it_is_asked(normalized, capsys):
    outputs, names = [], []
    image = digits("test").take(4).arrays["image"]
    for flag in ("--nofold_batch_norm", "--fold_batch_norm"):
        assert run(experiment, ["--mode=export", flag, f"--run={normalized}"]) == 0
        _, weights, function = load_exported(normalized / "export")
        outputs.append(function(weights, {"image": image})["logits"])
        names.append(list(weights))
    assert "7 batch norms are merged into the layers before them" in capsys.readouterr().out
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-5)
    assert any("batch_stats" in name for name in names[0])
    assert not any("batch_stats" in name for name in names[1])
    assert len([name for name in names[1] if name.startswith("folded/")]) == 2 * 7


@pytest.mark.weekly
def test_merging_refuses_networks_without_batch_norm_and_outputs_that_move(normalized, trained, capsys, monkeypatch):
    assert run(experiment, ["--mode=export", "--fold_batch_norm", f"--run={trained}"]) == 2
    assert "--fold_batch_norm: no batch norm is applied to the output of a conv" in capsys.readouterr().err
    find = export.find_folds
    doubled = lambda f: {path: fold._replace(bias=fold.bias + 1) for path, fold in find(f).items()}  # noqa: E731
    monkeypatch.setattr(export, "find_folds", doubled)
    assert run(experiment, ["--mode=export", "--fold_batch_norm", f"--run={normalized}"]) == 2
    assert "--fold_batch_norm: outputs change by " in capsys.readouterr().err
    assert not (normalized / "export").exists()


@pytest.mark.slow
@pytest.mark.covers("SY-08")
def test_the_loader_runs_without_this_package(trained, tmp_path):
    check = "import runpy, sys; sys.path = [p for p in sys.path if p not in ('', '.')]\n"
    check += "sys.modules['dlcore'] = sys.modules['flax'] = None\n"
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
    learner = resolved.training(spec).build()
    state = restore_state(resolved, learner, resolved.example(spec), "last")[1]
    source = Source({"image": levels.astype(np.float32) / 255, "label": np.zeros(5, np.int32)}, 5)
    want = experiment.use.describe(predict(learner, state, source, placement=resolved.placement()), Facts.of(spec))
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


PHOTOGRAPHS = ("china.jpg", "flower.jpg")
"""Of scikit-learn, 427 x 640."""


def rule_of(size, crop_pct, channels=3):
    return {"shape": ["batch", *size, channels], "crop_pct": crop_pct}


def measured(path, size, crop_pct, channels=3):
    """The pixels that an evaluation of image files sees."""
    if crop_pct is None:
        return load_image(path, size, channels)
    return load_center_crop(path, size, channels, crop_pct)


@pytest.mark.slow(only=["flower.jpg-*"])
@pytest.mark.parametrize(
    ("size", "crop_pct"),
    [((224, 224), 0.875), ((224, 224), 1.0), ((96, 96), 0.875), ((32, 32), 0.9), ((440, 448), 0.875), ((96, 80), None)],
)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_loader_gives_the_pixels_that_were_measured(tmp_path, name, size, crop_pct):
    photograph = np.asarray(Image.open(Path(sklearn.datasets.__file__).parent / "images" / name))
    for turned in (photograph, photograph.swapaxes(0, 1)):
        Image.fromarray(turned).save(tmp_path / "lossless.bmp")
        want = measured(tmp_path / "lossless.bmp", size, crop_pct)
        rule = rule_of(size, crop_pct)
        for found in (preprocess(turned[None], rule), preprocess(turned[None] / 255, rule)):
            np.testing.assert_array_equal(np.rint(found[0] * 255), want)
            np.testing.assert_array_equal(found[0], want.astype(np.float32) / 255)
        np.testing.assert_array_equal(read(tmp_path / "lossless.bmp", rule), want[None].astype(np.float32) / 255)


@pytest.mark.parametrize("crop_pct", [0.9, None])
def test_the_loader_decodes_files_as_they_were_measured(tmp_path, crop_pct):
    """427 / int(32 / 0.9) = 12.2 times smaller: the JPEG is decoded at a part of its size, which no array shows."""
    path, gray = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg", tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).convert("L").save(gray, exif=exif)
    for file, channels in ((path, 3), (path, 1), (gray, 3), (gray, 1)):
        want = measured(file, (32, 32), crop_pct, channels).astype(np.float32) / 255
        np.testing.assert_array_equal(read(file, rule_of((32, 32), crop_pct, channels))[0], want)
    (tmp_path / "none.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"none\.jpg cannot be read as an image"):
        read(tmp_path / "none.jpg", rule_of((32, 32), crop_pct))


def test_the_exported_loader_imports_nothing_of_this_package(tmp_path):
    assert "dlcore.data" not in LOADER
    (tmp_path / "load.py").write_text(LOADER)
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(tmp_path / "a.png")
    names = runpy.run_path(str(tmp_path / "load.py"), run_name="load")
    want = measured(tmp_path / "a.png", (4, 4), 0.875).astype(np.float32) / 255
    np.testing.assert_array_equal(names["read"](tmp_path / "a.png", rule_of((4, 4), 0.875))[0], want)


@pytest.mark.slow
def test_the_manifest_states_the_input_and_all_may_read_it(trained):
    manifest, _, _ = load_exported(trained / "export")
    rule = manifest["input"]
    assert (rule["shape"], rule["dtype"], rule["range"]) == (["batch", 8, 8, 1], "float32", [0.0, 1.0])
    assert (rule["layout"], rule["channels"], rule["crop_pct"]) == ("NHWC", "gray", None)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (trained / "export").iterdir()}
    assert set(modes.values()) == {modes["manifest.json"]}, modes
    spec = {"image_shape": [4, 4, 3], "class_names": ["a"], "crop_pct": 0.9}
    inputs = {"image": {"dtype": "float32"}}
    rule = input_rule(spec, inputs, {"probabilities": 0})
    assert (rule["channels"], rule["crop_pct"]) == ("RGB", 0.9)
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


@pytest.mark.weekly
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
def test_unused_weights_and_inputs_are_left_out_and_files_are_checked(tmp_path):
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
    with pytest.raises(ValueError, match="changed or truncated; allowed: the program"):
        load_exported(tmp_path / "f")


def test_without_a_run_there_is_an_error(tmp_path, capsys):
    assert run(experiment, ["--mode=export", f"--run_dir={tmp_path / 'none'}"]) == 2
    assert "there is no run" in capsys.readouterr().err


def test_functions_of_a_fixed_batch_size_are_refused_in_one_line(tmp_path):
    """`len` of a traced array is an int."""

    def function(weights, inputs):
        return inputs["x"].reshape(len(inputs["x"]), -1) @ weights["w"]

    weights, inputs = {"w": np.ones(4, np.float32)}, {"x": np.ones((1, 2, 2), np.float32)}
    with pytest.raises(
        ValueError, match=r"function: cannot be traced for a free number of examples \(TypeError: "
    ) as error:
        export_function(tmp_path / "f", function, weights, inputs, {})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "f").exists()


@pytest.mark.slow
def test_a_run_that_needs_a_fixed_number_is_refused_in_one_line(trained, capsys, monkeypatch):
    def refuse(*args):
        raise ValueError("function: cannot be traced for a free number of examples (TypeError: ...); allowed: others")

    monkeypatch.setattr("dlcore.modes.export.export_function", refuse)
    assert run(experiment, ["--mode=export", f"--run={trained}"]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert "--mode=export: predict of classification.supervised as a function: cannot be traced" in said


def test_group_norm_and_the_cache_take_a_free_batch():
    """The mean of the groups (1, 3) and (5, 9) is 2 and 7, their deviation 1 and 2: -1, 1, -1, 1."""

    def function(x):
        norm = GroupNorm(2, use_scale=False, use_bias=False, epsilon=0.0)
        return norm.apply({}, x), Cache.zeros(x.shape[0], 3, 1, 2).length

    shape = jax.ShapeDtypeStruct((jax.export.symbolic_shape("batch")[0], 4), np.float32)
    program = jax.export.export(jax.jit(function))(shape)
    y, length = program.call(np.tile(np.float32([1, 3, 5, 9]), (3, 1)))
    np.testing.assert_allclose(y, np.tile([-1, 1, -1, 1], (3, 1)), atol=1e-6)
    np.testing.assert_array_equal(length, np.zeros(3))


def test_the_export_of_a_detector_says_where_its_boxes_are():
    outputs = dict.fromkeys(("boxes", "scores", "labels", "valid", "keypoints"))
    rule = detection_rule({"image_shape": [48, 64, 3]}, outputs)
    assert rule["boxes"].startswith("x1, y1, x2, y2 in pixels of the input image")
    assert rule["in_photograph"] == "x times the photograph's width / 64, y times its height / 48"
    assert "keypoints" in rule
    assert "masks" not in rule
    padded = detection_rule({"image_shape": [48, 64, 3], "resize": [24, 36]}, outputs)
    assert padded["input"] == "shorter side 24, longer at most 36 pixels, in the upper left of 64 x 48 pixels"
    assert detection_rule({"image_shape": [48, 64, 3]}, {"probabilities": None}) is None


CLASSIFIER = {"image_shape": [8, 12, 1], "class_names": ["a"]}
IMAGE = {"image": {"shape": ["batch", 8, 12, 1], "dtype": "float32"}}


def test_the_export_of_a_classifier_of_images_says_what_it_reads():
    rule = input_rule({**CLASSIFIER, "crop_pct": 0.875}, IMAGE, ["probabilities", "logits"])
    facts = ("name", "shape", "layout", "channels", "dtype", "range", "crop_pct")
    assert [rule[name] for name in facts] == [
        "image", ["batch", 8, 12, 1], "NHWC", "gray", "float32", [0.0, 1.0], 0.875,
    ]  # fmt: skip
    color = input_rule({**CLASSIFIER, "image_shape": [8, 12, 3]}, IMAGE, ["probabilities"])
    assert (color["channels"], color["crop_pct"]) == ("RGB", None)
    for spec, inputs, outputs in (
        (CLASSIFIER, {**IMAGE, "other": None}, ["probabilities"]),
        (CLASSIFIER, IMAGE, ["logits"]),
        ({"class_names": ["a"]}, IMAGE, ["probabilities"]),
        ({"image_shape": [8, 12, 1]}, IMAGE, ["probabilities"]),
    ):
        assert input_rule(spec, inputs, outputs) is None


def test_only_batches_of_arrays_are_exported():
    def example(batch, **spec):
        page = SimpleNamespace(experiment=SimpleNamespace(name="a.page"), example=lambda spec: batch)
        return export.example_batch(page, spec)

    batch = {"image": np.zeros((2, 3)), "index": np.zeros(2)}
    assert example(batch) is batch
    assert example(batch, counts="examples") is batch
    with pytest.raises(
        FlagError, match=r"^--mode=export: a.page gives no example of a batch; allowed: the other modes"
    ):
        example(batch, counts="episodes")
    with pytest.raises(FlagError, match=r"^--mode=export: batches of a.page are no dicts of arrays; allowed"):
        example({"a": {"image": batch["image"]}})


def test_the_loader_ranks_the_classes_of_files_and_arrays(monkeypatch, tmp_path):
    """With a function whose classes have the mean and the rest of an image, and a third that ties with the second."""

    def run(weights, inputs):
        mean = inputs["picture"].mean((1, 2, 3)) * weights["w"]
        return {"probabilities": np.stack([mean, (1 - mean) / 2, (1 - mean) / 2], 1)}

    manifest = {
        "input": {**rule_of((2, 3), None), "name": "picture"},
        "spec": {"class_names": ["light", "dark", "black"]},
    }
    loaded = {"images": (manifest, {"w": 1}, run), "text": ({"spec": {}}, {}, run)}
    monkeypatch.setattr(exported_loader, "load", loaded.get)
    images = np.zeros((2, 2, 3, 3), np.uint8)
    images[1] = 204  # 0.8 of 255
    dark, light = exported_loader.predict(images, "images")
    assert (dark["class"], list(dark["probabilities"].items())) == (
        "dark",
        [("dark", 0.5), ("black", 0.5), ("light", 0)],
    )
    assert (light["class"], list(light["probabilities"])) == ("light", ["light", "dark", "black"])
    assert light["probabilities"]["light"] == pytest.approx(0.8)
    assert exported_loader.predict(images[1] / 255, "images") == light
    Image.fromarray(images[1]).save(tmp_path / "light.png")
    for path in (tmp_path / "light.png", str(tmp_path / "light.png")):
        assert exported_loader.predict(path, "images") == light
    for bad, message in (
        (np.zeros((2, 3, 1), np.uint8), r"image: shape \(1, 2, 3, 1\); allowed: \[H, W, 3\] or \[N, H, W, 3\]"),
        (images.astype(int), "image: dtype int64; allowed: uint8 in"),
    ):
        with pytest.raises(ValueError, match=message):
            exported_loader.predict(bad, "images")
    with pytest.raises(ValueError, match=r"^text: does not classify images; allowed: run"):
        exported_loader.predict(images, "text")

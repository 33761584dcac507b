"""An exported run gives what `predict` gives, for any number of examples, in a process that has no dlcore.

Above 20 CPU seconds because models of five families are lowered for three platforms each.
"""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from dlcore.data.digits import digits
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun, restore_state
from dlcore.main import run
from dlcore.models import create_model
from dlcore.modes.export import export_function, load_exported
from dlcore.run.evaluate import predict
from experiments.classification.supervised import experiment


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    assert run(experiment, ["--smoke", "--model=mlp", f"--run_dir={folder}"]) == 0
    assert run(experiment, ["--mode=export", f"--run={folder}"]) == 0
    return folder


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


@pytest.mark.covers("SY-08")
def test_the_loader_runs_without_this_package(trained, tmp_path):
    code = (trained / "export" / "load.py").read_text()
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    assert "dlcore" not in code
    check = "import sys; sys.path = [p for p in sys.path if p not in ('', '.')]\n"
    check += "sys.modules['dlcore'] = sys.modules['flax'] = None\n"
    check += f"__file__ = {str(trained / 'export' / 'load.py')!r}\n{code}"
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "'logits': ((2, 10), 'float32')" in done.stdout


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

"""From a file of torch weights to an experiment that starts from them."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dlcore import cli
from dlcore.data.pipeline import batch_at
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.models import create_model, gpt2, load_torch, torch_names
from dlcore.optim import parameter_ema
from dlcore.weights.read import load_weights, save_weights
from tests.models.parity import read_golden

MODEL = "resnet8_cifar"
ABOUT = {"model": MODEL, "num_classes": 10}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(a folder with weights.safetensors in torch's layout, the variables that they are) with 7 classes."""
    model = create_model(MODEL, num_classes=7, head_init=jax.nn.initializers.lecun_normal())
    variables = jax.jit(model.init)(jax.random.key(3), jnp.zeros((1, 16, 16, 3)))
    flat = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(variables)
    }
    weights = {
        key: np.ascontiguousarray(np.transpose(flat[path], (-1, -2, 0, 1)[: flat[path].ndim]))
        if path.endswith("kernel")
        else flat[path]
        for path, key in torch_names(MODEL).items()
    }
    folder = tmp_path_factory.mktemp("weights")
    save_file(weights, folder / "weights.safetensors")
    np.savez(folder / "weights.npz", **weights)
    return folder, variables


@pytest.mark.slow(unless=["npz"])
@pytest.mark.covers("TL-16")
@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_convert_keeps_every_value(published, tmp_path, capsys, ending):
    folder, variables = published
    assert cli.main(["convert", str(folder / f"weights.{ending}"), f"--model={MODEL}", f"--out={tmp_path / 'w'}"]) == 0
    about, found = load_weights(tmp_path / "w")
    assert about == {
        "model": MODEL,
        "num_classes": 7,
        "file": f"weights.{ending}",
        "mean": [0.485, 0.456, 0.406],  # of ImageNet, as torchvision's weights of this model want them
        "std": [0.229, 0.224, 0.225],
    }
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, found, variables)
    assert "7 classes" in capsys.readouterr().out


@pytest.mark.slow
def test_convert_takes_models_of_tokens(tmp_path, capsys, monkeypatch):
    fields = {"vocab_size": 50, "window": 16, "num_layers": 2, "num_heads": 4, "width": 32}
    monkeypatch.setitem(gpt2.MODELS, "gpt2", functools.partial(gpt2.GPT2, **fields))
    _, _, weights = read_golden("hf_gpt2")
    save_file(weights, tmp_path / "model.safetensors")
    assert cli.main(["convert", str(tmp_path / "model.safetensors"), "--model=gpt2", f"--out={tmp_path / 'w'}"]) == 0
    assert capsys.readouterr().out.endswith("gpt2, 28 arrays\n")
    about, found = load_weights(tmp_path / "w")
    assert about == {"model": "gpt2", "file": "model.safetensors"}
    jax.tree.map(np.testing.assert_array_equal, found, load_torch("gpt2", weights))


def page_state(folder, *words):
    """(setup, the state before `start`, `start`) of the classification experiment on digits."""
    experiment = importlib.import_module("experiments.classification.supervised").experiment
    resolved = ResolvedRun(
        experiment, resolve(experiment, ["--smoke", "--model.width=16", f"--init_from={folder}", *words])
    )
    data = experiment.run(resolved.flags).load()
    setup = resolved.training({**data.spec, "train_size": len(data.train)})
    batch = batch_at(resolved.pipelines(data), 0)
    state = jax.jit(setup.build().init)(jax.random.key(0), batch)
    return setup, state, setup.start()


@pytest.mark.slow
def test_a_page_starts_from_the_weights_and_keeps_its_own_head(published, tmp_path, capsys):
    _, variables = published
    grey = jax.tree.map(np.asarray, variables)
    grey["params"]["stem_conv"]["kernel"] = grey["params"]["stem_conv"]["kernel"].sum(2, keepdims=True)  # digits
    save_weights(tmp_path / "w", grey, {"model": MODEL, "num_classes": 7})
    _, state, start = page_state(tmp_path / "w")
    found = start(state)
    assert "gives all but the head (params/head/bias, params/head/kernel), which starts anew" in capsys.readouterr().out
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, state)
    np.testing.assert_array_equal(found.params["head"]["kernel"], state.params["head"]["kernel"])
    rest = {name: layer for name, layer in found.params.items() if name != "head"}
    jax.tree.map(np.testing.assert_array_equal, rest, {name: grey["params"][name] for name in rest})
    average = parameter_ema(found.opt_state, found.params)  # the experiment keeps one: it must start there too
    np.testing.assert_array_equal(average["stem_conv"]["kernel"], grey["params"]["stem_conv"]["kernel"])


@pytest.mark.slow
def test_errors_name_weights_of_other_shapes_or_models(published, tmp_path):
    _, variables = published
    save_weights(tmp_path / "w", variables, {"model": MODEL, "num_classes": 7})
    _, state, start = page_state(tmp_path / "w")
    with pytest.raises(ValueError, match=r"stem_conv/kernel is \(3, 3, 3, 16\), not \(3, 3, 1, 16\)"):
        start(state)
    save_weights(tmp_path / "other net", {"params": {f"layer{i}": {"kernel": np.zeros(3)} for i in range(9)}}, ABOUT)
    _, state, start = page_state(tmp_path / "other net")
    with pytest.raises(
        ValueError, match=r"does not fit the model: (\S+ is missing; ){5}and \d\d more; allowed: weights of"
    ):
        start(state)
    save_weights(tmp_path / "other", variables, {"model": "vgg16"})
    _, state, start = page_state(tmp_path / "other")
    with pytest.raises(ValueError, match="weights of vgg16; allowed: of resnet8_cifar"):
        start(state)
    _, state, start = page_state(tmp_path / "nothing")
    with pytest.raises(ValueError, match="holds no trained network"):
        start(state)


@pytest.mark.slow
def test_nothing_is_overwritten(published, tmp_path):
    _, variables = published
    (tmp_path / "note").write_text("mine")
    with pytest.raises(ValueError, match="not empty; allowed: a new or empty folder"):
        save_weights(tmp_path, variables, {"model": MODEL})


@pytest.mark.parametrize("damage", ["short", "flipped"])
def test_damaged_weights_are_refused(tmp_path, damage):
    save_weights(tmp_path, {"w": np.random.default_rng(0).normal(size=(64, 64))}, {"model": "mlp"})
    assert load_weights(tmp_path)[0] == {"model": "mlp"}
    path = max((p for p in (tmp_path / "variables").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content if damage == "flipped" else content[:100])
    problem = "w differs from its checksum" if damage == "flipped" else "Error reading"
    with pytest.raises(ValueError, match=f"damaged.*{problem}.*; allowed: a whole one"):
        load_weights(tmp_path)

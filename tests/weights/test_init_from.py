"""Detectors and segmenters start from the modules that another network has, too."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import optax
import pytest
from flax import struct

from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.models import create_model
from dlcore.pretrained import from_pretrained
from dlcore.run import fit
from dlcore.weights import start as module
from dlcore.weights.check import load_data
from dlcore.weights.fit import fit_modules
from dlcore.weights.open import Weights
from dlcore.weights.read import save_weights
from dlcore.weights.start import open_classifier_of_model, open_modules, start_backbone, start_classifier, start_modules
from experiments import find_experiment
from experiments.detection.localization import experiment as localization
from experiments.detection.single_stage import experiment as single_stage
from experiments.segmentation.unet import experiment as unet
from tests.overriding import run_of

WIDTH = "--model.width=4"


def network(classes: int, fill: float, *modules: str) -> dict:
    """Variables of a network with a backbone and other modules, whose last layer names classes."""
    layers = {"norm": {"scale": np.full((4,), fill)}, "class": {"kernel": np.full((4, classes), fill)}}
    layers["class"] |= {"bias": np.full((classes,), fill), "gain": np.full((1,), fill)}
    backbone = {"conv": {"kernel": np.full((3, 3, 3, 4), fill)}}
    return {
        "params": {"backbone": backbone, **dict.fromkeys(modules, layers)},
        "batch_stats": {"backbone": {"mean": np.full((4,), fill)}},
    }


def layer_of_zeros(classes: int) -> dict:
    return network(classes, 0.0, "box_head")["params"]["box_head"]["class"]


def test_all_that_both_networks_have_is_taken():
    fitted, anew = fit_modules(network(3, 1.0, "box_head"), network(3, 0.0, "box_head", "mask_head"), True)
    assert anew == ["mask_head"]
    expected = network(3, 1.0, "box_head", "mask_head")
    expected["params"]["mask_head"] = network(3, 0.0, "mask_head")["params"]["mask_head"]
    jax.tree.map(np.testing.assert_array_equal, fitted, expected)
    fitted, anew = fit_modules(network(3, 1.0, "box_head", "mask_head"), network(3, 0.0, "box_head"), True)
    jax.tree.map(np.testing.assert_array_equal, fitted, network(3, 1.0, "box_head"))
    assert anew == []


def test_layers_that_name_other_classes_start_anew_as_a_whole():
    fitted, anew = fit_modules(network(3, 1.0, "box_head"), network(5, 0.0, "box_head"), False)
    assert anew == ["box_head/class"]
    jax.tree.map(np.testing.assert_array_equal, fitted["params"]["box_head"]["class"], layer_of_zeros(5))
    np.testing.assert_array_equal(fitted["params"]["box_head"]["norm"]["scale"], np.ones(4))
    np.testing.assert_array_equal(fitted["batch_stats"]["backbone"]["mean"], np.ones(4))


def test_unused_stages_of_a_backbone_are_left_out():
    source = network(3, 1.0)
    source["params"]["backbone"]["head"] = {"kernel": np.ones((4, 10))}
    jax.tree.map(np.testing.assert_array_equal, fit_modules(source, network(3, 0.0), False)[0], network(3, 1.0))


def test_weights_of_other_shapes_or_names_are_refused():
    with pytest.raises(ValueError, match=r"^w: params/box_head/class/bias is \(3,\), not \(5,\); .*; allowed: weights"):
        fit_modules(network(3, 1.0, "box_head"), network(5, 0.0, "box_head"), True, "w")
    other = network(3, 0.0, "box_head")
    other["params"]["backbone"]["conv"]["kernel"] = np.zeros((5, 5, 3, 4))
    with pytest.raises(ValueError, match=r"params/backbone/conv/kernel is \(3, 3, 3, 4\), not \(5, 5, 3, 4\)"):
        fit_modules(network(3, 1.0, "box_head"), other, False)
    other["params"]["backbone"] = {"first": np.zeros(2)}
    with pytest.raises(ValueError, match="params/backbone/first is missing"):
        fit_modules(network(3, 1.0, "box_head"), other, False)
    source = network(3, 1.0, "box_head")
    source["params"]["box_head"]["more"] = np.ones(2)
    with pytest.raises(ValueError, match="params/box_head/more is left over"):
        fit_modules(source, network(3, 0.0, "box_head"), False)
    with pytest.raises(ValueError, match="has the modules down_0; allowed: weights with one or more of backbone, head"):
        fit_modules({"params": {"down_0": {}}}, network(3, 0.0, "head"), True)


def trained(experiment, folder, *words):
    """A run of one step: (its state, whose running statistics differ from the initial ones, and its setup)."""
    run = ResolvedRun(experiment, resolve(experiment, ["--smoke", *words, f"--run_dir={folder}"]))
    splits = experiment.run(run.flags).load()
    setup = run.training_of(splits)
    folder.mkdir()
    run.write_config(setup.spec)
    return fit(setup.build(), run.pipelines(splits), steps=1, folder=folder, progress=False).state


def started(experiment, *words):
    """(The initial state, the state after `start`)."""
    run = ResolvedRun(experiment, resolve(experiment, ["--smoke", *words]))
    splits = experiment.run(run.flags).load()
    setup = run.training_of(splits)
    state = jax.jit(setup.build().init)(jax.random.key(0), splits.train[:2])
    return state, setup.start()(state)


@pytest.mark.weekly
def test_a_detector_starts_from_a_run(tmp_path, capsys):
    source = trained(localization, tmp_path / "run", WIDTH, "--ema=none")
    capsys.readouterr()
    before, after = started(single_stage, WIDTH, "--image_size=48,48", f"--init_from={tmp_path / 'run'}")
    assert "does not give" in capsys.readouterr().out
    for mine, theirs in (
        (after.params["backbone"], source.params["backbone"]),
        (after.model_state["batch_stats"]["backbone"], source.model_state["batch_stats"]["backbone"]),
    ):
        mine, theirs = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (mine, theirs))
        assert mine
        for path, leaf in mine.items():
            np.testing.assert_array_equal(leaf, theirs[path])
    rest = [{k: v for k, v in state.params.items() if k != "backbone"} for state in (before, after)]
    jax.tree.map(np.testing.assert_array_equal, *rest)
    averages = [leaf for leaf in jax.tree.leaves(after.opt_state) if leaf.shape == (3, 3, 3, 4)]
    kernel = next(leaf for leaf in jax.tree.leaves(after.params["backbone"]) if leaf.shape == (3, 3, 3, 4))
    assert any(np.array_equal(leaf, kernel) for leaf in averages), "the average starts from the weights, too"


@pytest.mark.slow
def test_a_classifier_gives_the_backbone_and_no_more(tmp_path):
    fields = {"width": 4, "stages": (1, 1, 1, 1), "stem_stride": 2}
    model = create_model("resnet8_cifar", num_classes=7, **fields)
    weights = jax.jit(model.init)(jax.random.key(1), np.zeros((1, 32, 32, 3), np.float32))
    folder = tmp_path / "weights"
    save_weights(folder, weights, {"model": "resnet8_cifar", "fields": fields, "num_classes": 7})
    backbone = started(localization, WIDTH, f"--init_from={folder}")[1].params["backbone"]
    for name in backbone.keys() - {"head"}:
        jax.tree.map(np.testing.assert_array_equal, backbone[name], weights["params"][name])
    with pytest.raises(ValueError, match=r"init_from='.*': has the modules .*; allowed: weights with one or more of"):
        started(unet, f"--init_from={folder}")
    save_weights(tmp_path / "other", weights, {"model": "resnet20_cifar", "fields": fields, "num_classes": 7})
    with pytest.raises(ValueError, match=r"its backbone is resnet20_cifar; allowed: resnet8_cifar, as --model here"):
        started(localization, WIDTH, f"--init_from={tmp_path / 'other'}")
    gray = jax.jit(model.init)(jax.random.key(1), np.zeros((1, 32, 32, 1), np.float32))
    save_weights(tmp_path / "gray", gray, {"model": "resnet8_cifar", "fields": fields, "num_classes": 7})
    with pytest.raises(ValueError, match=r"stem_conv/kernel is \(3, 3, 1, 4\), not \(3, 3, 3, 4\); allowed: weights"):
        started(localization, WIDTH, f"--init_from={tmp_path / 'gray'}")


@pytest.mark.parametrize(
    ("page", "model", "problem"),
    [
        ("generative.vae", None, "a run of generative.vae, without a backbone; allowed: resnet18, as --model here"),
        ("classification.supervised", "mlp", "its backbone is mlp; allowed: resnet18, as --model here"),
        ("segmentation.unet", None, None),
        ("self_supervised.moco", "resnet18", None),
    ],
)
def test_a_run_that_has_no_such_backbone_is_refused_before_data_are_read(monkeypatch, page, model, problem):
    found = Weights("init_from", Path("run"), page=page, model=model)
    monkeypatch.setattr(module, "open_weights", lambda *args: found)
    flags = Flags({"init_from": "run", "model": "resnet18"})
    if problem is None:
        assert open_modules(flags) is found
        return
    with pytest.raises(ValueError, match=problem):
        open_modules(flags)


@struct.dataclass
class Trained:
    params: Any
    model_state: Any
    opt_state: Any = None
    teacher_params: Any = None
    teacher_model_state: Any = None


def started_from(start, state, classes=("a", "b", "c"), model=None, **flags):
    """Start a state from the weights that `open_weights` gives, with SGD and momentum; return the state."""
    setup = run_of(
        Flags({"init_from": "w", "model": model, **flags}),
        {"class_names": list(classes)},
        optimizer=SimpleNamespace(build=lambda *length: optax.sgd(0.1, momentum=0.9)),
    )
    started = start(setup)
    assert started.check(state) is None
    return started(state)


@pytest.fixture
def given(monkeypatch):
    """Make `open_weights` give these variables, of a network that told these classes apart."""

    def give(variables, classes, page="detection.fcos", model=None):
        found = Weights("init_from", Path("w"), page=page, model=model, class_names=classes)
        monkeypatch.setattr(module, "open_weights", lambda *args: found)
        monkeypatch.setattr(Weights, "variables", lambda weights: variables)

    return give


def state_of(classes, fill, *modules):
    variables = network(classes, fill, *modules)
    return Trained(variables.pop("params"), variables, "old")


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("a", "b", "c"), ""),
        (None, ""),
        (("x", "y", "z"), "its layers of classes are kept, though they told x, y, z apart, not a, b, c"),
    ],
)
def test_modules_of_weights_replace_the_initial_ones_and_the_optimizer_starts_anew(given, capsys, classes, said):
    given(network(3, 1.0, "box_head"), classes)
    after = started_from(start_modules, state_of(3, 0.0, "box_head", "mask_head"))
    jax.tree.map(np.testing.assert_array_equal, after.params["box_head"], network(3, 1.0, "x")["params"]["x"])
    jax.tree.map(np.testing.assert_array_equal, after.params["mask_head"], network(3, 0.0, "x")["params"]["x"])
    np.testing.assert_array_equal(after.model_state["batch_stats"]["backbone"]["mean"], np.ones(4))
    assert jax.tree.structure(after.opt_state[0].trace) == jax.tree.structure(after.params)
    out = capsys.readouterr().out
    assert "init_from='w': does not give mask_head, which start anew" in out
    assert said in out
    assert ("layers of classes" in out) is bool(said)


def test_the_words_of_other_classes_name_five_and_count_the_rest(given, capsys):
    given(network(6, 1.0, "box_head"), tuple("uvwxyz"))
    started_from(start_modules, state_of(6, 0.0, "box_head"), "abcdef")
    assert "told u, v, w, x, y, ... (6) apart, not a, b, c, d, e, ... (6)" in capsys.readouterr().out
    given(network(5, 1.0, "box_head"), tuple("vwxyz"))
    started_from(start_modules, state_of(5, 0.0, "box_head"), "abcde")
    assert "told v, w, x, y, z apart, not a, b, c, d, e\n" in capsys.readouterr().out


@pytest.mark.parametrize("number", [3, 5])
def test_classes_of_another_number_or_of_the_backbone_alone_are_no_kept_layers(given, capsys, number):
    given(network(number, 1.0, *(["box_head"] if number == 5 else [])), tuple("vwxyz"[:number]))
    after = started_from(start_modules, state_of(3, 0.0, "box_head"))
    assert "layers of classes" not in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, after.params["box_head"]["class"], layer_of_zeros(3))
    np.testing.assert_array_equal(after.params["backbone"]["conv"]["kernel"], np.ones((3, 3, 3, 4)))


def test_a_classifier_gives_the_backbone_of_the_model_that_it_is(given):
    given({"params": network(3, 1.0)["params"]["backbone"]}, None, "classification.supervised", "tiny")
    state = state_of(3, 0.0, "box_head")
    state = state.replace(model_state={})
    after = started_from(start_modules, state, model="tiny")
    np.testing.assert_array_equal(after.params["backbone"]["conv"]["kernel"], np.ones((3, 3, 3, 4)))
    with pytest.raises(ValueError, match=r"^init_from='w': its backbone is tiny; allowed: large, as --model here"):
        started_from(start_modules, state, model="large")


def test_a_pretext_takes_the_backbone_without_its_head_and_gives_its_teacher_a_copy(given):
    weights = network(3, 1.0, "projector")
    weights["params"]["backbone"]["head"] = {"kernel": np.full((4, 10), 9.0)}
    given(weights, None, "detection.fcos", "tiny")
    state = state_of(3, 0.0, "projector")
    state.params["backbone"]["head"] = {"kernel": np.zeros((4, 7))}
    state = state.replace(teacher_params=state.params, teacher_model_state=state.model_state)
    after = started_from(start_backbone, state, model="tiny")
    np.testing.assert_array_equal(after.params["backbone"]["conv"]["kernel"], np.ones((3, 3, 3, 4)))
    np.testing.assert_array_equal(after.params["backbone"]["head"]["kernel"], np.zeros((4, 7)))
    jax.tree.map(np.testing.assert_array_equal, after.params["projector"], state.params["projector"])
    np.testing.assert_array_equal(after.model_state["batch_stats"]["backbone"]["mean"], np.ones(4))
    np.testing.assert_array_equal(state.params["backbone"]["conv"]["kernel"], np.zeros((3, 3, 3, 4)))
    copies = after.teacher_params, after.teacher_model_state
    jax.tree.map(np.testing.assert_array_equal, copies, (after.params, after.model_state))
    assert after.opt_state[0].trace["backbone"]["conv"]["kernel"].shape == (3, 3, 3, 4)


def test_without_weights_nothing_is_started():
    setup = run_of(Flags({"init_from": None, "model": None}))
    for start in (start_classifier, start_modules, start_backbone):
        assert start(setup) is None
    for opened in (open_classifier_of_model, open_modules):
        assert opened(setup.flags) is None


HUB = Path(__file__).parents[1] / "goldens" / "hub"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "name", "words"),
    [
        ("detection.fcos", "microsoft--swin-tiny", ["--fcos.stages=stage1,stage2"]),
        (
            "segmentation.deeplab",
            "facebook--dinov3-convnext-tiny",
            ["--deeplab.stage=stage4", "--deeplab.aux_stage=stage3"],
        ),
        ("self_supervised.rotation", "timm--resnet18.tiny", []),
    ],
)
def test_a_published_network_gives_the_backbone(page, name, words):
    """Also one that was published without a head; a pretext has a module `head` of its own, as the network has."""
    experiment = find_experiment(page)
    run = ResolvedRun(experiment, resolve(experiment, ["--smoke", f"--model={HUB / name}", *words]))
    setup = run.training_of(load_data(run))
    shapes = jax.eval_shape(setup.build().init, jax.random.key(0), run.example(setup.spec))
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes.replace(rng=None))
    start = setup.start()
    start.check(state)
    published = from_pretrained(HUB / name).variables["params"]
    backbone = start(state).params["backbone"]
    assert backbone.keys() - {"head"}
    for layer in backbone.keys() - {"head"}:
        jax.tree.map(np.testing.assert_array_equal, backbone[layer], published[layer])

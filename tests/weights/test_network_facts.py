"""What a trained network says of itself, how it is packed, and the features that it gives; networks of few units."""

import json
from pathlib import Path
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
from flax import linen as nn

from dlcore.data import labeled_images
from dlcore.experiment.flags import Flags
from dlcore.pretrained.processor import Processor
from dlcore.run.json_files import write_json
from dlcore.setting import FlagError
from dlcore.weights import network as module
from dlcore.weights import small_classifier
from dlcore.weights.network import TrainedNetwork, check_fits, feature_extractor, model_of
from dlcore.weights.open import PUBLISHED, Weights

FOUND = Weights("network", Path("w"), model="tiny", mean=(0.5,), std=(0.25,), spec={"num_classes": 3})
NAMED = FOUND._replace(class_names=("a", "b", "c"))


def test_a_network_must_take_the_channels_and_tell_the_classes_apart():
    assert check_fits(FOUND) == ("0", "1", "2")
    assert check_fits(NAMED, channels=1, class_names=["a", "b", "c"]) == ("a", "b", "c")
    assert check_fits(NAMED, class_names=["x", "y", "z"]) == ("a", "b", "c"), "names of another kind are only counted"
    for words, message in (
        ({"channels": 3}, "trained on images of 1 channels; allowed: 3"),
        ({"class_names": ["a", "b"]}, "has 3 classes; allowed: 2"),
        ({"class_names": ["a", "c", "b"]}, "its class 1 is 'b'; allowed: 'c', as in the data"),
    ):
        with pytest.raises(ValueError, match=f"^network='w': {message}"):
            check_fits(NAMED, **words)
    with pytest.raises(ValueError, match="trained on images of 0 channels; allowed: 1"):
        check_fits(FOUND._replace(mean=None), channels=1)


@pytest.mark.parametrize(
    ("page", "technique", "model", "classes", "headless", "message"),
    [
        ("classification.supervised", "", "resnet18", ("a",), False, None),
        ("mine.page", "dlcore.classification.supervised", "resnet18", ("a",), False, None),
        ("self_supervised.moco", "", "resnet18", ("a",), True, None),
        ("self_supervised.moco", "", "resnet18", ("a",), False, r"self_supervised.moco, without a head; allowed: runs"),
        ("mine.page", "dlcore.detection.fcos", "resnet18", ("a",), False, "a run of mine.page, without a head"),
        ("segmentation.unet", "", "resnet18", ("a",), False, "a run of segmentation.unet, without a head"),
        ("mine.page", "", "resnet18", None, False, r"a run of mine.page; allowed: runs of a classifier$"),
        ("no.model", "", None, ("a",), True, "allowed: runs of a classifier, or of a page with a backbone of the zoo$"),
        ("of.texts", "", "bert", ("a",), False, "a run of of.texts; allowed: runs of a classifier$"),
    ],
)
def test_a_classifier_is_a_run_with_a_network_of_images_and_with_classes(
    page, technique, model, classes, headless, message
):
    found = FOUND._replace(page=page, technique=technique, model=model, class_names=classes)
    if message is None:
        module.require_classifier(found, headless)
        return
    with pytest.raises(ValueError, match=message):
        module.require_classifier(found, headless)


def test_converted_weights_without_a_head_are_a_backbone_alone():
    found = FOUND._replace(spec={"headless": True})
    module.require_classifier(found, headless=True)
    with pytest.raises(ValueError, match="converted from a file without a head; allowed: weights of a classifier"):
        module.require_classifier(found)


def test_a_run_names_the_published_network_that_it_started_from(monkeypatch):
    monkeypatch.setattr(module, "is_published", lambda source: source.startswith("hf:"))
    found = FOUND._replace(page="a.page", settings={"init_from": "hf:org/net"})
    monkeypatch.setattr(module, "open_classifier", lambda run, argument: found)
    assert module.published_source("w", "network") == "org/net"
    for other, said in (
        (found._replace(settings={"init_from": "runs/a"}), "runs/a"),
        (found._replace(settings={}), "no published weights"),
        (found._replace(page=None), "no published weights"),
    ):
        monkeypatch.setattr(module, "open_classifier", lambda run, argument, other=other: other)
        with pytest.raises(ValueError, match=f"^network='w': started from {said}; allowed: the folder of a run with"):
            module.published_source("w", "network")


@pytest.fixture
def opened(monkeypatch):
    """Make `open_classifier` give weights with variables."""

    def give(found, variables):
        asked = []
        monkeypatch.setattr(module, "open_classifier", lambda *args: asked.append(args) or found)
        monkeypatch.setattr(Weights, "variables", lambda weights: variables)
        monkeypatch.setattr(module, "model_of", lambda found: "the model")
        return asked

    return give


def test_the_size_of_images_is_that_of_the_run_the_file_or_the_published_processor(monkeypatch, opened):
    def sizes(found):
        opened(found, {"params": {}})
        network = module.load_network("w")
        return network.side, network.input_size

    monkeypatch.setattr(module, "input_shape", lambda model: (224, 200, 3))
    run = NAMED._replace(page="classification.supervised", spec={"image_shape": [8, 8, 1]}, settings={"input_size": 16})
    assert sizes(run) == (8, 16)
    wide = run._replace(spec={"image_shape": [8, 12, 1]}, settings={"input_size": None})
    assert sizes(wide) == ((8, 12), (16, 24)), "images below 16 pixels are doubled"
    assert sizes(NAMED._replace(spec={"side": 32, "input_size": 64})) == (32, 64)
    assert sizes(NAMED) == (224, None)
    published = NAMED._replace(spec={PUBLISHED: True}, fields={"image_size": 48})
    for processor, side in (
        (None, 48),
        (Processor(), 48),
        (Processor(size=(40, 36)), 40),
        (Processor(size=(40, 40), crop=(32, 28)), 32),
    ):
        monkeypatch.setattr(module, "read_about", lambda path, p=processor: SimpleNamespace(preprocess=p))
        assert sizes(published) == (side, None)


def test_a_packed_file_holds_half_precision_and_the_facts_of_the_run(opened, tmp_path):
    spec = {"image_shape": [8, 8, 1], "mean": [0.5], "std": [0.25], "class_names": ["a"], "dataset": "digits"}
    run = NAMED._replace(page="a.page", path=tmp_path, spec=spec, fields={"width": 4}, settings={"input_size": 16})
    opened(run, {"params": {"conv": {"kernel": np.full((1, 2), 0.1, np.float32)}}})
    write_json(tmp_path / "config.json", {"commit": "c"})
    module.pack(tmp_path, tmp_path / "plain.npz")
    command = "python -m page --runs=/a --data_dir=/home/x --run_dir=/b --seed=1"
    write_json(tmp_path / "result.json", {"command": command, "value": 0.75})
    module.pack(tmp_path, tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz") as file:
        meta, kernel = json.loads(str(file["meta"])), file["params/conv/kernel"]
    assert (kernel.dtype, kernel.shape) == (np.float16, (1, 2))
    assert meta == {
        "model": "tiny", "fields": {"width": 4}, "side": 8, "input_size": 16, "mean": [0.5], "std": [0.25],
        "class_names": ["a"], "dataset": "digits", "command": "python -m page --data_dir=$DATA_DIR --seed=1",
        "test_accuracy": 0.75, "commit": "c",
    }  # fmt: skip
    with np.load(tmp_path / "plain.npz") as file:
        plain = json.loads(str(file["meta"]))
    assert (plain["command"], plain["test_accuracy"]) == (None, None)
    opened(run._replace(settings={"head": "mlp"}), {})
    with pytest.raises(ValueError, match=r"its head is no linear layer; allowed: a run with --head=linear"):
        module.pack(tmp_path, tmp_path / "w.npz")


def test_without_a_network_a_small_one_is_trained_on_the_data_of_the_page():
    assert small_classifier.find_or_train(Flags({"network": "runs/a"}), None) == Path("runs/a")
    data = dict.fromkeys(labeled_images.SETTINGS) | {"valid_fraction": 0.25, "data_dir": "d"}
    flags = {"network": None, "network_steps": 40, "smoke": True, "seed": 3, "runs": "r", "progress": False, **data}
    flags = Flags({**flags, "dataset": "digits", "input_size": 32})
    page = SimpleNamespace(trained=lambda *args: args)
    words, what = small_classifier.find_or_train(flags, page)
    assert what == "training a small classifier"
    with pytest.raises(FlagError, match=r"^--network=None: the page names no classifier to train; allowed: a trained"):
        small_classifier.find_or_train(flags, None)
    assert words[:8] == [
        "--dataset=digits", "--steps=40", "--eval_every=100000", "--model=resnet8_cifar", "--model.width=16",
        "--model.stem_stride=2", "--model.stages=(1,)", "--augment=none",
    ]  # fmt: skip
    rest = {"--seed=3", "--data_dir=d", "--valid_fraction=0.25", "--runs=r", "--progress=False"}
    assert set(words[8:]) == rest


class Pooled(nn.Module):
    """A network whose last map is its input's double, and whose logits are its input's means."""

    num_classes: int = 2

    def features(self, x, train=False):
        return {"first": 9 * x, "last": 2 * x}

    def __call__(self, x, train=False):
        return x.mean((1, 2))


def trained(model, **words):
    return TrainedNetwork("tiny", {}, model, {}, np.zeros(2), np.ones(2), ("a", "b"), **{"side": 2, **words})


def test_features_are_means_of_the_last_map_and_probabilities_those_of_the_logits():
    """Images of means (m, 0) have the features (2 m, 0), and class 0 has the probability sigmoid(m)."""
    means = np.arange(5) / 4
    images = np.zeros((5, 2, 3, 2), np.float32)
    images[:, 0, 0, 0] = 6 * means  # one pixel of six
    features, probabilities = feature_extractor(trained(Pooled()))(images)
    chex.assert_shape(features, (5, 2))
    np.testing.assert_allclose(features, np.stack([2 * means, 0 * means], 1), rtol=1e-6)
    np.testing.assert_allclose(probabilities[:, 0], 1 / (1 + np.exp(-means)), rtol=1e-6)
    features, probabilities = feature_extractor(trained(Pooled(0)))(images)
    assert probabilities is None
    chex.assert_shape(features, (5, 2))


@pytest.mark.parametrize(
    ("words", "count", "batches"),
    [
        ({}, 5, [8]),
        ({}, 1, [1]),
        ({}, 257, [256, 256]),
        ({"side": 64}, 33, [64]),
        ({"side": 65}, 33, [32, 32]),
        ({"side": (64, 65)}, 40, [32, 32]),
        ({"input_size": 80}, 33, [32, 32]),
    ],
)
def test_batches_have_a_power_of_two_of_images_and_large_images_32_at_most(monkeypatch, words, count, batches):
    seen = []
    monkeypatch.setattr(jax, "jit", lambda function: lambda variables, images: seen.append(len(images)) or (images,))
    monkeypatch.setattr(module, "normalizer", lambda mean, std, size: size)
    images = np.arange(count, dtype=np.float32)[:, None]
    features, probabilities = feature_extractor(trained(Pooled(), **words))(images)
    assert (seen, probabilities) == (batches, None)
    np.testing.assert_array_equal(features, images)


@pytest.mark.parametrize(
    ("settings", "head"),
    [({"head": "mlp", "head_units": 7}, {(7, 3)}), ({"head": "linear", "head_units": 7}, {(5, 3)})],
)
def test_a_model_has_the_fields_and_the_head_of_its_weights(settings, head):
    found = Weights(
        "network", Path("w"), model="mlp", fields={"hidden": (4, 5)}, spec={"num_classes": 3}, settings=settings
    )
    variables = jax.eval_shape(model_of(found).init, jax.random.key(0), np.zeros((1, 2, 2, 1), np.float32))
    shapes = [x.shape for x in jax.tree.leaves(variables["params"])]
    assert {shape for shape in shapes if len(shape) == 2 and shape[1] == 3} == head
    assert (4, 5) in shapes

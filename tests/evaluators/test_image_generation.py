"""The default classifier, its features, and the measures of an experiment that generates images."""

import json
from pathlib import Path
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest

from dlcore.data import images as images_parts
from dlcore.data.digits import digits
from dlcore.data.source import Source
from dlcore.data.splits import Splits, metric_label
from dlcore.evaluators import image_generation
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.weights.network import PACKED, feature_extractor, load_network
from dlcore.weights.open import Weights
from dlcore.weights.small_classifier import find_or_train
from experiments.classification.supervised import experiment as supervised
from experiments.generative.ddpm import experiment
from tests.overriding import run_of


@pytest.fixture(scope="module")
def resolved(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    words = ["--smoke", f"--runs={runs}", "--network_steps=1", "--num_samples=6", "--noprogress"]
    return ResolvedRun(experiment, resolve(experiment, words).replace(smoke=False))


@pytest.fixture(scope="module")
def folder(resolved):
    return find_or_train(resolved.flags, supervised)


@pytest.mark.weekly
def test_the_default_classifier_is_trained_once_and_found_again(resolved, folder):
    written = (folder / "result.json").stat().st_mtime_ns
    assert find_or_train(resolved.flags, supervised) == folder
    assert (folder / "result.json").stat().st_mtime_ns == written
    assert find_or_train(resolved.flags.replace(network=str(folder)), None) == folder


@pytest.mark.weekly
def test_the_default_classifier_is_recorded_as_a_command_of_its_own(resolved, folder):
    for name in ("config.json", "result.json"):
        command = json.loads((folder / name).read_text())["command"]
        assert command.startswith("python -m experiments.classification.supervised --dataset=digits --steps=1"), command


@pytest.mark.weekly
def test_features_are_the_pooled_last_map_and_do_not_depend_on_the_batch(folder):
    extract = feature_extractor(load_network(folder))
    images = digits("test").arrays["image"][:300]
    features, probabilities = extract(images)
    chex.assert_shape(features, (300, 64))  # the last of three stages, 16 channels wide at first
    chex.assert_shape(probabilities, (300, 10))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(extract(images[290:])[0], features[290:], rtol=1e-4, atol=1e-5)
    as_bytes = np.rint(255 * images[:4]).astype(np.uint8)
    np.testing.assert_allclose(extract(as_bytes)[0], features[:4], atol=0.02)


@pytest.mark.weekly
@pytest.mark.covers("ME-10")
def test_real_images_are_nearer_than_noise(resolved, folder):
    """The experiment's own measure: real test images, then the same with noise, in place of samples."""
    splits = experiment.run(resolved.flags).load()
    (measure,) = resolved.training_of(splits).evaluators(splits, "test")
    assert len(measure.source) == 6
    assert {"kid_interval", "coverage", "coverage_interval"} <= set(measure.names)
    real = splits.test.arrays["image"]
    noise = np.random.default_rng(0).random(real.shape, np.float32)
    same, near, far = (
        measure.finish(measure.add(None, {"sample": images}, None))["frechet_distance"]
        for images in (real, 0.7 * real + 0.3 * noise, noise)
    )
    assert same == pytest.approx(0, abs=1e-5)
    assert same < near < far


@pytest.mark.weekly
def test_distances_in_the_features_of_a_network_for_other_images(resolved):
    """The VGG that dlcore ships saw 32x32 colors: gray digits are resized and fill its three channels."""
    flags = resolved.flags.replace(frechet_network=str(PACKED))
    splits = experiment.run(flags).load()
    (measure,) = image_generation.evaluators(resolved.training_of(splits).replace(flags=flags), splits, "test")
    real = splits.test.arrays["image"]
    numbers = measure.finish(measure.add(None, {"sample": real}, None))
    assert numbers["frechet_distance"] == pytest.approx(0, abs=1e-3)
    network = load_network()
    large = np.repeat(jax.image.resize(real, (len(real), 32, 32, 1), "linear"), 3, -1)
    expected, _ = feature_extractor(network)(np.asarray(large))
    ((found, _),) = measure.add(None, {"sample": real}, None)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_name_of_the_distance_says_what_it_is_over(resolved):
    spec = experiment.run(resolved.flags).load().spec
    number = len(digits("test"))
    assert metric_label("frechet_distance", spec) == f"frechet_distance (resnet8_cifar, 6 samples, {number} real)"
    assert metric_label("kid", spec) == "kid"
    flags = resolved.flags.replace(frechet_network=str(PACKED))
    assert experiment.run(flags).load().spec["about"]["frechet_distance"].startswith(load_network().name)
    with pytest.raises(ValueError, match="frechet_network='nothing': holds no trained network"):
        experiment.run(resolved.flags.replace(frechet_network="nothing")).load()


@pytest.mark.slow
def test_samples_are_what_predict_runs_over(resolved):
    splits = experiment.run(resolved.flags).load()
    assert isinstance(splits, Splits)
    assert len(splits.shown) == images_parts.NUM_SHOWN
    assert jax.tree.leaves(splits.shown.arrays) == []
    assert "6 samples" in splits.notes[-1]


@pytest.mark.parametrize(("shape", "size"), [((32, 32), None), ((32, 64), 32), ((64, 32), 32), ((64, 64), 32)])
def test_images_are_resized_to_the_network_of_the_features_where_either_side_differs(shape, size):
    flags = Flags({"frechet_network": None, "network": str(PACKED)})
    assert image_generation.network_of(flags, {"image_shape": (*shape, 3), "num_classes": 10}).input_size == size


def test_samples_are_compared_with_training_images_and_in_the_end_with_test_images(monkeypatch):
    """Features are the brightness; of ten training images three are taken in a smoke run, by one order."""
    images = {name: Source({"image": np.arange(count) + start}) for name, count, start in (("a", 10, 0), ("b", 5, 50))}
    splits = Splits(images["a"], None, images["b"], {})
    monkeypatch.setattr(image_generation, "network_of", lambda flags, spec, page: "network")
    monkeypatch.setattr(image_generation, "feature_extractor", lambda network: lambda x: (x, network))
    monkeypatch.setattr(image_generation, "frechet_evaluator", lambda *rest, **options: (rest, options))
    setup = run_of(Flags({"num_samples": 3, "smoke": True}))
    (((features, reference, source), options),) = image_generation.evaluators(setup, splits, "valid")
    assert features("x") == ("x", "network")
    assert reference.tolist() == sorted(np.random.default_rng(0).permutation(10)[:3])
    assert (len(source), options) == (3, {"intervals": False})
    whole = setup.replace(flags=setup.flags.replace(smoke=False))
    (((_, reference, _), options),) = image_generation.evaluators(whole, splits, "test")
    assert (reference.tolist(), options) == ([50, 51, 52, 53, 54], {"intervals": True})
    (((_, reference, source, name), _),) = image_generation.reconstruction_evaluators(setup, splits, "test")
    assert (reference.tolist(), len(source), name) == ([50, 51, 52], 3, "reconstruction")
    assert image_generation.reconstruction_evaluators(setup, splits, "valid") == []
    two = splits._replace(test=images["b"].take(2))
    for measures in (image_generation.evaluators, image_generation.reconstruction_evaluators):
        assert len(measures(whole, two, "test")) == 1
    one = splits._replace(test=images["b"].take(1))
    assert image_generation.evaluators(whole, one, "test") == []
    assert image_generation.reconstruction_evaluators(setup, one, "test") == []


@pytest.mark.parametrize(
    ("flags", "classes", "name", "train", "said"),
    [
        ({}, 10, "resnet8_cifar", "10,000", ""),
        ({"smoke": True}, 10, "vgg", "2,000", ""),
        ({}, 1, "vgg", "10,000", "; it was trained on CIFAR-10, since these images have no labels"),
        ({"network": "folder"}, 1, "vgg", "10,000", ""),
        ({"frechet_network": "folder"}, 10, "vgg", "10,000", ""),
    ],
)
def test_the_data_say_what_samples_are_compared_with(monkeypatch, flags, classes, name, train, said):
    loaded = Splits(Source.indices(10_001), None, Source.indices(300), {"num_classes": classes, "x": 1}, ("first",))
    monkeypatch.setattr(image_generation, "network_of", lambda flags, spec: SimpleNamespace(name="vgg"))
    plain = {"frechet_network": None, "network": None, "smoke": False, "num_samples": 2000}
    run = SimpleNamespace(flags=Flags(plain | flags))
    splits = image_generation.Frechet().finish_data(loaded, run)
    assert splits.notes == (
        "first",
        f"frechet_distance and kid: 2,000 samples against {train} real images of the training split while training, "
        f"300 of the test split at the end, in features of {name}{said}",
    )
    about = {"frechet_distance": f"{name}, 2,000 samples, 300 real"}
    assert splits.spec == {"num_classes": classes, "x": 1, "about": about}
    assert (len(splits.shown), splits.shown.name, splits.train) == (64, "samples", loaded.train)


@pytest.mark.parametrize(
    ("flags", "classes", "channels", "path", "asked"),
    [
        ({}, 10, 3, "trained", ("network", 3, False)),
        ({}, 1, 3, "shipped", ("network", 3, False)),
        ({"smoke": True}, 10, 1, "shipped", ("network", None, False)),
        ({"network": "hf:org/name"}, 10, 3, "hf:org/name", ("network", 3, False)),
        ({"frechet_network": "hf:org/name", "network": "x"}, 10, 3, "hf:org/name", ("frechet_network", 3, True)),
        ({"frechet_network": "folder"}, 10, 1, "folder", ("frechet_network", None, False)),
    ],
)
def test_the_network_of_the_distance_is_given_shipped_or_trained(monkeypatch, flags, classes, channels, path, asked):
    network = image_generation
    found = network.TrainedNetwork("n", {}, None, None, None, None, (), 8)
    calls = []
    monkeypatch.setattr(network, "PACKED", "shipped")
    monkeypatch.setattr(network.small_classifier, "find_or_train", lambda flags, page: "trained")
    monkeypatch.setattr(network, "load_network", lambda *rest, **words: calls.append((rest, words)) or found)
    plain = {"frechet_network": None, "network": None, "smoke": False}
    spec = {"image_shape": (8, 8, channels), "num_classes": classes}
    assert image_generation.network_of(Flags(plain | flags), spec) == found
    argument, channels, headless = asked
    assert calls == [((path, argument), {"channels": channels, "headless": headless})]


def test_the_network_of_the_distance_initializes_nothing(monkeypatch):
    opened = []
    weights = Weights("frechet_network", Path("there"))
    monkeypatch.setattr(
        image_generation, "open_classifier", lambda *rest, **options: opened.append((rest, options)) or weights
    )
    assert image_generation.origin(Flags({"frechet_network": None})) is None
    for source, headless in (("there", False), ("hf:org/name", True)):
        found = image_generation.origin(Flags({"frechet_network": source}))
        assert (found.path, found.initializes) == (Path("there"), False)
        assert opened.pop() == ((source, "frechet_network"), {"headless": headless})

"""A packed network gives what the run gave, and the one that comes along knows its classes."""

import json

import jax
import numpy as np
import pytest

from dlcore.data.digits import digits
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun, restore_state
from dlcore.kits.network import PACKED, load_network, pack
from dlcore.main import run
from dlcore.run import evaluate
from experiments.classification.supervised import experiment

SMALL = ["--model=resnet8_cifar", "--model.width=4", "--batch_size=32", "--steps=3", "--augment=none", "--eval_every=3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    before = jax.config.jax_default_matmul_precision
    folder = tmp_path_factory.mktemp("network") / "run"
    assert run(experiment, [*SMALL, f"--run_dir={folder}"]) == 0
    jax.config.update("jax_default_matmul_precision", before)
    return folder


def probabilities(network, images):
    x = (images[..., :] - network.mean) / network.std
    return jax.nn.softmax(network.model.apply(network.variables, x))


def test_a_run_as_a_network(folder):
    """Its accuracy is that of the run's averaged parameters, on images that went the same way."""
    network = load_network(folder, experiment)
    assert network.side == 8
    assert network.class_names == tuple("0123456789")
    resolved = ResolvedRun(experiment, resolve(experiment, [f"--run={folder}"]))
    spec = resolved.config()["spec"]
    learner = experiment.build(resolved.setup(spec))
    _, state = restore_state(resolved, learner, experiment.example(spec), "last")
    test = digits("test")
    images = jax.image.resize(test.arrays["image"], (len(test), 16, 16, 1), "linear")
    right = np.asarray(probabilities(network, images).argmax(-1)) == test.arrays["label"]
    assert right.mean() == pytest.approx(evaluate(learner, state, test)["accuracy"], abs=1e-6)


def test_packing_loses_half_a_float(folder, tmp_path, monkeypatch):
    path = tmp_path / "small.npz"
    pack(folder, experiment, path)
    monkeypatch.setattr("dlcore.kits.network.PACKED", path)
    packed, whole = load_network(), load_network(folder, experiment)
    assert packed.class_names == whole.class_names
    assert jax.tree.structure(packed.variables) == jax.tree.structure(whole.variables)
    for a, b in zip(jax.tree.leaves(packed.variables), jax.tree.leaves(whole.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_the_network_that_comes_along():
    network = load_network()
    with np.load(PACKED) as file:
        meta = json.loads(str(file["meta"]))
    assert network.class_names[:3] == ("airplane", "automobile", "bird")
    assert meta["test_accuracy"] > 0.8
    assert "vgg9_cifar" in meta["command"]
    assert "/" not in meta["command"].split("--data_dir=")[-1].split()[0].strip("$")
    shapes = jax.eval_shape(network.model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    assert jax.tree.map(np.shape, network.variables) == jax.tree.map(lambda x: x.shape, dict(shapes))
    grey = probabilities(network, np.broadcast_to(network.mean, (1, 32, 32, 3)))
    assert np.isfinite(np.asarray(grey)).all()


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is no run of classification"):
        load_network(tmp_path, experiment)

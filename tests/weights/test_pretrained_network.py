"""Every source of a trained network (run, packed file, converted weights) serves every use; wrong ones are named.

A run of three steps is trained once for the whole file.
"""

import json
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from dlcore.data import labeled_images
from dlcore.data.digits import digits
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun, restore_state
from dlcore.main import fast_compilation, run
from dlcore.run import evaluate, fit
from dlcore.weights.network import PACKED, feature_extractor, load_network, pack
from dlcore.weights.read import save_weights
from dlcore.weights.small_classifier import find_or_train
from experiments.classification.distillation import experiment as distillation
from experiments.classification.supervised import experiment as supervised
from experiments.generative.ddpm import experiment as ddpm
from experiments.self_supervised.moco import experiment as moco

MODEL = ["--model=resnet8_cifar", "--model.width=4", "--model.stages=1"]
SOURCES = ("run", "packed", "converted")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """{kind: where the same small classifier of digits is}."""
    before = jax.config.jax_default_matmul_precision
    root = tmp_path_factory.mktemp("networks")
    words = [*MODEL, "--batch_size=32", "--steps=3", "--augment=none", "--eval_every=3", f"--run_dir={root / 'run'}"]
    assert run(supervised, words) == 0
    jax.config.update("jax_default_matmul_precision", before)
    pack(root / "run", root / "packed.npz")
    network = load_network(root / "run")
    about = {"model": network.name, "fields": {"width": 4, "stages": [1]}, "num_classes": 10}
    about |= {"mean": network.mean.tolist(), "std": network.std.tolist()}
    save_weights(root / "converted", network.variables, about)
    return {"run": root / "run", "packed": root / "packed.npz", "converted": root / "converted"}


@pytest.fixture(scope="module")
def weights(sources):
    return load_network(sources["run"]).variables


@pytest.fixture(scope="module")
def splits():
    return supervised.run(resolve(supervised, [])).load()


def setup_of(experiment, splits, *words):
    return ResolvedRun(experiment, resolve(experiment, ["--smoke", *words])).training_of(splits)


def assert_half_close(a, b):
    """Equal but for the rounding to float16 of a packed file."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-6), a, b)


@pytest.mark.slow
@pytest.mark.weekly(only=["run"])
@pytest.mark.parametrize("kind", SOURCES)
def test_a_run_starts_from_it(kind, sources, weights, splits):
    setup = setup_of(supervised, splits, *MODEL, f"--init_from={sources[kind]}")
    state = jax.jit(setup.build().init)(jax.random.key(0), splits.train[:2])
    state = setup.start()(state)
    assert_half_close({"params": state.params, **state.model_state}, dict(weights))


@pytest.mark.weekly
def test_a_classifier_starts_from_the_encoder_of_contrastive_learning(tmp_path, splits, capsys):
    contrastive = ResolvedRun(moco, resolve(moco, ["--smoke", *MODEL, "--model.stages=1", f"--run_dir={tmp_path}"]))
    setup = contrastive.training_of(splits)
    contrastive.write_config(setup.spec)
    with fast_compilation(True):
        fit(setup.build(), contrastive.pipelines(splits), steps=1, folder=tmp_path, progress=False)
    setup = setup_of(supervised, splits, *MODEL, f"--init_from={tmp_path}")
    state = jax.jit(setup.build().init)(jax.random.key(0), splits.train[:2])
    capsys.readouterr()
    started = setup.start()(state)
    assert "gives all but the head (params/head/bias, params/head/kernel)" in capsys.readouterr().out
    resolved = ResolvedRun(moco, resolve(moco, [f"--run={tmp_path}"]))
    spec = resolved.config()["spec"]
    encoder = restore_state(resolved, resolved.training(spec).build(), resolved.example(spec), "last")[1]
    for mine, theirs in (
        (started.params, encoder.params["backbone"]),
        (started.model_state["batch_stats"], encoder.model_state["batch_stats"]["backbone"]),
    ):
        mine, theirs = ({k: v for k, v in layers.items() if k != "head"} for layers in (mine, theirs))
        assert jax.tree.structure(mine) == jax.tree.structure(theirs)
        jax.tree.map(np.testing.assert_array_equal, mine, theirs)
    np.testing.assert_array_equal(started.params["head"]["kernel"], state.params["head"]["kernel"])
    with pytest.raises(ValueError, match=r"network=.*a run of self_supervised\.moco, without a head; allowed: runs of"):
        load_network(tmp_path)
    setup = setup_of(supervised, splits, *MODEL, "--model.width=8", f"--init_from={tmp_path}")
    with pytest.raises(ValueError, match=r"does not fit the model: .* is \(4,\), not \(8,\)"):
        setup.start()(jax.eval_shape(setup.build().init, jax.random.key(0), splits.train[:2]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOURCES)
def test_a_student_learns_from_it(kind, sources, weights, splits):
    setup = setup_of(distillation, splits, f"--network={sources[kind]}")
    learner = setup.build()
    state = jax.eval_shape(learner.init, jax.random.key(0), splits.train[:2])
    started = setup.start()(state)
    assert_half_close(started.teacher, weights)
    assert jax.tree.structure(state.teacher) == jax.tree.structure(started.teacher)
    jax.eval_shape(learner.update, started, splits.train[:2])


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOURCES)
def test_samples_are_measured_by_it(kind, sources, splits):
    flags = resolve(ddpm, ["--smoke", f"--network={sources[kind]}"])
    features, probabilities = feature_extractor(load_network(find_or_train(flags, None)))(splits.test[:3]["image"])
    chex.assert_shape(features, (3, 4))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


@pytest.mark.slow
def test_its_accuracy_is_that_of_the_runs_averaged_parameters(sources):
    network = load_network(sources["run"])
    assert (network.side, network.input_size, network.class_names) == (8, 16, tuple("0123456789"))
    resolved = ResolvedRun(supervised, resolve(supervised, [f"--run={sources['run']}"]))
    spec, test = resolved.config()["spec"], digits("test")
    learner = resolved.training(spec).build()
    _, state = restore_state(resolved, learner, resolved.example(spec), "last")
    _, probabilities = feature_extractor(network)(test.arrays["image"])
    accuracy = (probabilities.argmax(-1) == test.arrays["label"]).mean()
    assert accuracy == pytest.approx(evaluate(learner, state, test)["accuracy"], abs=1e-6)


def test_the_network_that_dlcore_ships():
    network = load_network()
    with np.load(PACKED) as file:
        meta = json.loads(str(file["meta"]))
    assert network.class_names[:3] == ("airplane", "automobile", "bird")
    assert meta["test_accuracy"] > 0.8
    assert "vgg9_cifar" in meta["command"]
    assert "/" not in meta["command"].split("--data_dir=")[-1].split()[0].strip("$")
    image = np.broadcast_to(network.mean, (1, 32, 32, 3)).astype(np.float32)
    shapes = jax.eval_shape(network.model.init, jax.random.key(0), image)
    assert jax.tree.map(np.shape, network.variables) == jax.tree.map(lambda x: x.shape, dict(shapes))
    assert np.isfinite(jax.jit(network.model.apply)(network.variables, image - network.mean)).all()


@pytest.mark.slow(unless=["generative.ddpm"])
@pytest.mark.parametrize("page", [distillation, ddpm], ids=lambda page: page.name)
def test_the_default_network_has_not_seen_the_pages_test_images(page, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for i in range(60):
        file = tmp_path / "data" / ("cat", "dog")[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
    (tmp_path / "data" / "dog" / "bad.png").write_text("no image")
    trained = []
    monkeypatch.setattr("dlcore.modes.train.train", trained.append)
    words = ["--smoke", "--dataset=folder", f"--data_dir={tmp_path / 'data'}", f"--runs={tmp_path}", "--skip_bad"]
    flags = resolve(page, [*words, "--seed=3", "--valid_fraction=0.3", "--image_size=8"])
    find_or_train(flags, supervised)
    (teacher,) = trained
    own, others = labeled_images.data(flags), labeled_images.data(teacher.flags)
    for split in ("train", "valid", "test"):
        assert getattr(own, split).fingerprint.digest == getattr(others, split).fingerprint.digest
    assert not set(own.test.names) & set(others.train.names)


@pytest.mark.slow
def test_wrong_sources_are_one_clear_error(tmp_path, sources, splits):
    for name, content in (("empty.npz", b""), ("junk.npz", b"junk" * 9), ("cut.npz", PACKED.read_bytes()[:5000])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"network=.*{name}.*: empty, damaged or no \.npz; allowed: "):
            load_network(tmp_path / name)
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, x=np.zeros(2))
    for path, text in (
        (tmp_path, "holds no trained network"),
        (tmp_path / "no.npz", "no trained"),
        (foreign, "no `meta`"),
    ):
        with pytest.raises(ValueError, match=f"network=.*{text}.*; allowed: "):
            load_network(path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(
        json.dumps({"experiment": "generative.ring_gan", "identity": {}, "settings": {}, "spec": {}})
    )
    with pytest.raises(ValueError, match=r"init_from=.*a run of generative\.ring_gan; allowed: runs of a classifier"):
        load_network(other, "init_from")


@pytest.mark.slow
def test_networks_that_do_not_fit_are_one_clear_error(sources, splits):
    with pytest.raises(ValueError, match=r"network=.*has 10 classes; allowed: 3"):
        load_network(sources["packed"], class_names=list("abc"))
    numbers = [*"0123456789"]
    assert load_network(sources["packed"], class_names=numbers).class_names == tuple("0123456789")
    with pytest.raises(ValueError, match="its class 8 is '8'; allowed: 'eight', as in the data"):
        load_network(sources["packed"], class_names=[*numbers[:8], "eight", "nine"])
    assert len(load_network(PACKED, class_names=numbers).class_names) == 10
    setup = setup_of(distillation, splits, f"--network={PACKED}")
    with pytest.raises(ValueError, match=r"network=.*trained on images of 3 channels; allowed: 1"):
        setup.build()
    setup = setup_of(supervised, splits, "--model=mlp", f"--init_from={sources['packed']}")
    with pytest.raises(ValueError, match=r"init_from=.*: weights of resnet8_cifar; allowed: of mlp"):
        setup.start()(SimpleNamespace(params={}))

"""Features that are known give the accuracies that they must, and each page's run gives the features of its network."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.digits import digits
from dlcore.data.source import Source
from dlcore.experiment import Experiment
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.study import run_study
from dlcore.main import main
from dlcore.models.encoder import Encoder
from dlcore.semi_supervised.twin import TwinState
from experiments import experiment_names, find_experiment
from experiments.transfer import linear_evaluation as page
from tests.saved_runs import save_state

SMALL = ["--smoke", "--model=resnet8_cifar", "--model.width=4", "--model.stages=1,1"]
RECONSTRUCTION = [*SMALL, "--dataset=photographs"]


def parity_images(count, seed):
    """The class is whether the first two pixels differ, of which no line in the pixels says anything."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 2, (count, 2, 2, 1)).astype(np.float32)
    image[:, 0, :, 0] = np.stack([np.arange(count) // 2 % 2, np.arange(count) % 2], 1)
    label = (image[:, 0, 0, 0] != image[:, 0, 1, 0]).astype(np.int32)
    return Source({"image": image, "label": label}, class_names=("same", "other"))


def parity_network():
    """A network whose trained features are the class in one-hot form; untrained they are 0, which no training mends."""

    def init(key):
        return {"params": {"scale": jnp.ones(())}, "signal": {"on": jnp.zeros(())}}

    def apply(variables, x, key):
        other = jnp.abs(x[:, 0, 0, 0] - x[:, 0, 1, 0])
        features = jnp.stack([1 - other, other], 1) * variables["signal"]["on"] * variables["params"]["scale"]
        return features, {"signal": variables["signal"]}

    variables = {"params": {"scale": jnp.full((), 3.0)}, "signal": {"on": jnp.ones(())}}
    return page.Network("the parity", Encoder(init, apply, lambda state: state), variables, (2, 2, 1))


@pytest.mark.covers("TL-18", "TL-01", "SS-01")
def test_known_features_are_read_without_error_and_those_of_no_training_at_chance():
    """Half of the images are of each class; parity is what a line in the pixels cannot tell."""
    train, test = parity_images(40, 0), parity_images(40, 1)
    results = page.accuracies(parity_network(), train, test, ("linear", "knn"), k=1, steps=1, seed=0)
    assert set(results) == {(method, arm) for method in ("linear", "knn") for arm in page.ARMS}
    for method in ("linear", "knn"):
        assert results[method, "trained"] == 1.0
        assert results[method, "untrained"] == 0.5
    assert results["linear", "pixels"] < 0.7
    assert results["knn", "pixels"] == 1.0, "pixels of a nearest neighbor that is the same image"


@pytest.mark.slow
@pytest.mark.covers("TL-18", "TL-02")
def test_fine_tuning_starts_each_arm_from_its_own_weights():
    train, test = parity_images(40, 0), parity_images(80, 1)
    results = page.accuracies(parity_network(), train, test, ("fine_tune",), k=1, steps=20, seed=0)
    assert results == {("fine_tune", "trained"): 1.0, ("fine_tune", "untrained"): 0.5}


def test_only_the_methods_that_are_asked_for_are_measured():
    train = parity_images(8, 0)
    results = page.accuracies(parity_network(), train, train, ("knn",), k=1, steps=1, seed=0)
    assert set(results) == {("knn", arm) for arm in page.ARMS}


def identity(image_shape, mean=0.0):
    """An encoder whose features are the images that it was trained on would be."""
    return Encoder(lambda key: {}, lambda v, x, key: (x, {}), lambda s: {}, lambda x: x - mean, lambda key, x: 0 * x)


@pytest.mark.covers("TL-18")
def test_images_become_those_of_the_network():
    """A gray image of 2 x 2 bytes becomes 4 x 4 in three equal channels, and the network's mean is taken off.

    Rows 0 and 255 are 0 and 1; in between, at quarters of the way from center to center, 0.25 and 0.75.
    """
    encoder = page.converted(identity((4, 4, 3), np.array([0.1, 0.2, 0.3])), (4, 4, 3), (2, 2, 1))
    image = np.array([[0, 0], [255, 255]], np.uint8)[None, :, :, None]
    x = np.asarray(encoder.prepare(image))
    chex.assert_shape(x, (1, 4, 4, 3))
    rows = np.array([0, 0.25, 0.75, 1.0])
    for channel, mean in enumerate((0.1, 0.2, 0.3)):
        np.testing.assert_allclose(x[0, :, :, channel], np.tile((rows - mean)[:, None], (1, 4)), atol=1e-6)
    assert encoder.augment is None, "the augmentation was the run's data set's"
    same = page.converted(identity((2, 2, 1)), (2, 2, 1), (2, 2, 1)).prepare(image)
    np.testing.assert_allclose(same, image / 255, atol=1e-7)


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="images of 3 channels, and the network was trained on 1; allowed: images of"):
        page.converted(identity((4, 4, 1)), (4, 4, 1), (2, 2, 3))


@pytest.mark.covers("TL-18")
@pytest.mark.parametrize("name", ["generative.ddpm", "sequence.char_rnn"])
def test_a_run_without_an_encoder_is_refused_by_name(name, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"experiment": name, "settings": {}, "spec": {}}))
    assert exit_code([f"--init_from={tmp_path}", f"--run_dir={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert f"a run of {name}, without an encoder of images; allowed: a run of a page with --model or" in error


def exit_code(words):
    return run_study(page.experiment, words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods=linear,svm"], "methods='svm': unknown or none; allowed: one or more of linear, knn, fine_tune"),
        (["--methods="], "--methods=: no value; allowed: one or more, such as linear,knn,fine_tune"),
        (["--init_from=nowhere"], "init_from='nowhere': holds no trained network; allowed: the folder of a run"),
        (["--dataset=imagenette"], "imagenette"),
    ],
)
def test_bad_settings_are_one_clear_error(words, message, tmp_path, capsys):
    assert exit_code([*words, f"--run_dir={tmp_path}"]) in (1, 2)
    assert message in capsys.readouterr().err


def test_converted_weights_of_another_kind_are_refused(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"model": "fcos_resnet50_fpn", "fields": {}}))
    with pytest.raises(ValueError, match=r"init_from=.*: fcos_resnet50_fpn, a model of detection; allowed: a run of"):
        page.origin(str(tmp_path))


@pytest.mark.covers("TL-18")
def test_the_verdict_is_the_means_and_fails_with_the_arms_swapped():
    """Linear 0.9 beside 0.8 and 0.7, k-NN 0.85 beside 0.6 and 0.8, fine-tuned 0.95 beside 0.9."""
    means = {
        ("linear", "trained"): 0.9, ("linear", "untrained"): 0.7, ("linear", "pixels"): 0.8,
        ("knn", "trained"): 0.85, ("knn", "untrained"): 0.6, ("knn", "pixels"): 0.8,
        ("fine_tune", "trained"): 0.95, ("fine_tune", "untrained"): 0.9,
    }  # fmt: skip
    results = {key: np.array([mean - 0.02, mean + 0.02]) for key, mean in means.items()}
    found = page.report(results, "a network", "digits", 100)
    assert found.holds is True
    assert found.headline.baseline == (pytest.approx(0.8), "pixels", "higher")
    np.testing.assert_allclose(found.headline.values, [0.88, 0.92])
    assert "linear probe 90.0 % (untrained 70.0 %, pixels 80.0 %)" in found.verdict
    assert found.verdict.endswith("The trained network is ahead by each.")
    other = {"trained": "untrained", "untrained": "trained", "pixels": "pixels"}
    swapped = page.report({(m, other[a]): v for (m, a), v in results.items()}, "a network", "digits", 100)
    assert swapped.holds is False
    assert "NOT ahead by linear probe, k-NN, fine-tuned." in swapped.verdict
    one = page.report({**results, ("knn", "pixels"): np.array([0.9, 0.9])}, "a network", "digits", 100)
    assert (one.holds, one.verdict.endswith("NOT ahead by k-NN.")) == (False, True)


SERVED = {
    "classification.supervised": SMALL,
    "classification.distillation": ["--smoke"],
    "adversarial.training": ["--smoke"],
    "transfer.fine_tuning": ["--smoke", "--init_from=none"],
    "transfer.domain_adaptation": ["--smoke"],
    "transfer.few_shot": ["--smoke"],
    "self_supervised.moco": SMALL,
    "self_supervised.simclr": SMALL,
    "self_supervised.dino": SMALL,
    "self_supervised.rotation": SMALL,
    "self_supervised.jigsaw": SMALL,
    "self_supervised.relative_patch": SMALL,
    "self_supervised.exemplar": SMALL,
    "self_supervised.deep_cluster": SMALL,
    "self_supervised.inpainting": SMALL,
    "self_supervised.outpainting": SMALL,
    "self_supervised.colorization": RECONSTRUCTION,
    "self_supervised.cross_channel": RECONSTRUCTION,
    "self_supervised.mae": ["--smoke"],
    "self_supervised.clip": ["--smoke"],
    "semi_supervised.fixmatch": SMALL,
    "semi_supervised.noisy_labels": SMALL,
    "semi_supervised.gan_classifier": SMALL,
    "detection.fcos": ["--smoke"],
    "detection.detr": ["--smoke"],
    "detection.mask_rcnn": ["--smoke"],
    "detection.yolo": ["--smoke"],
    "segmentation.deeplab": ["--smoke"],
    "segmentation.panoptic": ["--smoke"],
    "generative.vae": ["--smoke"],
    "generative.autoencoder": ["--smoke"],
}
"""Page of a family -> the words of a small run."""


def written(name, folder, monkeypatch):
    """Write a run without training, whose weights are random numbers: (run, setup, state)."""
    experiment = find_experiment(name)
    run = ResolvedRun(experiment, resolve(experiment, [*SERVED[name], f"--run_dir={folder}"]))
    setup = run.training_of(experiment.run(run.flags).load())
    state = filled(jax.eval_shape(setup.build().init, jax.random.key(0), run.example(setup.spec)))
    state = state.technique if isinstance(state, TwinState) else state
    folder.mkdir()
    run.write_config(setup.spec)
    save_state(folder, state)
    monkeypatch.setattr(page, "load_state", lambda folder, page: (setup, state))
    return run, setup, state


def filled(shapes):
    rng = np.random.default_rng(0)

    def fill(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key(0) if is_key else rng.random(leaf.shape).astype(leaf.dtype)

    return jax.tree.map(fill, shapes)


@pytest.mark.slow
@pytest.mark.covers("TL-18")
@pytest.mark.parametrize("name", SERVED)
def test_a_run_of_each_family_serves(name, tmp_path, monkeypatch):
    """The weights are those of the state, which is written without training, and the features are vectors."""
    run, _, state = written(name, tmp_path / "run", monkeypatch)
    network = page.load_encoder(page.origin(str(run.folder)))
    encoder = page.converted(network.encoder, network.image_shape, (8, 8, 1))
    images = jax.ShapeDtypeStruct((3, 8, 8, 1), np.float32)
    features, _ = jax.eval_shape(lambda x: encoder.apply(network.variables, encoder.prepare(x), None), images)
    assert features.shape[0] == 3
    assert len(features.shape) == 2
    assert features.dtype == np.float32
    _, others = jax.eval_shape(lambda x, k: encoder.apply(network.variables, encoder.prepare(x), k), images, key())
    assert set(others) == set(network.variables) - {"params"}, "fine-tuning gets all collections back"
    leaves = [leaf for leaf in jax.tree.leaves(state) if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]
    held = {np.asarray(leaf).tobytes() for leaf in leaves}
    assert all(leaf.tobytes() in held for leaf in map(np.asarray, jax.tree.leaves(network.variables)))


def key():
    return jax.eval_shape(lambda: jax.random.key(0))


@pytest.mark.slow
def test_every_page_with_images_serves_or_has_no_encoder():
    """A new page of a backbone serves by itself; one that has another encoder of images says which."""
    pages = [find_experiment(entry.name) for entry in experiment_names()]
    pages = [page for page in pages if isinstance(page, Experiment)]
    serve = {page.name for page in pages if page.model is not None or any(page.parts.having("encoder"))}
    assert set(SERVED) <= serve
    with_backbone = {"vision3d.depth_anything", "vision3d.dpt"}
    assert not any(name.startswith(("rl.", "sequence.", "vision3d.")) for name in serve - with_backbone)


@pytest.mark.slow
@pytest.mark.covers("TL-18", "SS-01")
@pytest.mark.parametrize(
    "name", ["self_supervised.mae", "self_supervised.dino", "self_supervised.colorization", "self_supervised.rotation"]
)
def test_the_features_of_a_run_are_those_that_its_page_predicts(name, tmp_path, monkeypatch):
    """On the run's own images nothing is converted; DINO's are the teacher's, colorization's of images in gray."""
    run, setup, state = written(name, tmp_path / "run", monkeypatch)
    network = page.load_encoder(page.origin(str(run.folder)))
    rows = run.experiment.run(run.flags).load().test[:4]
    encoder = page.converted(network.encoder, network.image_shape, rows["image"].shape[1:])
    features, _ = jax.jit(lambda v, x: encoder.apply(v, encoder.prepare(x), None))(network.variables, rows["image"])
    state = state.replace(rng=jax.random.key(0))
    expected = jax.jit(lambda s, r: setup.build().predict(s, r)["features"])(state, rows)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3
    untrained = jax.eval_shape(encoder.init, key())
    assert jax.tree.structure(untrained) == jax.tree.structure(network.variables)


@pytest.mark.weekly
@pytest.mark.covers("TL-18")
@pytest.mark.parametrize("name", ["classification.supervised", "transfer.domain_adaptation"])
def test_the_page_measures_real_runs(name, tmp_path, capsys):
    """A gray classifier and a network of two domains in colors, both of a few steps, on digits of fonts."""
    main(find_experiment(name), [*SERVED[name], f"--run_dir={tmp_path / 'run'}"])
    words = ["--smoke", f"--init_from={tmp_path / 'run'}", "--labels_per_class=2", f"--run_dir={tmp_path / 'out'}"]
    assert exit_code(words) == 0, capsys.readouterr().err
    numbers = json.loads((tmp_path / "out" / "numbers.json").read_text())
    for method, text in page.METHODS.items():
        for arm in page.ARMS:
            if (method, arm) != ("fine_tune", "pixels"):
                assert 0 <= numbers[f"{text}, {arm}"][0] <= 1
    assert name in numbers["verdict"]


def test_the_digits_of_fonts_are_others_in_each_split(monkeypatch):
    monkeypatch.setattr(page, "DRAWN", {"train": 60, "valid": 20, "test": 40})
    splits = page.data("font_digits", None, None, 0)
    images = [part.arrays["image"].reshape(len(part), -1) for part in (splits.train, splits.valid, splits.test)]
    assert [len(part) for part in images] == list(page.DRAWN.values())
    assert len(np.unique(np.concatenate(images), axis=0)) == 120
    assert splits.spec["image_shape"] == list(digits("test").arrays["image"].shape[1:])

"""Two streams from flags: who is labeled, how many of each a step takes, and what gets one clear line."""

import dataclasses
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from dlcore.data import few_label_images
from dlcore.data.facts import Facts
from dlcore.data.few_label_images import FewLabelImages, StrongView
from dlcore.data.few_labels import two_streams
from dlcore.data.images import Images, Resizing
from dlcore.data.pipeline import batch_at
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators import accuracy_beside_twin
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import State
from dlcore.report.context import ReportContext
from dlcore.semi_supervised.gan_classifier import GanClassifierState
from dlcore.semi_supervised.twin import TwinState
from dlcore.semi_supervised.two_streams import TwoStreamState
from dlcore.setting import FlagError
from dlcore.weights import twin_weights
from dlcore.weights.start import Start
from experiments.semi_supervised.fixmatch import experiment


def run_of(*words):
    return ResolvedRun(experiment, resolve(experiment, ["--smoke", *words]))


@pytest.fixture(scope="module")
def data():
    run = run_of("--labels_per_class=2", "--unlabeled_ratio=3", "--label_seed=5")
    return run, experiment.run(run.flags).load()


def test_a_step_takes_so_many_unlabeled_images_for_each_labeled_one(data):
    run, splits = data
    batch = batch_at(run.pipelines(splits), 0)
    chex.assert_shape(batch["labeled"]["image"], (8, 8, 8, 1))
    chex.assert_shape(batch["unlabeled"]["image"], (24, 8, 8, 1))
    assert set(batch["unlabeled"]) == {"image", "hidden_label", "index"}
    size = len(splits.train["unlabeled"])
    assert splits.train_size == -(-size // 3), "an epoch is a pass over the unlabeled stream"
    assert run.steps(splits.train_size) == 2
    epoch = run_of("--unlabeled_ratio=3", "--epochs=1")
    assert epoch.steps(splits.train_size) == round(-(-size // 3) / 8)


def test_the_labels_are_those_of_the_draw_and_it_is_named(data):
    _, splits = data
    counts = np.bincount(splits.train["labeled"].arrays["label"])
    assert counts.tolist() == [2] * 10
    assert "20 labeled images, 2 of each class, drawn by label_seed 5" in splits.notes[-1]
    assert np.bincount(splits.valid.arrays["label"]).tolist() == [10] * 10
    other = experiment.run(run_of("--labels_per_class=2", "--seed=5").flags).load()
    assert "drawn by label_seed 5" in other.notes[-1], "--seed unless --label_seed"
    whole = splits.train["unlabeled"].arrays["image"]
    assert all((image == whole).all((1, 2, 3)).any() for image in splits.train["labeled"].arrays["image"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch_size=64"], "--batch_size=64: more than the 40 labeled images of --labels_per_class=4; allowed: at"),
        (["--unlabeled_ratio=999"], "--unlabeled_ratio=999: 7992 unlabeled images a step with --batch_size=8; allowed"),
    ],
)
def test_a_batch_larger_than_a_stream_is_one_line(words, message):
    with pytest.raises(FlagError, match=message):
        experiment.run(run_of(*words).flags).load()


def test_streams_that_do_not_fit_are_refused():
    def source(labels, side=2):
        image = np.zeros((len(labels), side, side, 1), np.float32)
        return Source({"image": image, "label": np.array(labels, np.int32)}, class_names=("a", "b"))

    streams = two_streams(source([0, 1]), source([1, 0, 1]))
    assert set(streams["unlabeled"].arrays) == {"image", "hidden_label"}
    with pytest.raises(ValueError, match="has no image of class 'b', which is labeled; allowed: all labeled classes"):
        two_streams(source([0, 1]), source([0, 0]))
    with pytest.raises(ValueError, match=r"images of \(3, 3, 1\); allowed: of \(2, 2, 1\)"):
        two_streams(source([0]), source([0], 3))
    with pytest.raises(ValueError, match="unlabeled: images of uint8; allowed: float32, as the labeled ones"):
        two_streams(source([0]), Source({"image": np.zeros((3, 2, 2, 1), np.uint8)}))


def test_one_source_is_as_it_was():
    splits = Splits(Source.indices(10), None, None, {})
    assert splits.train_size == 10
    run = run_of()
    run = ResolvedRun(dataclasses.replace(experiment), run.flags.replace(batch_size=5))
    assert len(run.pipelines(splits).batch_at(0)["index"]) == 5


@pytest.mark.slow
def test_the_supervised_twin_can_be_left_out(data):
    _, splits = data
    states, measures = {}, {}
    for words in ((), ("--twin=false",)):
        run = run_of("--labels_per_class=2", "--unlabeled_ratio=3", "--label_seed=5", *words)
        learner = run.training_of(splits).build()
        batch = batch_at(run.pipelines(splits), 0)
        states[words] = jax.eval_shape(learner.init, jax.random.key(0), batch)
        measures[words] = set(jax.eval_shape(learner.evaluate, states[words], batch["labeled"]))
    both, alone = states[()], states[("--twin=false",)]
    assert jax.tree.structure(both.params["technique"]) == jax.tree.structure(alone.params)
    assert measures[()] - measures[("--twin=false",)] == {"accuracy_supervised", "gain"}


def test_runs_with_the_twin_keep_their_folders():
    default, named, alone = (run_of(*words).identity for words in ((), ("--twin=true",), ("--twin=false",)))
    assert default == named
    assert "twin" not in default
    assert alone == {**default, "twin": False}


def test_the_loss_at_initialization_is_that_of_the_networks_that_learn(data):
    _, splits = data
    losses = [experiment.sanity.expected_loss(run_of(*words).training_of(splits)) for words in ((), ("--twin=false",))]
    assert losses == pytest.approx([2 * np.log(10), np.log(10)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Ten labeled images of 8 x 8 of each of two classes, and 30 unlabeled ones of other sizes, at three depths."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)

    def save(path, side):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(path)

    for number in range(20):
        save(root / "labeled" / ("cat", "dog")[number % 2] / f"{number}.png", 8)
    for number in range(30):
        save(root / "unlabeled" / ("", "train", "some/where")[number % 3] / f"{number}.png", 9 + number % 3)
    return root / "labeled", root / "unlabeled"


@pytest.mark.slow
def test_unlabeled_images_come_from_a_folder_of_their_own(folders):
    """All 30 images below the folder are read, as large as the labeled ones; what is held out has labels."""
    labeled, unlabeled = folders
    words = ["--dataset=folder", f"--data_dir={labeled}", f"--unlabeled_dir={unlabeled}", "--batch_size=4"]
    run = run_of(*words, "--labels_per_class=none")
    splits = experiment.run(run.flags).load()
    held_out = len(splits.valid) + len(splits.test)
    assert (len(splits.train["labeled"]), len(splits.train["unlabeled"])) == (20 - held_out, 30)
    assert splits.spec["unlabeled_size"] == 30
    assert set(splits.train["unlabeled"].arrays) == {"image"}
    batch = batch_at(run.pipelines(splits), 0)
    chex.assert_shape(batch["unlabeled"]["image"], (4 * run.flags.unlabeled_ratio, 8, 8, 3))
    assert batch["unlabeled"]["image"].dtype == batch["labeled"]["image"].dtype == np.uint8
    assert f"30 unlabeled ones, of {unlabeled}" in " ".join(splits.notes)
    few = experiment.run(run_of(*words, "--labels_per_class=2").flags).load()
    assert len(few.train["labeled"]) == 4
    learner = run.training_of(splits).build()
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    jax.eval_shape(learner.update, state, batch)


def test_unlabeled_folders_that_are_none_get_one_line(folders, tmp_path):
    words = ["--dataset=folder", f"--data_dir={folders[0]}", "--labels_per_class=2", "--batch_size=4"]
    with pytest.raises(FlagError, match=r"--unlabeled_dir=nowhere: not found; allowed: a folder or \.zip of images"):
        experiment.run(run_of(*words, "--unlabeled_dir=nowhere").flags).load()
    with pytest.raises(ValueError, match=r"holds no image; allowed: \.png"):
        experiment.run(run_of(*words, f"--unlabeled_dir={tmp_path}").flags).load()
    with pytest.raises(FlagError, match=r"--unlabeled_ratio=9: 36 unlabeled images a step .*; allowed: at most 30"):
        experiment.run(run_of(*words, f"--unlabeled_dir={folders[1]}", "--unlabeled_ratio=9").flags).load()


def test_unlabeled_images_are_read_in_the_form_and_the_memory_of_the_flags(monkeypatch):
    """An eighth of a GiB has 2^27 bytes."""
    monkeypatch.setattr(few_label_images, "unlabeled_source", lambda *rest, **settings: (rest, settings))
    images = Images(skip_bad=True, resizing=Resizing(memory_limit=0.125, workers=3, decoder="pillow"))
    form, settings = FewLabelImages(images, unlabeled_dir="d")._unlabeled_images([8, 9, 1])
    workers = settings.pop("workers")
    assert form == ("d", (8, 9), 1)
    assert settings == {"skip_bad": True, "limit_bytes": 2**27}
    assert (workers.count, workers.decoder) == (3, "pillow")


def test_runs_without_a_folder_of_their_own_keep_their_names():
    assert "unlabeled_dir" not in run_of().identity


def test_weights_reach_the_technique_its_teacher_the_baseline_and_a_discriminator(monkeypatch):
    """Each part's parameters become ten times as large."""
    checked = []

    def replace(state):
        return state.replace(params=10 * state.params, opt_state="new")

    monkeypatch.setattr(twin_weights, "start_classifier", lambda run: Start(replace, checked.append))
    start = twin_weights.TwinWeights().start(SimpleNamespace())

    def student(value, teacher=None):
        return TwoStreamState(2, None, np.float32(value), "old", {"mean": value}, teacher, {})

    taught = start.replace(student(1, teacher={"params": 0, "model_state": {}}))
    assert (taught.params, taught.opt_state) == (10, "new")
    assert taught.teacher == {"params": 10, "model_state": {"mean": 1}}
    assert start.replace(student(3)).teacher is None
    twin = TwinState.of(student(1, teacher={"params": 0, "model_state": {}}), student(3))
    technique, supervised = start.replace(twin).states
    assert (technique.params, technique.teacher["params"], supervised.params) == (10, 10, 30)
    start.check(twin)
    assert checked[0].params == 1
    both = [{"generator": k, "discriminator": k + 1} for k in (1, 3, 5)]
    players = GanClassifierState(2, None, *both, teacher={"params": 0, "model_state": 0})
    start.check(players)
    assert (checked[1].params, checked[1].opt_state, checked[1].model_state) == (2, 4, 6)
    started = start.replace(players)
    assert started.params == {"generator": 1, "discriminator": 20}
    assert started.opt_state == {"generator": 3, "discriminator": "new"}
    assert started.model_state == {"generator": 5, "discriminator": 6}
    assert started.teacher == {"params": 20, "model_state": 6}
    monkeypatch.setattr(twin_weights, "start_classifier", lambda run: None)
    assert twin_weights.TwinWeights().start(SimpleNamespace()) is None


def test_the_gain_stands_before_the_panels_of_the_technique_on_its_labeled_images(monkeypatch):
    monkeypatch.setattr("dlcore.report.semi_supervised.twin_table", lambda numbers: numbers)
    monkeypatch.setattr("dlcore.report.semi_supervised.pseudo_label_table", lambda history: [history])
    monkeypatch.setattr(
        accuracy_beside_twin.classifier_panels, "panels", lambda context: [context.data.train, context.state.params]
    )
    twin = TwinState(2, None, {"technique": "t", "supervised": "s"}, None, {})
    data = Splits({"labeled": "few", "unlabeled": "many"}, None, None, {})
    context = ReportContext("history", "gain", {}, {}, twin, data, {}, None, None, None)
    assert accuracy_beside_twin.AccuracyBesideTwin().panels(context, None) == ["gain"]
    assert accuracy_beside_twin.AccuracyBesideTwin(twin=False).panels(context, None) == []
    assert accuracy_beside_twin.technique_panels(context) == ["history", "few", "t"]
    alone = context._replace(state=State(2, None, "alone", None))
    assert accuracy_beside_twin.technique_panels(alone) == ["history", "few", "alone"]


def test_a_strong_view_is_cut_out_after_its_operations():
    """The host augments streamed images, so that nothing but a square of half the shorter side, 9, is erased here."""
    facts = Facts(dataset="folder", crop_pct=0.875, image_shape=(20, 18, 1), mean=(0.5,), std=(0.25,))
    image = np.ones((20, 18, 1), np.float32)
    erased = jax.jit(StrongView("none").build(Images(resizing=Resizing()), facts))(jax.random.key(0), image)
    assert set(np.unique(erased)) == {0, 1}
    assert 0 < (np.asarray(erased) == 0).sum() <= 81
    operated = jax.jit(StrongView("rand_augment").build(Images(resizing=Resizing()), facts))(jax.random.key(1), image)
    assert not set(np.unique(operated)) <= {0, 1}

"""Two streams from flags: who is labeled, how many of each a step takes, and what gets one clear line."""

import dataclasses

import jax
import numpy as np
import pytest

from dlcore.data.few_labels import two_streams
from dlcore.data.pipeline import batch_at
from dlcore.data.source import Source
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from experiments.semi_supervised.fixmatch import experiment


def run_of(*words):
    return ResolvedRun(experiment, resolve(experiment, ["--smoke", *words]))


@pytest.fixture(scope="module")
def data():
    run = run_of("--labels_per_class=2", "--unlabeled_ratio=3", "--label_seed=5")
    return run, experiment.data(run.flags)


def test_a_step_takes_so_many_unlabeled_images_for_each_labeled_one(data):
    run, splits = data
    batch = batch_at(run.pipelines(splits), 0)
    assert batch["labeled"]["image"].shape == (8, 8, 8, 1)
    assert batch["unlabeled"]["image"].shape == (24, 8, 8, 1)
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
    other = experiment.data(run_of("--labels_per_class=2", "--seed=5").flags)
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
        experiment.data(run_of(*words).flags)


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
        learner = experiment.build(run.setup_of(splits))
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
    losses = [experiment.expected_loss(run_of(*words).setup_of(splits)) for words in ((), ("--twin=false",))]
    assert losses == pytest.approx([2 * np.log(10), np.log(10)])

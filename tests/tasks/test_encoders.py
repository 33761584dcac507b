"""One protocol for every pretext: the learner sees no label, and each number has the untrained encoder's beside it."""

import jax
import numpy as np
import pytest

from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.setting import FlagError
from dlcore.kits.images import classifier_panels
from dlcore.learner import Learner
from dlcore.run.evaluate import Evaluation
from dlcore.self_supervised.networks import DINONet, Embedder
from dlcore.tasks.encoders import remove_labels
from experiments.self_supervised import dino, moco, rotation, simclr
from experiments.semi_supervised import mixmatch
from tests.overriding import with_task

TINY = ["--smoke", "--fine_tune=10,20", "--supervised", "--model.stages=1"]


def resolved(*words):
    return ResolvedRun(simclr.experiment, resolve(simclr.experiment, [*TINY, *words]))


@pytest.mark.covers("SS-01")
def test_no_function_of_a_learner_gets_a_label():
    seen = []

    def spy(name, out=None):
        return lambda *arguments: seen.append((name, set(arguments[-1]))) or out

    learner = remove_labels(Learner(*map(spy, ("init", "update", "evaluate", "predict", "loss"))))
    rows = {"image": 0, "label": 0, "index": 0, "mask": 0}
    learner.init(None, rows), learner.update(None, rows), learner.evaluate(None, rows), learner.predict(None, rows)
    learner.loss(None, None, rows)
    names = ("init", "update", "evaluate", "predict", "loss")
    assert seen == [(name, {"image", "index", "mask"}) for name in names]
    assert learner.classes is None
    assert remove_labels(learner._replace(loss=None)).loss is None


@pytest.fixture(scope="module")
def started():
    """(run, splits of few images, setup, learner, state before the first step)."""
    run = resolved()
    data = run.experiment.task.data(run.flags)
    data = data._replace(train=data.train.take(150), test=data.test.take(50))
    setup = run.setup_of(data)
    learner = run.experiment.build(setup)
    return run, data, setup, learner, jax.jit(learner.init)(jax.random.key(1), data.test[:4])


@pytest.mark.weekly
@pytest.mark.covers("SS-01")
def test_the_protocol_measures_trained_untrained_and_supervised_encoders(started):
    run, data, setup, learner, state = started
    evaluators = run.experiment.task.evaluators(setup, data, "test")
    found = Evaluation(learner, run.placement()).evaluator_measures(state, evaluators, data.test, 200)
    judged = ("knn", "probe", "fine_tune_10", "fine_tune_20")
    names = {name + end for name in judged for end in ("", "_untrained")}
    names |= {"supervised", "knn_supervised", "probe_supervised", "probe_head"}
    ranks = {f"{name}{end}" for name in ("rank", "alpha") for end in ("", "_untrained", "_head")}
    assert set(found) == names | {"uniformity"} | ranks
    assert found["rank"] == found["rank_untrained"] >= 1
    assert all(0 <= found[name] <= 1 for name in names)
    # Before the first step the trained encoder is the untrained one.
    assert (found["knn"], found["probe"]) == (found["knn_untrained"], found["probe_untrained"])
    text = simclr.experiment.task.notes(setup, data)[0]
    assert text.startswith("k-NN with k = 5 and temperature 0.07, linear probe: by the labels of 100 training images; ")
    assert f"fine-tuning with 10 and 20 labels, {setup.flags.fine_tune_steps} steps of 64 images" in text


@pytest.mark.slow
def test_the_encoder_of_fine_tuning_is_the_learners(started):
    """Its features of a state are those that `predict` gives, and training mode changes the statistics."""
    _, data, setup, learner, state = started
    encoder, rows = simclr.experiment.task.encoder(setup), data.test[:4]
    images = encoder.prepare(rows["image"])
    features, _ = jax.jit(encoder.apply, static_argnums=2)(encoder.variables(state), images, None)
    np.testing.assert_allclose(features, learner.predict(state, rows)["features"], rtol=1e-4, atol=1e-5)
    fresh = encoder.init(jax.random.key(2))
    assert jax.tree.structure(fresh) == jax.tree.structure(encoder.variables(state))
    _, others = jax.jit(encoder.apply)(fresh, images, jax.random.key(3))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), others, {"batch_stats": fresh["batch_stats"]})
    assert max(jax.tree.leaves(moved)) > 1e-3


def test_more_labels_than_images_are_an_error_before_any_work():
    run = resolved("--fine_tune=2000")
    data = run.experiment.task.data(run.flags)
    with pytest.raises(FlagError, match=r"--fine_tune=2000: more than the training examples; allowed: at most \d+"):
        simclr.experiment.task.notes(run.setup_of(data), data)


@pytest.mark.parametrize(
    ("page", "words", "message"),
    [
        (simclr, ["--fine_tune=1e9"], r"^--fine_tune=1e\+09: more than the training examples; allowed: at most 1297$"),
        (
            rotation,
            ["--dataset=mnist", "--fine_tune=10,60001"],
            "more than the training examples; allowed: at most 60000",
        ),
        (simclr, ["--fine_tune=2.5"], "^--fine_tune=2.5: no number of labels; allowed: a count, or a share"),
        (moco, ["--queue_size=10"], "^--queue_size=10: smaller than a batch; allowed: at least 128$"),
        (moco, ["--queue_size=1000000000"], "^--queue_size=1000000000: takes 256.0 GB or more of .* allowed: at most"),
        (moco, ["--fine_tune=1e9"], "more than the training examples; allowed: at most 1297"),
    ],
)
def test_labels_and_queues_are_counted_before_data_are_read(monkeypatch, page, words, message):
    """A queue of a billion keys has 64 numbers of 4 bytes in each."""
    monkeypatch.setattr("dlcore.run.memory.memory_bytes", lambda: 24 * 10**9)
    with pytest.raises(FlagError, match=message):
        page.experiment.task.check(resolve(page.experiment, words))
    page.experiment.task.check(resolve(page.experiment, []))
    page.experiment.task.check(resolve(page.experiment, ["--dataset=folder", "--data_dir=d", "--fine_tune=1e9"]))


def test_more_neighbors_than_the_bank_has_are_refused():
    """1,297 digits train; a bank of 100 is asked for."""
    with pytest.raises(FlagError, match=r"--knn_k=200: more than the bank has; allowed: 1 to 100, see --bank_size"):
        simclr.experiment.task.data(resolve(simclr.experiment, ["--knn_k=200", "--bank_size=100"]))
    simclr.experiment.task.data(resolve(simclr.experiment, ["--knn_k=200"]))


def test_a_task_gives_modules_and_plain_values_to_its_pages():
    """Their defaults are empty dicts, which a page that sets none of its own has."""
    assert simclr.experiment.merged.modules == {"embedder": Embedder}
    assert dino.experiment.merged.modules == {"head": DINONet}
    assert mixmatch.experiment.task.plain == classifier_panels.PLAIN
    own = with_task(mixmatch.experiment, plain={"weight_decay": 0.0})
    assert own.task.plain == {"weight_decay": 0.0}

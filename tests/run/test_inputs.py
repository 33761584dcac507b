"""Labels of every kind of learner are checked before training, with padding and void left out."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.classification import supervised
from dlcore.data import Pipeline
from dlcore.data.source import Source
from dlcore.detection.dense import detector_learner
from dlcore.detection.localization import learner as localization
from dlcore.learner import Evaluator, Labels, Learner
from dlcore.rl import behavior_cloning
from dlcore.rl.environments import Environment
from dlcore.rl.seeds import over_seeds
from dlcore.run import evaluate, fit, predict
from dlcore.run.inputs import batch_errors, check_checkpoint, check_labels
from dlcore.run.result import Result
from dlcore.search.together import together
from dlcore.segmentation import panoptic, semantic
from dlcore.self_supervised import deep_cluster, exemplar, rotation
from dlcore.self_supervised.pretext import PieceClassifier
from dlcore.semi_supervised import temporal_ensembling
from dlcore.semi_supervised.twin import add_twin
from dlcore.semi_supervised.two_streams import supervised_only, two_stream_learner
from dlcore.sequence import char_rnn, language_model, masked_language_model, seq2seq
from dlcore.transfer import multi_task
from dlcore.vision_language import captioning, retrieval, video_caption

SGD = optax.sgd(0.1)
IMAGE = np.zeros((2, 4, 4, 3), np.float32)
BOXES = {"image": IMAGE, "boxes": np.zeros((2, 2, 4)), "box_mask": np.array([[1, 0], [1, 1]], bool)}
MODEL = SimpleNamespace(num_classes=3, vocab_size=5, source_vocab_size=7, window=3)


class PixelScores(nn.Module):
    """Three scores a pixel."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(3)(x)


class Linear(nn.Module):
    """Three scores an image."""

    num_classes = 3

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(3)(x.reshape(len(x), -1))


def detector(**_):
    return detector_learner(model=MODEL, optimizer=SGD, losses=None, postprocess=None)


def acting(num_actions):
    return Environment("test", None, None, num_actions, (3,), 5)


def check(learner, arrays, first=None):
    source = Source(arrays)
    state = learner.init(jnp.zeros(2, jnp.uint32), arrays) if "semantic" in arrays else None
    check_labels(learner, state, arrays if first is None else first, SimpleNamespace(source=source), None)


def labels(*values):
    return {"labels": np.array(values).reshape(2, 2)}


@pytest.mark.parametrize(
    ("learner", "good", "bad", "problem"),
    [
        (
            detector,
            BOXES | labels(2, -1, 0, 1),
            BOXES | labels(2, -1, 0, 7),
            r"labels=7: .*example 1 of train; .* 0 to 2",
        ),
        (detector, BOXES | labels(2, 7, 0, 1), BOXES | labels(-1, 0, 0, 1), r"labels=-1: out of range, example 0"),
        (
            lambda: language_model.learner(model=MODEL, optimizer=SGD),
            {"text": np.array([[0, 4, 1, 2]])},
            {"text": np.array([[0, 4, 5, 2]])},
            "text=5: out of range, example 0 of train; allowed: integers from 0 to 4",
        ),
        (
            lambda: char_rnn.learner(model=MODEL, optimizer=SGD),
            {"text": np.array([[0, 4, 1, 2]])},
            {"text": np.array([[0, 4, 5, 2]])},
            "text=5: out of range",
        ),
        (
            lambda: masked_language_model.learner(model=MODEL, optimizer=SGD, mask_token=4),
            {"text": np.array([[0, 3, 1, 2]])},
            {"text": np.array([[0, 4, 1, 2]])},
            "text=4: out of range, example 0 of train; allowed: integers from 0 to 3",
        ),
        (
            lambda: seq2seq.learner(model=MODEL, optimizer=SGD),
            {"source": np.array([[6, 0]]), "target": np.array([[1, 4]])},
            {"source": np.array([[6, 0]]), "target": np.array([[1, 6]])},
            "target=6: out of range",
        ),
        (
            lambda: captioning.learner(model=MODEL, optimizer=SGD),
            {"captions": np.array([[[1, 4, 2]]])},
            {"captions": np.array([[[1, 5, 2]]])},
            "captions=5: out of range",
        ),
        (
            lambda: video_caption.learner(model=MODEL, optimizer=SGD),
            {"captions": np.array([[[1, 4, 2]]])},
            {"captions": np.array([[[1, 5, 2]]])},
            "captions=5: out of range",
        ),
        (
            lambda: retrieval.learner(model=MODEL, optimizer=SGD),
            {"captions": np.array([[[1, 4, 2]]])},
            {"captions": np.array([[[1, 5, 2]]])},
            "captions=5: out of range, example 0 of train; allowed: integers from 0 to 4",
        ),
        (
            lambda: behavior_cloning.learner(model=MODEL, optimizer=SGD, environment=acting(2)),
            {"action": np.array([0, 1])},
            {"action": np.array([0, 2])},
            "action=2: out of range, example 1 of train; allowed: integers from 0 to 1",
        ),
    ],
)
def test_a_label_that_is_none_is_named(learner, good, bad, problem):
    check(learner(), good)
    with pytest.raises(ValueError, match=problem):
        check(learner(), bad)
    with pytest.raises(ValueError, match=problem.replace("train", "the first batch")):
        check(learner(), good, bad)


def test_maps_may_hold_void_and_panoptic_learners_know_what_their_parts_know():
    segmenter = semantic.learner(model=PixelScores(), optimizer=SGD)
    maps = np.array([[[0, 1], [2, 255]]] * 2, np.uint8).repeat(2, 1).repeat(2, 2)
    check(segmenter, {"image": IMAGE, "semantic": maps})
    wrong = np.where(maps == 255, 3, maps).astype(np.uint8)
    with pytest.raises(
        ValueError, match=r"semantic=3: out of range, example 0 of train; allowed: .* 0 to 2, .*, or 255"
    ):
        check(segmenter, {"image": IMAGE, "semantic": wrong})
    parts = [
        Learner(None, None, None, None, classes=lambda state, batch, c=c: c) for c in ({"labels": 2}, {"semantic": 3})
    ]
    whole = panoptic.learner(instances=parts[0], semantic=parts[1], num_stuff=1)
    state = SimpleNamespace(parts={n: SimpleNamespace(replace=lambda **_: None) for n in ("instances", "semantic")})
    state.params = state.opt_state = {"instances": None, "semantic": None}
    assert whole.classes(state, {}) == {"labels": 2, "semantic": 3}


def test_learners_of_several_seeds_and_trials_know_what_each_knows():
    inner = {"w": np.zeros((2, 4, 3), np.float32)}
    state = SimpleNamespace(inner=inner)
    known = Learner(None, None, None, None, classes=lambda state, batch: {"label": state["w"].shape[-1]})
    assert over_seeds(known, 2).classes(state, {}) == {"label": 3}
    assert over_seeds(known._replace(classes=None), 2).classes is None
    assert together(lambda row: known, {"rate": [1.0, 2.0]}).classes(state, {}) == {"label": 3}


def test_localization_and_bucketed_batches():
    learner = localization(model=MODEL, optimizer=SGD)
    assert learner.classes(None, {}) == {"labels": Labels(3, valid="box_mask")}
    pairs = seq2seq.learner(model=MODEL, optimizer=SGD)
    batch = {"length2": {"source": np.array([[6, 0]]), "target": np.array([[1, 9]])}}
    with pytest.raises(ValueError, match="target=9: out of range, example 0 of the first batch/length2"):
        check_labels(pairs, None, batch, SimpleNamespace(), None)


def test_each_of_several_tasks_has_classes_of_its_own():
    """Label 3 is one of the four turns and none of the three classes."""
    model = multi_task.HeadsNet(nn.Sequential([lambda x: x.reshape(len(x), -1)]), (("class", 3), ("turn", 4)))
    learner = multi_task.learner(model=model, optimizer=SGD, weights={"class": 1.0, "turn": 1.0})

    def parts(label, turn):
        return {n: {"image": IMAGE, "label": np.array([0, v])} for n, v in (("class", label), ("turn", turn))}

    def check_tasks(arrays, first):
        train = {name: SimpleNamespace(source=Source(part)) for name, part in arrays.items()}
        state = jax.eval_shape(learner.init, jax.random.key(0), first)
        check_labels(learner, state, first, train, None)

    check_tasks(parts(2, 3), parts(2, 3))
    for wrong, problem in (((3, 3), "label=3: .*train/class; .* 0 to 2"), ((2, 4), "label=4: .*train/turn; .* 0 to 3")):
        with pytest.raises(ValueError, match=problem):
            check_tasks(parts(*wrong), parts(2, 3))
        with pytest.raises(ValueError, match=problem.replace("train", "the first batch")):
            check_tasks(parts(2, 3), parts(*wrong))


def test_continuous_actions_are_no_labels():
    learner = behavior_cloning.learner(model=MODEL, optimizer=SGD, environment=acting(None))
    assert learner.classes(None, {"action": np.zeros((2, 1))}) == {}


def test_the_first_wrong_label_is_named_behind_many_right_ones():
    """Rows are looked at by the thousand: the second of the second thousand."""
    text = np.zeros((1100, 4), int)
    text[1025, 2] = 5
    learner = language_model.learner(model=MODEL, optimizer=SGD)
    with pytest.raises(ValueError, match=r"text=5: out of range, example 1025 of train; allowed"):
        check(learner, {"text": text})
    with pytest.raises(ValueError, match=r"text=float64: wrong dtype in train; allowed: integers from 0 to 4"):
        check(learner, {"text": text * 1.0})


def test_labels_of_validation_are_checked_too():
    learner, right = language_model.learner(model=MODEL, optimizer=SGD), {"text": np.array([[0, 4, 1, 2]])}
    valid = Source({"text": np.array([[0, 1, 2, 5]])})
    with pytest.raises(ValueError, match=r"text=5: out of range, example 0 of valid; allowed: integers from 0 to 4"):
        check_labels(learner, None, right, SimpleNamespace(source=Source(right)), valid)


class Classifier(nn.Module):
    """Three scores an image, and the map that they are made of."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(3)(x.reshape(len(x), -1))

    def features(self, x, train=False):
        return {"last": x}


def two_streams(count):
    rows = {"image": np.zeros((count, 2, 2, 1), np.float32)}
    return {"labeled": Source({"image": rows["image"][:2], "label": np.zeros(2, np.int32)}), "unlabeled": Source(rows)}


def check_train(learner, sources):
    first = jax.tree.map(lambda source: source[:2], sources)
    train = jax.tree.map(lambda source: SimpleNamespace(source=source), sources)
    check_labels(learner, jax.eval_shape(learner.init, jax.random.key(0), first), first, train, sources)


@pytest.mark.parametrize("twin", [False, True])
def test_a_memory_has_a_row_for_each_unlabeled_example(twin):
    """The 101st of 101 examples would read and write the row of the 100th, or none."""
    learner = temporal_ensembling.learner(model=Classifier(), optimizer=SGD, num_unlabeled=100)
    if twin:
        learner = add_twin(learner, two_stream_learner(Classifier(), SGD, supervised_only))
    check_train(learner, two_streams(100))
    with pytest.raises(ValueError, match=r"num_unlabeled=100: train/unlabeled has 101 examples; allowed: at least 101"):
        check_train(learner, two_streams(101))


def test_clusters_are_those_of_all_training_examples():
    learner = deep_cluster.learner(
        model=PieceClassifier(Classifier(), 3), optimizer=SGD, augment=lambda key, x: x, train_size=50, num_clusters=3
    )
    check_train(learner, two_streams(50)["unlabeled"])
    with pytest.raises(ValueError, match=r"train_size=50: train has 100 examples; allowed: at least 100"):
        check_train(learner, two_streams(100)["unlabeled"])


def test_a_pretext_has_as_many_outputs_as_its_task_has_classes():
    """Exemplars 0 to 2 and -1 (none) suit three outputs, 3 does not; neither do the four turns of RotNet."""
    model, rows = PieceClassifier(Classifier(), 3), two_streams(2)["unlabeled"].arrays
    learner = exemplar.learner(model=model, optimizer=SGD, augment=lambda key, x: x)
    check_train(learner, Source({**rows, "exemplar": np.array([2, -1])}))
    with pytest.raises(ValueError, match=r"exemplar=3: out of range, example 1 of .*; allowed: integers from 0 to 2"):
        check_train(learner, Source({**rows, "exemplar": np.array([2, 3])}))
    turns = rotation.learner(model=model, optimizer=SGD)
    state = jax.eval_shape(turns.init, jax.random.key(0), Source(rows)[:2])
    with pytest.raises(ValueError, match="model: 3 outputs; allowed: 4, the classes of the task"):
        jax.eval_shape(turns.update, state, Source(rows)[:2])


def test_a_key_that_a_batch_lacks_is_named_with_those_that_it_has():
    batch = {"labeled": {"image": IMAGE, "index": np.arange(2)}, "unlabeled": {"image": IMAGE}}
    with pytest.raises(ValueError, match=r"^T: holds labeled, unlabeled, no 'x'; allowed: "), batch_errors(batch, "T"):
        batch["x"]
    with pytest.raises(ValueError, match=r"^batch: holds image, index, no 'label'; allowed: "), batch_errors(batch):
        batch["labeled"]["label"]
    with pytest.raises(ValueError, match=r"^batch: holds image, no 'index'; allowed: "), batch_errors(batch):
        (lambda rows, name: rows[name] + 1)(batch["unlabeled"], "index")


def test_a_key_that_something_else_lacks_keeps_its_traceback():
    batch, params = {"image": IMAGE}, {"kernel": 1}
    for read in (
        lambda: params["bias"],
        lambda: (batch["image"], {}["label"]),
        lambda: params["bias"] + batch["image"],
    ):
        with pytest.raises(KeyError), batch_errors(batch):
            read()


def test_fit_evaluate_and_predict_name_what_a_source_lacks():
    classifier = supervised.learner(model=Linear(), optimizer=SGD)
    arrays = {"image": IMAGE, "label": np.array([0, 2], np.int32)}
    complete, unlabeled, blank = Source(arrays), Source({"image": IMAGE}), Source({"label": arrays["label"]})
    problem = r"^{}: holds {}, no '{}'; allowed: all keys that the learner reads$"
    with pytest.raises(ValueError, match=problem.format("batch", "image, index", "label")):
        fit(classifier, Pipeline(unlabeled, 2), steps=1, progress=False)
    with pytest.raises(ValueError, match=problem.format("valid", "image, index, mask", "label")):
        fit(classifier, Pipeline(complete, 2), steps=1, valid=unlabeled, progress=False)
    state = jax.eval_shape(classifier.init, jax.random.key(0), complete[np.arange(2)])
    with pytest.raises(ValueError, match=problem.format("source", "image, index, mask", "label")):
        evaluate(classifier, state, unlabeled)
    with pytest.raises(ValueError, match=problem.format("source", "index, label, mask", "image")):
        predict(classifier, state, blank)


class Backbone(nn.Module):
    """No learner."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 1.5}, r"^steps=1.5: no whole number; allowed: integers from 1$"),
        ({"eval_batch_size": 0}, "^eval_batch_size=0: too small; allowed: at least 1$"),
        ({"valid": [1, 2]}, "^valid=list: is no source; allowed: Source, or None$"),
        ({"learner": Backbone()}, "^learner=Backbone: no learner; allowed: a Learner"),
        ({"folder": 3}, "^folder=3: no path; allowed: a path, or None$"),
        ({"hooks": 3}, "^hooks=3: no list; allowed: a list or tuple of hooks$"),
        ({"hooks": [print, "stop"]}, r"^hooks\[1\]='stop': no hook; allowed: hooks$"),
        ({"evaluators": [3]}, r"^evaluators\[0\]=3: no Evaluator; allowed: Evaluators$"),
        ({"evaluators": Evaluator(print, print)}, "^evaluators=Evaluator.*: no list; allowed: a list or tuple of E"),
    ],
)
def test_arguments_of_another_kind_are_named_by_fit(change, message):
    complete = Source({"image": IMAGE, "label": np.array([0, 2], np.int32)})
    arguments = {"learner": None, "train": Pipeline(complete, 2), "steps": 1, "progress": False}
    if "learner" not in change:
        arguments["learner"] = supervised.learner(model=Linear(), optimizer=SGD)
    with pytest.raises(ValueError, match=message):
        fit(**arguments | change)


def check_metadata(step=8, steps=8, metadata=None, seed=0, hook_types=("A", "B"), changed_data=False, data=(1, 2)):
    """Check a checkpoint of step 8, seed 0, data [1, 2] and hooks A, without a memory, and B; "absent" is left out."""
    known = {"seed": 0, "hook_types": ["A", "B"], "hooks": [None, {"x": 1}], "data": [1, 2], **(metadata or {})}
    check_checkpoint(
        step, {name: value for name, value in known.items() if value != "absent"},
        seed=seed, steps=steps, data=data, hook_types=hook_types, changed_data=changed_data, folder="f",
    )  # fmt: skip


def test_a_checkpoint_belongs_to_the_training_of_its_seed_length_hooks_and_data():
    """Another hook may take the place of one without a memory; older checkpoints name no seed and no hooks."""
    check_metadata()
    check_metadata(hook_types=("C", "B"))
    check_metadata(hook_types=("A",))
    check_metadata(steps=9)
    check_metadata(seed=5, metadata={"seed": "absent"})
    check_metadata(hook_types=("A", "C"), metadata={"hook_types": "absent"})
    check_metadata(data=[3], changed_data=True)
    for words, message in (
        ({"seed": 1}, "seed=1: the checkpoints in 'f' are of seed 0; allowed: that seed, or another folder"),
        ({"steps": 7}, "steps=7: the checkpoint in 'f' is of step 8; allowed: at least 8, or another folder"),
        ({"hook_types": ("A", "C")}, "hooks[1]=C: the checkpoint in 'f' holds the memory of B; allowed: the same"),
        ({"data": [3]}, "folder='f': its checkpoints were made on other data, [1, 2]; allowed: [3]"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            check_metadata(**words)


@pytest.mark.parametrize("function", [evaluate, predict])
def test_arguments_of_another_kind_are_named_by_evaluate_and_predict(function):
    classifier, complete = supervised.learner(model=Linear(), optimizer=SGD), Source({"image": IMAGE})
    with pytest.raises(ValueError, match=r"^source=ndarray: no source; allowed: Source\(arrays\)$"):
        function(classifier, None, IMAGE)
    with pytest.raises(ValueError, match=r"^batch_size=1.5: no whole number; allowed: integers from 1$"):
        function(classifier, None, complete, batch_size=1.5)
    with pytest.raises(ValueError, match=r"^learner=Linear: no learner"):
        function(Linear(), None, complete)
    if function is evaluate:
        with pytest.raises(ValueError, match=r"^evaluators=3: no list; allowed: a list or tuple of Evaluators$"):
            evaluate(classifier, None, complete, evaluators=3)
    result = Result(state=None, step=1, history=[], stopped=False)
    with pytest.raises(ValueError, match=r"^state=Result: what fit returns; allowed: its state, result.state$"):
        function(classifier, result, complete)

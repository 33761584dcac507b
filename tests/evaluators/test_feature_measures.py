"""One protocol for every pretext: the learner sees no label, and each number has the untrained encoder's beside it."""

import importlib
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from dlcore.evaluators import accuracy, feature_measures
from dlcore.evaluators.feature_measures import FeatureMeasures, remove_labels
from dlcore.evaluators.fine_tuning import Recipe
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import Learner
from dlcore.run.evaluate import Evaluation
from dlcore.self_supervised.networks import DINONet, Embedder
from dlcore.setting import FlagError
from experiments.self_supervised import dino, moco, rotation, simclr
from experiments.semi_supervised import mixmatch

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


def test_a_technique_that_uses_labels_keeps_them_and_another_counts_no_classes_of_labels():
    learner = Learner(*[None] * 5, classes=lambda state, batch: dict.fromkeys([*batch, "code"], 3))
    assert measures_of(uses_labels=True).wrap(learner, None) is learner
    counts = measures_of().wrap(learner, None).classes(None, {"image": 0, "label": 0})
    assert counts == {"image": 3, "code": 3}


PROTOCOL = {"bank_size": 100, "knn_k": 7, "fine_tune": (10.0, 0.5), "fine_tune_steps": 3, "embeddings": True}


def measures_of(**fields):
    return FeatureMeasures(**{**PROTOCOL, **fields})


def run_and_splits(classes=4):
    """A run with the seed 5, beside 60 images to train with."""
    network = SimpleNamespace(encoder=lambda run: "encoder")
    run = SimpleNamespace(
        facts=SimpleNamespace(num_classes=classes), seed=5, parts=SimpleNamespace(network=network, data=None)
    )
    return run, SimpleNamespace(train=range(60), valid="valid", test="test", spec={"num_classes": classes})


@pytest.fixture
def measured(monkeypatch):
    """Stand-ins for the evaluators; returns a function that lists (name, source, settings) of those of a split."""

    def stand_in(name):
        return lambda *sources, **settings: (name, sources, settings)

    for name in ("feature_rank", "knn", "linear_probe", "uniformity"):
        monkeypatch.setattr(importlib.import_module(f"dlcore.evaluators.{name}"), name, stand_in(name))
    monkeypatch.setattr(importlib.import_module("dlcore.data.bank_and_queries"), "bank_and_queries", lambda *args: args)
    monkeypatch.setattr(feature_measures, "fine_tuning", stand_in("fine_tuning"))

    def measure(split, classes=4, **fields):
        return measures_of(**fields).evaluators(*run_and_splits(classes), split)

    return measure


HEAD_COLLAPSE = [("uniformity", {}), ("feature_rank", {"key": "embeddings", "suffix": "_head"})]
COLLAPSE = [("feature_rank", {}), ("feature_rank", {"key": "untrained", "suffix": "_untrained"})]
NEIGHBORS = [
    ("knn", {"k": 7, "temperature": 0.07}),
    ("knn", {"k": 7, "temperature": 0.07, "key": "untrained", "name": "knn_untrained"}),
]
PROBES = [("linear_probe", {}), ("linear_probe", {"key": "untrained", "name": "probe_untrained"})]
HEAD_PROBE = ("linear_probe", {"key": "embeddings", "name": "probe_head"})


def plain(evaluators):
    """Their names and settings, in an order of their own."""
    return sorted(((name, settings) for name, _, settings in evaluators), key=str)


@pytest.mark.covers("SS-01")
@pytest.mark.parametrize("has_embeddings", [True, False])
def test_a_validation_measures_neighbors_and_collapse_and_the_test_split_probes_too(measured, has_embeddings):
    head_collapse, head_probe = (HEAD_COLLAPSE, [HEAD_PROBE]) if has_embeddings else ([], [])
    for split, expected in (
        ("valid", [*NEIGHBORS, *COLLAPSE, *head_collapse]),
        ("test", [*NEIGHBORS, *COLLAPSE, *head_collapse, *PROBES, *head_probe]),
    ):
        found = measured(split, fine_tune=(), embeddings=has_embeddings)
        assert plain(found) == sorted(expected, key=str)
        # The bank, of the training images, has the queries of the split, and is drawn by the seed.
        assert all(sources == ((range(60), split, 100, 5),) for _, sources, _ in found)


@pytest.mark.covers("SS-01")
def test_images_without_labels_have_measures_of_collapse_alone(measured):
    found = measured("test", 1)
    assert plain(found) == sorted(COLLAPSE + HEAD_COLLAPSE, key=str)


@pytest.mark.covers("SS-01")
@pytest.mark.parametrize("supervised", [True, False])
def test_fine_tuning_has_the_labels_the_length_and_the_seed_of_the_flags(measured, supervised):
    """Counts are 10 and half of 60 images. A bank of 100 has all 60, by which the supervised encoder is trained."""
    name, sources, settings = measured("test", supervised=supervised)[-1]
    assert (name, sources) == ("fine_tuning", ((range(60), "test", 100, 5), range(60), "test"))
    assert settings == {
        "encoder": "encoder",
        "counts": (10, 30),
        "num_classes": 4,
        "recipe": Recipe(steps=3),
        "supervised": 60 if supervised else 0,
        "k": 7,
        "seed": 5,
    }
    assert (measured("test", fine_tune=(), supervised=supervised)[-1][0] == "fine_tuning") == supervised


@pytest.mark.covers("SS-01")
@pytest.mark.parametrize(("flags", "k"), [({"knn_k": 70}, 60), ({"knn_k": 70, "bank_size": 50}, 50), ({}, 7)])
def test_no_more_neighbors_are_asked_for_than_the_bank_holds(measured, flags, k):
    assert measured("valid", **flags)[0][2]["k"] == k


def test_the_notes_say_how_many_labels_each_measure_has():
    assert measures_of().messages(*run_and_splits()) == [
        "k-NN with k = 7 and temperature 0.07, linear probe: by the labels of 60 training images; fine-tuning with 10 "
        "and 30 labels, 3 steps of 64 images; each beside the untrained encoder. The learner gets no label."
    ]
    measures = measures_of(bank_size=50, knn_k=70, fine_tune=(), uses_labels=True)
    assert measures.messages(*run_and_splits()) == [
        "k-NN with k = 50 and temperature 0.07, linear probe: by the labels of 50 training images; each beside the "
        "untrained encoder. The learner gets the labels of all training images."
    ]
    assert measures_of().messages(*run_and_splits(1)) == []


@pytest.fixture(scope="module")
def started():
    """(run, splits of few images, setup, learner, state before the first step)."""
    run = resolved()
    data = run.experiment.run(run.flags).load()
    data = data._replace(train=data.train.take(150), test=data.test.take(50))
    setup = run.training_of(data)
    learner = setup.build()
    return run, data, setup, learner, jax.jit(learner.init)(jax.random.key(1), data.test[:4])


@pytest.mark.weekly
@pytest.mark.covers("SS-01")
def test_the_protocol_measures_trained_untrained_and_supervised_encoders(started):
    run, data, setup, learner, state = started
    evaluators = setup.evaluators(data, "test")
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
    text = setup.messages(data)[0]
    assert text.startswith("k-NN with k = 5 and temperature 0.07, linear probe: by the labels of 100 training images; ")
    assert f"fine-tuning with 10 and 20 labels, {setup.flags.fine_tune_steps} steps of 64 images" in text


@pytest.mark.slow
def test_the_encoder_of_fine_tuning_is_the_learners(started):
    """Its features of a state are those that `predict` gives, and training mode changes the statistics."""
    _, data, setup, learner, state = started
    encoder, rows = setup.encoder(), data.test[:4]
    images = encoder.prepare(rows["image"])
    features, _ = jax.jit(encoder.apply, static_argnums=2)(encoder.variables(state), images, None)
    np.testing.assert_allclose(features, learner.predict(state, rows)["features"], rtol=1e-4, atol=1e-5)
    fresh = encoder.init(jax.random.key(2))
    assert jax.tree.structure(fresh) == jax.tree.structure(encoder.variables(state))
    _, others = jax.jit(encoder.apply)(fresh, images, jax.random.key(3))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), others, {"batch_stats": fresh["batch_stats"]})
    assert max(jax.tree.leaves(moved)) > 1e-3


def test_more_labels_than_images_are_an_error_before_any_work():
    with pytest.raises(FlagError, match=r"--fine_tune=61: more than the training examples; allowed: at most 60"):
        measures_of(fine_tune=(61.0,)).messages(*run_and_splits())


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
    monkeypatch.setattr("dlcore.cost.host_memory.memory_bytes", lambda: 24 * 10**9)
    with pytest.raises(FlagError, match=message):
        page.experiment.run(resolve(page.experiment, words)).check()
    page.experiment.run(resolve(page.experiment, [])).check()
    page.experiment.run(resolve(page.experiment, ["--dataset=folder", "--data_dir=d", "--fine_tune=1e9"])).check()


def test_the_parts_of_a_page_say_its_modules_and_plain_values():
    assert simclr.experiment.modules["embedder"].func is Embedder
    assert dino.experiment.modules["head"].func is DINONet
    assert mixmatch.experiment.sanity.plain == accuracy.PLAIN


def test_the_report_shows_the_results_the_pretext_and_the_features(monkeypatch):
    """Each stand-in of a panel returns its name and its arguments; the training's accuracy is not the encoder's."""
    for name in ("accuracy_table", "rank_table", "nearest_neighbors", "feature_plane"):
        monkeypatch.setattr(f"dlcore.report.self_supervised.{name}", lambda *args, name=name: (name, *args))
    monkeypatch.setattr("dlcore.report.triage.triage_panels", lambda history, floor: [("triage", history, floor)])
    monkeypatch.setattr("dlcore.report.curves.curves", lambda history: ("curves", history))

    run, splits = run_and_splits()
    run.parts = SimpleNamespace(
        data=SimpleNamespace(pictures_of=lambda examples: [f"picture of {example}" for example in examples]),
        having=lambda method: [lambda context, run: ["pretext"]],
    )
    splits.test = SimpleNamespace(arrays={"image": ["a", "b"], "label": [1, 0]})
    history = [{"step": 1, "loss": 2.0, "accuracy": 0.5}]
    context = SimpleNamespace(
        spec={"class_names": ["x", "y"]}, outputs={"features": "z"}, data=splits,
        numbers={"knn": 0.5}, history=history,
    )  # fmt: skip
    measures = measures_of(fine_tune=())
    table, *others = measures.panels(context, run)
    assert table[:2] == ("accuracy_table", {"knn": 0.5})
    assert "k = 7 and temperature 0.07" in table[2]
    assert others == [
        ("rank_table", {"knn": 0.5}),
        "pretext",
        ("nearest_neighbors", ["picture of a", "picture of b"], [1, 0], "z", ["x", "y"]),
        ("feature_plane", "z", [1, 0], ["x", "y"]),
        ("triage", [{"step": 1, "loss": 2.0}], None),
        ("curves", history),
    ]
    splits.spec = {"num_classes": 1}
    assert measures.panels(context, run)[0] == others[0]


def test_flags_are_checked_for_data_without_a_name_and_without_labels():
    """Clips are no well-known data set, so that no count is too large for them; of the digits 1,297 train."""
    run, _ = run_and_splits()
    measures = measures_of(fine_tune=(0.5, 10.0, 2000.0))
    run.parts.data = SimpleNamespace(dataset="clips")
    measures.check(run)
    run.parts.data = SimpleNamespace(dataset="digits")
    with pytest.raises(FlagError, match=r"^--fine_tune=2000: more than the training examples; allowed: at most 1297$"):
        measures.check(run)
    assert FeatureMeasures(fine_tune=(0.001,)).counts(500, 1) == (1,)

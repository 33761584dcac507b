"""The verdict on written numbers, labels bought, and what a start from trained weights keeps."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.semi_supervised.two_streams import TwoStreamState, supervised_only
from experiments.studies import few_labels as study
from experiments.studies.small_runs import Digits

SECONDS = dict.fromkeys(study.WAYS, 2.0)


def written(**changes):
    values = {study.SCRATCH: [0.7, 0.75], study.TUNED: [0.8, 0.85], study.SEMI: [0.9, 0.85], study.ACTIVE: [0.7, 0.8]}
    return {name: np.array(changes.get(name, value)) for name, value in values.items()}


@pytest.mark.covers("TL-14")
def test_the_verdict_turns():
    good = study.report(written(), SECONDS, 40)
    assert good.holds
    assert "With 40 labels: from scratch 72.5% (2 s); semi-supervised 87.5% (+15.0 points, 2 s)" in good.verdict
    assert "The most is bought by: semi-supervised." in good.verdict
    np.testing.assert_allclose(good.headline.values, [20, 10])
    assert not study.report(written(**{study.TUNED: [0.8, 0.74]}), SECONDS, 40).holds
    swapped = written(**{study.SCRATCH: [0.9, 0.85], study.SEMI: [0.7, 0.75]})
    assert not study.report(swapped, SECONDS, 40).holds


class Written:
    """A trainer that is sure of all images but two, and remembers what it was asked."""

    data = Digits(np.zeros((20, 8, 8, 1)), np.arange(20) % 10, np.zeros((1, 8, 8, 1)), np.zeros(1, int))

    def __init__(self):
        self.asked = []

    def train(self, seed, rows, **_):
        self.asked.append((seed, list(rows)))
        probabilities = np.tile([[0.9, 0.1]], (20, 1))
        probabilities[[7, 11]] = [0.55, 0.45]
        return len(rows) / 100, jnp.asarray(probabilities)


@pytest.mark.covers("TL-14")
def test_the_least_sure_are_bought_and_each_round_starts_from_scratch():
    trainer = Written()
    accuracy, rows = study.actively(trainer, 3, np.array([0, 1]), 6, 2)
    assert accuracy == 0.06
    assert {0, 1, 7, 11} <= set(rows)
    assert len(rows) == 6
    assert [(seed, len(known)) for seed, known in trainer.asked] == [(3, 2), (3, 4), (3, 6)]
    assert trainer.asked[1][1] == [0, 1, 7, 11]


def test_a_step_takes_no_more_images_than_there_are():
    with pytest.raises(ValueError, match=r"unlabeled_ratio=100: 1600 unlabeled images a step; allowed: at most 1297"):
        study.study(unlabeled_ratio=100)


class Body(nn.Module):
    """A layer and its head."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(self.num_classes, name="head")(nn.Dense(2, name="body")(x.mean((1, 2))))


@pytest.fixture
def small(monkeypatch):
    """A trainer of the layer, whose shipped weights are 7, on 20 images that all show their own row."""
    shipped = {"body": {"kernel": np.full((3, 2), 7.0), "bias": np.full(2, 7.0)}, "head": {"bias": np.full(3, 7.0)}}
    network = SimpleNamespace(model=Body(), variables={"params": shipped}, mean=np.zeros(3), std=np.ones(3))
    monkeypatch.setattr(study, "load_network", lambda: network)
    rows = np.arange(20)
    images = np.broadcast_to(rows[:, None, None, None], (20, 8, 8, 1)).astype(np.float32)
    return study.Trainer(Digits(images, rows % 10, images[:1], rows[:1]), 1, 4, 3, 1e-3)


@pytest.mark.covers("TL-14")
def test_the_tuned_start_from_the_shipped_weights_and_the_others_do_not(small):
    seen, zeros = [], {"body": {"kernel": np.zeros((3, 2)), "bias": np.zeros(2)}, "head": {"kernel": np.zeros((2, 10))}}
    start = TwoStreamState(0, 0, zeros, (), {}, {"params": zeros, "model_state": {}}, None)
    small.init = {"labeled": lambda key, batch: start}
    small.programs = {"labeled": lambda state, *_: (seen.append(state), (0.5, None))[1]}
    small._batch = lambda *_: None
    for tuned in (False, True):
        small.train(0, np.array([3, 5]), tuned=tuned)
    scratch, tuned = seen
    assert (np.asarray(tuned.params["body"]["kernel"]) == 7).all()
    assert (np.asarray(tuned.teacher["params"]["body"]["kernel"]) == 7).all()
    assert scratch is start
    assert (np.asarray(tuned.params["head"]["kernel"]) == np.zeros((2, 10))).all()


@pytest.mark.covers("TL-14")
def test_unlabeled_images_are_drawn_from_all_and_labeled_ones_from_the_few(small):
    """Of rows 3 and 5 come 4 labeled images; 12 different ones of all 20 come without labels."""
    batch = jax.jit(small._batch)(jax.random.key(0), jnp.array([3, 5] + 18 * [9]), jnp.int32(2))
    few, many = (np.asarray(batch[name]["image"])[:, 0, 0, 0] for name in ("labeled", "unlabeled"))
    assert set(few) <= {3, 5}
    np.testing.assert_array_equal(batch["labeled"]["label"], few)
    assert len(set(many)) == len(many) == 12
    assert "label" not in batch["unlabeled"]


@pytest.mark.covers("TL-14")
def test_each_way_trains_what_its_name_says(monkeypatch):
    """Four labels of each digit, of which active learning draws two and buys the other 20."""
    calls = []

    class Spy(Written):
        def __init__(self, *_):
            super().__init__()

        def train(self, seed, rows, *, kind="labeled", tuned=False):
            calls.append((len(rows), kind, tuned))
            return 0.5, None

    def bought(trainer, seed, rows, budget, rounds):
        calls.append((len(rows), "active", budget))
        return 0.5, None

    monkeypatch.setattr(study, "Trainer", Spy)
    monkeypatch.setattr(study, "actively", bought)
    monkeypatch.setattr(study, "report", lambda results, seconds, labels: list(results))
    names = study.study(num_seeds=1)
    assert dict(zip(names, calls, strict=True)) == {
        "from scratch": (40, "labeled", False),
        "fine-tuned": (40, "labeled", True),
        "semi-supervised": (40, "semi", False),
        "active": (20, "active", 40),
    }


@pytest.mark.covers("TL-14")
def test_the_semi_supervised_learner_is_fixmatch_and_the_other_sees_labels_alone(monkeypatch):
    made = {}

    def learner(name):
        return lambda **settings: (made.update({name: settings}), SimpleNamespace(name=name, init=lambda: name))[1]

    monkeypatch.setattr(study, "two_stream_learner", learner("labeled"))
    monkeypatch.setattr(study.fixmatch, "learner", learner("FixMatch"))
    monkeypatch.setattr(study.Trainer, "_program", lambda self, made: made.name)
    trainer = study.Trainer(Written.data, 1, 4, 3, 1e-3)
    assert trainer.programs == {"labeled": "labeled", "semi": "FixMatch"}
    assert {kind: init.__wrapped__() for kind, init in trainer.init.items()} == trainer.programs
    assert made["labeled"]["technique"] is supervised_only
    assert made["FixMatch"]["strong"] is not made["FixMatch"]["augment"]
    shared = {name: made["labeled"][name] for name in ("model", "optimizer", "preprocess", "augment")}
    assert {name: made["FixMatch"][name] for name in shared} == shared
    assert shared["model"].num_classes == 10
    chex.assert_shape(shared["preprocess"](np.zeros((2, 8, 8, 1))), (2, study.SIDE, study.SIDE, 3))
    optimizer, params = shared["optimizer"], {"kernel": np.ones(2, np.float32)}
    step, _ = optimizer.update(params, optimizer.init(params), params)
    # The first step of AdamW is its rate, by the gradient's sign and by a hundredth of the weight: 1e-3 1.01.
    np.testing.assert_allclose(step["kernel"], -1.01e-3, rtol=1e-4)

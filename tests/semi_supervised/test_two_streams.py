"""Two streams in one batch: means, the ramp, the teacher, what nobody may learn from, and the twin."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import Sum
from dlcore.run.inputs import check_labels
from dlcore.semi_supervised.twin import add_twin
from dlcore.semi_supervised.two_streams import (
    PseudoLabels,
    Terms,
    averaging,
    ramp_up,
    snapshots,
    streams,
    supervised_only,
    supervised_terms,
    two_stream_learner,
)

KEY = jax.random.key(0)


class Net(nn.Module):
    """Batch norm and one layer: statistics and weights are worked out by hand."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x.reshape(len(x), -1))
        return nn.Dense(3)(x)


def batch(labeled=4, unlabeled=8):
    rng = np.random.default_rng(0)

    def images(n):
        return rng.normal(size=(n, 2, 2, 1)).astype(np.float32)

    return {
        "labeled": {
            "image": images(labeled),
            "label": np.arange(labeled, dtype=np.int32) % 3,
            "index": np.arange(labeled, dtype=np.int32),
        },
        "unlabeled": {
            "image": images(unlabeled),
            "hidden_label": np.arange(unlabeled, dtype=np.int32) % 3,
            "index": np.arange(unlabeled, dtype=np.int32),
        },
    }


def half(networks, labeled, unlabeled, rng, memory):
    """The loss of every other unlabeled example is its squared logits; guesses are class 0."""
    (logits, others), model_state = networks.student(labeled["image"], unlabeled["image"])
    losses, metrics = supervised_terms(logits, labeled)
    accepted = unlabeled["index"] % 2 == 0
    label = jnp.zeros(len(others), jnp.int32)
    return Terms(
        losses, model_state, metrics, accepted * jnp.square(others).sum(-1), PseudoLabels(label, accepted), memory
    )


def build(technique=half, **changes):
    options = {"teacher": averaging(0.9), "weight": lambda step: 2 * ramp_up(step, 10)} | changes
    return two_stream_learner(Net(), optax.sgd(0.1), technique, **options)


@pytest.fixture(scope="module")
def trained():
    learner = build()
    states = [jax.jit(learner.init)(KEY, batch())]
    update, logs = jax.jit(learner.update), []
    for _ in range(3):
        state, metrics = update(states[-1], batch())
        states.append(state)
        logs.append({name: metric.compute() for name, metric in metrics.items()})
    return learner, states, logs


def test_the_ramp_is_that_of_laine_and_aila():
    assert ramp_up(jnp.int32(0), 10) == pytest.approx(np.exp(-5))
    assert ramp_up(jnp.int32(5), 10) == pytest.approx(np.exp(-1.25))
    assert ramp_up(jnp.int32(10), 10) == ramp_up(jnp.int32(99), 10) == ramp_up(jnp.int32(0), 0) == 1
    assert ramp_up(jnp.int32(1), 1) == 1


@pytest.mark.weekly
def test_the_loss_divides_by_all_unlabeled_examples_and_batch_norm_sees_one_batch(trained):
    learner, (state, *_), _ = trained
    data = batch()
    x = np.concatenate([data["labeled"]["image"], data["unlabeled"]["image"]]).reshape(12, 4).astype(np.float64)
    normal = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    layer = jax.tree.map(np.asarray, state.params["Dense_0"])
    logits = normal @ layer["kernel"] + layer["bias"]
    log_p = logits[:4] - np.log(np.exp(logits[:4]).sum(-1, keepdims=True))
    supervised = -log_p[np.arange(4), data["labeled"]["label"]].mean()
    unlabeled = np.square(logits[4::2]).sum() / 8
    value, _ = learner.loss(state.params, state, data)
    assert value == pytest.approx(supervised + 2 * np.exp(-5) * unlabeled, rel=1e-5)


@pytest.mark.slow
def test_padding_is_no_example(trained):
    learner, (state, *_), _ = trained
    data = batch()
    padded = {**data, "unlabeled": {**data["unlabeled"], "mask": np.array([1] * 6 + [0] * 2, np.float32)}}
    _, metrics = learner.loss(state.params, state, padded)
    assert int(metrics["unlabeled_loss"].count) == 6
    assert metrics["mask_rate"].compute() == pytest.approx(3 / 6)
    assert metrics["impurity"].compute() == pytest.approx(2 / 3), "examples 0, 2, 4 have the labels 0, 2, 1"


def test_the_teacher_averages_weights_and_batch_statistics(trained):
    _, states, _ = trained
    d = 4 / 13  # (1 + t) / (10 + t) at t = 3

    def average(old, new):
        return d * old + (1 - d) * new

    before, after = states[-2], states[-1]
    for name in ("params", "model_state"):
        old, teacher, student = jax.device_get((before.teacher[name], after.teacher[name], getattr(after, name)))
        expected = jax.tree.map(average, old, student)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), teacher, expected)
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), teacher, student)
        assert max(jax.tree.leaves(moved)) > 1e-4


def test_the_teacher_is_what_is_measured(trained):
    learner, states, _ = trained
    flat = batch()["labeled"]
    state = states[-1]
    expected = Net().apply({"params": state.teacher["params"], **state.teacher["model_state"]}, flat["image"])
    np.testing.assert_allclose(learner.predict(state, flat)["logits"], expected, rtol=1e-6)
    alone = build(teacher=None)
    assert jax.eval_shape(alone.init, KEY, batch()).teacher is None


def test_a_snapshot_stays_until_the_next():
    rule = snapshots(3)
    values = [rule.follow({"w": jnp.zeros(2)}, {"w": jnp.ones(2)}, jnp.int32(step))["w"][0] for step in (1, 2, 3, 6)]
    assert values == [0, 0, 1, 1]
    learner = build(teacher=rule)
    state = learner.init(KEY, batch())
    moved = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
    assert (learner.predict(moved, batch()["labeled"])["logits"] == 0).all(), "the student is measured"


@pytest.mark.slow
def test_no_gradient_depends_on_hidden_labels(trained):
    learner, (state, *_), logs = trained
    data = batch()
    other = {**data, "unlabeled": {**data["unlabeled"], "hidden_label": np.zeros(8, np.int32)}}
    first, metrics = learner.update(state, data)
    second, changed = learner.update(state, other)
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
    jax.tree.map(np.testing.assert_array_equal, first.teacher, second.teacher)
    assert metrics["impurity"].compute() == logs[0]["impurity"] == pytest.approx(2 / 4), "labels 0, 2, 1, 0"
    assert changed["impurity"].compute() == 0
    assert {name for name in metrics if metrics[name].compute() != changed[name].compute()} == {"impurity"}


def test_a_technique_never_gets_the_hidden_labels():
    _, unlabeled, hidden = streams(batch())
    assert set(unlabeled) == {"image", "index"}
    assert hidden is not None
    flat = batch()["labeled"]
    labeled, unlabeled, hidden = streams(flat)
    assert labeled is flat
    assert set(unlabeled) == {"image", "index"}
    np.testing.assert_array_equal(hidden, flat["label"])


@pytest.mark.weekly
def test_the_twin_learns_as_it_would_alone():
    weak = lambda key, image: image + jax.random.normal(key, image.shape)  # noqa: E731
    alone = build(supervised_only, augment=weak)
    both = add_twin(build(augment=weak), alone)
    state, single = both.init(KEY, batch()), alone.init(KEY, batch()["labeled"])
    jax.tree.map(np.testing.assert_array_equal, state.params["technique"], state.params["supervised"])
    assert jax.tree.structure(state.params["supervised"]) == jax.tree.structure(single.params)
    update, own = jax.jit(both.update), jax.jit(alone.update)
    for _ in range(2):
        state, metrics = update(state, batch())
        single, others = own(single, batch()["labeled"])
        assert metrics["accuracy_supervised"].compute() == others["accuracy"].compute()
    jax.tree.map(np.testing.assert_array_equal, state.params["supervised"], single.params)
    gap = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.params["technique"], single.params)
    assert max(jax.tree.leaves(gap)) > 1e-3
    assert int(state.step) == 2
    measured = {k: v.compute() for k, v in both.evaluate(state, batch(6)["labeled"]).items() if isinstance(v, Sum)}
    assert measured["gain"] == pytest.approx(measured["accuracy"] - measured["accuracy_supervised"])


def test_a_label_outside_the_classes_is_named_by_its_stream():
    data = batch()
    sources = {name: Source({k: v for k, v in rows.items() if k != "index"}, name=name) for name, rows in data.items()}
    sources["labeled"].arrays["label"][2] = 3
    train = {name: Pipeline(source, 2) for name, source in sources.items()}
    learner = build()
    state = jax.eval_shape(learner.init, KEY, data)
    with pytest.raises(ValueError, match=r"label=3: out of range, example 2 of train/labeled; allowed: .* 0 to 2"):
        check_labels(learner, state, {name: p.batch_at(0) for name, p in train.items()}, train, None)

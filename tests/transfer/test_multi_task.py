"""What a step learns from, and two tasks by one trunk as well as by two networks."""

import types

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.learner import State
from dlcore.transfer.multi_task import HeadsNet, learner, rotate_quarter_turns
from experiments.transfer import multi_task as study
from experiments.transfer.multi_task import report
from tests.first_call import first_call
from tests.told_sgd import told_sgd

NET = HeadsNet(nn.Sequential([nn.Dense(16), nn.relu]), (("sum", 2), ("order", 2)))


def points(count, seed):
    """Of two numbers: whether their sum is positive, and whether the first is the larger."""
    x = np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)
    labels = {"sum": x.sum(1) > 0, "order": x[:, 0] > x[:, 1]}
    return {task: {"image": x, "label": y.astype(np.int32), "index": np.arange(count)} for task, y in labels.items()}


def trained(weights, batch, steps=150):
    one = learner(model=NET, optimizer=optax.adam(0.02), weights=dict(zip(("sum", "order"), weights, strict=True)))
    first = one.init(jax.random.key(0), batch)
    last = jax.jit(lambda s: jax.lax.fori_loop(0, steps, lambda _, s: one.update(s, batch)[0], s))(first)
    return one, first, last


@pytest.mark.slow
@pytest.mark.covers("TL-07")
def test_two_tasks_are_learned_as_well_as_each_alone():
    batch, test = points(64, 0), points(500, 1)
    found = {}
    for weights in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0)):
        one, first, last = trained(weights, batch)
        metrics = one.evaluate(last, test)
        found[weights] = {task: metrics[f"accuracy/{task}"].compute() for task in test}
        for task, weight in zip(("sum", "order"), weights, strict=True):
            moved = float(np.abs(last.params[f"head_{task}"]["kernel"] - first.params[f"head_{task}"]["kernel"]).max())
            assert (moved > 0.01) is (weight > 0), "a task without weight leaves its head as it was"
    assert found[1.0, 1.0]["sum"] > max(0.9, found[1.0, 0.0]["sum"] - 0.03), found
    assert found[1.0, 1.0]["order"] > max(0.9, found[0.0, 1.0]["order"] - 0.03), found


@pytest.mark.slow
@pytest.mark.covers("TL-07")
def test_each_task_counts_alike_however_many_examples_it_has():
    """L = 2 L_sum + L_order, each the mean over its own examples."""
    batch = points(8, 0)
    batch["order"] = {name: rows[:2] for name, rows in batch["order"].items()}
    one = learner(model=NET, optimizer=optax.sgd(0.1), weights={"sum": 2.0, "order": 1.0})

    @jax.jit
    def run():
        state = one.init(jax.random.key(0), batch)
        return state, one.loss(state.params, state, batch)

    state, (value, metrics) = run()
    assert float(value) == pytest.approx(2 * metrics["loss/sum"].compute() + metrics["loss/order"].compute(), rel=1e-6)
    assert one.classes(state, batch) == {"sum/label": 2, "order/label": 2}
    with pytest.raises(ValueError, match="other tasks than the losses'"):
        jax.eval_shape(
            learner(model=NET, optimizer=optax.sgd(0.1), weights={"sum": 1.0}).loss, state.params, state, batch
        )


class TwoHeads(nn.Module):
    """Logits of two tasks, the products of one shared matrix and a matrix each."""

    @nn.compact
    def __call__(self, x):
        h = x @ self.param("trunk", nn.initializers.ones, (2, 2))
        return {task: h @ self.param(task, nn.initializers.ones, (2, 2)) for task in ("sum", "order")}


@pytest.mark.covers("TL-07")
def test_one_update_by_hand():
    """L = 2 CE_sum + 0.5 CE_order: each head by its own images, the trunk by both; padding counts nowhere."""
    rate, weights = 0.1, {"sum": 2.0, "order": 0.5}
    batch = {task: part | {"mask": np.array([1.0, 1, 1, 0], np.float32)} for task, part in points(4, 0).items()}
    batch["order"]["image"] = batch["order"]["image"][::-1] + 1
    draws = np.random.default_rng(2)
    before = {name: draws.normal(size=(2, 2)).astype(np.float32) for name in ("trunk", "sum", "order")}
    one = learner(model=TwoHeads(), optimizer=told_sgd(rate), weights=weights)
    state = State(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before))
    (after, metrics), measured = jax.jit(lambda s: (one.update(s, batch), one.evaluate(s, batch)))(state)
    trunk_slope = 0
    for task, weight in weights.items():
        x, label = batch[task]["image"][:3], batch[task]["label"][:3]
        scores = np.exp(x @ before["trunk"] @ before[task])
        p = scores / scores.sum(1, keepdims=True)
        error = weight * (p - np.eye(2)[label]) / 3
        trunk_slope = trunk_slope + x.T @ error @ before[task].T
        new = before[task] - rate * before["trunk"].T @ x.T @ error
        np.testing.assert_allclose(after.params[task], new, rtol=1e-4, atol=1e-6)
        loss, right = -np.log(p[np.arange(3), label]).mean(), (p.argmax(1) == label).mean()
        for found in (metrics, measured):
            assert found[f"loss/{task}"].compute() == pytest.approx(loss, rel=1e-5)
            assert found[f"accuracy/{task}"].compute() == pytest.approx(right)
    np.testing.assert_allclose(after.params["trunk"], before["trunk"] - rate * trunk_slope, rtol=1e-4, atol=1e-6)


def test_images_are_turned_by_their_number():
    images = np.arange(5 * 4.0).reshape(5, 2, 2, 1)
    turned, quarters = jax.device_get(jax.jit(rotate_quarter_turns)(images, np.array([0, 1, 2, 3, 5])))
    np.testing.assert_array_equal(quarters, [0, 1, 2, 3, 1])
    for image, one, k in zip(images, turned, quarters, strict=True):
        np.testing.assert_array_equal(one, np.rot90(image, k))


def test_the_study_is_judged_by_both_tasks():
    """96 and 90 % with both heads; alone 97 and 91 % holds, 97 and 93 % does not."""
    both, chance = np.array([[0.96, 0.90]]), np.array([[0.1, 0.25]])

    def of(first, second):
        single = {"class alone": np.array([[first, chance[0, 1]]]), "turn alone": np.array([[chance[0, 0], second]])}
        return report({"both": both, **single})

    assert of(0.97, 0.91).holds is True
    assert of(0.97, 0.93).holds is False
    assert "turn: 90.0 % with both heads, 93.0 % alone (-3.0)" in of(0.97, 0.93).verdict


@pytest.mark.covers("TL-07")
@pytest.mark.parametrize(
    ("arm", "weights"), [("both", (1.0, 1.0)), ("class alone", (1.0, 0.0)), ("turn alone", (0.0, 1.0))]
)
def test_each_arm_weighs_the_tasks_of_its_name(monkeypatch, arm, weights):
    monkeypatch.setattr(study, "task_data", lambda *_: {})
    _, options = first_call(study, "learner", study.accuracies, arm, 1, 4, 1, 2, 1e-3)
    assert options["weights"] == dict(zip(("class", "turn"), weights, strict=True))
    assert options["model"].classes == (("class", 10), ("turn", 4))


@pytest.mark.slow
def test_turned_digits_are_others_than_those_with_a_class(monkeypatch):
    """Of ten images two are turned, and eight have their class; of all, each is both."""
    images = np.arange(10.0)[:, None, None, None] * np.ones((10, 2, 2, 1))
    arrays = {"image": images, "label": np.arange(10)}
    monkeypatch.setattr(study, "digits", lambda split: types.SimpleNamespace(arrays=arrays))
    monkeypatch.setattr(study, "rotate_quarter_turns", lambda images, index: (images, index))
    for share, classes, turned in ((0.2, range(8), (8, 9)), (1.0, range(10), range(10))):
        parts = study.task_data("train", share)
        np.testing.assert_array_equal(parts["class"][1], classes)
        np.testing.assert_array_equal(parts["class"][0][:, 0, 0, 0], classes)
        np.testing.assert_array_equal(parts["turn"][0][:, 0, 0, 0], turned)
        np.testing.assert_array_equal(parts["turn"][1], np.arange(len(turned)))

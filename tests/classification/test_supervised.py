"""The supervised learner against a hand-written optax loop, and each of its settings by what it must change."""

import itertools
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.classification import supervised
from dlcore.data import augment
from dlcore.data.source import Source
from dlcore.learner import ModelState
from dlcore.models import create_model
from dlcore.nn import BatchNorm
from dlcore.ops.replica import REPLICA
from dlcore.optim import create_optimizer
from dlcore.run import Placement, evaluate, make_mesh
from dlcore.run.pmap import program_for
from tests.experiment.arguments import arguments_of
from tests.passes import PASSED, count_pass, passes

CLASSES = 10


def make_learner(**settings):
    """The learner with its functions jitted."""
    learner = supervised.learner(**arguments_of(supervised.learner, **settings))
    names = ("init", "update", "evaluate", "predict", "loss")
    return learner._replace(**{name: jax.jit(getattr(learner, name)) for name in names})


class Linear(nn.Module):
    """One layer with a start of its own, so that nothing is zero."""

    scale: float = 0.1

    @nn.compact
    def __call__(self, x, train=False):
        start = nn.initializers.normal(self.scale)
        return nn.Dense(CLASSES, kernel_init=start, name="head")(x.reshape(x.shape[0], -1))


class Noisy(nn.Module):
    """Half of the inputs dropped in training; the head is all ones, so that logits count what is left."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dropout(0.5, deterministic=not train)(x.reshape(x.shape[0], -1))
        return nn.Dense(CLASSES, kernel_init=nn.initializers.normal(1.0), name="head")(x)


class Normed(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        x = BatchNorm(use_running_average=not train, axis_name=self.axis_name, name="norm")(x.reshape(x.shape[0], -1))
        return nn.Dense(CLASSES, kernel_init=nn.initializers.normal(0.1), name="head")(x)


def batch(n: int = 16, seed: int = 0, mask: Any = None) -> dict:
    rng = np.random.default_rng(seed)
    rows = {
        "image": rng.random((n, 4, 4, 1), np.float32),
        "label": rng.integers(0, CLASSES, n).astype(np.int32),
        "index": np.arange(n, dtype=np.int32),
    }
    return rows if mask is None else {**rows, "mask": np.asarray(mask, np.float32)}


def started(learner, rows=None, seed=0):
    rows = batch() if rows is None else rows
    return learner.init(jax.random.key(seed), rows)


def first_loss(learner, rows=None):
    rows = batch() if rows is None else rows
    state = started(learner, rows)
    return float(learner.loss(state.params, state, rows)[0])


@pytest.mark.slow
def test_a_loss_of_one_s_own_takes_the_place_of_cross_entropy():
    """The Brier score, whose value and gradient in the bias of one linear layer are worked out in NumPy."""
    learner = make_learner(
        model=Linear(),
        optimizer=optax.sgd(1.0),
        loss=lambda logits, labels: jnp.square(jax.nn.softmax(logits) - jax.nn.one_hot(labels, CLASSES)).sum(-1),
    )
    rows = batch(mask=np.r_[np.ones(12), np.zeros(4)])
    state = started(learner, rows)
    kernel, bias = (np.asarray(state.params["head"][name], np.float64) for name in ("kernel", "bias"))
    scores = np.exp(rows["image"].reshape(16, -1) @ kernel + bias)
    p = scores / scores.sum(-1, keepdims=True)
    error = p - np.eye(CLASSES)[rows["label"]]
    assert first_loss(learner, rows) == pytest.approx((error**2).sum(-1)[:12].mean(), rel=1e-5)
    # d/dz_c sum_k e_k^2 = 2 p_c (e_c - sum_k e_k p_k), and the bias is added to z.
    gradient = (2 * p * (error - (error * p).sum(-1, keepdims=True)))[:12].mean(0)
    after, metrics = learner.update(state, rows)
    np.testing.assert_allclose(after.params["head"]["bias"], bias - gradient, rtol=1e-4, atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx((error**2).sum(-1)[:12].mean(), rel=1e-5)


def test_a_loss_of_another_shape_and_smoothing_beside_an_own_loss_are_refused():
    def averaged(logits, labels):
        return logits.mean()

    learner = supervised.learner(model=Linear(), optimizer=optax.sgd(1.0), loss=averaged)
    state = jax.eval_shape(learner.init, jax.random.key(0), batch())
    expected = r"loss=averaged: gives \(\) for logits \(16, 10\); allowed: one number for each example, \(16,\)"
    with pytest.raises(ValueError, match=expected):
        jax.eval_shape(learner.update, state, batch())
    expected = (
        r"loss=softmax_cross_entropy: fails on logits \(16, 10\) and labels int32 \(16,\) \(.*\); allowed: \(logits"
    )


class Two(nn.Module):
    """Logits of three classes by one layer, and in training those of a second one."""

    def __call__(self, x, train=False):
        return self.auxiliary(x, train)[0]

    @nn.compact
    def auxiliary(self, x, train=True):
        count_pass(self, train, draws=True)
        x = x.reshape(len(x), -1) + train
        return nn.Dense(3, name="head")(x), {"second": nn.Dense(3, name="second")(x)}


def test_one_update_and_every_use_by_hand():
    """Smoothed labels of 2 x - 0.1, with 0.3 times the second head's loss and half of 0.02 times the squared kernels.

    An update augments by 1, to which the network adds 1. The optimizer learns at a twentieth of the loss that it is
    told, and of the one that it can evaluate.
    """
    learner = supervised.learner(
        model=Two(),
        optimizer=optax.GradientTransformationExtraArgs(
            lambda params: (),
            lambda slopes, state, params, *, value, value_fn, **_: (
                jax.tree.map(lambda g: -0.05 * (value + value_fn(params)) * g, slopes),
                state,
            ),
        ),
        preprocess=lambda images: 2 * images - 0.1,
        augment=lambda key, image: image + 1,
        label_smoothing=0.1,
        auxiliary_weight=0.3,
        l2=0.02,
    )
    rng, label = np.random.default_rng(0), np.array([0, 1, 2, 2, 0])
    image = rng.normal(size=(5, 2, 2, 1)).astype(np.float32)
    rows = {"image": image, "label": label, "index": np.arange(5), "mask": np.float32([1, 1, 1, 1, 0])}
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    params = {name: {"kernel": draw(4, 3), "bias": draw(3)} for name in ("head", "second")}
    state = ModelState(np.int32(3), jax.random.key(0), params, (), PASSED)

    @jax.jit
    def run(state):
        value, _ = learner.loss(params, state, rows)
        return learner.update(state, rows), learner.evaluate(state, rows), learner.predict(state, rows), value

    (after, metrics), evaluated, predicted, value = run(state)
    x, target = 2 * image.reshape(5, 4) - 0.1, 0.9 * np.eye(3)[label] + 0.1 / 3

    def probabilities(x, name):
        powers = np.exp(x @ params[name]["kernel"] + params[name]["bias"])
        return powers / powers.sum(-1, keepdims=True)

    def loss(p):
        return -(target * np.log(p)).sum(-1)[:4].mean()

    penalty = 0.02 / 2 * sum((layer["kernel"] ** 2).sum() for layer in params.values())
    p, used = {name: probabilities(x + 2, name) for name in params}, probabilities(x, "head")
    assert metrics["loss"].compute() == pytest.approx(loss(p["head"]), rel=1e-5)
    assert metrics["accuracy"].compute() == pytest.approx((p["head"].argmax(-1) == label)[:4].mean())
    total = loss(p["head"]) + 0.3 * loss(p["second"]) + penalty
    for name, weight in (("head", 1), ("second", 0.3)):
        slope = weight * (p[name] - target)[:4] / 4
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        want = kernel - 0.1 * total * ((x + 2)[:4].T @ slope + 0.02 * kernel)
        np.testing.assert_allclose(after.params[name]["kernel"], want, atol=1e-5)
        np.testing.assert_allclose(after.params[name]["bias"], bias - 0.1 * total * slope.sum(0), atol=1e-5)
    assert passes(after.model_state) == 3 + 1
    assert float(value) == pytest.approx(loss(used) + penalty, rel=1e-5)
    assert evaluated["loss"].compute() == pytest.approx(loss(used), rel=1e-5)
    assert evaluated["accuracy"].compute() == pytest.approx((used.argmax(-1) == label)[:4].mean())
    assert "top5" not in evaluated
    np.testing.assert_allclose(predicted["probabilities"], used, rtol=1e-4)
    np.testing.assert_allclose(predicted["logits"], x @ params["head"]["kernel"] + params["head"]["bias"], rtol=1e-4)


@pytest.mark.covers("SY-09")
def test_updates_equal_a_manual_optax_loop():
    """Three steps of softmax cross-entropy with smoothing, a penalty and a masked row, by hand."""
    eps, l2, tx = 0.1, 0.01, optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.3, momentum=0.9))
    learner = make_learner(model=Linear(), optimizer=tx, label_smoothing=eps, l2=l2)
    mask = np.r_[np.ones(12), np.zeros(4)]
    state = started(learner, batch(mask=mask))
    params = jax.tree.map(jnp.copy, state.params)
    opt_state = tx.init(params)

    def by_hand(params, rows):
        kernel, bias = params["head"]["kernel"], params["head"]["bias"]
        scores = rows["image"].reshape(16, -1) @ kernel + bias
        log_p = scores - jnp.log(jnp.exp(scores).sum(-1, keepdims=True))
        target = (1 - eps) * jnp.eye(CLASSES)[rows["label"]] + eps / CLASSES
        return -(target * log_p).sum(-1)[:12].mean() + 0.5 * l2 * (kernel**2).sum()

    gradient_by_hand = jax.jit(jax.grad(by_hand))
    for step in range(3):
        rows = batch(seed=step, mask=mask)
        gradient = gradient_by_hand(params, rows)
        updates, opt_state = tx.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        state, _ = learner.update(state, rows)
    chex.assert_trees_all_close(state.params, params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(state.opt_state, opt_state, rtol=1e-5, atol=1e-6)
    assert int(state.step) == 3


@pytest.mark.weekly(unless=["lenet5", "mlp"])
@pytest.mark.slow(unless=["mlp"])
@pytest.mark.covers("TR-06")
@pytest.mark.parametrize("name", ["mlp", "lenet5", "resnet8_cifar"])
def test_the_initial_loss_is_log_c(name):
    shape = (28, 28, 1) if name == "lenet5" else (8, 8, 1)
    fields = {"width": 4} if "resnet" in name else {}
    learner = make_learner(model=create_model(name, num_classes=CLASSES, **fields), optimizer=optax.sgd(0.1))
    rows = {**batch(8), "image": np.random.default_rng(0).random((8, *shape), np.float32)}
    state = started(learner, rows)
    value, metrics = learner.loss(state.params, state, rows)
    assert float(value) == pytest.approx(2.302585, abs=1e-6)
    assert metrics["loss"].compute() == pytest.approx(2.302585, abs=1e-6)
    _, metrics = learner.update(state, rows)
    assert metrics["loss"].compute() == pytest.approx(2.302585, abs=1e-6)


@pytest.mark.covers("TR-07")
def test_the_loss_rises_with_the_penalty_by_half_the_squared_norm_of_the_kernels():
    strengths, rows = (0.0, 1e-4, 1e-3, 1e-2, 1.0), batch()
    learners = [supervised.learner(model=Linear(), optimizer=optax.sgd(0.1), l2=l2) for l2 in strengths]

    @jax.jit
    def start():
        state = learners[0].init(jax.random.key(0), rows)
        return state.params, [learner.loss(state.params, state, rows) for learner in learners]

    params, values = start()
    losses = [float(value) for value, _ in values]
    assert sorted(losses) == losses
    assert len(set(losses)) == len(losses)
    kernel = np.asarray(params["head"]["kernel"], np.float64)
    assert losses[-1] - losses[0] == pytest.approx(0.5 * (kernel**2).sum(), rel=1e-5)
    # The measured loss is the data's alone, so that runs of other penalties can be compared.
    assert values[-1][1]["loss"].compute() == pytest.approx(losses[0], rel=1e-6)


@pytest.mark.weekly
def test_the_penalty_and_weight_decay_are_of_the_same_parameters():
    """A loss whose value only the penalty changes has gradients where an optimizer without gradients decays."""
    model = create_model("vit_tiny_cifar", depth=1, pool="token")
    rows = {"image": np.zeros((2, 32, 32, 3), np.float32), "label": np.zeros(2, np.int32), "index": np.arange(2)}
    learners = [supervised.learner(model=model, optimizer=optax.identity(), l2=l2) for l2 in (1.0, 0.0)]
    state = jax.jit(learners[0].init)(jax.random.key(0), rows)
    params = jax.tree.map(lambda p: p + 1, state.params)
    slopes = [jax.jit(jax.grad(lambda p, f=f: f.loss(p, state, rows)[0]))(params) for f in learners]
    penalized = jax.tree.map(lambda a, b: bool(jnp.abs(a - b).max() > 1e-3), *slopes)
    decay = create_optimizer("sgd", 1.0, momentum=0.0, weight_decay=0.1)
    steps, _ = decay.update(jax.tree.map(jnp.zeros_like, params), decay.init(params), params)
    chex.assert_trees_all_equal(penalized, jax.tree.map(lambda step: bool(step.any()), steps))
    assert not penalized["pos_embed"]["embedding"]


def test_the_penalty_leaves_biases_alone():
    learner = make_learner(model=Linear(), optimizer=optax.sgd(1.0), l2=10.0)
    plain = make_learner(model=Linear(), optimizer=optax.sgd(1.0))
    rows = batch()
    state = started(learner)
    state = state.replace(params={"head": {**state.params["head"], "bias": jnp.full(CLASSES, 3.0)}})
    heavy, _ = learner.update(state, rows)
    light, _ = plain.update(state, rows)
    np.testing.assert_allclose(heavy.params["head"]["bias"], light.params["head"]["bias"], rtol=1e-6)
    assert not np.allclose(heavy.params["head"]["kernel"], light.params["head"]["kernel"])


def test_label_smoothing_adds_the_gap_to_the_mean_over_classes():
    plain, smooth = (
        make_learner(model=Linear(1.0), optimizer=optax.sgd(0.1), label_smoothing=eps) for eps in (0.0, 0.2)
    )
    rows = batch()
    state = started(plain)
    logits = np.asarray(plain.predict(state, rows)["logits"], np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -log_p[np.arange(16), rows["label"]]
    want = (losses + 0.2 * (-log_p.mean(-1) - losses)).mean()
    assert float(smooth.loss(state.params, state, rows)[0]) == pytest.approx(want, rel=1e-6)
    assert float(plain.loss(state.params, state, rows)[0]) == pytest.approx(losses.mean(), rel=1e-6)


def test_masked_examples_change_nothing_even_if_they_are_not_numbers():
    learner = make_learner(model=Linear(), optimizer=optax.sgd(0.1))
    rows = batch(12)
    padded = {k: np.concatenate([v, v[:4]]) for k, v in rows.items()}
    padded["image"][12:] = np.nan
    padded["mask"] = np.r_[np.ones(12), np.zeros(4)].astype(np.float32)
    state = started(learner, rows)
    left, right = learner.evaluate(state, rows), learner.evaluate(state, padded)
    for name in left:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), left[name].compute(), right[name].compute()
        )
    assert int(right["accuracy"].count) == 12
    assert int(right["confusion"].compute().sum()) == 12


@pytest.mark.parametrize(("classes", "has_top5"), [(3, False), (10, False), (20, False), (21, True)])
def test_few_classes_have_no_top_5(classes, has_top5):
    learner = make_learner(model=create_model("mlp", num_classes=classes), optimizer=optax.sgd(0.1))
    rows = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in batch(4).items()}
    state = jax.eval_shape(learner.init, jax.random.key(0), rows)
    assert ("top5" in jax.eval_shape(learner.evaluate, state, rows)) == has_top5


@pytest.mark.slow
def test_metrics_of_a_whole_split_are_exact():
    learner = make_learner(model=Linear(1.0), optimizer=optax.sgd(0.1))
    rows = batch(37)
    state = started(learner, rows)
    source = Source({"image": rows["image"], "label": rows["label"]}, 37)
    measures = evaluate(learner, state, source, batch_size=8, placement=one_device())
    logits = np.asarray(learner.predict(state, rows)["logits"], np.float64)
    order = np.argsort(-logits, axis=-1)
    assert measures["accuracy"] == (order[:, 0] == rows["label"]).mean()
    assert measures["details"]["confusion"].sum() == 37
    assert np.trace(measures["details"]["confusion"]) == (order[:, 0] == rows["label"]).sum()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert measures["loss"] == pytest.approx(-log_p[np.arange(37), rows["label"]].mean(), rel=1e-6)


def test_probabilities_are_the_softmax_of_the_logits():
    learner = make_learner(model=Linear(1.0), optimizer=optax.sgd(0.1))
    rows = batch()
    out = learner.predict(started(learner), rows)
    np.testing.assert_allclose(out["probabilities"].sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(out["probabilities"], jax.nn.softmax(out["logits"]), rtol=1e-6)
    chex.assert_shape(out["logits"], (16, CLASSES))


def test_prediction_needs_no_label():
    learner = make_learner(model=Linear(), optimizer=optax.sgd(0.1))
    rows = {k: v for k, v in batch().items() if k != "label"}
    chex.assert_shape(learner.predict(started(learner), rows)["logits"], (16, CLASSES))


# Preprocessing and augmentation


@pytest.mark.slow
def test_preprocessing_is_used_everywhere_and_augmentation_in_training_alone():
    shift = make_learner(
        model=Linear(1.0), optimizer=optax.sgd(0.0), preprocess=lambda x: x + 1, augment=lambda key, image: image * 5
    )
    plain = make_learner(model=Linear(1.0), optimizer=optax.sgd(0.0))
    rows = batch()
    state = started(shift)

    def moved(f):
        return {**rows, "image": f(rows["image"])}

    used, trained = moved(lambda x: x + 1), moved(lambda x: (x + 1) * 5)
    np.testing.assert_allclose(shift.predict(state, rows)["logits"], plain.predict(state, used)["logits"], rtol=1e-5)
    want = plain.evaluate(state, used)["loss"].compute()
    assert shift.evaluate(state, rows)["loss"].compute() == pytest.approx(want, rel=1e-6)
    assert shift.loss(state.params, state, rows)[1]["loss"].compute() == pytest.approx(want, rel=1e-6)
    want = plain.update(state, trained)[1]["loss"].compute()
    assert shift.update(state, rows)[1]["loss"].compute() == pytest.approx(want, rel=1e-6)


@pytest.mark.slow
def test_augmentation_differs_by_example_and_by_step_and_not_by_batch_order():
    seen = []

    def augment(key, image):
        value = jax.random.uniform(key)
        jax.debug.callback(lambda v: seen.append(float(v)), value)
        return image * value

    learner = make_learner(model=Linear(), optimizer=optax.sgd(0.1), augment=augment)
    rows = batch(8)
    state = started(learner, rows)

    def draws(state, rows):
        seen.clear()
        after, _ = learner.update(state, rows)
        jax.effects_barrier()
        return sorted(seen), after

    first, after = draws(state, rows)
    assert len(set(first)) == 8
    second, _ = draws(after, rows)
    assert not set(first) & set(second)
    part, _ = draws(state, {k: v[[5, 2]] for k, v in rows.items()})
    assert set(part) <= set(first)


def test_dropout_is_off_in_use_and_differs_by_step():
    learner = make_learner(model=Noisy(), optimizer=optax.sgd(0.0))
    rows = batch()
    state = started(learner)
    assert learner.evaluate(state, rows)["loss"].compute() == learner.evaluate(state, rows)["loss"].compute()
    losses = []
    for _ in range(3):
        state, metrics = learner.update(state, rows)
        losses.append(metrics["loss"].compute())
    assert len(set(losses)) == 3
    assert learner.evaluate(state, rows)["loss"].compute() not in losses


# Replicas


def one_device() -> Placement:
    return Placement(make_mesh("data:1", jax.devices()[:1]))


def per_replica(learner, rows, state, devices=2):
    """The gradients that each of some pmapped replicas would get, by the updates of SGD at rate 1."""
    split = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), rows)
    stacked = jax.tree.map(lambda x: jnp.broadcast_to(x, (devices, *x.shape)), state)
    return jax.pmap(learner.update, axis_name=REPLICA, devices=jax.devices()[:devices])(stacked, split)


@pytest.mark.slow
def test_dropout_differs_across_replicas():
    """The same two examples on both replicas, indices too: only the replica can make them differ."""
    half = batch(2)
    rows = {k: np.concatenate([v, v]) for k, v in half.items()}
    learner = make_learner(model=Noisy(), optimizer=optax.sgd(0.0))
    _, metrics = per_replica(learner, rows, started(learner, rows))
    totals = np.asarray(metrics["loss"].total)
    assert totals[0] != totals[1]


@pytest.mark.slow
def test_augmentation_is_the_same_on_any_number_of_replicas():
    def augment(key, image):
        return image * jax.random.uniform(key)

    rows = batch(8)
    mapped = make_learner(model=Linear(1.0), optimizer=optax.sgd(0.0), augment=augment)
    single = make_learner(model=Linear(1.0), optimizer=optax.sgd(0.0), augment=augment)
    state = started(single, rows)
    _, metrics = per_replica(mapped, rows, state)
    want = single.update(state, rows)[1]["loss"].compute()
    assert metrics["loss"].collapse().compute() == pytest.approx(want, rel=1e-6)


@pytest.mark.slow
def test_pmapped_updates_equal_a_single_device():
    rows = batch(16)
    single = make_learner(model=Linear(), optimizer=optax.sgd(0.5), l2=0.1)
    mapped = make_learner(model=Linear(), optimizer=optax.sgd(0.5), l2=0.1)
    state = started(single, rows)
    after, _ = per_replica(mapped, rows, state)
    want, _ = single.update(state, rows)
    for replica in range(2):
        part = jax.tree.map(lambda x, r=replica: x[r], after.params)
        chex.assert_trees_all_close(part, want.params, rtol=1e-6, atol=1e-6)


# Batch statistics


@pytest.mark.slow
def test_batch_statistics_move_in_training_alone():
    learner = make_learner(model=Normed(), optimizer=optax.sgd(0.1))
    rows = batch()
    state = started(learner)
    before = state.model_state["batch_stats"]["norm"]["mean"]
    after, _ = learner.update(state, rows)
    moved = after.model_state["batch_stats"]["norm"]["mean"]
    want = rows["image"].reshape(16, -1).mean(0)
    assert not np.allclose(before, moved)
    ratio = np.asarray((moved - before) / (want - before))
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)  # a step from the old mean towards the batch's
    learner.evaluate(after, rows)
    # In use the running statistics count: another batch beside it leaves an example's logits alone.
    one = learner.predict(after, {k: v[:1] for k, v in rows.items()})["logits"]
    np.testing.assert_allclose(one, learner.predict(after, rows)["logits"][:1], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_batch_statistics_are_those_of_all_replicas():
    """Replica 1 sees other images than replica 0: both must end with the statistics of the whole batch."""
    rows = batch(8)
    rows["image"][4:] += 3
    single = make_learner(model=Normed(), optimizer=optax.sgd(0.1))
    mapped = make_learner(model=Normed(REPLICA), optimizer=optax.sgd(0.1))
    state = started(single, rows)
    after, _ = per_replica(mapped, rows, state)
    want, _ = single.update(state, rows)
    for replica in range(2):
        part = jax.tree.map(lambda x, r=replica: x[r], (after.model_state, after.params))
        chex.assert_trees_all_close(part, (want.model_state, want.params), rtol=1e-4, atol=1e-5)


def test_a_model_that_does_not_join_its_statistics_has_them_averaged():
    rows = batch(8)
    rows["image"][4:] += 3
    mapped = make_learner(model=Normed(), optimizer=optax.sgd(0.1))
    after, _ = per_replica(mapped, rows, started(mapped, rows))
    means = np.asarray(after.model_state["batch_stats"]["norm"]["mean"])
    np.testing.assert_array_equal(means[0], means[1])


# Optimisers that want more, searches that map


@pytest.mark.slow
def test_a_line_search_gets_value_and_function():
    learner = make_learner(model=Linear(), optimizer=optax.lbfgs(memory_size=3))
    rows = batch()
    state = started(learner)
    losses = [learner.loss(state.params, state, rows)[0]]
    for _ in range(5):
        state, _ = learner.update(state, rows)
        losses.append(learner.loss(state.params, state, rows)[0])
    assert all(b < a for a, b in itertools.pairwise(losses))
    assert losses[-1] < 1.0


def test_settings_may_be_traced():
    rows = batch()

    def value(l2, eps):
        learner = make_learner(model=Linear(), optimizer=optax.sgd(0.1), l2=l2, label_smoothing=eps)
        state = learner.init(jax.random.key(0), rows)
        return learner.loss(state.params, state, rows)[0]

    mapped = jax.jit(jax.vmap(value))(jnp.array([0.0, 0.5]), jnp.array([0.0, 0.1]))
    np.testing.assert_allclose(mapped, [value(0.0, 0.0), value(0.5, 0.1)], rtol=1e-6)


def test_the_state_is_a_fixed_point_without_weak_types():
    learner = make_learner(model=Normed(), optimizer=optax.adamw(1e-3))
    program = program_for(learner, batch(), one_device(), 0)
    assert program.abstract_state.step.dtype == jnp.int32
    assert set(program.abstract_state.model_state) == {"batch_stats"}


def test_a_root_key_is_kept_and_depends_on_the_seed():
    learner = make_learner(model=Linear(), optimizer=optax.sgd(0.1))
    rows = batch()
    state = started(learner, seed=1)
    after, _ = learner.update(state, rows)
    assert (jax.random.key_data(after.rng) == jax.random.key_data(state.rng)).all()
    other = started(learner, seed=2)
    assert (jax.random.key_data(other.rng) != jax.random.key_data(state.rng)).any()
    assert not np.allclose(other.params["head"]["kernel"], state.params["head"]["kernel"])
    assert math.isfinite(first_loss(learner))


@pytest.mark.slow
@pytest.mark.weekly(unless=["cutmix_alpha"])
@pytest.mark.covers("RG-13", "RG-26")
@pytest.mark.parametrize("kind", ["mixup_alpha", "cutmix_alpha"])
def test_mixing_trains_on_blended_images_and_labels_and_measures_on_plain_ones(kind):
    rows, tx = batch(), optax.sgd(0.5)
    learner = make_learner(model=Linear(), optimizer=tx, **{kind: 1.0})
    state = started(learner, rows)
    params = jax.tree.map(jnp.copy, state.params)
    plain_loss = first_loss(learner, rows)
    key = jax.random.fold_in(jax.random.fold_in(state.rng, 0), 2)
    mix = {"mixup_alpha": augment.mixup, "cutmix_alpha": augment.cutmix}[kind]
    images, targets = mix(jax.random.split(key)[1], jnp.asarray(rows["image"]), jnp.eye(CLASSES)[rows["label"]], 1.0)

    def by_hand(params):
        scores = images.reshape(16, -1) @ params["head"]["kernel"] + params["head"]["bias"]
        return -(targets * jax.nn.log_softmax(scores)).sum(-1).mean()

    gradient = jax.grad(by_hand)(params)
    state, metrics = learner.update(state, rows)
    chex.assert_trees_all_close(
        state.params, jax.tree.map(lambda w, g: w - 0.5 * g, params, gradient), rtol=1e-5, atol=1e-6
    )
    assert metrics["loss"].compute() == pytest.approx(float(by_hand(params)), rel=1e-5)
    assert metrics["loss"].compute() != pytest.approx(plain_loss, rel=1e-4)
    again = make_learner(model=Linear(), optimizer=tx)
    want = again.evaluate(state, rows)["loss"].compute()
    assert learner.evaluate(state, rows)["loss"].compute() == pytest.approx(want, rel=1e-6)


class TwoHeads(nn.Module):
    """A head in the middle of the network, beside the one at its end."""

    def __call__(self, x, train=False):
        return self.auxiliary(x, train)[0]

    @nn.compact
    def auxiliary(self, x, train=True):
        start = nn.initializers.normal(0.3)
        x = x.reshape(x.shape[0], -1)
        middle = nn.Dense(CLASSES, kernel_init=start, name="middle")(x)
        return nn.Dense(CLASSES, kernel_init=start, name="head")(x), {"middle": middle}


@pytest.mark.weekly
@pytest.mark.covers("ZO-09")
def test_auxiliary_heads_count_three_tenths_in_training_and_nothing_in_evaluation():
    rows = {"image": jax.random.normal(jax.random.key(5), (6, 2, 2, 1)), "label": jnp.arange(6), "index": jnp.arange(6)}
    learner = make_learner(model=TwoHeads(), optimizer=optax.sgd(1.0))
    state = learner.init(jax.random.key(0), rows)

    def value(params, weight):
        losses = {
            name: optax.softmax_cross_entropy_with_integer_labels(
                rows["image"].reshape(6, -1) @ layer["kernel"] + layer["bias"], rows["label"]
            ).mean()
            for name, layer in params.items()
        }
        return losses["head"] + weight * losses["middle"]

    after, metrics = learner.update(state, rows)
    want = jax.tree.map(lambda p, g: p - g, state.params, jax.grad(value)(state.params, 0.3))
    chex.assert_trees_all_close(after.params, want, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"].compute(), value(state.params, 0.0), rtol=1e-6)
    np.testing.assert_allclose(learner.evaluate(state, rows)["loss"].compute(), value(state.params, 0.0), rtol=1e-6)


# What the command line checks, the functions check

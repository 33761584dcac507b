"""Noise as its matrix says, co-teaching by hand, what each method minimizes, and the network that is kept."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.losses import forward_corrected_loss, generalized_cross_entropy_loss, softmax_cross_entropy_loss
from dlcore.semi_supervised import noisy_labels
from dlcore.semi_supervised.noisy_labels import KeepBest, corrupt_labels, smallest, transition_matrix
from tests.passes import PASSED, count_pass, passes


class Linear(nn.Module):
    """Scores of three classes of x, and in training of x + 1."""

    @nn.compact
    def __call__(self, x, train=False):
        count_pass(self, train, draws=True)
        return nn.Dense(3)(x.reshape(len(x), -1) + train)


def batch(count=6):
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(count, 2, 2, 1)).astype(np.float32),
        "label": np.arange(count, dtype=np.int32) % 3,
        "hidden_label": np.zeros(count, np.int32),
        "index": np.arange(count, dtype=np.int32),
    }


def make(method="generalized", rate=0.4, **settings):
    transition = transition_matrix(3, rate, "symmetric")
    learner = noisy_labels.learner(
        model=Linear(), optimizer=optax.sgd(0.1), transition=transition, technique=method, **settings
    )
    return learner, jax.jit(learner.init)(jax.random.key(0), batch())


def test_transition_matrices_by_hand():
    symmetric = [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]]
    np.testing.assert_allclose(transition_matrix(3, 0.4, "symmetric"), symmetric)
    np.testing.assert_allclose(transition_matrix(3, 0.3, "asymmetric"), [[0.7, 0.3, 0], [0, 0.7, 0.3], [0.3, 0, 0.7]])
    with pytest.raises(ValueError, match=r"noise_rate=1\.0: out of range; allowed: at least 0, below 1"):
        transition_matrix(3, 1.0, "symmetric")
    np.testing.assert_allclose(transition_matrix(2, 0.1, "symmetric"), [[0.9, 0.1], [0.1, 0.9]])


@pytest.mark.covers("SE-14")
@pytest.mark.parametrize("noise", ["symmetric", "asymmetric"])
def test_labels_are_wrong_as_often_as_the_matrix_says_and_the_seed_draws_them(noise):
    truth = np.repeat(np.arange(4), 20_000).astype(np.int32)
    source, transition = Source({"label": truth}, len(truth)), transition_matrix(4, 0.4, noise)
    noisy = corrupt_labels(source, transition, 3)
    counts = np.stack([np.bincount(noisy.arrays["label"][truth == c], minlength=4) for c in range(4)]) / 20_000
    np.testing.assert_allclose(counts, transition, atol=0.015)
    assert (noisy.arrays["hidden_label"] == truth).all()
    assert (corrupt_labels(source, transition, 3).arrays["label"] == noisy.arrays["label"]).all()
    assert (corrupt_labels(source, transition, 4).arrays["label"] != noisy.arrays["label"]).any()
    assert (corrupt_labels(source, np.eye(4), 3).arrays["label"] == truth).all()


def test_the_smallest_losses_of_the_examples_by_hand():
    losses = jnp.array([3.0, 1.0, 0.0, 2.0, 5.0])
    assert smallest(losses, jnp.array([1, 1, 0, 1, 1]), 0.5).tolist() == [0, 1, 0, 1, 0]
    assert smallest(losses, jnp.ones(5), 0.41).tolist() == [0, 1, 1, 1, 0], "5 * .41 = 2.05, rounded up"


@pytest.mark.slow
@pytest.mark.weekly(unless=["forward-<lambda>"])
@pytest.mark.covers("SE-14")
@pytest.mark.parametrize(
    ("method", "loss"),
    [
        ("generalized", generalized_cross_entropy_loss),
        ("forward", lambda s, y: forward_corrected_loss(s, y, transition_matrix(3, 0.4, "symmetric"))),
    ],
)
def test_each_network_descends_its_own_loss(method, loss):
    learner, state = make(method)
    after, metrics = learner.update(state, batch())
    for name, own in (("technique", loss), ("cross_entropy", softmax_cross_entropy_loss)):

        def scores(p, own=own):
            return own(Linear().apply({"params": p}, batch()["image"], True), batch()["label"]).mean()

        want = jax.tree.map(lambda p, g: p - 0.1 * g, state.params[name], jax.grad(scores)(state.params[name]))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.params[name], want)
    # Labels 0 1 2 0 1 2 of class 0: four are wrong.
    assert int(metrics["memorized"].count) == int(metrics["memorized_cross_entropy"].count) == 4
    jax.tree.map(np.testing.assert_array_equal, state.params["technique"], state.params["cross_entropy"])


@pytest.mark.slow
@pytest.mark.covers("SE-14")
def test_each_of_two_networks_learns_from_what_the_other_finds_easy():
    learner, state = make("co_teaching", forget_rate=0.5, forget_steps=0)
    after, _ = learner.update(state, batch())

    def loss(p):
        return softmax_cross_entropy_loss(Linear().apply({"params": p}, batch()["image"], True), batch()["label"])

    losses = {"technique": loss, "peer": loss}
    for name, other in (("technique", "peer"), ("peer", "technique")):
        easy = np.argsort(losses[other](state.params[other]))[:3]
        gradient = jax.grad(lambda p, name=name, easy=easy: losses[name](p)[easy].mean())(state.params[name])
        want = jax.tree.map(lambda p, g: p - 0.1 * g, state.params[name], gradient)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.params[name], want)
    first, second = (jax.tree.leaves(state.params[name]) for name in ("technique", "peer"))
    assert any((a != b).any() for a, b in zip(first, second, strict=True)), "they start apart"


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.covers("SE-14")
@pytest.mark.parametrize("method", ["generalized", "forward", "co_teaching"])
def test_one_update_by_hand(method):
    """(1 - p_y^q) / q, -log (p T)_y, or the half that the other network finds easy; and plain cross-entropy.

    Images are doubled and augmented: x is 2 more than twice what is read, of which the network adds 1. The seventh
    row is padding.
    """
    table = transition_matrix(3, 0.3, "asymmetric")
    settings = {"q": 0.7, "forget_rate": 0.5, "forget_steps": 0}
    learner = noisy_labels.learner(
        model=Linear(), optimizer=optax.sgd(0.1), transition=table, technique=method, **settings,
        preprocess=lambda images: 2 * images, augment=lambda key, image: image + 1,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    x, label = rng.normal(size=(6, 4)).astype(np.float32), np.arange(6, dtype=np.int32) % 3
    image = np.concatenate([x, np.full((1, 4), 9, np.float32)]).reshape(7, 2, 2, 1) / 2 - 1
    rows = {"image": image, "label": np.append(label, 1), "index": np.arange(7), "mask": np.float32([1] * 6 + [0])}
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes.params)
    state = state.replace(rng=jax.random.key(0), params=params, model_state=dict.fromkeys(params, PASSED))
    after, _ = jax.jit(learner.update)(state, rows)
    assert {name: passes(own) for name, own in after.model_state.items()} == dict.fromkeys(params, 3 + 1)
    p = {name: softmax(x @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"]) for name, own in params.items()}
    one_hot = np.eye(3)[label]
    by_logits = {name: (own - one_hot) / 6 for name, own in p.items()}
    own = p["technique"]
    if method == "generalized":
        by_logits["technique"] *= own[np.arange(6), label, None] ** 0.7
    if method == "forward":
        up = -table[:, label].T / (own @ table)[np.arange(6), label, None] / 6
        by_logits["technique"] = own * (up - (own * up).sum(-1, keepdims=True))
    if method == "co_teaching":
        losses = {name: -np.log(p[name][np.arange(6), label]) for name in ("technique", "peer")}
        for name, other in (("technique", "peer"), ("peer", "technique")):
            easy = losses[other] <= np.sort(losses[other])[2]
            assert (easy != (losses[name] <= np.sort(losses[name])[2])).any()
            by_logits[name] *= 2 * easy[:, None]  # a mean of 3, not of 6
    for name, slope in by_logits.items():
        for part, by_part in (("kernel", x.T @ slope), ("bias", slope.sum(0))):
            want = params[name]["Dense_0"][part] - 0.1 * by_part
            np.testing.assert_allclose(after.params[name]["Dense_0"][part], want, atol=1e-5)


@pytest.mark.slow
def test_co_teaching_leaves_out_ever_more():
    """With tau = 1/2, the share of wrong labels: nothing at step 0, a quarter at half of T (of 6 examples 5 stay), half
    from T on (3 stay)."""
    learner, state = make("co_teaching", rate=0.5, forget_steps=100)
    params, x, label = jax.device_get(state.params), batch()["image"].reshape(6, 4), batch()["label"]
    dense = {name: own["Dense_0"] for name, own in params.items()}
    p = {name: softmax(x @ own["kernel"] + own["bias"]) for name, own in dense.items()}
    losses = {name: -np.log(own[np.arange(6), label]) for name, own in p.items()}
    loss = jax.jit(learner.loss)
    for step, stay in ((0, 6), (50, 5), (100, 3), (900, 3)):
        value, _ = loss(params, state.replace(step=np.int32(step)), batch())
        pairs = (("technique", "peer"), ("peer", "technique"))
        want = sum(losses[name][losses[other].argsort()[:stay]].mean() for name, other in pairs)
        assert float(value) == pytest.approx(want + losses["cross_entropy"].mean(), rel=1e-5)


@pytest.mark.parametrize("method", ["generalized", "forward", "co_teaching"])
def test_no_gradient_depends_on_the_truth(method):
    learner, state = make(method)
    other = batch() | {"hidden_label": np.ones(6, np.int32)}
    update = jax.jit(learner.update)
    got, want = (update(state, b)[0].params for b in (other, batch()))
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_three_networks_are_measured_and_one_predicts():
    """The technique's, cross-entropy's, and the one that was kept; the last of six rows is padding."""
    transition, rng = transition_matrix(3, 0.4, "symmetric"), np.random.default_rng(5)
    settings = {"optimizer": optax.sgd(0.1), "transition": transition}
    learner = noisy_labels.learner(model=Linear(), preprocess=lambda images: 2 * images, **settings)
    rows = batch() | {"image": batch()["image"] / 2, "mask": np.float32([1, 1, 1, 1, 1, 0])}
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    state = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    assert learner.classes(state, rows) == {"label": 3}
    metrics, found = jax.jit(lambda state: (learner.evaluate(state, rows), learner.predict(state, rows)))(state)
    numbers = {name: value.compute() for name, value in metrics.items() if name != "confusion"}
    x, label = 2 * rows["image"].reshape(6, 4), rows["label"]
    networks = {**state.params, "early_stopped": state.kept["params"]}
    scores = {name: x @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"] for name, own in networks.items()}
    right = {name: (own.argmax(1) == label)[:5].mean() for name, own in scores.items()}
    assert len({*right.values()}) == 3
    assert numbers["accuracy"] == pytest.approx(right["technique"])
    assert numbers["accuracy_cross_entropy"] == pytest.approx(right["cross_entropy"])
    assert numbers["accuracy_early_stopped"] == pytest.approx(right["early_stopped"])
    assert numbers["gain"] == pytest.approx(right["technique"] - right["cross_entropy"])
    # Of the first five labels, 0 1 2 0 1, where 0 is true, the second, third and fifth are wrong.
    for name, own in (("memorized", "technique"), ("memorized_cross_entropy", "cross_entropy")):
        assert numbers[name] == pytest.approx((scores[own].argmax(1) == label)[[1, 2, 4]].mean())
    np.testing.assert_allclose(found["logits"], scores["technique"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["probabilities"], softmax(scores["technique"]), rtol=1e-4)
    confusion = np.zeros((3, 3))
    np.add.at(confusion, (label[:5], scores["technique"].argmax(1)[:5]), 1)
    np.testing.assert_array_equal(metrics["confusion"].counts, confusion)


def test_the_network_of_the_largest_measure_is_kept():
    def at(weight):
        state = types.SimpleNamespace(params={"cross_entropy": weight, "technique": None})
        state.model_state = {"cross_entropy": weight + 0.5, "technique": None}
        state.replace = lambda kept: kept
        return state

    keep = KeepBest()
    assert keep(1, at(1.0), {"valid/accuracy_cross_entropy": 0.7}) == {"params": 1.0, "model_state": 1.5}
    for measured in ({"valid/accuracy_cross_entropy": 0.7}, {"train/loss": 0.9}):
        assert keep(2, at(2.0), measured) is None
    assert keep.memory == {"best": 0.7, "step": 1}
    assert keep(3, at(3.0), {"valid/accuracy_cross_entropy": 0.8}) == {"params": 3.0, "model_state": 3.5}
    assert keep.memory == {"best": 0.8, "step": 3}


@pytest.mark.slow
def test_the_best_network_is_kept():
    learner, state = make()
    step, keep = jax.jit(learner.update), KeepBest()
    first, second = step(state, batch())[0], None
    kept = keep(1, first, {"valid/accuracy_cross_entropy": 0.7})
    second = step(kept, batch())[0]
    assert keep(2, second, {"valid/accuracy_cross_entropy": 0.6}) is None
    assert keep(2, second, {"train/loss": 0.6}) is None
    assert keep.memory == {"best": 0.7, "step": 1}
    jax.tree.map(np.testing.assert_array_equal, second.kept["params"], first.params["cross_entropy"])
    numbers = {name: value.compute() for name, value in learner.evaluate(second, batch()).items()}
    images = batch()["image"]
    for name, params in (("early_stopped", second.kept["params"]), ("cross_entropy", second.params["cross_entropy"])):
        right = Linear().apply({"params": params}, images).argmax(-1) == batch()["label"]
        assert numbers[f"accuracy_{name}"] == pytest.approx(float(right.mean()))
    assert numbers["gain"] == pytest.approx(numbers["accuracy"] - numbers["accuracy_cross_entropy"])


def test_two_networks_start_alike_and_the_peer_from_a_key_of_its_own():
    class Started:
        def init(self, key, x, train):
            return {"params": jax.random.key_data(key)}

    seed = jax.random.key(7)
    learner = noisy_labels.learner(
        model=Started(), optimizer=optax.sgd(0.1), transition=np.eye(3), technique="co_teaching"
    )
    state = learner.init(seed, batch())
    for name, k in (("technique", 0), ("cross_entropy", 0), ("peer", 2)):
        np.testing.assert_array_equal(state.params[name], jax.random.key_data(jax.random.fold_in(seed, k)))
    assert state.rng == jax.random.fold_in(seed, 1)

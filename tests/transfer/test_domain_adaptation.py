"""Distances of samples against numpy, what an update may see, and a toy whose target only adaptation gets right."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.other_domain import blend, two_domains
from dlcore.data.source import Source
from dlcore.learner import State
from dlcore.transfer import domain_adaptation
from dlcore.transfer.domain_adaptation import (
    AdaptationNet,
    AdaptationState,
    BackboneAdaptationNet,
    coral_distance,
    mmd_distance,
)
from dlcore.transfer.gradient_reversal import DomainClassifier, reverse_gradient
from tests.told_sgd import told_sgd


@pytest.mark.covers("TL-13")
def test_mmd_by_hand():
    """One point each, 2 apart: the mean squared distance of the four pairs is 4 / 2 = 2, k(s, s) = 1, so that the
    distance is 2 - 2 mean_m exp(-4 / (2 m)). It is 0 where both are the same point."""
    mmd = jax.jit(mmd_distance)
    expected = 2 - 2 * np.mean([np.exp(-4 / (2 * m)) for m in (0.25, 0.5, 1, 2, 4)])
    assert float(mmd(np.array([[0.0, 0]]), np.array([[2.0, 0]]))) == pytest.approx(expected, rel=1e-6)
    # The widths grow with the distance, but have no slope: without it, no scale of the points would matter.
    slope = jax.jit(jax.grad(mmd_distance, 1))(np.array([[0.0, 0]]), np.array([[2.0, 0]]))
    by_hand = 2 * np.mean([2 * 2 / (2 * m) * np.exp(-4 / (2 * m)) for m in (0.25, 0.5, 1, 2, 4)])
    np.testing.assert_allclose(slope, [[by_hand, 0]], rtol=1e-5)
    assert float(mmd(np.array([[3.0, 1]]), np.array([[3.0, 1]]))) == 0
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 1
    both = np.concatenate([a, b])
    w = np.mean([[((x - y) ** 2).sum() for x in both] for y in both])

    def k(x, y):
        return np.mean([np.exp(-((p - q) ** 2).sum() / (m * w)) for m in (0.25, 0.5, 1, 2, 4) for p in x for q in y])

    assert float(mmd(a, b)) == pytest.approx(k(a, a) + k(b, b) - 2 * k(a, b), rel=1e-5)


@pytest.mark.covers("TL-13")
def test_coral_equals_numpys_covariances():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(9, 4)), 2 * rng.normal(size=(6, 4)) + 3
    expected = ((np.cov(a.T) - np.cov(b.T)) ** 2).sum() / (4 * 4**2)
    coral = jax.jit(lambda a, b: (coral_distance(a, b), coral_distance(a, a + 5)))
    distance, moved = coral(a, b)
    assert float(distance) == pytest.approx(expected, rel=1e-5)
    assert float(moved) == pytest.approx(0, abs=1e-5), "means do not count"
    with pytest.raises(ValueError, match="batch_size=1: no covariance of a single point; allowed: at least 2"):
        coral_distance(jnp.ones((1, 3)), jnp.ones((1, 3)))


class Perceptron(nn.Module):
    """As `AdaptationNet`, for points."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, x, strength=1.0):
        features = nn.relu(nn.Dense(16, name="features")(x))
        logits = nn.Dense(self.num_classes, name="head")(features)
        return {
            "features": features,
            "logits": logits,
            "domain": DomainClassifier(16, name="domain")(features, strength),
        }


def clouds(count=256, shift=2.0):
    """Two classes by x, which the second feature gives away too: in the target the second one is shifted."""
    rng = np.random.default_rng(0)

    def draw(offset):
        label = rng.integers(0, 2, count).astype(np.int32)
        x = np.stack(
            [2.0 * label - 1 + 0.5 * rng.normal(size=count), 2.0 * label - 1 + 0.1 * rng.normal(size=count)], 1
        )
        return (x + np.array([0, offset])).astype(np.float32), label

    (image, label), (target, target_label) = draw(0), draw(shift)
    return {"image": image, "label": label, "target": target, "target_label": target_label, "index": np.arange(count)}


@pytest.fixture(scope="module")
def trained():
    """By technique the measures after 300 steps on all points."""
    batch, numbers = clouds(), {}
    for technique, strength in (("dann", 1.0), ("mmd", 10.0), ("coral", 30.0)):
        learner = domain_adaptation.learner(
            model=Perceptron(), optimizer=optax.adam(1e-2), ramp=lambda step: jnp.minimum(1, step / 100),
            technique=technique, strength=strength,
        )  # fmt: skip
        state = jax.jit(learner.init)(jax.random.key(0), batch)

        @jax.jit
        def run(state, learner=learner):
            return jax.lax.fori_loop(0, 300, lambda _, s: learner.update(s, batch)[0], state)

        state = run(state)
        metrics = jax.jit(learner.evaluate)(state, batch)
        numbers[technique] = {name: metric.compute() for name, metric in metrics.items()} | {"state": state}
    return numbers


@pytest.mark.slow
@pytest.mark.weekly(unless=["mmd"])
@pytest.mark.covers("TL-13")
@pytest.mark.parametrize("technique", ["dann", "mmd"])
def test_adaptation_gets_a_shifted_target_right(trained, technique):
    """The shortcut, the second feature, is shifted by the distance of the classes."""
    numbers = trained[technique]
    assert numbers["source_only_accuracy"] < 0.75, numbers
    assert numbers["target_accuracy"] > numbers["source_only_accuracy"] + 0.1, numbers
    assert numbers["gain"] == pytest.approx(numbers["target_accuracy"] - numbers["source_only_accuracy"], abs=1e-6)
    assert numbers["accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.covers("TL-13")
def test_the_twin_is_the_same_whatever_its_neighbor_does(trained):
    """It starts alike, sees the same batches, and no comparison of domains reaches it."""
    first, *others = (v["state"].params["source_only"] for v in trained.values())
    for other in others:
        for part in ("features", "head"):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), first[part], other[part])
    adapted = trained["dann"]["state"].params["adapted"]
    assert np.abs(adapted["head"]["kernel"] - first["head"]["kernel"]).max() > 0.01


@pytest.mark.slow
@pytest.mark.covers("TL-13")
def test_labels_of_the_target_reach_no_update_and_domains_do_not_mix():
    learner = domain_adaptation.learner(
        model=AdaptationNet(2, (8,), 8), optimizer=optax.sgd(0.1), ramp=lambda step: 1.0, preprocess=lambda x: x
    )
    rng = np.random.default_rng(0)
    batch = {name: rng.random((4, 4, 4, 3), np.float32) for name in ("image", "target")}
    batch |= {"label": np.array([0, 1, 0, 1]), "target_label": np.array([0, 0, 1, 1]), "index": np.arange(4)}
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    update, predict = jax.jit(learner.update), jax.jit(learner.predict)
    one, two = (update(state, batch | {"target_label": label})[0] for label in (batch["target_label"], np.ones(4, int)))
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)
    kernel = [
        s.params["adapted"]["head"]["kernel"] for s in (one, update(state, batch | {"label": np.zeros(4, int)})[0])
    ]
    assert np.abs(kernel[0] - kernel[1]).max() > 1e-4, "the source's labels are learnt from"
    other = predict(one, batch | {"target": 1 - batch["target"]})
    np.testing.assert_allclose(other["source_features"], predict(one, batch)["source_features"], rtol=1e-5, atol=1e-6)


class Products(nn.Module):
    """Features by one matrix, classes and domain by a product each."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, x, strength=1.0):
        h = x @ self.param("features", nn.initializers.ones, (2, 2))
        domain = reverse_gradient(h, strength) @ self.param("domain", nn.initializers.ones, (2,))
        return {"features": h, "logits": h @ self.param("head", nn.initializers.ones, (2, 2)), "domain": domain}


@pytest.mark.slow
@pytest.mark.covers("TL-13")
@pytest.mark.parametrize("technique", ["dann", "mmd"])
def test_one_update_by_hand(technique):
    """At step 3 the strength is 2 x 3 / 10: features ascend on the domain loss or descend on MMD; the twin neither."""
    rate, weight, rng = 0.1, 0.6, np.random.default_rng(5)
    learner = domain_adaptation.learner(
        model=Products(), optimizer=optax.sgd(rate), ramp=lambda step: step / 10, technique=technique, strength=2.0
    )
    shapes = {"features": (2, 2), "domain": (2,), "head": (2, 2)}
    adapted, twin = ({n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()} for _ in range(2))
    batch = {"image": rng.normal(size=(3, 2)).astype(np.float32), "label": np.array([0, 1, 1])}
    batch |= {"target": rng.normal(size=(3, 2)).astype(np.float32) + 1, "index": np.arange(3)}
    params = {"adapted": adapted, "source_only": twin}
    opt_state = {name: optax.sgd(rate).init(part) for name, part in params.items()}
    state = State(np.int32(3), jax.random.key(0), params, opt_state)
    after, metrics = jax.jit(learner.update)(state, batch)

    def classes(p):
        scores = jnp.exp(batch["image"] @ p["features"] @ p["head"])
        return -jnp.log(scores[jnp.arange(3), batch["label"]] / scores.sum(1)).mean()

    def domains(p):
        source, target = (batch[name] @ p["features"] @ p["domain"] for name in ("image", "target"))
        return (jnp.log1p(jnp.exp(source)) + jnp.log1p(jnp.exp(-target))).mean() / 2

    def mmd(p):
        s, t = (batch[name] @ p["features"] for name in ("image", "target"))
        both = jnp.concatenate([s, t])
        squared = ((both[:, None] - both[None]) ** 2).sum(-1)
        width = jax.lax.stop_gradient(squared.mean())
        k = sum(jnp.exp(-squared / (m * width)) for m in (0.25, 0.5, 1, 2, 4)) / 5
        return k[:3, :3].mean() + k[3:, 3:].mean() - 2 * k[:3, 3:].mean()

    @jax.jit
    def expected(params):
        new = {}
        for name, p in params.items():
            ce, told, apart = (jax.grad(function)(p) for function in (classes, domains, mmd))
            features = ce["features"]
            if name == "adapted":
                features += -weight * told["features"] if technique == "dann" else weight * apart["features"]
            gradients = {"features": features, "head": ce["head"], "domain": told["domain"]}
            new[name] = jax.tree.map(lambda p, g: p - rate * g, p, gradients)
        return new, classes(params["adapted"])

    new, loss = expected(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), after.params, new)
    assert metrics["loss"].compute() == pytest.approx(float(loss), rel=1e-5)


def test_a_second_domain_is_blended_or_inverted():
    """|200 - 50| = 150, |10 - 250| = 240; images of one channel become gray."""
    image = np.array([[[[200]]], [[[10]]]], np.uint8)
    patches = np.array([[[[50, 0, 200]]], [[[250, 10, 20]]]], np.uint8)
    np.testing.assert_array_equal(blend(image, patches).reshape(2, 3), [[150, 200, 0], [240, 0, 10]])
    source = Source({"image": np.arange(40, dtype=np.float32).reshape(40, 1, 1, 1) / 255, "label": np.arange(40)})
    rows = two_domains(source, patches, "inverted").arrays
    np.testing.assert_array_equal(rows["image"][:, 0, 0], np.arange(40)[:, None].repeat(3, 1))
    np.testing.assert_array_equal(255 - rows["target"][:, 0, 0, 0], rows["target_label"])
    assert (rows["label"] != rows["target_label"]).mean() > 0.8
    assert sorted(rows["target_label"]) == list(range(40))


def test_both_losses_of_the_source_by_hand():
    """Logits (2, 0) have the entropy log(1 + e^-2) for class 0 and 2 more for class 1; domains of 0 have log 2.

    The second example is padding. A domain logit of at most 0 counts as right for the source alone: half a pair.
    """
    logits, domain = jnp.array([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0]]), jnp.zeros(3)
    batch = {"label": jnp.array([0, 1, 1]), "mask": jnp.array([1.0, 0.0, 1.0])}
    source, target = {"logits": logits, "domain": domain}, {"domain": domain}
    value, metrics = jax.jit(domain_adaptation._source_and_domain_loss)(source, target, batch)
    entropy = np.log1p(np.exp(-2))
    np.testing.assert_allclose(value, entropy + 1 + np.log(2), rtol=1e-6)
    found = {name: float(metric.total / metric.count) for name, metric in metrics.items()}
    expected = {"loss": entropy + 1, "accuracy": 0.5, "domain_accuracy": 0.5}
    assert found == pytest.approx(expected, rel=1e-5)


class Scalars(nn.Module):
    """Features w x, logits (v, 0), and the logit w of the domain, whose gradient is reversed."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, x, strength=1.0):
        w, v = (self.param(name, nn.initializers.ones, ()) for name in "wv")
        logits = jnp.stack([jnp.full(len(x), v), jnp.zeros(len(x))], -1)
        return {"features": w * x, "logits": logits, "domain": jnp.full(len(x), reverse_gradient(w, strength))}


@pytest.mark.covers("TL-13")
@pytest.mark.parametrize("technique", ["dann", "coral"])
def test_one_update_of_two_numbers_by_hand(technique):
    """At step 3 the strength is 2 x 3 / 10. Both start at log 3, whose sigmoid is 3/4.

    Classes: the gradient of v is 3/4 - 1/2 for labels 0 and 1. Domains: that of w is (3/4 - 1/4) / 2, reversed.
    Covariances 2 w^2 and w^2 / 2: D = (3/2 w^2)^2 / 4, of gradient 9/4 w^3. The twin has v = -log 3: 1/4 - 1/2.
    """
    rate, log3 = 0.1, np.log(3)
    learner = domain_adaptation.learner(
        model=Scalars(), optimizer=told_sgd(rate), ramp=lambda step: step / 10, technique=technique, strength=2.0
    )
    params = {"adapted": {"w": jnp.float32(log3), "v": jnp.float32(log3)}}
    params |= {"source_only": {"w": jnp.float32(5), "v": jnp.float32(-log3)}}
    state = State(np.int32(3), jax.random.key(0), params, {name: optax.sgd(rate).init(p) for name, p in params.items()})
    batch = {"image": np.float32([[0], [2]]), "target": np.float32([[0], [1]]), "label": np.array([0, 1])}
    after, metrics = jax.jit(learner.update)(state, batch | {"index": np.arange(2)})
    moved = {"dann": 0.6 * 0.25, "coral": -0.6 * 9 / 4 * log3**3}[technique]
    assert after.params["adapted"] == pytest.approx({"w": log3 + rate * moved, "v": log3 - rate / 4}, rel=1e-5)
    assert after.params["source_only"] == pytest.approx({"w": 5, "v": -log3 + rate / 4}, rel=1e-5)
    assert int(after.step) == 4
    assert metrics["loss"].compute() == pytest.approx((np.log(4 / 3) + np.log(4)) / 2, rel=1e-5)
    assert metrics["strength"].compute() == pytest.approx(0.6)


class Signed(nn.Module):
    """The second class, and the target, where the signed first number is above 0."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, x, strength=1.0):
        h = self.param("sign", nn.initializers.ones, ()) * x
        return {"features": h, "logits": jnp.concatenate([-h, h], -1), "domain": h[:, 0]}


def test_measures_and_predictions_by_hand():
    """Source (1, -1, 2), target (1, 1, -3) after preparation; the twin has the opposite sign.

    Domains: only -1 is taken for the source, and 1 and 1 for the target: 3 of 6. Classes of the target: the network
    says 1, 1, 0 and its twin 0, 0, 1, where 1, 0, 1 is right. The fourth row is padding.
    """
    learner = domain_adaptation.learner(
        model=Signed(), optimizer=optax.sgd(0.1), ramp=lambda step: 1.0, preprocess=lambda x: x - 10
    )
    state = State(np.int32(0), jax.random.key(0), {"adapted": {"sign": 1.0}, "source_only": {"sign": -1.0}}, None)
    batch = {"image": np.float32([[11], [9], [12], [5]]), "target": np.float32([[11], [11], [7], [14]])}
    batch |= {"label": np.array([1, 1, 1, 1]), "target_label": np.array([1, 0, 1, 0])}
    batch |= {"index": np.arange(4), "mask": np.float32([1, 1, 1, 0])}
    metrics, outputs = jax.jit(lambda *all: (learner.evaluate(*all), learner.predict(*all)))(state, batch)
    found = {name: metric.compute() for name, metric in metrics.items()}
    expected = {"loss": np.log1p(np.exp([-2.0, 2, -4])).mean(), "accuracy": 2 / 3, "domain_accuracy": 0.5}
    measured = {"target_accuracy": 1 / 3, "source_only_accuracy": 2 / 3, "gain": -1 / 3}
    assert found == pytest.approx(expected | measured, rel=1e-5)
    target = np.array([[1], [1], [-3], [4]])
    np.testing.assert_array_equal(outputs["features"], target)
    np.testing.assert_array_equal(outputs["source_features"], [[1], [-1], [2], [-5]])
    np.testing.assert_array_equal(outputs["logits"], np.concatenate([-target, target], 1))
    np.testing.assert_array_equal(outputs["source_only_logits"], np.concatenate([target, -target], 1))
    del batch["target_label"]
    assert set(jax.eval_shape(learner.evaluate, state, batch)) == set(expected)
    assert learner.classes(state, batch) == {"label": 2}


class Stages(nn.Module):
    """A backbone of two stages, the last its input; not a number in training."""

    @nn.nowrap
    def features(self, x, train):
        return {"first": 0 * x, "last": np.nan * x if train else x}


def linear(kernel, bias=0.0):
    return {"kernel": jnp.array([[kernel]]) if np.isscalar(kernel) else jnp.array([kernel]), "bias": jnp.array([bias])}


@pytest.mark.covers("TL-13")
def test_small_networks_by_hand():
    """The 2x2 image (1, -2; 3, 0), doubled by a convolution, has the maximum 6, which tells domains: 6 + 1.

    Dense layers: relu(6 - 2) = 4, relu(5 - 4) = 1, and logits (2, 3) times that. The map (3, 5) has the mean 4:
    relu(2 x 4 - 3) = 5, and 4 + 1 tells domains; that of (-3, -5) gives relu(-11) = 0, and relu(-4) + 1.
    """
    domain = {"hidden": linear(1.0), "logit": linear(1.0, 1.0)}
    head = {"kernel": jnp.array([[2.0, 3.0]]), "bias": jnp.zeros(2)}
    conv = {"kernel": jnp.zeros((3, 3, 1, 1)).at[1, 1].set(2.0), "bias": jnp.zeros(1)}
    small = {"conv0": conv, "dense0": linear(1.0, -2.0), "dense1": linear(-1.0, 5.0), "head": head, "domain": domain}
    image, last = jnp.array([[[[1.0], [-2]], [[3], [0]]]]), jnp.array([[[[3.0], [5]]], [[[-3], [-5]]]])
    based = {"dense": linear(2.0, -3.0), "head": head, "domain": domain}
    nets = AdaptationNet(2, (1,), 1), BackboneAdaptationNet(Stages(), 2, 1)
    one, two = jax.jit(
        lambda: [net.apply({"params": p}, x) for net, p, x in zip(nets, (small, based), (image, last), strict=True)]
    )()
    jax.tree.map(np.testing.assert_allclose, one, {"features": [[1.0]], "logits": [[2.0, 3.0]], "domain": [7.0]})
    np.testing.assert_allclose(two["features"], [[5], [0]])
    np.testing.assert_allclose(two["logits"], [[10, 15], [0, 0]])
    np.testing.assert_allclose(two["domain"], [5, 1])


def test_layers_of_the_default_networks():
    """Two convolutions halve 8x8 pixels to 2x2 of 64 channels: 256 numbers, which domains are told apart by."""

    def kernels(net, x):
        params = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
        return {name: leaf["kernel"].shape for name, leaf in (params | params["domain"]).items() if "kernel" in leaf}

    image = jnp.zeros((1, 8, 8, 1), jnp.bfloat16)
    dense = {"dense0": (256, 128), "dense1": (128, 128), "head": (128, 3), "hidden": (256, 128), "logit": (128, 1)}
    assert kernels(AdaptationNet(3), image) == {"conv0": (3, 3, 1, 32), "conv1": (3, 3, 32, 64), **dense}
    expected = {"dense": (1, 128), "head": (128, 3), "hidden": (1, 128), "logit": (128, 1)}
    assert kernels(BackboneAdaptationNet(Stages(), 3), image) == expected
    for net in (AdaptationNet(3, dtype=jnp.bfloat16), BackboneAdaptationNet(Stages(), 3, dtype=jnp.bfloat16)):
        outputs, _ = jax.eval_shape(net.init_with_output, jax.random.key(0), image)
        assert outputs["features"].dtype == jnp.float32


def test_the_networks_start_for_prepared_images():
    batch = {"image": np.ones((2, 4, 8, 3)), "target": np.ones((2, 4, 8, 3)), "label": np.zeros(2, int)}
    learner = domain_adaptation.learner(
        model=AdaptationNet(2, (5,), 4),
        optimizer=optax.sgd(0.1),
        ramp=lambda step: 1.0,
        preprocess=lambda x: x[..., :1],
    )
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    chex.assert_shape(state.params["adapted"]["conv0"]["kernel"], (3, 3, 1, 5))


def test_batch_statistics_are_kept_beside_the_two_networks():
    class Normalized(Signed):
        @nn.compact
        def __call__(self, x, strength=1.0):
            mean = self.variable("batch_stats", "mean", jnp.zeros, ())
            h = self.param("sign", nn.initializers.ones, ()) * (x - mean.value)
            return {"features": h, "logits": jnp.concatenate([-h, h], -1), "domain": h[:, 0]}

    batch = {"image": np.ones((2, 1)), "target": np.ones((2, 1)), "label": np.zeros(2, int), "index": np.arange(2)}
    for model, kept in ((Normalized(), {"batch_stats"}), (Signed(), None)):
        learner = domain_adaptation.learner(model=model, optimizer=optax.adam(0.1), ramp=lambda step: 1.0)
        state = jax.eval_shape(learner.init, jax.random.key(0), batch)
        assert set(state.params) == set(state.opt_state) == {"adapted", "source_only"}
        assert isinstance(state, AdaptationState) == (kept is not None)
        after, _ = jax.eval_shape(learner.update, state, batch)
        assert kept is None or set(after.model_state) == kept

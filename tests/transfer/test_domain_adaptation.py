"""Distances of samples against numpy, what an update may see, and a toy whose target only adaptation gets right."""

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
from dlcore.transfer.domain_adaptation import AdaptationNet, coral_distance, mmd_distance
from dlcore.transfer.gradient_reversal import DomainClassifier, reverse_gradient


@pytest.mark.slow
@pytest.mark.covers("TL-13")
def test_mmd_by_hand():
    """One point each, 2 apart: the mean squared distance of the four pairs is 4 / 2 = 2, k(s, s) = 1, so that the
    distance is 2 - 2 mean_m exp(-4 / (2 m))."""
    expected = 2 - 2 * np.mean([np.exp(-4 / (2 * m)) for m in (0.25, 0.5, 1, 2, 4)])
    assert float(mmd_distance(jnp.array([[0.0, 0]]), jnp.array([[2.0, 0]]))) == pytest.approx(expected, rel=1e-6)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 1
    both = np.concatenate([a, b])
    w = np.mean([[((x - y) ** 2).sum() for x in both] for y in both])

    def k(x, y):
        return np.mean([np.exp(-((p - q) ** 2).sum() / (m * w)) for m in (0.25, 0.5, 1, 2, 4) for p in x for q in y])

    assert float(mmd_distance(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(k(a, a) + k(b, b) - 2 * k(a, b))
    assert float(mmd_distance(jnp.asarray(a), jnp.asarray(a))) == pytest.approx(0, abs=1e-6)


@pytest.mark.covers("TL-13")
def test_coral_equals_numpys_covariances():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(9, 4)), 2 * rng.normal(size=(6, 4)) + 3
    expected = ((np.cov(a.T) - np.cov(b.T)) ** 2).sum() / (4 * 4**2)
    assert float(coral_distance(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(expected, rel=1e-5)
    assert float(coral_distance(jnp.asarray(a), jnp.asarray(a + 5))) == pytest.approx(0, abs=1e-5), "means do not count"
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
    with pytest.raises(ValueError, match=r"patches=\(2, 2\): of another size; allowed: \(1, 1\), the images'"):
        blend(image, np.zeros((1, 2, 2, 3), np.uint8))
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
    value, metrics = domain_adaptation._source_and_domain_loss(source, target, batch)
    entropy = np.log1p(np.exp(-2))
    np.testing.assert_allclose(value, entropy + 1 + np.log(2), rtol=1e-6)
    found = {name: float(metric.total / metric.count) for name, metric in metrics.items()}
    expected = {"loss": entropy + 1, "accuracy": 0.5, "domain_accuracy": 0.5}
    assert found == pytest.approx(expected, rel=1e-5)

"""What learners of two views share: their evaluation, loss and prediction, and their networks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import struct

from dlcore.learner import Sum, mask_of
from dlcore.losses import masked_mean
from dlcore.self_supervised.siamese import SiameseNet, center_batch, contrast_batch, momentum_learner, siamese_learner
from tests import siamese_toys as toys


@struct.dataclass
class Collected:
    values: jax.Array

    def compute(self):
        return self.values


def of_products(first, second, batch):
    products = (first * second).sum(-1)
    return masked_mean(products, mask_of(batch)), {"product": Sum.of(products, mask_of(batch))}


def measured(learner, state):
    """The value of every metric of an evaluation, the loss, and what `predict` gives."""
    metrics, (loss, _), predicted = jax.jit(
        lambda s: (learner.evaluate(s, toys.ROWS), learner.loss(s.params, s, toys.ROWS), learner.predict(s, toys.ROWS))
    )(state)
    return {name: metric.compute() for name, metric in metrics.items()} | {"total": loss}, predicted


@pytest.mark.parametrize("has_target", [False, True])
def test_an_evaluation_compares_both_views_of_the_network_or_with_its_target(has_target):
    """The products are p_1 z_2 of the predictions of one view with the projections of the other, or the target's."""
    shared = toys.Linear(), optax.sgd(0.1), toys.augment, toys.prepare
    if has_target:
        learner = momentum_learner(
            *shared,
            lambda outputs, targets, batch: of_products(outputs[0]["predictions"], targets[1]["projections"], batch),
            lambda step: 0.9,
        )
    else:
        learner = siamese_learner(
            *shared, lambda outputs, batch: of_products(outputs[0]["predictions"], outputs[1]["projections"], batch)
        )
    params, target = toys.weights(1), toys.weights(2)
    fields = {"params": params, **({"target_params": target} if has_target else {})}
    state = toys.state_of(learner, **fields)
    first, second = toys.views(state, evaluates=True)
    other = target if has_target else params
    product = ((first @ params["w"] @ params["q"]) * (second @ other["w"])).sum(1).mean()
    distance = np.square(toys.unit_rows(first @ params["w"]) - toys.unit_rows(second @ params["w"])).sum(1).mean()
    values, predicted = measured(learner, state)
    assert values == pytest.approx({"product": product, "alignment": distance, "total": product}, rel=1e-4)
    assert set(predicted) == {"features", "embeddings", "untrained"}
    images = toys.prepare(toys.ROWS["image"].reshape(5, 4))
    np.testing.assert_allclose(predicted["embeddings"], toys.unit_rows(images @ params["w"]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(predicted["features"], images, rtol=1e-6)


@pytest.mark.parametrize("has_target", [False, True])
def test_both_views_of_an_update_move_the_running_statistics_that_an_evaluation_uses(has_target):
    """From 1, two batches of mean M make 2 (2 + M) + M = 4 + 3 M; from the target's 3 they make 12 + 3 M."""

    def means(*outputs):
        values = jnp.array([views[view]["projections"].mean() for views in outputs for view in range(2)])
        return values.sum(), {"means": Collected(values)}

    shared = toys.Remembering(), optax.sgd(0.1), lambda key, image: image, lambda images: images
    fields = {"params": {"w": np.ones(4)}, "model_state": {"batch_stats": {"seen": 1.0}}}
    if has_target:
        learner = momentum_learner(*shared, lambda outputs, targets, batch: means(outputs, targets), lambda step: 1.0)
        fields |= {"target_params": {"w": np.zeros(4)}, "target_model_state": {"batch_stats": {"seen": 3.0}}}
    else:
        learner = siamese_learner(*shared, lambda outputs, batch: means(outputs))
    state, mean = toys.state_of(learner, **fields), toys.ROWS["image"].mean()

    @jax.jit
    def run(state):
        after, metrics = learner.update(state, toys.ROWS)
        return after, metrics["means"].values, learner.evaluate(state, toys.ROWS)["means"].values

    after, trained, evaluated = run(state)
    assert after.model_state["batch_stats"]["seen"] == pytest.approx(4 + 3 * mean, rel=1e-5)
    # The weights of one give the mean of the batch and what was seen; the target's zeros the latter alone.
    online, seen = [mean + 2 + mean, mean + 4 + 3 * mean], [6 + mean, 12 + 3 * mean]
    np.testing.assert_allclose(trained, online + seen if has_target else online, rtol=1e-5)
    np.testing.assert_allclose(evaluated, [mean + 1] * 2 + [3] * 2 * has_target, rtol=1e-5)
    if has_target:
        assert after.target_model_state["batch_stats"]["seen"] == pytest.approx(12 + 3 * mean, rel=1e-5)


def test_a_batch_is_centered_on_its_two_examples_and_padding_is_zero():
    z = np.float32([[1, 5], [3, 1], [9, 9]])
    # The mean of the first two is (2, 3).
    centered, count = jax.jit(center_batch)(z, np.float32([1, 1, 0]))
    np.testing.assert_array_equal(centered, [[-1, 2], [1, -2], [0, 0]])
    assert count == 2
    chex.assert_shape(jax.eval_shape(center_batch, z[:2], np.ones(2))[0], (2, 2))
    with pytest.raises(ValueError, match="batch_size=1: one example has no variance; allowed: at least 2"):
        jax.eval_shape(center_batch, z[:1], np.ones(1))


def test_a_batch_of_padding_alone_has_a_finite_center():
    centered, count = jax.jit(center_batch)(np.ones((3, 2), np.float32), np.zeros(3, np.float32))
    np.testing.assert_array_equal(centered, np.zeros((3, 2)))
    assert count == 1


def test_a_query_is_contrasted_with_the_keys_of_the_images_that_count():
    """Cosines 0.6 and 0.8 over 0.5 of the first query, 1 and 0 of the second; the padding's key equals the first."""
    queries, keys = np.float32([[0.6, 0.8], [1, 0], [1, 0]]), np.float32([[1, 0], [0, 1], [0.6, 0.8]])
    contrast, mask = jax.jit(contrast_batch), np.float32([1, 1, 0])
    losses, is_nearest = contrast(queries, keys, 0.5, mask)
    # -log(e^1.2 / (e^1.2 + e^1.6)) and -log(e^0 / (e^2 + e^0)).
    np.testing.assert_allclose(losses[:2], [np.log(1 + np.exp(0.4)), np.log(1 + np.exp(2))], rtol=1e-5)
    assert np.isfinite(losses).all()
    assert is_nearest[:2].tolist() == [False, False]
    right, is_nearest = contrast(keys, keys, 0.5, mask)
    np.testing.assert_allclose(right[:2], [np.log(1 + np.exp(-2))] * 2, rtol=1e-5)
    assert is_nearest[:2].tolist() == [True, True]
    chex.assert_shape(jax.eval_shape(contrast_batch, keys[:2], keys[:2], 0.5, mask[:2])[0], (2,))


class Backbone(nn.Module):
    num_classes: int = 0

    def __call__(self, x, train=False):
        return x.mean((1, 2))


def test_the_heads_by_hand():
    """In training, with the statistics of the batch: norms before ReLUs and behind the output, a predictor."""
    net = SiameseNet(Backbone(), 3, 4, layers=3, norm_output=True, predictor_features=2)
    x = np.random.default_rng(0).normal(size=(5, 2, 2, 3)).astype(np.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    out = jax.jit(lambda p: net.apply({"params": p}, x, True, mutable=["batch_stats"])[0])(params)

    def standardized(z):
        return (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)

    def hidden(head, i, z):
        z = standardized(z @ head[f"layer{i}"]["kernel"])
        return np.maximum(z * head[f"norm{i}"]["scale"] + head[f"norm{i}"]["bias"], 0)

    h = x.astype(np.float64).mean((1, 2))
    head, predictor = params["projection"], params["predictor"]
    z = standardized(hidden(head, 1, hidden(head, 0, h)) @ head["output"]["kernel"])
    p = hidden(predictor, 0, z) @ predictor["output"]["kernel"] + predictor["output"]["bias"]
    for name, value in (("features", h), ("projections", z), ("embeddings", toys.unit_rows(z)), ("predictions", p)):
        np.testing.assert_allclose(out[name], value, rtol=1e-3, atol=1e-4)


def test_the_heads_have_the_layers_that_their_fields_say():
    def shapes(**fields):
        net = SiameseNet(Backbone(), proj_dim=5, hidden_features=7, **fields)
        variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((4, 2, 2, 3)))
        return jax.tree.map(lambda leaf: leaf.shape, variables)

    both = shapes(layers=3, norm_output=True, predictor_features=6)
    norm = {"scale": (7,), "bias": (7,)}
    assert both["params"]["projection"] == {
        "layer0": {"kernel": (3, 7)},
        "norm0": norm,
        "layer1": {"kernel": (7, 7)},
        "norm1": norm,
        "output": {"kernel": (7, 5)},
    }
    assert set(both["batch_stats"]["projection"]) == {"norm0", "norm1", "output_norm"}
    assert set(both["params"]["predictor"]) == {"layer0", "norm0", "output"}
    chex.assert_equal(both["params"]["predictor"]["layer0"]["kernel"], (5, 6))
    plain = shapes(layers=1, predictor_features=0)
    assert plain["params"] == {"projection": {"output": {"kernel": (3, 5), "bias": (5,)}}}

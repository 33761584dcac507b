"""What learners of two views share: their evaluation, loss and prediction, and their networks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.learner import Sum, mask_of
from dlcore.losses import masked_mean
from dlcore.self_supervised.siamese import SiameseNet, momentum_learner, siamese_learner
from tests import siamese_toys as toys


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
    shared = toys.Linear(), optax.sgd(0.1), toys.augment, lambda images: 2 * images
    if has_target:
        learner = momentum_learner(
            *shared,
            lambda outputs, targets, batch: of_products(outputs[0]["predictions"], targets[1]["projections"], batch),
            lambda step: 0.9,
        )
    else:
        learner = siamese_learner(
            *shared,
            lambda outputs, batch: of_products(outputs[0]["predictions"], outputs[1]["projections"], batch),
        )
    params, target = toys.weights(1), toys.weights(2)
    fields = {"params": params, **({"target_params": target} if has_target else {})}
    state = toys.state_of(learner, **fields)
    first, second = (2 * v for v in toys.views(state, evaluates=True))
    other = target if has_target else params
    product = ((first @ params["w"] @ params["q"]) * (second @ other["w"])).sum(1).mean()
    distance = np.square(toys.unit_rows(first @ params["w"]) - toys.unit_rows(second @ params["w"])).sum(1).mean()
    values, predicted = measured(learner, state)
    assert values == pytest.approx({"product": product, "alignment": distance, "total": product}, rel=1e-4)
    assert set(predicted) == {"features", "embeddings", "untrained"}
    images = 2 * toys.ROWS["image"].reshape(5, 4)
    np.testing.assert_allclose(predicted["embeddings"], toys.unit_rows(images @ params["w"]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(predicted["features"], images, rtol=1e-6)


class Backbone(nn.Module):
    num_classes: int = 0

    def __call__(self, x, train=False):
        return x.mean((1, 2))


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

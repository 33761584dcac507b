"""The value, the gradient and the schedule of the reversal, and a classifier that learns while its input unlearns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.transfer.gradient_reversal import DomainClassifier, domain_losses, reversal_strength, reverse_gradient


@pytest.mark.covers("SS-22")
def test_the_gradient_comes_back_with_the_other_sign():
    x = jnp.asarray([1.0, -2.0])
    value, (gradient, to_strength) = jax.value_and_grad(
        lambda x, s: jnp.square(reverse_gradient(x, s)).sum(), argnums=(0, 1)
    )(x, 0.5)
    assert value == 5
    np.testing.assert_allclose(gradient, [-1, 2])  # -.5 times 2 x
    assert to_strength == 0


@pytest.mark.slow
@pytest.mark.covers("SS-22")
def test_a_classifier_descends_and_its_features_ascend():
    classifier, features = DomainClassifier(4), jax.random.normal(jax.random.key(0), (2, 6, 3))
    params = classifier.init(jax.random.key(1), features[0])["params"]

    def loss(params, features, strength):
        return domain_losses([classifier.apply({"params": params}, x, strength) for x in features])[0].mean()

    grad = jax.jit(jax.grad(loss, argnums=(0, 1)))
    (own, reversed_), (same, plain) = grad(params, features, 1.0), grad(params, features, -1.0)
    jax.tree.map(np.testing.assert_array_equal, own, same)
    np.testing.assert_allclose(reversed_, -plain)
    before = loss(params, features, 1.0)
    assert loss(jax.tree.map(lambda w, g: w - 0.1 * g, params, own), features, 1.0) < before
    assert loss(params, features - 0.1 * reversed_, 1.0) > before


def test_the_schedule_and_the_accuracy_by_hand():
    # 2 / (1 + e^0) - 1 = 0, 2 / (1 + e^-5) - 1 = .98661, 2 / (1 + e^-10) - 1 = .99991
    np.testing.assert_allclose(reversal_strength(jnp.asarray([0, 0.5, 1])), [0, 0.986614, 0.999909], atol=1e-6)
    losses, right = domain_losses([jnp.zeros(2), jnp.asarray([0.0, 1])])
    np.testing.assert_allclose(losses[0], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(right, [0.5, 1])  # a logit of 0 is taken for the first domain

"""The mean of probabilities by hand, and that each member reads its own weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.evaluators.ensemble import ensemble
from dlcore.learner import Learner

EXAMPLE = {"x": np.zeros((1, 2), np.float32), "label": np.zeros(1, np.int32), "index": np.zeros(1, np.int32)}


def classifier(scale, classes=2):
    """Logits scale * weight * x, of two classes."""

    def predict(state, batch):
        logits = scale * state * batch["x"][:, :classes]
        return {"logits": logits, "probabilities": jax.nn.softmax(logits)}

    return Learner(lambda key, batch: jnp.ones(()), lambda s, b: (s, {}), lambda s, b: {}, predict)


BATCH = {"x": np.float32([[np.log(3.0), 0]]), "label": np.array([1]), "index": np.array([0])}
"""With x = (log 3, 0) a member of weight 1 says (3/4, 1/4), of weight -1 (1/4, 3/4), of weight -2 (1/10, 9/10)."""


@pytest.mark.covers("RG-22")
def test_probabilities_are_averaged_not_logits():
    joined = ensemble([classifier(1.0), classifier(1.0)], EXAMPLE)
    predict = jax.jit(lambda states: joined.predict(states, BATCH)["probabilities"])
    for weight, expected in ((-1, [0.5, 0.5]), (-2, [(0.75 + 0.1) / 2, (0.25 + 0.9) / 2])):
        np.testing.assert_allclose(predict((np.float32(1), np.float32(weight))), [expected], atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("RG-22")
def test_measures_are_of_the_averaged_probabilities():
    joined = ensemble([classifier(1.0), classifier(1.0)], EXAMPLE)
    metrics = jax.jit(lambda states: joined.evaluate(states, BATCH))((np.float32(1), np.float32(-2)))
    assert metrics["loss"].compute() == pytest.approx(-np.log(0.575), rel=1e-5)
    assert metrics["accuracy"].compute() == 1
    members = -(np.log(0.25) + np.log(0.9)) / 2
    assert metrics["loss"].compute() < members, "by Jensen's inequality"


def test_other_classes_and_what_is_no_classifier_are_refused():
    with pytest.raises(ValueError, match=r"run: classifiers of \[2, 1\] classes; allowed: of as many"):
        ensemble([classifier(1.0), classifier(1.0, classes=1)], EXAMPLE)
    for outputs in ({"sample": np.zeros((1, 2))}, {"probabilities": np.zeros(2)}):
        plain = classifier(1.0)._replace(predict=lambda s, b, given=outputs: given)
        with pytest.raises(ValueError, match="run: number 2 is no classifier; allowed: one run, or several of"):
            ensemble([classifier(1.0), plain], EXAMPLE)

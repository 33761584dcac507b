"""A state or images of another learner are refused by name."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.classification import supervised
from dlcore.data.source import Source
from dlcore.run import Placement, evaluate, predict


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(2)(x.reshape(len(x), -1))


LEARNER = supervised.learner(model=Linear(), optimizer=optax.sgd(0.1))
IMAGES = Source({"image": np.zeros((2, 2, 2, 1), np.float32), "label": np.zeros(2, int)})
LARGE = Source({"image": np.zeros((2, 3, 2, 1), np.float32), "label": np.zeros(2, int)})
STATE = supervised.ModelState(
    jnp.int32(0), None, {"Dense_0": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}}, (), {}
)


CASES = {
    "state to evaluate": (lambda: evaluate(LEARNER, {}, IMAGES), "state=dict: no state of this learner"),
    "state to predict": (lambda: predict(LEARNER, None, IMAGES), "state=NoneType: no state of this learner"),
    "images to evaluate": (lambda: evaluate(LEARNER, STATE, LARGE), r"source: evaluate fails on its examples \(image"),
    "images to predict": (lambda: predict(LEARNER, STATE, LARGE), r"source: predict fails on its examples \(image"),
    "sharding": (lambda: Placement(sharding="all"), "sharding='all': unknown; allowed: replicate"),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

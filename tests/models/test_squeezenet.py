"""SqueezeNet against torchvision, and what it saves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model
from dlcore.models.squeezenet import SqueezeNet
from dlcore.ops import max_pool
from tests.models.parity import parameter_count

SMALL = {"stem_conv": (8, 3, 1), "stages": (((4, 4),), ((4, 8),))}


def test_alexnet_has_about_fifty_times_as_many_parameters():
    assert 45 < parameter_count("alexnet") / parameter_count("squeezenet1_0") < 50


@pytest.mark.parametrize(
    ("name", "fires", "sides"),
    [("squeezenet1_0", (3, 4, 1), (109, 54, 27, 13)), ("squeezenet1_1", (2, 2, 4), (111, 55, 27, 13))],
)
def test_eight_fires_and_where_the_poolings_are(name, fires, sides):
    model, x = create_model(name), jnp.zeros((1, 224, 224, 3))
    assert tuple(map(len, model.stages)) == fires
    maps = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x, method="features")[0])
    names = ["stem", "stage1", "stage2", "stage3"]
    assert [maps[name].shape[1] for name in names] == list(sides)
    assert [maps[name].shape[-1] for name in names] == [model.stem_conv[0]] + [2 * f[-1][1] for f in model.stages]


@pytest.mark.slow
def test_poolings_see_the_window_that_hangs_over_the_edge():
    model = SqueezeNet(num_classes=3, **SMALL)
    x = jax.random.normal(jax.random.key(0), (1, 10, 10, 3))
    maps = jax.jit(lambda x: model.init_with_output(jax.random.key(1), x, method="features")[0])(x)
    # 10 - 2 = 8 -> ceil((8 - 3) / 2) + 1 = 4 -> ceil((4 - 3) / 2) + 1 = 2, where whole windows alone give 3 and 1
    assert [maps[name].shape[1] for name in ("stem", "stage1", "stage2")] == [8, 4, 2]
    assert max_pool(maps["stem"], (3, 3), (2, 2)).shape[1] == 3


@pytest.mark.weekly
def test_dropout_acts_in_training_alone():
    assert create_model("squeezenet1_0").dropout == 0.5
    model = SqueezeNet(dropout=1.0, head_init=jax.nn.initializers.ones, **SMALL)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(0), x)
    logits = model.apply(variables, x, True, rngs={"dropout": jax.random.key(1)})
    np.testing.assert_array_equal(logits, 1)  # the bias of the head alone
    assert jnp.abs(model.apply(variables, x) - 1).min() > 0

"""DenseNets against torchvision, their blocks, and their counts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.models.densenet import DenseBlock, DenseNet, Transition
from tests.models.cost import stages_of
from tests.models.training import compiled, draw


@pytest.mark.weekly
@pytest.mark.covers("ZO-17")
def test_a_name_states_the_number_of_layers():
    """Convolutions and the head: 1 + 2 layers + transitions + 1, 1 + 2 58 + 3 + 1 = 121."""
    for name in ("densenet121", "densenet100_cifar"):
        stages = create_model(name).stages
        assert 1 + 2 * sum(stages) + len(stages) - 1 + 1 == int(name[8:11])
        assert len(kernels(create_model(name))) == int(name[8:11])


def kernels(model):
    """{path: shape} of all kernels."""
    x = jnp.zeros((1, 64, 64, 3))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), x))["params"]
    paths = {jax.tree_util.keystr(p, simple=True, separator="/"): v.shape for p, v in jax.tree.leaves_with_path(params)}
    return {path.removesuffix("/kernel"): shape for path, shape in paths.items() if path.endswith("/kernel")}


@pytest.mark.slow
@pytest.mark.covers("ZO-17")
def test_layer_i_takes_k0_and_k_of_every_layer_before():
    found = kernels(create_model("densenet121"))
    width, growth = 64, 32
    for block, layers in enumerate((6, 12, 24, 16), 1):
        for i in range(1, layers + 1):
            name = f"denseblock{block}/denselayer{i}"
            assert found[f"{name}/conv1"] == (1, 1, width + growth * (i - 1), 4 * growth)
            assert found[f"{name}/conv2"] == (3, 3, 4 * growth, growth)
        width += growth * layers
        if block < 4:
            assert found[f"transition{block}/conv"] == (1, 1, width, width // 2)
            width //= 2
    assert found["head"] == (width, 1000) == (1024, 1000)


@pytest.mark.slow
@pytest.mark.covers("ZO-17")
def test_a_block_concatenates_its_input_and_all_that_its_layers_gave():
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 6))
    block = DenseBlock(3, growth_rate=4, bottleneck=2)
    variables = draw(block, x, False)

    def layer(maps, params):
        y = nn.relu(jnp.concatenate(maps, -1) / jnp.sqrt(1 + 1e-5)) @ params["conv1"]["kernel"][0, 0]
        y = nn.relu(y / jnp.sqrt(1 + 1e-5))
        return jax.lax.conv_general_dilated(
            y, params["conv2"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    maps = [x]
    for i in (1, 2, 3):
        maps.append(layer(maps, variables["params"][f"denselayer{i}"]))
    got = compiled(block, variables, x, False)
    chex.assert_shape(got, (2, 5, 5, 6 + 3 * 4))
    np.testing.assert_array_equal(got[..., :6], x)
    np.testing.assert_allclose(got, jnp.concatenate(maps, -1), atol=1e-5)


@pytest.mark.covers("ZO-17")
def test_a_transition_is_a_convolution_and_a_pooling():
    x = jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1) * jnp.asarray([1.0, -1.0])
    layer = Transition(1)
    variables = draw(layer, x, False)
    variables["params"]["conv"]["kernel"] = jnp.asarray([[[[2.0], [5.0]]]])
    # relu keeps the first channel; the mean of 1, 2, 5, 6 is 3.5, twice that 7; 3, 4, 7, 8 -> 11; then 23 and 27
    got = compiled(layer, variables, x, False) * np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(got[0, ..., 0], [[7, 11], [23, 27]], rtol=1e-6)


@pytest.mark.slow
def test_dropout_is_of_training_alone():
    model = DenseNet(
        stages=(1, 1), growth_rate=4, stem_width=4, dropout=0.5, stem="cifar", head_init=nn.initializers.normal()
    )
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    run = jax.jit(lambda key: model.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})[0])
    assert jnp.any(run(jax.random.key(2)) != run(jax.random.key(3)))
    jax.eval_shape(model.apply, variables, x)  # asks for no rng


@pytest.mark.weekly
def test_strides_stems_and_sizes():
    assert stages_of(create_model("densenet121")) == {
        "stem": {"stride": 2, "channels": 64},
        "denseblock1": {"stride": 4, "channels": 256},
        "denseblock2": {"stride": 8, "channels": 512},
        "denseblock3": {"stride": 16, "channels": 1024},
        "denseblock4": {"stride": 32, "channels": 1024},
    }
    cifar = stages_of(create_model("densenet100_cifar"), (32, 32, 3))
    assert [stage["stride"] for stage in cifar.values()] == [1, 1, 2, 4]
    assert stages_of(create_model("densenet121"), (29, 29, 3))["denseblock4"]["stride"] == 29

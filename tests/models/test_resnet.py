"""ResNets against torchvision and timm, their blocks, and their counts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.models.resnet import BasicBlock, Bottleneck, SqueezeExcitation
from tests.models.cost import stages_of
from tests.models.parity import GOLDENS, nhwc
from tests.models.training import compiled, draw


@pytest.mark.slow
@pytest.mark.covers("ZO-15")
def test_a_grouped_convolution_is_split_transform_merge():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 32))
    block = Bottleneck(16, groups=4, base_width=16)  # 4 groups of 16 16 / 64 = 4 channels
    variables = draw(block, x, False)
    params = variables["params"]

    def norm(x, name):
        return nn.relu(x / jnp.sqrt(1 + 1e-5)) if name != "bn3" else x / jnp.sqrt(1 + 1e-5)

    y = norm(x @ params["conv1"]["kernel"][0, 0], "bn1")
    paths = [
        jax.lax.conv_general_dilated(
            y[..., 4 * g : 4 * g + 4],
            params["conv2"]["kernel"][..., 4 * g : 4 * g + 4],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for g in range(4)
    ]
    last = params["conv3"]["kernel"][0, 0]
    merged = sum(norm(path, "bn2") @ last[4 * g : 4 * g + 4] for g, path in enumerate(paths))
    shortcut = norm(x @ params["downsample_0"]["kernel"][0, 0], "bn3")
    want = nn.relu(norm(merged, "bn3") + shortcut)
    np.testing.assert_allclose(compiled(block, variables, x, False), want, atol=1e-5)


@pytest.mark.covers("ZO-16")
def test_squeeze_and_excitation_by_hand():
    x = jnp.asarray([[[[1.0, 2.0], [3.0, 6.0]]]])  # means 2 and 4
    params = {
        "fc1": {"kernel": jnp.asarray([[[[1.0], [-0.25]]]]), "bias": jnp.asarray([0.5])},
        "fc2": {"kernel": jnp.asarray([[[[2.0, -1.0]]]]), "bias": jnp.asarray([0.0, 1.0])},
    }
    # relu(2 - 1 + .5) = 1.5; gates sigmoid(3) = .952574, sigmoid(-.5) = .377541
    out = SqueezeExcitation(1).apply({"params": params}, x)
    np.testing.assert_allclose(out[0, 0], [[0.952574, 0.755081], [2.857722, 2.265244]], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("ZO-16")
def test_squeeze_and_excitation_equals_torchvision():
    golden = np.load(GOLDENS / "tvops_misc.npz")
    get = {name.split("/")[1]: golden[name] for name in golden.files if name.startswith("squeeze_excitation/")}
    params = {
        layer: {"kernel": get[f"in.{layer}.weight"].transpose(2, 3, 1, 0), "bias": get[f"in.{layer}.bias"]}
        for layer in ("fc1", "fc2")
    }
    y, pull = jax.vjp(lambda x: SqueezeExcitation(3).apply({"params": params}, x), nhwc(get["in.x"]))
    np.testing.assert_allclose(y, nhwc(get["out"]), atol=1e-5)
    np.testing.assert_allclose(pull(nhwc(get["in.cot"]))[0], nhwc(get["grad.x"]), atol=1e-4)


@pytest.mark.slow
@pytest.mark.covers("ZO-13")
@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_the_gradient_passes_fifty_blocks(block):
    """Batch norm at its initial statistics, the last gain of every block 0.2."""
    features = 8 if block is BasicBlock else 2
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    layer = block(features)
    variables = jax.vmap(lambda key: layer.init(key, x, train=False))(jax.random.split(jax.random.key(1), 50))
    last = "bn2" if block is BasicBlock else "bn3"
    variables["params"][last]["scale"] *= 0.2

    def loss(x):
        return jax.lax.scan(lambda x, v: (layer.apply(v, x, train=False), None), x, variables)[0].sum()

    norm = float(jnp.linalg.norm(jax.grad(loss)(x)) / jnp.sqrt(x.size))
    assert 0.1 < norm < 10


@pytest.mark.covers("ZO-13")
def test_a_shortcut_is_projected_where_the_shape_changes_only():
    x = jnp.zeros((1, 8, 8, 64))
    shapes = lambda block: jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False))["params"]  # noqa: E731
    assert "downsample_0" not in shapes(BasicBlock(64))
    chex.assert_shape(shapes(BasicBlock(64, stride=2))["downsample_0"]["kernel"], (1, 1, 64, 64))
    chex.assert_shape(shapes(Bottleneck(64))["downsample_0"]["kernel"], (1, 1, 64, 256))
    assert "downsample_0" not in shapes(Bottleneck(16))
    assert "downsample_0" not in shapes(Bottleneck(64, skip=False))


@pytest.mark.slow
def test_strides_and_stems():
    assert stages_of(create_model("resnet50")) == {
        "stem": {"stride": 2, "channels": 64},
        "layer1": {"stride": 4, "channels": 256},
        "layer2": {"stride": 8, "channels": 512},
        "layer3": {"stride": 16, "channels": 1024},
        "layer4": {"stride": 32, "channels": 2048},
    }
    cifar = stages_of(create_model("resnet18", stem="cifar"), (32, 32, 3))
    assert [stage["stride"] for stage in cifar.values()] == [1, 1, 2, 4, 8]

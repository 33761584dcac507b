"""VGGs against torchvision, their counts, and that each map is what its name says."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.models.vgg import VGG
from dlcore.ops import fractional_max_pool, max_pool
from tests.models.cost import stages_of
from tests.models.parity import parameter_count
from tests.models.training import draw, losses

PUBLISHED = {"stages": (1, 2), "width": 4, "hidden": 16, "batch_norm": False}


def images(n=2, side=16):
    return np.random.default_rng(0).normal(size=(n, side, side, 3)).astype(np.float32)


@pytest.mark.covers("ZO-04")
@pytest.mark.parametrize(
    ("name", "count"), [("vgg11", 132_863_336), ("vgg13", 133_047_848), ("vgg16", 138_357_544), ("vgg19", 143_667_240)]
)
def test_parameter_counts(name, count):
    assert parameter_count(name) == count
    # batch norm has a gain and a shift a channel: 64 128 256 256 512 512 512 512 sum to 2,752 in VGG-11
    kernels = {"vgg11": 2_752, "vgg13": 2_944, "vgg16": 4_224, "vgg19": 5_504}[name]
    assert parameter_count(f"{name}_bn") == count + 2 * kernels


@pytest.mark.covers("ZO-04")
def test_the_extra_convolutions_of_vgg19_are_in_the_last_three_stages():
    assert create_model("vgg19").stages == (2, 2, 4, 4, 4)
    # 2-2-2-4-4 would lack two of 256 3x3 kernels over 256 channels, with biases: 2 (9 256^2 + 256) = 1,180,160
    assert parameter_count("vgg19") - parameter_count("vgg19", stages=(2, 2, 2, 4, 4)) == 1_180_160


@pytest.mark.covers("ZO-04")
def test_stages_halve_the_map_and_double_the_channels():
    model = create_model("vgg19", width=2, hidden=4)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
    assert {p["kernel"].shape[:2] for name, p in shapes.items() if name.startswith("features")} == {(3, 3)}
    stages = {n: i for n, i in stages_of(create_model("vgg19")).items() if n.startswith("stage")}
    assert list(stages.values()) == [
        {"stride": s, "channels": c} for s, c in [(1, 64), (2, 128), (4, 256), (8, 512), (16, 512)]
    ]
    chex.assert_shape(shapes["classifier_0"]["kernel"], (7 * 7 * 16, 4))


@pytest.mark.slow
@pytest.mark.parametrize("fields", [PUBLISHED, {"stages": (1, 1), "width": 4}])
def test_it_learns_with_and_without_remat(fields):
    model = VGG(num_classes=2, dropout=0.0, **fields)
    values = losses(model, 8)
    assert values[0] == pytest.approx(np.log(2))
    assert values[-1] < 0.8 * values[0]
    if model.batch_norm:
        np.testing.assert_allclose(losses(model.clone(remat="full"), 8), values, rtol=1e-3)


def test_dropout_acts_in_training_alone():
    assert create_model("vgg16").dropout == 0.5
    model = VGG(**PUBLISHED, dropout=1.0, head_init=nn.initializers.ones)
    x = images(2, 8)
    variables = draw(model, x)
    run = jax.jit(lambda train: model.apply(variables, x, train, rngs={"dropout": jax.random.key(1)}), static_argnums=0)
    assert jnp.abs(run(False)).min() > 0
    np.testing.assert_array_equal(run(True), 0)


def test_parameter_count_of_the_small_one():
    # 3x3 kernels 9 (3 24 + 24^2 + 24 48 + 48^2 + 48 96 + 96^2 + 96 192 + 192^2) = 659,016 with no bias,
    # batch norm 2 x 2 x (24 + 48 + 96 + 192) = 1,440, head 192 x 10 + 10 = 1,930
    model = create_model("vgg9_cifar")
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == 659_016 + 1_440 + 1_930


@pytest.mark.slow
def test_maps_follow_one_another():
    model = VGG(stages=(1, 2), width=4)
    variables = draw(model, images())
    maps = jax.jit(lambda v: model.apply(v, images(), method="features"))(variables)
    assert {n: m.shape for n, m in maps.items()} == {
        "relu1_1": (2, 16, 16, 4),
        "stage1": (2, 16, 16, 4),
        "relu2_1": (2, 8, 8, 8),
        "relu2_2": (2, 8, 8, 8),
        "stage2": (2, 8, 8, 8),
    }
    np.testing.assert_array_equal(maps["stage2"], maps["relu2_2"])
    scale = 1 / np.sqrt(1 + 1e-5)  # batch norm with the statistics it starts from
    kernel = variables["params"]["conv2_1"]["kernel"]
    convolved = jax.lax.conv_general_dilated(
        max_pool(maps["stage1"], (2, 2), (2, 2)), kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(maps["relu2_1"], nn.relu(convolved * scale), rtol=1e-5, atol=1e-5)


def test_channels_double_up_to_eight_times():
    shapes = jax.eval_shape(VGG(stages=(1,) * 6, width=2).init, jax.random.key(0), images(1, 32))["params"]
    assert [shapes[f"conv{i}_1"]["kernel"].shape[-1] for i in range(1, 7)] == [2, 4, 8, 16, 16, 16]


def test_average_pooling_takes_the_same_weights():
    variables = draw(VGG(stages=(1, 1), width=4), images())

    @functools.partial(jax.jit, static_argnums=0)
    def last(pooling):
        model = VGG(stages=(1, 1), width=4, pooling=pooling)
        return model.apply(variables, images(), method="features")["relu2_1"]

    assert jnp.abs(last("max") - last("avg")).max() > 0.1


@pytest.fixture(scope="module")
def fractional():
    """A network of two stages, 9 x 9 images, and its maps in use and in two steps of training."""
    model, x = VGG(stages=(1, 1), width=2, batch_norm=False, pool_ratio=1.5), images(2, 9)

    def run(key):
        variables = model.init(jax.random.key(0), x)
        train = [model.apply(variables, x, True, method="features", rngs={"dropout": k}) for k in jax.random.split(key)]
        return variables, model.apply(variables, x, method="features"), *train

    return jax.jit(run)(jax.random.key(1))


@pytest.mark.slow
@pytest.mark.covers("RG-11")
def test_a_ratio_below_two_pools_fractionally(fractional):
    """9 pixels become floor(9 / 1.5) = 6, over regions drawn in training and fixed in use."""
    variables, use, *training = fractional
    chex.assert_shape(use["stage1"], (2, 9, 9, 2))
    chex.assert_shape(use["stage2"], (2, 6, 6, 4))

    @jax.jit
    def second(variables, stage1, key):
        pooled = fractional_max_pool(key, stage1, 1.5)
        kernel = variables["params"]["conv2_1"]["kernel"]
        dimensions = ("NHWC", "HWIO", "NHWC")
        return nn.relu(jax.lax.conv_general_dilated(pooled, kernel, (1, 1), "SAME", dimension_numbers=dimensions))

    np.testing.assert_allclose(use["stage2"], second(variables, use["stage1"], jax.random.key(1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(training[0]["stage1"], use["stage1"], rtol=1e-5, atol=1e-6)
    assert np.abs(training[0]["stage2"] - training[1]["stage2"]).max() > 1e-3
    assert np.abs(training[0]["stage2"] - use["stage2"]).max() > 1e-3


@pytest.mark.covers("RG-11")
def test_fractional_pooling_adds_no_parameter():
    plain, fractional = (
        jax.eval_shape(create_model("vgg9_cifar", **fields).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
        for fields in ({}, {"pool_ratio": 1.4})
    )
    assert jax.tree.map(jnp.shape, plain) == jax.tree.map(jnp.shape, fractional)


@pytest.mark.parametrize("fields", [{"pool_ratio": 1.0}, {"pool_ratio": 2.5}, {"pool_ratio": 1.5, "pooling": "avg"}])
def test_a_ratio_that_is_none(fields):
    with pytest.raises(ValueError, match=r"pool_ratio=.* no pooling; allowed: 2"):
        jax.eval_shape(VGG(stages=(1, 1), width=2, **fields).init, jax.random.key(0), images())

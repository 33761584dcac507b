"""Tables of whole networks: published multiply-adds, AlexNet by hand, receptive fields, any module."""

import csv
import gzip
import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.cost.formulas import activation_kb, attention_macs, dense_macs, dense_parameters
from dlcore.cost.layers import fold, layer_costs, merge_layers, total
from dlcore.models import create_model, input_shape
from dlcore.models.vgg import VGG
from dlcore.nn import Conv, MultiHeadAttention
from dlcore.ops.arithmetic import conv_macs, conv_parameters

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"

TORCHVISION = {
    "alexnet": 0.714,
    "convnext_tiny": 4.456,
    "densenet121": 2.834,
    "efficientnet_b0": 0.386,
    "googlenet": 1.498,
    "inception_v3": 5.713,
    "maxvit_t": 5.558,
    "mnasnet1_0": 0.314,
    "mobilenet_v2": 0.301,
    "regnet_y_400mf": 0.402,
    "resnet18": 1.814,
    "resnet50": 4.089,
    "resnext50_32x4d": 4.230,
    "shufflenet_v2_x1_0": 0.145,
    "squeezenet1_0": 0.819,
    "swin_t": 4.491,
    "vgg16": 15.470,
    "vit_b_16": 17.564,
    "wide_resnet50_2": 11.398,
}
"""GFLOPS as torchvision calls them in the tables of its weights: 10^9 multiply-adds."""


def of_model(name, **fields):
    return layer_costs(create_model(name, **fields), jax.ShapeDtypeStruct((1, *input_shape(name)), jnp.float32))


@pytest.mark.weekly(only=["densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t"])
@pytest.mark.slow(unless=["alexnet", "resnet18"])
@pytest.mark.covers("CO-02")
@pytest.mark.parametrize("name", TORCHVISION)
def test_multiply_adds_are_torchvisions(name):
    layers = of_model(name)
    sums = total(layers)
    assert sums.macs / 1e9 == pytest.approx(TORCHVISION[name], abs=5.1e-4)
    assert sums.flops == 2 * sums.macs
    published = json.loads(gzip.decompress((GOLDENS / "published_names.json.gz").read_bytes()))
    assert sums.parameters == published[name]["parameters"]


@pytest.mark.slow
@pytest.mark.covers("CO-02", "CO-11")
def test_the_products_of_attention_are_counted():
    """ViT-B/16: 12 layers of 2 N^2 C with N = 197; without them torchvision's 17.564 would be 16.849."""
    products = [layer for layer in of_model("vit_b_16") if layer.kind == "product"]
    assert len(products) == 2 * 12
    assert sum(layer.macs for layer in products) == 12 * attention_macs(197, 768)
    assert products[0].output_shape == (1, 12, 197, 197)
    assert products[0].path == "blocks_0/attn/product"


def alexnet_by_hand(side):
    """(parameters, MACs, KB) of each layer, and receptive field and stride where it has them."""
    first = (side + 4 - 11) // 4 + 1
    rows, n = [], first
    for channels, features, k, field, stride, pool in (
        (3, 64, 11, 11, 4, True),
        (64, 192, 5, 51, 8, True),
        (192, 384, 3, 99, 16, False),
        (384, 256, 3, 131, 16, False),
        (256, 256, 3, 163, 16, True),
    ):
        parameters, macs = conv_parameters(channels, features, (k, k)), conv_macs((n, n), channels, features, (k, k))
        rows.append((parameters, macs, activation_kb((n, n, features)), field, stride))
        if pool:
            n = (n - 3) // 2 + 1
            rows.append((0, 0, activation_kb((n, n, features)), field + 2 * stride, 2 * stride))
    rows.append((0, 0, activation_kb((6, 6, 256)), None, None))
    for inputs, outputs in ((9216, 4096), (4096, 4096), (4096, 1000)):
        sizes = dense_parameters(inputs, outputs), dense_macs(inputs, outputs), activation_kb((outputs,))
        rows.append((*sizes, None, None))
    return rows


@pytest.mark.covers("CO-03", "CO-05", "CO-16")
@pytest.mark.parametrize(("side", "conv1"), [(224, (23_296, 70_276_800, 756.25)), (227, (23_296, 72_855_552, 784.0))])
def test_the_table_of_alexnet(side, conv1):
    """By formulas, by the stored table, and by what the network says of itself."""
    layers = layer_costs(create_model("alexnet"), jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))
    by_hand = alexnet_by_hand(side)
    assert by_hand[0][:3] == conv1
    assert by_hand[7][3:] == (195, 32)
    got = [
        (x.parameters, x.macs, x.output_bytes / 1024, *(v and v[0] for v in (x.receptive_field, x.stride)))
        for x in layers
    ]
    assert got == by_hand
    with (GOLDENS / f"alexnet_cost_{side}.csv").open(newline="") as file:
        stored = list(csv.DictReader(file))
    for row, (parameters, macs, kb, field, stride) in zip(stored, by_hand, strict=True):
        assert (int(row["parameters"]), int(row["macs"]), int(row["flops"])) == (parameters, macs, 2 * macs)
        assert float(row["activation_kb"]) == kb
        assert (row["receptive_field"], row["stride"]) == (str(field or ""), str(stride or ""))
    assert [row["layer"] for row in stored] == [layer.path for layer in layers]


def seen(features, variables, side, stage, unit):
    """(first, last) pixel along each axis that `unit` of a map looks at, by gradients.

    With positive weights and no biases every map of a ramp rises as the ramp does, so a maximum is the far corner of
    its window: the gradient of a rising ramp ends where the receptive field ends, that of a falling one begins where
    it begins. Nothing of the field is left to ties.
    """
    ramp = jnp.add.outer(jnp.arange(side), jnp.arange(side))[None, :, :, None] / side + jnp.ones((1, 1, 1, 3))

    @jax.jit
    def gradient(x):
        def value(x):
            return features(variables, x)[stage][0, unit, unit].sum()

        return jnp.abs(jax.grad(value)(x)).sum((0, 3))

    rising, falling = (np.argwhere(np.asarray(gradient(x)) > 0) for x in (ramp, ramp[:, ::-1, ::-1]))
    return falling.min(0), rising.max(0)


def positive(model, side):
    """Variables with every kernel a mean and every bias 0."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, side, side, 3))))
    return jax.tree.map(lambda v: jnp.full(v.shape, (v.ndim > 1) / max(math.prod(v.shape[:-1]), 1)), shapes)


@pytest.mark.slow
@pytest.mark.covers("CO-05")
def test_gradients_of_vgg16_reach_212_pixels():
    """pool5 of VGG-16's own layers and poolings, an eighth as wide. Unit 3 begins at 32 * 3 - 90."""
    model = VGG(1000, (2, 2, 3, 3, 3), width=8, hidden=8, batch_norm=False)
    layers = layer_costs(model, jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
    pool5 = [layer for layer in layers if layer.kind == "max_pool"][-1]
    assert (pool5.receptive_field, pool5.stride) == ((212.0, 212.0), (32.0, 32.0))

    def pooled(variables, x):
        y = model.apply(variables, x, method="features")["stage5"]
        return {"pool5": y.reshape(1, 7, 2, 7, 2, -1).max((2, 4))}

    first, last = seen(pooled, positive(model, 224), 224, "pool5", 3)
    assert first.tolist() == [6, 6]
    assert (last - first + 1).tolist() == [212, 212]


@pytest.mark.slow
@pytest.mark.covers("CO-05")
def test_gradients_of_alexnet_reach_195_pixels():
    """Unit 3 of pool5 begins at 32 * 3 - 66 and ends at 224, the last but two of 227."""
    model = create_model("alexnet", widths=(8, 12, 16, 8, 8), hidden=8)
    features = lambda variables, x: model.apply(variables, x, method="features")  # noqa: E731
    first, last = seen(features, positive(model, 227), 227, "pool5", 3)
    assert first.tolist() == [30, 30]
    assert (last - first + 1).tolist() == [195, 195]


class Small(nn.Module):
    """A shared layer, a grouped one, attention, and a parameter of its own."""

    @nn.compact
    def __call__(self, x, twice=True):
        shared = Conv(4, (3, 3), padding=1, name="shared")
        x = shared(shared(x)) if twice else shared(x)
        x = nn.Dropout(0.5, deterministic=True)(x)
        x = Conv(8, (3, 3), 2, padding=1, feature_group_count=2, use_bias=False, name="grouped")(x)
        x = x * self.param("gain", nn.initializers.ones, (8,))
        return MultiHeadAttention(2, name="attention")(x.reshape(x.shape[0], -1, 8))


@pytest.mark.covers("CO-01", "CO-02", "CO-03")
def test_any_module():
    layers = layer_costs(Small(), jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.bfloat16))
    rows = {}
    for layer in layers:
        rows.setdefault(layer.path, []).append(layer)
    assert list(rows) == [
        "gain",
        "shared",
        "grouped",
        *(f"attention/{n}" for n in ("query", "key", "value")),
        "attention/product",
        "attention/proj",
    ]
    first, second = rows["shared"]
    assert (first.parameters, second.parameters) == (4 * 4 * 9 + 4, 0)  # shared weights count once, work twice
    assert first.macs == second.macs == 2 * 64 * 4 * 4 * 9
    assert (first.receptive_field, second.receptive_field) == ((3.0, 3.0), (5.0, 5.0))
    assert first.input_bytes == 2 * 64 * 4 * 2  # bfloat16 in
    assert first.output_bytes == 2 * 64 * 4 * 4  # float32 parameters promote
    (grouped,) = rows["grouped"]
    assert (grouped.parameters, grouped.macs) == (8 * 2 * 9, 2 * 16 * 8 * 2 * 9)
    assert (grouped.receptive_field, grouped.stride) == ((7.0, 7.0), (2.0, 2.0))
    assert sum(layer.macs for layer in rows["attention/product"]) == 2 * attention_macs(16, 8)
    # Two images, two heads, 16 tokens of 4 numbers, four bytes each: 1024 bytes; 16 x 16 weights are 4096.
    first_product, second_product = rows["attention/product"]
    assert (first_product.input_bytes, first_product.output_bytes) == (2 * 1024, 4096)
    assert (second_product.input_bytes, second_product.output_bytes) == (4096 + 1024, 1024)
    assert (first.parameter_bytes, first_product.parameter_bytes) == (4 * 148, 0)
    (gain,) = rows["gain"]
    assert (gain.kind, gain.parameters, gain.parameter_bytes, gain.output_shape) == ("parameter", 8, 32, ())
    assert total(layers).parameters == 148 + 144 + 8 + 4 * (8 * 8 + 8)
    fewer = layer_costs(Small(), jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.float32), twice=False)
    assert total(layers).macs - total(fewer).macs == first.macs


def test_a_folded_block_sees_what_its_widest_branch_sees():
    """ResNet-18: 43 after layer1; 43 + 2 * 4 + 2 * 8 = 67 through two 3x3 of strides 2 and 1; 43 by the shortcut."""
    layers = layer_costs(create_model("resnet18"), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
    blocks = [merge_layers(parts, parts[0].path.split("/")[0]) for parts in fold(layers, 1)]
    fields = {block.path: block.receptive_field for block in blocks}
    assert fields["layer1_1"] == (43, 43)
    assert fields["layer2_0"] == (67, 67)
    assert fields["layer4_1"] == (435, 435)


def test_folding_keeps_the_sums():
    layers = of_model("resnet20_cifar")
    for depth in (1, 2, 9):
        blocks = [merge_layers(parts, "block") for parts in fold(layers, depth)]
        assert total(blocks) == total(layers)
    assert len(fold(layers, 9)) == len(layers) > len(fold(layers, 1))


@pytest.mark.slow
@pytest.mark.covers("CO-01")
def test_modules_that_do_not_run_are_told():
    layers = of_model("googlenet")
    idle = [layer for layer in layers if layer.kind == "not run"]
    assert {layer.path.split("/")[0] for layer in idle} == {"aux1", "aux2"}
    assert total(layers).parameters == 13_004_888
    assert total(layers).parameters - total(idle).parameters == 6_624_904

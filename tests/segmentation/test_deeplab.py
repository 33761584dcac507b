"""DeepLabV3 beside torchvision's in test_torch_segmenters.py; here dilation: reach, stride, any size of image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model
from dlcore.segmentation.deeplab import ASPP, DeepLabV3
from tests.detection.detectors import Small
from tests.wiring import assert_wiring


def small(**fields):
    fields = {"stages": (1, 1, 1, 1), "width": 4, "stem": "cifar", "dilate": (False, True, True), **fields}
    return create_model("resnet18", **fields)


@pytest.mark.covers("SG-05")
def test_dilation_keeps_the_map_and_the_reach_of_strides():
    """The map has stride 2, as layer2's; the taps of layer4's last convolution are 4 apart, where strides put them."""
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = {}
    for dilate in ((), (False, True, True)):
        model = small(dilate=dilate)
        shapes[dilate] = jax.eval_shape(
            lambda model=model: model.init_with_output(jax.random.key(0), jnp.zeros(x.shape), method="features")
        )
    (plain, weights), (dilated, others) = shapes.values()
    assert [plain[f"layer{k}"].shape[1] for k in (1, 2, 3, 4)] == [32, 16, 8, 4]
    assert [dilated[f"layer{k}"].shape[1] for k in (1, 2, 3, 4)] == [32, 16, 16, 16]
    assert jax.tree.map(jnp.shape, weights) == jax.tree.map(jnp.shape, others)
    assert "head" not in weights["params"]


@pytest.mark.weekly
@pytest.mark.covers("SG-05")
def test_a_dilated_network_has_the_strided_ones_values_at_every_fourth_location():
    """With the same weights, away from the border: layer4 has stride 8 in the one and 2 in the other."""
    x = jax.random.normal(jax.random.key(0), (1, 96, 96, 3))
    plain, dilated = small(dilate=()), small()
    variables = plain.init(jax.random.key(1), x[:, :32, :32], method="features")
    coarse, fine = (m.apply(variables, x, method="features")["layer4"] for m in (plain, dilated))
    inner = slice(4, -4)
    np.testing.assert_allclose(fine[:, ::4, ::4][:, inner, inner], coarse[:, inner, inner], atol=1e-4)


@pytest.mark.weekly
@pytest.mark.covers("SG-05")
def test_aspp_sees_as_far_as_its_rates():
    layer = ASPP(16, (2, 5))
    x = jax.random.normal(jax.random.key(0), (1, 15, 15, 3))
    variables = layer.init(jax.random.key(1), x, False)
    # Without the branch that sees all: its weights are zero.
    variables["params"]["convs_3"]["1"]["kernel"] *= 0
    gradient = jax.grad(lambda image: layer.apply(variables, image, False)[0, 7, 7].sum())(x)
    seen = np.flatnonzero(np.abs(np.asarray(gradient)).sum((0, 2, 3)))
    assert set(seen) <= {7 - 5, 7 - 2, 7, 7 + 2, 7 + 5}
    assert {2, 12} <= set(seen)


@pytest.mark.covers("SG-05")
def test_images_of_any_size():
    model = DeepLabV3(small(), 5, aux_stage="layer3", channels=4, rates=(2, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    for size in ((16, 16), (13, 22)):
        shapes = jax.eval_shape(model.apply, variables, jnp.zeros((2, *size, 3)))
        assert {name: out.shape for name, out in shapes.items()} == {"out": (2, *size, 5), "aux": (2, *size, 5)}


def test_as_many_dilations_as_stages_but_the_first():
    with pytest.raises(ValueError, match=r"dilate=\(True,\): wrong length; allowed: 3"):
        small(dilate=(True,)).init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))


def test_the_wiring_of_deep_lab_v3_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        DeepLabV3(Small(), 2, "fine", "coarse", channels=4, rates=(1, 2)), (2, 16, 24, 3), [29.0428, -1.49816]
    )

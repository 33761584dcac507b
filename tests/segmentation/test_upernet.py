"""UPerNet against transformers, and its pyramid by hand."""

import re
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model, load_torch
from dlcore.models.convnext import ConvNeXt
from dlcore.models.stored_counts import stored_models
from dlcore.pretrained.family import find_family
from dlcore.segmentation.upernet import UPerNet
from tests.detection.detectors import Small
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule
from tests.wiring import assert_wiring

ENCODER = ConvNeXt(num_classes=0, stages=(1, 1, 1, 1), widths=(8, 12, 16, 20))
FIELDS = {"backbone": ENCODER, "num_classes": 4, "features": 8, "aux_features": 8}


@pytest.mark.slow
@pytest.mark.covers("SG-14")
def test_upernet_equals_transformers():
    golden, meta, weights = read_golden("hf_upernet")
    name = "upernet_convnext_tiny"
    model, variables = create_model(name, **FIELDS), load_torch(name, weights, **FIELDS)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    check_output(golden, meta, "logits", nchw(jax.jit(model.apply)(variables, x)["out"]))


class Halves(nn.Module):
    """Two maps of one channel, of strides 4 and 8: 1 at the left, 3 at the right."""

    def features(self, x, train=False):
        def at(stride):
            columns = jnp.where(jnp.arange(x.shape[2] // stride) < x.shape[2] // stride / 2, 1.0, 3.0)
            return jnp.broadcast_to(columns[:, None], (len(x), x.shape[1] // stride, x.shape[2] // stride, 1))

        return {"stage1": at(4), "stage2": at(8)}


@pytest.mark.covers("SG-14")
def test_the_pyramid_by_hand():
    """Kernels take the middle of their maps with the weight 1, norms divide by sqrt(1 + 1e-5).

    Coarse: own value plus the mean over the map, 2. Fine: own value plus the coarse one, enlarged.
    Joined: the fine level plus the coarse one.
    """
    model, x = UPerNet(Halves(), 1, ("stage1", "stage2"), 1, (1,), normalize=False), jnp.zeros((1, 16, 16, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x))

    def value(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("kernel"):
            middle = leaf.shape[0] // 2
            return jnp.zeros(leaf.shape).at[middle, middle].set(1)
        return jnp.full(leaf.shape, 1.0 if name.endswith(("var", "scale")) else 0.0)

    variables = jax.tree_util.tree_map_with_path(value, shapes)
    out = np.asarray(jax.jit(model.apply)(variables, x)["out"])[0, 8, :, 0]
    norm = 1 / np.sqrt(1 + 1e-5)
    coarse = (np.array([1.0, 3.0]) + 2 * norm) * norm
    enlarged = coarse[0] + (coarse[1] - coarse[0]) * np.array([0, 0.25, 0.75, 1])  # half-pixel centers
    fine = (np.array([1.0, 1, 3, 3]) * norm + enlarged) * norm
    scores = (fine + enlarged) * norm
    np.testing.assert_allclose(out[[0, 15]], scores[[0, 3]], rtol=1e-5)
    np.testing.assert_allclose(out[7:9].mean(), scores[1:3].mean(), rtol=1e-5)


@pytest.mark.covers("SG-14")
def test_an_auxiliary_head_and_a_missing_stage():
    x = jnp.zeros((1, 16, 24, 3))
    model = UPerNet(Halves(), 5, ("stage1", "stage2"), 4, (1, 2), aux_stage="stage1", aux_features=4)
    outputs, _ = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x))
    chex.assert_shape([outputs["out"], outputs["aux"]], (1, 16, 24, 5))
    with pytest.raises(ValueError, match="stage='stage3': not in the backbone; allowed: stage1, stage2"):
        jax.eval_shape(lambda: model.clone(aux_stage="stage3").init(jax.random.key(0), x))


@pytest.mark.covers("SG-14")
@pytest.mark.parametrize(("name", "millions"), [("tiny", 60), ("small", 82), ("base", 122)])
def test_parameter_counts_are_those_of_convnexts_paper(name, millions):
    """Table of ConvNeXt's paper for ADE20K."""
    assert round(stored_models("segmentation")[f"upernet_convnext_{name}"]["parameters"] / 1e6) == millions


def test_a_configuration_names_the_fields():
    backbone = {"model_type": "convnext", "depths": [1, 1, 1, 1], "hidden_sizes": [8, 12, 16, 20], "patch_size": 4}
    backbone["out_features"] = ["stage1", "stage2", "stage3", "stage4"]
    config = {"architectures": ["UperNetForSemanticSegmentation"], "backbone_config": backbone, "hidden_size": 8}
    config |= {"pool_scales": [1, 2, 3, 6], "auxiliary_channels": 8, "id2label": dict.fromkeys("0123", "")}
    name, fields = find_family(config).model(config)
    assert create_model(name, **fields) == create_model("upernet_convnext_tiny", **FIELDS)
    with pytest.raises(ValueError, match="model_type='vit': unknown; allowed: convnext, swin"):
        find_family(config).model(config | {"backbone_config": backbone | {"model_type": "vit"}})


def test_the_wiring_of_uper_net_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        UPerNet(Small(), 2, ("fine", "coarse"), features=4, bins=(1, 2), aux_stage="fine", aux_features=4),
        (2, 16, 24, 3),
        [23.8998, 0.272559],
    )


def test_published_segmenters_give_logits_before_they_are_enlarged():
    """SegFormer by its method `scores`, UPerNet by its main head."""

    def apply(variables, images, method=None):
        return variables + images if method == "scores" else {"out": variables * images, "aux": 0}

    for name, logits in (("UperNetForSemanticSegmentation", 12), ("SegformerForSemanticSegmentation", 7)):
        family = find_family({"architectures": [name]})
        assert family.outputs(SimpleNamespace(apply=apply), 3, {"pixel_values": 4}) == {"logits": logits}


def test_parameters_have_transformers_names():
    model = UPerNet(ENCODER, 4, bins=(1, 3))
    for path, expected in {
        "psp.bin3.conv.kernel": "decode_head.psp_modules.1.1.conv.kernel",
        "norm_stage2.scale": "hidden_states_norms.stage2.scale",
        "auxiliary_head_conv.conv.kernel": "auxiliary_head.convs.0.conv.kernel",
    }.items():
        for pattern, replacement in model.TORCH_NAMES:
            path = re.sub(pattern, replacement, path)
        assert path == expected

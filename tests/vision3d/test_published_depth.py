"""DPT, Depth Anything and GLPN against transformers."""

import math
import re
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.losses import scale_invariant_depth_loss
from dlcore.models import create_model, load_torch
from dlcore.models.mit import MiT
from dlcore.models.stored_counts import stored_models
from dlcore.pretrained.family import find_family
from dlcore.vision3d import published_depth
from dlcore.vision3d.dpt import DPT, ClassTokenViT, DPTNeck, NormalizedDINOv2
from dlcore.vision3d.glpn import GLPN
from dlcore.vision3d.published_depth import MODELS, example_inputs, from_torch_names
from tests.detection.detectors import Small
from tests.models.parity import check_output, nhwc, read_golden, weight_rule
from tests.wiring import assert_wiring

STAGES = ("block1", "block2", "block3", "block4")
NECK = {"stages": STAGES, "channels": (8, 12, 16, 20), "features": 8}
SIZE = {"width": 32, "depth": 4, "num_heads": 4, "mlp_features": 64}
DEPTH_ANYTHING = NECK | {"backbone": NormalizedDINOv2(image_size=28, patch_size=7, **SIZE), "head_features": 8}
VIT = ClassTokenViT(num_classes=0, image_size=32, patch_size=8, epsilon=1e-12, **SIZE)
ENCODER = {"widths": (8, 16, 24, 32), "stages": (1, 1, 1, 1), "num_heads": (1, 2, 3, 4), "mlp_ratios": (2, 2, 2, 2)}
CASES = {
    "hf_dpt": ("dpt_large", NECK | {"backbone": VIT}, "scores", "depth_pre_relu"),
    "hf_depth_anything": ("depth_anything_small", DEPTH_ANYTHING, None, "predicted_depth"),
    "hf_glpn": (
        "glpn",
        {"backbone": MiT(num_classes=0, **ENCODER), "features": 8, "max_depth": 10.0},
        None,
        "predicted_depth",
    ),
}


@pytest.mark.slow
@pytest.mark.covers("TD-18")
@pytest.mark.parametrize("file", CASES)
def test_depth_equals_transformers(file):
    name, fields, method, output = CASES[file]
    golden, meta, weights = read_golden(file)
    model, variables = create_model(name, **fields), load_torch(name, weights, **fields)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    depth = jax.jit(lambda v, x: model.apply(v, x, method=method))(variables, x)
    check_output(golden, meta, output, depth[:, None] if file == "hf_dpt" else depth)
    if "loss" in golden:  # over all pixels of both images
        truth = 4 * weight_rule().det_input(meta["inputs"]["labels"]) + 1
        pixels = [jnp.asarray(m).reshape(1, -1) for m in (jnp.log(depth), truth)]
        loss = jnp.sqrt(scale_invariant_depth_loss(*pixels, variance_weight=0.5))
        np.testing.assert_allclose(loss, golden["loss"][0], rtol=1e-5)


NECK_CONFIG = {"neck_hidden_sizes": [8, 12, 16, 20], "fusion_hidden_size": 8}
VIT_CONFIG = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
DINOV2_CONFIG = {"image_size": 28, "patch_size": 7, "mlp_ratio": 2, "layer_norm_eps": 1e-6, "out_indices": [1, 2, 3, 4]}
CONFIGS = {
    "hf_dpt": {
        "architectures": ["DPTForDepthEstimation"],
        **VIT_CONFIG,
        **NECK_CONFIG,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
        "backbone_out_indices": [0, 1, 2, 3],
    },
    "hf_depth_anything": {
        "architectures": ["DepthAnythingForDepthEstimation"],
        "backbone_config": VIT_CONFIG | DINOV2_CONFIG,
        **NECK_CONFIG,
        "head_hidden_size": 8,
    },
    "hf_glpn": {
        "architectures": ["GLPNForDepthEstimation"],
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 16, 24, 32],
        "num_attention_heads": [1, 2, 3, 4],
        "mlp_ratios": [2, 2, 2, 2],
        "decoder_hidden_size": 8,
    },
}
LEFT_OUT = {
    "hf_dpt": {"factors": (4, 2, 1, 0.5), "readout": "project"},
    "hf_depth_anything": {
        "factors": (4, 2, 1, 0.5),
        "metric": False,
        "max_depth": 1.0,
        "backbone": NormalizedDINOv2(num_classes=0, image_size=28, patch_size=7, **SIZE),
    },
    "hf_glpn": {"backbone": MiT(num_classes=0, drop_path=0.1, **ENCODER)},
}
"""What transformers' classes of configurations have where a file leaves it out."""


@pytest.mark.parametrize("file", CASES)
def test_a_configuration_gives_the_network_that_equals_transformers(file):
    name, fields, _, _ = CASES[file]
    assert find_family(CONFIGS[file]).model(CONFIGS[file]) == (name, fields | LEFT_OUT[file])


class Blocks(nn.Module):
    """A grid of 2 x 4 patches of 4 pixels in every block."""

    image_size: int = 8

    def features(self, x, train=False):
        return {name: jnp.ones((len(x), 2, 4, 4)) for name in STAGES}


@pytest.mark.covers("TD-18")
def test_sides_of_the_depth_map():
    """The finest map has 4 times the patches' sides, and both ends enlarge by 2; or the image's sides."""
    x = jnp.zeros((1, 8, 16, 3))
    for image_sized, sides in ((False, (32, 64)), (True, (8, 16))):
        model = DPT(Blocks(), **NECK, image_sized=image_sized)
        depth, _ = jax.eval_shape(lambda model=model: model.init_with_output(jax.random.key(0), x))
        chex.assert_shape(depth, (1, *sides))


@pytest.mark.covers("TD-18")
def test_the_neck_by_formula():
    """One map of one patch: W_p (v + R v), v = W_c W_r gelu(W [patch; class token]), of one channel each."""
    neck = DPTNeck((1,), (1,), 1, "project")
    maps = [jnp.array([1.0, 2.0]).reshape(1, 1, 1, 2)]
    shapes = jax.eval_shape(lambda: neck.init(jax.random.key(0), maps))
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5), shapes)
    v = 0.5 * 1 + 0.5 * 2 + 0.5
    v = v * 0.5 * (1 + math.erf(v / math.sqrt(2)))
    v = 0.5 * (0.5 * v + 0.5)  # the projection has a bias, the 3x3 convolution has none
    y = 0.5 * (0.5 * v + 0.5) + 0.5
    expected = 0.5 * (v + y) + 0.5
    np.testing.assert_allclose(jax.jit(neck.apply)(params, maps), np.full((1, 2, 2, 1), expected), rtol=1e-5)


@pytest.mark.covers("TD-18")
def test_fields_that_do_not_fit_are_refused():
    x = jnp.zeros((1, 8, 12, 3))

    def shapes(model):
        jax.eval_shape(lambda: model.init(jax.random.key(0), x))

    with pytest.raises(ValueError, match=r"channels=\(8,\): wrong length; allowed: one for each of 4 stages"):
        shapes(DPT(Blocks(), **NECK | {"channels": (8,)}))


@pytest.mark.covers("TD-18")
@pytest.mark.parametrize(
    ("name", "millions"),  # the files of DPT have 1.2M more, in a unit that computes nothing
    [
        ("depth_anything_small", 24.8),
        ("depth_anything_base", 97.5),
        ("depth_anything_large", 335.3),
        ("dpt_large", 342.9),
    ],
)
def test_parameter_counts_are_the_authors(name, millions):
    assert stored_models("depth")[name]["parameters"] / 1e6 == pytest.approx(millions, rel=6e-3)


def test_published_networks_of_depth_have_the_sizes_of_their_authors():
    """ViT-S, B and L; maps of DINOv2 are those of the last blocks, or of the last of four quarters."""
    names = (*(f"depth_anything_{size}" for size in ("small", "base", "large")), "dpt_large", "glpn")
    built = {name.removeprefix("depth_anything_"): MODELS[name]() for name in names}
    sizes = {
        name: (net.backbone.width, net.backbone.num_heads, net.backbone.depth, net.stages, net.channels, net.features)
        for name, net in built.items()
        if name != "glpn"
    }
    last = {depth: tuple(f"block{i}" for i in range(depth - 3, depth + 1)) for depth in (12, 24)}
    wide = (256, 512, 1024, 1024)
    assert sizes == {
        "small": (384, 6, 12, last[12], (48, 96, 192, 384), 64),
        "base": (768, 12, 12, last[12], (96, 192, 384, 768), 128),
        "large": (1024, 16, 24, last[24], wide, 256),
        "dpt_large": (1024, 16, 24, ("block6", "block12", "block18", "block24"), wide, 256),
    }
    assert all(built[name].backbone.mlp_features == 4 * sizes[name][0] for name in sizes)
    assert [built[name].image_sized for name in sizes] == [True, True, True, False]
    assert [built[name].readout for name in sizes] == ["ignore", "ignore", "ignore", "project"]
    encoder = built["dpt_large"].backbone
    assert (encoder.num_classes, encoder.image_size, encoder.patch_size, encoder.epsilon) == (0, 384, 16, 1e-12)
    assert built["glpn"].backbone.num_classes == 0
    images = [example_inputs(built[name])[0] for name in ("small", "glpn")]
    assert [image.shape for image in images] == [
        (1, side, side, 3) for side in (built["small"].backbone.image_size, 64)
    ]


def test_the_wiring_of_dptneck_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        DPTNeck((4, 4, 6, 6), (4, 2, 1, 0.5), 4), [np.cos(np.arange(48.0)).reshape(1, 2, 4, 6)] * 4, [639.846, -6.42355]
    )


def test_the_wiring_of_glpn_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(GLPN(Small(), ("fine", "coarse"), features=4), (1, 32, 64, 3), [132.92, -1.08069])


TINY = {"image_size": 8, "patch_size": 4, "depth": 2, "width": 8, "num_heads": 2, "mlp_features": 8}


@pytest.mark.parametrize(
    ("model", "numbers"),
    [
        (DPT(ClassTokenViT(0, **TINY), ("block1", "block2"), (4, 6), (4, 0.5), 6, 4, "project", metric=True,
             max_depth=3.0), [20.8564, 1.96553]),
        (DPT(NormalizedDINOv2(0, **TINY), ("block1", "block2"), (4, 6), (2, 1), 6, 4, image_sized=True),
         [16.6441, -4.0742]),
    ],
    ids=["class token", "DINOv2"],
)  # fmt: skip
def test_the_wiring_of_dpt_is_as_it_was(model, numbers):
    """A regression: the number holds the code as it was."""
    assert_wiring(model, (1, 8, 8, 3), numbers)


def test_the_class_token_is_added_to_each_patch_where_it_is_read_so():
    """A patch of 1 and 2 with the token 3 and 5: 1 + 3 and 2 + 5 reach the first projection, here (4 + 7) a channel."""
    neck, maps = DPTNeck((1,), (1,), 1, "add"), [np.float32([1, 2, 3, 5]).reshape(1, 1, 1, 4)]
    shapes = jax.eval_shape(lambda: neck.init(jax.random.key(0), maps))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    params["params"]["reassemble_stage_layers_0_projection"]["kernel"] += 1
    params["params"]["convs_0"]["kernel"] += 1
    params["params"]["fusion_stage_layers_0_projection"]["kernel"] += 1
    np.testing.assert_allclose(jax.jit(neck.apply)(params, maps), np.full((1, 2, 2, 1), 11))


def test_published_networks_give_depth_by_the_librarys_name():
    model = SimpleNamespace(apply=lambda variables, images: variables + images)
    for file in CASES:
        assert find_family(CONFIGS[file]).outputs(model, 1, {"pixel_values": 2}) == {"predicted_depth": 3}


@pytest.mark.parametrize(
    ("backbone", "head"),
    [(ClassTokenViT(0, **TINY), "head.head.2.bias"), (NormalizedDINOv2(0, **TINY), "head.conv2.bias")],
    ids=["class token", "DINOv2"],
)
def test_parameters_have_transformers_names(backbone, head):
    """The second of three convolutions of a head: the third entry of DPT's list, which counts rectifiers, too."""
    model = DPT(backbone, ("block1", "block2"), (4, 6), (2, 1), features=6)
    projection = "neck.reassemble_stage.readout_projects.0.0.bias"
    for path, name in {
        "depth_head.conv2.bias": head,
        "neck.reassemble_stage_readout_projects.0_0.bias": projection,
    }.items():
        for pattern, replacement in model.TORCH_NAMES:
            path = re.sub(pattern, replacement, path)
        assert path == name


def test_dpt_has_transformers_sizes():
    model = DPT(NormalizedDINOv2(0))
    assert (model.stages, model.channels) == (("block3", "block6", "block9", "block12"), (96, 192, 384, 768))
    assert (model.factors, model.features, model.head_features) == ((4, 2, 1, 0.5), 256, 32)


def test_weights_that_do_not_fit_are_named_as_transformers_names_them(monkeypatch):
    fill, settings = published_depth.fill_from_torch, {}

    def recorded(*call, **more):
        settings.update(more)
        return fill(*call, **more)

    monkeypatch.setattr(published_depth, "fill_from_torch", recorded)
    model = DPT(NormalizedDINOv2(0, **TINY), ("block1", "block2"), (4, 6), (2, 1), features=6)
    with pytest.raises(
        ValueError, match=r"DPT; .* missing: .*encoder\.layer\.0\.attention\.q_proj\.bias.*; 1 left over: more"
    ):
        from_torch_names(model, {"more": np.zeros(1)})
    assert settings == {"what": "DPT", "older": DPT.TORCH_OLD_NAMES, "optional": DPT.TORCH_OPTIONAL}

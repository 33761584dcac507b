"""Networks of timm that torchvision or transformers has too: their goldens' arrays under timm's names give the outputs.

No golden holds timm's own files of these; `RULES` rename a golden's arrays as timm's modules are named.
"""

import functools
import json
import re

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from dlcore.models import create_model
from dlcore.models.efficientnet import B0
from dlcore.pretrained import from_pretrained
from dlcore.pretrained.family import find_family
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule

INDEX = r"\.relative_(position_index|coords_table)$"
SWIN = (
    (r"^features\.0\.0\.", "patch_embed.proj."),
    (r"^features\.0\.2\.", "patch_embed.norm."),
    (r"^features\.([1357])\.(\d+)\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.{m[2]}."),
    (r"^features\.([246])\.", lambda m: f"layers.{int(m[1]) // 2}.downsample."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
    (r"^head\.", "head.fc."),
)
EFFICIENT = (
    (r"^features\.0\.0\.", "conv_stem."),
    (r"^features\.0\.1\.", "bn1."),
    (r"^features\.[78]\.0\.weight", "conv_head.weight"),
    (r"^features\.[78]\.1\.(?!block)", "bn2."),
    (r"^classifier\.1\.", "classifier."),
)


def blocks(stages: str, *layers: str) -> tuple:
    """Rules for the layers of a block by their index: a convolution and the norm behind it, the k-th of the block."""
    rules = []
    for k, (i, layer) in enumerate(layer.split(":") for layer in layers):
        front = rf"^features\.({stages})\.(\d+)\.block\.{i}\."
        for part, name in (("0", layer), ("1", f"bn{k + 1}")):
            rules.append((rf"{front}{part}\.", lambda m, name=name: f"blocks.{int(m[1]) - 1}.{m[2]}.{name}."))
    return tuple(rules)


def squeezes(stages: str, i: int) -> tuple:
    return tuple(
        (rf"^features\.({stages})\.(\d+)\.block\.{i}\.{a}\.", lambda m, b=b: f"blocks.{int(m[1]) - 1}.{m[2]}.se.{b}.")
        for a, b in (("fc1", "conv_reduce"), ("fc2", "conv_expand"))
    )


INVERTED = ("0:conv_pw", "1:conv_dw", "3:conv_pwl")
RULES = {
    "tv_convnext_tiny": (
        (r"^features\.0\.(\d)\.", r"stem.\1."),
        (r"^features\.([1357])\.(\d+)\.", lambda m: f"stages.{int(m[1]) // 2}.blocks.{m[2]}."),
        (r"^features\.([246])\.(\d)\.", lambda m: f"stages.{int(m[1]) // 2}.downsample.{m[2]}."),
        (r"\.block\.0\.", ".conv_dw."),
        (r"\.block\.2\.", ".norm."),
        (r"\.block\.3\.", ".mlp.fc1."),
        (r"\.block\.5\.", ".mlp.fc2."),
        (r"\.layer_scale$", ".gamma"),
        (r"^classifier\.0\.", "head.norm."),
        (r"^classifier\.2\.", "head.fc."),
    ),
    "tv_swin_t": SWIN,
    "tv_swin_v2_t": SWIN,
    "tv_efficientnet_b0": (
        *EFFICIENT,
        *blocks("1", "0:conv_dw", "2:conv_pw"),
        *squeezes("1", 1),
        *blocks("[2-7]", *INVERTED),
        *squeezes("[2-7]", 2),
    ),
    "tv_efficientnet_v2_s": (
        *EFFICIENT,
        *blocks("1", "0:conv"),
        *blocks("[23]", "0:conv_exp", "1:conv_pwl"),
        *blocks("[4-6]", *INVERTED),
        *squeezes("[4-6]", 2),
    ),
    "hf_mobilevit": (
        (r"^conv_stem\.", "stem."),
        (r"^conv_1x1_exp\.", "final_conv."),
        (r"^encoder\.layer\.(\d)\.layer\.(\d)\.", r"stages.\1.\2."),
        (r"^encoder\.layer\.(\d)\.downsampling_layer\.", r"stages.\1.0."),
        (r"^encoder\.layer\.(\d)\.", r"stages.\1.1."),
        (r"\.expand_1x1\.", ".conv1_1x1."),
        (r"\.conv_3x3\.", ".conv2_kxk."),
        (r"\.reduce_1x1\.", ".conv3_1x1."),
        (r"\.conv_1x1\.convolution\.", ".conv_1x1."),
        (r"\.conv_projection\.", ".conv_proj."),
        (r"\.fusion\.", ".conv_fusion."),
        (r"\.convolution\.", ".conv."),
        (r"\.normalization\.", ".bn."),
        (r"\.transformer\.layer\.", ".transformer."),
        (r"\.attention\.output\.dense\.", ".attn.proj."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
        (r"\.layernorm\.", ".norm."),
    ),
}
"""{golden: pairs of `re.sub`, in order}."""

CASES = {
    "convnext_tiny": ("tv_convnext_tiny", {}),
    "swin_tiny_patch4_window7_224": ("tv_swin_t", {}),
    "swinv2_tiny_window8_256": ("tv_swin_v2_t", {}),
    "efficientnet_b0": ("tv_efficientnet_b0", {}),
    "efficientnetv2_s": ("tv_efficientnet_v2_s", {"epsilon": 1e-3}),  # torchvision's; timm's file of 1e-3 is tf_*
    "mobilevit_s": (
        "hf_mobilevit",
        {"widths": (8, 8, 12, 16, 24, 32, 64), "hidden_sizes": (16, 24, 32), "num_heads": 2},
    ),
}


def as_timm(file: str, weights: dict) -> dict[str, np.ndarray]:
    """The golden's arrays under timm's names; what timm stores in another form is split, joined or reshaped."""
    arrays: dict[str, np.ndarray] = {}
    for key, value in weights.items():
        if re.search(INDEX, key):
            continue
        name = key
        for pattern, replacement in RULES[file]:
            name = re.sub(pattern, replacement, name)
        if name.endswith(".gamma"):
            value = value.reshape(-1)
        if file == "tv_swin_v2_t" and name.endswith(".attn.qkv.bias"):  # keys have no bias
            query, _, values = np.split(value, 3)
            front = name.removesuffix("qkv.bias")
            arrays |= {f"{front}q_bias": query, f"{front}v_bias": values}
            continue
        arrays[name] = value
    for key in [key for key in arrays if ".attention.attention.query." in key]:
        parts = [arrays.pop(key.replace("query", part)) for part in ("query", "key", "value")]
        arrays[key.replace("attention.attention.query", "attn.qkv")] = np.concatenate(parts)
    return arrays


@pytest.mark.weekly
@pytest.mark.covers("PT-01")
@pytest.mark.parametrize("name", CASES)
def test_arrays_under_timms_names_give_the_output(name, tmp_path):
    file, fields = CASES[name]
    golden, meta, weights = read_golden(file)
    arrays = as_timm(file, weights)
    save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, tmp_path / "model.safetensors")
    num_classes = 0 if file == "hf_mobilevit" else 1000
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name, "num_classes": num_classes}))
    (x,) = (nhwc(weight_rule().det_input(spec)) for spec in meta["inputs"].values())
    net = from_pretrained(tmp_path, **fields)
    if file == "hf_mobilevit":
        maps = jax.jit(lambda variables: net.model.apply(variables, x, method="features"))(net.variables)
        check_output(golden, meta, "last_hidden_state", nchw(maps["last"]))
    else:
        check_output(golden, meta, "logits", net(x=np.asarray(x))["logits"])


@pytest.mark.parametrize(
    ("name", "model", "fields"),
    [
        ("efficientnet_b5", "efficientnet_b5", {"epsilon": 1e-5}),
        ("tf_efficientnetv2_m", "efficientnet_v2_m", {"epsilon": 1e-3, "padding": "same"}),
        ("mobilevit_xxs", "mobilevit_xxs", {}),
    ],
)
def test_a_name_gives_the_model_and_its_fields(name, model, fields):
    config = {"architecture": name, "num_classes": 3}
    assert find_family(config).model(config) == (model, {"num_classes": 3, **fields})


@pytest.mark.weekly
def test_tensorflows_padding_is_the_usual_one_where_sides_are_odd():
    """3 x 3 kernels of stride 2 on odd sides get as many zeros on both sides; on even sides they do not."""
    settings = B0[:2]  # a 3 x 3 stem, and a stage of stride 2
    models = [create_model("efficientnet_b0", settings=settings, width_mult=0.1, padding=p) for p in ("both", "same")]
    odd, even = (np.random.default_rng(0).normal(size=(1, n, n, 3)).astype(np.float32) for n in (33, 32))
    variables = jax.jit(models[0].init)(jax.random.key(0), odd)
    maps = [
        [jax.jit(functools.partial(m.apply, method="features"))(variables, x)["last"] for m in models]
        for x in (odd, even)
    ]
    np.testing.assert_allclose(*maps[0], rtol=1e-5, atol=1e-6)
    assert np.abs(maps[1][0] - maps[1][1]).max() > 1e-3 * np.abs(maps[1][0]).max()

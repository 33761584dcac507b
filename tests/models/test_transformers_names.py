"""ViT, DeiT, Swin, ResNet and masked autoencoders from transformers' names, today's and older ones."""

import json
import re

import chex
import jax
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.mae import MAE, VideoMAE
from dlcore.models.mae import TORCH_OLD_NAMES as MAE_OLD_NAMES
from dlcore.models.mae import from_torch_names as load_mae
from dlcore.models.registry import family_of
from dlcore.models.resnet import BasicBlock
from dlcore.models.torch_weights import Layout, _torch_name, count_classes
from tests.models.parity import GOLDENS, check_output, nhwc, read_golden, weight_rule

VIT = {"depth": 2, "width": 32, "num_heads": 4, "mlp_features": 64, "epsilon": 1e-12}
CASES = {
    "hf_vit_cls": ("vit_b_16", VIT | {"image_size": 24, "patch_size": 6, "num_classes": 5}),
    "hf_vit": ("vit_b_16", VIT | {"image_size": 32, "patch_size": 8, "num_classes": 0}),
    "hf_deit": ("deit_tiny_distilled_patch16_224", VIT | {"image_size": 32, "patch_size": 8, "num_classes": 5}),
    "hf_swin": (
        "swin_t",
        {"stages": (2, 2), "width": 16, "num_heads": (2, 4), "patch_size": 2, "window_size": 4, "mlp_ratio": 2}
        | {"num_classes": 3},
    ),
}
OLDER = {
    "hf_vit_cls": ("vit.", ".encoder.layer.", "attention.attention."),
    "hf_vit": ("", "encoder.layer.", "attention.attention."),
    "hf_deit": ("deit.", ".encoder.layer.", "attention.attention."),
    "hf_swin": ("swin.", ".encoder.layers.", "attention.self."),
}


def as_published(file, weights):
    """The names of the published files, which are older than the goldens' version."""
    prefix, layers, attention = OLDER[file]
    older = {}
    for key, value in weights.items():
        for short, long in (("q", "query"), ("k", "key"), ("v", "value")):
            key = key.replace(f".attention.{short}_proj.", f".{attention}{long}.")
        key = key.replace(".attention.relative_position_bias.", ".attention.self.")
        key = key.replace(".attention.o_proj.", ".attention.output.dense.")
        key = key.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")
        if file == "hf_swin":
            key = key if key.startswith("classifier") else prefix + key
        else:
            key = re.sub(r"(^|\.)layers\.", layers, key, count=1)
        older[key] = value
    if file == "hf_swin":
        older["swin.encoder.layers.0.blocks.0.attention.self.relative_position_index"] = np.zeros((16, 16), np.int64)
    return older


def read(file):
    golden, meta, weights = read_golden(file)
    if file == "hf_swin":
        weights |= {"classifier.weight": np.ones((3, 32), np.float32), "classifier.bias": np.arange(3.0)}
    return golden, meta, weights


@pytest.mark.slow
@pytest.mark.covers("AT-21")
@pytest.mark.parametrize("file", CASES)
def test_older_names_give_the_same_variables(file):
    (name, fields), (_, _, weights) = CASES[file], read(file)
    older = as_published(file, weights)
    assert not set(older) & {key for key in weights if "_proj." in key or ".mlp." in key}
    variables = load_torch(name, weights, **fields)
    jax.tree.map(np.testing.assert_array_equal, load_torch(name, older, **fields), variables)
    assert count_classes(name, older) == (fields["num_classes"] or None)
    wrapped = {f"module.model.{key}": value for key, value in older.items()}
    assert count_classes(name, wrapped) == (fields["num_classes"] or None)
    if file == "hf_vit_cls":
        keys = weights["vit.layers.1.attention.k_proj.weight"]
        np.testing.assert_array_equal(variables["params"]["blocks_1"]["attn"]["qkv"]["kernel"][:, 32:64], keys.T)
        np.testing.assert_array_equal(variables["params"]["head"]["bias"], weights["classifier.bias"])
        with pytest.raises(ValueError, match=r"does not fit vit_b_16; 1 missing: layers.0.attention.k_proj.bias"):
            load_torch(name, {k: v for k, v in weights.items() if "layers.0.attention.k_proj.bias" not in k}, **fields)


@pytest.mark.covers("AT-21", "AT-23", "AT-24")
@pytest.mark.parametrize("file", CASES)
def test_older_names_become_those_of_today(file):
    """By the table alone, without the network, whose own names are then asked for."""
    layout = family_of(CASES[file][0]).TORCH_LAYOUTS[0]
    entries = json.loads(str(np.load(GOLDENS / f"{file}.npz")["meta"]))["state_dict"]
    weights = {key: i for i, (key, _) in enumerate(entries)}
    today = layout.entries(weights)
    assert layout.entries(as_published(file, weights)) == today
    assert any(re.search(layout.pattern, key) for key in today)
    if file != "hf_swin":
        name = _torch_name("params/blocks_1/attn/qkv/kernel", layout.names)
        assert name == " + ".join(f"layers.1.attention.{part}_proj.weight" for part in "qkv")
        assert set(name.split(" + ")) <= set(today)
        assert _torch_name("params/blocks_0/norm1/scale", layout.names) == "layers.0.layernorm_before.weight"
        assert _torch_name("params/blocks_0/norm2/scale", layout.names) == "layers.0.layernorm_after.weight"
        return
    table = _torch_name("params/features_1_1/bias_table/embedding", layout.names)
    assert table == "encoder.layers.0.blocks.1.attention.relative_position_bias.relative_position_bias_table"
    for i, place in ((1, "before"), (2, "after")):
        norm = _torch_name(f"params/features_1_0/norm{i}/bias", layout.names)
        assert norm == f"encoder.layers.0.blocks.0.layernorm_{place}.bias"
    merging = _torch_name("params/features_2/reduction/kernel", layout.names)
    assert merging == "encoder.layers.0.downsample.reduction.weight"
    assert {table, merging} <= set(today)


@pytest.mark.covers("ZO-11")
def test_names_of_resnet_by_hand():
    names = {
        "params/conv1/kernel": "embedder.embedder.convolution.weight",
        "batch_stats/bn1/var": "embedder.embedder.normalization.running_var",
        "params/layer1_0/conv2/kernel": "encoder.stages.0.layers.0.layer.1.convolution.weight",
        "params/layer3_5/bn3/bias": "encoder.stages.2.layers.5.layer.2.normalization.bias",
        "params/layer2_0/downsample_0/kernel": "encoder.stages.1.layers.0.shortcut.convolution.weight",
        "batch_stats/layer2_0/downsample_1/mean": "encoder.stages.1.layers.0.shortcut.normalization.running_mean",
        "params/head/bias": "classifier.1.bias",
    }
    layout = next(x for x in family_of("resnet50").TORCH_LAYOUTS if re.search(x.pattern, "embedder.embedder."))
    assert {path: _torch_name(path, layout.names) for path in names} == names


@pytest.mark.slow
@pytest.mark.covers("AT-21", "AT-23")
@pytest.mark.parametrize("file", ["hf_vit_cls", "hf_vit", "hf_deit"])
def test_outputs_from_transformers_names_equal_transformers(file):
    (name, fields), (golden, meta, weights) = CASES[file], read(file)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    got = jax.jit(create_model(name, **fields).apply)(load_torch(name, weights, **fields), x)
    if file != "hf_vit":
        check_output(golden, meta, "logits", got)
        return
    # pooled: tanh(W token + b)
    pooled = np.tanh(np.asarray(got) @ weights["pooler.dense.weight"].T + weights["pooler.dense.bias"])
    check_output(golden, meta, "pooler_output", pooled)


@pytest.mark.slow
@pytest.mark.covers("AT-24")
def test_swin_from_transformers_names_equals_transformers():
    """A head of ones gives the sum of the pooled channels; its biases are 0, 1 and 2."""
    (name, fields), (golden, meta, weights) = CASES["hf_swin"], read("hf_swin")
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    logits = jax.jit(create_model(name, **fields).apply)(load_torch(name, weights, **fields), x)
    pooled = golden["pooler_output"].reshape(2, 32).sum(1)
    np.testing.assert_allclose(logits, pooled[:, None] + np.arange(3), atol=1e-3)


@pytest.mark.slow
def test_a_vit_without_a_head_starts_its_own():
    """ViTModel's file, as published for fine-tuning: the head is the initial one, zeros."""
    (name, fields), (_, _, weights) = CASES["hf_vit"], read("hf_vit")
    fields = fields | {"depth": 1, "num_classes": 7}
    weights = {key: value for key, value in weights.items() if not key.startswith("layers.1.")}
    with pytest.raises(ValueError, match=r"2 missing: classifier.weight|2 missing: classifier.bias"):
        load_torch(name, weights, **fields)
    head = load_torch(name, weights, replace_head=True, **fields)["params"]["head"]
    assert (head["kernel"].shape, float(abs(head["kernel"]).max())) == ((32, 7), 0.0)


RESNET = {"stages": (1, 1), "block": BasicBlock, "width": 8, "num_classes": 3}


@pytest.fixture(scope="module")
def resnet():
    """The first two stages of the golden's ResNet, whose widths double, with a head."""
    golden, meta, weights = read_golden("hf_resnet", lambda key: not re.search(r"stages\.[23]", key))
    weights |= {"classifier.1.weight": np.eye(3, 16, dtype=np.float32), "classifier.1.bias": np.zeros(3, np.float32)}
    return golden, meta, weights


@pytest.mark.slow
@pytest.mark.covers("ZO-11")
def test_resnet_from_transformers_names(resnet):
    _, _, weights = resnet
    variables = load_torch("resnet18", weights, **RESNET)
    published = {key if key.startswith("classifier") else f"resnet.{key}": value for key, value in weights.items()}
    jax.tree.map(np.testing.assert_array_equal, load_torch("resnet18", published, **RESNET), variables)
    block, second = variables["params"]["layer2_0"], "encoder.stages.1.layers.0"
    for leaf, key in (("downsample_0", "shortcut.convolution"), ("conv2", "layer.1.convolution")):
        kernel = weights[f"{second}.{key}.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(block[leaf]["kernel"], kernel)
    mean = variables["batch_stats"]["layer1_0"]["bn2"]["mean"]
    np.testing.assert_array_equal(mean, weights["encoder.stages.0.layers.0.layer.1.normalization.running_mean"])


@pytest.mark.slow
@pytest.mark.covers("ZO-11")
def test_stages_of_a_resnet_equal_transformers(resnet):
    golden, meta, weights = resnet
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    model, variables = create_model("resnet18", **RESNET), load_torch("resnet18", weights, **RESNET)
    maps = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, x)
    for i in (1, 2):
        check_output(golden, meta, f"hidden_states.{i}", maps[f"layer{i}"].transpose(0, 3, 1, 2))


@pytest.mark.slow
@pytest.mark.covers("ZO-11")
def test_the_stem_of_a_resnet_may_have_a_width_of_its_own():
    """Stem 4, first stage 8: its first block projects, 4 * 8 weights, as in transformers' embedding_size=4."""
    model = create_model("resnet18", stem_width=4, **RESNET)
    params = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), "float32"))["params"]
    chex.assert_shape(params["conv1"]["kernel"], (7, 7, 3, 4))
    chex.assert_shape(params["layer1_0"]["downsample_0"]["kernel"], (1, 1, 4, 8))
    chex.assert_shape(params["layer1_0"]["conv1"]["kernel"], (3, 3, 4, 8))


VIDEO = {"patch_size": 16, "depth": 2, "width": 32, "num_heads": 4, "mlp_features": 64, "epsilon": 1e-12}
DECODER = {"decoder_depth": 1, "decoder_width": 24, "decoder_heads": 2, "decoder_features": 32}


def with_biases_apart(weights):
    """As the published files have them: q_bias and v_bias beside layers without a bias."""
    return {
        key.replace("query.bias", "q_bias").replace("value.bias", "v_bias"): value for key, value in weights.items()
    }


@pytest.mark.slow
@pytest.mark.covers("SS-19")
def test_video_mae_from_published_names():
    _, _, weights = read_golden("hf_videomae_pre")
    model = VideoMAE(3, **VIDEO, **DECODER)
    published = with_biases_apart(weights)
    assert "videomae.encoder.layer.0.attention.attention.q_bias" in published
    assert "decoder.decoder_layers.0.attention.attention.v_bias" in published
    variables = load_mae(model, weights, (4, 32, 32, 3))
    jax.tree.map(np.testing.assert_array_equal, load_mae(model, published, (4, 32, 32, 3)), variables)
    alone = VideoMAE(3, decoder_depth=0, **VIDEO)
    encoder = load_mae(alone, {f"module.{key}": value for key, value in published.items()}, (4, 32, 32, 3))
    want = {key: variables["params"][key] for key in ("patch_embed", "blocks_0", "blocks_1")}
    jax.tree.map(np.testing.assert_array_equal, encoder["params"], want)
    norm = {f"videomae.layernorm.{leaf}": np.ones(32, np.float32) for leaf in ("weight", "bias")}
    with pytest.raises(ValueError, match=r"2 left over: vit.layernorm.bias, vit.layernorm.weight"):
        load_mae(alone, published | norm, (4, 32, 32, 3))
    normed = load_mae(alone.clone(final_norm=True), published | norm, (4, 32, 32, 3))
    np.testing.assert_array_equal(normed["params"]["norm"]["bias"], np.ones(32))


@pytest.mark.slow
@pytest.mark.covers("SS-19")
def test_an_encoder_of_clips_alone_equals_transformers():
    """VideoMAEModel, and a classifier around it, whose head is left out."""
    golden, meta, weights = read_golden("hf_videomae")
    model = VideoMAE(3, decoder_depth=0, **VIDEO)
    clips = np.asarray(weight_rule().det_input(meta["inputs"]["pixel_values"])).transpose(0, 1, 3, 4, 2)
    variables = load_mae(model, with_biases_apart(weights), clips.shape[1:])
    tokens = jax.jit(lambda v, x: model.apply(v, x, method="encode"))(variables, clips)
    check_output(golden, meta, "last_hidden_state", tokens)
    around = {f"videomae.{key}": value for key, value in weights.items()} | {"classifier.bias": np.zeros(4)}
    jax.tree.map(np.testing.assert_array_equal, load_mae(model, around, clips.shape[1:]), variables)


@pytest.mark.covers("SS-19")
def test_an_encoder_alone_fills_nothing_in():
    model = MAE(1, patch_size=2, depth=1, width=4, num_heads=1, mlp_features=4, decoder_depth=0)
    x = jax.ShapeDtypeStruct((1, 4, 4, 1), "float32")
    params = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, method="encode"), x)["params"]
    assert sorted(params) == ["blocks_0", "cls_token", "norm", "patch_embed"]
    with pytest.raises(ValueError, match="decoder_depth=0: an encoder alone fills nothing in; allowed: `encode`"):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, np.zeros((1, 4))), x)


@pytest.mark.covers("SS-19")
@pytest.mark.parametrize(
    ("older", "today"),
    [
        ("decoder.norm.weight", "decoder.decoder_norm.weight"),
        ("decoder.head.bias", "decoder.decoder_pred.bias"),
        ("encoder_to_decoder.weight", "decoder.decoder_embed.weight"),
        ("videomae.encoder.layer.3.output.dense.weight", "vit.layers.3.mlp.fc2.weight"),
        ("videomae.encoder.layer.3.intermediate.dense.weight", "vit.layers.3.mlp.fc1.weight"),
        ("encoder.layer.0.attention.output.dense.bias", "vit.layers.0.attention.o_proj.bias"),
        ("encoder.layer.0.attention.attention.key.weight", "vit.layers.0.attention.k_proj.weight"),
        ("videomae.encoder.layer.0.attention.attention.v_bias", "vit.layers.0.attention.v_proj.bias"),
        ("embeddings.patch_embeddings.projection.weight", "vit.embeddings.patch_embed.weight"),
    ],
)
def test_each_older_name_of_a_masked_autoencoder_has_its_name_of_today(older, today):
    assert Layout("", older=MAE_OLD_NAMES).entries({older: 0}) == {today: 0}

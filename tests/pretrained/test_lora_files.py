"""LoRA files of kohya, diffusers and ComfyUI: networks of diffusers 0.42.1 with the same file, products by hand."""

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from dlcore.pretrained import from_pretrained
from dlcore.pretrained.lora_files import merge_lora, read_lora
from dlcore.pretrained.pipeline import Pipeline
from dlcore.pretrained.prompt_encoder import PromptEncoder
from tests.models.parity import GOLDENS, read_golden, weight_rule
from tests.pretrained.pipelines import write_clip, write_network, write_t5

GOLDEN = np.load(GOLDENS / "df_lora.npz")
NETWORKS = {
    "sd": ("df_unet2d_cond", "UNet2DConditionModel"),
    "sdxl": ("df_unet_xl", "UNet2DConditionModel"),
    "flux": ("df_flux", "FluxTransformer2DModel"),
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The network of a golden, by its name."""
    networks = {}

    def open_network(name):
        if name not in networks:
            file, architecture = NETWORKS[name]
            _, meta, weights = read_golden(file)
            folder = tmp_path_factory.mktemp(name)
            write_network(folder, architecture, meta["kwargs"], weights)
            networks[name] = from_pretrained(folder)
        return networks[name]

    return open_network


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    write_clip(folder / "clip", 8, 10)
    write_t5(folder / "t5", 12)
    return {"text_encoder": from_pretrained(folder / "clip"), "text_encoder_2": from_pretrained(folder / "t5")}


def written(folder, entries, metadata=None):
    save_file({k: np.ascontiguousarray(v) for k, v in entries.items()}, folder / "lora.safetensors", metadata)
    return folder / "lora.safetensors"


def kernel_of(net, *path):
    return np.asarray(flatten_dict(net.variables["params"])[path], np.float32)


@pytest.mark.covers("PT-04")
@pytest.mark.slow(unless=["flux"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_with_kohya_s_files_compute_what_diffusers_does(name, opened, tmp_path):
    net = opened(name)
    kind = {"sd": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline", "flux": "FluxPipeline"}[name]
    entries = {key.removeprefix(f"{name}/"): GOLDEN[key] for key in GOLDEN.files if key.startswith(f"{name}/lora")}
    pipeline = Pipeline(kind, net, None, (), {}, {})
    merged = merge_lora(pipeline, written(tmp_path, entries)).network
    _, meta, _ = read_golden(NETWORKS[name][0])
    inputs = {key: weight_rule().det_input(spec) for key, spec in meta["inputs"].items()}
    if name == "flux":
        inputs.pop("guidance", None)
    else:
        inputs["sample"] = inputs["sample"].transpose(0, 2, 3, 1)
    renamed = {"x": "hidden_states", "ctx": "encoder_hidden_states"}
    renamed["text"] = "pooled_projections" if name == "flux" else "text_embeds"
    inputs = {renamed.get(key, key): value for key, value in inputs.items()}
    found, before = (np.asarray(n(**inputs)["sample"]) for n in (merged, net))
    expected = GOLDEN[f"{name}/output"]
    expected = expected if name == "flux" else expected.transpose(0, 2, 3, 1)
    assert np.abs(before - expected).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_layer_that_gives_queries_keys_values_and_the_mlp_is_cut(opened, tmp_path):
    """W' = W + 3 / 2 up down; the down matrix is common, the up matrix has 32 + 32 + 32 + 128 outputs."""
    rng, net = np.random.default_rng(0), opened("flux")
    down, up = rng.normal(size=(2, 32)), rng.normal(size=(224, 2))
    name = "lora_unet_single_blocks_1_linear1"
    entries = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": np.float64(3)}
    entries = {key: value.astype(np.float32) for key, value in entries.items()}
    method, new = read_lora(written(tmp_path, entries), {"transformer": net})["transformer"]
    merged = flatten_dict(method.merge(net.variables["params"], new))
    product = 1.5 * (up @ down).T
    places = (("attn", "to_q"), ("attn", "to_k"), ("attn", "to_v"), ("proj_mlp",))
    for place, (first, last) in zip(places, ((0, 32), (32, 64), (64, 96), (96, 224)), strict=True):
        path = "single_transformer_blocks_1", *place, "kernel"
        np.testing.assert_allclose(merged[path] - kernel_of(net, *path), product[:, first:last], atol=1e-5)


TO_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
FORMS = {
    "diffusers": (f"unet.{TO_Q}.to_q.lora_A.weight", f"unet.{TO_Q}.to_q.lora_B.weight"),
    "linear layer": (f"unet.{TO_Q}.to_q.lora.down.weight", f"unet.{TO_Q}.to_q.lora.up.weight"),
    "processor": (f"unet.{TO_Q}.processor.to_q_lora.down.weight", f"unet.{TO_Q}.processor.to_q_lora.up.weight"),
    "attn_procs": (f"{TO_Q}.processor.to_q_lora.down.weight", f"{TO_Q}.processor.to_q_lora.up.weight"),
    "comfy": (f"diffusion_model.{TO_Q}.to_q.lora_A.weight", f"diffusion_model.{TO_Q}.to_q.lora_B.weight"),
}


@pytest.mark.parametrize("form", FORMS)
def test_files_of_other_programs_have_the_same_product(form, opened, tmp_path):
    """W + up down without an alpha; diffusers' metadata gives alpha / r = 6 / 2, and a strength of .5 half of it."""
    net, path = opened("sd"), ("down_blocks_0_attentions_0", "transformer_blocks_0", "attn1", "to_q", "kernel")
    rng = np.random.default_rng(1)
    down, up = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 8), (8, 2)))
    entries = dict(zip(FORMS[form], (down, up), strict=True))
    for factor, metadata in ((1, None), (3, {"lora_adapter_metadata": '{"unet.r": 2, "unet.lora_alpha": 6}'})):
        file = written(tmp_path, entries, metadata)
        pipeline = merge_lora(Pipeline("StableDiffusionPipeline", net, None, (), {}, {}), file, strength=0.5)
        expected = kernel_of(net, *path) + 0.5 * factor * (up @ down).T
        np.testing.assert_allclose(kernel_of(pipeline.network, *path), expected, atol=1e-5)


def test_text_encoders_are_changed_too(opened, encoders, tmp_path):
    """CLIP's values of the layer of all three, the projection, and Flux's T5, which is its second encoder."""
    rng = np.random.default_rng(2)
    ones = {name: rng.normal(size=(1, n)).astype(np.float32) for name, n in (("a", 8), ("b", 10), ("c", 12), ("d", 8))}
    v = "text_model_encoder_layers_1_self_attn_v_proj"
    entries = {
        f"lora_te1_{v}.lora_down.weight": ones["a"], f"lora_te1_{v}.lora_up.weight": ones["d"].T,
        "text_encoder.text_projection.lora_A.weight": ones["a"],
        "text_encoder.text_projection.lora_B.weight": ones["b"].T,
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight": ones["c"],
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_up.weight": ones["d"].T,
        "lora_te3_encoder_block_0_layer_1_DenseReluDense_wi_0.lora_down.weight": ones["c"],
        "lora_te3_encoder_block_0_layer_1_DenseReluDense_wi_0.lora_up.weight": np.ones((16, 1), np.float32),
    }  # fmt: skip
    texts = tuple(PromptEncoder(name, net, None, 0, 8) for name, net in encoders.items())
    pipeline = merge_lora(Pipeline("FluxPipeline", opened("flux"), None, texts, {}, {}), written(tmp_path, entries))
    clip, t5 = (encoder.network for encoder in pipeline.encoders)
    old_clip, old_t5 = encoders.values()
    path = "text_blocks_1", "attn", "qkv", "kernel"
    moved = kernel_of(clip, *path) - kernel_of(old_clip, *path)
    np.testing.assert_allclose(moved[:, 16:], (ones["d"].T @ ones["a"]).T, atol=1e-5)
    np.testing.assert_array_equal(moved[:, :16], 0)
    for net, old, path, product in (
        (clip, old_clip, ("text_head", "kernel"), ones["b"].T @ ones["a"]),
        (t5, old_t5, ("encoder_0", "attn", "query", "kernel"), ones["d"].T @ ones["c"]),
        (t5, old_t5, ("encoder_0", "mlp", "gate", "kernel"), np.ones((16, 1)) @ ones["c"]),
    ):
        np.testing.assert_allclose(kernel_of(net, *path) - kernel_of(old, *path), product.T, atol=1e-5)


def test_norms_of_dora_scale_each_output(opened, tmp_path):
    """W' = m (W + up down) / |W + up down|, the norm of each output's weights."""
    net, path = opened("sd"), ("down_blocks_0_attentions_0", "transformer_blocks_0", "attn1", "to_q", "kernel")
    rng, name = np.random.default_rng(3), f"lora_unet_{TO_Q.replace('.', '_')}_to_q"
    down, up, m = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 8), (8, 2), (8, 1)))
    entries = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.dora_scale": m}
    method, new = read_lora(written(tmp_path, entries), {"unet": net})["unet"]
    adapted = kernel_of(net, *path) + (up @ down).T
    found = flatten_dict(method.merge(net.variables["params"], new))[path]
    np.testing.assert_allclose(found, adapted * m[:, 0] / np.linalg.norm(adapted, axis=0), atol=1e-5)
    entries[f"{name}.dora_scale"] = np.ones((1, 4), np.float32)
    with pytest.raises(ValueError, match=r"norms \(1, 4\); allowed: \(8, 1\), one for each output"):
        read_lora(written(tmp_path, entries), {"unet": net})


def test_norms_of_a_convolution_are_read_as_peft_writes_them(opened, tmp_path):
    """m is [1, out, 1, 1] in peft, and [out, 1, 1, 1] in dora_scale, whose [1, in, 1, 1] are norms of inputs."""
    net, path, rng = opened("sd"), ("conv_out", "kernel"), np.random.default_rng(4)
    kernel = kernel_of(net, *path)
    down, up = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 8, 3, 3), (4, 2, 1, 1)))
    entries = {"unet.conv_out.lora_A.weight": down, "unet.conv_out.lora_B.weight": up}
    m = rng.normal(size=(1, 4, 1, 1)).astype(np.float32)
    adapted = kernel + np.einsum("rihw,or->hwio", down, up[..., 0, 0])
    expected = adapted * m[0, :, 0, 0] / np.sqrt(np.square(adapted).sum((0, 1, 2)))
    for more in ({"lora_magnitude_vector": m}, {"dora_scale": m.reshape(4, 1, 1, 1)}):
        file = written(tmp_path, entries | {f"unet.conv_out.{kind}": value for kind, value in more.items()})
        method, new = read_lora(file, {"unet": net})["unet"]
        found = flatten_dict(method.merge(net.variables["params"], new))[path]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"norms \(1, 4, 1, 1\); allowed: \(4, 1\), one for each output"):
        read_lora(written(tmp_path, entries | {"unet.conv_out.dora_scale": m}), {"unet": net})


def test_the_authors_shift_and_scale_change_places_with_their_norms(opened, tmp_path):
    """Outputs [shift, scale] of the file are [scale, shift] here: B and m alike."""
    net, rng = opened("flux"), np.random.default_rng(5)
    down, up, m = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 32), (64, 2), (64, 1)))
    name = "lora_unet_final_layer_adaLN_modulation_1"
    entries = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.dora_scale": m}
    ((_, matrices),) = read_lora(written(tmp_path, entries), {"transformer": net})["transformer"][1].items()
    np.testing.assert_array_equal(matrices["b"], np.concatenate([up[32:], up[:32]]).T)
    np.testing.assert_array_equal(matrices["m"], np.concatenate([m[32:, 0], m[:32, 0]]))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"lora_unet_conv_in.hada_w1_a": (2, 2)}, "lora_unet_conv_in.hada_w1_a: no entry of a LoRA; allowed: LAYER."),
        ({"lora_unet_conv_of.lora_down.weight": (2, 4)}, "conv_of.lora_down.weight: the unet has no layer conv_of"),
        ({"lora_te2_x.alpha": ()}, "lora_te2_x.alpha: the pipeline has no text_encoder_2; allowed: unet"),
        ({"lora_unet_conv_out.lora_down.weight": (2, 8, 3, 3)}, "conv_out.lora_down.weight: lacks its other matrix"),
        (
            {"lora_unet_conv_out.lora_down.weight": (2, 8, 1, 1), "lora_unet_conv_out.lora_up.weight": (4, 2, 1, 1)},
            r"down \(2, 8, 1, 1\), up \(4, 2, 1, 1\); allowed: \(2, 72\), \(4, 2\)",
        ),
        (
            {"unet.conv_out.lora_A.weight": (1, 8, 3, 3), "unet.conv_out.lora_B.weight": (4, 1, 1, 1),
             "lora_unet_out_2.lora_down.weight": (1, 8, 3, 3), "lora_unet_out_2.lora_up.weight": (4, 1, 1, 1)},
            "a second product of conv_out/kernel; allowed: one of each layer",
        ),
    ],
)  # fmt: skip
def test_entries_that_are_not_understood_are_refused_by_name(entries, message, opened, tmp_path):
    file = written(tmp_path, {name: np.zeros(shape, np.float32) for name, shape in entries.items()})
    with pytest.raises(ValueError, match=message):
        read_lora(file, {"unet": opened("sd")})


def test_a_configuration_that_changes_the_base_is_refused(opened, tmp_path):
    entries = {
        name: np.zeros(shape, np.float32) for name, shape in zip(FORMS["diffusers"], ((2, 8), (8, 2)), strict=True)
    }
    for key, value in (("init_lora_weights", '"pissa"'), ("use_dora", "true"), ("kasa_config", "{}")):
        metadata = {"lora_adapter_metadata": f'{{"unet.r": 2, "unet.lora_alpha": 6, "unet.{key}": {value}}}'}
        with pytest.raises(ValueError, match=f"{key}="):
            read_lora(written(tmp_path, entries, metadata), {"unet": opened("sd")})
    with pytest.raises(FileNotFoundError, match="no file; allowed: a "):
        read_lora(tmp_path / "none.safetensors", {"unet": opened("sd")})

"""Networks of the diffusers library with its weights: outputs equal to its own, and what state dicts may look like."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative import torch_networks
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.autoencoder_tiny import AutoencoderTiny
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.control_net import ControlNet
from dlcore.generative.dit import DiT
from dlcore.generative.torch_diffusers import from_torch_names
from dlcore.generative.unet_blocks import SpatialTransformer
from dlcore.generative.vae import kl_to_standard_normal
from dlcore.pretrained.family import find_family
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule

SMALL = {"channels": (8, 16), "groups": 4}


def run(file, model, order):
    """(golden, meta, the model's output); `order` names the golden's inputs as the model takes them."""
    golden, meta, weights = read_golden(file)
    inputs = {name: nhwc(np.asarray(weight_rule().det_input(about))) for name, about in meta["inputs"].items()}
    inputs = [inputs.get(name) for name in order]
    variables = from_torch_names(model, weights, *inputs)
    return golden, meta, jax.jit(model.apply)(variables, *inputs)


def check(file, model, order):
    golden, meta, output = run(file, model, order)
    check_output(golden, meta, "sample", nchw(output))


@pytest.mark.weekly
@pytest.mark.covers("GE-24")
def test_a_unet_equals_the_librarys():
    model = ConditionalUNet(**SMALL, num_heads=2, cosine_first=False, ends_at_period=True)
    check("df_unet2d", model, ("sample", "timestep"))


@pytest.mark.slow
@pytest.mark.covers("GE-24")
def test_a_unet_of_classes_equals_the_librarys():
    model = ConditionalUNet(**SMALL, attention_levels=(), num_heads=None, head_features=8, num_classes=5)
    check("df_unet2d_class", model, ("sample", "timestep", "class_labels"))


@pytest.mark.weekly
@pytest.mark.covers("GE-26")
def test_a_unet_with_cross_attention_equals_the_librarys():
    model = ConditionalUNet(**SMALL, attention_levels=(0,), num_heads=2)
    check("df_unet2d_cond", model, ("sample", "timestep", None, "ctx"))


@pytest.mark.covers("GE-26")
def test_a_transformer_of_a_map_equals_the_librarys():
    check("df_t2d_block", SpatialTransformer(num_heads=2, groups=4), ("x", "ctx"))


@pytest.mark.slow
@pytest.mark.covers("GE-27")
def test_a_control_net_equals_the_librarys():
    model = ControlNet(**SMALL, attention_levels=(0,), num_heads=2, hint_channels=(4, 8))
    golden, meta, (maps, middle) = run("df_controlnet", model, ("sample", "timestep", "cond", None, "ctx"))
    assert len(maps) == 4
    for k, got in enumerate(maps):
        check_output(golden, meta, f"down.{k}", nchw(got))
    check_output(golden, meta, "mid", nchw(middle))


@pytest.mark.weekly
@pytest.mark.covers("GE-25")
def test_an_autoencoder_equals_the_librarys():
    golden, meta, (decoded, mean, logvar) = run("df_autoencoder_kl", AutoencoderKL((8, 16), groups=4), ("x",))
    for name, got in (("dec", decoded), ("mean", mean), ("logvar", logvar)):
        check_output(golden, meta, name, nchw(got))
    check_output(golden, meta, "kl", kl_to_standard_normal(mean, logvar).sum((1, 2, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["df_unet_xl", "df_consistency_unet"])
def test_a_unet_of_a_configuration_equals_the_librarys(file):
    """SDXL's has deeper transformers, a pooled text and sizes; a consistency model's resamples by residual blocks."""
    golden, meta, weights = read_golden(file)
    config = {"_class_name": meta["name"], **meta["kwargs"]}
    family = find_family(config)
    model = ConditionalUNet(**family.model(config)[1])
    names = {alias: key.split("|")[0] for key in family.inputs for alias in key.split("|")}
    inputs = {names[key]: nhwc(np.asarray(weight_rule().det_input(about))) for key, about in meta["inputs"].items()}
    variables = family.load(model, config, weights)
    output = jax.jit(lambda variables, inputs: family.outputs(model, variables, inputs))(variables, inputs)
    check_output(golden, meta, "sample", nchw(output["sample"]))


def test_configurations_of_other_unets_are_refused():
    def refuse(file, match, **changes):
        _, meta, _ = read_golden(file)
        config = {"_class_name": meta["name"], **meta["kwargs"], **changes}
        with pytest.raises(ValueError, match=match):
            find_family(config).model(config)

    refuse("df_unet_xl", r"attention_head_dim=\[1, 3\]: not in dlcore's U-Net; allowed", attention_head_dim=[1, 3])
    refuse("df_unet_xl", r"addition_embed_type='image': not in dlcore's U-Net", addition_embed_type="image")
    refuse("df_consistency_unet", r"down_block_types=.*: not in dlcore's U-Net; allowed", upsample_type="conv")


def test_sizes_and_depths_that_cannot_be_are_named():
    x, t = jnp.zeros((1, 8, 8, 4)), jnp.zeros(1)
    with pytest.raises(ValueError, match="added: missing; allowed: a pooled text and sizes where size_features"):
        jax.eval_shape(ConditionalUNet(**SMALL, size_features=4).init, jax.random.key(0), x, t)


SIXTEEN = {"channels": (8, 16), "groups": 4, "latent_channels": 16, "use_quant_conv": False}


@pytest.mark.slow
def test_an_autoencoder_of_16_channels_equals_the_librarys():
    golden, meta, outputs = run("df_autoencoder_kl_16", AutoencoderKL(**SIXTEEN), ("x",))
    for name, output in zip(("dec", "mean", "logvar"), outputs, strict=True):
        check_output(golden, meta, name, nchw(output))


def test_the_autoencoder_of_a_configuration_without_quant_convolutions():
    """(0.5609 - 0.0609) 1.5305 = 0.76525."""
    _, meta, weights = read_golden("df_autoencoder_kl_16")
    config = {"_class_name": "AutoencoderKL", **meta["kwargs"]}
    family = find_family(config)
    name, fields = family.model(config)
    assert name == "stable_diffusion_3_vae"
    model = AutoencoderKL(**fields)
    assert len(jax.tree.leaves(family.load(model, config, weights))) == len(weights)
    latents = model.scale_latents(jnp.float32(0.5609))
    np.testing.assert_allclose(latents, 0.76525, rtol=1e-5)
    np.testing.assert_allclose(model.unscale_latents(latents), 0.5609, rtol=1e-5)
    with pytest.raises(ValueError, match=r"use_post_quant_conv=True: not in dlcore's AutoencoderKL; allowed: False"):
        family.model({**config, "use_post_quant_conv": True})


@pytest.mark.covers("GE-25")
def test_a_tiny_autoencoder_equals_the_librarys():
    golden, meta, (decoded, latents) = run("df_vae_tiny", AutoencoderTiny((8, 8), (1, 1)), ("x",))
    check_output(golden, meta, "latents", nchw(latents))
    check_output(golden, meta, "dec", nchw(decoded))


DIT = {"width": 32, "depth": 2, "num_heads": 4, "num_classes": 10, "out_channels": 8, "ends_at_period": True}


@pytest.mark.covers("AT-31")
def test_a_dit_equals_the_librarys():
    check("df_dit", DiT(**DIT, shared_embedding=False), ("hidden_states", "timestep", "class_labels"))


@pytest.mark.slow
@pytest.mark.covers("AT-31")
def test_one_embedding_of_a_dit_takes_equal_entries_alone():
    _, _, weights = read_golden("df_dit")
    inputs = jnp.zeros((1, 8, 8, 4)), jnp.zeros(1), jnp.zeros(1, jnp.int32)
    with pytest.raises(ValueError, match=r"transformer_blocks\.1\.norm1\.emb\S+ is not .*shared_embedding=False"):
        from_torch_names(DiT(**DIT), weights, *inputs)
    same = {name: weights[name.replace("blocks.1.norm1.emb", "blocks.0.norm1.emb")] for name in weights}
    shared, own = (
        jax.jit(model.apply)(from_torch_names(model, same, *inputs), *inputs)
        for model in (DiT(**DIT), DiT(**DIT, shared_embedding=False))
    )
    np.testing.assert_allclose(shared, own, atol=1e-5)


TEXT, WIDE_TEXT = (1, 77, 768), (1, 77, 4096)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("stable_diffusion_v1_unet", [(1, 64, 64, 4), (1,), None, TEXT]),
        ("stable_diffusion_xl_unet", [(1, 128, 128, 4), (1,), None, (1, 77, 2048), None, ((1, 1280), (1, 6))]),
        ("consistency_imagenet64_unet", [(1, 64, 64, 3), (1,), (1,)]),
        ("stable_diffusion_v1_vae", [(1, 64, 64, 3)]),
        ("stable_diffusion_3_medium", [(1, 64, 64, 16), (1,), WIDE_TEXT, (1, 2048)]),
        ("pixart_alpha_512", [(1, 64, 64, 4), (1,), (1, 120, 4096)]),
        ("flux_1_schnell", [(1, 1024, 64), (1,), WIDE_TEXT, (1, 768), (1024, 3), None, None]),
        ("flux_1_dev", [(1, 1024, 64), (1,), WIDE_TEXT, (1, 768), (1024, 3), None, (1,)]),
    ],
)
def test_published_networks_are_started_with_inputs_of_their_sizes(name, inputs):
    found = jax.eval_shape(lambda: torch_networks.example_inputs(torch_networks.MODELS[name]()))
    assert jax.tree.map(lambda leaf: leaf.shape, list(found)) == inputs
    if name == "consistency_imagenet64_unet":
        assert found[2].dtype == jnp.int32


def test_weights_of_a_published_network_are_read_with_its_inputs():
    network = AutoencoderKL((4,), num_res_blocks=1, groups=2)
    with pytest.raises(ValueError, match=r"AutoencoderKL[\s\S]*missing"):
        torch_networks.from_torch_names(network, {})


def test_the_error_names_a_missing_weight():
    _, _, weights = read_golden("df_t2d_block")
    weights.pop("proj_in.bias")
    with pytest.raises(ValueError, match=r"missing.*proj_in\.bias"):
        from_torch_names(
            SpatialTransformer(num_heads=2, groups=4), weights, jnp.zeros((1, 4, 4, 8)), jnp.zeros((1, 3, 6))
        )


def test_linear_projections_are_convolutions_of_one_pixel():
    _, _, weights = read_golden("df_t2d_block")
    flat = {k: v[:, :, 0, 0] if k in ("proj_in.weight", "proj_out.weight") else v for k, v in weights.items()}
    inputs = jnp.zeros((1, 4, 4, 8)), jnp.zeros((1, 3, 6))
    a, b = (from_torch_names(SpatialTransformer(num_heads=2, groups=4), w, *inputs) for w in (weights, flat))
    jax.tree.map(np.testing.assert_array_equal, a, b)


@functools.cache
def loaded_autoencoder(file):
    """(weights, variables) of an autoencoder."""
    model = AutoencoderTiny((8, 8), (1, 1)) if file == "df_vae_tiny" else AutoencoderKL((8, 16), groups=4)
    _, _, weights = read_golden(file)
    return weights, from_torch_names(model, weights, jax.ShapeDtypeStruct((1, 8, 8, 3), "float32"))


@pytest.mark.covers("GE-25")
@pytest.mark.parametrize("file", ["df_autoencoder_kl", "df_vae_tiny"], ids=["kl", "tiny"])
def test_every_bias_of_an_autoencoder_is_loaded(file):
    """As many leaves as entries, and each bias of the state dict, which no other equals, is a leaf named bias."""
    weights, variables = loaded_autoencoder(file)
    leaves = jax.tree.leaves_with_path(variables)
    assert len(leaves) == len(weights)
    loaded = sorted(np.asarray(leaf).tobytes() for path, leaf in leaves if path[-1].key == "bias")
    wanted = sorted(value.tobytes() for name, value in weights.items() if name.endswith("bias"))
    assert loaded == wanted


@pytest.mark.covers("GE-25")
def test_attention_of_an_autoencoder_under_the_names_before_diffusers_0_18():
    """query, key, value and proj_attn; those of the decoder are convolutions of 1 x 1, as files converted from latent
    diffusion have them."""
    today, variables = loaded_autoencoder("df_autoencoder_kl")
    older = {}
    for name, value in today.items():
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            if f".{new}.weight" in name and name.startswith("decoder"):
                value = value[..., None, None]
            name = name.replace(f".{new}.", f".{old}.")
        older[name] = value
    assert older["encoder.mid_block.attentions.0.proj_attn.weight"].ndim == 2
    assert older["decoder.mid_block.attentions.0.proj_attn.weight"].ndim == 4
    model = AutoencoderKL((8, 16), groups=4)
    jax.tree.map(np.testing.assert_array_equal, from_torch_names(model, older, jnp.zeros((1, 8, 8, 3))), variables)


LEVELS = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
SD1 = {"_class_name": "UNet2DConditionModel", "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2,
       "down_block_types": LEVELS, "attention_head_dim": 8, "norm_num_groups": 32, "out_channels": 4,
       "in_channels": 4, "cross_attention_dim": 768}  # fmt: skip
SDXL = SD1 | {"block_out_channels": [320, 640, 1280], "attention_head_dim": [5, 10, 20],
              "down_block_types": ["DownBlock2D", *LEVELS[:2]], "transformer_layers_per_block": [1, 2, 10],
              "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
              "projection_class_embeddings_input_dim": 2816}  # fmt: skip
DDPM = {"_class_name": "UNet2DModel", "block_out_channels": [128, 256], "layers_per_block": 2, "out_channels": 3,
        "in_channels": 3, "down_block_types": ["AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}  # fmt: skip
VAE = {"_class_name": "AutoencoderKL", "block_out_channels": [128, 256], "layers_per_block": 2, "latent_channels": 4,
       "in_channels": 3, "norm_num_groups": 32}  # fmt: skip
SD3 = {"_class_name": "SD3Transformer2DModel", "num_attention_heads": 24, "attention_head_dim": 64, "num_layers": 24,
       "caption_projection_dim": 1536, "patch_size": 2, "out_channels": 16, "in_channels": 16, "sample_size": 128,
       "pos_embed_max_size": 192, "joint_attention_dim": 4096, "pooled_projection_dim": 2048}  # fmt: skip
FLUX = {"_class_name": "FluxTransformer2DModel", "num_attention_heads": 24, "attention_head_dim": 128, "num_layers": 19,
        "num_single_layers": 38, "in_channels": 64, "joint_attention_dim": 4096,
        "pooled_projection_dim": 768}  # fmt: skip
PIXART = {"_class_name": "PixArtTransformer2DModel", "num_attention_heads": 16, "attention_head_dim": 72,
          "num_layers": 28, "sample_size": 64, "patch_size": 2, "out_channels": 8, "in_channels": 4,
          "caption_channels": 4096}  # fmt: skip


def fields_of(config, **changes):
    return find_family(config).model({**config, **changes})


def test_published_unets_with_words_give_these_fields():
    """What a configuration leaves out is diffusers' default; heads of one size are given by their features."""
    name, fields = fields_of(SD1)
    assert (name, fields) == ("stable_diffusion_v1_unet", {
        "channels": (320, 640, 1280, 1280), "num_res_blocks": 2, "attention_levels": (0, 1, 2), "num_heads": 8,
        "head_features": 40, "groups": 32, "cosine_first": True, "ends_at_period": False, "downsample_padding": 1,
        "resnet_time_scale_shift": "default", "epsilon": 1e-5, "transformer_depths": (1, 1, 1, 1),
        "size_features": None, "out_channels": 4,
    })  # fmt: skip
    defaults = {
        "act_fn": "silu", "attention_type": "default", "center_input_sample": False, "mid_block_scale_factor": 1,
        "resnet_out_scale_factor": 1.0, "resnet_skip_time_act": False, "reverse_transformer_layers_per_block": None,
        "time_embedding_act_fn": None, "timestep_post_act": None,
    }  # fmt: skip
    assert fields_of(SD1, **defaults) == (name, fields)
    name, fields = fields_of(SDXL, num_attention_heads=None)
    assert name == "stable_diffusion_xl_unet"
    assert (fields["num_heads"], fields["head_features"]) == (None, 64)
    assert (fields["attention_levels"], fields["transformer_depths"], fields["size_features"]) == (
        (1, 2), (1, 2, 10), 256,
    )  # fmt: skip
    changes = {"freq_shift": 1, "flip_sin_to_cos": False, "downsample_padding": 0, "norm_eps": 1e-6,
               "num_attention_heads": 4, "resnet_time_scale_shift": "scale_shift"}  # fmt: skip
    _, fields = fields_of(SD1, **changes, only_cross_attention=[False] * 4, time_embedding_type="positional")
    assert (fields["ends_at_period"], fields["cosine_first"], fields["downsample_padding"]) == (True, False, 0)
    assert (fields["epsilon"], fields["num_heads"], fields["resnet_time_scale_shift"]) == (1e-6, 4, "scale_shift")


def test_published_unets_without_words_give_these_fields():
    name, fields = fields_of(DDPM)
    assert (name, fields) == ("consistency_imagenet64_unet", {
        "channels": (128, 256), "num_res_blocks": 2, "attention_levels": (0,), "num_heads": None, "head_features": 8,
        "groups": 32, "num_classes": None, "cosine_first": True, "ends_at_period": False, "downsample_padding": 1,
        "resnet_time_scale_shift": "default", "add_attention": True, "epsilon": 1e-5, "resample": "conv",
        "norm_in_middle": True, "out_channels": 3,
    })  # fmt: skip
    _, fields = fields_of(
        DDPM, attention_head_dim=None, freq_shift=1, flip_sin_to_cos=False, downsample_padding=0, norm_eps=1e-6,
        norm_num_groups=4, num_class_embeds=5, add_attention=False,
    )  # fmt: skip
    assert (fields["num_heads"], fields["head_features"], fields["groups"], fields["num_classes"]) == (1, 8, 4, 5)
    assert (fields["ends_at_period"], fields["cosine_first"], fields["downsample_padding"]) == (True, False, 0)
    assert (fields["epsilon"], fields["add_attention"]) == (1e-6, False)
    resampled = {"down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
                 "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"], "attention_head_dim": 64,
                 "downsample_type": "resnet", "upsample_type": "resnet",
                 "resnet_time_scale_shift": "scale_shift"}  # fmt: skip
    _, fields = fields_of(DDPM, **resampled)
    assert (fields["resample"], fields["norm_in_middle"], fields["head_features"]) == ("resnet", False, 64)
    assert fields["attention_levels"] == (1,)
    # The last block of either side does not resample.
    kinds = {"down_block_types": ["DownBlock2D", "ResnetDownsampleBlock2D"]}
    assert fields_of(DDPM, **kinds, up_block_types=["UpBlock2D", "ResnetUpsampleBlock2D"])[1]["resample"] == "conv"
    one = {"block_out_channels": [8], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    assert fields_of(DDPM, **one)[1]["resample"] == "conv"
    for changes in (
        {"center_input_sample": True}, {"time_embedding_type": "fourier"}, {"mid_block_scale_factor": 2},
        {"attn_norm_num_groups": 4}, {"class_embed_type": "timestep"}, {"dropout": 0.1}, {"act_fn": "mish"},
        {"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]},
        {"down_block_types": ["ResnetDownsampleBlock2D", "DownBlock2D"]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{next(iter(changes))}=.*: not in dlcore's U-Net; allowed: "):
            fields_of(DDPM, **changes)


def test_published_autoencoders_and_transformers_give_these_fields():
    assert fields_of(VAE) == ("stable_diffusion_v1_vae", {
        "channels": (128, 256), "num_res_blocks": 2, "latent_channels": 4, "image_channels": 3, "groups": 32,
        "use_quant_conv": True, "shift_factor": 0.0, "scaling_factor": 0.18215,
        "latents_mean": (), "latents_std": (),
    })  # fmt: skip
    name, fields = fields_of(SD3)
    assert (name, fields) == ("stable_diffusion_3_medium", {
        "width": 1536, "depth": 24, "num_heads": 24, "patch_size": 2, "out_channels": 16, "max_grid": 192,
        "base_grid": 64, "norm_keys": False, "dual_attention_layers": (),
    })  # fmt: skip
    medium = fields_of(SD3, qk_norm="rms_norm", dual_attention_layers=[0, 1])[1]
    assert (medium["norm_keys"], medium["dual_attention_layers"]) == (True, (0, 1))
    statistics = fields_of(VAE, latents_mean=[1.0, -1.0], latents_std=[2.0, 4.0], scaling_factor=0.5)[1]
    model = AutoencoderKL(**statistics)  # those of Playground 2.5: (z - mean) 0.5 / std
    np.testing.assert_allclose(latents := model.scale_latents(jnp.array([3.0, -5.0])), [0.5, -0.5])
    np.testing.assert_allclose(model.unscale_latents(latents), [3.0, -5.0])
    name, fields = fields_of(FLUX)
    assert (name, fields) == ("flux_1_schnell", {
        "width": 3072, "depth": 19, "single_depth": 38, "num_heads": 24, "axes": (16, 56, 56), "has_guidance": False,
    })  # fmt: skip
    name, fields = fields_of(FLUX, guidance_embeds=True, axes_dims_rope=[8, 60, 60], out_channels=64)
    assert (name, fields["has_guidance"], fields["axes"]) == ("flux_1_dev", True, (8, 60, 60))
    name, fields = fields_of(PIXART)
    assert (name, fields) == ("pixart_alpha_512", {
        "width": 1152, "depth": 28, "num_heads": 16, "patch_size": 2, "out_channels": 8, "base_grid": 32,
        "position_scale": 1.0,
    })  # fmt: skip
    # Positions are those of 512 pixels, 64 latents, unless another scale is given.
    large = {"sample_size": 128, "use_additional_conditions": False}
    assert fields_of(PIXART, **large)[1]["position_scale"] == 2.0
    assert fields_of(PIXART, **large, interpolation_scale=3)[1]["position_scale"] == 3.0
    assert fields_of(PIXART, sample_size=32)[1]["position_scale"] == 1.0


def test_weights_are_loaded_with_inputs_of_the_configurations_sizes(monkeypatch):
    """The smallest image of a U-Net has two to the number of its levels. SDXL's pooled text has 2816 - 6 x 256."""

    def shape_of(x):
        return tuple(map(shape_of, x)) if isinstance(x, tuple) else getattr(x, "shape", x)

    names = "dlcore.pretrained.families.diffusion.from_torch_names"
    monkeypatch.setattr(names, lambda model, weights, *inputs: [shape_of(x) for x in inputs])

    def loaded(config, **fields):
        return find_family(config).load(SimpleNamespace(**fields), config, None)

    levels = {"channels": (320, 640, 1280, 1280)}
    image, context = (1, 16, 16, 4), (1, 1, 768)
    assert loaded(SD1, **levels, size_features=None) == [image, (1,), None, context, None, None]
    assert loaded(SDXL, **levels, size_features=256)[-1] == ((1, 1280), (1, 6))
    assert loaded(DDPM, channels=(8, 8), num_classes=None) == [(1, 4, 4, 3), (1,), None]
    assert loaded(DDPM, channels=(8, 8), num_classes=5) == [(1, 4, 4, 3), (1,), (1,)]
    assert loaded(VAE, channels=(8, 8, 8)) == [(1, 8, 8, 3)]
    assert loaded(SD3, patch_size=2) == [(1, 2, 2, 16), (1,), (1, 1, 4096), (1, 2048)]
    assert loaded(PIXART, patch_size=2) == [(1, 2, 2, 4), (1,), (1, 1, 4096)]
    for has_guidance in (False, True):
        shapes = loaded(FLUX, axes=(2, 4), has_guidance=has_guidance)
        guidance = (1,) if has_guidance else None
        assert shapes == [(1, 1, 64), (1,), (1, 1, 4096), (1, 768), (1, 2), None, guidance]


def test_inputs_by_the_librarys_names_reach_the_network():
    """One timestep is that of all examples."""

    class Echo:
        size_features, calls = None, []

        def apply(self, variables, *inputs, method=None):
            self.calls.append((variables, *(x if isinstance(x, str | tuple | None) else x.tolist() for x in inputs)))
            return ("mean", "logvar") if method == "encode" else method or "output"

    def outputs(config, **inputs):
        Echo.calls.clear()
        found = find_family(config).outputs(Echo(), "weights", inputs)
        return found, [call[1:] for call in Echo.calls]

    x, t = np.zeros((2, 1)), np.float32(7)
    image, times = x.tolist(), [7, 7]
    words = {"encoder_hidden_states": "words", "pooled_projections": "pooled"}
    for config, inputs, expected in (
        (SD1, {"sample": x, "encoder_hidden_states": "words"}, (image, times, None, "words", None, None)),
        (DDPM, {"sample": x}, (image, times, None)),
        (DDPM, {"sample": x, "class_labels": "labels"}, (image, times, "labels")),
        (SD3, {"hidden_states": x, **words}, (image, times, "words", "pooled")),
        (
            FLUX,
            {"hidden_states": x, **words, "img_ids": "places"},
            (image, times, "words", "pooled", "places", None, None),
        ),
        (
            FLUX,
            {"hidden_states": x, **words, "img_ids": "places", "txt_ids": "text places", "guidance": "strength"},
            (image, times, "words", "pooled", "places", "text places", "strength"),
        ),
        (PIXART, {"hidden_states": x, "encoder_hidden_states": "words"}, (image, times, "words")),
    ):
        assert outputs(config, timestep=t, **inputs) == ({"sample": "output"}, [expected])
    Echo.size_features = 4
    added = {"text_embeds": "pooled", "time_ids": "sizes"}
    _, calls = outputs(SDXL, sample=x, timestep=t, encoder_hidden_states="words", **added)
    assert calls == [(image, times, None, "words", None, ("pooled", "sizes"))]
    assert outputs(VAE, x=x) == ({"mean": "mean", "logvar": "logvar"}, [(image,)])
    assert outputs(VAE, z=x) == ({"dec": "decode"}, [(image,)])

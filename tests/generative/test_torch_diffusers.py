"""Networks of the diffusers library with its weights: outputs equal to its own, and what state dicts may look like."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.autoencoder_tiny import AutoencoderTiny
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.control_net import ControlNet
from dlcore.generative.dit import DiT
from dlcore.generative.torch_diffusers import from_torch_names
from dlcore.generative.unet_blocks import SpatialTransformer
from dlcore.generative.vae import kl_to_standard_normal
from dlcore.models.pretrained.family import find_family
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
    with pytest.raises(ValueError, match=r"transformer_depths=\(1,\): another length; allowed: none or 2"):
        jax.eval_shape(ConditionalUNet(**SMALL, transformer_depths=(1,)).init, jax.random.key(0), x, t)


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


@pytest.mark.covers("GE-25")
@pytest.mark.parametrize(
    ("file", "model"),
    [
        ("df_autoencoder_kl", AutoencoderKL((8, 16), groups=4)),
        ("df_vae_tiny", AutoencoderTiny((8, 8), (1, 1))),
    ],
    ids=["kl", "tiny"],
)
def test_every_bias_of_an_autoencoder_is_loaded(file, model):
    """As many leaves as entries, and each bias of the state dict, which no other equals, is a leaf named bias."""
    _, meta, weights = read_golden(file)
    _, channels, *sides = meta["inputs"]["x"]["shape"]
    leaves = jax.tree.leaves_with_path(
        from_torch_names(model, weights, jax.ShapeDtypeStruct((1, *sides, channels), "float32"))
    )
    assert len(leaves) == len(weights)
    loaded = sorted(np.asarray(leaf).tobytes() for path, leaf in leaves if path[-1].key == "bias")
    wanted = sorted(value.tobytes() for name, value in weights.items() if name.endswith("bias"))
    assert loaded == wanted


@pytest.mark.covers("GE-25")
@pytest.mark.parametrize("convolutions", [False, True])
def test_attention_of_an_autoencoder_under_the_names_before_diffusers_0_18(convolutions):
    """query, key, value and proj_attn, which are convolutions of 1 x 1 in files converted from latent diffusion."""
    model, (_, _, today) = AutoencoderKL((8, 16), groups=4), read_golden("df_autoencoder_kl")
    older = {}
    for name, value in today.items():
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            if f".{new}.weight" in name and convolutions:
                value = value[..., None, None]
            name = name.replace(f".{new}.", f".{old}.")
        older[name] = value
    assert "decoder.mid_block.attentions.0.proj_attn.weight" in older
    x = jnp.zeros((1, 8, 8, 3))
    jax.tree.map(np.testing.assert_array_equal, from_torch_names(model, older, x), from_torch_names(model, today, x))

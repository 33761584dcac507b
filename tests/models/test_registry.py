import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree

from dlcore.diagnostics.trace import first_reads
from dlcore.models import (
    byobnet,
    create_model,
    efficientnet,
    feature_info,
    input_shape,
    list_models,
    mnasnet,
    mobilenet_v2,
    mobilenet_v3,
    mobilenet_v4,
    torch_names,
)
from dlcore.models.backbone import PERTURBATIONS, Backbone
from dlcore.models.registry import FAMILIES, MODELS, TOKEN_FAMILIES, TOKEN_MODELS, family_of
from dlcore.setting import module_settings
from tests.models.parity import first_variants
from tests.models.tokens import SMALL
from tests.models.training import draw

SHALLOW = {
    "aimv2_large_patch14_224": {"depth": 1},
    "eva02_tiny_patch14_224": {"depth": 1},
    "vit_small_patch16_rope_224": {"depth": 1},
    "cait_xxs24_224": {"depth": 1},
    "gernet_s": {"stages": byobnet.OF_26[:1]},
    "darknet53": {"stages": (1, 1), "widths": (64, 128)},
    "hrnet_w18_small": {"modules": (1,)},
    "res2net50_26w_4s": {"stages": (1, 1)},
    "resnest14d": {"stages": (1, 1)},
    "hiera_tiny_224": {"stages": (1, 1, 1, 1)},
    "ijepa_vith14_1k": {"depth": 1},
    "beit_base_patch16_224": {"depth": 1},
    "convnext_tiny": {"stages": (1, 1, 1, 1)},
    "deit_tiny_patch16_224": {"depth": 1},
    "dinov3_vits16": {"depth": 1},
    "dinov3_convnext_tiny": {"stages": (1, 1, 1, 1)},
    "densenet121": {"stages": (2, 1)},
    "efficientnet_b0": {"settings": efficientnet.B0[:2]},
    "fastvit_t8": {"stages": (1, 1), "widths": (48, 96)},
    "googlenet": {"modules": ("4a",)},
    "inception_v3": {"modules": ("6e",)},
    "legacy_xception": {"entry_widths": (128,), "middle_blocks": 1},
    "maxvit_t": {"stages": (1, 1), "widths": (64, 64)},
    "mixer_s16_224": {"depth": 1},
    "mnasnet0_5": {"settings": mnasnet.SETTINGS[:1]},
    "mobilenet_v2": {"settings": mobilenet_v2.SETTINGS[:2]},
    "mobilenet_v3_large": {"settings": mobilenet_v3.LARGE[2:4]},
    "mobilenetv4_conv_small": {"settings": mobilenet_v4.SMALL[:3]},
    "mobilenetv1_100": {"settings": ((64, 1, 1), (128, 1, 2))},
    "mobilevit_s": {"depths": (1, 1, 1)},
    "nf_resnet50": {"stages": (1, 1)},
    "pvt_v2_b0": {"stages": (1, 1), "widths": (8, 16), "num_heads": (1, 2), "reductions": (8, 4), "mlp_ratios": (2, 2)},
    "regnet_x_400mf": {"depth": 3},
    "repvgg_a0": {"stages": (1, 2), "widths": (48, 96)},
    "resnet18": {"stages": (1, 1)},
    "resnet8_cifar": {"stages": (1, 1)},
    "resnetv2_50": {"stages": (1, 1)},
    "shufflenet_v2_x0_5": {"stages": (2, 2), "widths": (48, 96)},
    "swin_v2_t": {"stages": (2, 2), "num_heads": (3, 6)},
    "swin_t": {"stages": (2, 2), "num_heads": (3, 6)},
    "vit_s_16": {"depth": 1},
    "vitdet_b": {"depth": 1, "global_blocks": ()},
    "xception41": {"entry_widths": (128,), "middle_blocks": 1},
}
"""Fields that leave a model of each class few blocks: what holds for one block holds for all that follow it."""

WITHOUT_BLOCKS = ("mlp", "lenet5", "small_cnn", "vgg9_cifar", "pp_lcnet_x1_0", "textnet_tiny", "uvdoc_encoder")

LIGHT = {
    "mlp": {},
    "lenet5": {},
    "resnet8_cifar": {"stages": (1, 1), "width": 4},
    "vit_tiny_cifar": {"depth": 1, "width": 8, "num_heads": 2, "mlp_features": 16},
}


def images(name, size=None, batch=2):
    height, width, channels = input_shape(name)
    shape = (batch, size or height, size or width, channels)
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_names():
    assert list_models() == sorted(MODELS)
    assert list_models("resnet2*_cifar") == ["resnet20_cifar"]
    assert list_models("plain*_cifar") == [f"plain{n}_cifar" for n in (20, 32, 44, 56)]
    assert list_models("nothing*") == []


def test_fields_replace_those_of_the_variant():
    model = create_model("resnet20_cifar", num_classes=7, width=4)
    assert (model.num_classes, model.width, model.stages) == (7, 4, (3, 3, 3))


def test_an_unknown_name_is_an_error_with_the_near_ones():
    with pytest.raises(ValueError, match=r"'resnet_20_cifar'.*did you mean.*resnet20_cifar"):
        create_model("resnet_20_cifar")
    with pytest.raises(ValueError, match=r"name='zzz': unknown; allowed: those of list_models\(\)"):
        create_model("zzz")


def test_an_unknown_field_is_an_error_with_all_fields():
    with pytest.raises(ValueError, match=r"num_class=10: not a field \(did you mean num_classes\?\); allowed: .*width"):
        create_model("resnet8_cifar", num_class=10)
    with pytest.raises(ValueError, match="parent=None: not a field"):
        create_model("mlp", parent=None)


def test_every_family_is_listed_once():
    assert len(MODELS) == sum(len(family.MODELS) for family in FAMILIES)
    assert len(TOKEN_MODELS) == sum(len(family.MODELS) for family in TOKEN_FAMILIES)
    assert not set(MODELS) & set(TOKEN_MODELS)


def test_models_of_tokens_are_a_kind_of_their_own():
    assert list_models(kind="tokens") == sorted(TOKEN_MODELS)
    assert not set(list_models()) & set(TOKEN_MODELS)
    assert type(create_model("gpt2", width=24)).__name__ == "GPT2"
    with pytest.raises(ValueError, match=r"name='gpt2': it reads tokens; allowed: models of images"):
        input_shape("gpt2")
    with pytest.raises(ValueError, match=r"'gpt2_larg'.*did you mean gpt2_large"):
        create_model("gpt2_larg")


@pytest.mark.parametrize("name", SMALL)
def test_every_class_of_models_of_tokens_has_names_in_torch_and_help(name):
    """One variable, one entry of the state dict, but for GPT-2's keys and values; every simple field is documented."""
    times = collections.Counter(torch_names(name, **SMALL[name]).values())
    assert all(count == 1 or "crossattention.c_attn" in entry for entry, count in times.items())
    settings = module_settings("model", TOKEN_MODELS[name])
    assert not [field for field, setting in settings.items() if not setting.help]


def abstract_tokens(name, **fields):
    """(model, its inputs, shapes of its variables)."""
    model = create_model(name, **SMALL[name], **fields)
    shapes = [(2, 8, 8, 3) if kind == "image" else (2, 5) for kind in family_of(name).INPUTS]
    inputs = tuple(jnp.zeros(shape, jnp.float32 if len(shape) == 4 else jnp.int32) for shape in shapes)
    return model, inputs, jax.eval_shape(model.init, jax.random.key(0), *inputs)


def test_every_class_of_models_of_tokens_is_among_the_small_ones():
    classes = {getattr(variant, "func", variant) for variant in TOKEN_MODELS.values()}
    assert {type(create_model(name, **fields)) for name, fields in SMALL.items()} == classes


@pytest.mark.parametrize("name", SMALL)
def test_models_of_tokens_compute_in_bfloat16_and_give_float32_logits(name):
    model, inputs, variables = abstract_tokens(name, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    logits = jax.eval_shape(lambda v: model.apply(v, *inputs), variables)
    assert (logits.shape, logits.dtype) == ((2, 5, 11), jnp.float32)
    if hasattr(model, "start"):

        def decode(variables, source):
            carry = model.apply(variables, model.apply(variables, source, method="encode"), 6, method="start")
            return model.apply(variables, carry, inputs[1][:, 0], method="step")
    elif hasattr(model, "init_cache"):

        def decode(variables, tokens):
            return model.apply(variables, tokens, cache=model.init_cache(2, 6))[::-1]
    else:
        return
    cache, logits = jax.eval_shape(decode, variables, inputs[0])
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(cache)} <= {jnp.dtype(t) for t in ("bfloat16", "int32", "bool")}


@pytest.mark.slow(unless=["gpt2", "bert_base"])
@pytest.mark.parametrize("name", SMALL)
def test_recomputing_blocks_of_models_of_tokens_changes_no_variable_and_trains(name):
    model, inputs, variables = abstract_tokens(name, remat="full")
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, abstract_tokens(name)[2])

    def loss(variables):
        return model.apply(variables, *inputs, train=True, rngs={"dropout": jax.random.key(0)}).sum()

    text = str(jax.make_jaxpr(jax.grad(loss))(variables))
    assert "checkpoint" in text or "remat" in text, "nothing is recomputed"


@pytest.mark.slow(unless=["alexnet", "all_cnn_c", "deit_tiny_patch16_224"])
@pytest.mark.parametrize("name", first_variants())
def test_every_model_takes_the_common_fields_and_gives_float32_logits(name):
    fields = SHALLOW.get(name, {})
    model = create_model(
        name, num_classes=7, dtype=jnp.bfloat16, axis_name=None, head_init=nn.initializers.ones, **fields
    )
    assert {"num_classes", "dtype", "axis_name", "head_init"} <= {f.name for f in dataclasses.fields(model)}
    x = images(name)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    logits, updates = jax.eval_shape(
        lambda v: model.apply(v, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)}), variables
    )
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)
    assert jax.tree.structure(updates) == jax.tree.structure({k: v for k, v in variables.items() if k != "params"})
    maps = jax.eval_shape(lambda v: model.apply(v, x, method="features"), variables)
    assert maps
    assert all(m.shape[0] == 2 and m.dtype == jnp.bfloat16 for m in maps.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_the_initial_loss_is_exactly_log_c(name):
    model = create_model(name, num_classes=7, **LIGHT[name])
    logits, variables = jax.jit(model.init_with_output)(jax.random.key(0), images(name))
    np.testing.assert_array_equal(logits, jnp.zeros((2, 7)))
    assert -jax.nn.log_softmax(logits)[0, 0] == pytest.approx(np.log(7))
    assert np.all(jax.jit(model.apply)(jax.tree.map(lambda v: v + 0.01, variables), images(name)) != 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_float64_parameters_compute_in_float64_whatever_the_field_says(name):
    model = create_model(name, dtype=jnp.bfloat16, head_init=nn.initializers.lecun_normal(), **LIGHT[name])
    variables = draw(model, images(name, 8))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda v: np.asarray(v, np.float64), variables)
        x = np.asarray(images(name, 8), np.float64)
        assert jax.eval_shape(model.apply, wide, images(name, 8)).dtype == jnp.float64
        flat, unravel = ravel_pytree(wide["params"])
        loss = jax.jit(jax.value_and_grad(lambda v: jnp.square(model.apply({**wide, "params": unravel(v)}, x)).sum()))
        direction = jnp.cos(jnp.arange(flat.size))
        difference = (loss(flat + 1e-7 * direction)[0] - loss(flat - 1e-7 * direction)[0]) / 2e-7
        assert float(difference) == pytest.approx(float(loss(flat)[1] @ direction), rel=1e-5)


def abstract(model, name):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *input_shape(name))), train=False))


@pytest.mark.slow(unless=["all_cnn_c", "deit_tiny_patch16_224"])
@pytest.mark.parametrize("name", [name for name in first_variants() if name not in WITHOUT_BLOCKS])
def test_recomputing_blocks_changes_no_variable_and_trains(name):
    fields = SHALLOW.get(name, {})
    model = create_model(name, remat="full", **fields)
    x = jax.ShapeDtypeStruct((2, *input_shape(name)), jnp.float32)
    plain, variables = abstract(create_model(name, **fields), name), abstract(model, name)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, plain)

    def loss(params, rest, x):
        rngs = {"dropout": jax.random.key(0)}
        out, _ = model.apply({"params": params, **rest}, x, train=True, mutable=list(rest), rngs=rngs)
        return out.sum()

    rest = {key: value for key, value in variables.items() if key != "params"}
    text = str(jax.make_jaxpr(jax.grad(loss))(variables["params"], rest, x))
    assert "checkpoint" in text or "remat" in text, "nothing is recomputed"


@pytest.mark.slow(unless=["alexnet", "all_cnn_c", "deit_tiny_patch16_224"])
@pytest.mark.covers("VI-09")
@pytest.mark.parametrize("name", [name for name in first_variants() if isinstance(create_model(name), Backbone)])
def test_every_map_takes_a_perturbation(name):
    model, x = create_model(name, **SHALLOW.get(name, {})), jax.ShapeDtypeStruct((1, *input_shape(name)), jnp.float32)
    variables = abstract(model, name)
    assert PERTURBATIONS not in variables
    maps = jax.eval_shape(lambda v, x: model.apply(v, x, method="features"), variables, x)
    apply = lambda perturbations, v, x: model.apply({**v, PERTURBATIONS: perturbations}, x)  # noqa: E731
    unread = [k for k, step in zip(maps, first_reads(apply, maps, variables, x), strict=False) if step is None]
    assert not unread, "a map that `_stages` does not pass through `perturb` has no gradient"


class Maps(nn.Module):
    """Every second row and every third column, and then all."""

    def features(self, x):
        return {"thin": x[:, ::2, ::3], "all": jnp.concatenate([x, x], -1)}


def test_strides_are_those_of_rows_and_maps_keep_their_order():
    info = feature_info(Maps(), (8, 18, 5))
    assert list(info.items()) == [("thin", {"stride": 2, "channels": 5}), ("all", {"stride": 1, "channels": 10})]
    with pytest.raises(ValueError, match="model=Dense: it has no feature maps; allowed: with a method"):
        feature_info(nn.Dense(3))


def test_bounds_of_fields_are_allowed_values():
    for field, values in {"dropout": (0, 1), "position_features": (0, 3), "num_classes": (0,), "depth": (1,)}.items():
        for value in values:
            assert getattr(create_model("vit_b_16", **{field: value}), field) == value

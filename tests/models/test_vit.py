"""Vision transformers against torchvision and transformers, their tokens, and other image sizes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.models import create_model, feature_info, load_torch, torch_names
from dlcore.nn import interpolate_positions
from tests.models.parity import check_output, nhwc, read_golden, weight_rule
from tests.models.training import draw, losses

TINY = {"image_size": 8, "patch_size": 4, "depth": 2, "width": 8, "num_heads": 2, "mlp_features": 16, "num_classes": 5}


def tiny(**fields):
    return create_model("vit_tiny_cifar", **{**TINY, **fields})


def build(model, size=8, batch=2):
    """(variables, images), every parameter other than 0."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(batch, size, size, 3)), jnp.float32)
    variables = draw(model, x)
    noise = np.random.default_rng(1)
    return jax.tree.map(lambda v: v + 0.1 * noise.normal(size=v.shape).astype(v.dtype), variables), x


def from_transformers(weights, prefix=""):
    """The state dict of transformers' ViT under torchvision's names."""
    found = {key.removeprefix(prefix): value for key, value in weights.items()}
    top = {
        "class_token": "embeddings.cls_token",
        "encoder.pos_embedding": "embeddings.position_embeddings",
        "conv_proj.weight": "embeddings.patch_embeddings.projection.weight",
        "conv_proj.bias": "embeddings.patch_embeddings.projection.bias",
        "encoder.ln.weight": "layernorm.weight",
        "encoder.ln.bias": "layernorm.bias",
    }
    ours = {name: found.pop(key) for name, key in top.items()}
    names = {
        "ln_1": "layernorm_before",
        "ln_2": "layernorm_after",
        "self_attention.out_proj": "attention.o_proj",
        "mlp.0": "mlp.fc1",
        "mlp.3": "mlp.fc2",
    }
    for i in range(2):
        block, theirs = f"encoder.layers.encoder_layer_{i}.", f"layers.{i}."
        for leaf in ("weight", "bias"):
            ours |= {f"{block}{name}.{leaf}": found.pop(f"{theirs}{key}.{leaf}") for name, key in names.items()}
            parts = [found.pop(f"{theirs}attention.{n}_proj.{leaf}") for n in "qkv"]
            ours[f"{block}self_attention.in_proj_{leaf}"] = np.concatenate(parts)
    return ours, found


HF = {"patch_size": 8, "image_size": 32, "depth": 2, "width": 32, "num_heads": 4, "mlp_features": 64, "epsilon": 1e-12}


@pytest.mark.covers("AT-21", "AT-22")
def test_vit_equals_transformers_block_by_block():
    golden, meta, weights = read_golden("hf_vit")
    ours, rest = from_transformers(weights)
    assert set(rest) == {"pooler.dense.weight", "pooler.dense.bias"}
    ours |= {"heads.head.weight": np.eye(32, dtype=np.float32), "heads.head.bias": np.zeros(32, np.float32)}
    model = create_model("vit_b_16", num_classes=32, **HF)
    variables = load_torch("vit_b_16", ours, num_classes=32, **HF)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    run = jax.jit(lambda x: model.apply(variables, x, capture_intermediates=True, mutable=["intermediates"]))
    token, state = run(x)
    state = state["intermediates"]
    check_output(golden, meta, "last_hidden_state", state["norm"]["__call__"][0])
    for i, module in enumerate(("pos_embed", "blocks_0", "blocks_1")):
        check_output(golden, meta, f"hidden_states.{i}", state[module]["__call__"][0])
    pooled = np.tanh(token @ rest["pooler.dense.weight"].T + rest["pooler.dense.bias"])
    check_output(golden, meta, "pooler_output", pooled)


@pytest.mark.slow
@pytest.mark.covers("AT-21")
def test_the_classifier_equals_transformers():
    golden, meta, weights = read_golden("hf_vit_cls")
    ours, rest = from_transformers(weights, "vit.")
    ours |= {f"heads.head.{leaf}": rest[f"classifier.{leaf}"] for leaf in ("weight", "bias")}
    fields = HF | {"image_size": 24, "patch_size": 6, "num_classes": 5}
    variables = load_torch("vit_b_16", ours, **fields)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    logits = jax.jit(create_model("vit_b_16", **fields).apply)(variables, x)
    check_output(golden, meta, "logits", logits)
    labels = jnp.asarray(weight_rule().det_input(meta["inputs"]["labels"]))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    np.testing.assert_allclose(loss, golden["loss"][0], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-21")
def test_larger_patches_are_cheaper():
    """Patches of 32 make a quarter of the tokens of patches of 16: the blocks cost less than a quarter."""

    def flops(patch):
        model = create_model("vit_tiny_cifar", image_size=64, patch_size=patch, depth=2)
        x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), x)
        assert variables["params"]["pos_embed"]["embedding"].shape[1] == (64 // patch) ** 2 + 1
        return jax.jit(model.apply).lower(variables, x).cost_analysis()["flops"]

    assert 4 < flops(4) / flops(8) < 16


@pytest.mark.slow
@pytest.mark.covers("AT-21")
def test_the_patch_convolution_is_reshape_and_dense():
    model = tiny()
    variables, x = build(model)
    p = variables["params"]["patch_embed"]
    patches = x.reshape(2, 2, 4, 2, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 4, 48)
    want = patches @ p["kernel"].reshape(48, 8) + p["bias"]
    seen = lambda module, method: module.name == "patch_embed"  # noqa: E731
    _, state = jax.jit(functools.partial(model.apply, capture_intermediates=seen))(variables, x)
    got = state["intermediates"]["patch_embed"]["__call__"][0]
    np.testing.assert_allclose(got.reshape(2, 4, 8), want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-22")
def test_the_class_token_is_learned_stands_first_and_is_what_the_head_sees():
    model = tiny()
    variables, x = build(model)
    params = variables["params"]
    run = jax.jit(lambda params: model.apply({"params": params}, x, capture_intermediates=True))
    logits, state = run(params)
    tokens = state["intermediates"]["norm"]["__call__"][0]
    chex.assert_shape(tokens, (2, 5, 8))
    head = params["head"]
    np.testing.assert_allclose(logits, tokens[:, 0] @ head["kernel"] + head["bias"], atol=1e-5)
    placed = state["intermediates"]["pos_embed"]["__call__"][0][:, 0]
    want = params["cls_token"][0] + params["pos_embed"]["embedding"][:, 0]
    np.testing.assert_allclose(placed, jnp.repeat(want, 2, 0), atol=1e-6)
    changed = run({**params, "cls_token": params["cls_token"] * 2})[0]
    assert np.abs(changed - logits).min() > 1e-4
    slope = jax.jit(jax.grad(lambda p: jnp.square(model.apply({"params": p}, x)).sum()))(params)
    assert np.abs(slope["cls_token"]).min() > 0


@pytest.mark.slow
@pytest.mark.covers("AT-22")
def test_a_class_token_behind_the_patches_gives_the_same_logits_and_maps():
    """Attention does not depend on the order, and the head reads the token where it stands."""
    first, last = tiny(), tiny(token_last=True)
    variables, x = build(first)
    (logits, states), (same_logits, same_states) = (
        jax.jit(functools.partial(model.apply, capture_intermediates=True))(variables, x) for model in (first, last)
    )
    np.testing.assert_allclose(same_logits, logits, atol=1e-5)
    tokens, same_tokens = (s["intermediates"]["norm"]["__call__"][0] for s in (states, same_states))
    np.testing.assert_allclose(same_tokens, jnp.roll(tokens, -1, 1), atol=1e-5)
    features, same_features = (
        jax.jit(functools.partial(m.apply, method="features"))(variables, x) for m in (first, last)
    )
    for name, value in features.items():
        np.testing.assert_allclose(same_features[name], value, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "dinov2_small"])
def test_networks_that_read_leading_tokens_refuse_a_last_one(name):
    x = jnp.zeros((1, 16 if "deit" in name else 14, 16 if "deit" in name else 14, 3))
    with pytest.raises(ValueError, match="token_last=True: this network has no class token that could stand there"):
        create_model(name, depth=1, image_size=x.shape[1], token_last=True)


@pytest.mark.slow
@pytest.mark.covers("AT-11")
def test_concatenated_positions_are_channels_of_their_own():
    """Of 8 channels 3 are the position: the table's, whatever the image; the other 5 are the patch's."""
    model = tiny(position_features=3, token_last=True)
    variables, x = build(model)
    params = variables["params"]
    chex.assert_shape(params["pos_embed"]["embedding"], (1, 5, 3))
    chex.assert_shape(params["patch_embed"]["kernel"], (4, 4, 3, 5))
    chex.assert_shape(params["cls_token"], (1, 1, 5))
    _, state = jax.jit(functools.partial(model.apply, capture_intermediates=True))(variables, x)
    states = state["intermediates"]
    tokens = states["Dropout_0"]["__call__"][0]  # the first block's input
    np.testing.assert_allclose(tokens[:, :4, 5:], np.tile(params["pos_embed"]["embedding"][:, 1:], (2, 1, 1)))
    np.testing.assert_allclose(tokens[:, 4, 5:], np.tile(params["pos_embed"]["embedding"][:, 0], (2, 1)))
    np.testing.assert_allclose(tokens[:, :4, :5], states["patch_embed"]["__call__"][0].reshape(2, 4, 5))
    np.testing.assert_allclose(tokens[:, 4, :5], np.tile(params["cls_token"][0], (2, 1)))


@pytest.mark.covers("AT-22")
def test_with_the_mean_over_patches_there_is_no_class_token():
    model = tiny(pool="mean")
    variables, x = build(model)
    params = variables["params"]
    assert "cls_token" not in params
    chex.assert_shape(params["pos_embed"]["embedding"], (1, 4, 8))
    logits, state = jax.jit(functools.partial(model.apply, capture_intermediates=True))(variables, x)
    tokens = state["intermediates"]["norm"]["__call__"][0]
    want = tokens.mean(1) @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(logits, want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-11")
def test_logits_at_another_size_are_those_of_an_interpolated_table():
    """At run time and by load_torch: a model of 16 with the weights of one of 24."""
    model, fields = tiny(image_size=24), TINY | {"image_size": 16}
    variables, _ = build(model, 24)
    state_dict = {}
    leaves = {jax.tree_util.keystr(p, simple=True, separator="/"): v for p, v in jax.tree.leaves_with_path(variables)}
    for path, key in torch_names("vit_tiny_cifar", **TINY | {"image_size": 24}).items():
        value = np.asarray(leaves[path])
        state_dict[key] = (
            value.transpose(*range(value.ndim)[:-3:-1], *range(value.ndim - 2)) if "kernel" in path else value
        )
    table = variables["params"]["pos_embed"]["embedding"]
    chex.assert_shape(table, (1, 37, 8))
    loaded = load_torch("vit_tiny_cifar", state_dict, **fields)
    want = interpolate_positions(table, (6, 6), (4, 4), 1)
    np.testing.assert_allclose(loaded["params"]["pos_embed"]["embedding"], want, atol=1e-6)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 16, 16, 3)), jnp.float32)
    at_run_time = jax.jit(model.apply)(variables, x)
    once = jax.jit(create_model("vit_tiny_cifar", **fields).apply)(loaded, x)
    np.testing.assert_allclose(at_run_time, once, atol=1e-5)
    wide = jax.jit(model.apply)(variables, jnp.concatenate([x, x], 2))
    chex.assert_shape(wide, (2, 5))
    assert np.isfinite(wide).all()


def first_block(key):
    return ".encoder_layer_" not in key or "_layer_0." in key


@pytest.mark.covers("AT-11")
def test_published_weights_at_384():
    _, _, small = read_golden("tv_vit_b_16", first_block)
    table = load_torch("vit_b_16", small, image_size=384, depth=1)["params"]["pos_embed"]["embedding"]
    chex.assert_shape(table, (1, 577, 768))
    want = interpolate_positions(jnp.asarray(small["encoder.pos_embedding"]), (14, 14), (24, 24), 1)
    np.testing.assert_array_equal(table, want)


def test_names_of_older_files_load():
    _, _, small = read_golden("tv_vit_b_16", first_block)
    older = {k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for k, v in small.items()}
    assert set(older) != set(small)
    new, old = (load_torch("vit_b_16", w, depth=1) for w in (small, older))
    jax.tree.map(np.testing.assert_array_equal, new, old)


@pytest.mark.slow
@pytest.mark.weekly(unless=["fields1"])
@pytest.mark.covers("AT-21", "AT-28")
@pytest.mark.parametrize("fields", [{"remat": "full", "dropout": 0.1}, {"patch_size": 1, "pool": "mean", "depth": 1}])
def test_a_step_of_training_lowers_the_loss(fields):
    """Also with patches of one pixel: the transformer on the 64 pixels of an 8 x 8 image."""
    values = losses(tiny(**fields), side=8, steps=6, rate=3e-3, batch=8)
    assert np.isfinite(values).all()
    assert values[-1] < values[0]


@pytest.mark.slow
def test_features_are_maps_of_patches():
    info = feature_info(create_model("vit_tiny_cifar"), (32, 32, 3))
    assert info == {f"block{i}": {"stride": 4, "channels": 192} for i in range(1, 7)}
    model = tiny()
    variables, x = build(model)
    maps = jax.jit(functools.partial(model.apply, method="features"))(variables, x)
    _, state = jax.jit(functools.partial(model.apply, capture_intermediates=True))(variables, x)
    tokens = state["intermediates"]["blocks_1"]["__call__"][0]
    np.testing.assert_allclose(maps["block2"][:, 1, 0], tokens[:, 1 + 2], atol=1e-6)

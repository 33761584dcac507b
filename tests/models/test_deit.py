"""DeiT against timm and transformers: two tokens, two heads, and what each is taught."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.losses import hard_distillation_loss
from dlcore.models import create_model, load_torch
from tests.models.parity import check_output, nhwc, read_golden, weight_rule
from tests.models.test_vit import HF, TINY, build, from_transformers


@pytest.mark.slow
@pytest.mark.covers("AT-23")
def test_both_heads_equal_transformers():
    golden, meta, weights = read_golden("hf_deit")
    ours, rest = from_transformers(weights, "deit.")
    named = {
        "cls_token": ours.pop("class_token"),
        "pos_embed": ours.pop("encoder.pos_embedding"),
        "dist_token": rest.pop("embeddings.distillation_token"),
    }
    names = (
        ("encoder.layers.encoder_layer_", "blocks."),
        ("encoder.ln.", "norm."),
        ("conv_proj.", "patch_embed.proj."),
        (".ln_", ".norm"),
        (".self_attention.in_proj_", ".attn.qkv."),
        (".self_attention.out_proj.", ".attn.proj."),
        (".mlp.0.", ".mlp.fc1."),
        (".mlp.3.", ".mlp.fc2."),
    )
    for key, value in ours.items():
        named[functools.reduce(lambda k, pair: k.replace(*pair), names, key)] = value
    for leaf in ("weight", "bias"):
        named[f"head.{leaf}"] = rest.pop(f"cls_classifier.{leaf}")
        named[f"head_dist.{leaf}"] = rest.pop(f"distillation_classifier.{leaf}")
    assert not rest
    name, fields = "deit_tiny_distilled_patch16_224", HF | {"num_classes": 5}
    variables = load_torch(name, named, **fields)
    model = create_model(name, **fields)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    logits = jax.jit(model.apply)(variables, x)
    own, others = jax.jit(functools.partial(model.apply, method="auxiliary", train=False))(variables, x)
    check_output(golden, meta, "logits", logits)
    check_output(golden, meta, "cls_logits", own)
    check_output(golden, meta, "distillation_logits", others["distillation"])
    assert set(others) == {"distillation"}


@pytest.mark.weekly
@pytest.mark.covers("AT-23")
def test_the_student_learns_labels_with_one_head_and_the_teacher_with_the_other():
    """Labels and teacher disagree everywhere; each head ends with its own."""
    model = create_model("deit_tiny_distilled_patch16_224", **TINY | {"depth": 1})
    variables, x = build(model, batch=6)
    labels, optimizer = jnp.arange(6) % 5, optax.adam(0.02)
    teacher = jax.nn.one_hot((labels + 2) % 5, 5)

    @jax.jit
    def learn(params):
        def step(carry, _):
            params, state = carry

            def loss(params):
                own, others = model.apply({"params": params}, x, method="auxiliary", train=True)
                return hard_distillation_loss(own, others["distillation"], teacher, labels).mean()

            value, gradient = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), value

        (params, _), values = jax.lax.scan(step, (params, optimizer.init(params)), None, 60)
        return values, model.apply({"params": params}, x, method="auxiliary", train=False)

    values, (own, others) = learn(variables["params"])
    assert np.isfinite(values).all()
    assert values[-1] < 0.2 * values[0]
    np.testing.assert_array_equal(own.argmax(-1), labels)
    np.testing.assert_array_equal(others["distillation"].argmax(-1), (labels + 2) % 5)


def test_without_the_token_there_is_no_second_head():
    model = create_model("deit_tiny_patch16_224", **TINY)
    variables, x = build(model)
    assert not {"dist_token", "head_dist"} & set(variables["params"])
    with pytest.raises(ValueError, match="distilled=False"):
        model.apply(variables, x, method="auxiliary")


def test_positions_of_two_tokens_in_front_are_kept_at_another_size():
    model = create_model("deit_tiny_distilled_patch16_224", **TINY | {"image_size": 16})
    variables, x = build(model, 24)
    chex.assert_shape(variables["params"]["pos_embed"]["embedding"], (1, 2 + 16, 8))
    maps = jax.jit(functools.partial(model.apply, method="features"))(variables, x)
    assert {name: m.shape for name, m in maps.items()} == {"block1": (2, 6, 6, 8), "block2": (2, 6, 6, 8)}

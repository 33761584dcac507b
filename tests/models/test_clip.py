"""CLIP and SigLIP against transformers, the published size, and what follows a caption's end."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import clip_loss
from dlcore.models import create_model
from dlcore.models.clip import CLIP, SigLIP, from_torch_names
from tests.models.parity import check_output, nhwc, read_golden, weight_rule

FIELDS = {"vocab_size": 60, "end_token": 59, "window": 12, "image_size": 32, "patch_size": 8, "mlp_ratio": 2} | {
    f"{side}_{name}": value
    for side in ("vision", "text")
    for name, value in (("depth", 2), ("width", 32), ("heads", 4))
}


def golden_of(file, model):
    golden, meta, weights = read_golden(file)
    inputs = {key: weight_rule().det_input(about) for key, about in meta["inputs"].items()}
    return (
        golden,
        meta,
        from_torch_names(model, weights),
        nhwc(inputs["pixel_values"]),
        jnp.asarray(inputs["input_ids"]),
    )


@pytest.fixture(scope="module")
def clip():
    model = CLIP(**FIELDS, embedding_size=16)
    return (model, *golden_of("hf_clip", model))


@pytest.mark.slow
@pytest.mark.covers("SS-20")
def test_clip_equals_transformers(clip):
    model, golden, meta, variables, images, tokens = clip

    @jax.jit
    def run(variables, images, tokens):
        parts = [model.apply(variables, x, method=m) for x, m in ((images, "image_tokens"), (tokens, "text_tokens"))]
        return model.apply(variables, images, tokens), parts

    (seen, read, scale), (patches, words) = run(variables, images, tokens)
    for name, got in (("image_embeds", seen), ("text_embeds", read), ("vision_last", patches), ("text_last", words)):
        check_output(golden, meta, name, got)
    check_output(golden, meta, "logits_per_image", scale * seen @ read.T, least=1e-3)
    np.testing.assert_allclose(clip_loss(seen, read, 1 / scale), golden["loss"][0], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SS-20")
def test_tokens_after_the_end_have_no_effect_and_the_scale_is_at_most_100(clip):
    model, *_, variables, images, tokens = clip
    run = jax.jit(lambda variables, tokens: model.apply(variables, images, tokens)[1:])
    text, _ = run(variables, tokens)
    tokens = np.array(tokens)
    behind, before = tokens.copy(), tokens.copy()
    behind[1, 6:], before[1, 0] = 7, 7  # the second text ends at 5
    other, _ = run(variables, behind)
    np.testing.assert_allclose(other[1], text[1], atol=1e-6)
    changed, _ = run(variables, before)
    assert np.abs(changed[1] - text[1]).max() > 1e-3
    large = {"params": {**variables["params"], "logit_scale": jnp.float32(9.0)}}
    assert float(run(large, tokens)[1]) == 100.0


@pytest.mark.slow
@pytest.mark.covers("SS-20")
def test_siglip_equals_transformers():
    model = SigLIP(**FIELDS)
    golden, meta, variables, images, tokens = golden_of("hf_siglip", model)

    @jax.jit
    def run(variables, images, tokens):
        return model.apply(variables, images, tokens), model.apply(variables, images, tokens, method="logits")

    (seen, read, _), logits = run(variables, images, tokens)
    check_output(golden, meta, "image_embeds", seen)
    check_output(golden, meta, "text_embeds", read)
    check_output(golden, meta, "logits_per_image", logits)
    signs = 2 * jnp.eye(2) - 1  # every pair is a yes or a no
    np.testing.assert_allclose(-jax.nn.log_sigmoid(signs * logits).sum() / 2, golden["loss"][0], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SS-20")
def test_the_published_size():
    inputs = jnp.zeros((1, 224, 224, 3)), jnp.zeros((1, 77), jnp.int32)
    shapes = jax.eval_shape(CLIP(49408, 49407).init, jax.random.key(0), *inputs)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == 151_277_313


@pytest.mark.slow
def test_bad_input_is_refused_in_one_line(clip):
    model, *_, variables, images, _ = clip
    with pytest.raises(ValueError, match=r"tokens.shape=\(2, 13\): 13 tokens; allowed: at most window=12"):
        model.apply(variables, images, jnp.full((2, 13), 59))


def test_a_clip_with_a_resnet_is_refused_by_name():
    with pytest.raises(ValueError, match=r"a CLIP with a ResNet; allowed: of the models clip_resnet\*"):
        from_torch_names(create_model("clip_vit_b_32"), {"visual.layer1.0.conv1.weight": np.zeros((4, 4, 1, 1))})

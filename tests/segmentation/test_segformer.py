"""SegFormer against transformers, and its head by formula."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.models import create_model, load_torch
from dlcore.models.mit import MiT
from dlcore.models.stored_counts import stored_models
from dlcore.models.torch_weights import count_classes
from dlcore.segmentation.segformer import SegFormer, SegFormerHead
from tests.detection.detectors import Small
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule
from tests.wiring import assert_wiring

TINY = {"widths": (8, 16, 24, 32), "stages": (1, 1, 1, 1), "num_heads": (1, 2, 3, 4), "mlp_ratios": (2, 2, 2, 2)}
FIELDS = {"backbone": MiT(num_classes=0, **TINY), "num_classes": 4, "features": 16}
OLDER = (
    ("stages.0.patch_embeddings.", "encoder.patch_embeddings.0."),
    ("stages.0.blocks.0.", "encoder.block.0.0."),
    ("stages.0.layer_norm.", "encoder.layer_norm.0."),
    ("attention.q_proj.", "attention.self.query."),
    ("attention.k_proj.", "attention.self.key."),
    ("attention.v_proj.", "attention.self.value."),
    ("attention.o_proj.", "attention.output.dense."),
    ("attention.sequence_reduction.sequence_reduction.", "attention.self.sr."),
    ("attention.sequence_reduction.layer_norm.", "attention.self.layer_norm."),
    ("mlp.fc1.", "mlp.dense1."),
    ("mlp.fc2.", "mlp.dense2."),
    ("layernorm_before.", "layer_norm_1."),
    ("layernorm_after.", "layer_norm_2."),
    ("decode_head.linear_projections.", "decode_head.linear_c."),
)
"""What the first stage and the head are called in published files, as `nvidia/segformer-b0-finetuned-ade-512-512`."""


@pytest.mark.slow
@pytest.mark.covers("SG-13")
def test_segformer_equals_transformers():
    """Logits at a quarter of the size, the maps of the encoder, and the mean entropy of enlarged logits."""
    golden, meta, weights = read_golden("hf_segformer")
    model, variables = create_model("segformer_b0", **FIELDS), load_torch("segformer_b0", weights, **FIELDS)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))

    @jax.jit
    def run(variables, x):
        encoder = {"params": variables["params"]["backbone"]}
        maps = FIELDS["backbone"].apply(encoder, x, method="features")
        return model.apply(variables, x, method="scores"), model.apply(variables, x), maps

    scores, logits, maps = run(variables, x)
    check_output(golden, meta, "logits", nchw(scores))
    for i in range(4):
        check_output(golden, meta, f"hidden_states.{i}", nchw(maps[f"stage{i + 1}"]))
    labels = np.asarray(weight_rule().det_input(meta["inputs"]["labels"]))
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    np.testing.assert_allclose(entropy, golden["loss"][0], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SG-13")
def test_older_names_are_those_of_published_files():
    """The first stage has a reduced attention, so all kinds of names are in it."""
    weights = read_golden("hf_segformer")[2]
    older = {}
    for name, value in weights.items():
        for new, old in OLDER if ".stages.0." in name or "decode_head" in name else ():
            name = name.replace(new, old)
        older[name] = value
    assert {"segformer.encoder.block.0.0.attention.self.sr.weight", "decode_head.linear_c.3.proj.bias"} <= set(older)
    chex.assert_trees_all_equal(
        load_torch("segformer_b0", older, **FIELDS), load_torch("segformer_b0", weights, **FIELDS)
    )
    assert count_classes("segformer_b0", weights) == 4


@pytest.mark.covers("SG-13")
def test_the_head_by_formula():
    """Maps of 2 x 2 and 1 x 1: the coarse one is the same everywhere; it comes first in the fusing layer."""
    rng = np.random.default_rng(0)
    fine, coarse = rng.normal(size=(1, 2, 2, 3)), rng.normal(size=(1, 1, 1, 2))
    maps = [jnp.asarray(m, jnp.float32) for m in (fine, coarse)]
    head = SegFormerHead(2, features=4)
    shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), maps, False))
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.1, 1, leaf.shape), leaf.dtype), shapes)
    p, s = (
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables[key]) for key in ("params", "batch_stats")
    )
    y1 = fine @ p["projection_0"]["kernel"] + p["projection_0"]["bias"]
    y2 = np.broadcast_to(coarse @ p["projection_1"]["kernel"] + p["projection_1"]["bias"], y1.shape)
    fused = np.concatenate([y2, y1], -1) @ p["linear_fuse"]["kernel"][0, 0]
    norm, stats = p["batch_norm"], s["batch_norm"]
    fused = (fused - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * norm["scale"] + norm["bias"]
    expected = np.maximum(fused, 0) @ p["classifier"]["kernel"][0, 0] + p["classifier"]["bias"]
    np.testing.assert_allclose(jax.jit(lambda v: head.apply(v, maps, False))(variables), expected, rtol=2e-5)


class Halves(nn.Module):
    """Two maps, of strides 4 and 8, sides rounded up."""

    def features(self, x, train=False):
        def at(stride):
            return jnp.zeros((len(x), -(-x.shape[1] // stride), -(-x.shape[2] // stride), 3))

        return {"stage1": at(4), "stage2": at(8)}


@pytest.mark.covers("SG-13")
def test_logits_have_the_size_of_the_image():
    """Of 50 x 64 pixels, whose sides the strides do not divide; they are the scores, enlarged."""
    model, x = SegFormer(Halves(), 5, stages=("stage1", "stage2"), features=4), jnp.zeros((1, 50, 64, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    chex.assert_shape(jax.eval_shape(model.apply, shapes, x), (1, 50, 64, 5))
    chex.assert_shape(jax.eval_shape(partial(model.apply, method="scores"), shapes, x), (1, 13, 16, 5))


@pytest.mark.covers("SG-13")
def test_a_stage_that_the_backbone_lacks_is_named():
    model = SegFormer(Halves(), 5, stages=("stage1", "layer4"))
    with pytest.raises(ValueError, match="stage='layer4': not in the backbone; allowed: stage1, stage2"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3))))


@pytest.mark.covers("SG-13")
@pytest.mark.parametrize(("name", "millions"), [("b0", 3.8), ("b1", 13.7), ("b2", 27.5), ("b5", 84.7)])
def test_parameter_counts_are_the_papers(name, millions):
    """Table 1 of the paper: encoder and decoder for ADE20K's 150 classes."""
    assert stored_models("segmentation")[f"segformer_{name}"]["parameters"] / 1e6 == pytest.approx(millions, abs=0.1)


def test_the_wiring_of_seg_former_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(SegFormer(Small(), 2, ("fine", "coarse"), features=4), (2, 16, 24, 3), [300.387, -1.07173])

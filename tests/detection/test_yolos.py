"""YOLOS against transformers, and its tokens by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.detection import detr
from dlcore.detection.yolos import YOLOS
from dlcore.models import create_model, load_torch
from dlcore.models.stored_counts import stored_models
from tests.models.parity import check_output, nhwc, read_golden, weight_rule
from tests.wiring import assert_wiring

FIELDS = {"num_classes": 4, "image_size": (32, 48), "patch_size": 8, "depth": 2, "width": 32, "num_heads": 4}
FIELDS |= {"mlp_features": 64, "num_queries": 5}


@pytest.mark.slow
@pytest.mark.covers("DE-34")
def test_yolos_equals_transformers():
    golden, meta, weights = read_golden("hf_yolos")
    model, variables = create_model("yolos_small", **FIELDS), load_torch("yolos_small", weights, **FIELDS)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))

    @jax.jit
    def run(variables, x):
        return model.apply(variables, x)[0], model.apply(variables, x, method="tokens")

    outputs, tokens = run(variables, x)
    check_output(golden, meta, "logits", outputs.logits[:, -1])
    check_output(golden, meta, "pred_boxes", outputs.boxes[:, -1])
    check_output(golden, meta, "last_hidden_state", tokens)


TINY = YOLOS(2, (4, 6), 2, depth=2, width=4, num_heads=1, mlp_features=4, num_queries=3)


@pytest.mark.covers("DE-34")
def test_detection_tokens_stand_behind_the_patches():
    """Blocks with zero kernels change nothing: tokens are LN(embedding + positions + positions between the blocks)."""
    x = jnp.ones((1, 4, 6, 1))
    shapes = jax.eval_shape(lambda: TINY.init(jax.random.key(0), x))["params"]
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    rng = np.random.default_rng(0)
    names = ("cls_token", "detection_tokens", "position_embeddings", "mid_position_embeddings")
    params |= {name: rng.normal(size=params[name].shape).astype(np.float32) for name in names}
    params["patch_embed"]["bias"] = rng.normal(size=4).astype(np.float32)
    params["norm"]["scale"] = np.ones(4, np.float32)
    patches = np.broadcast_to(params["patch_embed"]["bias"], (6, 4))
    z = np.concatenate([params["cls_token"][0], patches, params["detection_tokens"][0]])
    z = z + params["position_embeddings"][0] + params["mid_position_embeddings"][0, 0]
    expected = (z - z.mean(-1, keepdims=True)) / z.std(-1, keepdims=True)
    tokens, (outputs, sides) = jax.jit(
        lambda params: (TINY.apply({"params": params}, x, method="tokens"), TINY.apply({"params": params}, x))
    )(params)
    np.testing.assert_allclose(tokens[0], expected, atol=1e-5)
    chex.assert_shape(outputs.logits, (1, 1, 3, 3))
    np.testing.assert_array_equal(outputs.boxes, np.full((1, 1, 3, 4), 0.5))
    np.testing.assert_array_equal(sides, [6, 4, 6, 4])


@pytest.mark.covers("DE-34")
def test_images_of_another_size():
    """Positions of the detection tokens are not interpolated, so there are 1 + 2 x 5 + 3 tokens of 4 x 10 pixels."""
    shapes = jax.eval_shape(lambda: TINY.init(jax.random.key(0), jnp.zeros((1, 4, 6, 3))))
    tokens = jax.eval_shape(lambda v: TINY.apply(v, jnp.zeros((2, 4, 10, 3)), method="tokens"), shapes)
    chex.assert_shape(tokens, (2, 14, 4))


@pytest.mark.covers("DE-34")
@pytest.mark.parametrize(("name", "millions"), [("tiny", 6.5), ("small", 30.7), ("base", 127.8)])
def test_parameter_counts_are_the_papers(name, millions):
    assert stored_models("detection")[f"yolos_{name}"]["parameters"] / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.slow
@pytest.mark.covers("DE-34")
def test_detrs_learner_trains_it():
    learner, rng = detr.learner(model=TINY, optimizer=optax.adam(1e-2)), np.random.default_rng(0)
    batch = {"image": rng.normal(size=(2, 4, 6, 3)).astype(np.float32), "boxes": np.array([[[1, 1, 4, 3.0]]] * 2)}
    batch |= {"labels": np.ones((2, 1), np.int32), "box_mask": np.ones((2, 1), bool), "index": np.arange(2)}
    state, update, losses = learner.init(jax.random.key(0), batch), jax.jit(learner.update), []
    for _ in range(10):
        state, metrics = update(state, batch)
        losses.append(float(metrics["loss"].compute()))
    assert losses[-1] < 0.8 * losses[0]


def test_the_wiring_of_yolos_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        YOLOS(2, (8, 12), 4, depth=2, width=8, num_heads=2, mlp_features=12, num_queries=3),
        (1, 8, 12, 3),
        [22.0093, -15.083],
    )

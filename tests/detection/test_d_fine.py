"""D-FINE against transformers', its shifts, boxes and losses by hand, one update by hand, and bad input."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from dlcore.detection import d_fine
from dlcore.detection.d_fine import DFINE, FineOutputs
from dlcore.detection.distribution_refinement import (
    RefinementWeights,
    refinement_losses,
    shift_sides,
    weighting_function,
)
from dlcore.learner import ModelState
from dlcore.models.hgnet import HGNET_V2_NAMES, HGNetV2
from tests.detection.detectors import TARGETS, Image
from tests.detection.hub_folders import check_published
from tests.wiring import assert_wiring


@pytest.mark.weekly
@pytest.mark.covers("DE-29")
def test_a_published_folder_equals_transformers(tmp_path):
    net = check_published("hf_d_fine", tmp_path, 1e-4)
    assert net.name == "d_fine_large"


@pytest.mark.covers("DE-29")
def test_shifts_by_hand():
    # N = 6: the exponents |2n - 6| / 4 are 3/2 (an end), 1, 1/2, 0; 1/4 * ((1/2 / 1/4 + 1)^(1/2) - 1) = 0.183013.
    half = [0.183013, 0.5, 1.0]
    np.testing.assert_allclose(weighting_function(6), [*(-x for x in reversed(half)), 0, *half], atol=1e-6)
    np.testing.assert_allclose(weighting_function(4, bound=0.3, curvature=0.1), [-0.6, -0.3, 0, 0.3, 0.6], atol=1e-6)


@pytest.mark.covers("DE-29")
def test_a_box_is_the_initial_one_with_its_sides_shifted():
    """Sides 0.4 x 0.2 around (0.5, 0.5): left out by half a width, top in by a quarter height, bottom stays."""
    values = jnp.array([-1, -0.5, 0, 0.5, 1])
    probs = np.array([[0, 0, 0, 1, 0], [0, 0.5, 0.5, 0, 0], [0, 0.5, 0, 0.5, 0], [0, 0, 1, 0, 0]])
    boxes = shift_sides(jnp.array([0.5, 0.5, 0.4, 0.2]), jnp.log(jnp.asarray(probs) + 1e-12), values)
    # From (0.5 - 0.4, 0.5 - 0.05) to (0.7, 0.6).
    np.testing.assert_allclose(boxes, [0.4, 0.525, 0.6, 0.15], atol=1e-6)


TARGET = np.array([0.5, 0.5, 0.4, 0.3])
"""The one true box, center and size; query 0 and the positive denoising query find it."""
TARGET_CORNERS = np.array([0.3, 0.35, 0.7, 0.65])
INITIAL_BOXES = np.array([[0.52, 0.49, 0.36, 0.34], [0.15, 0.2, 0.1, 0.1]])
VALUES = np.array([-1, -0.5, 0, 0.5, 1])
WEIGHTS = RefinementWeights(0.3, 1.2, 2.0)


def initial_params(rng):
    return {
        "logits": rng.normal(size=(4, 2, 2)),
        "boxes": INITIAL_BOXES + rng.uniform(-0.02, 0.02, (4, 2, 4)),
        "side_logits": rng.normal(size=(2, 2, 4, 5)),
        "initial_boxes": INITIAL_BOXES,
        "noisy_logits": rng.normal(size=(3, 2, 2)),
        "noisy_boxes": INITIAL_BOXES + rng.uniform(-0.02, 0.02, (3, 2, 4)),
        "noisy_side_logits": rng.normal(size=(2, 2, 4, 5)),
        "noisy_initial_boxes": INITIAL_BOXES,
    }


def corners(box):
    return jnp.concatenate([box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2], -1)


def overlap(box):
    """(IoU, GIoU) of a box with the true one."""
    a, b = corners(box), TARGET_CORNERS
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    shared = (low[2] - high[0]) * (low[3] - high[1])
    union = box[2] * box[3] + TARGET[2] * TARGET[3] - shared
    hull = (high[2] - low[0]) * (high[3] - low[1])
    return shared / union, shared / union - (hull - union) / hull


def box_parts(logits, boxes, found, counts, label=1):
    """Varifocal, L1 and GIoU loss of the two queries of a layer; query 0 is matched where `found`."""
    p = jax.nn.sigmoid(logits)
    iou, giou = overlap(boxes[0])
    iou = jax.lax.stop_gradient(iou)
    is_target = np.zeros((2, 2))
    is_target[0, label] = found
    bce = -(iou * is_target * jnp.log(p) + (1 - iou * is_target) * jnp.log(1 - p))
    weight = jax.lax.stop_gradient(jnp.where(is_target > 0, iou, 0.75 * p**2))
    return jnp.stack(
        [(weight * bce).sum() * counts, found * 5 * jnp.abs(boxes[0] - TARGET).sum(), found * 2 * (1 - giou)]
    )


def side_parts(params, prefix, found, counts):
    """(FGL, DDF) of the two decoder layers and two queries of one image, without their weights."""
    sides, boxes = params[f"{prefix}side_logits"], params[f"{prefix}boxes"]
    center, size = INITIAL_BOXES[0, :2], INITIAL_BOXES[0, 2:]
    distances = np.concatenate([center - TARGET_CORNERS[:2], TARGET_CORNERS[2:] - center])
    true_shifts = distances / np.tile(size, 2) - 0.5
    fine = 0.0
    for layer in (0, 1):
        log_probs = jax.nn.log_softmax(sides[layer, 0])
        iou = jax.lax.stop_gradient(overlap(boxes[-2 + layer, 0])[0])
        for side, shift in enumerate(true_shifts):
            left = int(np.floor((shift + 1) / 0.5))
            right = (shift - VALUES[left]) / 0.5
            fine -= found * iou * ((1 - right) * log_probs[side, left] + right * log_probs[side, left + 1])
    student, teacher = jax.nn.softmax(sides[0] / 2), jax.lax.stop_gradient(jax.nn.softmax(sides[1] / 2))
    kl = (teacher * jnp.log(teacher / student)).sum(-1).mean(-1)
    scores = jax.lax.stop_gradient(jax.nn.sigmoid(params[f"{prefix}logits"][-1]).max(-1))
    iou = jax.lax.stop_gradient(overlap(boxes[-2, 0])[0])
    # One matched and one other query weigh 1/2 each; without a box two others share the mean.
    mean = (iou * kl[0] + scores[1] * kl[1]) / 2 if found else (scores * kl).mean()
    return jnp.stack([fine, 4 * mean * counts])


@pytest.mark.slow(unless=["True"])
@pytest.mark.covers("DE-29")
@pytest.mark.parametrize("found", [True, False])
def test_losses_of_the_distributions_by_hand(found):
    params = jax.tree.map(jnp.float32, initial_params(np.random.default_rng(1)))
    owner = jnp.array([0 if found else -1, -1])
    counts = jnp.full(2, found)

    @jax.jit
    def call(params):
        outputs = FineOutputs(**params, values=jnp.asarray(VALUES, jnp.float32))
        owners = jnp.tile(owner, (4, 1))
        return refinement_losses(outputs, owners, owner, counts, jnp.asarray(TARGET)[None], weights=WEIGHTS)

    losses = jax.device_get(call(params))
    for prefix, name, count in (("", "", 1), ("noisy_", "denoising_", float(found))):
        fine, distillation = side_parts(params, prefix, found, count)
        assert losses[f"{name}fine_grained"] == pytest.approx(0.3 * float(fine), rel=1e-4)
        value, images = losses[f"{name}distillation"]
        assert value == pytest.approx(1.2 * float(distillation), rel=1e-4)
        assert images == 1


class Stub(nn.Module):
    """Parameters as outputs, for any image."""

    @nn.compact
    def __call__(self, x, train=False):
        shapes = jax.tree.map(np.shape, initial_params(np.random.default_rng(0)), is_leaf=lambda a: hasattr(a, "shape"))
        parts = {name: self.param(name, nn.initializers.zeros, shape) for name, shape in shapes.items()}
        parts["values"] = jnp.asarray(VALUES, jnp.float32)
        parts = {name: jnp.broadcast_to(part, (len(x), *part.shape)) for name, part in parts.items()}
        return FineOutputs(**parts), np.full(4, 16, np.float32)


@pytest.mark.slow
@pytest.mark.covers("DE-29")
def test_one_update_by_hand():
    """The second image has no box, so that sums are divided by one box, and distillation by two images."""
    rate = 0.01
    learner = d_fine.learner(model=Stub(), optimizer=optax.sgd(rate), refinement=WEIGHTS)
    params = jax.tree.map(np.float32, initial_params(np.random.default_rng(0)))
    state = ModelState(np.int32(0), jax.random.key(0), params, optax.sgd(rate).init(params), {})
    edges = np.float32(16 * TARGET_CORNERS)
    batch = {
        "image": np.zeros((2, 16, 16, 3), np.float32),
        "boxes": np.stack([edges[None], np.zeros((1, 4), np.float32)]),
        "labels": np.array([[1], [-1]]),
        "box_mask": np.array([[True], [False]]),
        "index": np.arange(2),
    }
    after, metrics = jax.jit(learner.update)(state, batch)

    @jax.jit
    def parts(params):
        total, logits, boxes = {}, params["logits"], params["boxes"]
        layers = [box_parts(logits[i], boxes[i], 1.0, 1) + box_parts(logits[i], boxes[i], 0.0, 1) for i in range(4)]
        noisy = [box_parts(params["noisy_logits"][i], params["noisy_boxes"][i], 1.0, 1) for i in range(3)]
        groups = {"": layers[3], "auxiliary_": sum(layers[:3]), "denoising_": sum(noisy)}
        for prefix, values in groups.items():
            total |= {prefix + name: v for name, v in zip(("classification", "box", "giou"), values, strict=True)}
        images = [side_parts(params, "", 1.0, 1), side_parts(params, "", 0.0, 1)]
        total["fine_grained"], total["distillation"] = 0.3 * images[0][0], 1.2 * (images[0][1] + images[1][1]) / 2
        fine, distillation = side_parts(params, "noisy_", 1.0, 1)
        total["denoising_fine_grained"], total["denoising_distillation"] = 0.3 * fine, 1.2 * distillation / 2
        return total

    expected = jax.device_get(parts(params))
    for name, value in expected.items():
        assert metrics[name].compute() == pytest.approx(float(value), rel=1e-4), name
    gradients = jax.jit(jax.grad(lambda params: sum(parts(params).values())))(params)
    new = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
    chex.assert_trees_all_close(after.params, new, rtol=1e-4, atol=1e-6)


BACKBONE = HGNetV2(stem_widths=(4, 4), widths=(4,) * 4, mid_widths=(4,) * 4, stages=(1,) * 4, num_layers=(1,) * 4)
MODEL = DFINE(
    BACKBONE,
    3,
    num_queries=6,
    features=8,
    num_heads=2,
    hidden_features=8,
    decoder_layers=2,
    encoder_features=8,
    encoder_heads=2,
    encoder_hidden_features=8,
    encoder_blocks=1,
    num_denoising=4,
    num_bins=4,
)


@pytest.mark.weekly
@pytest.mark.covers("DE-29")
def test_before_training_all_layers_have_the_first_box_and_nothing_trains_the_shifts():
    x = jax.random.normal(jax.random.key(1), (1, 64, 64, 3))
    variables = jax.jit(MODEL.init)(jax.random.key(0), x)
    outputs, _ = jax.jit(MODEL.apply)(variables, x)
    chex.assert_shape(outputs.logits, (1, 4, 6, 3))  # of the proposals, of b_0, and of two layers
    np.testing.assert_allclose(outputs.boxes[:, 2:], np.repeat(outputs.boxes[:, 1:2], 2, 1), atol=1e-6)
    np.testing.assert_allclose(outputs.values[0], weighting_function(4), atol=1e-6)
    assert {"reg_scale", "up"} <= set(variables["batch_stats"])


def test_bad_input_is_named():
    def build(**fields):
        model = MODEL.clone(**fields)
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3))))

    with pytest.raises(ValueError, match="num_bins=5: odd or below 4; allowed: even numbers from 4"):
        build(num_bins=5)


def test_the_wiring_of_hgnet_is_as_it_was():
    """A regression: the number holds the code as it was. Two layers, a residual block, scales after ReLU."""
    fields = {"stages": (1, 2, 1, 1), "num_layers": (2, 1, 1, 2), "affine": True}
    assert_wiring(BACKBONE.clone(**fields), (1, 64, 96, 3), [66.570969, -0.811642], train=False, method="features")


def test_maps_of_hgnet_have_strides_4_4_8_16_and_32_and_the_widths_of_their_stages():
    net = BACKBONE.clone(stem_widths=(4, 6), widths=(8, 10, 12, 14), dtype=jnp.bfloat16)
    shape = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    maps, variables = jax.eval_shape(
        lambda x: net.init_with_output(jax.random.key(0), x, train=False, method="features"), shape
    )
    assert {name: (*leaf.shape, leaf.dtype.name) for name, leaf in maps.items()} == {
        "stem": (2, 16, 24, 6, "bfloat16"),
        "layer1": (2, 16, 24, 8, "bfloat16"),
        "layer2": (2, 8, 12, 10, "bfloat16"),
        "layer3": (2, 4, 6, 12, "bfloat16"),
        "layer4": (2, 2, 3, 14, "bfloat16"),
    }
    params = variables["params"]
    kernels = {path: leaf.shape for path, leaf in flatten_dict(params, sep="/").items() if path.endswith("kernel")}
    assert kernels["stem1/convolution/kernel"] == (3, 3, 3, 4)
    assert kernels["stem2a/convolution/kernel"] == (2, 2, 4, 2)
    assert kernels["stem2b/convolution/kernel"] == (2, 2, 2, 4)
    assert kernels["stem3/convolution/kernel"] == (3, 3, 8, 4)  # pooled and convolved maps side by side
    assert kernels["layer1_downsample/convolution/kernel"] == (3, 3, 1, 8)  # depthwise
    assert kernels["layer0_0/layers_0/convolution/kernel"] == (3, 3, 6, 4)
    assert kernels["layer3_0/layers_0/conv1/convolution/kernel"] == (1, 1, 12, 4)
    assert kernels["layer3_0/layers_0/conv2/convolution/kernel"] == (5, 5, 1, 4)  # depthwise, of 5 by 5
    assert kernels["layer0_0/aggregation_0/convolution/kernel"] == (1, 1, 6 + 4, 4)  # the input beside one layer
    assert not any("lab_" in path for path in flatten_dict(params, sep="/"))


def test_names_of_hgnet_become_those_of_transformers():
    def renamed(name):
        for old, new in HGNET_V2_NAMES:
            name = re.sub(old, new, name)
        return name.removeprefix("model.backbone.model.")

    prefix = "model.backbone.model."
    assert renamed(f"{prefix}stem2a.convolution.weight") == "embedder.stem2a.convolution.weight"
    assert renamed(f"{prefix}layer2_downsample.lab_scale") == "encoder.stages.2.downsample.lab.scale"
    assert renamed(f"{prefix}layer0.12.layers.3.lab_bias") == "encoder.stages.0.blocks.12.layers.3.lab.bias"


@pytest.mark.covers("DE-29")
def test_the_wiring_of_d_fine_is_as_it_was():
    """A regression: the numbers are of the code that the golden of the weekly tier holds. In training, with two
    groups of denoising queries before learned ones."""
    model = DFINE(Image(), 3, ("only",), num_queries=5, features=8, num_heads=2, hidden_features=8, decoder_layers=2,
                  num_levels=1, num_points=(1,), encoder_features=8, encoder_layers=0, encoder_levels=(),
                  encoder_blocks=0, learned_queries=True, num_denoising=5, num_bins=4, num_probabilities=2,
                  quality_features=4)  # fmt: skip
    assert_wiring(model, (2, 4, 6, 3), [115.09, 74.6034], train=True, targets=TARGETS)

"""Numbers, masks and carries that would give wrong results silently, and layers without features, are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import nn
from dlcore.adversarial.queries import simba
from dlcore.classic_ml import logistic
from dlcore.classical_vision.alignment import fit_similarity
from dlcore.classical_vision.color_histogram import color_histogram
from dlcore.classical_vision.corners import harris_response, shi_tomasi_response
from dlcore.classical_vision.fisher_vector import fisher_vector
from dlcore.classical_vision.hog import hog
from dlcore.classical_vision.homography import fit_homography, warp_perspective
from dlcore.classical_vision.ransac import fit_line
from dlcore.classical_vision.retrieval import search
from dlcore.cost.formulas import dense_parameters
from dlcore.data.sentiment import word_counts
from dlcore.detection.fcos import centerness
from dlcore.detection.localization import mean_size_boxes
from dlcore.detection.mask_rcnn import mask_targets
from dlcore.detection.rcnn import warp_regions
from dlcore.diagnostics.dependence import dependence
from dlcore.diagnostics.gradient_check import verdict
from dlcore.evaluators.pitch import spectral_pitch
from dlcore.generative.image_to_image import l1
from dlcore.generative.latents import principal_directions
from dlcore.generative.vq_vae import codebook_from
from dlcore.interpretability.class_image import random_shift
from dlcore.interpretability.dissection import concept_iou
from dlcore.nn.cache import Cache
from dlcore.nn.ode import odeint
from dlcore.nn.position import relative_buckets, sinusoidal_encoding
from dlcore.nn.recurrent_cells import RECURRENT_CELLS
from dlcore.ops import camera, conv_general_dilated
from dlcore.optim.apply import optimizer_step
from dlcore.optim.constraints import project_max_norm
from dlcore.rl import dynamic_programming, inverse, mdp
from dlcore.rl.distributions import DiagonalGaussian, TanhGaussian
from dlcore.rl.rollout import generalized_advantages
from dlcore.search.population import exploit
from dlcore.segmentation import everything
from dlcore.segmentation.grabcut import neighbor_weights
from dlcore.self_supervised.deep_cluster import cluster
from dlcore.self_supervised.frame_order import frame_order
from dlcore.sequence.char_rnn import chunk_at
from dlcore.sequence.decoding import generate
from dlcore.transfer.active import core_set
from dlcore.transfer.gradient_reversal import reversal_strength
from dlcore.video.correlation import lookup_correlation
from dlcore.vision3d.implicit_surface import grid_points
from dlcore.vision3d.mesh_rcnn import cubify_masks
from dlcore.vision3d.octree import decode_octree, octree_from_distance, octree_occupancy

KEY, RNG = jax.random.key(0), np.random.default_rng(0)
Z, TOKENS = jnp.ones((3, 2)), jnp.ones((1, 3, 1, 2))
ENDLESS = mdp.make(np.zeros((1, 1, 1)), np.ones((1, 1, 1)), 1.0, gamma=0.5)
SHOWN = inverse.Demonstrations(np.zeros((1, 1), int), np.zeros((1, 1), int), 1)
MEANS, DEVIATIONS = jnp.ones(2), jnp.ones((3, 2))
NOTHING = jnp.ones((0, 2))
IMAGES = np.ones((1, 24, 24, 1), np.float32)
CORNERS = np.array([[0, 1.0], [2, 5]])
SQUARE = np.array([[0, 0], [2, 0], [2, 2], [0, 2.0]])


def attend(**arguments):
    return nn.dot_product_attention(TOKENS, TOKENS, TOKENS, **arguments)


def tokens_at(temperature):
    return generate(lambda carry, tokens: (carry, Z), 0, Z, jax.random.split(KEY, 3), 2, temperature)


def laid(layer, *shapes, **arguments):
    """Shapes of a layer's variables, which the check of a field comes before."""
    return jax.eval_shape(lambda *x: layer.init(KEY, *x, **arguments), *(jnp.zeros(shape) for shape in shapes))


CASES = {
    "a convolution's stride": (lambda: nn.Conv(4, (3, 3), strides=0), "strides=0: does not fit 2 axes; allowed: whole"),
    "a convolution's strides": (lambda: nn.Conv(4, (3, 3), strides=(2, 2, 2)), r"strides=\(2, 2, 2\): does not fit"),
    "a convolution's kernel": (lambda: nn.Conv(4, (3, 2.5)), r"kernel_size=\(3, 2.5\): does not fit"),
    "a convolution's padding": (lambda: nn.Conv(4, (3, 3), padding="EVEN"), "padding='EVEN': unknown; allowed: SAME"),
    "a convolution's paddings": (lambda: nn.Conv(4, (3, 3), padding=(1, 0.5)), r"padding=\(1, 0.5\): does not fit"),
    "a convolution's groups": (
        lambda: laid(nn.Conv(4, (3, 3), feature_group_count=4), (1, 5, 5, 6)),
        "feature_group_count=4: not a divisor; allowed: of 6",
    ),
    "a sequence for an image": (lambda: laid(nn.Conv(4, (3, 3)), (5, 6)), r"inputs.shape=\(5, 6\): too few axes"),
    "layers of a stack": (lambda: nn.RecurrentStack(4, 0), "num_layers=0: too small; allowed: at least 1"),
    "half a state": (lambda: nn.Recurrent(2.5), "features=2.5: no whole number"),
    "steps of a loop": (lambda: nn.Recurrent(4, unroll=0), "unroll=0: too small; allowed: at least 1"),
    "heads of keys": (lambda: nn.MultiHeadAttention(2, num_kv_heads=0), "num_kv_heads=0: too small"),
    "turning pairs": (lambda: nn.MultiHeadAttention(2, rotary_pairs="thirds"), "rotary_pairs='thirds': unknown"),
    "scale of no scores": (lambda: attend(scale=0.0), "scale=0: out of range; allowed: above 0"),
    "kernel of a recurrent map": (
        lambda: nn.ConvRecurrent(4, (3, 3, 3)).initial_carry(1, (2, 2)),
        r"kernel_size=\(3, 3, 3\): not a size",
    ),
    "reduction": (lambda: nn.SAGANAttention(0), "reduction=0: too small; allowed: at least 1"),
    "sides of a depthwise kernel": (
        lambda: laid(nn.DepthwiseSeparableConv(4, (3,)), (1, 5, 5, 2)),
        r"kernel_size=\(3,\): not two sides; allowed: \(rows, columns\)",
    ),
    "strides of two convolutions": (
        lambda: laid(nn.FactorizedConv(4, 3, strides=(2, 2, 2)), (1, 5, 5, 2)),
        r"strides=\(2, 2, 2\): not a size",
    ),
    "window of three numbers": (
        lambda: laid(nn.ContinuousPositionBias((2, 3, 2), 2)),
        r"window=\(2, 3, 2\): not a size",
    ),
    "window without pixels": (lambda: laid(nn.RelativePositionBias((2, 0), 2)), r"window=\(2, 0\): no window"),
    "styles": (lambda: nn.ConditionalInstanceNorm(0), "num_styles=0: too small; allowed: at least 1"),
    "points of other levels": (
        lambda: laid(nn.DeformableAttention(2, (1, 2)), (1, 3, 4), (1, 3, 1, 2), (1, 4, 4), shapes=((2, 2),)),
        r"num_points=\(1, 2\): for 1 levels; allowed: one number for each",
    ),
    "method of a model": (
        lambda: nn.apply_model(nn.Dense(2), {}, {}, Z, train=False, method="embed"),
        "method='embed': Dense has none such",
    ),
    "gradients that broadcast": (
        lambda: optimizer_step(optax.sgd(0.1), {"w": jnp.ones(1)}, (), {"w": jnp.ones(3)}),
        r"gradients: w of shape \(1,\); allowed: \(3,\)",
    ),
    "a memory of another size": (
        lambda: nn.linear_attention_step(nn.FastWeights(jnp.ones((2, 3)), jnp.ones(2)), Z[0], Z[0], Z[0]),
        r"matrix=float32\[2, 3\]: wrong shape",
    ),
    "strides of a program": (
        lambda: conv_general_dilated(
            jnp.ones((1, 4, 4, 1)), jnp.ones((2, 2, 1, 1)), (1, 1.5), "VALID", None, None, ("NHWC", "HWIO", "NHWC")
        ),
        r"window_strides=\(1, 1.5\): does not fit; allowed: 2 whole numbers of at least 1",
    ),
    "images at a time": (lambda: hog(IMAGES, batch_size=0), "batch_size=0: too small; allowed: at least 1"),
    "target": (lambda: logistic.fit_binary(Z, jnp.array([0, 5, 1]), 1.0), r"target\[1\]=5: unknown; allowed: 0, 1"),
    "positions": (lambda: sinusoidal_encoding(-3, 4), "positions=-3: too small; allowed: at least 0"),
    "half a position": (lambda: sinusoidal_encoding(2.5, 4), "positions=2.5: no whole number"),
    "buckets": (lambda: relative_buckets(jnp.arange(3), 8.5), "num_buckets=8.5: no whole number"),
    "distance": (lambda: relative_buckets(jnp.arange(3), 8, 20.5), "max_distance=20.5: no whole number"),
    "steps of a solver": (
        lambda: odeint(lambda theta, t, h: h, 0.0, 1.0, jnp.arange(2.0), steps=1.5),
        "steps=1.5: no whole number; allowed: integers from 1",
    ),
    "steps of a lens": (
        lambda: camera.undistort(Z, jnp.zeros(4), steps=-1),
        "steps=-1: too small; allowed: at least 1",
    ),
    "mask of more rows": (
        lambda: attend(mask=jnp.ones((2, 1, 3, 3), bool)),
        r"mask.shape=\(2, 1, 3, 3\): does not fit; allowed: what broadcasts to \(1, 1, 3, 3\)",
    ),
    "bias of more axes": (
        lambda: attend(bias=jnp.ones((1, 1, 1, 3, 3))),
        r"bias.shape=\(1, 1, 1, 3, 3\): does not fit",
    ),
    "queries": (
        lambda: nn.dot_product_attention(jnp.ones((2, 3, 1, 2)), TOKENS, TOKENS),
        r"query.shape=\(2, 3, 1, 2\), key.shape=\(1, 3, 1, 2\): do not fit",
    ),
    "mask of dropped weights": (
        lambda: jax.eval_shape(
            lambda x, mask: nn.MultiHeadAttention(1, dropout_rate=0.5).init({"params": KEY}, x, mask=mask, train=True),
            TOKENS[..., 0, :],
            jnp.ones((2, 1, 3, 3), bool),
        ),
        r"mask.shape=\(2, 1, 3, 3\): does not fit",
    ),
    "share": (lambda: exploit(np.arange(4.0), RNG, 0), r"share=0: out of range; allowed: \(0, 0.5\]"),
    "two shares": (lambda: exploit(np.arange(4.0), RNG, 2), "share=2: out of range"),
    "tolerance": (
        lambda: dynamic_programming.value_iteration(ENDLESS, -1.0),
        "tolerance=-1: out of range; allowed: at least 0",
    ),
    "sweeps": (lambda: dynamic_programming.policy_iteration(ENDLESS, max_sweeps=0), "max_sweeps=0: out of range"),
    "successor": (
        lambda: mdp.make(np.full((1, 1, 1), 0.5), np.ones((1, 1, 1)), 1.0, gamma=0.5),
        "successor=0.5: no whole number; allowed: numbers of states",
    ),
    "deviations": (lambda: DiagonalGaussian(MEANS, DEVIATIONS).sample(KEY), r"log_std=float32\[3, 2\]: wrong shape"),
    "density": (lambda: DiagonalGaussian(MEANS, DEVIATIONS).log_prob(MEANS), r"log_std=float32\[3, 2\]: wrong shape"),
    "entropy": (lambda: DiagonalGaussian(MEANS, DEVIATIONS).entropy(), r"log_std=float32\[3, 2\]: wrong shape"),
    "squashed": (lambda: TanhGaussian(MEANS, DEVIATIONS).sample(KEY), r"log_std=float32\[3, 2\]: wrong shape"),
    "corners": (lambda: grid_points(0), "resolution=0: too small; allowed: at least 2"),
    "cube": (lambda: grid_points(2, 0.0), "half_side=0: out of range; allowed: above 0"),
    "cells": (lambda: everything.grid_points(0, 8), "points_per_side=0: too small; allowed: at least 1"),
    "tree": (lambda: octree_occupancy(jnp.zeros(1, int), jnp.zeros(3), 0.0), "half_side=0: out of range"),
    "voxels": (lambda: decode_octree(jnp.zeros(1, int), 2.5), "resolution=2.5: no whole number"),
    "features": (lambda: nn.Dense(0), "features=0: too small; allowed: at least 1"),
    "image below a kernel": (
        lambda: jax.eval_shape(nn.Conv(2, (7, 7), padding="VALID").init, KEY, jnp.ones((1, 9, 5, 3))),
        r"inputs.shape=\(1, 9, 5, 3\): no place for kernel_size=\(7, 7\); allowed",
    ),
    "rows of a cache": (
        lambda: Cache.zeros(2, 4, 1, 2).append(TOKENS[:, :1], TOKENS[:, :1]),
        r"length=int32\[2\]: wrong shape or dtype; allowed: \[1\]",
    ),
    "axis of a norm": (lambda: project_max_norm(Z, 1.0, axis=2), "axis=2: not an axis; allowed: -2 to 1"),
    "channels": (lambda: nn.Conv(0, (3, 3)), "features=0: too small; allowed: at least 1"),
    "transposed": (
        lambda: jax.eval_shape(nn.ConvTranspose(0, (3, 3)).init, KEY, jnp.ones((1, 4, 4, 1))),
        "features=0: too small; allowed: at least 1",
    ),
    "heads": (
        lambda: jax.eval_shape(nn.MultiHeadAttention(0).init, KEY, Z),
        "num_heads=0: too small; allowed: at least 1",
    ),
    "rollout": (
        lambda: generalized_advantages(*[NOTHING] * 3, *[NOTHING > 0] * 2, 0.9, 0.9),
        r"reward.shape=\(0, 2\): no steps; allowed: at least one",
    ),
    "temperatures": (lambda: tokens_at([3]), r"temperature=int32\[1\]: wrong shape or dtype; allowed: \[3\]"),
    "weight of a point": (
        lambda: fit_similarity(CORNERS, CORNERS, np.array([1, -1.0])),
        r"weights\[1\]=-1: no mask",
    ),
    "weights of more points": (
        lambda: fit_line(CORNERS, np.ones((2, 1))),
        r"weights=float32\[2, 1\]: wrong shape or dtype; allowed: \[2\]",
    ),
    "weight of a corner": (
        lambda: fit_homography(SQUARE / 2, SQUARE, np.array([1, 1, 1, -2.0])),
        r"weights\[3\]=-2: no mask",
    ),
    "pixel of a histogram": (
        lambda: color_histogram(np.full((1, 1, 1, 1), np.nan), 2),
        r"images\[0, 0, 0, 0\]=nan: not finite",
    ),
    "noise of integers": (lambda: nn.stochastic_gelu(KEY, np.arange(3)), r"x=int32\[3\]: no floats; allowed"),
    "counts of fractions": (lambda: word_counts(np.ones((2, 3))), r"text=float32\[2, 3\]: wrong shape or dtype"),
    "base of a local norm": (lambda: nn.local_response_norm(TOKENS, k=-1.0), "k=-1: out of range; allowed: at least 0"),
    "weight of edges": (lambda: harris_response(DEVIATIONS, k=-1.0), "k=-1: out of range; allowed: at least 0"),
    "window of corners": (lambda: harris_response(DEVIATIONS, 0.0), "sigma=0: out of range; allowed: above 0"),
    "window of other corners": (lambda: shi_tomasi_response(DEVIATIONS, 0.0), "sigma=0: out of range"),
    "variance of a mixture": (
        lambda: fisher_vector(DEVIATIONS, np.ones(1), np.ones((1, 2)), np.array([[1, 0.0]])),
        "variances=0: out of range; allowed: above 0",
    ),
    "weights of a mixture": (
        lambda: fisher_vector(DEVIATIONS, np.ones(2), np.ones((2, 2)), np.ones((2, 2))),
        r"weights=\[1. 1.\]: sums to 2",
    ),
    "empty mixture": (
        lambda: fisher_vector(DEVIATIONS, np.array([1, 0.0]), np.ones((2, 2)), np.ones((2, 2))),
        "weights=0: out of range; allowed: above 0",
    ),
    "rows of a picture": (
        lambda: warp_perspective(jnp.zeros((2, 3, 1)), np.eye(3), (0, 2)),
        "rows=0: out of range; allowed: at least 1",
    ),
    "columns of a picture": (
        lambda: warp_perspective(jnp.zeros((2, 3, 1)), np.eye(3), (2, 1.5)),
        "columns=1.5: no whole number",
    ),
    "query of a search": (lambda: search(np.full((1, 2), np.nan), CORNERS, 1), r"queries\[0, 0\]=nan: not finite"),
    "gallery of a search": (
        lambda: search(CORNERS, np.array([[0, np.inf]]), 1),
        r"gallery\[0, 1\]=inf: not finite",
    ),
    "rate of a sound": (lambda: spectral_pitch(np.ones(4), 0), "sample_rate=0: out of range; allowed: above 0"),
    "queries of an attack": (
        lambda: simba(lambda image: image[0, 0], KEY, np.zeros((1, 1, 2)), 0, max_queries=0),
        "max_queries=0: out of range; allowed: at least 1",
    ),
    "inputs of a layer": (lambda: dense_parameters(2.5, 3), "inputs=2.5: no whole number"),
    "no box": (lambda: mean_size_boxes(np.zeros((0, 4)), (8, 8)), "boxes: none; allowed: at least one"),
    "flipped box": (lambda: mean_size_boxes(np.array([[2, 0, 1, 1.0]]), (8, 8)), r"boxes\[0\]=.*: flipped"),
    "height of images": (lambda: mean_size_boxes(np.ones((1, 4)), (0, 8)), r"size=\(0, 8\): no size"),
    "width of images": (lambda: mean_size_boxes(np.ones((1, 4)), (8, 0)), r"size=\(8, 0\): no size"),
    "three distances": (lambda: centerness(jnp.ones((2, 3))), r"distances=float32\[2, 3\]: wrong shape"),
    "mask of a proposal": (
        lambda: mask_targets(np.ones((2, 4, 4)), np.array([0, 2]), np.zeros((2, 4))),
        r"matched\[1\]=2: out of range; allowed: 0 to 1, of 2 masks",
    ),
    "share of a pixel": (
        lambda: mask_targets(np.ones((2, 4, 4)), np.array([0, 1]), np.zeros((2, 4)), threshold=1.5),
        "threshold=1.5: out of range; allowed: 0 to 1",
    ),
    "context of a region": (
        lambda: warp_regions(np.ones((1, 4, 4, 1)), np.zeros((1, 1, 4)), 2, context=-0.5),
        "context=-0.5: out of range; allowed: at least 0",
    ),
    "axis of an input": (lambda: dependence(jnp.sum, Z, axis=2), "axis=2: x has 2 axes; allowed: 0 to 1"),
    "axis from the end": (lambda: dependence(jnp.sum, Z, axis=-1), "axis=-1: x has 2 axes"),
    "error below 0": (lambda: verdict(-1.0), "error=-1.0: out of range; allowed: at least 0"),
    "images of other channels": (
        lambda: l1(np.ones((1, 2, 2, 3)), np.ones((1, 2, 2, 1))),
        r"b=float32\[1, 2, 2, 1\]: wrong shape",
    ),
    "code of a latent": (lambda: principal_directions(np.diag([1, np.nan]), 1), r"codes\[1, 1\]=nan: not finite"),
    "output of an encoder": (lambda: codebook_from(KEY, np.diag([1, np.nan]), 1), r"z\[1, 1\]=nan: not finite"),
    "shift of an image": (lambda: random_shift(np.ones((2, 2, 1)), KEY, -1), "jitter=-1: out of range"),
    "thresholds of channels": (
        lambda: concept_iou(np.ones((1, 2, 2, 3)), np.ones((1, 2, 2, 1)), np.ones(2)),
        r"thresholds=float32\[2\]: wrong shape or dtype; allowed: \[3\]",
    ),
    "price of neighbors": (lambda: neighbor_weights(np.ones((2, 2, 3)), -1.0), "gamma=-1: out of range"),
    "color of neighbors": (
        lambda: neighbor_weights(np.full((2, 2, 3), np.nan), 1.0),
        r"colors\[0, 0, 0\]=nan: not finite",
    ),
    "principal components": (lambda: cluster(KEY, np.ones((3, 2)), 2, dims=0), "dims=0: out of range"),
    "stride of frames": (lambda: frame_order(0), "stride=0: out of range; allowed: at least 1"),
    "length of a chunk": (lambda: chunk_at(np.ones((1, 4), int), 0, 0), "chunk_length=0: out of range"),
    "labels of fewer examples": (
        lambda: core_set(DEVIATIONS, np.array([True, False]), 1),
        r"labeled=bool\[2\]: wrong shape or dtype; allowed: \[3\]",
    ),
    "rise of a strength": (lambda: reversal_strength(0.5, 0.0), "sharpness=0: out of range; allowed: above 0"),
    "grid of two axes": (lambda: cubify_masks(np.ones((2, 2))), r"occupancy=float32\[2, 2\]: wrong shape"),
    "side of a tree": (lambda: octree_from_distance(len, 1, half_side=0.0), "half_side=0: out of range"),
    "radius of a lookup": (
        lambda: lookup_correlation((np.ones((1, 2, 2, 2, 2)),), np.ones((1, 2, 2, 2)), -1),
        "radius=-1: out of range; allowed: at least 0",
    ),
    "steps of Adam": (lambda: inverse.explain(ENDLESS, SHOWN, steps=0), "steps=0: too small; allowed: at least 1"),
}


@pytest.mark.parametrize("case", CASES)
def test_numbers_and_shapes_that_cannot_be_are_named(case):
    call, message = CASES[case]
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


@pytest.mark.parametrize("name", RECURRENT_CELLS)
def test_a_cell_names_gates_and_states_that_would_broadcast(name):
    cell = RECURRENT_CELLS[name]
    peephole = {"peephole": jnp.ones((3, 3))} if cell.peepholes else {}

    def step(hidden, rows, a, u):
        return cell.step((jnp.ones((rows, hidden)),) * cell.states, jnp.ones(a), jnp.ones(u), **peephole)

    width = 3 * cell.gates
    assert step(3, 2, (2, width), (2, width))[0].shape == (2, 3)
    for hidden, rows, a, u, wrong in (
        (1, 2, (2, width), (2, width), "a"),
        (3, 1, (2, width), (2, width), "a"),
        (3, 2, (2, width), (1, width), "u"),
    ):
        with pytest.raises(ValueError, match=rf"^{wrong}=float32\[.*\]: wrong shape or dtype"):
            step(hidden, rows, a, u)


def test_a_mask_and_a_bias_of_size_1_are_shared():
    x = jnp.ones((2, 3, 2, 4))
    for shape in ((3, 3), (1, 1, 3), (2, 1, 1, 3), (1, 2, 3, 3)):
        options = {"mask": jnp.ones(shape, bool), "bias": jnp.zeros(shape)}
        y = jax.eval_shape(lambda x, options: nn.dot_product_attention(x, x, x, **options), x, options)
        assert y.shape == x.shape

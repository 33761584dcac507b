"""Numbers, masks and carries that would give wrong results silently, and layers without features, are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import nn
from dlcore.classical_vision.alignment import fit_similarity
from dlcore.classical_vision.fisher_vector import fisher_vector
from dlcore.classical_vision.homography import fit_homography, warp_perspective
from dlcore.cost.formulas import dense_parameters
from dlcore.detection.localization import mean_size_boxes
from dlcore.diagnostics.dependence import dependence
from dlcore.diagnostics.gradient_check import verdict
from dlcore.nn.recurrent_cells import RECURRENT_CELLS
from dlcore.ops import conv_general_dilated
from dlcore.optim.apply import optimizer_step
from dlcore.optim.constraints import project_max_norm
from dlcore.rl import mdp
from dlcore.rl.rollout import generalized_advantages
from dlcore.video.correlation import lookup_correlation
from dlcore.vision3d.implicit_surface import grid_points
from dlcore.vision3d.octree import decode_octree

KEY, RNG = jax.random.key(0), np.random.default_rng(0)
Z, TOKENS = jnp.ones((3, 2)), jnp.ones((1, 3, 1, 2))
MEANS, DEVIATIONS = jnp.ones(2), jnp.ones((3, 2))
NOTHING = jnp.ones((0, 2))
CORNERS = np.array([[0, 1.0], [2, 5]])
SQUARE = np.array([[0, 0], [2, 0], [2, 2], [0, 2.0]])


def attend(**arguments):
    return nn.dot_product_attention(TOKENS, TOKENS, TOKENS, **arguments)


def laid(layer, *shapes, **arguments):
    """Shapes of a layer's variables, which the check of a field comes before."""
    return jax.eval_shape(lambda *x: layer.init(KEY, *x, **arguments), *(jnp.zeros(shape) for shape in shapes))


CASES = {
    "a convolution's stride": (lambda: nn.Conv(4, (3, 3), strides=0), "strides=0: does not fit 2 axes; allowed: whole"),
    "a convolution's strides": (lambda: nn.Conv(4, (3, 3), strides=(2, 2, 2)), r"strides=\(2, 2, 2\): does not fit"),
    "a convolution's kernel": (lambda: nn.Conv(4, (3, 2.5)), r"kernel_size=\(3, 2.5\): does not fit"),
    "a convolution's paddings": (lambda: nn.Conv(4, (3, 3), padding=(1, 0.5)), r"padding=\(1, 0.5\): does not fit"),
    "a convolution's groups": (
        lambda: laid(nn.Conv(4, (3, 3), feature_group_count=4), (1, 5, 5, 6)),
        "feature_group_count=4: not a divisor; allowed: of 6",
    ),
    "a sequence for an image": (lambda: laid(nn.Conv(4, (3, 3)), (5, 6)), r"inputs.shape=\(5, 6\): too few axes"),
    "layers of a stack": (lambda: nn.RecurrentStack(4, 0), "num_layers=0: too small; allowed: at least 1"),
    "steps of a loop": (lambda: nn.Recurrent(4, unroll=0), "unroll=0: too small; allowed: at least 1"),
    "heads of keys": (lambda: nn.MultiHeadAttention(2, num_kv_heads=0), "num_kv_heads=0: too small"),
    "turning pairs": (lambda: nn.MultiHeadAttention(2, rotary_pairs="thirds"), "rotary_pairs='thirds': unknown"),
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
    "strides of a program": (
        lambda: conv_general_dilated(
            jnp.ones((1, 4, 4, 1)), jnp.ones((2, 2, 1, 1)), (1, 1.5), "VALID", None, None, ("NHWC", "HWIO", "NHWC")
        ),
        r"window_strides=\(1, 1.5\): does not fit; allowed: 2 whole numbers of at least 1",
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
    "successor": (
        lambda: mdp.make(np.full((1, 1, 1), 0.5), np.ones((1, 1, 1)), 1.0, gamma=0.5),
        "successor=0.5: no whole number; allowed: numbers of states",
    ),
    "corners": (lambda: grid_points(0), "resolution=0: too small; allowed: at least 2"),
    "voxels": (lambda: decode_octree(jnp.zeros(1, int), 2.5), "resolution=2.5: no whole number"),
    "image below a kernel": (
        lambda: jax.eval_shape(nn.Conv(2, (7, 7), padding="VALID").init, KEY, jnp.ones((1, 9, 5, 3))),
        r"inputs.shape=\(1, 9, 5, 3\): no place for kernel_size=\(7, 7\); allowed",
    ),
    "axis of a norm": (lambda: project_max_norm(Z, 1.0, axis=2), "axis=2: not an axis; allowed: -2 to 1"),
    "heads": (
        lambda: jax.eval_shape(nn.MultiHeadAttention(0).init, KEY, Z),
        "num_heads=0: too small; allowed: at least 1",
    ),
    "rollout": (
        lambda: generalized_advantages(*[NOTHING] * 3, *[NOTHING > 0] * 2, 0.9, 0.9),
        r"reward.shape=\(0, 2\): no steps; allowed: at least one",
    ),
    "weight of a point": (lambda: fit_similarity(CORNERS, CORNERS, np.array([1, -1.0])), r"weights\[1\]=-1: no mask"),
    "weight of a corner": (
        lambda: fit_homography(SQUARE / 2, SQUARE, np.array([1, 1, 1, -2.0])),
        r"weights\[3\]=-2: no mask",
    ),
    "noise of integers": (lambda: nn.stochastic_gelu(KEY, np.arange(3)), r"x=int32\[3\]: no floats; allowed"),
    "weights of a mixture": (
        lambda: fisher_vector(DEVIATIONS, np.ones(2), np.ones((2, 2)), np.ones((2, 2))),
        r"weights=\[1. 1.\]: sums to 2",
    ),
    "rows of a picture": (
        lambda: warp_perspective(jnp.zeros((2, 3, 1)), np.eye(3), (0, 2)),
        "rows=0: out of range; allowed: at least 1",
    ),
    "inputs of a layer": (lambda: dense_parameters(2.5, 3), "inputs=2.5: no whole number"),
    "no box": (lambda: mean_size_boxes(np.zeros((0, 4)), (8, 8)), "boxes: none; allowed: at least one"),
    "flipped box": (lambda: mean_size_boxes(np.array([[2, 0, 1, 1.0]]), (8, 8)), r"boxes\[0\]=.*: flipped"),
    "height of images": (lambda: mean_size_boxes(np.ones((1, 4)), (0, 8)), r"size=\(0, 8\): no size"),
    "width of images": (lambda: mean_size_boxes(np.ones((1, 4)), (8, 0)), r"size=\(8, 0\): no size"),
    "axis of an input": (lambda: dependence(jnp.sum, Z, axis=2), "axis=2: x has 2 axes; allowed: 0 to 1"),
    "axis from the end": (lambda: dependence(jnp.sum, Z, axis=-1), "axis=-1: x has 2 axes"),
    "error below 0": (lambda: verdict(-1.0), "error=-1.0: out of range; allowed: at least 0"),
    "radius of a lookup": (
        lambda: lookup_correlation((np.ones((1, 2, 2, 2, 2)),), np.ones((1, 2, 2, 2)), -1),
        "radius=-1: out of range; allowed: at least 0",
    ),
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

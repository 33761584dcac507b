"""RAFT against torchvision, its lookup and upsampling against NumPy, and its loss and one update by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_shape
from flax import linen as nn

from dlcore.video.correlation import convex_upsample, correlation_pyramid, lookup_correlation
from dlcore.video.raft import learner
from dlcore.video.raft_network import RAFT, _ConvGRU, _RecurrentBlock, from_torch_names, raft_large, raft_small
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule
from tests.passes import PASSED, count_pass, passes
from tests.told_sgd import told_sgd
from tests.wiring import assert_wiring

TINY = {"widths": (4, 4, 4, 4), "strides": (2, 1, 1, 1), "features": 4, "context_features": 2, "hidden_features": 3}
TINY |= {"num_levels": 2, "radius": 1, "correlation_features": (4,), "flow_features": (4, 3), "motion_features": 5}
TINY |= {"head_features": 4, "num_updates": 2}


@pytest.mark.weekly
@pytest.mark.covers("VD-18")
def test_raft_small_equals_torchvision():
    golden, meta, weights = read_golden("tvflow_raft_small")
    model = raft_small(num_updates=3)
    variables = from_torch_names(model, weights)
    frames = (nhwc(weight_rule().det_input(meta["inputs"][name])) for name in ("a", "b"))
    for i, flow in enumerate(jax.jit(model.apply)(variables, *frames)):
        check_output(golden, meta, f"flow_{i}", nchw(flow))


@pytest.mark.slow
@pytest.mark.parametrize(("network", "expected"), [(raft_small, 990_162), (raft_large, 5_257_536)])
def test_networks_have_torchvisions_number_of_parameters(network, expected):
    frame = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(network(num_updates=1).init, jax.random.key(0), frame, frame)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected


def bilinear(image, x, y):
    """Value of an image at a real-valued place, pixel by pixel; zeros outside."""
    total = 0.0
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            total += max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row)) * image[row, column]
    return total


@pytest.mark.covers("VD-18")
def test_a_lookup_reads_the_pooled_volume_around_each_point():
    rng, radius = np.random.default_rng(0), 1
    first, second = rng.normal(size=(2, 1, 4, 5, 3)).astype(np.float32)
    points = rng.uniform(-1, 5, (1, 4, 5, 2)).astype(np.float32)  # some windows leave the map

    @jax.jit
    def look_up(first, second, points):
        pyramid = correlation_pyramid(first, second, 2)
        return pyramid, lookup_correlation(pyramid, points, radius)

    pyramid, features = look_up(first, second, points)
    volume = np.einsum("hwd,rcd->hwrc", first[0], second[0]) / np.sqrt(3)
    # Pooling the volume; the fifth column has no partner and is dropped.
    pooled = (volume[..., ::2, :-1:2] + volume[..., 1::2, :-1:2] + volume[..., ::2, 1::2] + volume[..., 1::2, 1::2]) / 4
    np.testing.assert_allclose(pyramid[0][0], volume, atol=1e-5)
    np.testing.assert_allclose(pyramid[1][0], pooled, atol=1e-5)
    assert_shape(features, (1, 4, 5, 2 * 3**2))
    for row, column in ((0, 0), (3, 4), (2, 1)):
        x, y = points[0, row, column]
        offsets = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]  # of the column, then of the row
        expected = [bilinear(volume[row, column], x + i, y + j) for i, j in offsets]
        expected += [bilinear(pooled[row, column], x / 2 + i, y / 2 + j) for i, j in offsets]
        np.testing.assert_allclose(features[0, row, column], expected, atol=1e-5)


@pytest.mark.covers("VD-18")
def test_a_fine_pixel_is_a_convex_combination_of_nine_coarse_ones():
    rng = np.random.default_rng(1)
    flow, logits = rng.normal(size=(1, 2, 3, 2)), rng.normal(size=(1, 2, 3, 36))
    fine = jax.jit(convex_upsample, static_argnums=2)(flow.astype(np.float32), logits.astype(np.float32), 2)
    assert_shape(fine, (1, 4, 6, 2))
    weights = np.exp(logits.reshape(2, 3, 9, 2, 2))
    weights /= weights.sum(2, keepdims=True)
    # Fine pixel (3, 2) is pixel (1, 0) of coarse location (1, 1); the row below it is padding.
    expected = sum(
        weights[1, 1, 3 * (y + 1) + x + 1, 1, 0] * 2 * flow[0, 1 + y, 1 + x] for y in (-1, 0) for x in (-1, 0, 1)
    )
    np.testing.assert_allclose(fine[0, 3, 2], expected, rtol=1e-5)


def test_a_recurrent_block_by_hand():
    """z = sigmoid(log 3) = 3/4, r = sigmoid(0) = 1/2; of h = 0.4 and x = 0.1 the candidate is tanh(2 r h + x).

    Separable blocks have a row of five taps, then a column of five.
    """
    zero = np.zeros((1, 1, 2, 1), np.float32)
    gates = {"convz": {"kernel": zero, "bias": np.log([3.0])}, "convr": {"kernel": zero, "bias": np.zeros(1)}}
    gates["convq"] = {"kernel": np.array([[[[2.0], [1.0]]]]), "bias": np.zeros(1)}
    hidden, x = np.full((1, 1, 1, 1), 0.4, np.float32), np.full((1, 1, 1, 1), 0.1, np.float32)
    after = jax.jit(lambda: _ConvGRU((1, 1), None).apply({"params": gates}, hidden, x))()
    np.testing.assert_allclose(after, 0.25 * 0.4 + 0.75 * np.tanh(0.5), rtol=1e-6)
    for separable, sizes in ((False, [(3, 3)]), (True, [(1, 5), (5, 1)])):
        block = _RecurrentBlock(separable, None)
        after, variables = jax.eval_shape(block.init_with_output, jax.random.key(0), hidden, x)
        assert_shape(after, (1, 1, 1, 1))
        for i, size in enumerate(sizes, 1):
            assert_shape(variables["params"][f"convgru{i}"]["convq"]["kernel"], (*size, 2, 1))


class Constant(nn.Module):
    """The flow (1, 0.5) after the first update and (3, -1) after the second, everywhere."""

    @nn.compact
    def __call__(self, first, second, train=False, last_only=False):
        count_pass(self, train)
        flows = self.param("flows", lambda key: jnp.array([[1.0, 0.5], [3.0, -1.0]]))
        return jnp.broadcast_to(flows[:, None, None, None], (2, *first.shape[:3], 2))[1 if last_only else 0 :]


def batch_by_hand():
    """Two examples of 1 x 2 pixels, one of which is not valid, and one of padding."""
    flow = np.array([[[[2, 0], [np.nan, 7]]], [[[0, 0], [0, 0]]], [[[np.nan, 0], [0, 0]]]], np.float32)
    frames = np.zeros((3, 1, 2, 3), np.float32)
    valid, mask = np.array([[[1, 0]], [[1, 1]], [[1, 1]]]), np.array([1, 1, 0])
    return {"first": frames, "second": frames, "flow": flow, "valid": valid, "mask": mask, "index": np.arange(3)}


@pytest.mark.covers("VD-18")
def test_one_update_by_hand():
    """gamma = 1/2. Losses: 1/2 (|1 - 2| + |0.5 - 0|) + |3 - 2| + |-1 - 0| = 2.75 and 1/2 (1 + 0.5) + 3 + 1 = 4.75.

    Signs of the first update's errors are (-1, 1) and (1, 1), so its gradient is 1/2 (0, 1); those of the second are
    (1, -1) twice.
    """
    batch, technique = batch_by_hand(), learner(model=Constant(), optimizer=told_sgd(0.1), gamma=0.5)
    state = technique.init(jax.random.key(0), batch).replace(model_state=PASSED)
    state, metrics = jax.jit(technique.update)(state, batch)
    assert passes(state.model_state) == 3 + 1
    np.testing.assert_allclose(state.params["flows"], [[1, 0.45], [2.9, -0.9]], rtol=1e-6)
    assert metrics["loss"].compute() == pytest.approx((2.75 + 4.75) / 2)
    # Errors of the last estimate: (1, -1) at one pixel, (3, -1) at two.
    assert metrics["epe"].compute() == pytest.approx((np.sqrt(2) + 2 * np.sqrt(10)) / 3)
    assert_shape(technique.predict(state, batch)["flow"], (3, 1, 2, 2))
    # Of the moved flows: errors (0.9, -0.9) at one pixel, (2.9, -0.9) at two.
    measured = jax.jit(technique.evaluate)(state, batch)
    assert measured["epe"].compute() == pytest.approx((np.hypot(0.9, 0.9) + 2 * np.hypot(2.9, 0.9)) / 3)
    # 1/2 (1 + 0.45) + 0.9 + 0.9 and 1/2 (1 + 0.45) + 2.9 + 0.9.
    assert measured["loss"].compute() == pytest.approx((2.525 + 4.525) / 2)


@pytest.mark.weekly
def test_an_error_does_not_flow_back_into_the_position_of_an_update():
    """Each update's flow has its own way to the head's bias: that of the last one is 1 a pixel, not 2."""
    model, frame = RAFT(**TINY), jnp.ones((1, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(0), frame, frame)
    variables = jax.tree.map(jnp.zeros_like, variables)  # no way from the flow through the features

    @jax.jit
    @jax.grad
    def gradient(variables):
        return model.apply(variables, frame, frame, last_only=True)[0, 0, 0, 0, 0]

    bias = gradient(variables)["params"]["update_block"]["flow_head"]["conv2"]["bias"]
    np.testing.assert_allclose(bias, [2, 0])  # the stride; twice that if both updates had a share


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{}, {"convex": True, "separable": True, "bottleneck": False}])
def test_flows_have_the_frames_size(fields):
    model = RAFT(**{**TINY, "context_norm": "batch"}, **fields)
    frame = jax.ShapeDtypeStruct((2, 8, 12, 3), jnp.float32)
    flows, variables = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, x), frame)
    assert_shape(flows, (2, 2, 8, 12, 2))
    assert "batch_stats" in variables
    last = jax.eval_shape(lambda v, x: model.apply(v, x, x, last_only=True), variables, frame)
    assert_shape(last, (1, 2, 8, 12, 2))


def test_bad_frames_and_fields_are_one_clear_line():
    model = RAFT(**TINY)
    with pytest.raises(ValueError, match=r"second=.*1, 8, 16, 3.: wrong shape or dtype; allowed: .1, 8, 8, 3."):
        jax.eval_shape(
            model.init,
            jax.random.key(0),
            *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 8, 8, 3), (1, 8, 16, 3))),
        )


LARGE = {"convex": True, "bottleneck": False, "context_norm": "batch"}
LARGE |= {"correlation_features": (4, 3), "widths": (4, 4, 6, 6), "strides": (1, 1, 2, 1)}


@pytest.mark.slow(unless=["large"])
@pytest.mark.parametrize(
    ("fields", "train", "numbers"),
    [(TINY, False, [43.5507, 1.47199]), ({**TINY, **LARGE}, True, [22.6347, -0.438667])],
    ids=["small", "large"],
)
def test_the_wiring_of_raft_is_as_it_was(fields, train, numbers):
    """A regression: the number holds the code as it was."""
    assert_wiring(RAFT(**fields), (1, 6, 8, 3), (1, 6, 8, 3), numbers, train=train)


def test_the_networks_have_torchvisions_widths():
    """Those of the constructors of `raft_small` and `raft_large`, and the paper's 12 updates."""
    small, large = raft_small(), raft_large()
    for model, widths, block, maps, context, hidden in (
        (small, (32, 32, 64, 96), True, 128, 64, 96),
        (large, (64, 64, 96, 128), False, 256, 128, 128),
    ):
        assert (model.widths, model.strides, model.bottleneck) == (widths, (2, 1, 2, 2), block)
        assert (model.features, model.context_features, model.hidden_features) == (maps, context, hidden)
        assert (model.num_levels, model.num_updates) == (4, 12)
    updates = [(m.radius, m.correlation_features, m.flow_features, m.motion_features) for m in (small, large)]
    assert updates == [(3, (96,), (64, 32), 82), (4, (256, 192), (128, 64), 128)]
    heads = [(m.separable, m.head_features, m.convex, m.context_norm) for m in (small, large)]
    assert heads == [(False, 128, False, "none"), (True, 256, True, "batch")]

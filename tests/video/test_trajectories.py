"""Flow stacks, trajectories, HOF and MBH against hand-computed votes, under a moving camera; SlowFast's costs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.cost.layers import layer_costs
from dlcore.video.flow_stack import flow_stack, follow
from dlcore.video.slowfast import SlowFast
from dlcore.video.trajectories import describe_trajectories, direction_votes, hof_votes, mbh_votes, subtract_camera


def test_votes_for_directions():
    # Of 4 directions, right, down, left, up: (3, 0) is right, (0, -2) up; (1, 1) is halfway from right to down.
    vectors = jnp.array([[3.0, 0], [0, -2], [1, 1]]), jnp.array([[3.0, 0], [0.1, 0]])
    votes, still = jax.jit(lambda a, b: (direction_votes(a, 4), hof_votes(b, 4)))(*vectors)
    half = np.sqrt(2) / 2
    np.testing.assert_allclose(votes, [[3, 0, 0, 0], [0, 0, 0, 2], [half, half, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(still, [[3, 0, 0, 0, 0], [0, 0, 0, 0, 1]])


@pytest.mark.covers("VD-12")
def test_mbh_is_zero_under_constant_camera_motion_and_hof_is_not():
    pan = jnp.broadcast_to(jnp.array([1.5, -0.5]), (6, 6, 2))
    mbh = jax.jit(mbh_votes)
    assert float(jnp.abs(mbh(pan)).max()) <= 1e-6
    np.testing.assert_allclose(jax.jit(hof_votes)(pan).sum(-1), np.hypot(1.5, 0.5), rtol=1e-6)
    # What moves on its own has the same MBH whether or not the camera pans: 2 (3 - 1) / 2 = 1 a step to the right.
    ramp = jnp.zeros((6, 6, 2)).at[..., 0].set(jnp.arange(6.0))
    np.testing.assert_allclose(mbh(ramp + pan), mbh(ramp), atol=1e-5)
    np.testing.assert_allclose(mbh(ramp)[2, 2], [1] + [0] * 15, atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("VD-12")
def test_trajectories_follow_the_flow_and_describe_their_tubes():
    # 2 steps of (1, 0): from column 2 to 3 and 4; both displacements are half of the whole path.
    clip = jnp.zeros((3, 8, 8)).at[:].set(jnp.arange(8.0))  # brighter to the right by 1 a pixel
    flow = jnp.zeros((2, 8, 8, 2)).at[..., 0].set(1.0)
    found = jax.jit(describe_trajectories)(clip, flow)
    np.testing.assert_allclose(found["points"][:, 0], [[2, 2], [3, 2], [4, 2]], atol=1e-6)
    np.testing.assert_allclose(found["shape"][0], [0.5, 0, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(found["hof"][0], [1] + [0] * 8, atol=1e-6)
    np.testing.assert_allclose(found["mbh"], 0, atol=1e-6)
    # The window of columns 0..3 and then 1..4: 7 of 8 are inside, and the border's gradient is 0.
    np.testing.assert_allclose(found["hog"][0], [7 / 8] + [0] * 7, atol=1e-6)


def test_each_cell_of_the_tube_has_a_histogram_of_its_own():
    """Three still frames; the upper right quarter of each point's window of 4 by 4 moves right in the first frame.

    Cell by cell (time, row, column) HOF counts what moves right, and what is still in its last bin.
    """
    corner = jnp.zeros((3, 4, 4, 2)).at[0, :2, 2:, 0].set(1.0)
    clip = jnp.zeros((4, 4, 4))
    # The only point is (2, 2); its window begins at (0, 0) and stays, as the flow at the point is 0.
    settings = {"spacing": 4, "bins": 4}
    found, whole = jax.jit(
        lambda: (
            describe_trajectories(clip, corner, cells=(2, 2, 3), **settings),
            describe_trajectories(clip, corner, **settings)["hof"],
        )
    )()
    hof = np.asarray(found["hof"]).reshape(3, 2, 2, 5)
    wanted = np.zeros((3, 2, 2, 5))
    wanted[..., 4] = 1
    wanted[0, 0, 1] = [1, 0, 0, 0, 0]
    np.testing.assert_allclose(hof, wanted, atol=1e-6)
    # The whole tube is the mean of its 12 cells.
    np.testing.assert_allclose(whole[0], [1 / 12, 0, 0, 0, 11 / 12], atol=1e-6)
    with pytest.raises(ValueError, match=r"cells=\(3, 2, 3\): 3 across do not divide 4; allowed: divisors of it"):
        describe_trajectories(clip, corner, spacing=4, cells=(3, 2, 3))


@pytest.mark.slow
def test_the_cameras_homography_leaves_what_moves_itself():
    """The camera zooms by 1.1 and pans by (2, -1): H p - p = (0.1 x + 2, 0.1 y - 1); a block moves 3 further right."""
    rows, columns = np.mgrid[:16, :16].astype(np.float32)
    camera = np.stack([0.1 * columns + 2, 0.1 * rows - 1], -1)
    own = np.zeros((16, 16, 2), np.float32)
    own[4:8, 4:8, 0] = 3
    residual, homography = jax.jit(subtract_camera)(jax.random.key(0), jnp.asarray(camera + own)[None])
    np.testing.assert_allclose(residual[0], own, atol=1e-3)
    matrix = np.asarray(homography[0] / homography[0, 2, 2])
    np.testing.assert_allclose(matrix, [[1.1, 0, 2], [0, 1.1, -1], [0, 0, 1]], atol=1e-3)


@pytest.mark.covers("VD-07")
def test_flow_stacks_subtract_the_camera_and_follow_trajectories():
    rng = np.random.default_rng(0)
    flow = jnp.asarray(rng.normal(size=(3, 4, 5, 2)), jnp.float32)
    # The first field moves all by one column, so the second is read one column further to the right.
    moving = flow.at[0].set(jnp.array([1.0, 0.0]))

    @jax.jit
    def run(flow, moving):
        centered, panned = flow_stack(flow), flow_stack(flow + jnp.array([2.0, 1.0]))
        points = follow(moving[:1], jnp.array([[1.0, 2.0], [4.0, 0.0]]))
        along = flow_stack(moving, subtract_mean=False, trajectories=True)
        return flow_stack(flow, subtract_mean=False), centered, panned, along, points

    stack, centered, panned, along, points = run(flow, moving)
    np.testing.assert_array_equal(stack[..., 2:4], flow[1])
    np.testing.assert_allclose(centered.mean((0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(centered, panned, atol=1e-5)
    np.testing.assert_allclose(along[:, :-1, 2:4], moving[1][:, 1:], atol=1e-5)
    np.testing.assert_allclose(points[1], [[2, 2], [4, 0]])


@pytest.mark.covers("VD-11")
def test_the_fast_pathway_takes_at_most_a_fifth_of_the_products():
    x = jax.ShapeDtypeStruct((1, 16, 32, 32, 3), jnp.float32)
    model = SlowFast(4, width=64, alpha=8, beta=8)
    layers = layer_costs(model, x)
    macs = {way: sum(layer.macs for layer in layers if layer.path.startswith(way)) for way in ("slow", "fast")}
    assert 0 < macs["fast"] <= 0.2 * sum(layer.macs for layer in layers)
    params = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    # An eighth of the channels, and the slow pathway's next stage reads its own 64 and 2 8 of the fast one.
    chex.assert_shape(params["fast0"]["kernel"], (3, 3, 3, 3, 8))
    chex.assert_shape(params["lateral0"]["kernel"], (8, 1, 1, 8, 16))
    chex.assert_shape(params["slow1"]["kernel"], (1, 3, 3, 64 + 16, 128))
    outputs = {layer.path: layer.output_shape for layer in layers}
    assert (outputs["slow0"][1], outputs["fast0"][1]) == (2, 16)


@pytest.mark.covers("VD-12")
def test_bytes_and_halves_are_described_as_the_same_numbers_in_float32():
    """Differences of unsigned bytes would wrap, and positions above 256 have no digits left in bfloat16."""
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (2, 4, 4)).astype(np.uint8)
    flow = rng.integers(-2, 3, (1, 4, 4, 2)).astype(np.int8)
    wide = jnp.ones((2, 2, 400, 2), jnp.bfloat16)
    described, expected, points = jax.jit(
        lambda: (
            describe_trajectories(clip, flow),
            describe_trajectories(clip.astype(np.float32), flow.astype(np.float32)),
            follow(wide, jnp.array([[301, 0]])),
        )
    )()
    chex.assert_trees_all_close(described, expected, rtol=1e-6)
    np.testing.assert_array_equal(points[:, 0, 0], [301, 302, 303])

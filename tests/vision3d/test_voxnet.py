"""VoxNet against hand-computed sizes, exact turns, voxels of points, and solids that it tells apart."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.classification import supervised
from dlcore.data.voxel_solids import occupancy
from dlcore.vision3d.voxel_grids import nearest_grid_accuracy
from dlcore.vision3d.voxnet import VoxNet, quarter_turn, voxelize
from tests.wiring import assert_wiring


def test_parameters_and_shapes():
    # conv0 5^3 1 2 = 250, norm0 2 2, conv1 3^3 2 2 = 108, norm1 4; pooled (8 / 4)^3 2 = 16; hidden 16 3 + 3, 3 5 + 5
    model = VoxNet(5, features=2, hidden=3)
    x = jax.ShapeDtypeStruct((1, 8, 8, 8, 1), jnp.float32)
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    chex.assert_shape(logits, (1, 5))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == 250 + 4 + 108 + 4 + 51 + 20


def products(resolution):
    """Multiply-adds of the convolutions, from the shapes of the traced program."""
    model = VoxNet(5, features=2, hidden=3)
    x = jax.ShapeDtypeStruct((1, *(resolution,) * 3, 1), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    captured = jax.eval_shape(lambda v, x: model.apply(v, x, capture_intermediates=True)[1], variables, x)
    maps = captured["intermediates"]
    sizes = [np.prod(maps[name]["__call__"][0].shape) for name in ("conv0", "conv1")]
    kernels = [variables["params"][name]["kernel"].shape for name in ("conv0", "conv1")]
    return sum(int(n) * int(np.prod(k[:4])) for n, k in zip(sizes, kernels, strict=True)), sum(map(int, sizes))


@pytest.mark.covers("TD-04")
def test_twice_the_resolution_costs_eight_times_the_products_and_memory():
    # At 8: 4^3 places and 2 channels in both maps, 128 numbers each; 5^3 1 and 3^3 2 products for each number.
    assert products(8) == (128 * 125 + 128 * 54, 256)
    assert products(16) == (8 * (128 * 125 + 128 * 54), 8 * 256)


@pytest.fixture(scope="module")
def toy():
    """[48, 8, 8, 8, 1] boxes, cones and balls of random extent and place, and their labels."""
    rng, grids = np.random.default_rng(0), []
    for i in range(48):
        kind = ("box", "cone", "sphere")[i % 3]
        grids.append(occupancy(kind, rng.uniform(0.5, 0.8, 3), 8, center=rng.uniform(-0.2, 0.2, 3)))
    return np.stack(grids)[..., None].astype(np.float32), np.arange(48, dtype=np.int32) % 3


@pytest.mark.slow
@pytest.mark.covers("TD-04")
def test_it_tells_new_solids_apart(toy):
    images, labels = toy
    learner = supervised.learner(model=VoxNet(3, features=4, hidden=16, dropout=0.0), optimizer=optax.adam(1e-2))
    batch = {"image": images[:36], "label": labels[:36], "index": np.arange(36)}
    test = {"image": images[36:], "label": labels[36:], "index": np.arange(12)}

    # NumPy's random kernels: the program that would draw them takes longer to compile than the training.
    rng, key = np.random.default_rng(0), jax.random.key(0)
    state = jax.eval_shape(learner.init, key, batch)
    draw = lambda p: (rng.normal(size=p.shape) / np.sqrt(max(1, np.prod(p.shape[:-1])))).astype(np.float32)  # noqa: E731
    params = jax.tree.map(lambda p: draw(p) if len(p.shape) > 1 else np.zeros(p.shape, np.float32), state.params)
    for name in ("norm0", "norm1"):
        params[name]["scale"] += 1
    zeros = jax.tree.map(lambda p: np.zeros(p.shape, p.dtype), (state.step, state.opt_state, state.model_state))
    state = state.replace(step=zeros[0], rng=key, params=params, opt_state=zeros[1], model_state=zeros[2])

    @jax.jit
    def run(state, batch, test):
        state, _ = jax.lax.scan(lambda state, _: learner.update(state, batch), state, None, length=30)
        return learner.predict(state, test)["logits"]

    logits = run(state, batch, test)
    assert float(np.mean(np.argmax(logits, -1) == test["label"])) >= 10 / 12


def test_quarter_turns_move_voxels_about_the_vertical_axis():
    grid = jnp.arange(2 * 3 * 3).reshape(2, 3, 3, 1)
    turned = jax.jit(jax.vmap(quarter_turn, (0, None)))(jax.random.split(jax.random.key(0), 64), grid)
    wanted = [np.rot90(np.asarray(grid), k, (1, 2)) for k in range(4)]
    found = [next(k for k in range(4) if np.array_equal(t, wanted[k])) for t in np.asarray(turned)]
    assert set(found) == {0, 1, 2, 3}


def test_points_mark_their_voxels():
    # Cells of side 0.5: -1 is in cell 0, 0 in cell 2, 0.99 and 1 in cell 3; outside of the cube nothing is marked.
    points = np.array([[[-1, 0, 0.99], [1, 1, 1], [1.1, 0, 0]], [[0, 0, 0], [0.1, 0.1, 0.1], [0.2, 0.2, 0.2]]])
    voxels = voxelize(points, 4)
    assert np.argwhere(voxels).tolist() == [[0, 0, 2, 3], [0, 3, 3, 3], [1, 2, 2, 2]]
    assert voxelize(points.astype(np.float16), 4).sum() == 3
    np.testing.assert_array_equal(voxelize(2 * points, 4, radius=2.0), voxels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_points_next_to_the_faces_are_inside_the_cube(dtype):
    """Those between -1 and 1, and on them; the next numbers beyond are outside."""
    one, zero, two = dtype(1), dtype(0), dtype(2)
    inside, outside = (one, np.nextafter(one, zero)), np.nextafter(one, two)
    for x in inside:
        assert np.argwhere(voxelize(np.array([[[x, -x, 0]]], dtype), 32)).tolist() == [[0, 31, 0, 16]]
    assert voxelize(np.array([[[outside, 0, 0], [0, -outside, 0]]], dtype), 32).sum() == 0


def test_bad_points():
    with pytest.raises(ValueError, match=r"points.shape=\(4, 3\): not clouds; allowed: \[N, P, 3\]"):
        voxelize(np.zeros((4, 3)), 8)


@pytest.mark.parametrize("radius", [0.0, np.inf])
def test_a_cube_has_a_finite_side(radius):
    with pytest.raises(ValueError, match=f"radius={radius}: out of range; allowed: above 0, finite"):
        voxelize(np.zeros((1, 4, 3)), 2, radius=radius)


def test_the_nearest_grid_differs_in_the_fewest_voxels():
    # The test grid (1, 1, 0 ...) differs from the first training grid in one voxel, and from the second in two.
    train = {"image": np.zeros((2, 2, 2, 2, 1), np.uint8), "label": np.array([4, 7])}
    train["image"][0, 0, 0, 0], train["image"][1, 1] = 1, 1
    test = {"image": np.zeros((2, 2, 2, 2, 1), np.uint8), "label": np.array([4, 4])}
    test["image"][0, 0, 0], test["image"][1, 1, 0] = 1, 1
    assert nearest_grid_accuracy(train, test) == 0.5


def test_the_wiring_of_vox_net_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(VoxNet(2, features=4, hidden=6), (1, 12, 16, 20, 1), [3.12179, 1.4042])

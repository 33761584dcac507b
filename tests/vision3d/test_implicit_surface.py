"""Implicit surfaces: a ball is learned as occupancy and as distance, its mesh is closed, and losses agree by hand."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trimesh
from flax import linen as nn

from dlcore.data.facts import Facts
from dlcore.data.mesh_files import read_mesh, write_mesh
from dlcore.data.solids import Solid, surface_points
from dlcore.ops.mesh import check_mesh, euler_characteristic
from dlcore.vision3d import implicit_surface
from dlcore.vision3d.implicit_surface import ImplicitSurface, extract_surface, grid_points
from experiments.vision3d import implicit_surface as page
from tests.wiring import assert_wiring

BALL = Solid("sphere", np.full(3, 0.8))


def batch_of(points):
    points = np.asarray(points, np.float32)
    distance = BALL.signed_distance(points).astype(np.float32)
    return {"points": points, "distance": distance, "index": np.arange(len(points))}


def fit(target, hidden, steps, uniform, near):
    rng = np.random.default_rng(0)
    points = surface_points(BALL, near, rng)[0] + rng.normal(0, 0.1, (near, 3))
    train, test = batch_of(np.concatenate([rng.uniform(-1, 1, (uniform, 3)), points])), batch_of(grid_points(20))
    model = ImplicitSurface(hidden=hidden, sharpness=10.0)
    learner = implicit_surface.learner(
        model=model, optimizer=optax.adam(optax.linear_schedule(0.04, 0, steps)), target=target
    )
    state = jax.eval_shape(learner.init, jax.random.key(0), train)

    # He's initialization by NumPy, and zeros for all else: random numbers under jit take long to compile.
    def draw(v):
        return rng.normal(size=v.shape) * np.sqrt(2 / v.shape[0]) if len(v.shape) == 2 else np.zeros(v.shape)

    params = jax.tree.map(lambda v: draw(v).astype(v.dtype), state.params)
    zeros = jax.tree.map(lambda v: np.zeros(v.shape, v.dtype), state.opt_state)
    state = state.replace(step=np.int32(0), rng=jax.random.key(0), params=params, opt_state=zeros)

    @jax.jit
    def train_and_test(state):
        state = jax.lax.fori_loop(0, steps, lambda _, s: learner.update(s, train)[0], state)
        return learner.evaluate(state, test), learner.predict(state, test)["field"]

    metrics, field = train_and_test(state)
    return {name: metric.compute() for name, metric in metrics.items()}, np.asarray(field)


@pytest.mark.slow
@pytest.mark.covers("TD-07")
def test_an_occupancy_network_learns_a_ball_whose_level_set_is_a_closed_mesh(tmp_path):
    numbers, field = fit("occupancy", hidden=(16, 16), steps=120, uniform=256, near=1024)
    assert numbers["iou"] > 0.95
    vertices, faces = extract_surface(lambda points: field, resolution=20)
    check_mesh(vertices, faces, closed=True)
    assert euler_characteristic(faces) == 2
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.8, atol=0.08)
    for ending in (".obj", ".ply"):
        path = write_mesh(tmp_path / f"ball{ending}", vertices, faces)
        np.testing.assert_allclose(read_mesh(path)[0], vertices, atol=1e-5)
        np.testing.assert_array_equal(read_mesh(path)[1], faces)


@pytest.mark.slow
@pytest.mark.covers("TD-08")
def test_a_signed_distance_function_has_gradients_of_length_1():
    numbers, _ = fit("distance", hidden=(32,), steps=200, uniform=128, near=384)
    assert numbers["gradient_norm"] == pytest.approx(1, abs=0.05)
    assert numbers["eikonal_error"] < 0.1
    assert numbers["distance_error"] < 0.03
    assert numbers["iou"] > 0.95


class Linear(nn.Module):
    """f(x) = w . x, of gradient w."""

    @nn.compact
    def __call__(self, points):
        return points @ self.param("w", lambda key: jnp.array([2.0, 0, 0]))


def test_losses_and_measures_by_hand():
    """The last point is padding."""
    batch = {"points": np.float32([[1, 0, 0], [-1, 0, 0], [-2, 0, 0], [9, 0, 0]]), "index": np.arange(4)}
    batch |= {"distance": np.float32([1.5, -1, 3, -7]), "mask": np.float32([1, 1, 1, 0])}
    made = {}
    for target in ("distance", "occupancy"):
        learner = implicit_surface.learner(model=Linear(), optimizer=optax.sgd(1.0), target=target, eikonal_weight=0.5)
        state = learner.init(jax.random.key(0), batch)
        evaluate = jax.jit(learner.evaluate)
        made[target] = {k: v.compute() for k, v in evaluate(state, batch).items()}
        if target == "distance":
            flat = evaluate(state.replace(params={"w": np.zeros(3, np.float32)}), batch)
    # f = 2, -2, -4: errors 0.5, 1 and 7, gradient 2: 8.5 / 3 + 0.5 (2 - 1)^2; of two points with f < 0 one is inside.
    assert made["distance"] == pytest.approx(
        {"loss": 8.5 / 3 + 0.5, "iou": 1 / 2, "distance_error": 8.5 / 3, "gradient_norm": 2, "eikonal_error": 1}
    )
    assert flat["gradient_norm"].compute() == pytest.approx(1e-6)  # not 0, where the root has no slope
    # logits 2 (outside: log(1 + e^2)), -2 (inside: the same) and -4 (outside); nothing right
    losses = np.log1p(np.exp([2.0, 2, -4]))
    assert made["occupancy"] == pytest.approx({"loss": losses.mean(), "iou": 0})


def test_a_surface_is_extracted_from_a_cube_of_any_side():
    vertices, faces = extract_surface(lambda points: 1 - np.linalg.norm(points, axis=1), resolution=17, half_side=2.0)
    check_mesh(vertices, faces, closed=True)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1, atol=0.04)


def test_predicted_meshes_are_what_trimesh_reads(tmp_path):
    """The exact distance of a torus in place of the network's: 2 pi² R r² = 2 pi² 0.55 0.3² = 0.977."""
    torus = Solid("torus", np.array([0.55, 0.3, 1.0]))
    outputs = {"field": -torus.signed_distance(grid_points(24))}
    (row,) = page.ExtractMesh().describe(outputs, Facts())
    assert row["text"] == f"{row['vertices']} vertices, {row['faces']} faces, closed, volume {row['volume']:.3f}"
    assert row["volume"] == pytest.approx(2 * np.pi**2 * 0.55 * 0.3**2, rel=0.05)
    files = page.ExtractMesh().write(tmp_path / "meshes", outputs, None, ["torus"], Facts())
    assert [path.name for path in files] == ["torus.obj", "torus.ply"]
    vertices, faces = page.mesh_of(outputs)
    for path in files:
        mesh = trimesh.load_mesh(path, process=False)
        np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, faces)
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        assert mesh.euler_number == 0
        assert mesh.volume == pytest.approx(row["volume"], rel=1e-4)  # outward: positive


def test_predict_asks_for_a_grid_and_says_where_the_surface_is_open():
    run = SimpleNamespace(parts=SimpleNamespace(data=page.SolidPoints("box")))
    source, names = page.ExtractMesh(4).samples(run)
    np.testing.assert_array_equal(source.arrays["points"], grid_points(4))
    assert names == ["box"]
    points = grid_points(4)
    (row,) = page.ExtractMesh().describe({"field": points[:, 0] + 0.1}, Facts())  # a half space
    assert row["closed"] is False
    assert row["text"].endswith("open where the surface leaves the cube [-1, 1]³")
    (row,) = page.ExtractMesh().describe({"field": np.full(64, -1.0)}, Facts())
    assert row["text"] == "0 vertices, 0 faces, closed, volume 0.000"


def test_bad_input_is_one_clear_line():
    with pytest.raises(ValueError, match="the mesh would be open"):
        extract_surface(lambda points: np.ones(len(points)), resolution=4)


def test_the_wiring_of_implicit_surface_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(ImplicitSurface((4, 4)), (5, 3), [10.3071, -9.51609])

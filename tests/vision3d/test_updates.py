"""One update of each 3-D learner: SGD along the slope of its whole loss, written anew in NumPy float64.

The models are linear with few parameters, so that central differences give the slope to seven digits.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore import ops
from dlcore.learner import ModelState, State, example_keys
from dlcore.vision3d import depth, implicit_surface, mesh_rcnn, pixel2mesh, point_generator, pointnet
from dlcore.vision3d.mesh_fitting import MeshLossWeights, mesh_loss, topology
from tests.derivatives import slopes

MASK = np.array([1, 1, 0], np.float32)
RATE, STEP = 0.1, 3


def assert_update(learner, params, rows, loss, *, kind=State, more=(), penalty=0.0, scale=1.0):
    """The update equals a step along the slope of loss(params) and moves every parameter.

    The learner measures `scale` times the loss without its penalty.
    """
    params = {name: np.asarray(v, np.float32) for name, v in params.items()}
    state = kind(np.int32(STEP), jax.random.key(0), params, optax.sgd(RATE).init(params), *more)
    after, metrics = jax.jit(learner.update)(state, rows)
    for name, slope in slopes(loss, params).items():
        assert RATE * np.abs(slope).max() > 1e-4, name
        np.testing.assert_allclose(after.params[name], params[name] - RATE * slope, atol=2e-5, err_msg=name)
    assert metrics["loss"].compute() == pytest.approx(scale * (loss(params) - penalty), rel=1e-5)


def image_of(*shape):
    return np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)


def chamfer(p, q):
    """Mean squared distances to the nearest point, both ways, and which point that is."""
    squares = np.square(p[:, None] - q[None]).sum(-1)
    return squares.min(1).mean() + squares.min(0).mean(), squares.argmin(1), squares.argmin(0)


def measured_points(p, q, threshold):
    """Chamfer distance and F1 of points p for q."""
    squares = np.square(p[:, None] - q[None]).sum(-1)
    near = [(squares.min(axis) <= threshold**2).mean() for axis in (1, 0)]
    return squares.min(1).mean() + squares.min(0).mean(), 2 * near[0] * near[1] / max(sum(near), 1e-9)


class Scaled(nn.Module):
    """Points: the image by the parameter w."""

    @nn.compact
    def __call__(self, image):
        return image * self.param("w", nn.initializers.ones, (3,))


@pytest.mark.covers("TD-10")
def test_one_update_of_the_point_generator_by_hand():
    rows = {"image": image_of(4, 3), "points": image_of(5, 3) + 1, "index": np.arange(3), "mask": MASK}
    learner = point_generator.learner(model=Scaled(), optimizer=optax.sgd(RATE))

    def loss(params):
        return np.mean([chamfer(rows["image"][i] * params["w"], rows["points"][i])[0] for i in (0, 1)])

    assert_update(learner, {"w": [0.5, -1, 2]}, rows, loss)


class Plane(nn.Module):
    """log depth = a x + b of an image x, normals c x."""

    @nn.compact
    def __call__(self, image):
        a, b, c = (self.param(name, nn.initializers.ones, shape) for name, shape in (("a", ()), ("b", ()), ("c", (3,))))
        return a * image[..., 0] + b, c * image


@pytest.mark.covers("TD-01", "TD-03")
def test_one_update_of_depth_by_hand():
    """mean d² - λ (mean d)² + w (1 - mean cosine), of d = log depth - log target; one pixel has no depth."""
    image, distance, normals = image_of(2, 2, 3), np.exp(image_of(2, 2)), image_of(2, 2, 3)[::-1]
    distance[0, 0, 0] = 0
    rows = {"image": image, "depth": distance, "normals": normals, "index": np.arange(3), "mask": MASK}
    learner = depth.learner(model=Plane(), optimizer=optax.sgd(RATE), variance_weight=0.3, normal_weight=0.7)

    def loss(params):
        losses = []
        for i in (0, 1):
            valid = distance[i] > 0
            d = (params["a"] * image[i, ..., 0] + params["b"])[valid] - np.log(distance[i][valid].astype(np.float64))
            x, y = params["c"] * image[i], normals[i]
            cosine = (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)
            losses.append((d**2).mean() - 0.3 * d.mean() ** 2 + 0.7 * (1 - cosine).mean())
        return np.mean(losses)

    assert_update(learner, {"a": 0.5, "b": -0.3, "c": [1, 0.5, -2]}, rows, loss)


class Quadric(nn.Module):
    """f(x) = w . x + v |x|², of gradient w + 2 v x."""

    @nn.compact
    def __call__(self, points):
        w, v = self.param("w", nn.initializers.ones, (3,)), self.param("v", nn.initializers.ones, ())
        return points @ w + v * jnp.square(points).sum(-1)


@pytest.mark.covers("TD-07", "TD-08")
@pytest.mark.parametrize("target", ["distance", "occupancy"])
def test_one_update_of_an_implicit_surface_by_hand(target):
    """|f - d| + e (|grad f| - 1)² for distances; logistic loss of d <= 0 (inside) for occupancy."""
    points, distance = image_of(3).astype(np.float64), np.array([1.0, 0, -2])
    rows = {"points": image_of(3), "distance": np.float32(distance), "index": np.arange(3), "mask": MASK}
    learner = implicit_surface.learner(model=Quadric(), optimizer=optax.sgd(RATE), target=target, eikonal_weight=0.5)

    def loss(params):
        f = points @ params["w"] + params["v"] * np.square(points).sum(-1)
        length = np.linalg.norm(params["w"] + 2 * params["v"] * points, axis=-1)
        if target == "distance":
            losses = np.abs(f - distance) + 0.5 * (length - 1) ** 2
        else:
            losses = np.logaddexp(0, np.where(distance <= 0, -f, f))
        return losses[:2].mean()

    assert_update(learner, {"w": [0.5, -1, 2], "v": 0.3}, rows, loss)


class LinearSet(nn.Module):
    """Logits: the sum of the points that count, by a matrix; the transform is a parameter."""

    @nn.compact
    def __call__(self, points, train=False, mask=None):
        total = (points * mask[..., None]).sum(1)
        transform = self.param("transform", nn.initializers.ones, (2, 2))
        transforms = jnp.broadcast_to(transform, (len(points), 2, 2))
        return total @ self.param("kernel", nn.initializers.ones, (3, 2)), {"transform": transforms}


@pytest.mark.covers("TD-09")
def test_one_update_of_pointnet_by_hand(monkeypatch):
    """Smoothed cross-entropy and 0.3 |I - A Aᵀ|², of points moved by each example's key and by each setting."""

    def augment_points(key, points, mask, *, num_points, rotation, up, jitter):
        return points[:num_points] + jax.random.uniform(key) + rotation + jitter * (up == "y"), mask[:num_points]

    monkeypatch.setattr(pointnet, "augment_points", augment_points)
    points, label = image_of(5, 3), np.array([1, 0, 1], np.int32)
    counts = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 1, 1], [1, 0, 0, 0, 0]], np.float32)
    rows = {"points": points, "point_mask": counts, "label": label, "index": np.arange(3), "mask": MASK}
    settings = {"num_points": 4, "rotation": 0.1, "up": "y", "jitter": 0.2}
    learner = pointnet.learner(
        model=LinearSet(), optimizer=optax.sgd(RATE), orthogonality=0.3, label_smoothing=0.2, **settings
    )
    keys = example_keys(jax.random.fold_in(jax.random.fold_in(jax.random.key(0), STEP), 0), rows)
    moves = np.asarray(jax.vmap(jax.random.uniform)(keys)) + 0.1 + 0.2
    totals = ((points[:, :4] + moves[:, None, None]) * counts[:, :4, None]).sum(1, dtype=np.float64)

    def loss(params):
        logits = totals @ params["kernel"]
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        losses = -(log_p * (0.8 * np.eye(2)[label] + 0.1)).sum(-1)
        error = np.eye(2) - params["transform"] @ params["transform"].T
        return losses[:2].mean() + 0.3 * np.square(error).sum()

    params = {"kernel": [[0.1, -0.2], [0.3, 0.1], [-0.5, 0.2]], "transform": [[1, 0.2], [-0.3, 0.8]]}
    a = np.array(params["transform"])
    penalty = 0.3 * np.square(np.eye(2) - a @ a.T).sum()
    assert_update(learner, params, rows, loss, kind=ModelState, more=({},), penalty=penalty)


@pytest.mark.covers("TD-11")
def test_each_term_of_the_mesh_loss_by_hand():
    """A regular icosahedron in the unit sphere.

    An edge is 4 / √(10 + 2 √5) long; the mean of a vertex's neighbors is the vertex by 1 / √5; two faces at an edge
    have normals of cosine √5 / 3.
    """
    vertices, faces = ops.icosphere(0)
    points, normals = image_of(4, 3)[0], np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    key = jax.random.key(1)

    @jax.jit
    def measured(key, vertices):
        weights = MeshLossWeights(normals=3.0, edges=5.0, laplacian=7.0, consistency=11.0)
        value = mesh_loss(key, vertices, topology(faces), points, normals, weights, 5)
        return value, ops.sample_mesh(key, vertices, faces, 5)[:2]

    (total, alone), (samples, sample_normals) = jax.device_get(measured(key, vertices))
    distance, to_points, to_samples = chamfer(samples, points)
    # How far the normals of nearest points are from parallel, whatever their sign, both ways.
    cosines = [(sample_normals * normals[to_points]).sum(-1), (normals * sample_normals[to_samples]).sum(-1)]
    normal_term = sum((1 - np.abs(c)).mean() for c in cosines)
    terms = (normal_term, 16 / (10 + 2 * np.sqrt(5)), 1 - 1 / np.sqrt(5), 1 - np.sqrt(5) / 3)
    assert alone == pytest.approx(distance, rel=1e-5)
    assert total == pytest.approx(distance + np.dot([3, 5, 7, 11], terms), rel=1e-5)


class Spheres(nn.Module):
    """Three stages: the sphere by w, and finer spheres by v, moved by the image."""

    @property
    def levels(self):
        return pixel2mesh.sphere_levels(0, 3)[1]

    @nn.compact
    def __call__(self, image):
        w, v = (self.param(name, nn.initializers.ones, ()) for name in "wv")
        return [image[:, None] * w, image[:, None] * v**3, image[:, None] * v**2]


@pytest.mark.covers("TD-11")
def test_one_update_of_pixel2mesh_by_hand(monkeypatch):
    """The stages' losses add up, each by its own key; a mesh here costs 1, 10, 100 and 1000 times its weights."""

    def cost(key, vertices, mesh, points, normals, weights, num_samples):
        factor = np.dot(weights, [1, 10, 100, 1000]) + num_samples + len(mesh.faces)
        return factor * jax.random.uniform(key) * (vertices * points * normals).sum(), vertices.sum()

    monkeypatch.setattr(pixel2mesh, "mesh_loss", cost)
    assert MeshLossWeights._fields == ("normals", "edges", "laplacian", "consistency")
    rows = {"image": image_of(3), "points": image_of(1, 3)[::-1], "normals": image_of(1, 3) + 1}
    rows |= {"index": np.arange(3), "mask": MASK}
    keys = example_keys(jax.random.fold_in(jax.random.key(0), STEP), rows)
    draw = jax.jit(lambda key, k: jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, k)))(key))
    drawn = np.array([draw(keys, k) for k in range(3)])
    products = (rows["image"][:, None] * rows["points"] * rows["normals"]).sum((1, 2))

    def loss(params):
        # 0.1 + 2 + 30 + 400 of the weights, 7 samples, 20, 80 and 320 faces.
        first, second = (439.1 + 20) * params["w"] * drawn[0], (439.1 + 80) * params["v"] ** 3 * drawn[1]
        third = (439.1 + 320) * params["v"] ** 2 * drawn[2]
        return ((first + second + third) * products)[:2].mean() / 1000

    far = [np.linalg.norm(rows["image"][i] * 0.25 + 320 - rows["points"][i][0]) for i in (0, 1)]
    threshold = float(np.mean(far))  # of the points that are measured below, those of one image are near
    learner = pixel2mesh.learner(
        model=Spheres(),
        optimizer=optax.sgd(RATE / 1000),  # the costs are large
        num_samples=7,
        normal_weight=0.1,
        edge_weight=0.2,
        laplacian_weight=0.3,
        consistency_weight=0.4,
        threshold=threshold,
    )
    assert_update(learner, {"w": 1.0, "v": 0.5}, rows, loss, scale=1000)
    # In evaluation as many points on the last mesh as the target has are measured, here its first vertex.
    monkeypatch.setattr(pixel2mesh, "sample_mesh", lambda key, vertices, faces, count: (vertices[:count] + len(faces),))
    params = {"w": np.float32(1), "v": np.float32(0.5)}
    state = State(np.int32(0), jax.random.key(0), params, optax.sgd(RATE).init(params))
    measured = jax.jit(learner.evaluate)(state, rows)
    assert measured["chamfer"].compute() == pytest.approx(2 * np.mean(np.square(far)), rel=1e-5)
    assert measured["f1"].compute() == 0.5
    outputs = jax.jit(learner.predict)(state, rows)
    np.testing.assert_allclose(outputs["vertices"][:, 0], rows["image"] * 0.25)
    assert (outputs["faces"].shape, outputs["face_mask"].shape) == ((3, 320, 3), (3, 320))
    np.testing.assert_array_equal(outputs["face_mask"], 1)


class Voxels(nn.Module):
    """Logits of voxels a x + b, the cubified mesh, and the meshes of two stages, the image by w and by 2 w."""

    @nn.compact
    def __call__(self, image):
        a, b = (self.param(name, nn.initializers.ones, ()) for name in "ab")
        w = self.param("w", nn.initializers.ones, (3,))
        x = image[:, :8, 0].reshape(-1, 2, 2, 2)
        ones = jnp.ones((len(image), 1))
        edges = mesh_rcnn.lattice((2, 2, 2)).edges
        chosen = jnp.broadcast_to(jnp.arange(len(edges)) < 3, (len(image), len(edges)))
        return {
            "voxels": a * x + b,
            "stages": [image, image * w, image * w * 2],
            "faces": jnp.zeros((len(image), 1, 3), jnp.int32),
            "face_mask": ones,
            "edge_mask": chosen,
        }


@pytest.mark.covers("TD-13")
def test_one_update_of_mesh_rcnn_by_hand(monkeypatch):
    """Cross-entropy of a cell, and of the refined meshes alone: Chamfer distance, normals and squared edges.

    The points on a mesh are here its vertices, and their normals the vertices at length 1.
    """

    def vertices_and_directions(key, vertices, faces, count, mask=None):
        return vertices, vertices / jnp.linalg.norm(vertices, axis=-1, keepdims=True), None

    monkeypatch.setattr(mesh_rcnn, "sample_mesh", vertices_and_directions)
    image, points = image_of(27, 3), image_of(4, 3) + 1
    normals = points[::-1] / np.linalg.norm(points[::-1], axis=-1, keepdims=True)
    occupancy = (image_of(2, 2, 2) > 0.2).astype(np.uint8)[::-1]
    rows = {"image": image, "points": points, "normals": normals, "occupancy": occupancy}
    rows |= {"index": np.arange(3), "mask": MASK}
    learner = mesh_rcnn.learner(
        model=Voxels(), optimizer=optax.sgd(RATE), voxel_weight=2.0, normal_weight=0.3, edge_weight=0.5, threshold=2.0
    )
    edges = np.asarray(mesh_rcnn.lattice((2, 2, 2)).edges)[:3]

    def loss(params):
        losses = []
        for i in (0, 1):
            z = params["a"] * image[i, :8, 0].reshape(2, 2, 2) + params["b"]
            cells = np.logaddexp(0, np.where(occupancy[i] > 0, -z, z)).mean()
            value = 2 * cells
            for vertices in (image[i] * params["w"], image[i] * params["w"] * 2):
                directions = vertices / np.linalg.norm(vertices, axis=-1, keepdims=True)
                distance, to_points, to_vertices = chamfer(vertices, points[i])
                cosines = [(directions * normals[i][to_points]).sum(-1), (normals[i] * directions[to_vertices]).sum(-1)]
                bend = sum((1 - np.abs(c)).mean() for c in cosines)
                lengths = np.square(vertices[edges[:, 0]] - vertices[edges[:, 1]]).sum(-1).mean()
                value += distance + 0.3 * bend + 0.5 * lengths
            losses.append(value)
        return np.mean(losses)

    params = {"a": 0.5, "b": -0.3, "w": [1, 0.5, -2]}
    assert_update(learner, params, rows, loss)
    # In evaluation the parameters stay, and points within the threshold are right.
    params = {name: np.float32(v) for name, v in params.items()}
    state = State(np.int32(0), jax.random.key(0), params, optax.sgd(RATE).init(params))
    measured = jax.jit(learner.evaluate)(state, rows)
    assert measured["loss"].compute() == pytest.approx(loss(params), rel=1e-5)
    inside = params["a"] * image[:2, :8, 0].reshape(2, 2, 2, 2) + params["b"] > 0
    both, either = (f(inside, occupancy[:2] > 0).sum((1, 2, 3)) for f in (np.logical_and, np.logical_or))
    assert measured["voxel_iou"].compute() == pytest.approx(np.mean(both / either), rel=1e-5)
    plain = [measured_points(image[i], points[i], 2.0)[0] for i in (0, 1)]
    assert measured["cubified_chamfer"].compute() == pytest.approx(np.mean(plain), rel=1e-5)
    distances, scores = zip(*(measured_points(2 * image[i] * params["w"], points[i], 2.0) for i in (0, 1)), strict=True)
    assert 0 < min(scores) < max(scores) < 1
    assert measured["chamfer"].compute() == pytest.approx(np.mean(distances), rel=1e-5)
    assert measured["f1"].compute() == pytest.approx(np.mean(scores), rel=1e-5)
    outputs = jax.jit(learner.predict)(state, rows)
    np.testing.assert_allclose(outputs["vertices"], 2 * image * params["w"], rtol=1e-6)
    np.testing.assert_array_equal(outputs["face_mask"], np.ones((3, 1), np.int32))
    assert outputs["face_mask"].dtype == np.int32
    logits = params["a"] * image[:, :8, 0].reshape(3, 2, 2, 2) + params["b"]
    np.testing.assert_allclose(outputs["voxels"], 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_measures_of_generated_points_by_hand():
    """Of two examples, without the padding: points within .5 of the nearest are right, and F1 is of both directions."""
    image, points = image_of(4, 3), image_of(5, 3) + 0.3
    rows = {"image": image, "points": points, "index": np.arange(3), "mask": MASK}
    learner = point_generator.learner(model=Scaled(), optimizer=optax.sgd(RATE), threshold=0.5)
    state = State(np.int32(0), jax.random.key(0), {"w": np.float32([0.5, -1, 2])}, optax.sgd(RATE).init({}))
    measured = jax.jit(learner.evaluate)(state, rows)
    w = np.float32([0.5, -1, 2])
    distances, scores = zip(*(measured_points(image[i] * w, points[i], 0.5) for i in (0, 1)), strict=True)
    assert measured["loss"].compute() == pytest.approx(np.mean(distances), rel=1e-5)
    assert measured["chamfer"].compute() == pytest.approx(np.mean(distances), rel=1e-5)
    assert measured["f1"].compute() == pytest.approx(np.mean(scores), rel=1e-5)

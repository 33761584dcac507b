"""Readers of shapes on fake trees, whose points lie where their meshes are."""

import json

import chex
import numpy as np
import pytest

from dlcore.data.mesh_files import write_mesh
from dlcore.data.shapes3d import mesh_points, modelnet, pix3d, shapenet
from dlcore.ops import icosphere

TRIANGLE = (np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32), np.array([[0, 1, 2]]))


def place(path, mesh):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_mesh(path, *mesh)


def in_unit_sphere(points):
    np.testing.assert_allclose(points.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1).max(1), 1, rtol=1e-6)


@pytest.mark.covers("TD-15")
def test_modelnet_as_a_tree(tmp_path):
    place(tmp_path / "sphere/train/sphere_0001.off", icosphere(2, radius=7))
    place(tmp_path / "flat/train/flat_0001.off", TRIANGLE)
    place(tmp_path / "flat/test/flat_0002.off", TRIANGLE)
    train = modelnet(tmp_path, "train", num_points=50)
    assert train.class_names == ("flat", "sphere")
    np.testing.assert_array_equal(train.arrays["label"], [0, 1])
    assert list(train.names) == ["flat/flat_0001", "sphere/sphere_0001"]
    points = train.arrays["points"]
    chex.assert_shape(points, (2, 50, 3))
    in_unit_sphere(points)
    np.testing.assert_array_equal(points[0, :, 2], 0)  # a flat triangle
    assert np.linalg.norm(points[1], axis=1).min() > 0.6  # a shell, off its center by the mean of 50 points
    np.testing.assert_array_equal(points, modelnet(tmp_path, "train", num_points=50).arrays["points"])
    chex.assert_shape(modelnet(tmp_path, "test").arrays["points"], (1, 1024, 3))


@pytest.mark.covers("TD-15")
def test_modelnet_as_arrays(tmp_path):
    points = np.arange(36, dtype=np.float16).reshape(3, 4, 3) / 36
    names = np.array(["bed", "desk"])
    np.savez(tmp_path / "modelnet10_test.npz", points=points, labels=np.array([1, 0, 1], np.int8), class_names=names)
    source = modelnet(tmp_path, "test", num_points=2)
    np.testing.assert_array_equal(source.arrays["points"], points[:, :2].astype(np.float32))
    np.testing.assert_array_equal(source.arrays["label"], [1, 0, 1])
    assert (source.class_names, source.name) == (("bed", "desk"), "modelnet10/test")
    for num_points in (5, 0, -1):
        with pytest.raises(ValueError, match=f"num_points={num_points}: .* allowed: 1 to the 4 of modelnet10_test.npz"):
            modelnet(tmp_path, "test", num_points=num_points)
    with pytest.raises(FileNotFoundError, match=r"no ModelNet; allowed: "):
        modelnet(tmp_path, "train")
    points[1, 2, 0] = np.nan
    np.savez(tmp_path / "modelnet10_train.npz", points=points, labels=[0, 0, 0], class_names=names)
    np.savez(tmp_path / "modelnet10_train.npz", points=np.zeros((1, 2, 3)), labels=[2], class_names=names)
    with pytest.raises(ValueError, match="labels: 2 to 2; allowed: 0 to 1, the classes"):
        modelnet(tmp_path, "train")
    (tmp_path / "modelnet40_test.npz").touch()
    with pytest.raises(ValueError, match=r"several data sets, modelnet10_test.npz, modelnet40_test.npz; allowed: a fo"):
        modelnet(tmp_path, "test")


@pytest.mark.covers("TD-15")
def test_shapenet(tmp_path):
    for synset, model in (("02691156", "a"), ("03001627", "b"), ("03001627", "c")):
        place(tmp_path / synset / model / "models/model_normalized.obj", icosphere(1))
    taxonomy = [{"synsetId": "03001627", "name": "chair"}, {"synsetId": "02691156", "name": "airplane,aeroplane"}]
    (tmp_path / "taxonomy.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(taxonomy).encode())
    source = shapenet(tmp_path, num_points=20)
    assert source.class_names == ("airplane", "chair")
    np.testing.assert_array_equal(source.arrays["label"], [0, 1, 1])
    assert list(source.names) == ["02691156/a", "03001627/b", "03001627/c"]
    in_unit_sphere(source.arrays["points"])
    assert list(shapenet(tmp_path, ("chair",), num_points=20).names) == ["03001627/b", "03001627/c"]
    with pytest.raises(ValueError, match="synsets='sofa': not there; allowed: 02691156, 03001627, airplane, chair"):
        shapenet(tmp_path, ("sofa",))
    with pytest.raises(FileNotFoundError, match="no ShapeNet"):
        shapenet(tmp_path / "02691156")


def entry(**changes):
    known = {
        "img": "img/chair/0001.png",
        "mask": "mask/chair/0001.png",
        "model": "model/chair/IKEA_JANINGE/model.obj",
        "voxel": "model/chair/IKEA_JANINGE/voxel.mat",
        "category": "chair",
        "img_size": [640, 480],
        "bbox": [10, 20, 300, 400],
        "focal_length": 35.0,
        "rot_mat": np.eye(3).tolist(),
        "trans_mat": [0.1, 0.2, 1.5],
        "truncated": False,
        "occluded": True,
    }
    return known | changes


@pytest.mark.covers("TD-15")
def test_pix3d(tmp_path):
    place(tmp_path / "model/chair/IKEA_JANINGE/model.obj", icosphere(0))
    for folder in ("img", "mask"):
        (tmp_path / folder / "chair").mkdir(parents=True)
        (tmp_path / folder / "chair/0001.png").write_bytes(b"")
    index = tmp_path / "pix3d.json"
    index.write_text(json.dumps([entry(), entry(category="sofa", truncated=False, occluded=False, voxel="")]))
    chair, sofa = pix3d(tmp_path)
    assert chair.focal_length == pytest.approx(700)  # 35 mm of 32 mm that are 640 pixels wide
    assert chair.image == tmp_path / "img/chair/0001.png"
    assert (chair.voxels, sofa.voxels) == (tmp_path / "model/chair/IKEA_JANINGE/voxel.mat", None)
    assert chair.image_size == (640, 480)
    np.testing.assert_array_equal(chair.box, [10, 20, 300, 400])
    np.testing.assert_allclose(chair.translation, [0.1, 0.2, 1.5])
    assert (chair.is_difficult, sofa.is_difficult) == (True, False)
    assert [image.category for image in pix3d(tmp_path, ("sofa",))] == ["sofa"]

    with pytest.raises(ValueError, match="categories='bed': not there; allowed: chair, sofa"):
        pix3d(tmp_path, ("bed",))
    with pytest.raises(FileNotFoundError, match=r"has no pix3d\.json"):
        pix3d(tmp_path / "img")
    for bad, words in (
        (entry(mask="mask/none.png"), r"pix3d\.json\[0\]: names .*none\.png, which is not there"),
        (entry(rot_mat=[1, 2, 3]), r"pix3d\.json\[0\]: rot_mat has shape \(3,\) where \(3, 3\) is due"),
        (entry(rot_mat=[[np.nan] * 3] * 3), r"pix3d\.json\[0\]: rot_mat\[0, 0\]=nan: not finite"),
        (entry(focal_length=0), r"pix3d\.json\[0\]: focal_length=0 where a length in millimeters is due"),
        (entry(bbox=[300, 400, 10, 20]), r"pix3d\.json\[0\]: bbox=.* where \(x1, y1, x2, y2\) are due"),
        ("text", r"pix3d\.json': no list of objects; allowed: the file as published"),
        ({k: v for k, v in entry().items() if k != "bbox"}, r"pix3d\.json\[0\]: no 'bbox'"),
    ):
        index.write_text(json.dumps([bad]))
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            pix3d(tmp_path)
    index.write_text("{")
    with pytest.raises(ValueError, match=r"pix3d\.json': not JSON \(.*\); allowed: the file as published"):
        pix3d(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"labels": np.array([0.5, 1, 0])}, "labels of float64; allowed: numbers, and whole numbers as labels"),
        ({"points": np.full((3, 5, 3), "a")}, "points of <U1 and labels of int64; allowed: numbers"),
    ],
)
def test_a_modelnet_of_other_arrays_is_refused(tmp_path, arrays, problem):
    whole = {"points": np.zeros((3, 5, 3)), "labels": np.array([0, 1, 0]), "class_names": np.array(["a", "b"])}
    np.savez(tmp_path / "modelnet10_train.npz", **whole | arrays)
    with pytest.raises(ValueError, match=problem):
        modelnet(tmp_path, "train")


def test_shapes_without_an_area_points_or_arrays_are_named(tmp_path):
    place(tmp_path / "flat/train/0.off", TRIANGLE)
    line = (np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], np.float32), np.array([[0, 1, 2]]))
    place(tmp_path / "line/train/1.off", line)
    with pytest.raises(ValueError, match=r"1.off': vertices: no face has an area; allowed: a mesh with a surface"):
        modelnet(tmp_path, "train", 4)
    with pytest.raises(ValueError, match="num_points=0: no points; allowed: at least 1"):
        modelnet(tmp_path, "train", 0)
    np.savez(tmp_path / "modelnet10_train.npz", points=np.zeros((1, 2, 3)), labels=np.zeros(1, int))
    with pytest.raises(
        ValueError, match=r"modelnet10_train.npz': has no class_names; allowed: points, labels, class_n"
    ):
        modelnet(tmp_path, "train")


def test_points_lie_uniformly_on_a_surface_by_moments():
    """A square of side 2 in two triangles, one of which is twice as fine: the moments of points on [-1, 1]^2.

    Points are centered and scaled by the farthest, near sqrt(2). Uniform: the variance of x and of y is 1/3, of x^2
    4/45, and there is no correlation; a triangle alone would have -1/2 of it.
    """
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [0, 0, 0]], float)
    faces = np.array([[0, 1, 2], [0, 4, 3], [4, 2, 3]])
    points = mesh_points(vertices, faces, 4000, np.random.default_rng(0)) * np.sqrt(2)
    np.testing.assert_allclose(points[:, :2].var(0), 1 / 3, rtol=0.05)
    np.testing.assert_allclose(np.square(points[:, :2]).var(0), 4 / 45, rtol=0.1)
    assert abs(np.corrcoef(points[:, 0], points[:, 1])[0, 1]) < 0.05
    assert abs(((points[:, 0] > points[:, 1]).mean()) - 0.5) < 0.04
    chex.assert_shape(modelnet_cloud := mesh_points(*TRIANGLE, 1, np.random.default_rng(0)), (1, 3))
    assert not modelnet_cloud.any()

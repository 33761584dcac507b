"""Images of solids: their shares, the retrieval baseline, pictures from two views, and meshes as files."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data.facts import Facts
from dlcore.data.mesh_files import read_mesh
from dlcore.data.solid_images import IMAGE_SOLIDS, SolidImages
from dlcore.data.solid_meshes import solid_mesh
from dlcore.data.source import Source
from dlcore.report import predicted_meshes
from dlcore.report.predicted_meshes import PredictMeshes


def test_solids_have_an_eighth_to_validate_and_to_test_and_a_baseline_by_retrieval():
    splits = SolidImages(num_images=16, image_size=16, surface_points=5, cell_size=8).load()
    assert [len(split) for split in splits[:3]] == [16, 2, 2]
    assert splits.test.arrays["occupancy"].shape[1:] == (2, 2, 2)
    train, test = splits.train.arrays, splits.test.arrays
    distances = []
    for image, points in zip(test["image"], test["points"], strict=True):
        nearest = train["points"][np.square(train["image"] - image).sum((1, 2, 3)).argmin()]
        squares = np.square(nearest[:, None] - points).sum(-1)
        distances.append(squares.min(0).mean() + squares.min(1).mean())
    value, words = splits.spec["trivial"]["chamfer"]
    assert words == "points of the most similar training image"
    assert value == pytest.approx(np.mean(distances), rel=1e-5)
    assert "occupancy" not in SolidImages(num_images=8, image_size=16, surface_points=5).load().train.arrays


def test_solids_to_predict_are_in_no_split():
    data = SolidImages(num_images=8, image_size=16, surface_points=5)
    run = SimpleNamespace(parts=SimpleNamespace(data=data), facts=Facts(class_names=IMAGE_SOLIDS))
    source, names = PredictMeshes(num_drawn=3).samples(run)
    assert names == [f"{IMAGE_SOLIDS[k]}_{i}" for i, k in enumerate(source.arrays["label"])]
    seen = np.concatenate([split.arrays["image"] for split in data.load()[:3]])
    assert not any((image == seen).all((1, 2, 3)).any() for image in source.arrays["image"])


def test_solids_are_shown_from_two_views_beside_their_images(monkeypatch):
    """Images of 16 pixels are enlarged tenfold; views have y up, look from the front, and span 1.1 of the radius."""
    views, shown = [], []

    def two_views(points, faces=None, **options):
        views.append((np.asarray(points), faces, options))
        return np.full((160, 320, 3), 0.5)

    monkeypatch.setattr("dlcore.report.shapes.two_views", two_views)
    monkeypatch.setattr("dlcore.report.shapes.shape_panel", lambda *args: shown.append(args) or "shapes")
    points = np.array([[[0.0, 0, 0], [2, 4, 6]]] * 9, np.float32)
    test = Source({"image": np.full((9, 16, 12, 1), 0.25, np.float32), "points": points, "label": np.arange(9) % 2})
    context = SimpleNamespace(
        data=SimpleNamespace(test=test), outputs={"points": points + 1}, spec={"class_names": ["a", "b"]}, history=[]
    )
    assert predicted_meshes.shape_panels(context)[0] == "shapes"
    images, titles = shown[0][:2]
    assert titles == ["a", "b"] * 4  # the first eight
    assert images[0].shape == (160, 160 + 320 + 320, 3)
    assert (images[0][:, :120] == 0.25).all()
    assert (images[0][:, 120:160] == 1).all()
    np.testing.assert_array_equal(views[0][0], points[0] * [1, -1, -1])
    np.testing.assert_array_equal(views[1][0], (points[0] + 1) * [1, -1, -1])
    center, extent = views[0][2]["extent"]
    np.testing.assert_allclose(center, [1, -2, -3])
    assert extent == pytest.approx(1.1 * np.sqrt(1 + 4 + 9))
    assert "color" not in views[0][2]
    assert views[1][2]["color"]
    assert views[1][2]["extent"] is views[0][2]["extent"]
    faces = np.array([[[0, 1, 1]]] * 9)
    context.outputs = {"vertices": points, "faces": faces, "face_mask": np.ones((9, 1))}
    predicted_meshes.shape_panels(context)
    assert views[-1][1].tolist() == [[0, 1, 1]]


def test_meshes_are_written_without_padding(tmp_path):
    vertices, faces = solid_mesh("box")
    # An unused vertex in front, and a face of padding at the end.
    outputs = {
        "vertices": np.concatenate([np.full((1, 3), 9, np.float32), vertices])[None],
        "faces": np.concatenate([faces + 1, [[0, 1, 2]]])[None],
        "face_mask": np.append(np.ones(len(faces), int), 0)[None],
    }
    files = PredictMeshes().write(tmp_path / "new", outputs, None, ["box_0"], Facts())
    assert [path.name for path in files] == ["box_0.obj", "box_0.ply"]
    for path in files:
        np.testing.assert_array_equal(read_mesh(path)[0], vertices)
        np.testing.assert_array_equal(read_mesh(path)[1], faces)
    (described,) = PredictMeshes().describe(outputs, Facts())
    # The square of corners on the unit circle has the area 2; the height is 2.
    assert described["volume"] == pytest.approx(4, rel=1e-5)
    assert described["text"] == f"{len(vertices)} vertices, {len(faces)} faces, volume 4.000"

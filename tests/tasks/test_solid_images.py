"""What single-view reconstruction writes and says: meshes without padding and unused vertices."""

import numpy as np
import pytest

from dlcore.data.mesh_files import read_mesh
from dlcore.data.solid_meshes import solid_mesh
from experiments.vision3d.pixel2mesh import experiment


def test_meshes_are_written_without_padding(tmp_path):
    vertices, faces = solid_mesh("box")
    # An unused vertex in front, and a face of padding at the end.
    outputs = {
        "vertices": np.concatenate([np.full((1, 3), 9, np.float32), vertices])[None],
        "faces": np.concatenate([faces + 1, [[0, 1, 2]]])[None],
        "face_mask": np.append(np.ones(len(faces), int), 0)[None],
    }
    files = experiment.task.write(tmp_path / "new", outputs, None, ["box_0"], {})
    assert [path.name for path in files] == ["box_0.obj", "box_0.ply"]
    for path in files:
        np.testing.assert_array_equal(read_mesh(path)[0], vertices)
        np.testing.assert_array_equal(read_mesh(path)[1], faces)
    (described,) = experiment.task.describe(outputs, {})
    # The square of corners on the unit circle has the area 2; the height is 2.
    assert described["volume"] == pytest.approx(4, rel=1e-5)
    assert described["text"] == f"{len(vertices)} vertices, {len(faces)} faces, volume 4.000"

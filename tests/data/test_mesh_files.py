"""Mesh files: what is written is read back, and what others write is read."""

import struct

import numpy as np
import pytest

from dlcore.data.mesh_files import read_mesh, write_mesh
from dlcore.ops import face_areas, icosphere

SQUARE = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize("ending", ["obj", "ply", "off"])
def test_a_mesh_comes_back_bit_by_bit(tmp_path, ending):
    vertices, faces = icosphere(1, radius=1 / 3)
    got = read_mesh(write_mesh(tmp_path / f"sphere.{ending}", vertices, faces))
    np.testing.assert_array_equal(got[0], vertices)
    np.testing.assert_array_equal(got[1], faces)
    assert got[0].dtype == np.float64
    assert got[1].dtype == np.int32


FILES = {
    "square.obj": b"# a square\nv 0 0 0\nv 1 0 0 # corner\nv 1 1 0\nv 0 1 0\nvn 0 0 1\nf 1/1/1 2//1 -2/3 4\n",
    "square.off": b"OFF4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n",  # ModelNet's first line
    "colors.off": b"OFF\n4 1 0\n0 0 0 255 0 0\n1 0 0 0 0 0\n1 1 0 9 9 9\n0 1 0 9 9 9\n4 0 1 2 3 255 0 0\n",
    "square.ply": b"ply\r\nformat ascii 1.0\r\ncomment c\r\nelement vertex 4\r\nproperty float x\r\n"
    b"property float y\r\nproperty float z\r\n"
    b"property uchar red\r\nelement face 1\r\nproperty list uchar int vertex_index"
    b"\r\nend_header\r\n0 0 0 9\r\n1 0 0 9\r\n1 1 0 9\r\n0 1 0 9\r\n4 0 1 2 3\r\n",
    "comment.ply": b"ply\nformat ascii 1.0\ncomment before end_header and the\ncomment end_header\nelement vertex 4\n"
    b"property float x\nproperty float y\nproperty float z\nelement face 1\n"
    b"property list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n",
    "normals.off": b"NOFF\n4 1 0\n0 0 0 0 0 1\n1 0 0 0 0 1\n1 1 0 0 0 1\n0 1 0 0 0 1\n4 0 1 2 3\n",
    "vertices.off": b"COFF 4 1 0\n0 0 0 9 9 9 1\n1 0 0 9 9 9 1\n1 1 0 9 9 9 1\n0 1 0 9 9 9 1\n4 0 1 2 3\n",
    "binary.ply": b"ply\nformat binary_big_endian 1.0\nelement vertex 4\nproperty double x\nproperty double y\n"
    b"property double z\nelement face 1\nproperty uchar flags\nproperty list uchar uint vertex_indices\nend_header\n"
    + struct.pack(">12d", *np.ravel(SQUARE))
    + struct.pack(">BB4I", 7, 4, 0, 1, 2, 3),
    # A byte order mark, a line that goes on in the next, and comments; OFF's third count may be absent.
    "marked.obj": b"\xef\xbb\xbfv 0 0 0\nv 1 0 \\\n0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4 # all\n",
    "marked.off": b"\xef\xbb\xbfoff # square\n\n# counts\n4 1\n0 0 0\n1 0 0 # corner\n1 1 0\n0 1 0\n4 0 1 2 3\n",
}


@pytest.mark.parametrize("name", FILES)
def test_a_polygon_becomes_a_fan(tmp_path, name):
    # The square (0, 1, 2, 3) is the triangles (0, 1, 2) and (0, 2, 3).
    (tmp_path / name).write_bytes(FILES[name])
    vertices, faces = read_mesh(tmp_path / name)
    np.testing.assert_array_equal(vertices, SQUARE)
    np.testing.assert_array_equal(faces, [[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("step", [1, -1])
def test_a_concave_polygon_is_split_inside(tmp_path, first, step):
    """An arrowhead of area 3 / 2 (shoelace), from each corner in both directions: all normals point to one side."""
    corners = (first + step * np.arange(4)) % 4
    face = " ".join(str(corner + 1) for corner in corners)
    (tmp_path / "arrow.obj").write_text(f"v 0 0 0\nv 1 .5 0\nv 2 0 0\nv 1 2 0\nf {face}\n")
    areas = np.array([np.cross(b - a, c - a)[2] / 2 for a, b, c in read_triangles(tmp_path / "arrow.obj")])
    assert len(areas) == 2
    assert areas.sum() == pytest.approx(1.5 * step)
    assert (areas * step > 0).all()


def read_triangles(path):
    vertices, faces = read_mesh(path)
    return vertices[faces]


@pytest.mark.parametrize("count", [5, 8, 40])
def test_a_star_on_a_slope_far_away_keeps_its_area(tmp_path, count):
    """A polygon of random radii around a point, in a random plane at map coordinates: area by the shoelace."""
    rng = np.random.default_rng(count)
    angle, radius = 2 * np.pi * (np.arange(count) + rng.uniform(0, 0.5, count)) / count, rng.uniform(0.2, 1, count)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    area = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    lines = [
        f"v {' '.join(map(repr, p.tolist()))}" for p in np.stack([x, y], 1) @ axes[:2] + [500_000.0, 4_000_000.0, 30.0]
    ]
    (tmp_path / "star.obj").write_text("\n".join([*lines, f"f {' '.join(map(str, range(1, count + 1)))}"]))
    normals = np.array([np.cross(b - a, c - a) / 2 for a, b, c in read_triangles(tmp_path / "star.obj")])
    assert len(normals) == count - 2
    assert np.linalg.norm(normals, axis=1).sum() == pytest.approx(area, rel=1e-6)
    np.testing.assert_allclose(np.linalg.norm(normals.sum(0)), area, rtol=1e-6)


def test_a_polygon_without_an_area_or_crossing_itself_is_split_too(tmp_path):
    """Six corners on a line, and a pentagram: as many triangles as of any polygon."""
    star = [(np.cos(4 * np.pi * i / 5), np.sin(4 * np.pi * i / 5)) for i in range(5)]
    for corners in ([(i, i) for i in (0, 3, 1, 4, 2, 5)], star):
        lines = [f"v {x} {y} 0" for x, y in corners]
        (tmp_path / "a.obj").write_text("\n".join([*lines, f"f {' '.join(str(i + 1) for i in range(len(corners)))}"]))
        faces = read_mesh(tmp_path / "a.obj")[1]
        assert len(faces) == len(corners) - 2
        assert set(faces.ravel()) == set(range(len(corners)))


@pytest.mark.parametrize("ending", ["obj", "ply", "off"])
def test_map_coordinates_keep_their_centimeters(tmp_path, ending):
    corners = np.array([[500_000.0, 4_000_000, 0], [500_000.01, 4_000_000, 0], [500_000, 4_000_000.01, 0]])
    vertices, faces = read_mesh(write_mesh(tmp_path / f"a.{ending}", corners, np.array([[0, 1, 2]])))
    np.testing.assert_array_equal(vertices, corners)
    assert float(face_areas(vertices, faces)[0]) == pytest.approx(0.01**2 / 2, rel=1e-4)


PLY_TYPES = ("char", "int8", "uchar", "uint8", "short", "int16", "ushort", "uint16", "int", "int32", "uint", "uint32")
PLY_TYPES += ("float", "float32", "double", "float64")


@pytest.mark.parametrize(("kind", "order"), [("ascii", ""), ("binary_little_endian", "<"), ("binary_big_endian", ">")])
def test_each_type_of_a_ply_file_has_its_size_and_sign(tmp_path, kind, order):
    # A face has one property of each type before its corners; -2 of a signed type and 200 of an unsigned one.
    values = [200 if name[0] == "u" else -2 for name in PLY_TYPES]
    numbers = [*values, 3, 2, 0, 1]
    head = f"ply\nformat {kind} 1.0\nelement vertex 3\nproperty short x\nproperty float y\nproperty char z\n"
    head += "element face 1\n" + "".join(f"property {name} p{i}\n" for i, name in enumerate(PLY_TYPES))
    head += "property list ushort short vertex_indices\nend_header\n"
    vertices = [(-300, 0.5, -100), (1, -1.5, 0), (7, 0, 3)]
    if order:
        body = b"".join(struct.pack(f"{order}hfb", *vertex) for vertex in vertices)
        body += struct.pack(f"{order}bbBBhhHHiiIIffdd H3h", *numbers)
    else:
        body = "\n".join(" ".join(map(str, row)) for row in (*vertices, numbers)).encode()
    (tmp_path / "types.ply").write_bytes(head.encode() + body)
    read, faces = read_mesh(tmp_path / "types.ply")
    np.testing.assert_array_equal(read, vertices)
    np.testing.assert_array_equal(faces, [[2, 0, 1]])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("far.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", r"faces\[0, 2\]=3: out of range; allowed: 0 to 2"),
        ("line.obj", b"v 0 0 0\nv 1 0 0\nf 1 2\n", "a face of 2 corners"),
        ("nan.obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", r"vertices\[0, 2\]=nan: not finite"),
        ("short.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n", r"it has 2 lines after the counts \[3, 1, 0\]"),
        ("few.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n1 1 0\n4 0 1 2\n", "a face of 3 numbers where 4 corners are due"),
        ("flat.obj", b"v 0 0\nv 1 0\nv 1 1\nf 1 2 1\n", "a vertex of 2 numbers"),
        ("zero.obj", b"v 0 0 0\nf 0 1 2\nv 1 0 0\nv 1 1 0\n", "a face of vertex 0, where the first is 1"),
        ("big.obj", b"v 0 0 0\nf 1 1 99999999999\n", "damaged, .* out of bounds"),
        ("utf16.obj", "v 0 0 0\n".encode("utf-16"), "it has no vertex"),
        ("page.obj", b"<html>", "it has no vertex"),
        (
            "short.ply",
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n",
            "it ends too early, or lacks a field",
        ),
        ("negative.off", b"OFF\n-1 1 0\n", r"it has 0 lines after the counts \[-1, 1, 0\]"),
        ("one.off", b"OFF\n1\n0 0 0\n", r"it has 1 lines after the counts \[1\]"),
        ("many.off", b"OFF\n1 0 0 0\n0 0 0\n", r"it has 1 lines after the counts \[1, 0, 0, 0\]"),
        ("format.ply", b"ply\nformat base64 1.0\nend_header\n", "it has the format 'base64'"),
        ("none.off", b"solid\n", "does not start with OFF"),
        ("four.off", b"4OFF\n1 0 0\n0 0 0 1\n", "does not start with OFF"),
        ("none.ply", b"plyformat", "no header"),
        ("mesh.stl", b"", "unknown format; allowed: .obj, .ply, .off"),
    ],
)
def test_a_bad_file_is_named_in_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words) as error:
        read_mesh(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_bad_mesh(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file; allowed: one of .obj, .ply, .off"):
        read_mesh(tmp_path / "nothing.obj")

"""Read and write triangle meshes as .obj, .ply and .off files.

    obj   lines "v x y z" and "f a b c", counted from 1; "f a/b/c" and negative indices are read
    ply   a header, then vertices and faces, as text or as little- or big-endian binary; written as little-endian binary
    off   "OFF", the counts, the vertices, the faces; the counts may stand on the first line, as in ModelNet

Polygons are split into triangles, convex ones into a fan from their first corner. Colors, normals, textures and other
elements are not read.
"""

import re
from pathlib import Path

import numpy as np

from dlcore.choices import check_path
from dlcore.ops.mesh import check_mesh

__all__ = ["MESH_FORMATS", "read_mesh", "write_mesh"]

_PLY_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}


def read_mesh(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a mesh; the ending of the file's name determines the format.

    Args:
      path: path of a .obj, .ply or .off file.

    Returns:
      (vertices [V, 3] float64, as map coordinates need it, faces [F, 3] int32).

    Raises:
      FileNotFoundError: there is no such file.
    """
    check_path("path", path)
    path = Path(path)
    read = _format(path)[0]
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r}: no such file; allowed: one of {', '.join(MESH_FORMATS)}")
    try:
        vertices, polygons = read(path.read_bytes())
        if short := [vertex for vertex in vertices if len(vertex) < 3]:
            raise ValueError(f"a vertex of {len(short[0])} numbers")
        if not len(vertices):
            raise ValueError("it has no vertex")
        vertices = np.asarray(vertices, np.float64).reshape(-1, 3)
        faces = _triangles(polygons, vertices)
        check_mesh(vertices, faces)
    except (ValueError, IndexError, KeyError, OverflowError, StopIteration) as error:
        problem = "it ends too early, or lacks a field" if isinstance(error, StopIteration) else error
        raise ValueError(f"path={str(path)!r}: damaged, {problem}; allowed: a {path.suffix[1:]} file") from None
    return vertices, faces


def write_mesh(path: str | Path, vertices: np.ndarray, faces: np.ndarray) -> Path:
    """Write a mesh; the ending of the file's name determines the format.

    `read_mesh` returns the same vertices and the same faces, bit by bit.

    Args:
      path: path of the file to write, ending in .obj, .ply or .off.
      vertices: [V, 3]; those that are not float32 become float64.
      faces: [F, 3] int, indices of vertices.

    Returns:
      The path.
    """
    check_path("path", path)
    path = Path(path)
    writer = _format(path)[1]
    vertices, faces = np.asarray(vertices), np.asarray(faces)
    vertices = vertices.astype(np.result_type(vertices, np.float32))
    check_mesh(vertices, faces)
    path.write_bytes(writer(vertices, faces.astype(np.int32)))
    return path


def _format(path: Path):
    if path.suffix.lower() not in MESH_FORMATS:
        raise ValueError(f"path={str(path)!r}: unknown format; allowed: {', '.join(MESH_FORMATS)}")
    return MESH_FORMATS[path.suffix.lower()]


def _triangles(polygons: list, vertices: np.ndarray) -> np.ndarray:
    """Split polygons of three or more corners into triangles [F, 3] int32."""
    if short := [p for p in polygons if len(p) < 3]:
        raise ValueError(f"a face of {len(short[0])} corners")
    split = ((p, _ears(vertices[list(p)]) if len(p) > 3 else [(0, 1, 2)]) for p in polygons)
    return np.asarray([[p[i] for i in ear] for p, ears in split for ear in ears], np.int32).reshape(-1, 3)


def _ears(points: np.ndarray) -> list[tuple[int, ...]]:
    """Triangles of a polygon [N, 3] in a plane, by clipping ears (Meisters 1975).

    An ear is a corner that turns left and whose triangle holds no other corner. Where there is none, as the polygon
    crosses itself or has no area, the next corner is clipped.
    """
    points = (points - points[0]).tolist()
    planes, edges = [(1, 2), (2, 0), (0, 1)], list(zip(points, points[1:] + points[:1], strict=True))
    normal = [sum(p[j] * q[k] - p[k] * q[j] for p, q in edges) for j, k in planes]
    axis = max(range(3), key=lambda i: abs(normal[i]))
    j, k = planes[axis] if normal[axis] > 0 else planes[axis][::-1]
    flat = [complex(p[j], p[k]) for p in points]  # counterclockwise

    def turn(p: complex, q: complex, r: complex) -> float:
        return ((q - p).conjugate() * (r - p)).imag

    corners, triangles, at, passed = list(range(len(flat))), [], 1, 0
    while len(corners) > 3:
        triangle = tuple(corners[(at + step) % len(corners)] for step in (-1, 0, 1))
        p, q, r = (flat[i] for i in triangle)
        other_corners = (flat[i] for i in corners if flat[i] not in (p, q, r))
        is_ear = turn(p, q, r) > 0 and all(min(turn(p, q, x), turn(q, r, x), turn(r, p, x)) < 0 for x in other_corners)
        if is_ear := is_ear or passed == len(corners):
            triangles.append(triangle)
            del corners[at]
        at, passed = (at + (not is_ear)) % len(corners), 0 if is_ear else passed + 1
    return [*triangles, tuple(corners)]


def _text(vertices: np.ndarray) -> list[str]:
    """Format vertices with the digits that reading the same numbers back needs."""
    return [" ".join(map(repr, vertex)) for vertex in vertices.astype(np.float64).tolist()]


def _read_obj(content: bytes):
    vertices, polygons = [], []
    for line in content.decode("utf-8-sig", "replace").replace("\\\n", " ").splitlines():
        kind, *words = line.partition("#")[0].split() or [""]
        if kind == "v":
            vertices.append([float(word) for word in words[:3]])
        elif kind == "f":
            corners = [int(word.split("/")[0]) for word in words]
            if 0 in corners:
                raise ValueError("a face of vertex 0, where the first is 1")
            polygons.append([c - 1 if c > 0 else len(vertices) + c for c in corners])
    return vertices, polygons


def _write_obj(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    lines = [f"v {vertex}" for vertex in _text(vertices)] + ["f {} {} {}".format(*face) for face in faces + 1]
    return ("\n".join(lines) + "\n").encode()


def _read_off(content: bytes):
    text = "\n".join(line.partition("#")[0] for line in content.decode("utf-8-sig", "replace").splitlines()).strip()
    # Texture, color and normal of a vertex follow its place.
    if not (key := re.match("(ST)?C?N?(OFF|off)(?!.*BINARY)", text)):
        raise ValueError("it does not start with OFF")
    lines = [line.split() for line in text[key.end() :].splitlines() if line.strip()] or [[]]
    counts = [int(word) for word in lines[0]]
    if len(counts) not in (2, 3) or min(counts) < 0 or len(lines) - 1 < sum(counts[:2]):
        raise ValueError(f"it has {len(lines) - 1} lines after the counts {counts}")
    rows, polygons = lines[1 : 1 + counts[0]], lines[1 + counts[0] : 1 + sum(counts[:2])]
    return [[float(word) for word in row[:3]] for row in rows], [_corners(words) for words in polygons]


def _corners(words: list[str]) -> list[int]:
    """Read the corners of a line of their number, the corners, and the color if there is one."""
    count = int(words[0])
    if not 0 <= count < len(words):
        raise ValueError(f"a face of {len(words) - 1} numbers where {count} corners are due")
    return [int(word) for word in words[1 : 1 + count]]


def _write_off(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    lines = ["OFF", f"{len(vertices)} {len(faces)} 0", *_text(vertices), *("3 {} {} {}".format(*f) for f in faces)]
    return ("\n".join(lines) + "\n").encode()


def _read_ply(content: bytes):
    end = re.search(rb"[\r\n]end_header[ \t]*(\r\n|\r|\n|$)", content)  # a line of its own: comments may hold the word
    if not content.startswith(b"ply") or not end:
        raise ValueError("it has no header of a ply file")
    head, body = content[: end.start()], content[end.end() :]
    kind, elements = "", []
    for line in head.decode("ascii", "replace").splitlines():
        match line.split():
            case ["format", kind, *_]:
                pass
            case ["element", name, count]:
                elements.append((name, int(count), []))
            case ["property", "list", size, of, name]:
                elements[-1][2].append((name, _PLY_TYPES[of], _PLY_TYPES[size]))
            case ["property", of, name]:
                elements[-1][2].append((name, _PLY_TYPES[of], None))
    if kind not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise ValueError(f"it has the format {kind!r}")
    take = _words(body) if kind == "ascii" else _bytes(body, "<" if "little" in kind else ">")
    read: dict[str, list[dict]] = {}
    for name, count, properties in elements:
        read[name] = [
            {key: take(of, 1)[0] if size is None else take(of, int(take(size, 1)[0])) for key, of, size in properties}
            for _ in range(count)
        ]
    vertices = [[row["x"], row["y"], row["z"]] for row in read["vertex"]]
    faces = read.get("face", [])
    return vertices, [next(row[k] for k in ("vertex_indices", "vertex_index") if k in row) for row in faces]


def _words(body: bytes):
    words = iter(body.split())
    return lambda of, count: [float(next(words)) if of[0] == "f" else int(next(words)) for _ in range(count)]


def _bytes(body: bytes, order: str):
    at = 0

    def take(of: str, count: int) -> np.ndarray:
        nonlocal at
        values = np.frombuffer(body, order + of, count, at)
        at += values.nbytes
        return values

    return take


def _write_ply(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    header = [
        *("ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"),
        *(f"property {'float' if vertices.itemsize == 4 else 'double'} {axis}" for axis in "xyz"),
        *(f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"),
    ]
    rows = np.zeros(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, faces
    vertices = vertices.astype(vertices.dtype.newbyteorder("<"))
    return ("\n".join(header) + "\n").encode() + vertices.tobytes() + rows.tobytes()


MESH_FORMATS = {".obj": (_read_obj, _write_obj), ".ply": (_read_ply, _write_ply), ".off": (_read_off, _write_off)}
"""Ending of a file's name -> (function that reads its bytes, function that writes them)."""

"""Surface nets: the mesh of a level set on a grid, on the host.

A cell whose corners lie on both sides gets one vertex, the mean of the points where the level crosses its edges; an
edge that crosses gets a quadrilateral of the four cells around it. Gibson 1998, "Constrained elastic surface nets".
Unlike marching cubes, it needs no table of cases, and triangles are well shaped.
"""

import numpy as np

from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["surface_nets"]


def surface_nets(values: np.ndarray, level: float = 0.0, closed: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Extract the surface between the values above a level, the inside, and those below.

    Args:
      values: [X, Y, Z] at the corners of cells, at least 2 x 2 x 2: occupancy, or the negative of a signed distance, of
        any type.
      level: level of the surface.
      closed: refuse a surface that reaches the border of the grid, where the mesh would be open.

    Returns:
      (vertices [V, 3] float32 in steps of the grid from its first corner, faces [F, 3] int32, outward); both are empty
      where nothing crosses. Where two parts meet in one cell they share its vertex.
    """
    values = np.asarray(values)
    if values.ndim != 3 or min(values.shape) < 2:
        raise ValueError(f"values.shape={values.shape}: no grid; allowed: [X, Y, Z] of at least 2 x 2 x 2")
    values = values.astype(np.result_type(values, np.float32))  # differences of unsigned numbers wrap
    check_finite("values", values)
    check_shapes(level=(level, "finite"))
    inside = values > level
    border = [inside[0], inside[-1], inside[:, 0], inside[:, -1], inside[:, :, 0], inside[:, :, -1]]
    if closed and any(side.any() for side in border):
        raise ValueError(f"values: the mesh would be open; allowed: at most {level:g} at the border, or closed=False")
    total, count = np.zeros((*(n - 1 for n in values.shape), 3)), np.zeros([n - 1 for n in values.shape])
    crossing = []
    for axis in range(3):
        first, last = (np.moveaxis(values, axis, 0)[s] for s in (slice(None, -1), slice(1, None)))
        first, last = np.moveaxis(first, 0, axis), np.moveaxis(last, 0, axis)
        at = np.argwhere((first > level) != (last > level))  # [E, 3], the first corner of each edge
        edge = tuple(at.T)
        position = at.astype(np.float64)
        position[:, axis] += (level - first[edge]) / (last[edge] - first[edge])
        other_axes = [(axis + 1) % 3, (axis + 2) % 3]
        cells = np.repeat(at[:, None], 4, 1)  # around the axis, counterclockwise
        cells[:, :, other_axes] += np.array([[-1, -1], [0, -1], [0, 0], [-1, 0]])
        valid = np.all((cells >= 0) & (cells < count.shape), axis=-1)
        for k in range(4):
            index = tuple(cells[valid[:, k], k].T)
            np.add.at(total, index, position[valid[:, k]])
            np.add.at(count, index, 1)
        whole = valid.all(1)
        quads = cells[whole]
        outward = inside[edge][whole]
        crossing.append(np.where(outward[:, None, None], quads, quads[:, ::-1]))
    vertices = total[count > 0] / count[count > 0][:, None]
    number = np.full(count.shape, -1)
    number[count > 0] = np.arange(len(vertices))
    quads = number[tuple(np.moveaxis(np.concatenate(crossing), -1, 0))]
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return vertices.astype(np.float32), faces.astype(np.int32)

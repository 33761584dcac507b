"""Linear assignment inside the graph: give each column its own row, at the least total cost.

    min sum_m cost[q_m, m]   over distinct rows q_m

Shortest augmenting paths (Jonker & Volgenant 1987; Crouse 2016, the algorithm of `scipy.optimize`): prices u of columns
and v of rows keep cost - u - v >= 0, and 0 where a pair is assigned. Columns whose cheapest row nobody claims before
them have it at once. Each of the others searches, row by row in the order of distance, for the nearest free row, and
the columns on the path to it move on by one. Shapes are static, so that the solver runs under jit and vmap, on every
device, and in exported programs; it takes O(rows columns^2) operations at most.
"""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import to_same_origin

__all__ = ["assign"]


def assign(cost: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    """Assign a row to each column: distinct rows, the least sum of costs (the Hungarian method's answer).

    Args:
      cost: [Q, M], of row q for column m. No gradient goes through the answer. Infinities, and inside jit NaN, count
        as a large finite cost, so that the search ends.
      valid: [M] bool, False for padding; None for no padding.

    Returns:
      [M] int32, row of each column; -1 for padding, and for the columns left out where there are fewer rows than valid
      columns.
    """
    check_shapes(cost=(cost, "Q M"), valid=(valid, "M or None"))
    count, columns = cost.shape
    if not any(isinstance(x, jax.core.Tracer) for x in (cost, valid)):
        check_finite("cost", np.where(np.isinf(cost) | (valid is not None and ~np.asarray(valid, bool)), 0, cost))
    valid = jnp.ones(columns, bool) if valid is None else valid.astype(bool)
    cost = jax.lax.stop_gradient(to_same_origin(cost, dim=1)[0]).T  # what all have in common does not count
    finite = jnp.isfinite(cost) & valid[:, None]
    largest = jnp.where(finite, jnp.abs(cost), 0).max(initial=0)
    cost = jnp.where(finite, cost, 2 * (1 + largest))
    if count < columns:  # spare rows, dearer than any choice of the others
        cost = jnp.pad(cost, ((0, 0), (0, columns - count)), constant_values=jnp.nan)
        cost = jnp.where(jnp.isnan(cost), 2 * (1 + columns) * (1 + largest), cost)
    rows, order = jnp.arange(cost.shape[1], dtype=jnp.int32), jnp.arange(columns, dtype=jnp.int32)

    def nearest_row(distance):
        """The least of the last axis, and where; faster on a CPU than argmin, which no vector instruction does."""
        least = distance.min(-1, keepdims=True)
        return least[..., 0], jnp.where(distance <= least, rows, rows.size - 1).min(-1)

    price, best_row = nearest_row(cost)
    rivals = (best_row[:, None] == best_row) & valid & (order < order[:, None])
    assigned_row = jnp.where(valid & ~rivals.any(1), best_row, -1)
    owner = jnp.where(assigned_row[:, None] == rows, order[:, None], -1).max(0)

    def insert(state):
        u, v, assigned_row, owner = state
        waiting = valid & (assigned_row < 0)
        start, some = waiting.argmax().astype(jnp.int32), waiting.any()  # under vmap, others may wait where none does

        def look(search):
            distance, before, closed, column, nearest, _ = search
            reach = nearest + cost[column] - u[column] - v
            better = ~closed & (reach < distance)
            distance, before = jnp.where(better, reach, distance), jnp.where(better, column, before)
            ahead = jnp.where(closed, jnp.inf, distance)
            nearest, row = nearest_row(ahead)
            return distance, before, closed | (rows == row), owner[row], nearest, row

        distance = jnp.full(rows.shape, jnp.inf, cost.dtype)
        search = distance, jnp.zeros_like(rows), rows < 0, start, jnp.zeros((), cost.dtype), jnp.int32(0)
        search = jax.lax.while_loop(lambda search: some & (search[3] >= 0), look, look(search))
        distance, before, closed, _, nearest, row = search
        gain = jnp.where(closed, nearest - distance, 0)
        u = u + jnp.where(order == start, nearest, jnp.where(assigned_row >= 0, gain[assigned_row], 0))

        def move(path):
            row, _, assigned_row, owner = path
            column = before[row]
            left = assigned_row[column]
            return left, column, jnp.where(order == column, row, assigned_row), jnp.where(rows == row, column, owner)

        path = jax.lax.while_loop(lambda path: some & (path[1] != start), move, move((row, start, assigned_row, owner)))
        return u, v - gain, *path[2:]

    start = price, jnp.zeros(rows.shape, cost.dtype), assigned_row, owner
    assigned_row = jax.lax.while_loop(lambda state: (valid & (state[2] < 0)).any(), insert, start)[2]
    return jnp.where(assigned_row < count, assigned_row, -1)

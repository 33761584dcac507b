"""Agglomerative clustering: merge the two nearest clusters until one is left.

Lance & Williams 1967, "A general theory of classificatory sorting strategies"; Ward 1963. With clusters of n_a, n_b and
n_k points, d(a ∪ b, k) is

    single    min(d(a, k), d(b, k))
    complete  max(d(a, k), d(b, k))
    average   (n_a d(a, k) + n_b d(b, k)) / (n_a + n_b)
    ward      sqrt(((n_a + n_k) d(a, k)^2 + (n_b + n_k) d(b, k)^2 - n_k d(a, b)^2) / (n_a + n_b + n_k))

The merges have the format of scipy.cluster.hierarchy, whose `dendrogram` draws them; scipy is the oracle of the tests.
Each merge depends on the one before, so this is numpy in float64 on the host. The table of distances takes [N, N]
memory, which allows some thousands of points.
"""

from typing import Any

import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.classic_ml.points import check_points
from dlcore.ops.checks import check_indices, check_shapes

__all__ = ["LINKAGES", "cut_tree", "linkage"]

LINKAGES = ("single", "complete", "average", "ward")


def linkage(x: Any, method: str = "ward") -> np.ndarray:
    """Merge points into clusters by Euclidean distance.

    Args:
      x: [N, D], finite, N at least 2.
      method: one of LINKAGES, how far apart two clusters are.

    Returns:
      [N - 1, 4], one merge per row: two cluster numbers, the smaller first (points are 0..N-1, row i forms cluster
      N + i), their distance, and the size of the union.
    """
    from scipy.spatial.distance import pdist, squareform

    check_points("x", x, least=2)
    check_choice("method", method, LINKAGES)
    return _merges(squareform(pdist(np.asarray(x, np.float64))), method)


def cut_tree(merges: np.ndarray, num_clusters: int) -> np.ndarray:
    """Cut the tree of merges where a given number of clusters is left.

    Args:
      merges: [N - 1, 4], of `linkage`.
      num_clusters: in [1, N].

    Returns:
      [N], labels in 0..num_clusters - 1, numbered in the order of each cluster's first point.
    """
    merges = np.asarray(merges)
    check_shapes(merges=(merges, "M 4"))
    n = len(merges) + 1
    pairs = merges[:, :2]
    check_indices("merges", pairs, 2 * n - 1, "clusters")
    if len(np.unique(pairs)) < pairs.size or (pairs >= n + np.arange(n - 1)[:, None]).any():
        raise ValueError("merges: no tree; allowed: of `linkage`, each cluster merged once, after it was formed")
    check_whole_number("num_clusters", num_clusters)
    if not 1 <= num_clusters <= n:
        raise ValueError(f"num_clusters={num_clusters}: out of range; allowed: 1..{n}")
    cluster = np.arange(n)
    for row, (a, b) in enumerate(merges[: n - num_clusters, :2]):
        cluster[(cluster == a) | (cluster == b)] = n + row
    _, first, label = np.unique(cluster, return_index=True, return_inverse=True)
    # Number the clusters by their first member.
    return first.argsort().argsort()[label]


def _merges(distance: np.ndarray, method: str) -> np.ndarray:
    """Merge the two nearest rows a and b of the table into row a; each row keeps its nearest for the next search."""
    n = len(distance)
    d, size, name, merges = distance.copy(), np.ones(n), np.arange(n), np.empty((n - 1, 4))
    np.fill_diagonal(d, np.inf)
    near, least = d.argmin(1), d.min(1)  # [N] each
    for i in range(n - 1):
        # The two nearest clusters.
        a = least.argmin()
        b = near[a]
        merges[i] = *sorted((name[a], name[b])), d[a, b], size[a] + size[b]
        # Lance-Williams: distances to the union follow from those to its two parts.
        union = _distance_to_union(method, d[a], d[b], d[a, b], size[a], size[b], size)
        union[[a, b]] = np.inf
        d[a], d[:, a], d[b], d[:, b] = union, union, np.inf, np.inf
        size[a], name[a], least[b] = size[a] + size[b], n + i, np.inf
        nearer = union <= least
        near[nearer], least[nearer] = a, union[nearer]
        # Only clusters whose nearest was merged look for another.
        search = ((near == a) | (near == b)) & ~nearer
        search[a] = True
        near[search], least[search] = d[search].argmin(1), d[search].min(1)
    return merges


def _distance_to_union(method, to_a, to_b, between, size_a, size_b, size):
    if method == "single":
        return np.minimum(to_a, to_b)
    if method == "complete":
        return np.maximum(to_a, to_b)
    if method == "average":
        return (size_a * to_a + size_b * to_b) / (size_a + size_b)
    squares = (size_a + size) * to_a**2 + (size_b + size) * to_b**2 - size * between**2
    return np.sqrt(np.maximum(squares / (size_a + size_b + size), 0))

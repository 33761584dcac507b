"""Measures of clusters: against true classes, or by distances alone. numpy, on the host.

Hubert & Arabie 1985; Strehl & Ghosh 2002; Rousseeuw 1987. n_ij points of class i are in cluster j; C2(n) = n (n - 1)/2.

    ARI = (sum_ij C2(n_ij) - E) / ((A + B) / 2 - E)       A = sum_i C2(n_i.),  B = sum_j C2(n_.j),  E = A B / C2(n)
    NMI = 2 I / (H_classes + H_clusters)                  I = sum_ij n_ij / n log(n n_ij / (n_i. n_.j))
    silhouette = mean of (b - a) / max(a, b)              a: mean distance to the others of the own cluster, b: to the
                                                          nearest other cluster; 0 for a point that is alone in its own

How clusters are numbered does not matter. Random clusters have ARI 0 on average; their NMI is above 0.
"""

import numpy as np

from dlcore.ops.checks import check_classes, check_finite

__all__ = ["adjusted_rand_index", "normalized_mutual_information", "silhouette"]


def adjusted_rand_index(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Adjusted Rand index: the share of pairs that both divisions treat alike, corrected for chance.

    Args:
      labels: [N] int, classes.
      clusters: [N] int.

    Returns:
      At most 1, which means the same division.
    """
    n = _contingency(labels, clusters)
    # Pairs of examples that are together in both, in classes, in clusters, and all.
    pairs, of_class, of_cluster, total = (_pairs(v).sum() for v in (n, n.sum(1), n.sum(0), n.sum()))
    expected = of_class * of_cluster / total if total else 0.0
    most = (of_class + of_cluster) / 2
    return float((pairs - expected) / (most - expected)) if most != expected else 1.0


def normalized_mutual_information(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Mutual information of two divisions over the mean of their entropies.

    Args:
      labels: [N] int, classes.
      clusters: [N] int.

    Returns:
      In [0, 1]; 1 for the same division.
    """
    joint = _contingency(labels, clusters)
    joint = joint / joint.sum()
    # Mutual information is H(rows) + H(columns) - H(both), over the mean entropy.
    rows, columns, both = (_entropy(v) for v in (joint.sum(1), joint.sum(0), joint))
    return float(2 * (rows + columns - both) / (rows + columns)) if rows + columns > 0 else 1.0


def silhouette(x: np.ndarray, clusters: np.ndarray) -> float:
    """Mean silhouette coefficient, by Euclidean distance: how much nearer the own cluster is than the next.

    Args:
      x: [N, D], points. The table of distances takes [N, N] memory.
      clusters: [N] int, at least two different ones.

    Returns:
      In [-1, 1].
    """
    from scipy.spatial.distance import cdist

    check_finite("x", x)
    x, clusters = np.asarray(x, np.float64), np.asarray(clusters)
    if x.ndim != 2 or clusters.shape != x.shape[:1]:
        raise ValueError(f"x={x.shape}, clusters={clusters.shape}: wrong shapes; allowed: [N, D] and [N]")
    if clusters.dtype.kind == "f":
        check_finite("clusters", clusters)
    check_classes("clusters", clusters)
    _, index, size = np.unique(clusters, return_inverse=True, return_counts=True)
    if not 2 <= len(size) < len(x):
        raise ValueError(f"clusters={len(size)} different: no silhouette; allowed: 2 to {len(x) - 1}")
    to_cluster = cdist(x, x) @ np.eye(len(size))[index]  # [N, clusters], sums of distances
    point = np.arange(len(x))
    inside = to_cluster[point, index] / np.maximum(size[index] - 1, 1)
    to_cluster /= size
    # The nearest other cluster.
    to_cluster[point, index] = np.inf
    outside = to_cluster.min(1)
    most = np.maximum(inside, outside)
    each = np.where((size[index] > 1) & (most > 0), (outside - inside) / np.where(most > 0, most, 1), 0)
    return float(each.mean())


def _contingency(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    labels, clusters = np.asarray(labels), np.asarray(clusters)
    if labels.ndim != 1 or labels.shape != clusters.shape or not len(labels):
        raise ValueError(f"labels={labels.shape}, clusters={clusters.shape}: wrong shapes; allowed: [N] for both")
    for name, values in (("labels", labels), ("clusters", clusters)):
        if values.dtype.kind == "f":
            check_finite(name, values)
        check_classes(name, values)
    rows, columns = (np.unique(v, return_inverse=True)[1] for v in (labels, clusters))
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    return table


def _pairs(n: np.ndarray) -> np.ndarray:
    return n * (n - 1) / 2


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())

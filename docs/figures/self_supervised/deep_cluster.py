"""Figure of dlcore.self_supervised.deep_cluster; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.classic_ml.kmeans import kmeans
from dlcore.metrics.clustering import normalized_mutual_information
from dlcore.report.figure import BLUE, GRAY, PALETTE, new_figure
from dlcore.self_supervised.deep_cluster import cluster

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["deep_cluster"]


def deep_cluster() -> "Figure":
    """Clusters as labels: 300 features of four groups, most of whose variance lies along one axis.

    Left: k-means on the features themselves cuts the long axis. Middle: DeepCluster whitens first, and its clusters
    (colors) are the groups (titles: mutual information with them). Right: in a small cluster the weight of an image
    (blue) is larger, so that every cluster has the same part in the loss.
    """
    figure, (left, middle, right) = new_figure((7, 2.6), 1, 3)
    rng, sizes = np.random.default_rng(0), (120, 90, 60, 30)
    group = np.repeat(np.arange(4), sizes)
    centers = np.array([[5, 0.5], [-5, 0.5], [-5, -0.5], [5, -0.5]])
    features = centers[group] + rng.normal(size=(300, 2)) * [2.0, 0.12]
    raw = np.asarray(kmeans(jax.random.key(0), features, 4).labels)
    clusters = cluster(jax.random.key(0), features, 4)
    for ax, labels, title in ((left, raw, "k-means"), (middle, clusters, "whitening first")):
        agreement = normalized_mutual_information(group, labels)
        ax.scatter(*features.T, s=4, c=[PALETTE[label] for label in labels])
        ax.set_title(f"{title}: {100 * agreement:.0f} %", fontsize=9)
        ax.set(xlabel="feature 1", ylabel="feature 2", ylim=(-1, 1))
    counts = np.sort(np.bincount(clusters))[::-1]
    right.bar(range(4), counts, color=GRAY)
    right.set(xlabel="cluster", ylabel="images", xticks=range(4))
    weights = right.twinx()
    weights.plot(range(4), 300 / (4 * counts), "o-", color=BLUE)
    weights.set_ylabel("weight of an image", color=BLUE)
    weights.set_ylim(0, None)
    return figure

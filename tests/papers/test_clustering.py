"""The accuracy of clusters: each stands for one class."""

import numpy as np

from experiments.papers.clustering import assigned_accuracy


def test_names_of_clusters_do_not_matter_and_each_class_is_taken_once():
    labels = np.array([0, 0, 0, 1, 1, 2])
    assert assigned_accuracy(labels, np.array([2, 2, 2, 0, 0, 1]), 3) == 1
    # Clusters 0 and 1 are of class 0, which only one of them may stand for: 2 + 1 + 1 of 6.
    assert assigned_accuracy(labels, np.array([0, 0, 1, 1, 2, 2]), 3) == 4 / 6

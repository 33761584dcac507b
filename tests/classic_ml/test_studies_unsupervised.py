"""The experiments of clusters, maps and densities in smoke settings."""

import numpy as np
import pytest

from experiments.classic_ml import clustering, density, embedding, neocognitron


@pytest.mark.slow
@pytest.mark.covers("DD-23", "DD-24")
def test_clustering_smoke():
    result = clustering.study(**clustering.experiment.smoke)
    assert result.holds
    assert result.numbers["adjusted Rand index, k-means"] > 0.4
    assert result.numbers["adjusted Rand index, ward"] > result.numbers["adjusted Rand index, single"]
    assert set(result.figures) == {"clustering"}


def test_tiles():
    got = clustering.tiles(np.arange(2)[:, None, None] * np.ones((2, 1, 2)), (2, 1))
    np.testing.assert_array_equal(got, [[0, 0, 0.3], [0.3] * 3, [1, 1, 0.3], [0.3] * 3])


@pytest.mark.weekly
@pytest.mark.covers("DD-26")
def test_embedding_smoke():
    result = embedding.study(**embedding.experiment.smoke)
    assert result.numbers["pixels: 5-NN before the map"] == pytest.approx(0.986, abs=0.002)
    assert set(result.figures) == {"embedding"}


@pytest.mark.covers("DD-26")
def test_the_vote_of_neighbors_by_hand():
    # 0, 1, 2 | 10, 11 with labels 0, 0, 1 | 1, 1 and two neighbors each: of equal votes the smaller label wins
    y, labels = np.array([[0.0], [1], [2], [10], [11]]), np.array([0, 0, 1, 1, 1])
    # 0: {0, 1} -> 0; 1: {0, 1} -> 0; 2: {0, 0} -> 0, wrong; 10: {1, 1} -> 1; 11: {1, 1} -> 1
    assert embedding.neighbors_agree(y, labels, 2) == 0.8


@pytest.mark.weekly
@pytest.mark.covers("DD-29")
def test_density_smoke():
    result = density.study(**density.experiment.smoke)
    assert result.holds
    assert result.numbers["AUROC, Gaussian, MAP, noise"] > 0.99
    assert result.numbers["EM never lowered the likelihood"]
    assert set(result.figures) == {"density"}


@pytest.mark.slow
@pytest.mark.covers("DD-31")
def test_neocognitron_smoke():
    result = neocognitron.study(**neocognitron.experiment.smoke)
    assert result.holds
    for name in ("pixels", "S1", "C1", "C2"):
        assert result.numbers[f"{name}: cosine by shift"][0] == pytest.approx(1, abs=1e-5)
    assert result.numbers["C2: cosine by shift"][1] > result.numbers["C2: cosine with another digit"]


def test_each_kind_of_outlier_by_hand():
    images = np.float32([[0.1, 0.2, 0.7], [0.0, 0.4, 1.0]])
    kinds = density.outliers(images, 0)
    np.testing.assert_array_equal(kinds["inverted"], 1 - images)
    np.testing.assert_array_equal(np.sort(kinds["shuffled pixels"]), np.sort(images))
    assert not np.isin(kinds["noise"], [*images, *(1 - images)]).any()
    assert list(kinds) == ["noise", "shuffled pixels", "inverted"]

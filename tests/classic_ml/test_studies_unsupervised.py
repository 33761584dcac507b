"""The experiments of clusters, maps and densities in smoke settings."""

import types

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


def test_each_density_is_that_of_its_name(monkeypatch):
    """A fit is its name, and the density of it at x; two mixtures, of which that of four components is the likelier."""
    for name in ("gaussian_map", "gaussian_mle"):
        monkeypatch.setattr(density, name, lambda *_, name=name: name)
    monkeypatch.setattr(density, "fit_svd", lambda x, components: lambda x: x + components)
    monkeypatch.setattr(density, "gaussian_log_density", lambda x, fit: (fit, x))
    monkeypatch.setattr(density, "kmeans", lambda key, x, count, *, restarts: types.SimpleNamespace(centers=count))
    monkeypatch.setattr(density, "start_from", lambda centers, variance: centers)
    fit = lambda x, start, *, iterations, epsilon: types.SimpleNamespace(  # noqa: E731
        mixture=start, log_likelihood=np.array([1.0, 2.0])
    )
    monkeypatch.setattr(density, "fit_mixture", fit)
    monkeypatch.setattr(density, "log_density", lambda x, mixture: np.float64(mixture))
    monkeypatch.setattr(density, "kernel_log_density", lambda x, train, width: -np.square(width - 0.3))
    monkeypatch.setattr(density, "bic", lambda x, mixture: -mixture)
    monkeypatch.setattr(density, "skewness", lambda x: np.array([1.0, -2]))
    densities, numbers = density.fit_densities(np.zeros((4, 2)), np.ones((3, 2)), 4, 5, 0)
    assert {name: function(7) for name, function in densities.items()} == {
        "Gaussian, MLE, 20 components": ("gaussian_mle", 27),
        "Gaussian, MAP": ("gaussian_map", 7),
        "mixture": 4,
        "kernels": pytest.approx(0),
    }
    assert numbers == {
        "components of the mixture": 4,
        "bandwidth": 0.3,
        "EM never lowered the likelihood": True,
        "components tried": [1, 4],
        "held-out likelihood": [1, 4],
        "BIC": [-1, -4],
        "largest skewness of a component": 2,
    }


def test_each_layer_of_the_neocognitron_has_its_responses(monkeypatch):
    images = np.zeros((2, 3, 3, 1))
    stages = [types.SimpleNamespace(templates=None, selectivity=None)]
    monkeypatch.setattr(neocognitron, "neocognitron", lambda images, stages: (images + 2, images + 3))
    monkeypatch.setattr(neocognitron, "s_layer", lambda images, *_: images + 1)
    rows = neocognitron.responses(images, stages)
    assert {name: (row.shape, row.max()) for name, row in rows.items()} == {
        "pixels": ((2, 9), 0),
        "S1": ((2, 9), 1),
        "C1": ((2, 9), 2),
        "C2": ((2, 9), 3),
    }

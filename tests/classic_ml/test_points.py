"""Points at the door, and their distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml import (
    compression,
    density,
    elastic_net,
    hard_cases,
    hierarchical,
    kernel_svm,
    kmeans,
    linear,
    linear_regression,
    linear_training,
    logistic,
    mixture,
    mlp,
    naive_bayes,
    nearest_neighbor,
    neocognitron,
    outlier,
    pca,
    perceptron,
    pixel_distance,
    som,
    splits,
    tsne,
    universal_approximation,
)
from dlcore.classic_ml.examples import as_rows
from dlcore.classic_ml.points import check_points, squared_distances
from dlcore.data.preprocess import PCA


def test_distances_of_differences():
    x, y = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    want = np.square(x[:, None] - y[None]).sum(-1)
    np.testing.assert_allclose(squared_distances(jnp.asarray(x), jnp.asarray(y)), want, rtol=1e-4, atol=1e-5)
    assert (np.asarray(squared_distances(jnp.asarray(x), jnp.asarray(x))) >= 0).all()


def test_the_door():
    assert check_points("x", [[1, 2]]).dtype == jnp.float32
    for shape in ((3,), (3, 0), (3, 2, 1)):
        with pytest.raises(ValueError, match=r"x.shape=.*: wrong shape; allowed: \[N, D\]"):
            check_points("x", np.zeros(shape))
    for shape in ((1, 3), (2, 2)):
        with pytest.raises(ValueError, match=r"seeds.shape=.*: wrong shape; allowed: \[N, 3\] with N of at least 2"):
            check_points("seeds", np.zeros(shape), least=2, dim=3)
    with pytest.raises(ValueError, match="x: has values that are not finite"):
        check_points("x", np.array([[np.inf]]))


X, WIDE, TWO = np.ones((3, 2), np.float32), np.ones((3, 4), np.float32), np.ones(2, np.float32)
PARTS = mixture.Mixture(TWO / 2, np.eye(2), np.stack([np.eye(2)] * 2))


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (density.gaussian_log_density, (TWO, density.Gaussian(TWO, np.eye(2))), "x="),
        (density.gaussian_log_density, (X, density.Gaussian(TWO, np.eye(3))), "covariance="),
        (linear.softmax_loss, (TWO, np.array([0, 1])), "s="),
        (linear.softmax_loss, (X, np.array([0, 1])), "label="),
        (lambda *rows: linear_training.descend(*rows, num_classes=2), (TWO, np.array([0, 1])), "x="),
        (lambda *rows: linear_training.descend(*rows, num_classes=2), (X, np.array([0, 1])), "label="),
        (mixture.fit_mixture, (X, PARTS._replace(weights=np.eye(2))), "weights="),
        (mixture.fit_mixture, (X, PARTS._replace(weights=np.ones(3) / 3)), "means="),
        (mixture.fit_mixture, (X, PARTS._replace(means=np.array([[np.nan, 0], [0, 0]]))), r"means\[0, 0\]=nan"),
        (mixture.log_density, (X, PARTS._replace(weights=np.ones(3) / 3)), "means="),
        (mixture.log_density, (X, PARTS._replace(covariances=np.ones((3, 2, 2)))), "covariances="),
        (nearest_neighbor.nearest, (TWO, X, 1), "rows="),
        (nearest_neighbor.nearest, (X, WIDE, 1), "queries="),
        (som.som_batch_update, (X, WIDE, np.ones((3, 2)), 1.0), "w="),
        (som.som_batch_update, (X, X, np.ones((2, 2)), 1.0), "positions="),
        (som.winners, (X, WIDE), "w="),
        (som.winners, (TWO, X), "x="),
        (som.topographic_error, (X, X, np.ones((3, 3))), "positions="),
    ],
)
def test_arrays_that_do_not_fit_are_named(function, arguments, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        function(*arguments)


KEY = jax.random.key(0)
LINE = np.array([[0.0], [1.0], [np.nan]], np.float32)
SPLIT = np.array([[0, 1, 1, 2], [2, 3, 2, 3]])  # merges of three points
UNIT = PCA(np.zeros(2), np.eye(2), np.ones(2), (2,))
GUESS = density.Prior(np.zeros(2), 1.0, np.eye(2), 3.0)
LAYER = linear.Linear(np.ones((2, 3)), np.ones(2))
FOLDS = splits.k_folds(4, 2)


def train(module, **settings):
    return module.train(np.array([[0.0], [1.0], [2.0]]), np.array([0, 1, 1]), **settings)


def cross_validated(predict=lambda x, y, new: np.zeros((1, len(new))), count=4, folds=FOLDS):
    return splits.cross_validate(predict, np.zeros((4, 2)), np.zeros(count, int), folds)


def accuracy(train=X, labels=np.array([0, 1, 1])):
    return compression.prototype_accuracy(np.eye(2), train, labels, X, np.array([0, 1, 1]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_points("x", [[1, 2], [3]]), r"x: rows of several lengths; allowed: \[N, D\]"),
        (lambda: check_points("x", [["a"]]), "x.dtype=<U1: no real numbers"),
        (lambda: as_rows([np.zeros((2, 2)), np.zeros((3, 2))]), "images: of several sizes; allowed"),
        (lambda: as_rows(np.zeros((3, 0))), r"images.shape=\(3, 0\): no pixels"),
        (lambda: as_rows(np.array([["a"]])), "images.dtype=<U1: no numbers"),
        (lambda: compression.pca_code(UNIT, LINE[:, [0, 0]], X, 1, 0.1), r"images\[2, 0\]=nan: not finite"),
        (lambda: compression.pca_code(UNIT, X, LINE[:, [0, 0]], 1, 0.1), r"train\[2, 0\]=nan: not finite"),
        (lambda: compression.pca_code(UNIT, X, X, 1.5, 0.1), "num_components=1.5: no whole number"),
        (lambda: compression.pca_code(UNIT, X, X, 1, np.inf), "step=inf: not finite"),
        (lambda: compression.jpeg_code(np.zeros((0, 4), np.uint8), 50), r"image=uint8\[0, 4\]: no image"),
        (lambda: accuracy(labels=np.array([0, 0.5, 1])), "labels.dtype=float64: no integers"),
        (lambda: accuracy(train=X[:0], labels=np.zeros(0, int)), r"train.shape=\(0, 2\): wrong shape"),
        (lambda: compression.dropped_variance([1.0], np.ones(2)), "total=.*wrong shape or dtype"),
        (lambda: hard_cases.xor(300.5), "n=300.5: no whole number"),
        (lambda: hard_cases.annulus(4, seed=-1), "seed=-1: too small; allowed: at least 0"),
        (lambda: hard_cases.three_modes(0), "n=0: too small; allowed: at least 1"),
        (lambda: hard_cases.polar(WIDE), r"x=float32\[3, 4\]: wrong shape or dtype; allowed: \[N, 2\]"),
        (lambda: hard_cases.linear_bound(LINE[:, [0, 0]], np.array([0, 1, 1])), r"x\[2, 0\]=nan: not finite"),
        (lambda: hard_cases.linear_bound(X[:1], np.array([0, 1, 1])), "label=.*wrong shape or dtype"),
        (lambda: hard_cases.linear_bound(X[:0], np.zeros(0, int)), r"x.shape=\(0, 2\): empty"),
        (lambda: hierarchical.cut_tree(SPLIT[:, :3], 1), r"merges=.*allowed: \[M, 4\]"),
        (lambda: hierarchical.cut_tree(SPLIT + 3, 1), r"merges\[1, 0\]=5: out of range; allowed: 0 to 4"),
        (lambda: kernel_svm.kernel_matrix(X, WIDE), "b=.*wrong shape or dtype"),
        (lambda: kernel_svm.kernel_matrix(X, X, "cubic"), "kernel='cubic': unknown; allowed: linear"),
        (lambda: kmeans.kmeans_plus_plus(KEY, LINE, 2), r"x\[2, 0\]=nan: not finite"),
        (lambda: linear.scores(LAYER, X), r"x=float32\[3, 2\]: wrong shape or dtype; allowed: \[N, 3\]"),
        (lambda: linear.append_one(X[None]), r"x=.*allowed: \[N, D\]"),
        (lambda: linear.fold_bias(LAYER._replace(bias=np.ones(1))), "bias=.*wrong shape or dtype"),
        (lambda: linear.objective(LAYER, X, np.array([0, 1, 1]), "hinge", -1.0), "l2=-1: out of range"),
        (lambda: linear_training.momentum_step(1.0, 0.0, 1.0, np.nan, 0.9), "learning_rate=nan: out of range"),
        (lambda: linear_training.momentum_step(1.0, 0.0, 1.0, 0.1, 1.5), "momentum=1.5: out of range"),
        (
            lambda: linear_training.random_search(LINE, np.array([0, 1, 1]), num_classes=2),
            r"x\[2, 0\]=nan: not finite",
        ),
        (lambda: linear_training.descend(X, np.array([0, 1, 1]), num_classes=2.5), "num_classes=2.5: no whole"),
        (lambda: linear_training.minimize(X[:0], np.zeros(0, int), num_classes=2), r"x.shape=\(0, 2\): empty"),
        (lambda: train(linear_training, learning_rate=np.inf), "learning_rate=inf: not finite"),
        (lambda: logistic.fit_binary(X, np.array([1]), 1.0), "target=.*wrong shape or dtype"),
        (lambda: logistic.fit_binary(X, np.array([0, 1, 1]), np.nan), "l2=nan: out of range"),
        (lambda: logistic.fit_binary(X, np.array([0, 1, 1]), 1.0, steps=0), "steps=0: too small"),
        (lambda: mixture.mixture_step(X, PARTS, -1.0), "epsilon=-1: out of range; allowed: at least 0"),
        (lambda: mixture.mixture_step(X[:0], PARTS), r"x.shape=\(0, 2\): empty"),
        (lambda: mixture.log_density(X, PARTS._replace(weights=TWO)), r"mixture.weights=\[1. 1.\]: sums to 2"),
        (lambda: mixture.responsibilities(X, PARTS._replace(weights=TWO)), "mixture.weights=.*sums to 2"),
        (lambda: mixture.bic(X, PARTS._replace(weights=TWO)), "mixture.weights=.*sums to 2"),
        (lambda: mixture.bic(WIDE, PARTS), "means=.*wrong shape or dtype"),
        (lambda: mlp.neuron([1.0, np.nan], 0.0, [1.0, 1.0]), r"weights\[1\]=nan: not finite"),
        (lambda: mlp.neuron([1.0, 1.0], 0.0, [1.0]), "inputs=.*wrong shape or dtype"),
        (lambda: mlp.initialize((3, 1), seed=0.5), "seed=0.5: no whole number"),
        (lambda: mlp.count(3), r"sizes=\(3,\): no network"),
        (lambda: mlp.scores((), X), r"layers=\[\]: none; allowed: at least one"),
        (lambda: mlp.scores((LAYER,), X), "x=.*wrong shape or dtype"),
        (lambda: mlp.collapse((LAYER, LAYER)), r"layers\[1\].weights=.*wrong shape or dtype; allowed: \[width2, 2\]"),
        (lambda: mlp.gradients((LAYER,), np.ones((1, 3)), np.array([0]), -1.0), "l2=-1: out of range"),
        (lambda: train(mlp, hidden=100), "hidden=100: no list"),
        (lambda: train(mlp, seed=-1), "seed=-1: too small"),
        (lambda: train(mlp, l2=np.inf), "l2=inf: not finite"),
        (lambda: train(naive_bayes, smoothing=np.inf), "smoothing=inf: not finite"),
        (lambda: nearest_neighbor.nearest(LINE, LINE[:2], 1), r"rows\[2, 0\]=nan: not finite"),
        (lambda: nearest_neighbor.nearest(X, X, 1, lambda q, r: r), r"metric: gives distances of shape \(3, 2\)"),
        (lambda: nearest_neighbor.train(X, np.array([0, 1, 1]), metric=["l1"]), "metric=.*unknown; allowed: l1, l2"),
        (lambda: density.kernel_log_density(X, X, "scott"), "bandwidth='scott': no number"),
        (lambda: density.kernel_log_density(X, X, None), "bandwidth=None: no number"),
        (lambda: density.gaussian_map(X, GUESS._replace(scatter=-np.eye(2))), r"prior.scatter, diagonal\[0\]=-1: out"),
        (lambda: density.gaussian_map(X, GUESS._replace(mean=np.full(2, np.nan))), r"prior.mean\[0\]=nan: not finite"),
        (lambda: density.gaussian_map(X, GUESS._replace(strength="a")), "prior.strength='a': no number"),
        (lambda: elastic_net.elastic_net(X, X[:, 0], None), "alpha=None: no number"),
        (lambda: elastic_net.lasso([[1, 2], [3]], [1, 2]), "x: rows of unequal lengths"),
        (lambda: linear_regression.least_squares(X, X[:, 0], np.ones(2)), "l2=.*wrong shape or dtype"),
        (lambda: train(kernel_svm, c="a"), "c='a': no number"),
        (lambda: train(kernel_svm, gamma="auto"), "gamma='auto': no number"),
        (lambda: train(logistic, l2=np.ones(2)), "l2=.*wrong shape or dtype"),
        (lambda: train(linear_training, loss=["hinge"]), "loss=.*unknown; allowed: softmax"),
        (lambda: train(linear_training, momentum=None), "momentum=None: no number"),
        (
            lambda: linear_training.descend(X, np.array([0, 1, 1]), num_classes=2, optimizer="adam"),
            "optimizer='adam': no optimizer",
        ),
        (lambda: mixture.fit_mixture(X, PARTS._replace(covariances=-PARTS.covariances)), "diagonal=-1: out of range"),
        (lambda: mlp.initialize((2, 1), dtype=int), "dtype=int64: no floats"),
        (lambda: hierarchical.cut_tree(np.array([[0, 1, 1, 2], [0, 2, 1, 3]]), 1), "merges: no tree"),
        (lambda: hierarchical.cut_tree(np.array([[0, 4, 1, 2], [1, 2, 1, 3]]), 1), "merges: no tree"),
        (lambda: pca.cumulative_variance([np.inf, 1.0]), r"variance\[0\]=inf: not finite"),
        (lambda: pca.num_components_for([2.0, 1.0], None), "share=None: no number"),
        (lambda: perceptron.binary_perceptron(X[:0], np.ones(0)), "do not fit; allowed"),
        (lambda: outlier.auroc(["a"], [1.0]), r"inliers=\['a'\]: no number"),
        (lambda: som.som(KEY, X, sigma=("a", "b")), "sigma=.*not two numbers"),
        (lambda: splits.shuffled_split(20, "a"), "train='a': no number"),
        (lambda: splits.TestExamples(1, 2), r"images\[0\] and labels\[0\]: do not fit"),
        (lambda: cross_validated(folds=[(np.arange(2.0), np.arange(2.0))]), r"folds\[0\], train=.*allowed: int"),
        (lambda: tsne.tsne(WIDE, num_components=None), "num_components=None: no whole number"),
        (lambda: tsne.tsne(WIDE, learning_rate="auto"), "learning_rate='auto': no number"),
        (lambda: universal_approximation.staircase(np.sin, "a", 1, 3), "low='a': no number"),
        (lambda: nearest_neighbor.l1_distance(TWO[:1], X), "rows=.*wrong shape or dtype"),
        (lambda: nearest_neighbor.l2_distance(X, X), "query=.*wrong shape or dtype"),
        (lambda: nearest_neighbor.cosine_distance(TWO[:, None], X), "query=.*wrong shape or dtype"),
        (lambda: nearest_neighbor.vote(np.zeros((3, 0), int), 2), "labels.shape=.*no neighbors"),
        (lambda: nearest_neighbor.vote(np.zeros((3, 1), int), 2.5), "num_classes=2.5: no whole number"),
        (lambda: nearest_neighbor.predict_for_each_k(train(nearest_neighbor), LINE[:2], 1), "ks=1: no list"),
        (lambda: neocognitron.neocognitron(-np.ones((1, 4, 4, 1)), ()), "images.*=-1: out of range"),
        (lambda: neocognitron.grow_templates(KEY, np.ones((1, 4, 4, 1)), 2.5, 1, 0.5), "size=2.5: no whole"),
        (lambda: neocognitron.grow_stages(KEY, np.ones((1, 4, 4, 1)), strides=(1, 0)), "strides=0: too small"),
        (lambda: neocognitron.grow_stages(KEY, np.ones((1, 4, 4, 1)), sizes=3), "do not fit; allowed: one entry"),
        (lambda: outlier.is_outlier(TWO, np.nan), "threshold=nan: no number"),
        (lambda: train(perceptron, seed=1.5), "seed=1.5: no whole number"),
        (lambda: pixel_distance.contrast(X, TWO[:1]), "query=.*wrong shape or dtype"),
        (lambda: pixel_distance.contrast(X[:0], TWO), r"x.shape=\(0, 2\): empty"),
        (lambda: pixel_distance.contrast(X, TWO, -1), "order=-1: out of range; allowed: above 0"),
        (lambda: pixel_distance.equal_edits(np.full((3, 3), np.nan)), "image.shape=.*wrong shape or range"),
        (lambda: pixel_distance.equal_edits(np.ones((3, 3)), 1.5), "shift=1.5: no whole number"),
        (lambda: som.winners(LINE, LINE[:2]), r"x\[2, 0\]=nan: not finite"),
        (lambda: som.quantization_error(X[:0], X), r"x.shape=\(0, 2\): empty"),
        (lambda: som.topographic_error(X, X, np.full((3, 2), np.nan)), r"positions\[0, 0\]=nan: not finite"),
        (lambda: som.som_batch_update(X, X, X, 0.0), "sigma=0: out of range; allowed: above 0"),
        (lambda: som.som(KEY, X, sigma=(1.0,)), "sigma=.*not two numbers"),
        (lambda: som.grid_positions((1, 2, 3)), r"shape=\(1, 2, 3\): no grid"),
        (lambda: splits.shuffled_split(4.5), "n=4.5: no whole number"),
        (lambda: splits.shuffled_split(20, seed=-1), "seed=-1: too small"),
        (lambda: splits.first_as_validation(50.5, 2), "n=50.5: no whole number"),
        (lambda: splits.k_folds(12.5, 2), "n=12.5: no whole number"),
        (lambda: splits.k_folds(12, 2, 0.5), "seed=0.5: no whole number"),
        (lambda: cross_validated(count=3), r"labels.shape=\(3,\): not one label an image; allowed: \(4,\)"),
        (lambda: cross_validated(folds=[(np.arange(4), np.arange(0))]), r"folds\[0\]: no valid indices"),
        (lambda: cross_validated(folds=[(np.arange(4), np.array([4]))]), r"folds\[0\], valid\[0\]=4: out of range"),
        (lambda: cross_validated(lambda x, y, new: np.zeros((1, 1))), r"predict_each=\(1, 1\): wrong shape"),
        (lambda: tsne.tsne(WIDE, exaggerated_steps=-1), "exaggerated_steps=-1: too small"),
        (lambda: tsne.conditional_affinities(np.ones((3, 3)), np.nan), "perplexity=nan: out of range; allowed: 1 to 2"),
        (lambda: tsne.conditional_affinities(WIDE, 1.5), "squared=.*wrong shape or dtype"),
        (lambda: tsne.kl_divergence(np.eye(3)[:1], X), "p=.*wrong shape or dtype"),
        (lambda: tsne.kl_divergence(np.full((3, 3), np.nan), X), r"p\[0, 0\]=nan: out of range"),
        (lambda: universal_approximation.staircase(np.sin, 1, 1, 3), "low=1, high=1: no interval; allowed: low < high"),
        (lambda: universal_approximation.staircase(lambda x: 1.0, 0, 1, 3), r"function: gives values of shape \(\)"),
        (lambda: universal_approximation.staircase(np.sin, 0, 1, 3, 0.0), "sharpness=0: out of range"),
        (lambda: universal_approximation.step_pair(0, 1, np.nan, 1), "height=nan: not finite"),
        (lambda: universal_approximation.network((TWO, TWO, TWO), TWO), "parameters: no network; allowed"),
        (lambda: universal_approximation.network((TWO, TWO, TWO, 0.0), X), "x=.*wrong shape or dtype"),
        (lambda: universal_approximation.sup_error(np.sin, (TWO,) * 3 + (0.0,), 0, 1, 0), "points=0: too small"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""t-SNE: the affinities, the gradient, and the digits in the plane."""

import importlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml.pca import fit_svd
from dlcore.classic_ml.tsne import affinities, conditional_affinities, kl_divergence, tsne
from dlcore.data.digits import digits

module = importlib.import_module("dlcore.classic_ml.tsne")


@pytest.mark.covers("DD-26")
@pytest.mark.parametrize("perplexity", [5.0, 30.0])
def test_every_row_has_the_perplexity(perplexity):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(60, 4)), 50 + 0.01 * rng.normal(size=(40, 4))])  # of very unequal density
    with jax.enable_x64(True):
        squared = np.square(x[:, None] - x[None]).sum(-1)
        p = np.asarray(conditional_affinities(jnp.asarray(squared), perplexity))
        joint = np.asarray(affinities(x, perplexity))
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-9)
    np.testing.assert_array_equal(np.diagonal(p), 0)
    entropy = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(1)
    np.testing.assert_allclose(np.exp(entropy), perplexity, rtol=1e-5)
    # a Gaussian in each row: log p falls in proportion to the squared distance
    near = squared[0].argsort()[1:6]
    slopes = np.diff(np.log(p[0, near])) / np.diff(squared[0, near])
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-6)
    assert float(joint.sum()) == pytest.approx(1)
    np.testing.assert_allclose(joint, (p + p.T) / 200, atol=1e-12)


@pytest.mark.covers("DD-26", "VI-03")
def test_the_gradient_is_that_of_the_divergence():
    with jax.enable_x64(True):
        x, y = np.random.default_rng(1).normal(size=(2, 12, 3))
        p, y = affinities(x, 3.0), jnp.asarray(y[:, :2])
        q = 1 / (1 + np.square(np.asarray(y)[:, None] - np.asarray(y)[None]).sum(-1)) * (1 - np.eye(12))
        off, q = ~np.eye(12, dtype=bool), q / q.sum()
        want = float((np.asarray(p)[off] * np.log(np.asarray(p)[off] / q[off])).sum())
        assert float(kl_divergence(p, y)) == pytest.approx(want, rel=1e-9)
        np.testing.assert_allclose(
            jax.jit(module._gradient)(p, y), jax.jit(jax.grad(kl_divergence, 1))(p, y), rtol=1e-8, atol=1e-12
        )


@pytest.mark.slow
@pytest.mark.covers("DD-26")
def test_the_digits_in_the_plane():
    data, labels = digits("test").arrays, digits("test").arrays["label"][:300]
    found = tsne(data["image"][:300].reshape(-1, 64), steps=500, record_every=50)
    kl = np.asarray(found.kl)
    chex.assert_shape(found.embedding, (300, 2))
    assert (np.diff(kl[5:]) < 0).all()  # from the 300th step, after the exaggeration
    assert kl[-1] < 0.5 * kl[0]
    y = np.asarray(found.embedding)
    distance = np.square(y[:, None] - y[None]).sum(-1) + np.where(np.eye(300), np.inf, 0)
    near = labels[distance.argsort(1)[:, :5]]
    vote = np.array([np.bincount(row, minlength=10).argmax() for row in near])
    assert (vote == labels).mean() > 0.9


def test_no_seed_is_needed_and_neighbors_are_of_the_same_heap():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(20, 5)), 20 + rng.normal(size=(20, 5))])
    a, b = (np.asarray(tsne(x, perplexity=5, steps=500).embedding) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    nearest = (np.square(a[:, None] - a[None]).sum(-1) + np.where(np.eye(40), np.inf, 0)).argmin(1)
    assert ((nearest >= 20) == (np.arange(40) >= 20)).mean() > 0.9


@pytest.mark.covers("DD-26")
def test_the_descent_is_that_of_numpy():
    """From the principal components at 1e-4: 40 steps of 7 points, 15 of them with the affinities times .02.

    The learning rate is 7 / (4 x .02) = 87.5. Each number's gain grows by .2 where slope and velocity differ in sign.
    """
    x = np.random.default_rng(0).normal(size=(7, 4))
    with jax.enable_x64(True):
        p = np.asarray(affinities(x, 3.0))
        found = tsne(x, perplexity=3, steps=40, exaggeration=0.02, exaggerated_steps=15, record_every=20)
        plain = tsne(x, perplexity=3, steps=40, record_every=20)  # 7 / (4 x 12) is too slow: the rate is at least 50
        rate_of_50 = tsne(x, perplexity=3, steps=40, record_every=20, learning_rate=50.0)
        np.testing.assert_array_equal(plain.embedding, rate_of_50.embedding)
    y = fit_svd(x, 2)(x)
    y, velocity, gain, kl = 1e-4 * y / y[:, 0].std(), 0, 1, []
    for step in range(40):
        near = 1 / (1 + np.square(y[:, None] - y).sum(-1)) - np.eye(7)
        w = (p * (0.02 if step < 15 else 1) - near / near.sum()) * near
        slope = 4 * (w[..., None] * (y[:, None] - y)).sum(1)
        gain = np.maximum(np.where(slope * velocity < 0, gain + 0.2, gain * 0.8), 0.01)
        velocity = (0.5 if step < 15 else 0.8) * velocity - 87.5 * gain * slope
        y = y + velocity
        y = y - y.mean(0)
        if step in (19, 39):
            q = 1 / (1 + np.square(y[:, None] - y).sum(-1)) - np.eye(7)
            q, off = q / q.sum(), ~np.eye(7, dtype=bool)
            kl.append((p[off] * np.log(p[off] / q[off])).sum())
    np.testing.assert_allclose(found.embedding, y, rtol=1e-5, atol=1e-5 * np.abs(y).max())
    np.testing.assert_allclose(found.kl, kl, rtol=1e-5)


def test_equal_points_are_no_trouble():
    found = tsne(np.repeat(np.eye(5), 8, axis=0), perplexity=5, steps=500)
    assert np.isfinite(found.embedding).all()


def test_bad_arguments():
    x = np.random.default_rng(0).normal(size=(10, 3))
    with pytest.raises(ValueError, match=r"perplexity=30.0: out of range; allowed: \(1, 9\)"):
        tsne(x)


def two_far_groups():
    """Unit squares at x = -1e4 and 1e4 with 20 points at each corner; no one center keeps the digits of both."""
    corners = np.array([[far + i, j] for far in (-1e4, 1e4) for i in (0, 1) for j in (0, 1)])
    return (corners[:, None] + np.random.default_rng(0).normal(0, 0.1, (8, 20, 2))).reshape(-1, 2), corners


@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e4])
def test_affinities_of_two_far_groups_are_scikit_learns(scale):
    from scipy.spatial.distance import cdist, squareform
    from sklearn.manifold._t_sne import _joint_probabilities

    x = two_far_groups()[0]
    theirs = squareform(_joint_probabilities(np.float32(cdist(x, x, "sqeuclidean")), 10, 0))
    for points in (scale * x, np.float32(scale * x)):
        found = np.asarray(affinities(points, 10))
        np.testing.assert_allclose(found, theirs, atol=0.02 * theirs.max())  # x itself is rounded to float32
        own = np.arange(160)[:, None] // 20 == np.arange(160) // 20
        assert found[own].sum() > 0.999


def test_halves_and_whole_numbers_have_the_numbers_of_float32():
    squared = np.array([[0, 1, 9], [1, 0, 4], [9, 4, 0]])
    p, y = conditional_affinities(np.float32(squared), 1.5), np.array([[0], [1], [3]])
    joint = np.array((p + p.T) / 6)
    near = np.where(np.eye(3), 0, 1 / (1.0 + (y - y.T) ** 2))
    rounded = joint.astype(np.float16).astype(float)
    divergence = (rounded * np.log(np.where(rounded > 0, rounded, 1) / np.where(near > 0, near / near.sum(), 1))).sum()
    for dtype in (np.float16, jnp.bfloat16, np.int64):
        np.testing.assert_array_equal(conditional_affinities(squared.astype(dtype), 1.5), p)
        assert float(kl_divergence(joint.astype(np.float16), y.astype(dtype))) == pytest.approx(divergence, rel=1e-4)
    assert float(kl_divergence(joint.astype(np.float16), y + 2.0**30)) == pytest.approx(divergence, rel=1e-4)

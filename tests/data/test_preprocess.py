"""Preprocessing: by hand, against scikit-learn, and that no statistic comes from anything but the training split."""

import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore.data import preprocess
from dlcore.data.digits import digits

GOLDENS = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "ml_sklearn.npz")
X, XT = GOLDENS["data/X"], GOLDENS["data/Xt"]


def images(count=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 5, 4, 3)).astype(np.uint8)


@pytest.mark.covers("NO-01")
def test_standardized_by_hand_and_as_scikit_learn():
    # column 1: mean 3, deviations -2, -1, 3, squares 14, std sqrt(14 / 3); column 2 is constant and becomes 0
    x = np.array([[1.0, 7.0], [2.0, 7.0], [6.0, 7.0]])
    got = preprocess.fit_standardizer(x)(x)
    np.testing.assert_allclose(got[:, 0], np.array([-2, -1, 3]) / np.sqrt(14 / 3))
    np.testing.assert_array_equal(got[:, 1], 0)
    found = preprocess.fit_standardizer(X)
    assert json.loads(str(GOLDENS["meta"]))["cases"]["standardise"]["note"] == "population standard deviation"
    np.testing.assert_allclose(found(XT), GOLDENS["standardise/out"], rtol=1e-10)
    np.testing.assert_allclose(found.std, GOLDENS["standardise/out.scale"], rtol=1e-12)
    np.testing.assert_allclose(found.inverse(found(XT)), XT, rtol=1e-12)


@pytest.mark.covers("NO-01")
@pytest.mark.parametrize(
    ("per", "axes", "shape"), [("feature", 0, (5, 4, 3)), ("channel", (0, 1, 2), (3,)), ("all", None, ())]
)
@given(seed=st.integers(0, 1000), count=st.sampled_from([2, 7, 1030]))
def test_standardized_values_have_mean_0_and_deviation_1(per, axes, shape, seed, count):
    x = images(count, seed)
    found = preprocess.fit_standardizer(x, per)
    assert found.mean.shape == found.std.shape == shape
    y = found(x.astype(np.float64))
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-9)
    constant = x.std(axes) == 0
    np.testing.assert_allclose(y.std(axes), np.where(constant, 0, 1), atol=1e-9)


@pytest.mark.covers("NO-02")
def test_the_mean_image():
    x = images()
    mean = preprocess.mean_image(x)
    chex.assert_shape(mean, (5, 4, 3))
    np.testing.assert_allclose(mean, x.mean(0, dtype=np.float64), rtol=1e-12)
    chex.assert_shape(preprocess.fit_standardizer(x).mean, (5, 4, 3))
    np.testing.assert_allclose((x - mean).mean(0), 0, atol=1e-10)


@pytest.mark.covers("NO-03")
def test_the_mean_of_each_channel():
    x = np.zeros((2, 2, 2, 3), np.uint8)
    x[0, 0, 0] = (8, 80, 0)  # of 8 pixels: 8 / 8, 80 / 8, 0
    np.testing.assert_allclose(preprocess.channel_mean(x), [1, 10, 0])
    chex.assert_shape(preprocess.channel_mean(images()), (3,))


@pytest.mark.covers("NO-04")
def test_pixels_to_plus_minus_one():
    pixels = np.array([0, 51, 255], np.uint8)
    got = preprocess.to_signed(pixels)
    # 51 / 127.5 = 0.4
    np.testing.assert_allclose(got, [-1, -0.6, 1], rtol=1e-6)
    assert got.dtype == np.float32
    assert preprocess.to_signed(jnp.asarray(pixels)).dtype == jnp.float32
    np.testing.assert_allclose(preprocess.to_signed([0, 255]), [-1, 1])


@pytest.mark.covers("NO-05")
@pytest.mark.parametrize("fit", [preprocess.fit_standardizer, preprocess.fit_pca, preprocess.fit_whitening])
def test_nothing_leaks_from_validation_and_test(fit):
    train, valid = digits("train").arrays["image"], digits("test").arrays["image"]
    a, b = preprocess.fit_on_first(fit, train, valid)
    # training data is centerd; the others, which other people wrote, are not
    assert np.abs(a.mean(0)).max() < 1e-4 < 0.05 < np.abs(b.mean(0)).max()
    # whatever is done to the others, neither what came of training nor what came of the rest of them changes
    changed = valid.copy()
    changed[0] += 100
    c, d = preprocess.fit_on_first(fit, train, changed)
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(b[1:], d[1:])
    # and it is the same function that is applied to both
    np.testing.assert_allclose(preprocess.fit_on_first(fit, train, train[:5])[1], a[:5], rtol=1e-4, atol=1e-4)


@pytest.mark.covers("NO-06")
def test_pca_decorrelates_the_digits():
    x = digits("train").arrays["image"].astype(np.float64)
    found = preprocess.fit_pca(x)
    y = found(x)
    covariance = y.T @ y / len(y)
    np.testing.assert_allclose(covariance, np.diag(found.variance), atol=1e-12)
    assert (np.diff(found.variance) <= 0).all()
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(64), atol=1e-12)
    np.testing.assert_allclose(found.inverse(y), x, atol=1e-12)
    # 20 of 64 numbers keep 90 % of the variance, and no other 20 directions keep more
    reduced = preprocess.fit_pca(x, 20)
    chex.assert_shape(reduced(x), (1297, 20))
    np.testing.assert_allclose(reduced(x), y[:, :20], atol=1e-12)
    lost = np.square(reduced.inverse(reduced(x)) - x).sum() / len(x)
    assert lost == pytest.approx(found.variance[20:].sum(), rel=1e-9)
    assert 0.89 < found.variance[:20].sum() / found.variance.sum() < 0.92


@pytest.mark.covers("NO-06")
def test_pca_is_scikit_learns():
    found = preprocess.fit_pca(X, 3)
    signs = np.sign((found.basis.T * GOLDENS["pca/out.components"]).sum(1))
    np.testing.assert_allclose(found.basis.T * signs[:, None], GOLDENS["pca/out.components"], atol=1e-9)
    np.testing.assert_allclose(found.mean, GOLDENS["pca/out.mean"], rtol=1e-10)
    np.testing.assert_allclose(found(XT) * signs, GOLDENS["pca/out.transform"], atol=1e-9)
    # cov = X^T X / N here, over N - 1 there
    np.testing.assert_allclose(found.variance * 60 / 59, GOLDENS["pca/out.explained_variance"], rtol=1e-9)


@pytest.mark.covers("NO-06")
def test_pca_by_hand_and_a_hundred_of_many_dimensions():
    # points on the line (2, 1) t, t = -2, -1, 1, 2: variance 5 (4 + 1 + 1 + 4) / 4 = 12.5 along it, none across
    x = np.array([-2.0, -1, 1, 2])[:, None] * [2.0, 1] + [10, 20]
    found = preprocess.fit_pca(x)
    np.testing.assert_allclose(found.variance, [12.5, 0], atol=1e-12)
    np.testing.assert_allclose(found.basis[:, 0], np.array([2, 1]) / np.sqrt(5))
    np.testing.assert_allclose(found(x)[:, 0], np.array([-2, -1, 1, 2]) * np.sqrt(5))
    kept = preprocess.fit_pca(np.random.default_rng(0).normal(size=(30, 8, 5, 3)), 100)
    chex.assert_shape(kept(np.zeros((2, 8, 5, 3))), (2, 100))  # more directions than examples: the rest has variance 0
    assert (kept.variance[30:] < 1e-12).all()


@pytest.mark.covers("NO-07")
def test_whitened_digits_have_the_covariance_i():
    x = digits("train").arrays["image"].astype(np.float64)
    variance = preprocess.fit_pca(x).variance
    wide = int((variance >= 0.01).sum())  # 40 in the notes' count, over all 1,797 digits
    assert 36 <= wide <= 42
    found = preprocess.fit_whitening(x, wide)
    y = found(x)
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(wide), atol=1e-3)
    # an eigenvalue S becomes S / (S + 1e-5); division by S in place of its root would give 1 / S, 100 at the least
    np.testing.assert_allclose(y.var(0), variance[:wide] / (variance[:wide] + 1e-5), rtol=1e-9)
    np.testing.assert_allclose(found.inverse(y), preprocess.fit_pca(x, wide).inverse(preprocess.fit_pca(x, wide)(x)))
    # epsilon keeps the directions without variance (corners that no one wrote on) at 0
    assert np.abs(preprocess.fit_whitening(x)(x)).max() < 1e3


@pytest.mark.covers("NO-07")
@given(seed=st.integers(0, 1000), features=st.integers(1, 12))
def test_whitened_features_have_the_identity_as_covariance(seed, features):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(80, features)) @ rng.normal(size=(features, features)) + rng.normal(size=features)
    y = preprocess.fit_whitening(x, epsilon=0.0)(x)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-8)
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(features), atol=1e-6)


@pytest.mark.covers("NO-07")
def test_whitening_is_scikit_learns():
    found = preprocess.fit_whitening(X, epsilon=0.0)
    got, want = found(XT) * np.sqrt(59 / 60), GOLDENS["pca_whiten/out.transform"]
    np.testing.assert_allclose(np.abs(got), np.abs(want), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(got * np.sign((got * want).sum(0)), want, atol=1e-8)


@pytest.mark.parametrize("fit", [preprocess.fit_standardizer, preprocess.fit_whitening])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_jax_arrays_inside_jit_keep_their_dtype(fit, dtype):
    transform = fit(X)
    got = jax.jit(transform)(jnp.asarray(XT, dtype))
    assert got.dtype == dtype
    scale = np.abs(transform(XT)).max()
    np.testing.assert_allclose(
        np.asarray(got, np.float64), transform(XT), atol=scale * 30 * float(jnp.finfo(dtype).eps)
    )
    assert transform(np.asarray(XT, np.float32)).dtype == np.float32
    assert transform(np.round(XT).astype(np.int64)).dtype == np.float32


def test_far_from_zero_nothing_cancels():
    x = np.random.default_rng(0).normal(1e4, 0.1, (3000, 2)).astype(np.float32)
    np.testing.assert_allclose(preprocess.fit_standardizer(x).std, x.astype(np.float64).std(0), rtol=1e-10)


def test_a_constant_feature_has_the_deviation_1_and_an_example_may_be_one_number():
    fitted = preprocess.fit_standardizer(np.array([[1.0, 5], [3, 5]]))
    np.testing.assert_allclose((fitted.mean, fitted.std), [[2, 5], [1, 1]])
    np.testing.assert_allclose(fitted(np.array([[4.0, 6]])), [[2, 1]])
    numbers = preprocess.fit_standardizer(np.array([0.0, 6]))
    np.testing.assert_allclose((numbers.mean, numbers.std), [3, 3])


def test_errors():
    with pytest.raises(ValueError, match=r"train has shape \(0, 3\)"):
        preprocess.fit_standardizer(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="not finite"):
        preprocess.fit_pca(np.array([[1.0, np.nan]]))
    for count in (0, 5):
        with pytest.raises(ValueError, match=f"num_components={count}: out of range; allowed: 1 to 4"):
            preprocess.fit_pca(X, count)
    assert preprocess.fit_pca(X, 1).basis.shape == (4, 1)
    with pytest.raises(ValueError, match="epsilon=-1"):
        preprocess.fit_whitening(X, epsilon=-1.0)
    with pytest.raises(ValueError, match="epsilon=0"):
        preprocess.fit_whitening(np.ones((3, 2)), epsilon=0.0)
    with pytest.raises(ValueError, match=r"x has shape \(2, 5\); allowed: \('N', 4\)"):
        preprocess.fit_pca(X)(np.zeros((2, 5)))

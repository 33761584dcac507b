"""PSNR and SSIM against scikit-image's goldens, by hand, and at the corners."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.metrics import nrmse, psnr, ssim, ssim_map

GOLDEN = "tests/goldens/metrics_image.npz"


def pair(golden, case):
    return (golden[f"{case}/in.{n}"] for n in "ab")


@pytest.mark.slow
@pytest.mark.weekly(only=["rgb"])
@pytest.mark.covers("ME-15")
@pytest.mark.parametrize("case", ["gauss", "uniform7", "rgb", "uint8"])
def test_ssim_equals_scikit_image(case):
    with np.load(GOLDEN) as golden:
        arguments = json.loads(str(golden["meta"]))["cases"][f"ssim.{case}"]["args"]
        a, b = pair(golden, f"ssim.{case}")
        window = "gaussian" if arguments.get("gaussian_weights") else "uniform"
        want, map_ = float(golden[f"ssim.{case}/out"]), golden[f"ssim.{case}/out.map"]
        single = jax.jit(lambda a, b: ssim(a, b, arguments["data_range"], window))
        assert float(single(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(want, abs=2e-6)
        with jax.enable_x64(True):
            a, b = jnp.asarray(a), jnp.asarray(b)
            if a.dtype != jnp.uint8:
                assert float(ssim(a, b, arguments["data_range"], window)) == pytest.approx(want, abs=1e-9)
            full = ssim_map(a, b, arguments["data_range"], window)
        np.testing.assert_allclose(full, map_, atol=1e-5)
        margin = 5 if window == "gaussian" else 3
        assert np.asarray(full)[margin:-margin, margin:-margin].mean() == pytest.approx(want, abs=1e-5)


@pytest.mark.covers("ME-15")
def test_psnr_equals_scikit_image():
    with np.load(GOLDEN) as golden:
        for case, data_range in (("psnr", 1.0), ("psnr.uint8", 255)):
            a, b = pair(golden, case)
            assert float(psnr(jnp.asarray(a), jnp.asarray(b), data_range)) == pytest.approx(
                float(golden[f"{case}/out"]), rel=1e-6
            )
        a, b = pair(golden, "nrmse")
        assert float(nrmse(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(float(golden["nrmse/out"]), rel=1e-6)


@pytest.mark.slow
@pytest.mark.covers("ME-15")
def test_by_hand():
    # Off by a tenth of the range everywhere: 10 log10(1 / .01) = 20 dB; by 25.5 gray levels of 255 too.
    a = jnp.full((16, 16), 0.4)
    assert float(psnr(a, a + 0.1)) == pytest.approx(20, rel=1e-5)
    assert float(psnr(255 * a, 255 * a + 25.5, 255)) == pytest.approx(20, rel=1e-5)
    assert jnp.isinf(psnr(a, a))
    # Flat pictures of .4 and .6 differ in brightness alone: (2 .24 + c) / (.16 + .36 + c), c = 1e-4.
    assert float(ssim(a, a + 0.2)) == pytest.approx((0.48 + 1e-4) / (0.52 + 1e-4), rel=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("ME-15")
def test_one_for_equal_pictures_and_less_with_noise():
    rng = np.random.default_rng(0)
    a, noise = (jnp.asarray(rng.uniform(size=(20, 17, 2)), jnp.float32) for _ in range(2))
    for window in ("gaussian", "uniform"):
        assert float(ssim(a, a, window=window)) == pytest.approx(1, abs=1e-6)
        scores = [float(ssim(a, a + s * (noise - 0.5), window=window)) for s in (0.1, 0.5, 2.0)]
        assert scores == sorted(scores, reverse=True)
    assert float(ssim(a, 1 - a)) < 0
    assert jnp.isfinite(jax.grad(lambda b: ssim(a, b))(noise)).all()


def test_errors():
    with pytest.raises(ValueError, match=r"b=\(.*: another shape"):
        ssim(jnp.zeros((16, 16)), jnp.zeros((16, 16))[:5])


@pytest.mark.slow
def test_equal_images_have_finite_gradients():
    image = jnp.arange(12.0).reshape(3, 4) / 12
    for measure in (psnr, nrmse):
        for argument in (0, 1):
            np.testing.assert_array_equal(jax.grad(measure, argument)(image, image), 0)
    assert psnr(image, image) == jnp.inf
    assert np.isnan(nrmse(image, image * jnp.nan))


def test_bytes_have_a_range_of_255():
    """An error of 25.5 of 255 is a tenth of the range: 20 dB, as is .1 of 1."""
    a = np.zeros((16, 16), np.uint8)
    b = a + np.uint8(51) * (np.arange(16) % 4 == 0).astype(np.uint8)  # 51^2 / 4 = 25.5^2
    assert float(psnr(a, b)) == pytest.approx(20, abs=1e-4)
    assert float(psnr(a / 255.0, b / 255.0)) == pytest.approx(20, abs=1e-4)
    bytes_, floats = jax.jit(lambda a, b: (ssim(a, b), ssim(a / 255.0, b / 255.0)))(a, b)
    np.testing.assert_allclose(bytes_, floats, atol=1e-5)
    assert float(psnr(a, a)) == np.inf
    with pytest.raises(ValueError, match="b=float32: another range than a=uint8; allowed: one dtype, or a data_range"):
        psnr(a, (b / 255).astype(np.float32))


def similarity(a, b, weights, correction, c1, c2):
    """The formula of SSIM at each pixel, with mirrored borders, in loops."""
    reach, size = len(weights) // 2, len(weights)
    a, b = (np.pad(np.float64(v), reach, mode="symmetric") for v in (a, b))
    window, found = np.outer(weights, weights), np.empty((len(a) - size + 1, a.shape[1] - size + 1))
    for i, j in np.ndindex(found.shape):
        x, y = (v[i : i + size, j : j + size] for v in (a, b))
        mean_x, mean_y = (window * x).sum(), (window * y).sum()
        var_x, var_y = (correction * (window * (v - m) ** 2).sum() for v, m in ((x, mean_x), (y, mean_y)))
        covariance = correction * (window * (x - mean_x) * (y - mean_y)).sum()
        top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        found[i, j] = top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return found


@pytest.mark.covers("ME-15")
def test_the_map_is_the_formula_at_every_pixel():
    """A uniform window takes the variance of a sample, 9 / 8 of the mean square; a range of 2 doubles both roots."""
    a, b = np.random.default_rng(0).random((2, 6, 8, 2), np.float32)
    gauss = np.exp(-0.5 * np.arange(-2, 3) ** 2 / 0.6**2)  # reaches int(3.5 * 0.6 + 0.5) = 2 pixels

    @jax.jit
    def maps(a, b):
        uniform = ssim_map(a[..., 0], b[..., 0], window="uniform", window_size=3)
        colors = {"data_range": 2.0, "sigma": 0.6, "k1": 0.02, "k2": 0.05}
        return uniform, ssim_map(a, b, **colors), ssim(a, b, **colors)

    uniform, gaussian, mean = maps(a, b)
    expected = similarity(a[..., 0], b[..., 0], np.ones(3) / 3, 9 / 8, 0.01**2, 0.03**2)
    np.testing.assert_allclose(uniform, expected, atol=1e-5)
    for c in range(2):
        expected = similarity(a[..., c], b[..., c], gauss / gauss.sum(), 1, 0.04**2, 0.1**2)
        np.testing.assert_allclose(gaussian[..., c], expected, atol=1e-5)
    np.testing.assert_allclose(mean, gaussian[2:-2, 2:-2].mean(), atol=1e-6)  # of whole windows alone
    # Squares of numbers about 4,096 have no digits for a variance of 1 / 12; about the pictures' mean they have.
    far, farther = (np.float32(4096) + v[..., 0] for v in (a, b))
    uniform = ssim_map(far, farther, window="uniform", window_size=3, data_range=2.0)
    expected = similarity(far, farther, np.ones(3) / 3, 9 / 8, 0.02**2, 0.06**2)
    np.testing.assert_allclose(uniform, expected, atol=1e-3)


def test_a_window_reaches_three_and_a_half_deviations_or_three_pixels():
    a, b = np.random.default_rng(0).random((2, 12, 13), np.float32)
    gauss = np.exp(-0.5 * np.arange(-5, 6) ** 2 / 1.5**2)
    for found, weights, correction in (
        (jax.jit(ssim)(a, b), gauss / gauss.sum(), 1),
        (jax.jit(lambda a, b: ssim(a, b, window="uniform"))(a, b), np.ones(7) / 7, 49 / 48),
    ):
        reach = len(weights) // 2
        expected = similarity(a, b, weights, correction, 0.01**2, 0.03**2)[reach:-reach, reach:-reach]
        np.testing.assert_allclose(found, expected.mean(), atol=1e-6)

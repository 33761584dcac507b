"""Resizing, pixel shuffle and adaptive pooling against torch's goldens and by hand."""

import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops import adaptive_avg_pool, adaptive_max_pool, avg_pool, max_pool, pixel_shuffle, pixel_unshuffle, resize
from tests.derivatives import output_and_gradients

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "torch_pool_resize.npz"


def stated(case):
    return json.loads(str(np.load(GOLDENS)["meta"]))["cases"][case]["args"]


def interpolation(case):
    arguments = stated(case)
    method = arguments["mode"].replace("-", "_")
    where = {"size": arguments["size"]} if "size" in arguments else {"scale": arguments["scale_factor"]}
    return lambda x: resize(x, method=method, align_corners=bool(arguments["align_corners"]), **where)


INTERPOLATIONS = [
    "nearest.None",
    "nearest-exact.None",
    "bilinear.False",
    "bilinear.True",
    "bicubic.False",
    "bicubic.True",
    "bilinear.x2",
]
CASES = {f"interpolate.{name}": interpolation(f"interpolate.{name}") for name in INTERPOLATIONS} | {
    "pixel_shuffle.2": lambda x: pixel_shuffle(x, 2),
    "pixel_unshuffle.2": lambda x: pixel_unshuffle(x, 2),
    "adaptive_avg_pool2d.3x4": lambda x: adaptive_avg_pool(x, (3, 4)),
    "adaptive_max_pool2d.3x4": lambda x: adaptive_max_pool(x, (3, 4)),
}


@pytest.mark.slow(only=["adaptive_max_pool2d.3x4"])
@pytest.mark.covers("CV-22", "CV-23", "CV-24", "CV-31")
@pytest.mark.parametrize("case", CASES)
def test_equals_torch(case):
    data = np.load(GOLDENS)
    x, cotangent, want, gradient = (
        data[f"{case}/{n}"].transpose(0, 2, 3, 1) for n in ("in.x", "in.cot", "out", "grad.x")
    )
    got, found = output_and_gradients(CASES[case], cotangent, x)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())
    np.testing.assert_allclose(found, gradient, rtol=0, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.covers("CV-22")
def test_bilinear_is_one_axis_after_the_other_in_any_order():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 7, 3)), jnp.float32)
    rows_first = resize(resize(x, (9, 7)), (9, 4))
    columns_first = resize(resize(x, (5, 4)), (9, 4))
    np.testing.assert_allclose(rows_first, columns_first, atol=1e-6)
    np.testing.assert_allclose(resize(x, (9, 4)), rows_first, atol=1e-6)


@pytest.mark.covers("CV-22")
def test_corners_by_hand():
    line = jnp.asarray([0.0, 10.0])[:, None]
    # Centers of 4 pixels over 2: -.25, .25, .75, 1.25, kept inside; with align_corners 0, 1/3, 2/3, 1.
    np.testing.assert_allclose(resize(line, (4,))[:, 0], [0, 2.5, 7.5, 10], atol=1e-6)
    np.testing.assert_allclose(resize(line, (4,), align_corners=True)[:, 0], [0, 10 / 3, 20 / 3, 10], atol=1e-6)
    # Shrinking 4 to 2 looks between pixels 0, 1 and 2, 3; antialiased, weights 3/4 and 1/4 reach one pixel further,
    # and what lies outside drops out: (3 0 + 3 1 + 1 2) / 7 = 5/7.
    ramp = jnp.arange(4.0)[:, None]
    np.testing.assert_allclose(resize(ramp, (2,))[:, 0], [0.5, 2.5], atol=1e-6)
    np.testing.assert_allclose(resize(ramp, (2,), antialias=True)[:, 0], [5 / 7, 3 - 5 / 7], atol=1e-6)


@pytest.mark.covers("CV-22", "CV-23")
@pytest.mark.parametrize(("method", "theirs"), [("bilinear", "linear"), ("bicubic", "cubic")])
def test_inside_the_antialiased_form_is_that_of_jax(method, theirs):
    """Both shrink with widened kernels (a = -0.5); they differ at most where the kernel leaves the image."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(40, 1)), jnp.float32)
    got, want = resize(x, (16,), method, antialias=True), jax.image.resize(x, (16, 1), theirs)
    np.testing.assert_allclose(got[3:-3], want[3:-3], atol=1e-5)
    grown, other = resize(x, (90,), method), jax.image.resize(x, (90, 1), theirs)
    assert (float(jnp.abs(grown - other).max()) > 0.02) == (method == "bicubic")  # another kernel constant
    np.testing.assert_allclose(resize(x, (90,), method, cubic_coefficient=-0.5)[8:-8], other[8:-8], atol=1e-5)


@pytest.mark.covers("CV-24")
def test_labels_stay_labels():
    labels = jnp.asarray(np.random.default_rng(0).choice([3, 7, 255], (6, 5, 1)), jnp.uint8)
    for method in ("nearest", "nearest_exact"):
        got = resize(labels, (13, 4), method)
        assert got.dtype == jnp.uint8
        assert set(np.unique(got)) <= set(np.unique(labels))
    np.testing.assert_array_equal(resize(jnp.arange(3)[:, None], (6,), "nearest")[:, 0], [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("arguments", [{}, {"align_corners": True}, {"antialias": True}])
def test_constants_stay_and_sizes_of_one_work(method, arguments):
    images = [np.full((*size, 2), 7, np.float32) for size in ((4, 5), (1, 1))]

    @jax.jit
    def call(images):
        return [resize(image, size, method, **arguments) for image in images for size in ((1, 9), (3, 1))]

    for got in call(images):
        np.testing.assert_allclose(got, 7, rtol=1e-6)


@pytest.mark.slow
def test_dtypes_and_axes():
    assert resize(jnp.ones((3, 4, 1), jnp.bfloat16), (6, 6)).dtype == jnp.bfloat16
    chex.assert_shape(resize(jnp.ones((2, 3, 4, 5, 1)), (6, 6, 6), scale=None), (2, 6, 6, 6, 1))
    chex.assert_shape(resize(jnp.ones((3, 5, 1)), scale=1.5), (4, 7, 1))
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4, 1)))
        assert resize(x, (7, 7), "bicubic").dtype == jnp.float64


@pytest.mark.covers("CV-31")
def test_pixel_shuffle_by_hand_and_back():
    # One pixel of four channels becomes 2x2 pixels, row by row.
    one, x, y = (np.arange(np.prod(s)).reshape(s) for s in ((1, 1, 4), (2, 4, 6, 3), (2, 3, 2, 18)))

    @jax.jit
    def call(one, x, y):
        return pixel_shuffle(one, 2), pixel_shuffle(pixel_unshuffle(x, 2), 2), pixel_unshuffle(pixel_shuffle(y, 3), 3)

    shuffled, x_again, y_again = call(one, x, y)
    np.testing.assert_array_equal(shuffled[..., 0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(x_again, x)
    np.testing.assert_array_equal(y_again, y)


def test_sizes_of_adaptive_pooling_may_be_an_array():
    x = np.zeros((1, 6, 4, 3), np.float32)
    chex.assert_shape(jax.eval_shape(lambda x: adaptive_avg_pool(x, np.array(x.shape[1:3]) // 2), x), (1, 3, 2, 3))


@pytest.mark.slow
def test_adaptive_pooling_that_divides_is_plain_pooling():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 4, 3)), jnp.float32)
    np.testing.assert_allclose(adaptive_avg_pool(x, (3, 2)), avg_pool(x, (2, 2), (2, 2)), atol=1e-6)
    assert jnp.isnan(adaptive_max_pool(x.at[0, 0, 0, 0].set(jnp.nan), 1)[0, 0, 0, 0])


def test_errors():
    with pytest.raises(ValueError, match="method='area'"):
        resize(jnp.zeros((3, 5, 1)), (4, 4), "area")


@pytest.mark.covers("CV-22")
def test_bilinear_copies_an_axis_whose_size_stays():
    """torch's `compute_source_index_and_lambda`: where sizes are equal, the source is the pixel itself."""
    x = jnp.array([0.0, 1, 5, 2, 7])[None, :, None] * jnp.ones((3, 1, 2))
    np.testing.assert_array_equal(resize(x, scale=(1.2, 1.1)), x)
    np.testing.assert_allclose(resize(x, scale=(2.0, 1.1)), resize(x, (6, 5)), rtol=1e-6)


@pytest.mark.slow
def test_ties_of_adaptive_max_pooling_go_to_the_first_pixel_in_row_major_order():
    x = jnp.array([[0.0, 1, 0, 2], [1, 0, 2, 0], [3, 3, 3, 3], [3, 3, 3, 3]])[..., None]
    got = jax.grad(lambda v: adaptive_max_pool(v, 2).sum())(x)
    np.testing.assert_array_equal(got, jax.grad(lambda v: max_pool(v, (2, 2), (2, 2)).sum())(x))
    np.testing.assert_array_equal(got[..., 0], [[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("size", [(3, 4), (2, 6), (7, 1)])
def test_adaptive_windows_equal_a_loop(size):
    """Window i of n pixels has those from floor(i n / out) to ceil((i + 1) n / out); where out > n they repeat."""
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 2)).astype(np.float32)
    mean, largest = jax.jit(lambda x: (adaptive_avg_pool(x, size), adaptive_max_pool(x, size)))(x)
    for i, j in np.ndindex(*size):
        window = x[:, i * 5 // size[0] : -(-(i + 1) * 5 // size[0]), j * 7 // size[1] : -(-(j + 1) * 7 // size[1])]
        np.testing.assert_allclose(mean[:, i, j], window.mean((1, 2)), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(largest[:, i, j], window.max((1, 2)))


def test_ties_and_nan_of_adaptive_pooling():
    """3 pixels to 2: windows 0, 1 and 1, 2. Of equal pixels the first has the gradient; NaN is in its windows only."""
    line = np.float32([[2, 5, 5], [5, 5, 1]])[:, :, None]
    got = jax.jit(jax.grad(lambda x: adaptive_max_pool(x, (1, 2)).sum()))(line)[..., 0]
    np.testing.assert_array_equal(got, [[0, 2, 0], [0, 0, 0]])
    line[0, 0] = np.nan
    largest, whole = jax.jit(lambda x: (adaptive_max_pool(x, (1, 2)), adaptive_max_pool(x.astype(int), 1)))(line)
    np.testing.assert_array_equal(largest[0, :, 0], [np.nan, 5])
    assert whole.dtype == jnp.int32
    for pool in (adaptive_avg_pool, adaptive_max_pool):
        for size in (0, (1, 0), (2, 2, 2), 1.5):
            with pytest.raises(ValueError, match=r"size=.*; allowed: numbers from 1, at most 2 of them"):
                pool(line, size)
        with pytest.raises(ValueError, match=r"x.shape=\(2, 0, 1\): no pixels to pool"):
            pool(np.zeros((2, 0, 1), np.float32), 1)


def test_pixels_of_unequal_sides_are_shuffled_as_stated():
    """y[r i + a, r j + b, c] = x[i, j, c r r + a r + b], of unequal numbers of rows, columns and channels."""
    x = np.arange(2 * 2 * 3 * 18).reshape(2, 2, 3, 18)
    shuffled = np.asarray(pixel_shuffle(x, 3))
    for i, j, a, b, c in np.ndindex(2, 3, 3, 3, 2):
        np.testing.assert_array_equal(shuffled[:, 3 * i + a, 3 * j + b, c], x[:, i, j, 9 * c + 3 * a + b])
    np.testing.assert_array_equal(pixel_unshuffle(shuffled, 3), x)
    np.testing.assert_array_equal(pixel_shuffle(x[0], 1), x[0])


def kernel_of(t, a):
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0


def resized_line(line, out, ratio, method, align_corners=False, antialias=False, a=-0.75):
    """One line by the stated formulas: a weighted sum over the input pixels, or over those clipped into it."""
    n, values = len(line), []
    for i in range(out):
        center = i * (n - 1) / (out - 1) if align_corners else ratio * (i + 0.5) - 0.5
        wide = max(ratio, 1) if antialias else 1
        reach = 1 if method == "bilinear" else 2
        near = range(int(np.floor(center - reach * wide)), int(np.ceil(center + reach * wide)) + 1)
        weight = [
            max(0, 1 - abs(j - center) / wide) if method == "bilinear" else kernel_of((j - center) / wide, a)
            for j in near
        ]
        if antialias:  # pixels outside drop out, and so do those whose centers lie just outside of the kernel
            weight = [
                w if 0 <= j < n and abs(j - center) < reach * wide else 0 for j, w in zip(near, weight, strict=True)
            ]
        total = sum(w * line[min(max(j, 0), n - 1)] for j, w in zip(near, weight, strict=True))
        values.append(total / (sum(weight) if antialias else 1))
    return np.array(values)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("bilinear", {}),
        ("bilinear", {"align_corners": True}),
        ("bilinear", {"antialias": True}),
        ("bicubic", {}),
        ("bicubic", {"align_corners": True}),
        ("bicubic", {"antialias": True}),
    ],
)
def test_lines_are_resized_by_the_formulas(method, options):
    """Shrunk and grown; by a scale the coordinates follow it: 7 pixels by 1.5 are 10, one every 2 / 3."""
    line = np.random.default_rng(1).normal(size=7)
    a = -0.5 if options.get("antialias") else -0.75
    cases = [({"size": (3,)}, 3, 7 / 3), ({"size": (11,)}, 11, 7 / 11)]
    if not options.get("align_corners"):
        cases += [({"scale": (1.5,)}, 10, 1 / 1.5), ({"scale": (0.4,)}, 2, 2.5)]
    if method == "bicubic":
        cases.append(({"size": (5,), "cubic_coefficient": -0.6}, 5, 7 / 5))

    @jax.jit
    def call(x):
        return [resize(x, method=method, **options, **where) for where, *_ in cases]

    for got, (where, out, ratio) in zip(call(np.float32(line)[:, None]), cases, strict=True):
        want = resized_line(line, out, ratio, method, a=where.get("cubic_coefficient", a), **options)
        np.testing.assert_allclose(got[:, 0], want, atol=1e-5)


def test_nearest_pixels_and_sizes_by_hand():
    """5 to 3: floor(5 / 3 i) = 0 1 3, and the centers floor(5 / 3 (i + 1/2)) = 0 2 4. By 0.7 of 5: 3, every 1 / 0.7."""
    line = np.arange(5, dtype=np.int32)[:, None]
    np.testing.assert_array_equal(resize(line, (3,), "nearest")[:, 0], [0, 1, 3])
    np.testing.assert_array_equal(resize(line, (3,), "nearest_exact")[:, 0], [0, 2, 4])
    np.testing.assert_array_equal(resize(line, method="nearest", scale=(0.7,))[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(resize(line, method="nearest_exact", scale=(0.7,))[:, 0], [0, 2, 3])
    chex.assert_shape(jax.eval_shape(lambda: resize(np.ones((2, 3, 4, 5, 1), np.float32), (6, 7, 8))), (2, 6, 7, 8, 1))
    chex.assert_shape(jax.eval_shape(lambda: resize(np.ones((3, 5, 1), np.float32), scale=(1.5, 0.5))), (4, 2, 1))
    half = np.ones((2, 3, 1), jnp.bfloat16)
    assert jax.eval_shape(lambda: resize(half, 4)).dtype == jnp.bfloat16

"""Grids, sampling and deformable convolution against torch's goldens, by hand, and against an independent sampler."""

import functools
import itertools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dlcore.ops import affine_grid, bilinear_sample, deform_conv, grid_sample
from tests.derivatives import output_and_gradients

FOLDER = pathlib.Path(__file__).parents[1] / "goldens"


def golden(file, case):
    data = np.load(FOLDER / file)
    arrays = {k[len(case) + 1 :]: data[k] for k in data.files if k.startswith(case + "/")}
    return json.loads(str(data["meta"]))["cases"][case]["args"], arrays


def channels_last(v):
    return jnp.asarray(v.transpose(0, 2, 3, 1))


def close(got, want, tolerance=1e-5):
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(np.abs(want).max(), 1e-9))


@pytest.mark.slow(unless=["True"])
@pytest.mark.covers("CV-32")
@pytest.mark.parametrize("align_corners", [False, True])
def test_affine_grid_equals_torch(align_corners):
    arguments, data = golden("torch_pool_resize.npz", f"affine_grid.{align_corners}")
    got, gradient = output_and_gradients(
        lambda theta: affine_grid(theta, arguments["size"][2:], align_corners), data["in.cot"], data["in.theta"]
    )
    close(got, data["out"])
    close(gradient, data["grad.theta"])


@pytest.mark.slow(only=["bilinear.zeros.False", "bilinear.border.True"])
@pytest.mark.covers("CV-32")
@pytest.mark.parametrize("case", ["bilinear.zeros.False", "bilinear.border.True", "nearest.zeros.False"])
def test_grid_sample_equals_torch(case):
    arguments, data = golden("torch_pool_resize.npz", f"grid_sample.{case}")
    method, padding, align_corners = (arguments[k] for k in ("mode", "padding_mode", "align_corners"))
    got, dx, dgrid = output_and_gradients(
        lambda x, grid: grid_sample(x, grid, method, padding, align_corners),
        channels_last(data["in.cot"]),
        channels_last(data["in.x"]),
        data["in.grid"],
    )
    close(got, channels_last(data["out"]))
    close(dx, channels_last(data["grad.x"]))
    if method == "nearest":
        assert not dgrid.any()
    else:
        close(dgrid, data["grad.grid"], 1e-4)


def explicit(image, u, v, method, padding, align_corners):
    """One channel, one point, in numpy: a weighted sum over the pixels under the taps."""
    height, width = image.shape

    def inside(c, n):
        if padding == "reflection":
            low, high = (0, n - 1) if align_corners else (-0.5, n - 0.5)
            while high > low and not low <= c <= high:
                c = 2 * low - c if c < low else 2 * high - c
        return c if padding == "zeros" else min(max(c, 0), n - 1)

    def value(r, c):
        return image[int(r), int(c)] if 0 <= r < height and 0 <= c < width else 0.0

    u, v = (((g + 1) * (n - 1) / 2) if align_corners else ((g + 1) * n - 1) / 2 for g, n in ((u, width), (v, height)))
    if method != "bicubic":
        u, v = inside(u, width), inside(v, height)
    if method == "nearest":
        return value(np.round(v), np.round(u))
    left, top = np.floor(u), np.floor(v)
    if method == "bilinear":
        return sum(
            value(top + i, left + j) * (1 - abs(v - top - i)) * (1 - abs(u - left - j)) for i in (0, 1) for j in (0, 1)
        )

    def cubic(t, a=-0.75):
        t = abs(t)
        near, far = (a + 2) * t**3 - (a + 3) * t**2 + 1, a * (t**3 - 5 * t**2 + 8 * t - 4)
        return near if t <= 1 else far if t < 2 else 0.0

    taps = range(-1, 3)
    return sum(
        value(inside(top + i, height), inside(left + j, width)) * cubic(v - top - i) * cubic(u - left - j)
        for i in taps
        for j in taps
    )


@pytest.mark.slow(only=["bilinear-zeros-False"])
@pytest.mark.covers("CV-32")
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("method", ["bilinear", "nearest", "bicubic"])
def test_every_method_and_padding_by_hand(method, padding, align_corners):
    rng = np.random.default_rng(0)
    image, grid = rng.normal(size=(4, 5)), rng.uniform(-2.3, 2.3, size=(6, 2))
    inputs = np.float32(image)[None, :, :, None], np.float32(grid)[None, :, None]
    got = jax.jit(lambda x, grid: grid_sample(x, grid, method, padding, align_corners))(*inputs)
    want = [explicit(image, u, v, method, padding, align_corners) for u, v in grid]
    np.testing.assert_allclose(got[0, :, 0, 0], want, atol=2e-5)


@pytest.mark.slow
@pytest.mark.weekly(unless=["bicubic-border"])
@pytest.mark.covers("CV-32")
@pytest.mark.parametrize(("method", "padding"), [("bilinear", "reflection"), ("bicubic", "border")])
def test_gradients_are_slopes(method, padding):
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        x, grid = jnp.asarray(rng.normal(size=(1, 4, 5, 2))), jnp.asarray(rng.uniform(-1.5, 1.5, size=(1, 3, 2, 2)))

        def loss(x, grid):
            return jnp.sin(grid_sample(x, grid, method, padding)).sum()

        gradients = jax.grad(loss, (0, 1))(x, grid)
        for i, v in enumerate((x, grid)):
            direction = jnp.asarray(rng.normal(size=v.shape))
            ahead, behind = (
                loss(*((x + s * direction, grid) if i == 0 else (x, grid + s * direction))) for s in (1e-6, -1e-6)
            )
            assert float(jnp.vdot(gradients[i], direction)) == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-6)


@pytest.mark.slow
@pytest.mark.covers("CV-32")
def test_the_identity_and_a_quarter_turn():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, 2)), jnp.float32)
    for align_corners in (False, True):
        same = affine_grid(jnp.asarray([[[1.0, 0, 0], [0, 1, 0]]]), (4, 4), align_corners)
        np.testing.assert_allclose(grid_sample(x, same, align_corners=align_corners), x, atol=1e-5)
        # An output at (x, y) looks at (-y, x): the picture turns counter-clockwise... of rows downwards, clockwise.
        turn = affine_grid(jnp.asarray([[[0.0, -1, 0], [1, 0, 0]]]), (4, 4), align_corners)
        got = grid_sample(x, turn, align_corners=align_corners)
        np.testing.assert_allclose(got[0], jnp.rot90(x[0]), atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("CV-22")
def test_bilinear_by_hand():
    # Row .75, column .25 of [[0, 1], [2, 3]]: 0 + .25 1 + .75 2 = 1.75; x first or y first.
    x = jnp.asarray([[0.0, 1.0], [2.0, 3.0]])[None, :, :, None]
    got = bilinear_sample(x, jnp.asarray([[0.75]]), jnp.asarray([[0.25]]))
    assert float(got[0, 0, 0]) == 1.75
    top, bottom = 0.75 * 0 + 0.25 * 1, 0.75 * 2 + 0.25 * 3
    assert 0.25 * top + 0.75 * bottom == 1.75
    left, right = 0.25 * 0 + 0.75 * 2, 0.25 * 1 + 0.75 * 3
    assert 0.75 * left + 0.25 * right == 1.75


@pytest.mark.slow
@pytest.mark.covers("CV-33")
@pytest.mark.parametrize("case", ["v1", "v2"])
def test_deformable_convolution_equals_torchvision(case):
    arguments, data = golden("tvops_roi.npz", f"deform_conv2d.{case}")
    mask = channels_last(data["in.mask"]) if "in.mask" in data else None
    settings = arguments["stride"], arguments["padding"], arguments["dilation"]
    y, dx, doffset, dw = output_and_gradients(
        lambda x, offset, w: deform_conv(x, offset, w, mask, *settings),
        channels_last(data["in.cot"]),
        channels_last(data["in.x"]),
        channels_last(data["in.offset"]),
        data["in.w"].transpose(2, 3, 1, 0),
    )
    close(y + data["in.b"], channels_last(data["out"]))
    close(dx, channels_last(data["grad.x"]), 1e-4)
    close(doffset, channels_last(data["grad.offset"]), 1e-4)
    close(dw, data["grad.w"].transpose(2, 3, 1, 0), 1e-4)


@pytest.mark.slow(unless=["2"])
@pytest.mark.covers("CV-33")
@pytest.mark.parametrize("groups", [1, 2])
def test_without_offsets_it_is_a_convolution(groups):
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((2, 7, 6, 4), (3, 2, 4 // groups, 6)))

    @jax.jit
    def convolved(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            (2, 1),
            [(1, 1), (0, 2)],
            rhs_dilation=(2, 1),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    @jax.jit
    def deformed(x, offset, w):
        return deform_conv(x, offset, w, None, (2, 1), ((1, 1), (0, 2)), (2, 1), groups)

    want = convolved(x, w)
    still = np.zeros((*want.shape[:3], 12), np.float32)
    close(deformed(x, still, w), want)
    # All taps one pixel to the right: the convolution of the shifted image.
    right = still + np.tile(np.float32([0, 1]), 6)
    shifted = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0)))[:, :, 1:]
    close(deformed(x, right, w), deformed(shifted, still, w))


@pytest.mark.slow
def test_far_away_points_are_finite():
    x = jnp.ones((1, 3, 3, 1))
    grid = jnp.asarray([[[[1e30, -1e30], [jnp.inf, 0.0]]]])
    for padding in ("zeros", "border"):
        got = grid_sample(x, grid[:, :, :1], padding_mode=padding)
        assert jnp.isfinite(got).all()
    assert grid_sample(x.astype(jnp.bfloat16), grid[:, :, :1]).dtype == jnp.bfloat16


def deformed(channels, kernel):
    return deform_conv(jnp.zeros((1, 4, 4, 2)), jnp.zeros((1, 2, 2, channels)), jnp.zeros(kernel))


def hat(at, n):
    return np.maximum(0, 1 - np.abs(at - np.arange(n)))


def test_bilinear_samples_and_their_slopes_equal_numpys():
    """Values are sums over all pixels of two hats; a row further, or a column, the slope is the difference of two."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    rows, columns = (rng.uniform(-1.5, n + 0.5, (2, 7)).astype(np.float32) for n in (4, 5))
    rows[0, :2], columns[0, :2] = [3, -1], [4, 2]

    @jax.jit
    def call(rows, columns):
        slopes = jax.grad(lambda r, c: bilinear_sample(x, r, c).sum(), (0, 1))(rows, columns)
        return bilinear_sample(x, rows, columns), slopes

    got, (down, across) = call(rows, columns)
    for n, p in np.ndindex(2, 7):
        r, c = rows[n, p], columns[n, p]
        value = functools.partial(np.einsum, "i,j,ijc->c")
        np.testing.assert_allclose(got[n, p], value(hat(r, 4), hat(c, 5), x[n]), atol=1e-5)
        if p > 1 or n:
            top, left = np.floor(r), np.floor(c)
            slope = value(hat(top + 1, 4) - hat(top, 4), hat(c, 5), x[n]).sum()
            np.testing.assert_allclose(down[n, p], slope, atol=1e-4)
            slope = value(hat(r, 4), hat(left + 1, 5) - hat(left, 5), x[n]).sum()
            np.testing.assert_allclose(across[n, p], slope, atol=1e-4)


def test_grids_of_unequal_sides_by_hand():
    """Edges at -1 and 1: the middles of 4 pixels are -3/4, -1/4, 1/4, 3/4, of 2 -1/2 and 1/2; of one pixel 0."""
    theta = np.float32([[[2, 1, 0.5], [0, -1, 3]], [[1, 0, 0], [0, 1, 0]]])

    @jax.jit
    def call(theta):
        return affine_grid(theta, (2, 4)), affine_grid(theta, (2, 4), True), affine_grid(theta, (1, 3), True)

    for grid, ys, xs in zip(
        call(theta),
        ((-0.5, 0.5), (-1, 1), (0,)),
        ((-0.75, -0.25, 0.25, 0.75), (-1, -1 / 3, 1 / 3, 1), (-1, 0, 1)),
        strict=True,
    ):
        for (i, y), (j, x) in itertools.product(enumerate(ys), enumerate(xs)):
            np.testing.assert_allclose(grid[:, i, j], [[2 * x + y + 0.5, -y + 3], [x, y]], atol=1e-6)
    # The corners of a single pixel are one place.
    far = np.float32([[[[-3, 7]]]])
    modes = jax.jit(
        lambda x: [grid_sample(x, far, "bilinear", mode, True) for mode in ("zeros", "border", "reflection")]
    )
    np.testing.assert_array_equal(np.ravel(modes(np.full((1, 1, 1, 1), 5, np.float32))), [5, 5, 5])


@pytest.mark.covers("CV-33")
def test_deformable_convolution_equals_a_loop_over_taps():
    """Two groups of channels, two of offsets, a mask, and another stride, dilation and padding for each axis."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 5, 6, 4)).astype(np.float32), rng.normal(size=(2, 3, 2, 6)).astype(np.float32)
    # Rows: (5 + 1 - 3) / 1 + 1 = 4; columns: (6 + 1 - 3) / 2 + 1 = 3.
    offset = rng.uniform(-1.5, 1.5, (2, 4, 3, 24)).astype(np.float32)
    mask = rng.uniform(size=(2, 4, 3, 12)).astype(np.float32)
    call = jax.jit(lambda x, offset, mask: deform_conv(x, offset, w, mask, (1, 2), ((0, 1), (1, 0)), (2, 1), 2))
    got, want = call(x, offset, mask), np.zeros((2, 4, 3, 6))
    for n, p, q, i, j, channel in np.ndindex(2, 4, 3, 2, 3, 4):
        tap = channel // 2 * 6 + 3 * i + j
        dy, dx = offset[n, p, q, 2 * tap : 2 * tap + 2]
        weight = mask[n, p, q, tap] * np.outer(hat(p + 2 * i + dy, 5), hat(2 * q + j - 1 + dx, 6))
        group = channel // 2
        want[n, p, q, 3 * group : 3 * group + 3] += (weight * x[n, :, :, channel]).sum() * w[
            i, j, channel % 2, 3 * group : 3 * group + 3
        ]
    np.testing.assert_allclose(got, want, atol=1e-4)
    for arguments, message in (
        ({"mask": mask[..., :6]}, "mask=.*: wrong shape"),
        ({"offset": offset[:, :3]}, "offset=.*: wrong shape"),
        ({"offset": offset[..., :0], "mask": None}, "offset.shape=.*: 0 groups"),
        ({"groups": 0}, "groups=0: out of range"),
        ({"kernel": w[..., :5]}, "kernel.shape=.*: does not fit"),
        ({"x": x[0]}, "x=.*: wrong shape"),
    ):
        fields = {"x": x, "offset": offset, "kernel": w, "mask": mask, "groups": 2} | arguments
        with pytest.raises(ValueError, match=message):
            deform_conv(strides=(1, 2), padding=((0, 1), (1, 0)), dilation=(2, 1), **fields)

"""The convolution against lax and torch: values, gradients of two orders, and the programs of each platform.

Its CPU seconds are compilation: two dozen kinds of convolution, each in several programs.
"""

import functools
import json
import pathlib
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from dlcore.ops import conv_general_dilated
from dlcore.ops.cpu import convolution
from tests.derivatives import output_and_gradients

NHWC = ("NHWC", "HWIO", "NHWC")
CANONICAL = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "torch_conv.npz"

# name: lhs shape, rhs shape, strides, padding, lhs_dilation, rhs_dilation, groups
CASES = {
    "3x3": ((2, 7, 8, 4), (3, 3, 4, 6), (1, 1), "SAME", None, None, 1),
    "3x3 stride 2": ((2, 8, 7, 4), (3, 3, 4, 6), (2, 2), [(1, 1), (1, 1)], None, None, 1),
    "7x7 stride 2, a row left over": ((2, 12, 13, 3), (7, 7, 3, 5), (2, 2), [(3, 3), (3, 3)], None, None, 1),
    "uneven everything": ((3, 9, 6, 4), (2, 3, 4, 6), (3, 2), [(0, 2), (1, 0)], (1, 1), (2, 1), 1),
    "padding wider than the kernel": ((2, 5, 5, 2), (3, 3, 2, 3), (1, 2), [(4, 3), (0, 5)], None, None, 1),
    "negative padding": ((2, 9, 9, 2), (3, 3, 2, 3), (2, 1), [(-1, 0), (1, -2)], None, None, 1),
    "dilated": ((2, 9, 9, 3), (3, 3, 3, 4), (1, 1), "SAME", None, (2, 3), 1),
    "dilated and strided": ((2, 11, 9, 3), (3, 3, 3, 4), (2, 2), "SAME", None, (2, 2), 1),
    "grouped": ((2, 6, 6, 6), (3, 3, 2, 9), (1, 1), "SAME", None, None, 3),
    "grouped and strided": ((2, 7, 7, 4), (3, 3, 2, 8), (2, 2), [(1, 1), (1, 1)], None, None, 2),
    "depthwise": ((2, 6, 7, 5), (3, 3, 1, 5), (1, 1), "SAME", None, None, 5),
    "depthwise, two filters a channel": ((2, 6, 7, 5), (3, 3, 1, 10), (2, 2), "SAME", None, None, 5),
    "depthwise, everything uneven": ((9, 9, 8, 3), (2, 4, 1, 3), (3, 2), [(2, -1), (0, 5)], None, (2, 1), 3),
    "depthwise, transposed": ((3, 5, 4, 4), (3, 2, 1, 12), (2, 1), [(1, 2), (3, 0)], (2, 3), (1, 2), 4),
    "depthwise, a column that no window sees": ((2, 8, 8, 2), (3, 3, 1, 2), (3, 3), "VALID", None, None, 2),
    "transposed": ((2, 5, 4, 4), (3, 3, 4, 6), (1, 1), [(1, 2), (2, 1)], (2, 2), None, 1),
    "transposed, a kernel smaller than the gaps": (
        (2, 4, 3, 2),
        (1, 2, 2, 3),
        (1, 1),
        [(0, 1), (-1, 2)],
        (3, 4),
        None,
        1,
    ),
    "transposed, uneven": ((2, 5, 4, 4), (4, 3, 4, 6), (1, 1), [(-1, 2), (3, 0)], (2, 3), None, 1),
    "transposed, grouped, strided": ((2, 5, 4, 4), (3, 3, 2, 6), (2, 1), [(1, 2), (2, 1)], (3, 2), (1, 2), 2),
    "1x1": ((2, 5, 6, 4), (1, 1, 4, 3), (1, 1), "VALID", None, None, 1),
    "1x1 stride 2": ((2, 7, 6, 4), (1, 1, 4, 3), (2, 2), "SAME", None, None, 1),
    "1x1 padded": ((2, 5, 6, 4), (1, 1, 4, 3), (1, 1), [(1, 1), (0, 2)], None, None, 1),
    "1x1 grouped": ((2, 5, 6, 4), (1, 1, 2, 6), (1, 1), "VALID", None, None, 2),
    "patches": ((2, 8, 6, 3), (2, 3, 3, 5), (2, 3), "SAME", None, None, 1),
    "patches with a remainder": ((2, 9, 8, 3), (4, 3, 3, 5), (4, 3), "VALID", None, None, 1),
    "patches with gaps": ((2, 9, 8, 3), (2, 1, 3, 5), (3, 2), "VALID", None, None, 1),
    "dilated, as far apart as wide": ((2, 9, 9, 3), (2, 2, 3, 4), (2, 2), "VALID", None, (2, 2), 1),
    "the whole image": ((3, 5, 4, 2), (5, 4, 2, 7), (1, 1), "VALID", None, None, 1),
}
DEPTHWISE = [case for case in CASES if case.startswith("depthwise")]
WITHOUT_CONVOLUTION = ["1x1", "1x1 stride 2", "patches", "patches with a remainder", "the whole image"]


def convolve(function, case):
    _, _, strides, padding, lhs_dilation, rhs_dilation, groups = CASES[case]
    return lambda x, w: function(
        x, w, strides, padding, lhs_dilation, rhs_dilation, NHWC, groups, precision=lax.Precision.HIGHEST
    )


def operands(case, seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=shape).astype(dtype) for shape in CASES[case][:2])


def gradients(conv, argnums=(0, 1)):
    return jax.grad(lambda x, w: jnp.sin(conv(x, w)).sum(), argnums)


def hessian_product(conv):
    """Reverse over reverse: the gradient of <gradient, fixed direction>."""

    def along(x, w):
        dx, dw = gradients(conv)(x, w)
        return jnp.vdot(dx, jnp.cos(jnp.arange(x.size)).reshape(x.shape)) + jnp.vdot(
            dw, jnp.sin(jnp.arange(w.size)).reshape(w.shape)
        )

    return jax.grad(along, (0, 1))


def assert_close(got, want, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        chex.assert_equal_shape([a, b])
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b).max(), 1e-30))


def convolutions(function, *arguments, platform="cpu"):
    """The dimension numbers of every convolution in the program that is lowered for `platform`."""
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    numbers = re.findall(r"stablehlo.convolution\(.*?dim_numbers = (.*?), window", text)
    assert len(numbers) == text.count("stablehlo.convolution(")
    return numbers


@pytest.fixture(scope="module")
def compiled():
    """{case: (ours, lax's)}, each a jitted (x, w) -> (value, (dx, dw)); compiled once a module."""

    def both(conv):
        return jax.jit(lambda x, w: (conv(x, w), gradients(conv)(x, w)))

    functions = (conv_general_dilated, lax.conv_general_dilated)
    return {case: [both(convolve(function, case)) for function in functions] for case in CASES}


@pytest.mark.slow(unless=["3x3 stride 2", "uneven everything"])
@pytest.mark.parametrize("case", CASES)
@given(seed=st.integers(0, 2**31 - 1))
def test_values_and_gradients_equal_lax(compiled, case, seed):
    ours, theirs = compiled[case]
    assert_close(ours(*operands(case, seed)), theirs(*operands(case, seed)))


def by_loops(x, w, case):
    """Each output as a sum over the taps, in NumPy's float64."""
    _, _, strides, padding, gaps, steps, groups = CASES[case]
    gaps, steps = gaps or (1, 1), steps or (1, 1)
    grown = np.zeros((len(x), *((n - 1) * d + 1 for n, d in zip(x.shape[1:3], gaps, strict=True)), x.shape[3]))
    grown[:, :: gaps[0], :: gaps[1]] = x
    extent = [(k - 1) * d + 1 for k, d in zip(w.shape[:2], steps, strict=True)]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], extent, strides, padding)
    counts = [(n + sum(p) - k) // s + 1 for n, p, k, s in zip(grown.shape[1:3], padding, extent, strides, strict=True)]
    y, depth, features = np.zeros((len(x), *counts, w.shape[3])), w.shape[2], w.shape[3] // groups
    for p, q, i, j, g in np.ndindex(*counts, *w.shape[:2], groups):
        row = p * strides[0] + i * steps[0] - padding[0][0]
        column = q * strides[1] + j * steps[1] - padding[1][0]
        if 0 <= row < grown.shape[1] and 0 <= column < grown.shape[2]:
            pixel, of_group = (
                grown[:, row, column, g * depth : (g + 1) * depth],
                slice(g * features, (g + 1) * features),
            )
            y[:, p, q, of_group] += pixel @ w[i, j, :, of_group]
    return y


def test_values_of_many_kinds_equal_loops():
    """Windows that tile the input or do not, depthwise ones, and inputs with gaps."""
    kinds = [
        *WITHOUT_CONVOLUTION,
        "patches with gaps",
        "dilated, as far apart as wide",
        "depthwise, everything uneven",
        "depthwise, transposed",
        "transposed, a kernel smaller than the gaps",
        "transposed, uneven",
        "transposed, grouped, strided",
    ]
    inputs = {case: operands(case, 0) for case in kinds}
    got = jax.jit(lambda x: {case: convolve(conv_general_dilated, case)(*x[case]) for case in kinds})(inputs)
    for case in kinds:
        np.testing.assert_allclose(got[case], by_loops(*map(np.asarray, inputs[case]), case), atol=1e-4)


@pytest.mark.slow
@pytest.mark.covers("CV-01")
def test_value_and_weight_gradient_by_loops():
    # y[p, q, o] = sum over k, l, c of x[2p + k, 2q + l, c] w[k, l, c, o]; d sum(g y) / dw is the same sum with g for w.
    x, w = (np.asarray(v, np.float64) for v in (np.arange(75).reshape(1, 5, 5, 3) % 7, np.arange(54) % 5))
    w = w.reshape(3, 3, 3, 2)
    y, dw, g = np.zeros((1, 2, 2, 2)), np.zeros_like(w), np.arange(8.0).reshape(1, 2, 2, 2)
    for p in range(2):
        for q in range(2):
            window = x[0, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3]
            for o in range(2):
                y[0, p, q, o] = (window * w[..., o]).sum()
                dw[..., o] += window * g[0, p, q, o]
    got, pull = jax.vjp(
        lambda x, w: conv_general_dilated(x, w, (2, 2), "VALID", dimension_numbers=NHWC),
        jnp.asarray(x, jnp.float32),
        jnp.asarray(w, jnp.float32),
    )
    np.testing.assert_array_equal(got, y)
    np.testing.assert_array_equal(pull(jnp.asarray(g, jnp.float32))[1], dw)


@pytest.mark.slow(only=["depthwise-*", "s2p1-*", "1x1-*", "dil2-*"])
@pytest.mark.covers("CV-01", "CV-09")
@pytest.mark.parametrize(
    ("case", "arguments"),
    [
        ("plain", {}),
        ("s2p1", {"window_strides": (2, 2), "padding": [(1, 1), (1, 1)]}),
        ("dil2", {"padding": [(2, 2), (2, 2)], "rhs_dilation": (2, 2)}),
        ("grp2", {"padding": [(1, 1), (1, 1)], "feature_group_count": 2}),
        ("depthwise", {"padding": [(1, 1), (1, 1)], "feature_group_count": 4}),
        ("1x1", {}),
        ("same", {"padding": "SAME"}),
    ],
)
def test_equals_torch(case, arguments):
    data = np.load(GOLDENS)
    options = json.loads(str(data["meta"]))["cases"][f"conv2d.{case}"]["args"]
    x, w, cotangent = (data[f"conv2d.{case}/in.{name}"] for name in ("x", "w", "cot"))
    arguments = {"window_strides": (1, 1), "padding": "VALID"} | arguments
    assert options.get("stride", 1) == arguments["window_strides"][0]
    y, dx, dw = output_and_gradients(
        lambda x, w: conv_general_dilated(x, w, dimension_numbers=NHWC, **arguments),
        cotangent.transpose(0, 2, 3, 1),
        x.transpose(0, 2, 3, 1),
        w.transpose(2, 3, 1, 0),
    )
    bias = data.get(f"conv2d.{case}/in.b", 0)
    assert_close(np.asarray(y) + bias, data[f"conv2d.{case}/out"].transpose(0, 2, 3, 1))
    assert_close(np.asarray(dx), data[f"conv2d.{case}/grad.x"].transpose(0, 2, 3, 1))
    assert_close(np.asarray(dw), data[f"conv2d.{case}/grad.w"].transpose(2, 3, 1, 0))


@pytest.mark.covers("SY-10")
def test_groups_are_separate_convolutions():
    x, w = operands("grouped", 0)
    got = conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=3)
    apart = [
        conv_general_dilated(a, b, (1, 1), "SAME", dimension_numbers=NHWC)
        for a, b in zip(np.split(x, 3, -1), np.split(w, 3, -1), strict=True)
    ]
    assert_close(got, np.concatenate(apart, -1))


@pytest.mark.slow(unless=["3x3 stride 2", "depthwise"])
@pytest.mark.parametrize(
    "case", ["3x3 stride 2", "dilated and strided", "grouped and strided", "depthwise", "transposed", "patches"]
)
def test_scanned_gradients_equal_unscanned_ones(case):
    conv = convolve(conv_general_dilated, case)
    steps = [operands(case, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
    scanned = jax.jit(lambda s: lax.scan(lambda _, b: (None, gradients(conv)(*b)), None, s)[1])(stacked)
    one = jax.jit(gradients(conv))
    for i, step in enumerate(steps):
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], scanned), one(*step))


@pytest.mark.slow(only=["3x3", "depthwise", "patches"])
@pytest.mark.parametrize(
    "case", ["3x3", "uneven everything", "grouped and strided", "depthwise", "transposed", "patches"]
)
def test_reverse_over_reverse_equals_lax(case):
    x, w = operands(case, 3)
    ours, theirs = (
        jax.jit(hessian_product(convolve(function, case)))(x, w)
        for function in (conv_general_dilated, lax.conv_general_dilated)
    )
    assert_close(ours, theirs, 3e-5)


@pytest.mark.slow
def test_reverse_over_reverse_in_float64_equals_differences():
    with jax.enable_x64(True):
        conv = convolve(conv_general_dilated, "uneven everything")
        x, w = operands("uneven everything", 0, np.float64)
        dx, dw = (jnp.cos(jnp.arange(v.size, dtype=v.dtype)).reshape(v.shape) for v in (x, w))
        step = 1e-6
        gradient = jax.jit(gradients(conv))
        ahead, behind = (gradient(x + s * dx, w + s * dw) for s in (step, -step))
        want = jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)
        got = jax.grad(
            lambda x, w: sum(jnp.vdot(a, b) for a, b in zip(gradients(conv)(x, w), (dx, dw), strict=True)), (0, 1)
        )
        assert_close(jax.jit(got)(x, w), want, 1e-8)


@pytest.mark.slow(unless=["3x3", "3x3 stride 2", "transposed, grouped, strided"])
@pytest.mark.parametrize("case", [case for case in CASES if case not in WITHOUT_CONVOLUTION + DEPTHWISE])
def test_on_a_cpu_every_convolution_is_canonical(case):
    for function in (gradients, hessian_product):
        numbers = convolutions(function(convolve(conv_general_dilated, case)), *operands(case, 0))
        assert numbers
        assert set(numbers) == {CANONICAL}
    theirs = convolutions(gradients(convolve(lax.conv_general_dilated, case)), *operands(case, 0))
    assert set(theirs) != {CANONICAL}


@pytest.mark.slow(only=["3x3*-cuda", "dilated-cuda", "grouped-cuda", "3x3-tpu"])
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("case", ["3x3", "3x3 stride 2", "dilated", "grouped", "transposed, grouped, strided"])
def test_elsewhere_the_convolutions_are_those_of_lax(case, platform):
    ours, theirs, on_cpu = (
        sorted(convolutions(gradients(convolve(function, case)), *operands(case, 0), platform=where))
        for function, where in (
            (conv_general_dilated, platform),
            (lax.conv_general_dilated, platform),
            (conv_general_dilated, "cpu"),
        )
    )
    assert ours == theirs
    assert ours != on_cpu


@pytest.mark.slow(only=["*everything uneven", "*a column that no window sees"])
@pytest.mark.covers("CV-07")
@pytest.mark.parametrize("case", DEPTHWISE)
def test_a_depthwise_convolution_is_no_convolution_on_a_cpu_and_that_of_lax_elsewhere(case):
    ours, theirs = (convolve(function, case) for function in (conv_general_dilated, lax.conv_general_dilated))
    for function in (gradients, hessian_product):
        assert not convolutions(function(ours), *operands(case, 0))
    elsewhere, wanted = (
        sorted(convolutions(gradients(conv), *operands(case, 0), platform="tpu")) for conv in (ours, theirs)
    )
    assert elsewhere == wanted
    assert elsewhere


def test_an_input_with_gaps_may_be_smaller_than_its_kernel():
    """lax's own form aborts the process here, in XLA:CPU's algebraic simplifier (jax 0.10.2)."""
    x, w = (np.random.default_rng(0).normal(size=s).astype(np.float32) for s in ((2, 3, 4, 6), (4, 2, 6, 4)))
    grown = np.zeros((2, 7, 7, 6), np.float32)
    grown[:, ::3, ::2] = x
    got = jax.jit(lambda x, w: conv_general_dilated(x, w, (1, 1), [(2, 2), (0, 0)], (3, 2), dimension_numbers=NHWC))(
        x, w
    )
    assert_close(got, lax.conv_general_dilated(grown, w, (1, 1), [(2, 2), (0, 0)], dimension_numbers=NHWC))


def test_a_depthwise_kernel_of_very_many_taps_is_left_to_lax():
    x, w = jnp.ones((1, 20, 20, 2)), jnp.ones((14, 14, 1, 2))
    conv = lambda x, w: conv_general_dilated(  # noqa: E731
        x, w, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=2
    )
    assert convolutions(conv, x, w)
    assert not convolutions(conv, x, w[:13, :13])


@pytest.mark.parametrize("images", [0, 11])
def test_depthwise_of_few_images_in_float64(images):
    with jax.enable_x64(True):
        x, w = (jnp.asarray(np.random.default_rng(0).normal(size=s)) for s in ((images, 5, 4, 3), (3, 3, 1, 6)))

        def both(function, x, w):
            conv = functools.partial(function, dimension_numbers=NHWC, feature_group_count=3)
            return conv(x, w, (2, 1), "SAME"), gradients(lambda x, w: conv(x, w, (2, 1), "SAME"))(x, w)

        ours, theirs = (
            jax.jit(both, static_argnums=0)(f, x, w) for f in (conv_general_dilated, lax.conv_general_dilated)
        )
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert a.dtype == b.dtype == jnp.float64
            np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.slow(only=["1x1", "patches"])
@pytest.mark.parametrize("case", WITHOUT_CONVOLUTION)
def test_windows_that_do_not_overlap_are_dots(case):
    for platform in ("cpu", "tpu"):
        for function in (gradients, hessian_product):
            assert not convolutions(
                function(convolve(conv_general_dilated, case)), *operands(case, 0), platform=platform
            )


def test_an_unused_input_gradient_is_not_computed():
    program = (
        jax.jit(gradients(convolve(conv_general_dilated, "3x3"), 1)).lower(*operands("3x3", 0)).compile().as_text()
    )
    assert len(re.findall(r"= \S+ convolution\(", program)) == 2


@pytest.mark.slow(unless=["None-1x1", "None-patches"])
@pytest.mark.parametrize("case", ["3x3 stride 2", "grouped", "depthwise, transposed", "1x1", "patches"])
@pytest.mark.parametrize("preferred", [None, jnp.float32])
def test_bfloat16(case, preferred):
    _, _, strides, padding, lhs_dilation, rhs_dilation, groups = CASES[case]
    x, w = (v.astype(jnp.bfloat16) for v in operands(case, 0))

    def value_and_gradients(function, x, w):
        y, pull = jax.vjp(
            lambda x, w: function(
                x,
                w,
                strides,
                padding,
                lhs_dilation,
                rhs_dilation,
                dimension_numbers=NHWC,
                feature_group_count=groups,
                preferred_element_type=preferred,
            ),
            x,
            w,
        )
        return y, *pull(jnp.ones_like(y))

    compiled = jax.jit(value_and_gradients, static_argnums=0)
    pairs = zip(compiled(conv_general_dilated, x, w), compiled(lax.conv_general_dilated, x, w), strict=True)
    for ours, theirs in pairs:
        assert ours.dtype == theirs.dtype
        scale = float(jnp.abs(theirs).max())
        np.testing.assert_allclose(ours.astype(np.float32), theirs.astype(np.float32), rtol=0, atol=2**-7 * scale)


@pytest.mark.parametrize(
    ("shapes", "numbers", "arguments"),
    [
        (((2, 3, 6, 7), (4, 3, 3, 3)), ("NCHW", "OIHW", "NCHW"), {}),
        (((4, 6, 7, 3), (3, 3, 3, 4)), NHWC, {"batch_group_count": 2}),
    ],
)
def test_other_convolutions_are_handed_to_lax(shapes, numbers, arguments):
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    strides = (1,) * (x.ndim - 2)
    ours, theirs = (
        jax.jit(
            jax.value_and_grad(
                lambda x, w, f=function: f(x, w, strides, "SAME", dimension_numbers=numbers, **arguments).sum(), (0, 1)
            )
        )(x, w)
        for function in (conv_general_dilated, lax.conv_general_dilated)
    )
    assert_close(ours, theirs)


@pytest.mark.parametrize("shape", [(2, 2, 2, 3), (0, 8, 8, 3)])
def test_nothing_to_convolve(shape):
    x, w = jnp.ones(shape), jnp.ones((3, 3, 3, 4))
    ours, theirs = (
        jax.value_and_grad(lambda x, w, f=f: f(x, w, (1, 1), "VALID", dimension_numbers=NHWC).sum(), (0, 1))(x, w)
        for f in (conv_general_dilated, lax.conv_general_dilated)
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_integers():
    x, w = jnp.arange(50).reshape(1, 5, 5, 2), jnp.arange(36).reshape(3, 3, 2, 2)
    ours, theirs = (
        f(x, w, (1, 1), "SAME", dimension_numbers=NHWC) for f in (conv_general_dilated, lax.conv_general_dilated)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_errors_are_those_of_lax():
    x, w = operands("3x3", 0)
    for arguments in (
        {"padding": "SOME"},
        {"padding": "SAME", "lhs_dilation": (2, 2)},
        {"padding": "SAME", "feature_group_count": 3},
    ):
        for function in (conv_general_dilated, lax.conv_general_dilated):
            with pytest.raises((ValueError, RuntimeError)):
                function(x, w, (1, 1), dimension_numbers=NHWC, **arguments)
    with pytest.raises(ValueError):
        conv_general_dilated(x, jnp.ones((1, 1, 5, 2)), (1, 1), "SAME", dimension_numbers=NHWC)


@pytest.mark.slow(unless=["1x1"])
@pytest.mark.parametrize("case", ["3x3 stride 2", "depthwise", "1x1"])
def test_vmap_over_images_weights_and_both(case):
    x, w = operands(case, 0)
    xs, ws = jnp.stack([x, 2 * x]), jnp.stack([w, -w, w + 1])[:2]
    for axes, arguments in (((0, None), (xs, w)), ((None, 0), (x, ws)), ((0, 0), (xs, ws))):
        ours, theirs = (
            jax.jit(jax.vmap(gradients(convolve(function, case)), axes))(*arguments)
            for function in (conv_general_dilated, lax.conv_general_dilated)
        )
        assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["3x3 stride 2", "uneven everything", "grouped and strided", "transposed"])
def test_kernel_gradients_summed_over_blocks_of_images(case, monkeypatch):
    x, w = operands(case, 0)
    want = gradients(convolve(lax.conv_general_dilated, case))(x, w)
    monkeypatch.setattr(convolution, "_num_blocks", lambda lhs, cotangent: len(lhs))
    conv = convolve(conv_general_dilated, case)
    text = jax.jit(gradients(conv)).lower(x, w).as_text()
    assert "stablehlo.while" in text
    assert_close(jax.jit(gradients(conv))(x, w), want)
    assert_close(jax.jit(hessian_product(conv))(x, w), hessian_product(convolve(lax.conv_general_dilated, case))(x, w))
    mapped = jax.jit(jax.vmap(gradients(conv, 1), (0, None)))(jnp.stack([x, 2 * x]), w)
    assert_close(mapped[0], want[1])
    small = jax.jit(gradients(conv, 1))(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16))
    assert small.dtype == jnp.bfloat16
    np.testing.assert_allclose(small.astype(np.float32), want[1], rtol=0, atol=0.03 * np.abs(want[1]).max())
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    specs = (PartitionSpec("data"), PartitionSpec())
    shards = jax.shard_map(gradients(conv, 1), mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
    assert_close(jax.jit(shards)(x, w), want[1])


@pytest.mark.several_devices
def test_blocks_are_equal_large_and_for_one_device(monkeypatch):
    def blocks(images, side, channels):
        x = jax.ShapeDtypeStruct((images, side, side, channels), jnp.float32)
        return convolution._num_blocks(x, x)

    assert blocks(128, 32, 16) == 1, "each turn of the loop would sum over these eight devices"
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert blocks(128, 32, 16) == 8, "of 16 images and 1 MiB"
    assert blocks(128, 8, 64) == 4, "of 512 KiB"
    assert blocks(120, 32, 16) == 6, "7 do not divide 120"
    assert blocks(8, 64, 64) == blocks(16, 256, 64) == 2, "halves of at least 4"
    assert blocks(127, 32, 16) == blocks(6, 256, 64) == blocks(512, 4, 4) == 1


@pytest.mark.several_devices
@pytest.mark.slow(only=["depthwise"])
@pytest.mark.parametrize("case", ["3x3 stride 2", "grouped", "depthwise", "1x1"])
def test_gradients_on_a_mesh_and_in_shard_map(case):
    x, w = operands(case, 0)
    conv = convolve(conv_general_dilated, case)
    want = gradients(convolve(lax.conv_general_dilated, case), 1)(x, w)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    assert_close(jax.jit(gradients(conv, 1))(sharded, w), want)
    summed = jax.shard_map(
        gradients(conv, 1), mesh=mesh, in_specs=(PartitionSpec("data"), PartitionSpec()), out_specs=PartitionSpec()
    )
    assert_close(jax.jit(summed)(x, w), want)


@pytest.mark.slow
def test_remat():
    conv = convolve(conv_general_dilated, "3x3")
    x, w = operands("3x3", 0)
    assert_close(jax.jit(gradients(jax.checkpoint(conv)))(x, w), jax.jit(gradients(conv))(x, w))

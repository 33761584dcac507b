"""Convolutions of sequences and volumes against lax: values, gradients, second order, programs."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from dlcore.ops import avg_pool, conv_general_dilated, max_pool
from tests.ops.test_convolution import assert_close, convolutions, gradients, hessian_product

LAYOUTS = {3: ("NWC", "WIO", "NWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}
ONE, THREE = (1,), (1, 1, 1)

# name: lhs shape, rhs shape, strides, padding, lhs_dilation, rhs_dilation, groups
CASES = {
    "sequence": ((2, 9, 4), (3, 4, 5), ONE, "SAME", None, None, 1),
    "sequence, strided": ((2, 10, 3), (4, 3, 5), (2,), [(1, 2)], None, None, 1),
    "sequence, causal, dilated": ((2, 9, 3), (3, 3, 4), ONE, [(4, 0)], None, (2,), 1),
    "sequence, grouped": ((2, 7, 4), (3, 2, 6), ONE, "SAME", None, None, 2),
    "sequence, depthwise": ((2, 7, 4), (3, 1, 8), (2,), "SAME", None, None, 4),
    "sequence, transposed": ((2, 5, 3), (4, 3, 2), ONE, [(2, 2)], (2,), None, 1),
    "sequence, 1": ((2, 5, 3), (1, 3, 4), ONE, "VALID", None, None, 1),
    "volume": ((2, 4, 5, 6, 3), (3, 3, 3, 3, 4), THREE, "SAME", None, None, 1),
    "volume, strided": ((2, 6, 5, 7, 2), (3, 3, 3, 2, 3), (2, 2, 2), [(1, 1)] * 3, None, None, 1),
    "volume, uneven": ((2, 7, 5, 6, 2), (2, 3, 4, 2, 3), (3, 1, 2), [(2, -1), (0, 2), (3, 0)], None, (2, 1, 1), 1),
    "volume, dilated": ((2, 6, 5, 6, 2), (3, 3, 2, 2, 3), THREE, "SAME", None, (2, 1, 3), 1),
    "volume, grouped": ((2, 4, 5, 4, 4), (2, 3, 3, 2, 6), (2, 1, 1), "SAME", None, None, 2),
    "volume, depthwise": ((2, 4, 5, 4, 3), (3, 3, 3, 1, 3), THREE, "SAME", None, None, 3),
    "volume, transposed": ((2, 3, 4, 3, 3), (4, 4, 4, 3, 2), THREE, [(2, 2)] * 3, (2, 2, 2), None, 1),
    "volume, transposed, uneven": (
        (2, 3, 4, 3, 2),
        (2, 3, 4, 2, 3),
        THREE,
        [(-1, 4), (0, 2), (3, 1)],
        (3, 1, 2),
        None,
        1,
    ),
    "volume, transposed, grouped": ((2, 3, 4, 3, 4), (3, 3, 3, 2, 4), THREE, [(1, 2)] * 3, (2, 2, 2), (2, 1, 1), 2),
    "volume, transposed, strided": ((1, 4, 4, 3, 2), (3, 3, 3, 2, 2), (2, 1, 1), [(2, 2)] * 3, (3, 1, 1), None, 1),
    "volume, 1": ((2, 3, 4, 3, 2), (1, 1, 1, 2, 4), THREE, "VALID", None, None, 1),
    "volume, along the depth": ((2, 5, 3, 3, 2), (3, 1, 1, 2, 4), THREE, "SAME", None, None, 1),
    "volume, the whole": ((2, 3, 2, 3, 2), (3, 2, 3, 2, 4), THREE, "VALID", None, None, 1),
}
FEW = ["sequence, strided", "sequence, depthwise", "volume", "volume, strided"]


def convolve(function, case):
    lhs, _, strides, padding, lhs_dilation, rhs_dilation, groups = CASES[case]
    return lambda x, w: function(
        x, w, strides, padding, lhs_dilation, rhs_dilation, LAYOUTS[len(lhs)], groups, precision=lax.Precision.HIGHEST
    )


def operands(case, seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=shape).astype(dtype) for shape in CASES[case][:2])


def ours_and_lax(case, transformed, *arguments):
    return [
        jax.jit(transformed(convolve(function, case)))(*arguments)
        for function in (conv_general_dilated, lax.conv_general_dilated)
    ]


@pytest.mark.slow(unless=["sequence, strided", "sequence, transposed", "volume", "volume, strided"])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_equal_lax(case):
    ours, theirs = ours_and_lax(case, lambda conv: lambda x, w: (conv(x, w), gradients(conv)(x, w)), *operands(case, 0))
    assert_close(ours, theirs, 2e-5)


def test_values_of_a_volume_by_loops():
    # y[d, h, w, o] = sum over i, j, k, c of x[2d + i, h + j, w + k, c] w[i, j, k, c, o], of small integers: exact
    x, kernel = (
        np.arange(5 * 3 * 4 * 2).reshape(5, 3, 4, 2) % 7,
        np.arange(3 * 2 * 2 * 2 * 3).reshape(3, 2, 2, 2, 3) % 5,
    )
    want = np.zeros((2, 2, 3, 3))
    for d, h, w in np.ndindex(2, 2, 3):
        window = x[2 * d : 2 * d + 3, h : h + 2, w : w + 2]
        want[d, h, w] = np.einsum("ijkc,ijkco->o", window, kernel)
    got = jax.jit(lambda x, w: conv_general_dilated(x, w, (2, 1, 1), "VALID", None, None, LAYOUTS[5]))(
        x[None].astype(np.float32), kernel.astype(np.float32)
    )
    np.testing.assert_array_equal(got[0], want)


@pytest.mark.slow(unless=["sequence"])
@pytest.mark.parametrize("case", ["sequence", *FEW[1:], "volume, transposed"])
def test_hessian_products_and_tangents_equal_lax(case):
    tangents = operands(case, 1)

    def transformed(conv):
        return lambda x, w: (
            jax.jvp(conv, (x, w), tangents),
            jax.jvp(gradients(conv), (x, w), tangents),
            hessian_product(conv)(x, w),
        )

    ours, theirs = ours_and_lax(case, transformed, *operands(case, 0))
    assert_close(ours, theirs, 3e-5)


@pytest.mark.slow(unless=["sequence, strided"])
@pytest.mark.parametrize("case", FEW)
def test_scanned_and_mapped_gradients_equal_unmapped_ones(case):
    conv = convolve(conv_general_dilated, case)
    steps = [operands(case, seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)
    scanned = jax.jit(lambda s: lax.scan(lambda _, b: (None, gradients(conv)(*b)), None, s)[1])(stacked)
    mapped = jax.jit(lambda s: jax.vmap(gradients(conv))(*s))(stacked)
    one = jax.jit(gradients(conv))
    for i, step in enumerate(steps):
        for many in (scanned, mapped):
            assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], many), one(*step), 2e-5)


@pytest.mark.slow(unless=["sequence"])
@pytest.mark.parametrize("case", ["sequence", "volume, strided", "volume, depthwise"])
@pytest.mark.parametrize("preferred", [None, jnp.float32])
def test_bfloat16(case, preferred):
    lhs, _, strides, padding, _, _, groups = CASES[case]

    def value_and_gradients(function, x, w):
        conv = functools.partial(function, dimension_numbers=LAYOUTS[len(lhs)], feature_group_count=groups)
        y, pull = jax.vjp(lambda x, w: conv(x, w, strides, padding, preferred_element_type=preferred), x, w)
        return y, *pull(jnp.ones_like(y))

    x, w = (v.astype(jnp.bfloat16) for v in operands(case, 0))
    run = jax.jit(value_and_gradients, static_argnums=0)
    for a, b in zip(run(conv_general_dilated, x, w), run(lax.conv_general_dilated, x, w), strict=True):
        assert a.dtype == b.dtype
        scale = float(jnp.abs(b).max())
        np.testing.assert_allclose(a.astype(np.float32), b.astype(np.float32), rtol=0, atol=2**-7 * scale)


@pytest.mark.slow(only=["*, *-cuda"])
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("case", [*FEW, "volume, transposed"])
def test_elsewhere_the_convolutions_are_those_of_lax(case, platform):
    ours, theirs = (
        sorted(convolutions(gradients(convolve(function, case)), *operands(case, 0), platform=platform))
        for function in (conv_general_dilated, lax.conv_general_dilated)
    )
    assert ours == theirs
    assert len(ours) == 3


# On a CPU: one convolution of images for the value and one for each gradient; four phases where a gradient by the
# input undoes strides of 2 by 2, two for a sequence; none where channels do not mix.
@pytest.mark.parametrize(
    ("case", "count"),
    [("sequence", 3), ("sequence, strided", 4), ("sequence, depthwise", 0), ("volume", 3), ("volume, strided", 6)],
)
def test_on_a_cpu_the_convolutions_are_those_of_images(case, count):
    numbers = convolutions(gradients(convolve(conv_general_dilated, case)), *operands(case, 0))
    assert numbers == ["[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"] * count


@pytest.mark.several_devices
@pytest.mark.slow
@pytest.mark.parametrize("case", FEW)
def test_gradients_in_shard_map(case):
    x, w = operands(case, 0)
    conv = convolve(conv_general_dilated, case)
    want = gradients(convolve(lax.conv_general_dilated, case), 1)(x, w)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    specs = (PartitionSpec("data"), PartitionSpec())
    summed = jax.shard_map(gradients(conv, 1), mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
    assert_close(jax.jit(summed)(x, w), want, 2e-5)


@pytest.mark.parametrize("shape", [(2, 2, 3, 3, 2), (0, 4, 4, 4, 2), (2, 4, 4, 4, 0)])
def test_nothing_to_convolve(shape):
    x, w = jnp.ones(shape), jnp.ones((3, 3, 3, shape[-1], 4))
    ours, theirs = (
        jax.eval_shape(lambda x, w, f=f: jax.vjp(lambda x: f(x, w, THREE, "VALID", None, None, LAYOUTS[5]), x)[0], x, w)
        for f in (conv_general_dilated, lax.conv_general_dilated)
    )
    chex.assert_equal_shape([ours, theirs])


@pytest.mark.parametrize("function", [conv_general_dilated, lax.conv_general_dilated])
def test_errors_are_those_of_lax(function):
    x, w = jnp.ones((1, 4, 4, 4, 2)), jnp.ones((3, 3, 3, 3, 4))
    with pytest.raises(ValueError, match="feature dimension"):
        function(x, w, THREE, "SAME", dimension_numbers=LAYOUTS[5])
    with pytest.raises((ValueError, RuntimeError), match="SOME"):
        function(x, w[..., :2, :], THREE, "SOME", dimension_numbers=LAYOUTS[5])


@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 5, 4, 7, 2)])
def test_pools_of_sequences_and_volumes_are_slices(shape):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    n = len(shape) - 2
    window, strides = (3, 2, 3)[:n], (2, 2, 1)[:n]
    full, steps = (1, *window, 1), (1, *strides, 1)

    def ours(x):
        return max_pool(x, window, strides), avg_pool(x, window, strides)

    def theirs(x):
        largest = lax.reduce_window(x, -jnp.inf, lax.max, full, steps, "VALID")
        return largest, lax.reduce_window(x, 0.0, lax.add, full, steps, "VALID") / np.prod(window)

    def both(pools):
        return jax.jit(lambda x: (pools(x), jax.grad(lambda x: sum(jnp.sin(y).sum() for y in pools(x)))(x)))

    assert "reduce_window" not in both(ours).lower(x).as_text()
    assert_close(both(ours)(x), both(theirs)(x))

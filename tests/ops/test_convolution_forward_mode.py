"""Forward mode through the convolution, alone and mixed with reverse mode, against lax; and the programs it leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from dlcore.nn import Conv
from dlcore.ops import conv_general_dilated
from tests.ops.test_convolution import CANONICAL, assert_close, convolutions, convolve, gradients, operands

CASES = ["3x3", "3x3 stride 2", "dilated and strided", "grouped", "depthwise", "transposed", "patches"]


def ours_and_lax(case, transformed, *arguments):
    """`transformed(conv)` of both functions, compiled, at the arguments."""
    return [
        jax.jit(transformed(convolve(function, case)))(*arguments)
        for function in (conv_general_dilated, lax.conv_general_dilated)
    ]


@pytest.mark.slow(unless=["3x3 stride 2", "grouped", "patches"])
@pytest.mark.parametrize("case", CASES)
def test_jvp_equals_lax(case):
    ours, theirs = ours_and_lax(
        case,
        lambda conv: lambda primals, tangents: jax.jvp(conv, primals, tangents),
        operands(case, 0),
        operands(case, 1),
    )
    assert_close(ours, theirs)


@pytest.mark.slow(unless=["3x3", "patches"])
@pytest.mark.parametrize("case", CASES)
def test_jacfwd_and_linearize_equal_lax(case):
    def transformed(conv):
        return lambda x, w, dw: (jax.jacfwd(conv, 1)(x, w), jax.linearize(lambda w: conv(x, w), w)[1](dw))

    ours, theirs = ours_and_lax(case, transformed, *operands(case, 0), operands(case, 1)[1])
    assert_close(ours, theirs)


def along(conv, tangents):
    """<gradient, tangents>, whose gradient is a Hessian product by reverse over reverse."""
    loss = lambda x, w: jnp.sin(conv(x, w)).sum()  # noqa: E731
    return lambda x, w: sum(map(jnp.vdot, jax.grad(loss, (0, 1))(x, w), tangents))


@pytest.mark.slow(unless=["3x3 stride 2", "patches"])
@pytest.mark.parametrize("case", CASES)
def test_hessian_products_of_every_mixture_equal_lax(case):
    """H v by forward over reverse, reverse over forward and reverse over reverse."""
    primals, tangents = operands(case, 0), operands(case, 1)
    conv = convolve(conv_general_dilated, case)

    def products(primals):
        slope = lambda x, w: jax.jvp(lambda x, w: jnp.sin(conv(x, w)).sum(), (x, w), tangents)[1]  # noqa: E731
        return [
            jax.jvp(gradients(conv), primals, tangents)[1],
            jax.grad(slope, (0, 1))(*primals),
            jax.grad(along(conv, tangents), (0, 1))(*primals),
        ]

    want = jax.jit(jax.grad(along(convolve(lax.conv_general_dilated, case), tangents), (0, 1)))(*primals)
    for product in jax.jit(products)(primals):
        assert_close(product, want, 3e-5)


@pytest.mark.slow(unless=["depthwise", "patches"])
@pytest.mark.parametrize("case", CASES)
def test_vmap_of_jvp_and_gradient_of_vmap_equal_lax(case):
    def transformed(conv):
        def both(xs, ws, dws):
            jvp = jax.vmap(lambda w, dw: jax.jvp(lambda w: conv(xs[0], w), (w,), (dw,)))(ws, dws)

            def mapped(xs, ws):
                shared_kernel, shared_image = jax.vmap(conv, (0, None))(xs, ws[0]), jax.vmap(conv, (None, 0))(xs[0], ws)
                return jnp.sin(shared_kernel).sum() + jnp.sin(shared_image).sum()

            return jvp, jax.grad(mapped, (0, 1))(xs, ws)

        return both

    (x, w), (dx, dw) = operands(case, 0), operands(case, 1)
    ours, theirs = ours_and_lax(case, transformed, jnp.stack([x, dx]), jnp.stack([w, 2 * w]), jnp.stack([dw, w]))
    assert_close(ours, theirs, 2e-5)


@pytest.mark.several_devices
@pytest.mark.slow
@pytest.mark.parametrize("case", ["3x3 stride 2", "depthwise"])
def test_forward_over_reverse_in_shard_map_and_scan(case):
    primals, tangents = operands(case, 0), operands(case, 1)
    conv = convolve(conv_general_dilated, case)

    def product(conv):  # of the loss's Hessian by the kernel with a direction in both
        return lambda x, w, dx, dw: jax.jvp(gradients(conv, 1), (x, w), (dx, dw))[1]

    want = jax.jit(product(convolve(lax.conv_general_dilated, case)))(*primals, *tangents)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    specs = (PartitionSpec("data"), PartitionSpec()) * 2
    summed = jax.shard_map(product(conv), mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
    assert_close(jax.jit(summed)(*primals, *tangents), want, 3e-5)
    steps = lambda *a: lax.scan(lambda c, _: (c, product(conv)(*c)), a, None, length=2)[1]  # noqa: E731
    assert_close(jax.jit(steps)(*primals, *tangents)[1], want, 3e-5)


@pytest.mark.slow(unless=["3x3 stride 2"])
@pytest.mark.parametrize("case", ["3x3 stride 2", "depthwise", "patches"])
def test_bfloat16(case):
    primals, tangents = ([v.astype(jnp.bfloat16) for v in operands(case, seed)] for seed in (0, 1))

    def both(conv):
        forward_over_reverse = lambda x, w: jax.jvp(gradients(conv), (x, w), tuple(tangents))  # noqa: E731
        return lambda x, w: (jax.jvp(conv, (x, w), tuple(tangents)), forward_over_reverse(x, w)[1])

    ours, theirs = ours_and_lax(case, both, *primals)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype == jnp.bfloat16
        scale = float(jnp.abs(b).max())
        np.testing.assert_allclose(a.astype(np.float32), b.astype(np.float32), rtol=0, atol=2**-6 * scale)


def test_the_layer_has_what_that_of_flax_has():
    """`dlcore.nn.Conv`: a tangent of the output, and H v forward over reverse."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 5, 3)), jnp.float32)
    params = Conv(4, (3, 3), strides=2, padding=1).init(jax.random.key(0), x)
    direction = jax.tree.map(jnp.cos, params)

    def both(layer, params):
        loss = lambda params: jnp.sin(layer.apply(params, x)).sum()  # noqa: E731
        return jax.jvp(lambda p: layer.apply(p, x), (params,), (direction,)), jax.jvp(
            jax.grad(loss), (params,), (direction,)
        )

    ours, theirs = (
        jax.jit(both, static_argnums=0)(layer(4, (3, 3), strides=2, padding=1), params) for layer in (Conv, linen.Conv)
    )
    assert_close(ours, theirs)


# A step has one convolution for the value and two for the gradients; on a CPU the gradient by the input of a strided
# one has four phases, and a depthwise convolution is no convolution.
STEP = {"3x3": 3, "3x3 stride 2": 1 + 4 + 1, "dilated and strided": 3, "grouped": 3, "depthwise": 0, "patches": 0}


@pytest.mark.slow(only=["cuda-*"])
@pytest.mark.parametrize("case", STEP)
@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
def test_a_step_in_reverse_mode_has_three_convolutions(case, platform):
    conv = convolve(conv_general_dilated, case)

    def step(x, w):
        y, pull = jax.vjp(conv, x, w)
        return y, pull(jnp.cos(y))

    elsewhere = 0 if case == "patches" else 3
    expected = STEP[case] if platform == "cpu" else elsewhere
    assert len(convolutions(step, *operands(case, 0), platform=platform)) == expected


@pytest.mark.parametrize("case", ["3x3 stride 2", "depthwise", "transposed, grouped, strided"])
def test_a_jvp_elsewhere_is_that_of_lax(case):
    def tangent(function):
        conv = convolve(function, case)
        return lambda x, w, dx, dw: jax.jvp(conv, (x, w), (dx, dw))

    arguments = (*operands(case, 0), *operands(case, 1))
    ours, theirs = (
        convolutions(tangent(function), *arguments, platform="tpu")
        for function in (conv_general_dilated, lax.conv_general_dilated)
    )
    assert ours == theirs == [CANONICAL] * 3
    assert len(convolutions(tangent(conv_general_dilated), *arguments)) == (0 if case == "depthwise" else 3)

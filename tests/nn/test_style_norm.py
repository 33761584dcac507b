"""Instance norm that carries a style."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import AdaptiveInstanceNorm, ConditionalInstanceNorm, InstanceNorm, adaptive_instance_norm

KEY = jax.random.key(0)


def values(*shape, seed=0, shift=0.5, scale=2.0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) * scale + shift, jnp.float32)


def styled(num_styles=3, channels=4):
    return {"params": {"scale": values(num_styles, channels, seed=1), "bias": values(num_styles, channels, seed=2)}}


@pytest.mark.slow
@pytest.mark.covers("NO-17")
def test_the_style_changes_scale_and_bias_and_nothing_else():
    x, layer, variables = values(3, 5, 4, 4), ConditionalInstanceNorm(3), styled()
    plain = InstanceNorm()
    style = jnp.array([2, 0, 2])
    got = layer.apply(variables, x, style)
    for example, chosen in enumerate([2, 0, 2]):
        params = jax.tree.map(lambda table, s=chosen: table[s], variables["params"])
        want = plain.apply({"params": params}, x[example : example + 1])
        np.testing.assert_allclose(got[example], want[0], atol=1e-5)
    # another style is another affine map, channel by channel, of the same map
    other = layer.apply(variables, x, jnp.array([1, 1, 1]))
    scale, bias = variables["params"]["scale"], variables["params"]["bias"]
    normal = (got - bias[style][:, None, None]) / scale[style][:, None, None]
    np.testing.assert_allclose(other, normal * scale[1] + bias[1], atol=1e-4)
    # and a style's parameters learn from its own examples alone
    gradient = jax.grad(lambda v: jnp.square(layer.apply(v, x, style)).sum())(variables)["params"]
    np.testing.assert_array_equal(gradient["scale"][1], 0)
    assert float(jnp.abs(gradient["scale"][jnp.array([0, 2])]).min()) > 0


@pytest.mark.covers("NO-17")
def test_a_new_layer_is_instance_norm_in_every_style_and_styles_mix():
    x, layer = values(2, 3, 3, 4), ConditionalInstanceNorm(3)
    fresh = jax.jit(layer.init)(KEY, x, np.array([0, 1]))
    assert jax.tree.map(jnp.shape, fresh["params"]) == {"scale": (3, 4), "bias": (3, 4)}
    want, apply = jax.jit(InstanceNorm().init_with_output)(KEY, x)[0], jax.jit(layer.apply)
    np.testing.assert_allclose(apply(fresh, x, np.array([2, 1])), want, atol=1e-6)
    variables = styled()
    one_hot = np.float32([[0, 0, 1], [1, 0, 0]])
    whole = [np.asarray(apply(variables, x, np.full(2, s))) for s in range(3)]
    np.testing.assert_allclose(apply(variables, x, one_hot)[0], whole[2][0], atol=1e-5)
    half = apply(variables, x, np.float32([[0.5, 0.5, 0], [0, 0.25, 0.75]]))
    np.testing.assert_allclose(half[0], (whole[0][0] + whole[1][0]) / 2, atol=1e-5)
    np.testing.assert_allclose(half[1], 0.25 * whole[1][1] + 0.75 * whole[2][1], atol=1e-5)


def test_a_style_that_is_not_there_is_not_another_one():
    x, layer = values(3, 2, 2, 4), ConditionalInstanceNorm(3)
    got = np.asarray(layer.apply(styled(), x, jnp.array([0, 3, -1])))
    assert np.isfinite(got[0]).all()
    assert np.isnan(got[1:]).all()
    with pytest.raises(ValueError, match=r"style.shape=\(2,\): .* allowed: ids of \(3,\)"):
        layer.apply(styled(), x, jnp.array([0, 1]))
    with pytest.raises(ValueError, match=r"style.shape=\(3, 2\): .* allowed: weights of \(3, 3\)"):
        layer.apply(styled(), x, jnp.ones((3, 2)))


@pytest.mark.covers("NO-22")
@pytest.mark.parametrize("shape", [(3, 5, 4, 4), (1, 7, 9, 4), (3, 2, 4)])
def test_the_output_has_the_styles_statistics(shape):
    content, style = values(3, 6, 5, 4), values(*shape, seed=1, shift=-3.0, scale=0.7)
    got = adaptive_instance_norm(content, style)
    axes = tuple(range(1, len(shape) - 1))
    np.testing.assert_allclose(got.mean((1, 2)), jnp.broadcast_to(style.mean(axes), (3, 4)), atol=1e-5)
    np.testing.assert_allclose(got.var((1, 2)), jnp.broadcast_to(style.var(axes), (3, 4)), rtol=1e-4, atol=2e-5)
    # what stays is the content: every channel is an affine image of what it was
    old, new = (np.asarray(v).reshape(3, -1, 4) for v in (content, got))
    for example in range(3):
        for channel in range(4):
            correlation = np.corrcoef(old[example, :, channel], new[example, :, channel])[0, 1]
            assert correlation == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.covers("NO-22")
def test_a_map_in_its_own_style_is_itself_and_a_flat_one_becomes_the_styles_mean():
    x = values(2, 4, 4, 3)
    np.testing.assert_allclose(adaptive_instance_norm(x, x), x, atol=1e-5)
    flat = jnp.full((2, 4, 4, 3), 7.0)
    y, pull = jax.vjp(adaptive_instance_norm, flat, x)
    np.testing.assert_allclose(y, jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape), atol=1e-5)
    assert all(np.isfinite(g).all() for g in pull(jnp.ones_like(y)))
    assert adaptive_instance_norm(x.astype(jnp.bfloat16), x).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match=r"style.shape=\(2, 4, 4, 2\): does not fit"):
        adaptive_instance_norm(x, x[..., :2])


@pytest.mark.slow
@pytest.mark.covers("NO-22")
def test_a_style_vector_sets_scale_and_bias():
    x, style, layer = values(2, 4, 4, 3), values(2, 5, seed=3), AdaptiveInstanceNorm()
    variables = layer.init(KEY, x, style)
    kernel, bias = variables["params"]["affine"]["kernel"], jnp.arange(6.0)
    chex.assert_shape(kernel, (5, 6))
    got = layer.apply({"params": {"affine": {"kernel": kernel, "bias": bias}}}, x, style)
    scale, shift = jnp.split(style @ kernel + bias, 2, -1)
    np.testing.assert_allclose(got.mean((1, 2)), shift, atol=1e-4)
    np.testing.assert_allclose(got.std((1, 2)), jnp.abs(1 + scale), rtol=1e-3)
    start = AdaptiveInstanceNorm(kernel_init=jax.nn.initializers.zeros).init_with_output(KEY, x, style)[0]
    np.testing.assert_allclose(start, InstanceNorm().init_with_output(KEY, x)[0], atol=1e-5)

"""LPIPS and CLIP score: by hand and against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.metrics import clip_score, lpips, lpips_weights
from dlcore.metrics.feature_similarity import LAYERS


@pytest.mark.covers("ME-16")
def test_lpips_by_hand():
    # Layer x, two pixels: (3, 4) / 5 = (.6, .8) against (1, 0): squares .16 and .64; equal ones: 0.
    # Weights 2 and 1: .32 + .64 = .96, half of it over the pixels: .48.
    # Layer y, one pixel: (0, 1) against (1, 0): 1 and 1, weights 0 and .5: .5. Together .98.
    a = {"x": np.float32([[[[3, 4], [1, 1]]]]), "y": np.float32([[[[0, 2]]]])}
    b = {"x": np.float32([[[[7, 0], [5, 5]]]]), "y": np.float32([[[[3, 0]]]])}
    weights = {"x": np.float32([2, 1]), "y": np.float32([0, 0.5])}

    @jax.jit
    def call(a, b):
        return lpips(a, b, weights), lpips(a, b), lpips(a, b, {"y": weights["y"]})

    weighed, plain, of_one_layer = call(a, b)
    np.testing.assert_allclose(weighed, [0.98], rtol=1e-6)
    # Without weights 1: (.16 + .64) / 2 + 2 = 2.4.
    np.testing.assert_allclose(plain, [2.4], rtol=1e-6)
    np.testing.assert_allclose(of_one_layer, [0.5], rtol=1e-6)


@pytest.mark.covers("ME-16")
def test_lpips_as_numpy_in_float64():
    rng = np.random.default_rng(0)
    shapes = dict.fromkeys(LAYERS, (2, 4, 3, 5))
    a, b = ({name: rng.normal(size=shape) for name, shape in shapes.items()} for _ in range(2))
    state = {f"lin{i}.model.1.weight": rng.random((1, shapes[name][3], 1, 1)) for i, name in enumerate(LAYERS)}
    expected = 0.0
    for i, name in enumerate(LAYERS):
        first, second = (x[name] / np.sqrt(np.square(x[name]).sum(-1, keepdims=True)) for x in (a, b))
        expected = expected + (state[f"lin{i}.model.1.weight"].reshape(-1) * (first - second) ** 2).sum(-1).mean((1, 2))
    a, b = (jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), x) for x in (a, b))
    np.testing.assert_allclose(jax.jit(lpips)(a, b, lpips_weights(state)), expected, rtol=2e-6)


def test_equal_maps_and_maps_of_zeros_have_a_gradient():
    maps = {"x": jnp.zeros((1, 2, 2, 3)).at[0, 0, 0].set(1.0)}
    value, gradient = jax.jit(jax.value_and_grad(lambda a: lpips(a, maps).sum()))(maps)
    assert value == 0
    assert jnp.isfinite(gradient["x"]).all()


@pytest.mark.covers("ME-16")
def test_the_clip_score_by_hand():
    # (3, 4) and (4, 3): cosine 24 / 25; (1, 0) and (-1, 1): below 0.
    images, texts = jnp.array([[3.0, 4.0], [1.0, 0.0]]), jnp.array([[4.0, 3.0], [-1.0, 1.0]])
    np.testing.assert_allclose(clip_score(images, texts), [96.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(clip_score(images, texts, 2.5), [2.4, 0.0], rtol=1e-6)


def test_bad_input_is_named():
    maps = {"x": jnp.zeros((1, 2, 2, 3))}
    with pytest.raises(ValueError, match=r"weights=\['y'\]: no maps of the network; allowed: some of x"):
        lpips(maps, maps, {"y": jnp.ones(3)})


@pytest.mark.parametrize("length", [1e-30, 1e-20, 1e20])
def test_lengths_do_not_matter(length):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(clip_score(np.float32(length) * x, x), 100, rtol=1e-5)
    maps = {"x": x[:, None, None]}
    np.testing.assert_allclose(lpips({"x": np.float32(length) * maps["x"]}, maps), 0, atol=1e-6)

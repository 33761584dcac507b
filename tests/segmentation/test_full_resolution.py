"""The full-resolution network: its receptive field and costs as the formulas say, and patches classified one by one."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.cost.layers import layer_costs, total
from dlcore.segmentation.full_resolution import FullResolutionNet
from tests.wiring import assert_wiring


@pytest.mark.covers("SG-02")
@pytest.mark.parametrize("layers", [1, 3, 6])
def test_the_receptive_field_is_1_plus_2l_and_every_layer_costs_the_full_size(layers):
    size, channels, classes = (12, 20), 8, 5
    model = FullResolutionNet(classes, layers, channels)
    costs = layer_costs(model, jax.ShapeDtypeStruct((1, *size, 3), jnp.float32))
    last = [layer for layer in costs if layer.path.startswith("classifier")][-1]
    assert last.receptive_field == (1 + 2 * layers,) * 2
    assert last.stride == (1, 1)
    # 9 (3 C + (L - 1) C^2) + C K multiply-adds at each of H W pixels
    pixel = 9 * (3 * channels + (layers - 1) * channels**2) + channels * classes
    assert total(costs).macs == pixel * 12 * 20


@pytest.mark.slow
@pytest.mark.covers("SG-02")
def test_the_receptive_field_is_1_plus_2l_wide():
    model = FullResolutionNet(2, 3, 4)
    x = jax.random.normal(jax.random.key(0), (1, 15, 15, 3))
    variables = model.init(jax.random.key(1), x)
    variables["params"]["classifier"]["kernel"] += 1.0
    gradient = jax.grad(lambda image: model.apply(variables, image)[0, 7, 7, 0])(x)
    rows = np.flatnonzero(np.abs(gradient).sum((0, 2, 3)))
    assert (rows[0], rows[-1]) == (7 - 3, 7 + 3)


@pytest.mark.slow
@pytest.mark.covers("SG-01")
def test_center_pixels_of_patches_have_the_logits_of_the_dense_network():
    dense, patches = (FullResolutionNet(3, 2, 4, padding=padding) for padding in ("SAME", "VALID"))
    x = jax.random.normal(jax.random.key(0), (1, 9, 8, 3))
    variables = dense.init(jax.random.key(1), x)
    fill = lambda path, leaf: leaf + 0.3 * jax.random.normal(jax.random.key(len(str(path))), leaf.shape) ** 2  # noqa: E731
    variables = jax.tree_util.tree_map_with_path(fill, variables)
    cut = jnp.stack([x[0, i : i + 5, j : j + 5] for i in range(5) for j in range(4)])
    centers = patches.apply(variables, cut)
    chex.assert_shape(centers, (20, 1, 1, 3))
    want = dense.apply(variables, x)[0, 2:-2, 2:-2]
    assert np.ptp(np.asarray(want)) > 0.1
    np.testing.assert_allclose(centers.reshape(5, 4, 3), want, atol=1e-5)


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(ValueError, match="images of 4x4 do not fit FullResolutionNet; allowed: at least 5x5"):
        FullResolutionNet(3, 2, padding="VALID").init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))


def test_the_wiring_of_full_resolution_net_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(FullResolutionNet(2, 3, 4), (2, 6, 5, 3), [21.6823, 5.21212])

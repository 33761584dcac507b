"""PSPNet: each location beside the means of its cells, and images of any size."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.segmentation.pspnet import PSPNet, PyramidPooling
from tests.detection.detectors import Small
from tests.wiring import assert_wiring


@pytest.mark.slow
@pytest.mark.covers("SG-05")
def test_the_pyramid_joins_means_over_cells():
    layer = PyramidPooling(bins=(1, 2))
    x = jax.random.normal(jax.random.key(0), (1, 4, 6, 4))
    variables = layer.init(jax.random.key(1), x, False)
    out = np.asarray(layer.apply(variables, x, False))
    chex.assert_shape(out, (1, 4, 6, 4 + 2 * 2))
    np.testing.assert_array_equal(out[..., :4], x)
    kernels = {n: np.asarray(variables["params"][f"bin{n}"]["0"]["kernel"])[0, 0] for n in (1, 2)}
    norm = 1 / np.sqrt(1 + 1e-5)
    mean = np.maximum(np.asarray(x)[0].mean((0, 1)) @ kernels[1] * norm, 0)
    np.testing.assert_allclose(out[0, :, :, 4:6], np.broadcast_to(mean, (4, 6, 2)), atol=1e-5)
    # A corner of 2 x 2 cells is beyond the outermost center, so it has its cell's mean alone.
    corner = np.maximum(np.asarray(x)[0, :2, :3].mean((0, 1)) @ kernels[2] * norm, 0)
    np.testing.assert_allclose(out[0, 0, 0, 6:], corner, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SG-05")
def test_images_of_any_size():
    backbone = create_model("resnet18", stages=(1, 1, 1, 1), width=4, stem="cifar", dilate=(False, True, True))
    model = PSPNet(backbone, 5, aux_stage="layer3", channels=4)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    for size in ((16, 16), (13, 22)):
        shapes = jax.eval_shape(model.apply, variables, jnp.zeros((2, *size, 3)))
        assert {name: out.shape for name, out in shapes.items()} == {"out": (2, *size, 5), "aux": (2, *size, 5)}


@pytest.mark.covers("SG-05")
def test_cells_are_enlarged_bilinearly():
    """Two cells of a row of 4: by half-pixel centers 1, 3/4, 1/4, 0 parts of the first, and the rest of the second."""
    layer = PyramidPooling(bins=(2,))
    x = jnp.asarray(np.array([1.0, 3, 5, 7], np.float32).reshape(1, 1, 4, 1).repeat(2, 1))
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), x, False))
    variables = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)  # variance, scale and kernel 1
    variables["batch_stats"] = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 0 * leaf if "mean" in str(path[-1]) else leaf, variables["batch_stats"]
    )
    out = np.asarray(jax.jit(lambda: layer.apply(variables, x, False))())[0, 0, :, 1]
    shift = out[0] - 2 / np.sqrt(1 + 1e-5)  # the norm's bias
    cells = np.array([2, 6]) / np.sqrt(1 + 1e-5) + shift
    first = np.array([1, 0.75, 0.25, 0])
    np.testing.assert_allclose(out, first * cells[0] + (1 - first) * cells[1], rtol=1e-5)


@pytest.mark.covers("SG-05")
def test_logits_are_enlarged_bilinearly():
    """Scores on a 2 x 2 map, 0 in the left column and 4 in the right one: 0, 1, 3, 4 at the centers of 4 pixels."""

    class Columns(nn.Module):
        def features(self, x, train=False):
            return {"layer4": jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1).repeat(2, 1)}

    model, x = PSPNet(Columns(), 1, channels=1, bins=(1,)), jnp.zeros((1, 4, 4, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)

    def value(path, leaf):
        """Each 3x3 kernel takes the middle of the map itself: out = 4 map."""
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("join/0/kernel"):
            return jnp.zeros(leaf.shape).at[1, 1, 0].set(1)
        if name.endswith(("var", "join/1/scale")):
            return jnp.ones(leaf.shape)
        return jnp.full(leaf.shape, 4.0 if name.endswith("classifier/kernel") else 0.0)

    variables = jax.tree_util.tree_map_with_path(value, shapes)
    out = np.asarray(jax.jit(model.apply)(variables, x)["out"])[0, 2, :, 0]
    np.testing.assert_allclose(out, [0, 1, 3, 4], rtol=1e-4)


def test_the_wiring_of_pspnet_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(PSPNet(Small(), 2, "fine", "coarse", channels=4, bins=(1, 2)), (2, 16, 24, 3), [27.7924, -1.23513])

"""PSPNet: each location beside the means of its cells, and images of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model
from dlcore.segmentation.pspnet import PSPNet, PyramidPooling


@pytest.mark.slow
@pytest.mark.covers("SG-05")
def test_the_pyramid_joins_means_over_cells():
    layer = PyramidPooling(bins=(1, 2))
    x = jax.random.normal(jax.random.key(0), (1, 4, 6, 4))
    variables = layer.init(jax.random.key(1), x, False)
    out = np.asarray(layer.apply(variables, x, False))
    assert out.shape == (1, 4, 6, 4 + 2 * 2)
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

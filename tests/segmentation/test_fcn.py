"""FCN: the way up starts as bilinear interpolation, fine maps are joined, and any size of image will do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.nn import Conv, ConvTranspose
from dlcore.ops.resize import resize
from dlcore.segmentation.fcn import FCN, bilinear_kernel
from tests.detection.detectors import Small
from tests.wiring import assert_wiring


class Halves(nn.Module):
    """A backbone of three maps, of strides 2, 4 and 8."""

    def features(self, x, train=False):
        return self._maps(x)

    @nn.compact
    def _maps(self, x):
        maps = {}
        for k in (1, 2, 3):
            x = nn.relu(Conv(8, (3, 3), 2, padding=1, name=f"conv{k}")(x))
            maps[f"stage{k}"] = x
        return maps


def fcn(**fields):
    return FCN(Halves(), 3, stage="stage3", **fields)


@pytest.mark.slow(unless=["4"])
@pytest.mark.covers("SG-03")
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_transposed_convolution_starts_as_bilinear_interpolation(factor):
    layer = ConvTranspose(
        2, (2 * factor,) * 2, factor, padding=factor // 2, use_bias=False, kernel_init=bilinear_kernel
    )
    x = jax.random.normal(jax.random.key(0), (1, 5, 4, 2))
    got = layer.apply(layer.init(jax.random.key(1), x), x)
    want = resize(x, (5 * factor, 4 * factor))
    edge = factor // 2  # beyond the outermost centers resize repeats them, the layer fades to 0
    inner = (slice(None), slice(edge, -edge), slice(edge, -edge))
    np.testing.assert_allclose(got[inner], want[inner], atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SG-03")
@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
def test_images_of_any_size(upsampling):
    """One set of weights at sizes that are no multiples of the stride."""
    model = fcn(skips=("stage2", "stage1"), aux_stage="stage2", upsampling=upsampling)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    for size in ((32, 32), (45, 60), (17, 33)):
        shapes = jax.eval_shape(model.apply, variables, jnp.zeros((2, *size, 3)))
        assert {name: out.shape for name, out in shapes.items()} == {"out": (2, *size, 3), "aux": (2, *size, 3)}


@pytest.mark.slow
@pytest.mark.covers("SG-03")
def test_finer_scores_are_added_to_the_enlarged_coarse_ones():
    model = fcn(skips=("stage2",))
    x = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
    variables = model.init(jax.random.key(1), x)
    fill = lambda path, leaf: 0.1 * jax.random.normal(jax.random.key(len(str(path))), leaf.shape)  # noqa: E731
    variables = jax.tree_util.tree_map_with_path(fill, variables)
    params = variables["params"]
    maps = Halves().apply({"params": params["backbone"]}, x, method="features")
    plain = fcn().apply({**variables, "params": {k: v for k, v in params.items() if k != "score_stage2"}}, x)["out"]
    finer = maps["stage2"] @ params["score_stage2"]["kernel"][0, 0] + params["score_stage2"]["bias"]
    # Enlarging is linear: up(finer + up2(coarse)) = up(finer) + up(up2(coarse)), here up(up2) of a 2 x 2 map.
    coarse = plain_scores(model, variables, maps)
    want = resize(finer + resize(coarse, (4, 4)), (16, 16))
    np.testing.assert_allclose(model.apply(variables, x)["out"], want, atol=1e-5)
    np.testing.assert_allclose(plain, resize(coarse, (16, 16)), atol=1e-5)


def plain_scores(model, variables, maps):
    from dlcore.segmentation.fcn import FCNHead

    own = {name: tree["classifier"] for name, tree in variables.items() if "classifier" in tree}
    return FCNHead(model.num_classes).apply(own, maps["stage3"], False)


def test_the_wiring_of_fcn_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        FCN(Small(), 2, "coarse", ("fine",), "fine", upsampling="transposed"), (2, 32, 48, 3), [33.6669, -5.57941]
    )

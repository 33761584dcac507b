"""U-Net: any size of image, ways down and up, and what the joined maps carry."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops.unpooling import max_pool_with_indices, max_unpool
from dlcore.segmentation.unet import UNet
from tests.wiring import assert_wiring

WIDTHS = (4, 6, 8)


@pytest.mark.slow
@pytest.mark.covers("SG-04")
def test_the_papers_network_has_the_known_number_of_parameters():
    """milesial/Pytorch-UNet of 3 channels and 2 classes, transposed convolutions: 31,037,698."""
    shapes = jax.eval_shape(UNet(2).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 31_037_698


@pytest.mark.slow(unless=["strided-nearest-2", "pool-max_unpool-1"])
@pytest.mark.covers("SG-04")
@pytest.mark.parametrize(
    ("down", "up", "stride"),
    [("pool", "transposed", 1), ("strided", "nearest", 2), ("pool", "max_unpool", 1), ("strided", "transposed", 1)],
)
def test_ways_down_and_up_at_any_size(down, up, stride):
    model = UNet(3, WIDTHS, stride, convs=1, down=down, up=up)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    for size in ((9, 14), (1, 3)):
        chex.assert_shape(jax.eval_shape(model.apply, variables, jnp.zeros((2, *size, 3))), (2, *size, 3))


@pytest.mark.slow
@pytest.mark.covers("SG-04")
def test_without_joined_maps_a_pixel_must_pass_the_coarsest_map():
    """With nothing coming up from the coarse map, a changed pixel reaches the logits by a joined map alone."""
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))

    def zeroed_bottom(skips):
        model = UNet(2, (4, 6), convs=1, skips=skips)
        variables = model.init(jax.random.key(1), x)
        params = variables["params"]
        params["classifier"]["kernel"] = jnp.ones_like(params["classifier"]["kernel"])
        params["up0"]["kernel"] = 0 * params["up0"]["kernel"]  # nothing comes up from the coarse map
        return lambda image: model.apply({**variables, "params": params}, image)

    for skips in (True, False):
        logits = zeroed_bottom(skips)
        moved = np.abs(logits(x) - logits(x.at[0, 3, 3].add(1.0))).max((0, 3))
        assert (moved[3, 3] > 1e-4) == skips
        assert (moved[0, 0] == 0).all()


@pytest.mark.weekly
@pytest.mark.covers("SG-04")
def test_max_unpooling_keeps_edges_where_the_maxima_were():
    model = UNet(2, (4, 6), convs=1, up="max_unpool", skips=False, norm="group")
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
    variables = model.init(jax.random.key(1), x)
    _, seen = model.apply(variables, x, capture_intermediates=lambda m, _: m.name in ("up0", "down0_0"))
    seen = seen["intermediates"]
    fine, coarse = seen["down0_0"]["__call__"][0], seen["up0"]["__call__"][0]
    # Where the unpooled map is not zero, the fine map has the largest value of its 2x2 block.
    places = max_pool_with_indices(fine, 2)[1]
    unpooled = np.asarray(max_unpool(coarse, places))
    largest = np.asarray(fine).reshape(1, 2, 2, 2, 2, 4).max((2, 4)).repeat(2, 1).repeat(2, 2)
    assert (np.asarray(fine)[unpooled != 0] == largest[unpooled != 0]).all()


def test_nothing_to_unpool_is_named():
    with pytest.raises(ValueError, match="down='strided': nothing to unpool; allowed with up='max_unpool': pool"):
        jax.eval_shape(
            UNet(2, WIDTHS, down="strided", up="max_unpool").init, jax.random.key(0), jnp.zeros((1, 8, 8, 3))
        )


def test_the_wiring_of_unet_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(UNet(2, (4, 6)), (2, 8, 12, 3), [78.8317, -19.6478])


def test_the_wiring_of_unet_with_other_fields_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(UNet(2, (4, 16), 2, 1, "strided", "nearest", False, norm="group"), (2, 8, 12, 3), [12.8543, 1.23822])

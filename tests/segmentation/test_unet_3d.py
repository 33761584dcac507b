"""The 3-D U-Net: which axes are halved by hand, its size and parameters by formula, its skips, refused input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.segmentation.unet_3d import UNet3D, pooling_strides
from tests.wiring import assert_wiring


def test_thick_slices_are_halved_when_the_other_sides_have_grown():
    # (5, 1, 1) -> (5, 2, 2): 5 >= 2 * 2 -> (5, 4, 4): 5 < 2 * 4, all axes.
    assert pooling_strides((5, 1, 1), 3) == ((1, 2, 2), (1, 2, 2), (2, 2, 2))
    # Exactly twice as long is not halved: (2, 1, 1) -> (2, 2, 2).
    assert pooling_strides((2, 1, 1), 2) == ((1, 2, 2), (2, 2, 2))


@pytest.mark.slow
def test_logits_have_the_size_of_the_volume_and_parameters_are_counted():
    model = UNet3D(3, widths=(2, 4), spacing=(3, 1, 1))
    x = jax.ShapeDtypeStruct((1, 3, 4, 6, 1), jnp.float32)
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    chex.assert_shape(logits, (1, 3, 4, 6, 3))
    # Convolutions 27 a b: down0 1-2-2, down1 2-4-4, join0 (2 + 2)-2-2; up0 of 1 x 2 x 2 taps 4-2 with bias;
    # norms 2 a channel; classifier 2-3 with bias.
    convs = 27 * (1 * 2 + 2 * 2 + 2 * 4 + 4 * 4 + 4 * 2 + 2 * 2)
    norms = 2 * (2 + 2 + 4 + 4 + 2 + 2)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == convs + norms + 4 * 4 * 2 + 2 + 2 * 3 + 3


@pytest.mark.slow
def test_skips_carry_fine_positions():
    # The way up is cut off by a zero kernel: only the skip distinguishes voxels that are pooled together.
    model = UNet3D(2, widths=(2, 2))
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 4, 1))

    @jax.jit
    def without_way_up(key, x):
        params = model.init(key, x)["params"]
        return model.apply({"params": {**params, "up0": jax.tree.map(jnp.zeros_like, params["up0"])}}, x)

    assert np.ptp(np.asarray(without_way_up(jax.random.key(1), x))[0, :2, :2, :2, 0]) > 1e-3


def test_volumes_that_do_not_fit_are_refused():
    model = UNet3D(2, widths=(2, 2), spacing=(3, 1, 1))
    with pytest.raises(ValueError, match=r"cannot be halved; allowed: \(D, H, W\) of multiples of \(1, 2, 2\)"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 3, 4, 5, 1)))


def test_the_wiring_of_unet3d_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(UNet3D(2, (4, 6), (1.0, 1.0, 3.0)), (2, 4, 6, 8, 1), [32.0657, -3.10203])

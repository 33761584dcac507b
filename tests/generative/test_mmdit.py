"""MMDiT against the library's outputs, the identity that it starts from, and bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.mmdit import MMDiT
from dlcore.generative.torch_diffusers import from_torch_names
from tests.generative.test_torch_diffusers import check
from tests.models.parity import read_golden
from tests.wiring import assert_wiring

TINY = {"width": 16, "depth": 2, "num_heads": 2, "max_grid": 12, "base_grid": 4}


@pytest.mark.slow
def test_an_mmdit_equals_the_librarys():
    check("df_sd3", MMDiT(**TINY), ("x", "timestep", "ctx", "text"))


def test_positions_are_the_center_of_a_grid_with_the_periods_of_a_smaller_one():
    """Cell (5, 7) of 12 x 12, scaled by 4 / 12: the first wave of the column is sin(7 / 3), of the row sin(5 / 3)."""
    cell = MMDiT(**TINY).positions()[5, 7]
    np.testing.assert_allclose(cell[[0, 4, 8, 12]], [0.7230859, -0.6907581, 0.9954080, -0.0957235], atol=1e-6)


def test_another_table_of_positions_is_refused():
    _, _, weights = read_golden("df_sd3")
    weights["pos_embed.pos_embed"] = np.zeros((1, 144, 16), np.float32)
    inputs = jnp.zeros((1, 2, 2, 4)), jnp.zeros(1), jnp.zeros((1, 1, 12)), jnp.zeros((1, 10))
    with pytest.raises(ValueError, match=r"pos_embed\.pos_embed .* is not the grid of max_grid=12, base_grid=4"):
        from_torch_names(MMDiT(**TINY), weights, *inputs)


def test_sides_that_cannot_be_are_named():
    def init(height, width, **fields):
        x, texts = jnp.zeros((1, height, width, 4)), (jnp.zeros((1, 1, 12)), jnp.zeros((1, 10)))
        return jax.eval_shape(MMDiT(**TINY | fields).init, jax.random.key(0), x, jnp.zeros(1), *texts)

    with pytest.raises(ValueError, match="x=5x4: sides do not divide; allowed: multiples of patch_size=2"):
        init(5, 4)
    with pytest.raises(ValueError, match="x=4x26: more patches than positions; allowed: sides to 24"):
        init(4, 26)
    with pytest.raises(ValueError, match="num_heads=3: not a divisor; allowed: divisors of the 16 features"):
        init(4, 4, num_heads=3)
    chex.assert_shape(init(4, 4)["params"]["transformer_blocks_1"]["norm1_context"]["linear"]["kernel"], (16, 32))


@pytest.mark.slow
def test_the_wiring_of_mmdi_t_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        MMDiT(width=16, depth=2, num_heads=2, norm_keys=True),
        (2, 4, 8, 4),
        np.array([3.0, 700.0]),
        (2, 3, 6),
        (2, 5),
        [42.8877, -2.07468],
    )

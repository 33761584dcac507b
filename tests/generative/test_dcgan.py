"""Shapes, ranges, and that batch statistics are used in training alone."""

import chex
import jax
import numpy as np
import pytest

from dlcore.generative.dcgan import Discriminator, Generator, num_levels
from dlcore.generative.ring import PointDiscriminator
from tests.generative.by_rule import check_filled, filled


@pytest.mark.parametrize(("side", "levels"), [(8, 1), (16, 2), (28, 2), (32, 3), (7, 0), (6, 1), (12, 2), (4, 0)])
def test_levels(side, levels):
    assert num_levels(side) == levels


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(8, 8, 1), (12, 12, 3)])
def test_images_come_out_and_logits_go_in(shape):
    z = jax.random.normal(jax.random.key(0), (3, 5))
    generator, discriminator = Generator(shape, width=2), Discriminator(width=2)
    x, variables = jax.jit(generator.init_with_output)(jax.random.key(1), z)
    chex.assert_shape(x, (3, *shape))
    assert np.abs(x).max() <= 1
    logits, _ = jax.jit(discriminator.init_with_output)(jax.random.key(2), x)
    chex.assert_shape(logits, (3,))
    _, moved = jax.jit(lambda z: generator.apply(variables, z, train=True, mutable=["batch_stats"]))(z)
    assert not np.allclose(moved["batch_stats"]["stem_norm"]["mean"], variables["batch_stats"]["stem_norm"]["mean"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "shape", "first"),
    [(Discriminator(4), (1, 3, 3, 1), "conv0"), (PointDiscriminator(4, depth=1), (1, 2), "hidden0")],
)
def test_at_zero_a_discriminator_has_the_negative_slope(model, shape, first):
    """As in torch, where jax has slope 1: input and bias are 0, so that every unit is at its kink."""
    x = np.zeros(shape, np.float32)
    params = model.init(jax.random.key(0), x)["params"]
    slope = jax.grad(lambda p: model.apply({"params": p}, x)[0])(params)
    slope, params = (tree.get("mlp", tree) for tree in (slope, params))
    kernel = params["head"]["kernel"].reshape(-1, 4).sum(0)  # over the pixels, by channel
    np.testing.assert_allclose(slope[first]["bias"], 0.2 * kernel, rtol=1e-5)


@pytest.mark.covers("GE-14")
def test_both_players_by_the_weight_rule():
    drawn, judged = filled(Generator((8, 8, 1), width=2), (2, 5)), filled(Discriminator(width=2), (2, 8, 8, 1))
    check_filled(drawn, 487, (2, 8, 8, 1), [-0.142444, 0.365495, -0.100683, -0.203693])
    check_filled(judged, 107, (2,), [-0.877324, 0.70122, -0.176104, -1.578545])

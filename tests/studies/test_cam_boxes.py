"""CAM's box of a planted map, the network, and the verdict."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments.studies import cam_boxes as study

TEST = {
    "image": np.zeros((2, 16, 16, 3), np.uint8),
    "label": np.array([0, 1]),
    "box": np.float32([[4, 4, 12, 12], [0, 8, 8, 16]]),
}


class Planted(nn.Module):
    """Channel k of the last map is 1 on the object of scene k."""

    @nn.compact
    def __call__(self, x):
        self.param("head", lambda key: {"kernel": 3 * jnp.eye(2), "bias": jnp.zeros(2)})
        maps = np.zeros((2, 4, 4, 2), np.float32)
        maps[0, 1:3, 1:3, 0] = maps[1, 2:4, 0:2, 1] = 1
        return jnp.eye(2), {"last": jnp.asarray(maps)}


@pytest.mark.covers("VI-10")
def test_boxes_of_planted_maps_are_those_of_the_objects():
    """Maps of 4 x 4 on scenes of 16 x 16: the bilinear edges at half the maximum lie within a pixel of the box."""
    variables = {"params": {"head": {"kernel": 3 * jnp.eye(2), "bias": jnp.zeros(2)}}}
    found = study.localize(Planted(), variables, TEST["image"], TEST["label"], TEST["box"])
    assert found.corloc[0.5] == 1.0
    assert found.accuracy == 1.0
    swapped = study.localize(Planted(), variables, TEST["image"], TEST["label"], TEST["box"][::-1])
    assert swapped.corloc[0.5] == 0.0


@pytest.mark.covers("VI-10")
def test_the_head_of_the_network_sees_the_mean_of_the_map():
    net, rng = study.MeanPooled(4), np.random.default_rng(0)
    x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda w: rng.normal(size=w.shape).astype(np.float32), shapes)
    logits, maps = jax.jit(net.apply)(variables, x)
    head = variables["params"]["head"]
    chex.assert_shape(maps["last"], (2, 2, 2, 16))
    np.testing.assert_allclose(
        logits, np.asarray(maps["last"]).mean((1, 2)) @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.covers("VI-10")
def test_the_verdict_asks_for_more_than_half_and_for_more_than_random_weights():
    def rows(value):
        maps = np.zeros((2, 16, 16), np.float32)
        return [study.Localization(dict.fromkeys(study.SHARES, value), 1.0, TEST["box"], maps)]

    assert study.report(rows(0.6), rows(0.3), 0.4, TEST).holds
    assert not study.report(rows(0.5), rows(0.3), 0.4, TEST).holds
    assert not study.report(rows(0.6), rows(0.7), 0.4, TEST).holds
    assert not study.report(rows(0.6), rows(0.3), 0.65, TEST).holds

"""Random policies by how often each operation comes and how examples of a batch differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data import augment
from dlcore.data.augment import policies

IMAGE = jnp.asarray(np.random.default_rng(0).random((8, 8, 3)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 40)


@pytest.mark.covers("RG-27")
def test_rand_augment_at_magnitude_zero_is_the_identity_and_above_differs_by_example():
    apply = jax.jit(jax.vmap(lambda key, magnitude: augment.rand_augment(2, magnitude)(key, IMAGE), (0, None)))
    np.testing.assert_array_equal(apply(KEYS, 0.0), jnp.broadcast_to(IMAGE, (40, *IMAGE.shape)))
    out = np.asarray(apply(KEYS, 20.0))
    assert np.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1
    assert len(np.unique(out.reshape(40, -1).round(4), axis=0)) > 25


@pytest.mark.covers("RG-27")
@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_tables_have_25_pairs_of_known_operations(policy):
    operations, chances, strengths = policies._table(policy)
    assert operations.shape == chances.shape == strengths.shape == (25, 2)
    assert (chances >= 0).all()
    assert (chances <= 1).all()
    assert (strengths >= 0).all()
    assert (strengths <= 1).all()
    names = np.array(policies.OPERATIONS)[operations]
    first = {"imagenet": ("posterize", "rotate"), "cifar10": ("invert", "contrast"), "svhn": ("shear_x", "invert")}
    assert tuple(names[0]) == first[policy]
    # CIFAR-10's second: rotate with probability .7 at 2 of 9, translate across with .3 at 9 of 9.
    if policy == "cifar10":
        assert tuple(names[1]) == ("rotate", "translate_x")
        np.testing.assert_allclose(chances[1], [0.7, 0.3])
        np.testing.assert_allclose(strengths[1], [2 / 9, 1])


@pytest.mark.covers("RG-27")
def test_auto_augment_draws_pairs_by_their_probabilities(monkeypatch):
    # One pair alone: invert with probability .25, then nothing.
    table = (np.array([[14, 0]], np.int32), np.array([[0.25, 1.0]], np.float32), np.ones((1, 2), np.float32))
    monkeypatch.setattr(policies, "_table", lambda policy: table)
    keys = jax.random.split(jax.random.key(1), 400)
    small = IMAGE[:2, :2]
    out = jax.jit(jax.vmap(augment.auto_augment("cifar10"), (0, None)))(keys, small)
    inverted = (np.abs(out - (1 - small)) < 1e-6).all((1, 2, 3))
    same = (out == small).all((1, 2, 3))
    assert (inverted | same).all()
    assert 0.17 < inverted.mean() < 0.33  # standard deviation sqrt(.25 .75 / 400) = .022


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"magnitude=31: out of range; allowed: in \[0, 30\]"):
        augment.rand_augment(2, 31)
    with pytest.raises(ValueError, match="num_ops=-1"):
        augment.rand_augment(-1)
    with pytest.raises(ValueError, match="policy='mnist'"):
        augment.auto_augment("mnist")

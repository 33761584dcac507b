"""Which positives and negatives are mined, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import triplet_mining as study


def unit(degrees):
    return np.stack([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))], -1)


def test_the_negatives_of_each_kind_by_hand():
    """Class 0 at 0 and 10 degrees, class 1 at 20 and 80, class 2 at 170 and 180: squared distances 2 - 2 cos."""
    z = jnp.asarray(unit(np.array([[0, 10], [20, 80], [170, 180]])))

    def mined(kind):
        return [np.asarray(v) for v in jax.jit(study.mine_pairs, static_argnums=2)(jax.random.key(0), z, kind)]

    positive, negative, exists = mined("nearest")
    np.testing.assert_array_equal(positive, [1, 0, 3, 2, 5, 4])
    np.testing.assert_array_equal(negative, [2, 2, 1, 1, 3, 3])
    assert exists.all()
    # 0 has 10 at .030 and 20 at .121 < .230; 10 has 20 no farther than 0 (.030 with rounding apart), and 80 too far.
    # 20 has 80 at 1 and no other within (1, 1.2); 80 has 20 at 1 and 0 at 1.65, 10 at 1.32, 170 at 2.
    # 170 has 180 at .03 and 80 at 2: none.
    positive, negative, exists = mined("semi_hard")
    np.testing.assert_array_equal(exists[[0, 2, 3, 4, 5]], [True, False, False, False, False])
    assert negative[0] == 2
    labels = np.arange(3).repeat(2)
    draws = jax.jit(jax.vmap(lambda key: study.mine_pairs(key, z, "random")[1]))(
        jax.random.split(jax.random.key(1), 60)
    )
    assert all(set(np.asarray(draws)[:, k].tolist()) == set(np.flatnonzero(labels != labels[k])) for k in range(6))


def test_an_epoch_has_every_drawing_once_with_its_class_and_another():
    """The drawings are numbers: 100 times the class, plus which."""
    number = np.arange(3)[:, None] * 100 + np.arange(4)
    images = jnp.asarray(np.broadcast_to(number[..., None, None, None], (3, 4, 2, 2, 1)))
    z = jnp.asarray(unit(np.linspace(0, 180, 12)).reshape(3, 4, 2))
    epochs = jax.jit(jax.vmap(lambda key: study.triplets(key, images, z, "nearest")))
    drawings, counts = (np.asarray(v) for v in epochs(jax.random.split(jax.random.key(0), 2)))
    anchor, positive, negative = drawings[0, ..., 0, 0, 0].T
    assert counts.all()
    np.testing.assert_array_equal(np.sort(anchor), np.sort(number.ravel()))
    assert (anchor // 100 == positive // 100).all()
    assert (anchor != positive).all()
    assert (anchor // 100 != negative // 100).all()
    other = drawings[1, :, :2, 0, 0, 0]
    assert set(zip(anchor, positive, strict=True)) != set(zip(*other.T, strict=True))


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        # The arms swapped.
        ({study.EPOCH: [0.5, 0.5], study.START: [0.7, 0.6]}, False),
        ({study.EPOCH: [0.4, 0.4], study.RANDOM: [0.7, 0.6]}, False),
        ({study.START: [0.5, 0.61]}, False),
        # Not part of the claim.
        ({study.IN_BATCH: [0.9, 0.9], study.NEAREST: [0.8, 0.8]}, True),
    ],
)
def test_the_verdict(changes, holds):
    good = {
        study.EPOCH: [0.7, 0.6],
        study.START: [0.5, 0.5],
        study.NEAREST: [0.3, 0.3],
        study.RANDOM: [0.4, 0.4],
        study.IN_BATCH: [0.65, 0.65],
    }
    result = study.report({arm: np.array(v) for arm, v in (good | changes).items()}, np.array([0.3, 0.3]), 0.45)
    assert result.holds is holds
    assert result.headline.baseline == (0.45, "nearest other drawing by pixels", "higher")
    assert result.numbers["recall at 1, pixels"] == 0.45
    assert "pixels 45.0%" in result.verdict
    assert result.headline.values.tolist() == (good | changes)[study.EPOCH]

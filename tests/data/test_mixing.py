"""Mixtures by the share that can be read off the result, for image and label alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data import augment
from dlcore.data.augment import mixing
from dlcore.data.augment.mixing import cutmix_box

N = 3000
IMAGES = np.broadcast_to(np.arange(N, dtype=np.float32)[:, None, None, None] / N, (N, 2, 3, 1)).copy()
OWN = np.stack([np.arange(N) / N, np.arange(N) < N / 2], 1).astype(np.float32)
"""A "label" of two numbers: which example it is of, and in which half."""
ONES = np.ones(N, np.float32)

mixup = jax.jit(augment.mixup)
cutmix = jax.jit(augment.cutmix)


@pytest.mark.slow
@pytest.mark.covers("RG-13")
def test_image_and_label_share_their_lambda_and_each_example_has_its_own():
    images, targets = (np.asarray(x) for x in mixup(jax.random.key(0), IMAGES, OWN, 0.4, ONES))
    np.testing.assert_allclose(images[:, 0, 0, 0], targets[:, 0], atol=1e-6)
    assert np.ptp(images, axis=(1, 2, 3)).max() < 1e-6
    inner = targets[(targets[:, 1] > 1e-6) & (targets[:, 1] < 1 - 1e-6), 1]
    assert len(np.unique(inner.round(4))) > 500


@pytest.mark.slow(only=["0.4"])
@pytest.mark.covers("RG-13")
@pytest.mark.parametrize("alpha", [0.4, 1.0, 4.0])
def test_shares_have_the_moments_of_the_beta_distribution(alpha):
    share = np.asarray(mixup(jax.random.key(2), IMAGES, OWN, alpha, ONES)[1])[:, 1]
    share = share[(share > 1e-6) & (share < 1 - 1e-6)]  # pairs across the halves: lambda or 1 - lambda, alike
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert len(share) > N / 3
    assert share.mean() == pytest.approx(0.5, abs=0.04)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


@pytest.mark.slow
@pytest.mark.covers("RG-26")
def test_the_label_goes_by_the_area_exactly_also_at_the_border():
    n = 200
    images = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None, None], (n, 9, 7, 1))
    mixed, labels = cutmix(jax.random.key(0), images, np.eye(n, dtype=np.float32), 1.0, np.ones(n, np.float32))
    mixed, labels = np.asarray(mixed)[..., 0], np.asarray(labels)
    boxes = set()
    for i in range(n):
        inside = mixed[i] != i
        share = inside.mean()
        np.testing.assert_allclose(labels[i, i], 1 - share, atol=1e-6)
        if inside.any():
            (other,) = set(mixed[i][inside].astype(int))
            np.testing.assert_allclose(labels[i, other], share, atol=1e-6)
            rows, columns = np.nonzero(inside)
            assert inside.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # one box
            if rows.min() == 0 or columns.min() == 0:
                boxes.add("border")
            elif rows.max() < 8 and columns.max() < 6:
                boxes.add("inside")
    assert boxes == {"border", "inside"}
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)


@pytest.mark.covers("RG-26")
def test_a_box_by_hand():
    # 1 - .75 = .25: sides of half the image's, 4 of 8 rows and 5 of 10 columns, 2 either side of the center.
    place = jax.jit(lambda share, center: cutmix_box(share, center, (8, 10)))
    box = np.asarray(place(np.float32(0.75), np.float32([4, 5])))
    want = np.zeros((8, 10), bool)
    want[2:6, 3:7] = True
    np.testing.assert_array_equal(box, want)
    cut = np.asarray(place(np.float32(0.75), np.float32([0, 9])))
    want = np.zeros((8, 10), bool)
    want[:2, 7:10] = True
    np.testing.assert_array_equal(cut, want)
    assert not np.asarray(place(np.float32(1), np.float32([4, 5]))).any()


@pytest.mark.slow
def test_padding_and_alpha_zero_mix_nothing():
    images, labels = mixup(jax.random.key(0), IMAGES, OWN, 0.0, ONES)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, OWN)
    mask = (np.arange(N) < N / 2).astype(np.float32)
    _, labels = mixup(jax.random.key(3), IMAGES, OWN, 1.0, mask)
    # The second half is padding: nobody's label mixes with theirs, and they stay as they are.
    np.testing.assert_allclose(labels[:, 1], OWN[:, 1], atol=1e-6)
    np.testing.assert_array_equal(labels[N // 2 :], OWN[N // 2 :])
    n = 200
    eye, shown = np.eye(n, dtype=np.float32), np.ones((n, 9, 7, 1), np.float32)
    valid = (np.arange(n) < 150).astype(np.float32)
    shown[150:] = np.nan
    mixed, labels = cutmix(jax.random.key(4), shown, eye, 1.0, valid)
    assert np.isfinite(np.asarray(mixed)[:150]).all()
    np.testing.assert_array_equal(np.asarray(labels)[:150, 150:], 0)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"images.dtype=uint8: no blend of integers"):
        augment.mixup(jax.random.key(0), IMAGES.astype(np.uint8), OWN)


def test_of_both_one_a_batch(monkeypatch):
    monkeypatch.setattr(mixing, "mixup", lambda key, x, q, alpha, mask: (x + alpha, q))
    monkeypatch.setattr(mixing, "cutmix", lambda key, x, q, alpha, mask: (x - alpha, q))
    images, targets = jnp.zeros((4, 2, 2, 1)), jnp.eye(4)

    def mixed(mixup_alpha, cutmix_alpha, seed=0):
        return float(mixing.mix_batch(jax.random.key(seed), images, targets, mixup_alpha, cutmix_alpha)[0][0, 0, 0, 0])

    assert {mixed(2.0, 3.0, seed) for seed in range(8)} == {2.0, -3.0}
    assert (mixed(2.0, 0.0), mixed(0.0, 3.0), mixed(0.0, 0.0)) == (2.0, -3.0, 0.0)


@pytest.fixture
def third(monkeypatch):
    """Ratios of 0.3, and each example's partner is the next one."""
    monkeypatch.setattr(mixing.jax.random, "beta", lambda key, a, b, shape: jnp.full(shape, 0.3))
    monkeypatch.setattr(mixing.jax.random, "permutation", lambda key, count: (jnp.arange(count) + 1) % count)


def test_mixup_by_hand(third):
    images, eye, key = np.float32([[0], [10], [100]]), np.eye(3, dtype=np.float32), jax.random.key(0)

    @jax.jit
    def call(images, eye, mask):
        most, padded = {"keep_most": True}, {"mask": mask}
        mixes = [augment.mixup(key, images, eye, 1.0, **options) for options in ({}, most, padded)]
        return *mixes, augment.mixup(key, images, eye, 0.0)

    (mixed, labels), (most, _), (padded, _), (unmixed, _) = call(images, eye, np.array([1, 1, 0]))
    np.testing.assert_allclose(mixed[:, 0], [0.7 * 10, 3 + 70, 30], rtol=1e-6)
    np.testing.assert_allclose(labels, [[0.3, 0.7, 0], [0, 0.3, 0.7], [0.7, 0, 0.3]], rtol=1e-6)
    np.testing.assert_allclose(most[:, 0], [0.3 * 10, 7 + 30, 70], rtol=1e-6)
    # The third is padding: it mixes with nothing, nor does the second, whose partner it is.
    np.testing.assert_allclose(padded[:, 0], [7, 10, 100], rtol=1e-6)
    np.testing.assert_array_equal(unmixed, images)


def test_cutmix_by_hand(third, monkeypatch):
    """Boxes of sqrt(0.7) = 0.837 of each side of 4 x 6: 3 x 5, to even numbers 2 x 4, around (1, 1.5) rounded down."""
    monkeypatch.setattr(mixing.jax.random, "uniform", lambda key, shape: jnp.full(shape, 0.25))
    images = np.broadcast_to(np.float32([0, 1])[:, None, None, None], (2, 4, 6, 1))
    mixed, labels = jax.jit(augment.cutmix)(jax.random.key(0), images, np.eye(2, dtype=np.float32))
    expected = np.zeros((4, 6))
    expected[0:2, 0:3] = 1
    np.testing.assert_array_equal(mixed[..., 0], [expected, 1 - expected])
    np.testing.assert_allclose(labels, [[0.75, 0.25], [0.25, 0.75]])


def test_a_batch_is_augmented_and_then_mixed(monkeypatch):
    calls = []

    def mix(key, images, targets, mixup_alpha, cutmix_alpha, mask):
        calls.append((images.tolist(), targets.tolist(), mixup_alpha, cutmix_alpha, mask.tolist()))
        return "images", "targets"

    monkeypatch.setattr(mixing, "mix_batch", mix)
    batch = {"label": jnp.array([2, 0]), "index": jnp.arange(2), "mask": jnp.array([1.0, 0.0])}
    images = jnp.float32([[1.0], [2.0]])
    settings = (jax.random.key(0), images, batch)
    plain, labels = mixing.augmented_batch(*settings, lambda key, image: 2 * image, mixing.Mixing(), 3)
    assert (plain.tolist(), labels.tolist()) == ([[2], [4]], [2, 0])
    assert mixing.augmented_batch(*settings, None, mixing.Mixing(0.2, 1.0), 3) == ("images", "targets")
    assert calls == [([[1], [2]], [[0, 0, 1], [1, 0, 0]], 0.2, 1.0, [1, 0])]
    used = [mixing.Mixing(*alphas).is_used for alphas in ((0, 0), (0.1, 0), (0, 0.1))]
    assert used == [False, True, True]

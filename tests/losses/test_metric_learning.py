"""Triplets, pairs and rankings: by hand, the mining against loops, and equal embeddings."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.losses.metric_learning import (
    contrastive_loss,
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    mined_triplet_loss,
    pairwise_distances,
    sample_semi_hard_negatives,
    triplet_kinds,
    triplet_loss,
)

A, P, N = jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0]), jnp.array([0.0, 2.0])


@pytest.mark.covers("LO-15")
def test_triplet_by_hand():
    # squared distances 1 and 4: max(1 - 4 + 0.2, 0) and 1 - 4 + 5; plain ones 1 and 2: 1 - 2 + 5
    assert float(triplet_loss(A, P, N, 0.2)) == 0
    assert float(triplet_loss(A, P, N, 5.0)) == 2
    assert float(triplet_loss(A, P, N, 5.0, squared=False)) == pytest.approx(4, abs=1e-5)
    # |p - n|^2 = 5 is no nearer than |a - n|^2 = 4; from (0, 1) it is: |(0, 1) - n|^2 = 1
    assert float(triplet_loss(A, P, N, 5.0, swap=True)) == 2
    assert float(triplet_loss(A, jnp.array([0.0, 1.0]), N, 5.0, swap=True)) == 1 - 1 + 5


@pytest.mark.covers("LO-15")
def test_plain_triplet_equals_optax():
    for a, p, n in np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32):
        want = optax.losses.triplet_margin_loss(a, p, n, margin=1.0, eps=0.0)
        assert float(triplet_loss(a, p, n, 1.0, squared=False)) == pytest.approx(float(want), abs=1e-5)


@pytest.mark.covers("LO-15")
@pytest.mark.parametrize("squared", [True, False])
def test_equal_embeddings_have_a_loss_of_the_margin_and_finite_gradients(squared):
    z = jnp.array([3.0, -1.0, 2.0])
    value, slopes = jax.value_and_grad(lambda a, p, n: triplet_loss(a, p, n, 0.7, squared), (0, 1, 2))(z, z, z)
    assert float(value) == pytest.approx(0.7, rel=1e-6)
    assert np.isfinite(slopes).all()


@pytest.mark.covers("LO-15")
def test_plain_distances_of_other_orders_with_and_without_swap():
    """|a - p| = 1 + 2 = 3, |a - n| = 2 + .5 = 2.5, |p - n| = .5 + .75 = 1.25; for p = 3 the third roots of cubes."""
    a, p, n = np.zeros(2, np.float32), np.float32([1, 2]), np.float32([1.5, 1.25])
    n_far = np.float32([2, 0.5])

    @jax.jit
    def run(a, p, n, far):
        triplets = [triplet_loss(a, p, far, 1.0, squared=False, p=order) for order in (1, 3)]
        return *triplets, triplet_loss(a, p, n, 1.0, squared=False, swap=True, p=1)

    want = [3 - 2.5 + 1, 9 ** (1 / 3) - 8.125 ** (1 / 3) + 1, 3 - 1.25 + 1]
    np.testing.assert_allclose(run(a, p, n, n_far), want, atol=1e-5)
    with pytest.raises(ValueError, match=r"p=1: .*allowed: 2, or squared=False"):
        triplet_loss(a, p, n, p=1)


@pytest.mark.covers("LO-16")
def test_mining_on_a_line_by_hand():
    """Distances of 0, 3 | 1, 4: of 0 and 3 the negatives lie at 1 and 4 from 0, at 2 and 1 from 3; margin 2.

    Plain: (0, 3, 1) is hard, 3 - 1 + 2; (0, 3, 4) semi-hard, 3 - 4 + 2; (3, 0, 1) 3 - 2 + 2 and (3, 0, 4) 3 - 1 + 2 are
    hard. By symmetry the other class has the same: hard (4 + 3 + 4) / 3, semi-hard 1, all (11 + 1) / 4.
    """
    z, labels = np.float32([[0], [3], [1], [4]]), np.array([0, 0, 1, 1])

    @jax.jit
    def run(z, key):
        losses = [mined_triplet_loss(z, labels, 2.0, kind, squared=False) for kind in ("hard", "semi_hard", "all")]
        distances = pairwise_distances(z, squared=False)
        return losses, sample_semi_hard_negatives(key, distances, labels, 2.0)

    losses, (index, exists) = run(z, jax.random.key(0))
    np.testing.assert_allclose(losses, [11 / 3, 1, 3], rtol=1e-6)
    np.testing.assert_array_equal(np.argwhere(exists), [[0, 1], [3, 2]])
    assert (index[0, 1], index[3, 2]) == (3, 0)
    for count, kind, problem in ((2, "all", "batch_size=2: no triplet"),):
        with pytest.raises(ValueError, match=problem):
            mined_triplet_loss(z[:count], labels[:count], kind=kind)


def by_loops(distances, label, margin):
    kinds = {"easy": set(), "semi_hard": set(), "hard": set()}
    for a, p, n in itertools.product(range(len(label)), repeat=3):
        if a != p and label[a] == label[p] and label[a] != label[n]:
            positive, negative = distances[a, p], distances[a, n]
            if positive + margin < negative:
                kinds["easy"].add((a, p, n))
            elif negative < positive:
                kinds["hard"].add((a, p, n))
            else:
                kinds["semi_hard"].add((a, p, n))
    return kinds


@pytest.mark.slow
@pytest.mark.covers("LO-16")
def test_a_constructed_set_falls_into_the_three_bins():
    # On a line, margin 2, plain distances: the anchor at 0, its positive at 3; negatives at 1 (hard), 4 (semi-hard:
    # 3 < 4 < 5) and 9 (easy). Seen from 3: d(a, p) = 3, negatives at 2 (hard), 1 (hard), 6 (easy: 3 + 2 < 6).
    z, label = jnp.array([[0.0], [3], [1], [4], [9]]), jnp.array([0, 0, 1, 2, 3])
    kinds = triplet_kinds(pairwise_distances(z, squared=False), label, 2.0)
    triplets = [set(map(tuple, np.argwhere(kind).tolist())) for kind in kinds]
    assert triplets == [{(0, 1, 4), (1, 0, 4)}, {(0, 1, 3)}, {(0, 1, 2), (1, 0, 2), (1, 0, 3)}]


@pytest.mark.slow(only=["0", "1"])
@pytest.mark.covers("LO-16")
@pytest.mark.parametrize("seed", range(3))
def test_kinds_equal_loops(seed):
    rng = np.random.default_rng(seed)
    z, label = rng.normal(size=(9, 3)).astype(np.float32), rng.integers(0, 3, 9)
    distances = np.square(z[:, None] - z[None]).sum(-1)

    @jax.jit
    def run(z, label, distances):
        losses = {kind: mined_triplet_loss(z, label, 1.5, kind) for kind in ("semi_hard", "hard", "all")}
        return pairwise_distances(z), triplet_kinds(distances, label, 1.5), losses

    (found, kinds, losses), want = jax.device_get(run(z, label, distances)), by_loops(distances, label, 1.5)
    np.testing.assert_allclose(found, distances, rtol=1e-5)
    for name in want:
        assert set(map(tuple, np.argwhere(getattr(kinds, name)).tolist())) == want[name], name
    # N^3 triples hold sum over classes of n (n - 1) (N - n) triplets
    counts = np.bincount(label)
    assert sum(int(kind.sum()) for kind in kinds) == (counts * (counts - 1) * (9 - counts)).sum()
    for kind, loss in losses.items():
        chosen = want["semi_hard"] | want["hard"] if kind == "all" else want[kind]
        mean = np.mean([distances[a, p] - distances[a, n] + 1.5 for a, p, n in chosen])
        assert loss == pytest.approx(mean, rel=1e-4)


@pytest.mark.slow
@pytest.mark.covers("LO-16")
def test_sampled_negatives_are_semi_hard_and_random():
    rng = np.random.default_rng(1)
    z, label = jnp.asarray(rng.normal(size=(10, 2)), jnp.float32), jnp.asarray(rng.integers(0, 3, 10))
    distances = pairwise_distances(z)
    semi_hard = triplet_kinds(distances, label, 2.0).semi_hard
    draw = jax.jit(lambda rng: sample_semi_hard_negatives(rng, distances, label, 2.0))
    drawn = np.zeros(semi_hard.shape, bool)
    for seed in range(60):
        index, exists = draw(jax.random.key(seed))
        np.testing.assert_array_equal(exists, semi_hard.any(-1))
        a, p = np.nonzero(exists)
        drawn[a, p, index[a, p]] = True
    assert not (drawn & ~semi_hard).any()
    assert (drawn.sum(-1) > 1).any()
    assert drawn.sum() > 0.9 * semi_hard.sum()


@pytest.mark.weekly
def test_a_batch_without_triplets_costs_nothing():
    with pytest.raises(ValueError, match="batch_size=2: no triplet; allowed: at least 3"):
        mined_triplet_loss(jnp.zeros((2, 2)), jnp.zeros(2, int))
    for label in (jnp.zeros(3, int), jnp.arange(3)):
        for squared in (True, False):
            for z in (jnp.ones((3, 2)), jnp.eye(3, 2)):
                value, slope = jax.value_and_grad(mined_triplet_loss)(z, label, 0.2, "all", squared)
                assert float(value) == 0
                assert not slope.any()
    # equal embeddings of two classes: every triplet is hard and costs the margin
    value, slope = jax.value_and_grad(mined_triplet_loss)(jnp.ones((4, 2)), jnp.array([0, 0, 1, 1]), 0.2, "hard", False)
    assert float(value) == pytest.approx(0.2, rel=1e-6)
    assert np.isfinite(slope).all()


def test_pairs_and_rankings_by_hand():
    # d = 5: d^2 = 25 for a similar pair; max(0, 7 - 5)^2 = 4 and max(0, 1 - 5)^2 = 0 for another
    far = jnp.array([3.0, 4.0])
    assert [float(contrastive_loss(A, far, y, m)) for y, m in ((1, 1.0), (0, 7.0), (0, 1.0))] == [25, 4, 0]
    # cos = 3 / 5
    x = jnp.array([2.0, 0.0])
    assert float(cosine_embedding_loss(x, far, 1)) == pytest.approx(0.4, abs=1e-6)
    assert float(cosine_embedding_loss(x, far, -1, 0.5)) == pytest.approx(0.1, abs=1e-6)
    assert float(cosine_embedding_loss(x, -far, -1)) == 0
    assert [float(hinge_embedding_loss(0.3, y)) for y in (1, -1)] == pytest.approx([0.3, 0.7])
    # the first should be higher by 0.5 and is lower by 1: 1.5; the second should be and is: 0
    assert [float(margin_ranking_loss(1.0, 2.0, y, 0.5)) for y in (1, -1)] == [1.5, 0]


@pytest.mark.slow
def test_equal_pairs_and_zero_vectors_have_finite_gradients():
    for a, b in ((A, A), (P, P), (A, P)):
        for loss, labels in ((contrastive_loss, (1, 0)), (cosine_embedding_loss, (1, -1))):
            for y in labels:
                assert np.isfinite(jax.grad(loss, (0, 1))(a, b, y)).all()


def test_nan_is_not_taken_for_a_distance_of_zero():
    nothing = jnp.array([jnp.nan, 0.0])
    assert np.isnan(contrastive_loss(nothing, jnp.zeros(2), jnp.array(0)))
    assert np.isnan(pairwise_distances(jnp.stack([nothing, jnp.zeros(2)]), squared=False)[0, 1])


@pytest.mark.slow
@pytest.mark.covers("LO-15")
def test_triplets_by_the_sum_of_absolute_differences():
    # |a - p| = 1 + 2 = 3, |a - n| = 2 + .5 = 2.5, |p - n| = 1 + 1.5 = 2.5 - and the third root of cubes for p = 3.
    a, p, n = jnp.zeros(2), jnp.array([1.0, 2.0]), jnp.array([2.0, 0.5])
    assert float(triplet_loss(a, p, n, 1.0, squared=False, p=1)) == pytest.approx(3 - 2.5 + 1, abs=1e-5)
    want = 9 ** (1 / 3) - 8.125 ** (1 / 3) + 1
    assert float(triplet_loss(a, p, n, 1.0, squared=False, p=3)) == pytest.approx(want, abs=1e-5)

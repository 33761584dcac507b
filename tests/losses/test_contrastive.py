"""InfoNCE, NT-Xent, alignment and uniformity: values by hand, torch's golden, and what is left out."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses.contrastive import (
    alignment_loss,
    clip_loss,
    decoupled_contrastive_loss,
    info_nce_loss,
    nt_xent_loss,
    nt_xent_scores,
    siglip_loss,
    uniformity_loss,
)
from dlcore.ops.replica import REPLICA

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "torch_losses.npz")


@pytest.mark.covers("LO-17")
def test_info_nce_of_equal_scores_is_log_n_and_by_hand():
    q = jnp.array([1.0, 0.0])
    assert info_nce_loss(q, q, jnp.tile(q, (7, 1)), 0.07) == pytest.approx(np.log(8), rel=1e-6)
    # scores 1, 0 and -1 over tau = 1/2: log(e^2 + 1 + e^-2) - 2
    negatives = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
    want = np.log(np.exp(2) + 1 + np.exp(-2)) - 2
    assert info_nce_loss(q, q, negatives, 0.5) == pytest.approx(want, rel=1e-6)


@pytest.mark.covers("LO-18", "SS-13")
def test_nt_xent_by_hand():
    # All the same: log(2N - 1), N = 4: log 7. Two orthogonal pairs at tau = 1/2: log(1 + 2 e^-2).
    loss, same, eye = jax.jit(nt_xent_loss), np.ones((4, 3), np.float32), np.eye(2, dtype=np.float32)
    assert loss(same, same, 0.3) == pytest.approx(1.945910, abs=1e-6)
    assert loss(eye, eye, 0.5) == pytest.approx(0.2395448, abs=1e-6)
    assert loss(3 * eye, 7 * eye, 0.5) == pytest.approx(0.2395448, abs=1e-6)


@pytest.mark.slow
@pytest.mark.covers("LO-18", "LO-19")
def test_nt_xent_equals_the_golden_and_its_gradient():
    a, b = (jnp.asarray(GOLDEN[f"nt_xent/in.{n}"], jnp.float32) for n in ("x", "x2"))
    value, gradients = jax.value_and_grad(lambda a, b: nt_xent_loss(a, b, 0.5), (0, 1))(a, b)
    assert value == pytest.approx(float(GOLDEN["nt_xent/out"]), rel=1e-5)
    for ours, name in zip(gradients, ("x", "x2"), strict=True):
        np.testing.assert_allclose(ours, GOLDEN[f"nt_xent/grad.{name}"], atol=2e-6)


@pytest.mark.covers("LO-18", "LO-19")
def test_batch_losses_with_a_mask_by_numpy():
    """Image 2 of 4 does not count; embeddings of three numbers, of any length."""
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    mask, kept = np.array([1, 1, 0, 2]), [0, 1, 3]
    a, b = (np.where(mask[:, None] > 0, x, np.nan) for x in (a, b))
    x, y = (np.float64(v[kept]) / np.linalg.norm(v[kept], axis=1, keepdims=True) for v in (a, b))
    views, tau, n = np.concatenate([x, y]), 0.4, 3
    table = np.exp(views @ views.T / tau) * (1 - np.eye(2 * n))
    positive = np.array([table[i, (i + n) % (2 * n)] for i in range(2 * n)])
    across = np.exp(x @ y.T / tau)
    pulled = np.log(np.diag(across))
    squares = np.square(x[:, None] - x).sum(-1)
    expected = [
        np.log(table.sum(1) / positive).mean(),
        np.log((table.sum(1) - positive) / positive).mean(),
        (np.log(across.sum(1)) + np.log(across.sum(0)) - 2 * pulled).mean() / 2,
        np.log1p(np.exp((1 - 2 * np.eye(n)) * (x @ y.T / tau - 2))).sum() / n,
        np.log(np.exp(-3 * squares)[~np.eye(n, dtype=bool)].mean()),
    ]

    @jax.jit
    def run(a, b, mask):
        losses = [f(a, b, tau, mask=mask) for f in (nt_xent_loss, decoupled_contrastive_loss, clip_loss)]
        unit = a / jnp.linalg.norm(a, axis=1, keepdims=True)
        return [*losses, siglip_loss(a, b, tau, -2.0, mask), uniformity_loss(unit, 3.0, mask)]

    np.testing.assert_allclose(run(a, b, mask), expected, rtol=1e-5)
    # One image that counts: only its positive is left, of a score s: 0, -s, 0 and softplus(2 - s); no pair is uniform.
    score = np.log(positive[1])
    alone = [0, -score, 0, np.log1p(np.exp(2 - score)), 0]
    np.testing.assert_allclose(run(a, b, np.array([0, 1, 0, 0])), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("LO-19")
def test_decoupled_by_hand():
    # Two orthogonal pairs at tau = 1/2: the positive at 2, two negatives at 0: -2 + log(2 e^0) = -1.3068528.
    eye = jnp.eye(2)
    assert decoupled_contrastive_loss(eye, eye, 0.5) == pytest.approx(-1.3068528, abs=1e-6)
    # All the same: -1 / tau + log((2N - 2) e^{1 / tau}) = log 6 for N = 4.
    same = jnp.ones((4, 3))
    assert decoupled_contrastive_loss(same, same, 0.3) == pytest.approx(np.log(6), abs=1e-5)


@pytest.mark.weekly
def test_decoupled_is_nt_xent_without_the_positive_below():
    """log(e^l - 1) of a view's NT-Xent l = log(1 + sum e^{s-} / e^{s+}); its push does not fade with it."""
    a, b = jax.random.normal(jax.random.key(0), (2, 5, 3))
    scores, positives = nt_xent_scores(a, b, 0.5)
    per_view = jax.nn.logsumexp(scores, -1) - scores[jnp.arange(10), positives]
    want = jnp.log(jnp.expm1(per_view)).mean()
    assert decoupled_contrastive_loss(a, b, 0.5) == pytest.approx(float(want), rel=1e-5)
    mask = jnp.array([1.0, 1.0, 0.0, 1.0, 0.0])
    keep = np.flatnonzero(mask)
    cut = decoupled_contrastive_loss(a[keep], b[keep], 0.5)
    assert decoupled_contrastive_loss(a, b, 0.5, mask) == pytest.approx(float(cut), rel=1e-5)
    # near the end, z_1 and z_2 opposite: s+ = 10, s- = -10; the gradient of NT-Xent by s+ is e^-20, here 1
    apart = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    tilted = apart + jnp.array([[0.0, 0.1], [0.0, 0.1]])
    slopes = [jnp.abs(jax.grad(loss)(tilted, apart, 0.1)).max() for loss in (nt_xent_loss, decoupled_contrastive_loss)]
    assert slopes[0] < 1e-6
    assert slopes[1] > 1e-2


@pytest.mark.weekly
def test_pairs_under_the_mask_are_no_negatives_of_clip():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3)).astype(np.float32)
    mask = np.array([1, 1, 0, 1, 0], np.float32)
    want = clip_loss(a[mask > 0], b[mask > 0], 0.2)
    a[2], b[4] = np.nan, 100
    value, gradient = jax.value_and_grad(clip_loss)(a, b, 0.2, mask)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    assert (gradient[mask == 0] == 0).all()
    assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_clip_loss_of_equal_embeddings_is_log_n():
    assert clip_loss(jnp.ones((5, 2)), jnp.ones((5, 2))) == pytest.approx(np.log(5), rel=1e-5)
    # orthogonal pairs, tau = 1: log(e + 1) - 1
    assert clip_loss(jnp.eye(2), 3 * jnp.eye(2), 1.0) == pytest.approx(np.log(np.e + 1) - 1, rel=1e-5)


@pytest.mark.slow
def test_siglip_loss_judges_each_pair_by_itself():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3)).astype(np.float32)
    mask = np.array([1, 1, 0, 1, 0], np.float32)
    total = 0.0
    for i in (0, 1, 3):
        for j in (0, 1, 3):
            cosine = a[i] @ b[j] / np.linalg.norm(a[i]) / np.linalg.norm(b[j])
            total += np.log1p(np.exp(-(1 if i == j else -1) * (4 * cosine - 2)))
    a[2], b[4] = np.nan, 100
    value, gradient = jax.value_and_grad(siglip_loss)(a, b, 0.25, -2.0, mask)
    np.testing.assert_allclose(value, total / 3, rtol=1e-5)
    assert (gradient[mask == 0] == 0).all()
    # at the start of training, cosines of 0: N - 1 negatives that cost little, and a positive that costs 10
    start = siglip_loss(jnp.eye(8)[:4], jnp.eye(8)[4:])
    assert start == pytest.approx(np.log1p(np.exp(10)) + 3 * np.log1p(np.exp(-10)), rel=1e-5)


@pytest.mark.slow
def test_masked_images_are_no_negatives_and_no_anchors():
    a, b = jax.random.normal(jax.random.key(0), (2, 5, 3))
    mask = jnp.array([1.0, 1.0, 0.0, 1.0, 0.0])
    keep = np.flatnonzero(mask)
    assert nt_xent_loss(a, b, 0.5, mask) == pytest.approx(float(nt_xent_loss(a[keep], b[keep], 0.5)), rel=1e-5)
    assert uniformity_loss(a, mask=mask) == pytest.approx(float(uniformity_loss(a[keep])), rel=1e-5)


@pytest.mark.weekly
@pytest.mark.parametrize("rows", [2, 3])
def test_degenerate_batches_are_finite(rows):
    zero = jnp.zeros((rows, 4))
    for mask in (jnp.ones(rows), jnp.zeros(rows), jnp.arange(rows) == 0):
        value, gradient = jax.value_and_grad(lambda z: nt_xent_loss(z, z, 0.1, mask) + uniformity_loss(z, mask=mask))(
            zero
        )
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        value, gradient = jax.value_and_grad(lambda z: decoupled_contrastive_loss(z, z, 0.1, mask) + clip_loss(z, z))(
            zero
        )
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    one, ones = jnp.arange(rows) == 0, jnp.ones((rows, 2))
    assert decoupled_contrastive_loss(ones, ones, 0.5, one) == pytest.approx(-2)
    assert nt_xent_loss(zero, zero, 0.5, one) == 0  # its own positive is all there is to choose from


@pytest.mark.parametrize(
    "loss",
    [nt_xent_loss, decoupled_contrastive_loss, clip_loss, siglip_loss, lambda a, b: uniformity_loss(a)],
    ids=["nt_xent", "decoupled", "clip", "siglip", "uniformity"],
)
def test_a_batch_without_negatives_is_refused(loss):
    """A loss of one pair would be 0, and its accuracy 1; under jit the shape is known, too."""
    for call in (loss, jax.jit(loss)):
        with pytest.raises(ValueError, match="batch_size=1: out of range; allowed: at least 2"):
            call(np.ones((1, 3), np.float32), np.ones((1, 3), np.float32))


def test_a_query_without_negatives_is_refused():
    with pytest.raises(ValueError, match=r"negatives=float32\[0, 2\]: none; allowed: at least 1"):
        info_nce_loss(jnp.ones(2), jnp.ones(2), jnp.ones((0, 2)))


@pytest.mark.parametrize("length", [1e-10, 1e-7, 1.0, 1e20, 1e30])
def test_the_length_of_embeddings_does_not_matter(length):
    """Orthogonal pairs at tau = .1: NT-Xent log(1 + 6 e^-10), CLIP's log(1 + 3 e^-10). A tilted one has a gradient that
    is inverse to its length."""
    eye, tilted = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32) + np.eye(4, k=1, dtype=np.float32)
    x = (length * eye).astype(np.float32)
    assert jax.jit(nt_xent_loss)(x, x, 0.1) == pytest.approx(np.log1p(6 * np.exp(-10)), rel=0.01)
    assert jax.jit(clip_loss)(x, x, 0.1) == pytest.approx(np.log1p(3 * np.exp(-10)), rel=0.01)
    # sigma of each: 1 at 10, 0 twelve times; at the bias 0: softplus(-10) + 3 softplus(0)
    assert jax.jit(siglip_loss)(x, x, 0.1, 0.0) == pytest.approx(np.log1p(np.exp(-10)) + 3 * np.log(2), rel=1e-5)
    slope = jax.jit(jax.grad(nt_xent_loss))
    np.testing.assert_allclose(slope(x, tilted, 0.5) * length, slope(eye, tilted, 0.5), atol=1e-5)


def test_scores_leave_out_the_view_itself_alone():
    scores, positives = jax.jit(nt_xent_scores)(*np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32))
    np.testing.assert_array_equal(np.isinf(scores), np.eye(6, dtype=bool))
    np.testing.assert_array_equal(positives, [3, 4, 5, 0, 1, 2])


@pytest.mark.weekly
def test_replicas_share_their_negatives():
    a, b = jax.random.normal(jax.random.key(0), (2, 8, 3))
    whole = jax.grad(lambda a, b: nt_xent_loss(a, b, 0.5))(a, b)

    def replica(a, b):
        value, gradient = jax.value_and_grad(lambda a: nt_xent_loss(a, b, 0.5))(a)
        return jax.lax.pmean(value, REPLICA), gradient

    parts = jax.pmap(replica, axis_name=REPLICA, devices=jax.devices()[:4])(a.reshape(4, 2, 3), b.reshape(4, 2, 3))
    np.testing.assert_allclose(parts[0], float(nt_xent_loss(a, b, 0.5)), rtol=1e-5)
    # each replica's loss is a mean over its own rows: their mean is the whole's
    np.testing.assert_allclose(parts[1].reshape(8, 3) / 4, whole, atol=1e-6)


@pytest.mark.covers("SS-12")
def test_alignment_and_uniformity_by_hand():
    uniformity = jax.jit(uniformity_loss)
    assert jax.jit(alignment_loss)(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 2
    # Two opposite points: distance 2, squared 4: log e^-8. Two equal ones: 0. A square: (2 e^-4 + e^-8) / 3 a pair.
    assert uniformity(np.array([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8, rel=1e-5)
    assert uniformity(np.ones((3, 2))) == pytest.approx(0, abs=1e-6)
    # Four points of length 10 at squared distances of 200: log e^-400, which underflows. The gradient by a point is the
    # mean over the 12 pairs, each twice: -2 t (x - y) / 12 * 2, by its own coordinate 3 * (-4 * 10 / 6) = -20.
    value, slope = jax.jit(jax.value_and_grad(uniformity_loss))(10 * np.eye(4, dtype=np.float32))
    assert value == pytest.approx(-400)
    np.testing.assert_allclose(slope, 20 / 3 - (20 + 20 / 3) * np.eye(4), rtol=1e-5)
    square = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert uniformity(square) == pytest.approx(np.log((2 * np.exp(-4) + np.exp(-8)) / 3), rel=1e-5)

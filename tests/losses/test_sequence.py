"""Losses over time steps and alignments: by hand, by counting all paths, and what padding does."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import ctc_loss, sequence_loss, softmax_cross_entropy_loss

LOSSES = jnp.array([1.0, 2.0, 4.0, 8.0])


@pytest.mark.covers("LO-23")
def test_all_steps_or_the_last_one():
    assert float(sequence_loss(LOSSES)) == 15
    assert float(sequence_loss(LOSSES, steps="last")) == 8
    mask = jnp.array([1, 1, 0, 0])
    assert float(sequence_loss(LOSSES, mask)) == 3
    assert float(sequence_loss(LOSSES, mask, "last")) == 2
    both = sequence_loss(jnp.stack([LOSSES, 3 * LOSSES]), jnp.stack([mask, 1 - mask]), "last")
    np.testing.assert_array_equal(both, [2, 24])
    assert float(sequence_loss(LOSSES, jnp.zeros(4))) == float(sequence_loss(LOSSES, jnp.zeros(4), "last")) == 0


@pytest.mark.weekly
@pytest.mark.covers("LO-23")
def test_padding_has_no_loss_and_no_gradient():
    """A batch of streams of 5, 3 and 1 steps costs what each costs cut to its length, whatever the padding holds."""
    rng = np.random.default_rng(0)
    logits, label = jnp.asarray(rng.normal(size=(3, 5, 4)), jnp.float32), jnp.asarray(rng.integers(0, 4, (3, 5)))
    lengths = [5, 3, 1]
    mask = np.arange(5) < np.array(lengths)[:, None]
    logits = jnp.where(mask[..., None], logits, jnp.inf)

    def one(logits, label, mask=None, steps="all"):
        return sequence_loss(softmax_cross_entropy_loss(logits, label), mask, steps)

    for steps in ("all", "last"):
        whole = one(logits, label, mask, steps)
        cut = [one(s[:n], y[:n], steps=steps) for s, y, n in zip(logits, label, lengths, strict=True)]
        np.testing.assert_allclose(whole, cut, rtol=1e-6)
    for steps, want in (("all", [5, 3, 1]), ("last", [1, 1, 1])):
        unknown = jnp.where(mask, 1.0, jnp.nan)
        got = [float(sequence_loss(losses, keep, steps)) for losses, keep in zip(unknown, mask, strict=True)]
        assert got == want
    used = jax.grad(lambda losses: sequence_loss(losses, mask).sum())(jnp.full((3, 5), jnp.nan))
    np.testing.assert_array_equal(used, mask)


def by_counting(p, label, blank=0):
    """-log of the probability of all paths that become the label when repeats are merged and blanks removed."""
    total = 0.0
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        merged = [symbol for symbol, _ in itertools.groupby(path) if symbol != blank]
        if merged == list(label):
            total += math.prod(p[t, symbol] for t, symbol in enumerate(path))
    return -math.log(total)


@pytest.mark.slow
@pytest.mark.covers("LO-25")
@pytest.mark.parametrize(("label", "blank"), [([1, 2], 0), ([1, 1], 0), ([2], 0), ([0, 2], 1)])
def test_ctc_counts_all_paths(label, blank):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    want = by_counting(np.asarray(jax.nn.softmax(logits), np.float64), label, blank)
    assert float(ctc_loss(logits, jnp.array(label), blank=blank)) == pytest.approx(want, rel=1e-5)
    # further steps and symbols that do not count change nothing
    padded = jnp.concatenate([logits, jnp.full((2, 3), 9.0)])
    longer = jnp.array([*label, 2])
    got = ctc_loss(padded, longer, jnp.array(4), jnp.array(len(label)), blank)
    assert float(got) == pytest.approx(want, rel=1e-5)


@pytest.mark.covers("LO-25")
def test_ctc_by_hand():
    # Two steps, blank and one symbol of p = 1/2 each: of the paths --, -a, a-, aa the last three say a: -log 3/4.
    label = np.array([1])
    run = jax.jit(lambda logits: (ctc_loss(logits, label), ctc_loss(logits, label, labels_length=0)))
    one, none = run(np.zeros((2, 2), np.float32))
    assert float(one) == pytest.approx(-math.log(0.75), rel=1e-6)
    # nothing to say: --, -log 1/4
    assert float(none) == pytest.approx(math.log(4), rel=1e-6)


@pytest.mark.covers("LO-25")
def test_ctc_of_sequences_of_any_length_counts_their_paths():
    """A batch of 4 steps: whole, of 3 and of 4 steps; the last label, 2 2 2, does not fit into four."""
    logits = np.random.default_rng(0).normal(size=(3, 4, 3)).astype(np.float32)
    labels, steps, symbols = np.array([[0, 2, 0], [2, 2, 0], [2, 2, 2]]), np.array([4, 3, 4]), np.array([3, 2, 3])
    p = np.float64(jax.nn.softmax(logits))
    want = [by_counting(p[i, : steps[i]], labels[i, : symbols[i]], 1) for i in range(2)]
    loss = jax.jit(lambda s, y, t, n: ctc_loss(s, y, t, n, blank=1))(logits, labels, steps, symbols)
    np.testing.assert_allclose(loss, [*want, np.inf], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("LO-25")
def test_ctc_is_exact_for_large_scores():
    # Six steps that all say blank with 1e4: one of them has to say the symbol instead, for 1e4.
    logits = jnp.zeros((6, 3)).at[:, 0].set(1e4)
    value, slope = jax.value_and_grad(ctc_loss)(logits, jnp.array([1]))
    assert float(value) == pytest.approx(1e4 - math.log(6), rel=1e-6)
    assert np.isfinite(slope).all()
    # every step has to say a symbol: 6 x 1e4 against a log 0 that must be smaller
    assert float(ctc_loss(2 * logits, jnp.array([1, 2, 1, 2, 1, 2]))) == pytest.approx(12e4, rel=1e-6)


@pytest.mark.weekly
@pytest.mark.covers("LO-25")
def test_ctc_of_a_label_that_does_not_fit_is_infinite_and_flat():
    # a a needs a blank between: three steps
    for label, steps in (([1, 1], 2), ([1, 2, 1], 2)):
        value, slope = jax.value_and_grad(ctc_loss)(jnp.zeros((steps, 3)), jnp.array(label))
        assert float(value) == math.inf
        np.testing.assert_array_equal(slope, 0)


def test_ctc_where_classes_are_ruled_out():
    """torch 2.14.1, float64, with -500 in place of -inf, as -inf gives NaN gradients there."""
    logits = np.round(np.sin(7 * np.arange(40)).reshape(2, 5, 4), 1).astype(np.float32)
    logits[0, 1, 2] = logits[0, 3, 0] = logits[1, :, 3] = -np.inf
    logits[1, 4] = np.nan
    loss = lambda x: ctc_loss(x, np.array([[1, 2], [2, 2]]), np.array([5, 4]))  # noqa: E731
    value, pullback = jax.vjp(jax.jit(loss), logits)
    np.testing.assert_allclose(value, [3.95877, 2.82721], rtol=1e-5)
    (slope,) = pullback(jnp.ones(2))
    first = [
        [-0.2498, -0.3715, 0.3416, 0.2797],
        [0.0422, -0.1963, 0.0, 0.154],
        [-0.0749, -0.2362, -0.0903, 0.4014],
        [0.0, 0.2432, -0.4252, 0.182],
        [-0.078, 0.1372, -0.5625, 0.5034],
    ]
    second = [
        [-0.0984, 0.3346, -0.2362, 0.0],
        [0.0214, 0.2747, -0.296, 0.0],
        [-0.5114, 0.3745, 0.1369, 0.0],
        [0.2878, 0.28, -0.5678, 0.0],
        [0.0, 0.0, 0.0, 0.0],
    ]
    np.testing.assert_allclose(slope, [first, second], atol=1e-4)
    # A label that is ruled out at every step.
    assert float(ctc_loss(logits[1, :4], np.array([3]))) == math.inf

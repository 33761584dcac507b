"""The sequences, which of them reach the statistics of a step, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import sequence_normalization as study


def test_sequences_end_and_their_sum_is_the_label():
    x, length, label = (np.asarray(v) for v in jax.jit(study.draw, static_argnums=1)(jax.random.key(0), 2000))
    assert length.min() == study.MIN_LENGTH
    assert length.max() == study.MAX_LENGTH
    assert 7.2 < length.mean() < 8.2  # a geometric length of mean 8, cut at 24
    assert all((row[:n] != 0).all() and (row[n:] == 0).all() for row, n in zip(x[..., 0], length, strict=True))
    np.testing.assert_array_equal(label, x[..., 0].sum(1) > 0)


@pytest.fixture(scope="module")
def statistics():
    """Running means of a step by arm, of pre-activations x: inputs 1 and 3, of which the second has ended."""
    h, x, valid = jnp.zeros((2, study.HIDDEN)), jnp.array([[1.0], [3.0]]), jnp.array([True, False])

    def run(arm):
        cell = study.Cell(arm, True)
        variables = dict(cell.init(jax.random.key(0), h, (x, valid)))
        params = jax.tree.map(jnp.zeros_like, variables["params"])
        params["input"]["kernel"] = jnp.ones((1, study.HIDDEN))
        (state, new), updated = cell.apply({**variables, "params": params}, h, (x, valid), mutable=["batch_stats"])
        return updated, new, state

    return {arm: jax.jit(run, static_argnums=0)(arm) for arm in study.ARMS}


def test_whose_values_are_in_the_statistics(statistics):
    # A tenth of the batch's mean: of 1 and 3 with padding, of 1 alone with a mask.
    for arm, mean in ((study.PADDED, 0.2), (study.MASKED, 0.1)):
        np.testing.assert_allclose(statistics[arm][0]["batch_stats"]["norm"]["mean"], mean, rtol=1e-5)
    assert not statistics[study.LAYER][0]
    assert not statistics[study.NONE][0]


def test_a_sequence_that_ended_keeps_its_state(statistics):
    assert all((np.asarray(statistics[arm][2])[1] == 0).all() for arm in study.ARMS if arm != study.PADDED)
    np.testing.assert_allclose(statistics[study.NONE][1], np.tanh([[1.0], [3.0]]).repeat(study.HIDDEN, 1), rtol=1e-5)


@pytest.mark.slow
def test_the_head_reads_the_last_step_that_counts():
    """What stands behind the end of a sequence changes nothing."""
    net, x = study.Net(study.NONE), np.random.default_rng(0).normal(size=(4, 6, 1)).astype(np.float32)
    length, x[2:] = np.array([2, 6] * 2), x[:2]
    x[2:, 4] += 1

    @jax.jit
    def logits(x, length):
        variables = net.init(jax.random.key(1), x, length, False)
        return net.apply(variables, x, length, False)

    short, long, changed_short, changed_long = logits(x, length)
    np.testing.assert_array_equal(short, changed_short)
    assert np.abs(long - changed_long).max() > 1e-4


def counts(long, short):
    """Two seeds of 100 sequences of 5 steps and 100 of 20, of which so many are correct."""
    values = np.zeros((2, 2, study.MAX_LENGTH + 1))
    values[:, 0, 5], values[:, 0, 20], values[:, 1, [5, 20]] = short, long, 100
    return values


GOOD = {study.NONE: (99, 99), study.PADDED: (70, 95), study.MASKED: ([75, 74], 96), study.LAYER: (80, 94)}


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        # The arms swapped.
        ({study.LAYER: GOOD[study.PADDED], study.PADDED: GOOD[study.LAYER]}, False),
        ({study.LAYER: GOOD[study.MASKED], study.MASKED: GOOD[study.LAYER]}, False),
        ({study.MASKED: ([75, 81], 96)}, False),
    ],
)
def test_the_verdict(changes, holds):
    result = study.report({arm: counts(*values) for arm, values in (GOOD | changes).items()})
    assert result.holds is holds
    assert result.numbers[f"accuracy, {study.PADDED}"] == pytest.approx(
        [np.mean((GOOD | changes)[study.PADDED]) / 100] * 2
    )

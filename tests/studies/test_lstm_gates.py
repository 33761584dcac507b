"""Widths of equal size by hand, a cell that learns, and the verdict."""

import chex
import numpy as np
import pytest

from dlcore.data.text import streams
from experiments.studies import lstm_gates as study


@pytest.mark.slow
@pytest.mark.covers("SQ-20")
def test_sizes_and_widths_by_hand():
    # V = 6, H = 4: (6 + 4 + 2) 4 = 48 a gate, head 4 6 + 6 = 30.
    assert study.size_of("lstm", 4, 6) == 4 * 48 + 30
    assert study.size_of("lstm_coupled", 4, 6) == 3 * 48 + 30
    assert study.size_of("lstm_peephole", 4, 6) == 4 * 48 + 3 * 4 + 30
    # Three gates of width 5: 3 (6 + 5 + 2) 5 + 36 = 231; of width 4: 174. The LSTM's 222 is nearer to 231.
    assert study.width_of_size("lstm_coupled", 222, 6) == 5
    assert study.width_of_size("lstm", 222, 6) == 4


@pytest.mark.weekly
@pytest.mark.covers("SQ-20")
def test_a_variant_learns_a_text_of_two_letters():
    text = np.tile(np.array([0, 1], np.uint8), 100)
    train, test = (s[np.arange(2)] for s in (streams(text, 2), streams(text[:40], 2, whole=True)))
    options = {"num_seeds": 2, "learning_rate": 0.05, "chunk_length": 8}
    start, end = (study.losses_of("lstm_coupled", 4, 2, train, test, steps=n, **options) for n in (1, 60))
    chex.assert_shape(start, (2,))
    assert (start > 0.5).all()  # log 2 = .69 at the start
    assert (end < 0.1).all()


def measured(forget=0.3, output=0.1, coupled=0.01, peepholes=-0.01):
    costs = {
        "LSTM": 0.0,
        "no forget gate": forget,
        "no output gate": output,
        "coupled gates": coupled,
        "peepholes": peepholes,
    }
    losses = {name: np.array([2.0, 2.1]) + cost for name, cost in costs.items()}
    sizes = dict.fromkeys(costs, (8, 1000))
    return {"width": losses, "parameters": losses}, {"width": sizes, "parameters": sizes}


@pytest.mark.covers("SQ-20")
def test_the_verdict_turns():
    good = study.report(*measured())
    assert good.holds
    assert "At equal width LSTM 2.050 nats, no forget gate +0.300, no output gate +0.100" in good.verdict
    assert (
        "The forget gate is the one that matters most; coupled gates cost nothing, and peepholes gain" in good.verdict
    )
    np.testing.assert_allclose(good.headline.values, [0.3, 0.3])
    assert study.report(*measured(coupled=-0.1, peepholes=0.1)).holds  # better, and worse: the claims are one-sided
    for changed in ({"forget": 0.01, "output": 0.0}, {"output": 0.4}, {"coupled": 0.05}, {"peepholes": -0.05}):
        assert not study.report(*measured(**changed)).holds

"""Records of optimizers: schedules step by step, updates by hand, and what a value out of range gets."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.optim import AdamW, AveragedAdamW, EMAAdamW, parameter_ema


@pytest.mark.parametrize(("accumulate", "expected"), [(1, [0, 0.25, 0.5, 0.25]), (2, [0, 0, 0.5, 0.5])])
def test_the_rate_of_each_step_is_that_of_its_update(accumulate, expected):
    """Warm-up over half of the updates, of 4 to 0.5 and of 2 at once, then linearly to 0."""
    optimizer = AveragedAdamW(schedule="linear", learning_rate=0.5, warmup=0.5, accumulate=accumulate)
    rate = optimizer.rate_of_step(steps=4)
    assert [rate(step) for step in range(4)] == pytest.approx(expected)


def test_milestones_are_epochs_and_replace_the_schedule():
    """Epochs of 4 steps: the rate falls to a half at steps 4 and 12, or at updates 2 and 6 of two steps."""
    record = {"schedule": "cosine", "learning_rate": 1.0, "warmup": 0.0, "milestones": (1.0, 3.0), "decay_factor": 0.5}
    rate = AdamW(**record).rate_of_step(16, steps_per_epoch=4)
    assert [rate(step) for step in range(16)] == pytest.approx([1] * 4 + [0.5] * 8 + [0.25] * 4)
    by_update = AveragedAdamW(**record, accumulate=2).rate_of_update(16, 4)
    assert [float(by_update(k)) for k in range(8)] == pytest.approx([1] * 2 + [0.5] * 4 + [0.25] * 2)


def test_milestones_count_from_the_start_of_a_warm_up():
    """Epochs of 4 steps, warm-up over 2 of 8: 0 and half the peak, then the peak until step 4."""
    record = AdamW(learning_rate=1.0, warmup=0.25, milestones=(1.0,))
    rate = record.rate_of_step(8, 4)
    assert [rate(step) for step in range(8)] == pytest.approx([0, 0.5, 1, 1, 0.1, 0.1, 0.1, 0.1])


def test_only_the_schedule_plateau_without_milestones_has_no_rate_of_its_own():
    assert AdamW(schedule="plateau").rate_of_step(4) is None
    by_update = AdamW(schedule="plateau", learning_rate=0.5, warmup=0.0, milestones=(1.0,)).rate_of_update(4, 2)
    np.testing.assert_allclose([float(by_update(k)) for k in range(4)], [0.5, 0.5, 0.05, 0.05])


def test_two_updates_by_hand_with_every_piece():
    """SGD without momentum on w = [[3, 4]] and its gradient g = [[6, 8]], of norm 10, clipped to 5: [[3, 4]].

    The L2 decay of 0.1 comes after the clipping: g + 0.1 w. The linear rate is 0.5, then 0.25.
    """
    record = EMAAdamW(
        optimizer="sgd",
        learning_rate=0.5,
        schedule="linear",
        warmup=0.0,
        momentum=0.0,
        weight_decay=0.1,
        clip_norm=5.0,
        ema=0.75,
    )
    tx, w = record.build(steps=2), jnp.array([[3.0, 4]])
    state = tx.init({"w": w})
    for rate in (0.5, 0.25):
        updates, state = tx.update({"w": jnp.array([[6.0, 8]])}, state, {"w": w})
        expected = w - rate * (jnp.array([[3.0, 4]]) + 0.1 * w)
        w = optax.apply_updates({"w": w}, updates)["w"]
        np.testing.assert_allclose(w, expected, rtol=1e-6)
    found = parameter_ema(state, {"w": w})["w"]
    assert np.abs(np.asarray(found) - np.asarray(w)).max() > 0.05  # the average lags behind


@pytest.mark.parametrize(
    "values", [{"learning_rate": -1}, {"warmup": 2}, {"optimizer": "adamW"}, {"milestones": (3, 1)}]
)
def test_a_value_out_of_range_is_named(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        AdamW(**values)

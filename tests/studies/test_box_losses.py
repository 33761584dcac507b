"""What each loss says of two boxes, by hand, and the verdict."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import box_losses as study


def test_each_loss_by_hand():
    """[0, 0, 2, 2] and [1, 0, 2, 4]: they share 2 of 6, and the hull of 8 has 2 that neither covers.

    Smooth L1: .5 for a difference of 1, 2 - .5 for one of 2, the sum of four. The centers lie (.5, 1) apart, the
    hull's diagonal is 2^2 + 4^2 = 20. The ratio's term: v = 4 / pi^2 (atan 1/4 - atan 1)^2, by v / (1 - IoU + v)."""
    boxes, targets = (np.array([box], np.float32) for box in ([0, 0, 2, 2], [1, 0, 2, 4]))
    overlap = 2 / 6
    v = 4 / np.pi**2 * (np.arctan(1 / 4) - np.arctan(1)) ** 2
    want = {
        "smooth L1": 0.5 + 1.5,
        "IoU": 1 - overlap,
        "GIoU": 1 - overlap + 2 / 8,
        "DIoU": 1 - overlap + 1.25 / 20,
        "CIoU": 1 - overlap + 1.25 / 20 + v * v / (1 - overlap + v),
    }
    twice = [jnp.asarray(np.repeat(rows, 2, 0)) for rows in (boxes, targets)]
    got = {name: loss(*twice) for name, loss in study.LOSSES.items()}
    assert {name: losses.shape for name, losses in got.items()} == dict.fromkeys(want, (2,)), "one loss a box"
    assert {name: float(losses[1]) for name, losses in got.items()} == pytest.approx(want, rel=1e-5)


def test_the_verdict_turns():
    last = {"smooth L1": 0.5, "IoU": 3.0, "GIoU": 2.0, "DIoU": 1.0, "CIoU": 0.9}
    assert study.judge(last, 0.0)
    assert not study.judge(last, 0.1)
    assert not study.judge({**last, "IoU": 2.0, "GIoU": 3.0}, 0.0)
    assert not study.judge({**last, "DIoU": 0.9, "CIoU": 1.0}, 0.0)

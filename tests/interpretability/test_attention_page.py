"""The page of attention maps: whose numbers it reports, the verdict, and what is refused before anything is trained."""

import numpy as np
import pytest

from experiments.interpretability import attention as page

SMALL = {"num_train": 8, "num_test": 4, "image_size": 16, "width": 4, "steps": 1, "most": 2}


def test_a_layer_is_checked_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(page, "fit", lambda *args, **kwargs: pytest.fail("trained"))
    with pytest.raises(ValueError, match=r"layer='blocks_7': no such layer; allowed: one of 3, such as blocks_"):
        page.study(**SMALL, layer="blocks_7")
    with pytest.raises(ValueError, match="image_size=50: not a multiple of 8; allowed: 48"):
        page.study(**SMALL | {"image_size": 50})
    with pytest.raises(ValueError, match="input='photo': needs a network"):
        page.study(input="photo")


def test_the_verdict_asks_every_seed_to_beat_the_middle():
    test = {
        "image": np.zeros((2, 16, 16, 3), np.uint8),
        "label": np.zeros(2, int),
        "box": np.float32([[6, 6, 12, 12], [0, 0, 4, 4]]),
    }
    maps = {"rollout": np.zeros((2, 16, 16)), "mean of heads": np.zeros((2, 16, 16))}

    def result(*rollout):
        rows = [{"rollout": r, "mean of heads": 0.9} for r in rollout]
        return page.report(rows, [1.0] * len(rows), test, maps, 2)

    # The middle of one of the two scenes is in its box.
    assert result(0.6, 0.7).holds
    assert not result(0.6, 0.5).holds

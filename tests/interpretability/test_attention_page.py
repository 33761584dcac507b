"""The page of attention maps: whose numbers it reports, the verdict, and what is refused before anything is trained."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments.interpretability import attention as page

SMALL = {"num_train": 8, "num_test": 4, "image_size": 16, "width": 4, "steps": 1, "most": 2}


class FirstClass(nn.Module):
    """Says class 0."""

    def __call__(self, x):
        return jnp.eye(4)[np.zeros(len(x), int)]


def test_a_layer_is_checked_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(page, "fit", lambda *args, **kwargs: pytest.fail("trained"))
    with pytest.raises(ValueError, match=r"layer='blocks_7': no such layer; allowed: one of 3, such as blocks_"):
        page.study(**SMALL, layer="blocks_7")
    with pytest.raises(ValueError, match="image_size=50: not a multiple of 8; allowed: 48"):
        page.study(**SMALL | {"image_size": 50})
    with pytest.raises(ValueError, match="input='photo': needs a network"):
        page.study(input="photo")


@pytest.mark.covers("AT-33")
def test_each_map_is_judged_by_the_boxes_under_its_own_name(monkeypatch):
    """Rollout points at the objects, the mean of heads at a corner that no box reaches."""
    corner = np.zeros((4, 16, 16), np.float32)
    corner[:, 0, 15] = 1
    boxes = np.tile(np.float32([2, 6, 6, 10]), (4, 1))
    scenes = {"image": np.zeros((4, 16, 16, 3), np.uint8), "label": np.arange(4, dtype=np.int32), "box": boxes}
    monkeypatch.setattr(page, "single_shapes", lambda count, seed, size: scenes)
    monkeypatch.setattr(page, "small_vit", lambda size, width: FirstClass())
    monkeypatch.setattr(page, "fit", lambda net, *args, **kwargs: {"params": {"vit": {}}})
    monkeypatch.setattr(
        page, "maps_of", lambda *args: {"rollout": page.masks_of(boxes, 16).astype(float), "mean of heads": corner}
    )
    result = page.study(**SMALL, num_seeds=2)
    assert result.numbers["pointing, rollout"] == [1, 1]
    assert result.numbers["pointing, mean of heads"] == [0, 0]
    assert result.numbers["pointing, middle"] == 0, "the middle, (8, 8), is right of the boxes"
    assert result.numbers["accuracy"] == [0.25, 0.25]
    assert result.holds
    assert result.headline.values == [1, 1]


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

"""How many clips of which kind the generated task trains and tests on."""

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data.clip_splits import drawn_clips, label_clips
from dlcore.data.source import Source


@pytest.mark.parametrize(
    ("task", "num_clips", "counts"),
    [
        ("motion", 200, (200, 20, 50)),
        ("order", 200, (400, 40, 100)),  # half of the clips of task order move up or down
        ("motion", 60, (60, 16, 16)),  # sixteen at least
    ],
)
def test_the_splits_of_the_generated_clips(monkeypatch, task, num_clips, counts):
    """--num_clips to train on, a tenth to validate, a quarter to test, from seeds 0, 1 and 2."""
    calls = []

    def clips(count, seed, *, frames, size):
        calls.append((count, seed, frames, size))
        video = np.zeros((count, frames, 2, 2, 3), np.uint8)
        index = np.arange(count)
        return Source({"clip": video, "action": index % 4, "appearance": index % 30})

    monkeypatch.setattr(import_module("dlcore.data.clips"), "clips", clips)
    flags = SimpleNamespace(
        num_clips=num_clips, task=task, frames=3, size=8, clip_length=2, stride=1, short="loop", views=2
    )
    splits = drawn_clips(flags)
    assert calls == [(count, seed, 3, 8) for seed, count in enumerate(counts)]
    names = ["left", "right", "up", "down"][: 2 if task == "order" else 4]
    assert splits.spec == {
        "dataset": f"clips, {task}", "class_names": names, "num_classes": len(names), "image_shape": [2, 2, 2, 3],
        "views": 2,
    }  # fmt: skip
    kept = [count // 2 if task == "order" else count for count in counts]
    assert [len(split) for split in splits[:3]] == [kept[0], 2 * kept[1], 2 * kept[2]]
    assert splits.test.arrays["video"][:4].tolist() == [0, 0, 1, 1]


def test_each_task_names_its_label_and_order_keeps_left_and_right():
    """Appearances 0 to 4 are the shapes in red, 5 to 9 in green."""
    action, appearance = np.array([3, 1, 0, 2, 1]), np.array([4, 5, 0, 9, 10])
    source = Source({"clip": np.arange(5)[:, None], "action": action, "appearance": appearance})
    motion, appearance, order = (label_clips(source, task) for task in ("motion", "appearance", "order"))
    assert motion.arrays["label"].tolist() == [3, 1, 0, 2, 1]
    assert motion.class_names == ("left", "right", "up", "down")
    assert appearance.arrays["label"].tolist() == [0, 1, 0, 1, 2]
    assert appearance.class_names[:2] == ("red", "green")
    assert (order.arrays["label"].tolist(), order.arrays["image"][:, 0].tolist()) == ([1, 0, 1], [1, 2, 4])
    assert (order.class_names, order.arrays["label"].dtype) == (("left", "right"), np.int32)
    assert set(order.arrays) == {"image", "label"}

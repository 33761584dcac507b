"""How many clips of which kind the generated task trains and tests on."""

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data.clip_splits import drawn_clips, label_clips, own_videos
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


@pytest.fixture
def read(monkeypatch):
    """Read videos of these splits; return (splits, what the reader was asked)."""
    from dlcore.data import carving, video_datasets, video_folder

    asked = []

    def labeled_clips(group, names, **words):
        asked.append((group, words))
        arrays = {"image": np.zeros((4, 2, 3, 3, 3), np.uint8), "label": np.zeros(4, np.int32)}
        return Source({**arrays, "video": np.arange(4)}, class_names=names, notes=(f"note of {group}",))

    def complete(sources, fraction, seed):
        asked.append((sorted(sources), fraction, seed))
        return sources["train"], sources["test"], sources["test"], ("carved",)

    def call(videos, **flags):
        del asked[:]
        annotations = SimpleNamespace(class_names=("a", "b"), notes=("annotated",))
        monkeypatch.setattr(video_folder, "list_classes", lambda folder: (videos, ("a", "b")))
        monkeypatch.setattr(video_folder, "labeled_clips", labeled_clips)
        monkeypatch.setattr(video_datasets, "read_video_dataset", lambda *args: asked.append(args) or annotations)
        monkeypatch.setattr(video_datasets, "labeled_videos", lambda annotations: videos)
        monkeypatch.setattr(carving, "split_validation", lambda *args: asked.append(args[1:]) or (args[0], args[0]))
        monkeypatch.setattr(carving, "complete_splits", complete)
        monkeypatch.setattr("dlcore.data.clip_splits.repeat_for_views", lambda source, views: (source, views))
        flags = {"dataset": "folder", "data_dir": "my/clips", "valid_fraction": 0.2, "views": 5, **flags}
        clip = {"clip_length": 8, "size": 16, "stride": 2, "frame_rate": 5.0, "short": "loop"}
        return own_videos(SimpleNamespace(**flags, **clip), 3), list(asked)

    return call


CLIP = {"length": 8, "size": 16, "stride": 2, "frame_rate": 5.0, "short": "loop"}


def test_a_folder_without_a_test_split_is_tested_on_a_fifth_of_its_videos(read):
    splits, asked = read({"all": "all videos"})
    assert asked == [
        ("all videos", {**CLIP, "name": "clips, all"}),
        (0.2, 3, "test"),
        (["test", "train"], 0.2, 3),
    ]
    assert splits.notes == ("note of all videos", "no test split: a fifth of the videos is tested", "carved")
    assert splits.spec == {
        "dataset": "clips", "class_names": ["a", "b"], "num_classes": 2, "image_shape": [2, 3, 3, 3], "views": 5,
    }  # fmt: skip
    assert (splits.valid[1], splits.test[1]) == (5, 5), "every video has all views"


def test_a_data_set_of_videos_is_read_by_its_name(read):
    splits, asked = read({"train": "t", "test": "u"}, dataset="ucf101")
    assert asked[0] == ("ucf101", "my/clips")
    assert [group for group, _ in asked[1:3]] == ["t", "u"]
    assert asked[3] == (["test", "train"], 0.2, 3)
    assert splits.spec["dataset"] == "ucf101"
    assert splits.notes == ("annotated", "note of t", "note of u", "carved")

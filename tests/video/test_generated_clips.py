"""How many clips of which kind the generated task trains and tests on."""

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.kits.video.clip_splits import drawn_clips


@pytest.mark.parametrize(
    ("task", "counts"),
    [("motion", (200, 20, 50)), ("order", (400, 40, 100))],  # half of the clips of task order move up or down
)
def test_the_splits_of_the_generated_clips(monkeypatch, task, counts):
    """--num_clips to train on, a tenth to validate, a quarter to test, from seeds 0, 1 and 2."""
    calls = []

    def clips(count, seed, *, frames, size):
        calls.append((count, seed, frames, size))
        video = np.zeros((count, frames, 2, 2, 3), np.uint8)
        index = np.arange(count)
        return Source({"clip": video, "action": index % 4, "appearance": index % 30})

    monkeypatch.setattr(import_module("dlcore.data.clips"), "clips", clips)
    flags = SimpleNamespace(
        num_clips=200, task=task, frames=3, size=8, clip_length=None, stride=1, short="loop", views=1, data_dir=None
    )
    drawn_clips(flags)
    assert calls == [(count, seed, 3, 8) for seed, count in enumerate(counts)]

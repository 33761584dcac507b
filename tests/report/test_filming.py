"""The film of a run: which steps it holds, and that a resumed run films on."""

import base64
import io
import re
import types

import numpy as np
import pytest
from PIL import Image, ImageSequence

from dlcore.report.filming import Film


def filmed(calls, most=4, hook=None):
    hook = hook or Film(lambda state, batch: state + batch, np.float32(10), _picture, "title", most)
    for step in calls:
        hook(step, np.float32(step), {"train/loss": 1.0})
    return hook


def _picture(value):
    return np.full((2, 3, 1), int(value), np.uint8)


def steps(hook):
    return [frame["step"] for frame in hook.memory["frames"]]


def test_a_full_film_drops_every_second_frame_and_takes_half_as_many():
    assert steps(filmed(range(1, 5))) == [1, 2, 3, 4]
    assert steps(filmed(range(1, 6))) == [1, 3, 5]
    assert steps(filmed(range(1, 8))) == [1, 3, 5, 7]
    assert steps(filmed(range(1, 10))) == [1, 5, 9]
    assert steps(filmed(range(1, 100))) == [1, 33, 65, 97]


def test_the_memory_is_all_that_a_resumed_run_needs():
    first = filmed(range(1, 7))
    second = Film(lambda state, batch: state + batch, np.float32(10), _picture, "title", 4)
    second.memory = first.memory
    assert filmed(range(7, 20), hook=second).memory == filmed(range(1, 20)).memory


def test_steps_of_evaluation_alone_have_no_frame():
    hook = filmed([])
    hook(5, np.float32(5), {"valid/loss": 1.0})
    assert steps(hook) == []


def test_the_panel_shows_the_frames_and_ends_with_the_tested_state():
    (panel,) = filmed([1, 2]).panels(types.SimpleNamespace(state=np.float32(40)))
    content = base64.b64decode(re.search(r"data:image/webp;base64,([^\"]+)", panel.html)[1])
    shown = [int(np.asarray(f.convert("L"))[0, 0]) for f in ImageSequence.Iterator(Image.open(io.BytesIO(content)))]
    assert shown == [11, 12, 50]
    assert panel.subtitle.startswith("3 frames from step 1 to the end")


@pytest.mark.parametrize(("shape", "exact"), [((100, 200, 3), True), ((200, 300, 1), True), ((100, 201, 3), False)])
def test_large_frames_lose_detail_and_small_ones_none(shape, exact):
    frame = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    hook = Film(lambda state, batch: batch, frame, np.asarray, "title")
    hook(1, None, {"train/loss": 1.0})
    shown = Image.open(io.BytesIO(base64.b64decode(hook.memory["frames"][0]["picture"]))).convert("RGB")
    assert np.array_equal(np.asarray(shown), np.broadcast_to(frame, (*shape[:2], 3))) == exact


def test_a_film_of_one_frame_is_refused():
    with pytest.raises(ValueError, match="most=1: too small"):
        filmed([], most=1)

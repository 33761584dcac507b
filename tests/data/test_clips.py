"""Clips: exact flow, labels, sentences, and what frames without their order give away."""

import chex
import numpy as np
import pytest

from dlcore.data.clips import DIRECTIONS, clip_sentences, clip_words, clips
from dlcore.data.scenes import SHAPES
from dlcore.data.shape_grid import COLORS
from dlcore.data.words import UNKNOWN

WORDS = clip_words()


def test_labels_and_sentences_agree():
    source = clips(40, 1)
    for action, appearance, tokens in zip(
        *(source.arrays[k] for k in ("action", "appearance", "captions")), strict=True
    ):
        color, shape = divmod(int(appearance), len(SHAPES))
        sentence = f"the {list(COLORS)[color]} {SHAPES[shape]} moves {list(DIRECTIONS)[action]}"
        assert WORDS.decode(tokens[0]) == sentence
        assert clip_sentences()[appearance * 4 + action] == sentence
    assert UNKNOWN not in clips(40, 1, directions=8).arrays["captions"]
    few = clips(3, 1)
    for name, array in few.arrays.items():
        np.testing.assert_array_equal(array, source.arrays[name][:3])


@pytest.mark.parametrize(
    ("path", "camera", "directions"), [("straight", False, 4), ("straight", True, 8), ("hopping", False, 4)]
)
def test_the_flow_carries_a_frame_to_the_next(path, camera, directions):
    """Each pixel goes where its flow says; pixels at the rim of the shape are hidden or appear."""
    source = clips(6, 3, path=path, camera=camera, directions=directions, flow=True)
    assert source.name == f"clips of {path} paths"
    for k, tokens in enumerate(source.arrays["captions"]):
        assert WORDS.decode(tokens[0]).endswith(f"moves {list(DIRECTIONS)[source.arrays['action'][k]]}")
    clip, flow = source.arrays["clip"].astype(float), source.arrays["flow"]
    chex.assert_shape(flow, (6, 7, 32, 32, 2))
    y, x = np.mgrid[:32, :32]
    for n in range(6):
        for f in range(7):
            ground = np.unique(flow[n, f].reshape(-1, 2), axis=0, return_counts=True)
            pan = ground[0][ground[1].argmax()]
            assert (np.abs(pan) <= (2 if camera else 0)).all()
            to = np.rint(np.stack([x, y], -1) + flow[n, f]).astype(int) % 32
            moved = clip[n, f + 1][to[..., 1], to[..., 0]]
            assert (np.abs(moved - clip[n, f]).max(-1) < 35).mean() > 0.85
            step = flow[n, f][(flow[n, f] != pan).any(-1)] - pan
            # A shape moves by 1.5 to 3 pixels a frame, and one that hops by a multiple of that.
            assert (np.abs(step[step != 0]) >= 1.5 - 1e-5).all()
            if path == "straight" and len(step):
                assert np.abs(step).max() <= 3
                direction = np.array(list(DIRECTIONS.values())[source.arrays["action"][n]])
                np.testing.assert_array_equal(np.sign(step), np.broadcast_to(direction, step.shape))


def centers(clip):
    """Where the colored pixels of each frame are, on the torus: [N, F, 2] of (x, y)."""
    clip = clip.astype(float)
    weight = clip.max(-1) - clip.min(-1) > 60
    turn = np.exp(2j * np.pi * np.arange(clip.shape[2]) / clip.shape[2])
    return np.stack([np.angle((weight.sum(axis) * turn).sum(-1)) / (2 * np.pi) * len(turn) for axis in (2, 3)], -1)


def test_a_hopping_path_visits_as_many_places_along_as_across():
    source = clips(30, 5, path="hopping")
    for place, action in zip(centers(source.arrays["clip"]), source.arrays["action"], strict=True):
        steps = (np.diff(place, axis=0) + 16) % 32 - 16
        along = 0 if action < 2 else 1
        sign = sum(list(DIRECTIONS.values())[action])
        assert (sign * steps[:, along] > 0.7).all()
        assert np.ptp(steps[:, along]) < 1.7  # by one step each; across by several of them
        assert np.ptp(steps[:, 1 - along]) > 3

        def gaps(values):
            values = np.sort(values % 32)
            return np.sort(np.diff(np.append(values, values[0] + 32)))

        np.testing.assert_allclose(gaps(place[:, 0]), gaps(place[:, 1]), atol=1.7)


def test_shuffled_frames_are_the_same_frames():
    whole, shuffled = clips(4, 2), clips(4, 2, shuffled=True)
    np.testing.assert_array_equal(whole.arrays["captions"], shuffled.arrays["captions"])
    assert shuffled.name == "clips of straight paths, frames shuffled"
    for a, b in zip(whole.arrays["clip"], shuffled.arrays["clip"], strict=True):
        assert (a != b).any()
        assert {f.tobytes() for f in a} == {f.tobytes() for f in b}


def test_distinct_clips_have_one_sentence_each():
    source = clips(120, 0, frames=2, distinct=True)
    assert len({tokens.tobytes() for tokens in source.arrays["captions"]}) == 120
    with pytest.raises(ValueError, match="count=121: more than the 120 sentences; allowed: at most 120"):
        clips(121, distinct=True)

"""Clip sampling against hand-computed frames, in memory as from a reader."""

import chex
import numpy as np
import pytest

from dlcore.data.clip_sampling import clip_indices, clip_start, clips_in_memory, repeat_for_views, view_starts
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source


def videos(count=4, frames=8):
    """Videos whose frame f is of value 16 video + f."""
    values = 16 * np.arange(count)[:, None] + np.arange(frames)
    return np.broadcast_to(values[..., None, None, None], (count, frames, 2, 2, 3)).astype(np.uint8)


def shown(clips):
    """(video, frame) of each frame of clips."""
    return np.stack(np.divmod(np.asarray(clips)[..., 0, 0, 0].astype(int), 16), -1)


def source(**settings):
    clips = clips_in_memory(videos(), **settings)
    return Source({"image": clips, "label": np.arange(4) % 2, "video": np.arange(4)}, name="v")


@pytest.mark.covers("VD-01")
def test_a_start_is_a_function_of_video_epoch_and_seed():
    # A span of 5 in 8 frames starts at 0, 1, 2 or 3; in 3 frames at 0.
    starts = [clip_start(0, 0, video, 8, 5) for video in range(64)]
    assert set(starts) == {0, 1, 2, 3}
    assert [clip_start(0, 0, video, 8, 5) for video in range(64)] == starts
    assert [clip_start(0, 1, video, 8, 5) for video in range(64)] != starts
    assert [clip_start(1, 0, video, 8, 5) for video in range(64)] != starts
    assert {clip_start(0, 0, video, 3, 5) for video in range(64)} == {0}


@pytest.mark.covers("VD-01")
def test_training_batches_are_runs_of_frames_that_the_position_does_not_change():
    data = source(length=3, stride=2)
    clips = shown(data.arrays["image"].sample(np.array([3, 0, 3]), 7, np.array([0, 0, 1])))
    assert clips[:, 0, 0].tolist() == [3, 0, 3]
    assert (np.diff(clips[..., 1]) == 2).all()
    assert clips[0, 0, 1] == clip_start(7, 0, 3, 8, 5)
    # The video's id draws the start, not its position: a part of the source has the same clips.
    part = data.subset([2, 3]).arrays["image"]
    np.testing.assert_array_equal(shown(part.sample(np.array([1]), 7, np.array([0])))[0], clips[0])
    pipeline = Pipeline(data, 4, seed=7)
    batch = pipeline.batch_at(5)
    for row, clip in zip(batch["index"], shown(batch["image"]), strict=True):
        assert clip[0].tolist() == [row, clip_start(7, 5, int(row), 8, 5)]


@pytest.mark.covers("VD-01")
def test_views_are_rows_that_share_the_video():
    # Clips of 3 frames, 2 apart, in 8 frames: span 5, so the 2 views start at 0 and 3, and one view at 3 // 2 = 1.
    test = repeat_for_views(source(length=3, stride=2), 2)
    assert test.arrays["video"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert test.arrays["label"].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert shown(test.arrays["image"][2:4]).tolist() == [[[1, 0], [1, 2], [1, 4]], [[1, 3], [1, 5], [1, 7]]]
    assert shown(source(length=3, stride=2).arrays["image"][1])[:, 1].tolist() == [1, 3, 5]
    named = Source({"image": clips_in_memory(videos(2), 3)}, names=np.array(["a", "b"]), sizes=np.array([7, 9]))
    twice = repeat_for_views(named, 2)
    assert (list(twice.names), twice.sizes.tolist()) == (["a view 0", "a view 1", "b view 0", "b view 1"], [7, 7, 9, 9])
    with pytest.raises(ValueError, match="other: clips of shape"):
        named.arrays["image"].concatenate(twice.arrays["image"])


def test_frames_of_a_clip():
    assert clip_indices(1, 3, 2, 6).tolist() == [1, 3, 5]
    assert clip_indices(1, 4, 2, 6, "loop").tolist() == [1, 3, 5, 1]
    assert clip_indices(1, 4, 2, 6, "clamp").tolist() == [1, 3, 5, 5]
    assert view_starts(1, 8, 5).tolist() == [1]
    assert view_starts(2, 8, 5).tolist() == [0, 3]
    assert view_starts(4, 10, 5).tolist() == [0, 1, 3, 5]  # thirds of 5, rounded down


def test_a_batch_of_clips_is_cut_at_once_as_one_by_one():
    # Video 0 has 6 frames, video 1 has 4, of which a clip of 3 frames 2 apart from frame 1 has 1, 3 and a last one: 5.
    starts, counts = np.array([1, 1]), np.array([6, 4])
    assert clip_indices(starts, 3, 2, counts, "loop").tolist() == [[1, 3, 5], [1, 3, 1]]
    assert clip_indices(starts, 3, np.array([2, 1]), counts).tolist() == [[1, 3, 5], [1, 2, 3]]
    videos, epochs, frames = np.arange(50) % 5, np.arange(50) // 5, np.full(50, 12)
    batch = clip_start(3, epochs, videos, frames, 4)
    assert batch.tolist() == [clip_start(3, e, v, 12, 4) for e, v in zip(epochs, videos, strict=True)]
    counts = np.bincount(clip_start(0, 0, np.arange(9000), 12, 4), minlength=9)
    # 9 starts, 1,000 videos each: a standard deviation of 30.
    assert len(counts) == 9
    assert np.abs(counts - 1000).max() < 120


def test_clips_of_two_arrays_are_joined_and_told_apart():
    first = clips_in_memory(videos(2), 2)
    both = first.concatenate(clips_in_memory(videos(3)[1:], 2))
    chex.assert_shape(both, (4, 2, 2, 2, 3))
    assert shown(both[:])[:, 0, 0].tolist() == [0, 1, 1, 2]
    assert both.name_of(1) == both.name_of(2) != both.name_of(0)
    assert len(both.name_of(0)) == 16  # 8 bytes
    assert source(length=2).fingerprint.digest == source(length=2).fingerprint.digest


def test_clips_longer_than_their_videos():
    assert shown(source(length=5, stride=2, short="loop").arrays["image"][0])[:, 1].tolist() == [0, 2, 4, 6, 0]


def test_lazy_clips_are_indexed_along_the_first_axis_and_are_no_array():
    clips = source(length=3, stride=2).arrays["image"]
    assert clips.settings == {"size": [2, 2], "length": 3, "strides": [2], "short": "error"}
    assert shown(clips[np.array([False, True, False, True])])[:, 0, 0].tolist() == [1, 3]
    assert shown(clips[1:3])[:, 0, 0].tolist() == [1, 2]
    for idx in ((0, 1), ...):
        with pytest.raises(IndexError, match="indexes more than one axis; allowed: an index of the first axis"):
            clips[idx]
    with pytest.raises(ValueError, match="4 clips are decoded on demand and cannot become an array; index a part"):
        np.asarray(clips)


def test_a_start_is_the_hash_of_seed_epoch_and_video():
    """SplitMix64 of Steele, Lea & Flood, in whole numbers of Python."""

    def mixed(bits):
        bits = (bits + 0x9E3779B97F4A7C15) % 2**64
        bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % 2**64
        return bits ^ (bits >> 31)

    assert mixed(0) == 0xE220A8397B1DCDAF  # its first number
    for seed, epoch, video in ((0, 0, 0), (7, 3, 12345), (2**64 - 1, 1, 2)):
        bits = mixed(mixed(seed ^ mixed(epoch)) ^ mixed(video))
        assert clip_start(seed, epoch, video, 1000, 17) == bits % 984

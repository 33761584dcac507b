"""Clip sampling against hand-computed frames, and averages over clips and videos."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.video.clip_sampling import (
    AverageOverClips,
    average_by_video,
    clip_indices,
    clip_start,
    random_clip,
    view_starts,
)


class Sum(nn.Module):
    """Logits (sum of a clip's first frame, sum of its last)."""

    def __call__(self, x, train=False):
        return jnp.stack([x[:, 0].sum((1, 2, 3)), x[:, -1].sum((1, 2, 3))], -1)


@pytest.mark.covers("VD-01")
def test_a_start_is_a_function_of_video_epoch_and_key():
    # A span of 5 in 8 frames starts at 0, 1, 2 or 3; in 3 frames at 0.
    draw = jax.jit(jax.vmap(clip_start, (None, None, 0, None, None)), static_argnums=4)
    videos = jnp.arange(64)
    first = draw(jax.random.key(0), 0, videos, 8, 5)
    assert set(np.asarray(first).tolist()) == {0, 1, 2, 3}
    np.testing.assert_array_equal(draw(jax.random.key(0), 0, videos[::-1], 8, 5), first[::-1])
    assert (np.asarray(draw(jax.random.key(0), 1, videos, 8, 5)) != first).any()
    assert (np.asarray(draw(jax.random.key(1), 0, videos, 8, 5)) != first).any()
    assert not np.asarray(draw(jax.random.key(0), 0, videos, 3, 5)).any()


@pytest.mark.covers("VD-01")
def test_logits_are_the_mean_over_clips():
    # Clips of 2 frames, 2 apart, in 6 frames of value f: span 3, so the 3 views start at 0, 3 // 2 = 1 and 3.
    video = jnp.arange(6.0).reshape(1, 6, 1, 1, 1)
    model = AverageOverClips(Sum(), length=2, stride=2, views=3)
    logits = model.apply({}, video)
    np.testing.assert_allclose(logits, [[(0 + 1 + 3) / 3, (2 + 3 + 5) / 3]], rtol=1e-6)
    np.testing.assert_allclose(model.apply({}, video[:, :2], train=True), [[0, 1]])


@pytest.mark.covers("VD-01")
def test_each_video_counts_once():
    # Video 7 has two clips, (1 + 3) / 2 = 2; the others one.
    ids, mean = average_by_video(np.array([[1.0], [5.0], [3.0], [9.0]]), np.array([7, 2, 7, 4]))
    assert ids.tolist() == [2, 4, 7]
    assert mean.tolist() == [[5], [9], [2]]
    with pytest.raises(ValueError, match="videos=1 ids: 2 clips"):
        average_by_video(np.zeros((2, 1)), np.zeros(1, int))


def test_frames_of_a_clip():
    assert clip_indices(1, 3, 2, 6).tolist() == [1, 3, 5]
    assert clip_indices(1, 4, 2, 6, "loop").tolist() == [1, 3, 5, 1]
    assert clip_indices(1, 4, 2, 6, "clamp").tolist() == [1, 3, 5, 5]
    assert view_starts(1, 8, 5).tolist() == [1]
    assert view_starts(2, 8, 5).tolist() == [0, 3]


def test_a_random_clip_is_a_run_of_frames():
    video = jnp.arange(9.0).reshape(9, 1, 1, 1)
    cut = jax.jit(jax.vmap(lambda key: random_clip(key, video, 3, 2)))
    clips = np.asarray(cut(jax.random.split(jax.random.key(0), 64)))[..., 0, 0, 0]
    assert set(clips[:, 0]) == {0, 1, 2, 3, 4}
    assert (np.diff(clips) == 2).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 9}, "length=9: a clip of 9 frames from frame 0 is longer than its video of 8"),
        ({"length": 0}, "length=0: out of range"),
        ({"stride": 0}, "stride=0: out of range"),
        ({"start": 8}, "start=8: not in the video; allowed: 0 to 7"),
        ({"short": "stretch"}, "short='stretch': unknown; allowed: loop, clamp, error"),
    ],
)
def test_bad_clips(change, message):
    with pytest.raises(ValueError, match=message):
        clip_indices(**{"start": 0, "length": 8, "stride": 1, "num_frames": 8, **change})

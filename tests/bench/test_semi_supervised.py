"""Ours and PyTorch's FixMatch take steps on the same loss, and Pillow's views are images."""

import chex
import numpy as np
import pytest

from experiments.bench import semi_supervised as bench


def test_both_start_at_about_the_same_loss():
    """Ten classes: about log 10 = 2.3."""
    pytest.importorskip("torch")
    images = np.random.default_rng(0).random((28, 8, 8, 3), np.float32)
    ours = np.asarray(bench.our_steps(bench.our_learner("fixmatch", 8, 8), images, 2, 14, 2)())
    theirs = np.asarray(bench.torch_steps(images, 2, 14, 2, 8, 0)())
    chex.assert_shape([ours, theirs], (2,))
    for losses in (ours, theirs):
        assert 1 < losses.min() <= losses.max() < 5, (ours, theirs)


def test_pillow_views_keep_their_size_and_the_strong_one_has_a_gray_square():
    from PIL import Image

    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 100, (16, 16, 3)).astype(np.uint8))
    for _ in range(20):
        weak, strong = (np.asarray(bench.pillow_views(image, rng, flag)) for flag in (False, True))
        chex.assert_shape([weak, strong], (16, 16, 3))
        assert not (weak == 127).any()
        assert (strong == 127).all(-1).sum() >= 64


def test_a_batch_has_two_streams():
    images = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1)
    batch = bench.batch_of(images, 2, 2, 3)
    assert batch["labeled"]["index"].tolist() == [4, 5]
    assert batch["labeled"]["label"].tolist() == [4, 5]
    assert batch["unlabeled"]["index"].tolist() == [6, 7, 8]
    np.testing.assert_array_equal(batch["unlabeled"]["image"][:, 0, 0, 0], [6, 7, 8])
    assert set(batch["unlabeled"]) == {"image", "index"}

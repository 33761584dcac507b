"""Ours and the peers' take steps on the same loss, and the encoder of MAE has a share of the FLOPs."""

import chex
import numpy as np
import pytest

from experiments.bench import self_supervised as bench


@pytest.mark.parametrize("task", ["simclr", "dino", "mae"])
def test_both_start_at_the_same_loss(task):
    """SimCLR with 2 x 8 views: about log 15 = 2.7; DINO: within those of 256 outputs; MAE: about 1/3 + variance."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    images = np.random.default_rng(0).random((24, 8, 8, 3), np.float32)
    ours = np.asarray(bench.our_steps(bench.our_learner(task, 8, 8, 4, 1), images, 8, 3)())
    theirs = np.asarray(bench.torch_steps(task, images, 8, 3, 8, 4, 1, 0)())
    chex.assert_shape([ours, theirs], (3,))
    low, high = {"simclr": (1.5, 3.5), "dino": (1, 15), "mae": (0.1, 6)}[task]
    for losses in (ours, theirs):
        assert low < losses.min() <= losses.max() < high, (ours, theirs)


@pytest.mark.slow
def test_the_encoder_sees_a_quarter():
    """Of 64 patches 16 and the class token: 17 of 65 tokens, and the attention among them a fifteenth."""
    share = bench.flops_share(bench.our_mae(8, 4, 2), 2, 32)
    assert 0.15 < share < 0.45


def test_k_means_agrees_with_the_peer():
    calls = bench.kmeans_calls(200, 4, 5)
    assert float(calls["ours"]()) == pytest.approx(float(calls["sklearn"]()), rel=1e-4)


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="tasks=moco: unknown; allowed: simclr, dino, mae, kmeans"):
        bench.measure(tasks=("moco",))

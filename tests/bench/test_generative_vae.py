"""Ours and the peers' take the same steps: all losses fall from that of a guess."""

import chex
import numpy as np
import pytest

from experiments.bench.generative_vae import LEAST, flax_steps, measure, our_steps, torch_batches, torch_steps


def check_that_it_learns(steps, **options):
    """All pixels are 0 or 1 and alike in each image: from above 16 ln 2 = 11.1 nats to less; one bit is ln 2."""
    images = np.broadcast_to((np.arange(64) % 2).astype(np.float32)[:, None, None, None], (64, 4, 4, 1)).copy()
    losses = np.asarray(steps(images, 16, 32, 200, **options)())
    assert 10 < losses[0] < 20
    assert losses[-10:].mean() < 8


@pytest.mark.slow
@pytest.mark.parametrize("steps", [our_steps, flax_steps])
def test_steps_learn_the_images(steps):
    check_that_it_learns(steps)


def test_steps_of_pytorch_learn_the_images():
    pytest.importorskip("torch")
    check_that_it_learns(torch_steps)


def test_the_loader_gives_all_images_in_another_order():
    pytest.importorskip("torch")
    images = np.float32(np.arange(32).reshape(32, 1, 1, 1) / 255 + np.zeros((32, 4, 4, 1)))
    data = torch_batches(images, 8)
    rows = np.concatenate([next(data).numpy() for _ in range(4)])
    chex.assert_shape(rows, (32, 1, 4, 4))
    assert (rows.ravel() != images.ravel()).any()
    np.testing.assert_allclose(np.sort(rows.ravel()), np.sort(images.ravel()), atol=1e-7)
    check_that_it_learns(torch_steps, loader=True)


@pytest.mark.weekly
def test_a_small_run_reports_all_peers():
    result = measure(num_steps=2, batch_size=4, hidden=8, side=4, num_repeats=1, least_seconds=0.0)
    peers = [name for name in ("flax", "torch", "example") if f"vae, {name}: steps/s" in result.numbers]
    assert "flax" in peers
    speeds = {name: result.numbers[f"vae, {name} over ours"] for name in peers}
    assert result.holds == all(speeds[name] >= least for name, least in LEAST.items() if name in speeds)
    assert "x flax (claimed 1x)" in result.verdict

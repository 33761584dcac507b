"""Ours and PyTorch's prototypical networks have the same loss with the same weights on the same episode."""

import chex
import jax
import numpy as np
import pytest

from dlcore.data.episodes import episodes
from dlcore.data.stroke_characters import stroke_characters
from experiments.bench import few_shot as bench


@pytest.mark.weekly
def test_a_turn_trains_on_all_episodes():
    drawn = episodes(stroke_characters(range(6)), 4, way=3, shot=2, query=2)
    for per_step, steps, in_turn in ((4, 1, False), (2, 2, False), (2, 2, True)):
        run = bench.our_steps(bench.our_learner(4, per_step if in_turn else 1), drawn, per_step, in_turn)
        losses = np.asarray([run() for _ in range(5)])
        chex.assert_shape(losses, (5, steps))
        assert losses[-1].mean() < losses[0].mean()


def test_both_have_the_same_loss():
    torch = pytest.importorskip("torch")
    drawn = episodes(stroke_characters(range(6)), 2, way=3, shot=2, query=3)
    learner, batch = bench.our_learner(4), drawn[np.arange(1)]
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    net = bench.torch_network(4)
    convolutions = [layer for layer in net if isinstance(layer, torch.nn.Conv2d)]
    for i, layer in enumerate(convolutions):
        kernel = np.asarray(state.params[f"conv{i}"]["kernel"])
        layer.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
    images = np.concatenate([batch["support"][0], batch["query"][0]], 1).transpose(0, 1, 4, 2, 3)
    theirs = bench.torch_loss(net.train(), torch.tensor(images), 2).item()
    ours = float(jax.jit(learner.update)(state, batch)[1]["loss"].total)
    assert ours == pytest.approx(theirs, rel=1e-4)

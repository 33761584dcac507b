"""SupCon: one update by hand, SimCLR's loss where all labels differ, and the labels that its page keeps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import nt_xent_loss
from dlcore.self_supervised import supcon
from tests import siamese_toys as toys


def learner(norm=False):
    return supcon.learner(**toys.settings(norm), temperature=0.5)


@pytest.mark.covers("SS-39")
def test_one_update_by_hand(monkeypatch):
    """Labels 0 1 0 2, and padding of label 1, which is nobody's positive."""
    labels = np.array([0, 1, 0, 2, 1], np.int32)
    monkeypatch.setitem(toys.ROWS, "label", labels)
    params = toys.weights(1)
    built = learner()
    state = toys.state_of(built, params=params)
    views, label = toys.views(state), np.tile(labels[:4], 2)

    def loss(params):
        z = toys.unit_rows(np.concatenate([v @ params["w"] for v in views]))
        losses = []
        for i in range(8):
            scores = {k: z[i] @ z[k] / 0.5 for k in range(8) if k != i}
            log_total = np.log(sum(np.exp(list(scores.values()))))
            losses.append(-np.mean([scores[k] - log_total for k in scores if label[k] == label[i]]))
        return np.mean(losses)

    toys.check_update(built, state, params, loss, still=("q",))


@pytest.mark.covers("SS-39")
def test_with_labels_that_all_differ_it_is_simclr():
    a, b = (np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32) for seed in (0, 1))
    losses, simclr = jax.jit(lambda: (supcon.supcon_losses(a, b, jnp.arange(4), 0.5), nt_xent_loss(a, b, 0.5)))()
    assert losses.mean() == pytest.approx(float(simclr), rel=1e-6)


def test_its_page_keeps_the_labels_and_says_so():
    from experiments.self_supervised.supcon import experiment

    (measures,) = experiment.measures
    assert measures.wrap(built := learner(), None) is built
    assert dataclasses.replace(measures, uses_labels=False).wrap(built, None) is not built


@pytest.mark.weekly
@pytest.mark.covers("SS-39")
@pytest.mark.parametrize(("spmd", "norm"), [("jit", True), ("pmap", True)])
def test_eight_devices_equal_one(spmd, norm):
    toys.check_eight_devices(learner, spmd, norm, label=np.arange(32, dtype=np.int32) % 3)

"""NNCLR: one update by hand, the support set, and queues that are too short."""

import jax
import numpy as np
import pytest

from dlcore.experiment.resolve import resolve
from dlcore.self_supervised import nnclr
from dlcore.setting import FlagError
from tests import siamese_toys as toys


def learner(norm=False, rate=toys.RATE, queue_size=7):
    return nnclr.learner(**toys.settings(norm, rate), queue_size=queue_size, temperature=0.5)


@pytest.mark.covers("SS-39")
def test_one_update_by_hand():
    """A queue of seven whose oldest is the fifth: four first views replace 5, 6, 0 and 1, padding none."""
    params = toys.weights(2)
    built = learner()
    queue = toys.unit_rows(np.random.default_rng(3).normal(size=(7, 3)))
    state = toys.state_of(built, params=params, queue=queue).replace(pointer=np.int32(5))
    views = toys.views(state)
    neighbors = [queue[(toys.unit_rows(v @ params["w"]) @ queue.T).argmax(-1)] for v in views]
    assert len(np.unique(np.concatenate(neighbors), axis=0)) > 2

    def loss(params):
        total = 0
        for own, other in ((0, 1), (1, 0)):
            predictions = toys.unit_rows(views[other] @ params["w"] @ params["q"])
            total += -np.diag(toys.log_softmax(neighbors[own] @ predictions.T / 0.5)).mean() / 2
        return total

    hits = []
    for own, other in ((0, 1), (1, 0)):
        scores = neighbors[own] @ toys.unit_rows(views[other] @ params["w"] @ params["q"]).T
        hits.append(scores.argmax(-1) == np.arange(4))
    assert 0 < np.mean(hits) < 1
    after = toys.check_update(built, state, params, loss, accuracy=np.mean(hits))
    first = toys.unit_rows(toys.views(state, 5)[0] @ params["w"])
    np.testing.assert_allclose(after.queue, np.concatenate([first[2:4], queue[2:5], first[:2]]), atol=1e-5)
    assert after.pointer == 2


@pytest.mark.covers("SS-39")
def test_neighbors_are_the_rows_of_the_largest_cosine():
    queue = np.eye(3, dtype=np.float32)
    neighbors = nnclr.nearest_neighbors(queue, np.array([[0.1, 0.5, 0.2], [-1, -2, -3]], np.float32))
    np.testing.assert_array_equal(neighbors, queue[[1, 0]])


def test_a_queue_shorter_than_a_batch_is_refused():
    built = learner(queue_size=4)
    with pytest.raises(ValueError, match="queue_size=4: smaller than a batch; allowed: at least 5"):
        jax.eval_shape(built.update, toys.state_of(built), toys.ROWS)
    from experiments.self_supervised.nnclr import experiment

    with pytest.raises(FlagError, match="--queue_size=10: smaller than a batch; allowed: at least 128"):
        experiment.run(resolve(experiment, ["--queue_size=10"])).check()


@pytest.mark.weekly
@pytest.mark.covers("SS-39")
@pytest.mark.parametrize(("spmd", "norm"), [("jit", True), ("pmap", True)])
def test_eight_devices_equal_one(spmd, norm):
    toys.check_eight_devices(lambda norm: learner(norm, queue_size=20), spmd, norm)


def test_an_evaluation_by_hand():
    """The neighbors of both views in the queue, and how alike the embeddings of the views are."""
    built, params = learner(queue_size=5), toys.weights(1)
    queue = toys.unit_rows(np.random.default_rng(3).normal(size=(5, 3)))
    state = toys.state_of(built, params=params, queue=queue)
    views = toys.views(state, evaluates=True)
    embeddings = [toys.unit_rows(v @ params["w"]) for v in views]
    expected = 0
    for own, other in ((0, 1), (1, 0)):
        neighbors = queue[(embeddings[own] @ queue.T).argmax(-1)]
        predictions = toys.unit_rows(views[other] @ params["w"] @ params["q"])
        expected += -np.diag(toys.log_softmax(neighbors @ predictions.T / 0.5)).mean() / 2
    metrics, (value, _) = jax.jit(lambda s: (built.evaluate(s, toys.ROWS), built.loss(s.params, s, toys.ROWS)))(state)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert metrics["loss"].compute() == pytest.approx(expected, rel=1e-5)
    squared = np.square(embeddings[0] - embeddings[1]).sum(-1).mean()
    assert metrics["alignment"].compute() == pytest.approx(squared, rel=1e-5)

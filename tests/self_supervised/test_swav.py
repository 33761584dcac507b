"""SwAV: an update by hand, the queues, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.self_supervised import swav
from tests import prototype_toys, siamese_toys
from tests.passes import PASSED, passes
from tests.prototype_toys import embeddings, log_softmax
from tests.siamese_toys import ROWS, unit_rows


def learner(**kwargs):
    settings = {"augment": prototype_toys.large, "local_crops": 1, "queue_size": 7, "epsilon": 0.4, **kwargs}
    return swav.learner(
        model=prototype_toys.Cosines(),
        optimizer=optax.sgd(siamese_toys.RATE),
        augment_local=prototype_toys.small,
        temperature=0.5,
        **settings,
    )


@pytest.mark.covers("SS-32")
def test_one_update_by_hand():
    """Four images, a full queue of seven whose oldest is the sixth; the prototypes learn at a quarter."""
    prepared = {"preprocess": lambda images: 3 * images, "normalize": lambda images: images - 0.2}
    params, built = prototype_toys.weights(1), learner(last_layer=lambda step: step / 12, **prepared)
    queue = unit_rows(np.random.default_rng(3).normal(size=(2, 7, 3)))
    state = siamese_toys.state_of(built, params=params, queue=queue)
    state = state.replace(pointer=np.int32(5), filled=np.int32(7), model_state=PASSED)
    crops = [2 * ROWS["image"] - 0.1, 2 * ROWS["image"] - 0.1, ROWS["image"][:, :1] - 0.2]

    def scores(params, crop):
        return embeddings(params, crop)[:4] @ unit_rows(params["prototypes"]).T

    old = [queue[t] @ unit_rows(params["prototypes"]).T for t in range(2)]
    codes = [prototype_toys.sinkhorn(np.concatenate([scores(params, crops[t]), old[t]]), 0.4, 3)[:4] for t in range(2)]
    assert np.abs(codes[0] - codes[1]).max() > 1e-3  # the two queues differ

    def loss(params):
        pairs = [(t, v) for t in range(2) for v in range(3) if t != v]
        return np.mean([-(codes[t] * log_softmax(scores(params, crops[v]) / 0.5)).sum(-1).mean() for t, v in pairs])

    (after, metrics), predicted = jax.jit(lambda s: (built.update(s, ROWS), built.predict(s, ROWS)))(state)
    np.testing.assert_allclose(predicted["features"], prototype_toys.features(3 * ROWS["image"]), rtol=1e-5)
    assert metrics["loss"].compute() == pytest.approx(loss(params), rel=1e-5)
    entropy = -np.mean([(q * np.log(q)).sum(-1).mean() for q in codes]) / np.log(4)
    assert metrics["code_entropy"].compute() == pytest.approx(entropy, rel=1e-4)
    mean = np.exp(log_softmax(scores(params, crops[0]) / 0.5)).mean(0)
    assert metrics["usage"].compute() == pytest.approx(-(mean * np.log(mean)).sum() / np.log(4), rel=1e-4)
    rate = siamese_toys.RATE
    prototype_toys.check_descent(after, params, loss, {"w": rate, "prototypes": rate / 4})
    for t in range(2):
        new = embeddings(params, crops[t])
        np.testing.assert_allclose(after.queue[t], np.concatenate([new[2:4], queue[t, 2:5], new[:2]]), atol=1e-5)
    assert (after.pointer, after.filled) == (2, 7)  # the fifth row is padding
    assert passes(after.model_state) == 3 + 2  # of the large crops and of the small ones


@pytest.mark.covers("SS-32")
def test_the_queue_shares_the_codes_only_where_it_is_used():
    scores = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    queue = np.random.default_rng(1).normal(size=(2, 5, 3)).astype(np.float32)
    assign = jax.jit(lambda uses_queue: swav.swav_codes(scores, queue, np.ones(4, np.float32), uses_queue, 0.5))
    alone = assign(False)
    np.testing.assert_allclose(alone[1], prototype_toys.sinkhorn(scores[1], 0.5, 3), atol=1e-5)
    both = assign(True)
    expected = prototype_toys.sinkhorn(np.concatenate([scores[1], queue[1]]), 0.5, 3)[:4]
    np.testing.assert_allclose(both[1], expected, atol=1e-5)


@pytest.mark.covers("SS-32")
def test_an_evaluation_uses_a_full_queue_from_its_first_step_on():
    """The two large crops of an image are alike here, so the loss is H(q, p) of one crop with the codes q of each."""
    params, queue = prototype_toys.weights(1), unit_rows(np.random.default_rng(3).normal(size=(2, 7, 3)))
    built = learner(queue_start=4, local_crops=0)
    evaluate, state = jax.jit(built.evaluate), siamese_toys.state_of(built, params=params, queue=queue)
    scores = embeddings(params, 2 * ROWS["image"] + 0.1)[:4] @ unit_rows(params["prototypes"]).T
    for step, filled, uses_queue in ((4, 7, True), (3, 7, False), (4, 6, False)):
        old = queue @ unit_rows(params["prototypes"]).T if uses_queue else np.zeros((2, 0, 4))
        codes = [prototype_toys.sinkhorn(np.concatenate([scores, old[t]]), 0.4, 3)[:4] for t in range(2)]
        loss = -np.mean([(q * log_softmax(scores / 0.5)).sum(-1).mean() for q in codes])
        metrics = evaluate(state.replace(step=np.int32(step), filled=np.int32(filled)), ROWS)
        assert metrics["loss"].compute() == pytest.approx(loss, rel=1e-5)


def test_padding_does_not_fill_the_queues():
    """Three of five rows are images: two and three are in the queue of seven, and the pointer goes from 5 to 8 - 7."""
    state = siamese_toys.state_of(learner(queue_size=7)).replace(pointer=np.int32(5), filled=np.int32(2))
    after = swav._enqueue_crops(state, jnp.ones((2, 5, 3)), jnp.float32([1, 0, 1, 1, 0]))
    assert (int(after.filled), int(after.pointer)) == (5, 1)
    np.testing.assert_array_equal(after.queue.any(-1), [[True, False, False, False, False, True, True]] * 2)


def test_queues_and_batches_that_are_too_small():
    short = learner(queue_size=4)
    with pytest.raises(ValueError, match="queue_size=4: smaller than a batch; allowed: at least 5"):
        jax.eval_shape(short.update, siamese_toys.state_of(short), ROWS)
    none, rows = learner(queue_size=0), {name: value[:3] for name, value in ROWS.items()}
    with pytest.raises(ValueError, match=r"prototypes=4: more than the 3 examples .*or a larger batch or queue"):
        jax.eval_shape(none.update, siamese_toys.state_of(none), rows)
    from dlcore.experiment.resolve import resolve
    from dlcore.setting import FlagError
    from experiments.self_supervised.swav import experiment

    for words, message in (
        (["--queue_size=10"], "--queue_size=10: smaller than a batch; allowed: at least 64"),
        (["--head.outputs=600"], "--head.outputs=600: more prototypes than the 576 images .*allowed: at most 576"),
    ):
        with pytest.raises(FlagError, match=message):
            experiment.run(resolve(experiment, words)).check()


def test_arguments_out_of_range():
    with pytest.raises(ValueError, match=r"epsilon=0.0: .*allowed: "):
        learner(epsilon=0.0)


@pytest.mark.weekly
@pytest.mark.covers("SS-32")
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    siamese_toys.check_eight_devices(
        lambda norm: learner(queue_size=20, augment=lambda key, x: x + 0.3 * jax.random.normal(key, jnp.shape(x))),
        spmd,
        False,
    )

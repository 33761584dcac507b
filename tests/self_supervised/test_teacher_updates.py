"""One update of DINO and of MoCo on linear encoders of few numbers, written anew in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.self_supervised import dino, moco

RATE = 0.1
IMAGES = np.random.default_rng(0).normal(size=(3, 2, 2, 1)).astype(np.float32)
ROWS = {"image": IMAGES, "index": np.arange(3, dtype=np.int32), "mask": np.array([1, 1, 0], np.float32)}


def state_of(learner, **fields):
    """A state at step 3 with these fields and zeros elsewhere; nothing compiles."""
    shapes = jax.eval_shape(learner.init, jax.random.key(0), ROWS).replace(rng=None)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    return state.replace(step=np.int32(3), rng=jax.random.key(0), **jax.tree.map(np.float32, fields))


def slopes(loss, params):
    """The slope of loss(params) by central differences."""
    params, found = {name: np.asarray(v, np.float64) for name, v in params.items()}, {}
    for name, value in params.items():
        found[name] = np.zeros(value.shape)
        for at in np.ndindex(value.shape):
            move = np.zeros(value.shape)
            move[at] = 1e-6
            sides = [loss({**params, name: value + sign * move}) for sign in (1, -1)]
            found[name][at] = (sides[0] - sides[1]) / 2e-6
    return found


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


class Prototypes(nn.Module):
    """Logits: the mean of an image by a, by each prototype; elsewhere than in training, plus the number of passes."""

    @nn.compact
    def __call__(self, x, train=False):
        h = self.param("a", nn.initializers.ones, ()) * x.mean((1, 2))
        passes = self.variable("batch_stats", "passes", jnp.zeros, ())
        if train:
            passes.value += 1
        else:
            h += passes.value
        return {"features": h, "logits": h @ self.param("prototypes", nn.initializers.ones, (3, 1)).T}


@pytest.mark.covers("SS-18")
def test_one_update_of_dino_by_hand():
    """Cross-entropy of six pairs of crops; the prototypes learn at a quarter, the teacher keeps 0.9, the center 0.8.

    An evaluation draws the same crops. The student had 0.5 passes before, and the teacher 0.2.
    """
    learner = dino.learner(
        model=Prototypes(),
        optimizer=optax.sgd(RATE),
        augment=lambda key, image: 2 * image,
        augment_local=lambda key, image: image[:1],
        local_crops=2,
        teacher_momentum=lambda step: 0.3 * step,
        teacher_temperature=lambda step: step / 6,
        last_layer=lambda step: step / 12,
        student_temperature=0.4,
        center_momentum=0.8,
        preprocess=lambda images: images - 0.3,
        normalize=lambda images: images + 0.1,
    )
    student = {"a": 0.7, "prototypes": np.array([[1.0], [-0.5], [0.3]])}
    teacher = {"a": -1.2, "prototypes": np.array([[0.2], [0.9], [-0.4]])}
    center = np.array([0.1, -0.2, 0.3])
    state = state_of(learner, params=student, teacher_params=teacher, center=center).replace(
        model_state={"batch_stats": {"passes": np.float32(0.5)}},
        teacher_model_state={"batch_stats": {"passes": np.float32(0.2)}},
    )
    (after, metrics), evaluated, predicted = jax.jit(
        lambda s: (learner.update(s, ROWS), learner.evaluate(s, ROWS), learner.predict(s, ROWS))
    )(state)
    means = [2 * IMAGES.mean((1, 2)) + 0.1] * 2 + [IMAGES[:, :1].mean((1, 2)) + 0.1] * 2

    def logits(params, x, passes):
        return (params["a"] * x.astype(np.float64) + passes) @ np.asarray(params["prototypes"]).T

    taught = logits(teacher, means[0], 0.2)
    target = np.exp(log_softmax((taught - center) / 0.5))

    def loss(params, passes=0):
        pairs = [(t, s) for t in range(2) for s in range(4) if s != t]
        student = [log_softmax(logits(params, mean, passes) / 0.4) for mean in means]
        return np.mean([-(target * student[s]).sum(-1)[:2].mean() for _, s in pairs])

    entropy, used = -(target * np.log(target)).sum(-1)[:2].mean(), target[:2].mean(0)
    for measures, value in ((metrics, loss(student)), (evaluated, loss(student, 0.5))):
        assert {name: metric.compute() for name, metric in measures.items()} == pytest.approx(
            {
                "loss": value,
                "entropy": entropy / np.log(3),
                "kl": value - entropy,
                "usage": -(used * np.log(used)).sum() / np.log(3),
                "center_norm": 0.14**0.5,
            },
            rel=1e-5,
        )
    whole = IMAGES.mean((1, 2)) - 0.3
    np.testing.assert_allclose(predicted["features"], -1.2 * whole + 0.2, rtol=1e-4)
    np.testing.assert_allclose(predicted["untrained"], whole, rtol=1e-4)
    slope = slopes(loss, student)
    new = {"a": 0.7 - RATE * slope["a"], "prototypes": student["prototypes"] - RATE / 4 * slope["prototypes"]}
    for name, value in new.items():
        assert np.abs(value - student[name]).max() > 1e-3
        np.testing.assert_allclose(after.params[name], value, atol=1e-5)
        np.testing.assert_allclose(after.teacher_params[name], 0.9 * teacher[name] + 0.1 * value, atol=1e-5)
    np.testing.assert_allclose(after.center, 0.8 * center + 0.2 * taught[:2].mean(0), atol=1e-5)
    # One pass over the large crops and one over the small ones: 0.5 + 2, and 0.9 x 0.2 + 0.1 x 2.5.
    assert after.model_state["batch_stats"]["passes"] == pytest.approx(2.5)
    assert after.teacher_model_state["batch_stats"]["passes"] == pytest.approx(0.43)


class Direction(nn.Module):
    """An embedding of length 1 and two numbers: an image's first pixel and a times its last."""

    @nn.compact
    def __call__(self, x, train=False):
        a = self.param("a", nn.initializers.ones, ())
        h = jnp.stack([x[:, 0, 0, 0], a * x[:, 1, 1, 0]], -1)
        return {"features": h, "embeddings": h / jnp.linalg.norm(h, axis=-1, keepdims=True)}


@pytest.mark.covers("SS-15")
def test_one_update_of_moco_by_hand():
    """Each query against its key and a queue of six; the keys' encoder keeps 0.9, and the two keys are queued.

    An evaluation contrasts the same views with keys of the encoder before it moved.
    """
    learner = moco.learner(
        model=Direction(),
        optimizer=optax.sgd(RATE),
        augment=lambda key, image: image + 0.2,
        preprocess=lambda images: images + 0.3,
        queue_size=6,
        key_momentum=0.9,
        temperature=0.4,
    )
    angles = np.arange(6)
    queue = np.stack([np.cos(angles), np.sin(angles)], -1)
    state = state_of(learner, params={"a": 0.7}, key_params={"a": -1.2}, queue=queue).replace(pointer=np.int32(4))
    rows = {name: rows[:2] for name, rows in ROWS.items()}
    (after, metrics), evaluated = jax.jit(lambda s: (learner.update(s, rows), learner.evaluate(s, rows)))(state)
    x = IMAGES[:2].astype(np.float64) + 0.5

    def embed(a):
        h = np.stack([x[:, 0, 0, 0], a * x[:, 1, 1, 0]], -1)
        return h / np.linalg.norm(h, axis=-1, keepdims=True)

    moved = 0.9 * -1.2 + 0.1 * 0.7  # the keys' encoder moves before it encodes
    keys = embed(moved)

    def loss(params, keys=keys):
        own = (embed(params["a"]) * keys).sum(-1, keepdims=True)
        return -log_softmax(np.concatenate([own, embed(params["a"]) @ queue.T], -1) / 0.4)[:, 0].mean()

    assert metrics["loss"].compute() == pytest.approx(loss({"a": 0.7}), rel=1e-5)
    assert evaluated["loss"].compute() == pytest.approx(loss({"a": 0.7}, embed(-1.2)), rel=1e-5)
    # Both views of an image are alike, and so are their queries.
    assert evaluated["alignment"].compute() == pytest.approx(0, abs=1e-6)
    slope = slopes(loss, {"a": 0.7})["a"]
    assert abs(slope) > 0.01
    assert after.params["a"] == pytest.approx(0.7 - RATE * slope, abs=1e-5)
    assert after.key_params["a"] == pytest.approx(moved, rel=1e-6)
    # The pointer goes on from 4 around the end of the queue.
    np.testing.assert_allclose(after.queue, np.concatenate([queue[:4], keys]), atol=1e-5)
    assert after.pointer == 0

"""An update by hand, schedules and the center by arithmetic, two shapes of crops, and what does not learn."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.metrics import PrototypeUsage
from dlcore.models import create_model
from dlcore.optim.ema import cosine_momentum
from dlcore.run import Placement, fit, make_mesh
from dlcore.self_supervised import dino
from dlcore.self_supervised.networks import DINONet, unit


class Tiny(nn.Module):
    """A dense network on the mean pixel of a crop of any shape."""

    @nn.compact
    def __call__(self, x, train=False):
        h = nn.Dense(4, name="encoder")(jnp.concatenate([x.mean((1, 2)), x.max((1, 2))], -1))
        z = nn.Dense(3, name="head")(jnp.tanh(h))
        prototypes = self.param("prototypes", nn.initializers.normal(1.0), (6, 3))
        return {"features": h, "logits": unit(z) @ unit(prototypes).T}


def augment(key, image):
    return image + 0.3 * jax.random.normal(key, image.shape)


def local(key, image):
    return augment(key, image[:2, :2])


def toy(**kwargs):
    settings = {"local_crops": 2, "teacher_momentum": lambda step: 0.9, **kwargs}
    optimizer = optax.sgd(0.5)
    return dino.learner(model=Tiny(), optimizer=optimizer, augment=augment, augment_local=local, **settings)


def source(n=16):
    return Source({"image": np.random.default_rng(0).random((n, 4, 4, 1), np.float32)})


def plain(state):
    return jax.tree.map(np.asarray, state.replace(rng=jax.random.key_data(state.rng)))


@pytest.fixture(scope="module")
def started():
    learner, rows = toy(), source()[np.arange(6)]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    # So that the two networks differ and the center is somewhere.
    state = state.replace(params=jax.tree.map(lambda w: 1.2 * w + 0.1, state.params), center=jnp.arange(6.0) / 50)
    return learner, rows, state, jax.jit(learner.update)(state, rows)


@pytest.mark.slow
@pytest.mark.covers("SS-18")
def test_an_update_by_hand(started):
    _, rows, state, (after, metrics) = started
    keys = [jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.rng, 0), 0), i) for i in rows["index"]]
    views = [
        jnp.stack([fn(jax.random.fold_in(k, v), x) for k, x in zip(keys, rows["image"], strict=True)])
        for v, fn in enumerate((augment, augment, local, local))
    ]
    run = lambda params, x: Tiny().apply({"params": params}, x)["logits"]  # noqa: E731
    taught = [run(state.teacher_params, x) for x in views[:2]]

    def by_hand(params):
        pairs = []
        for t in range(2):
            for s in range(4):
                if s != t:
                    target = jax.nn.softmax((taught[t] - state.center) / 0.04)
                    pairs.append(-(target * jax.nn.log_softmax(run(params, views[s]) / 0.1)).sum(-1).mean())
        assert len(pairs) == 6
        return sum(pairs) / 6

    value, gradient = jax.jit(jax.value_and_grad(by_hand))(state.params)
    assert metrics["loss"].compute() == pytest.approx(float(value), rel=1e-5)
    want = jax.tree.map(lambda p, g: p - 0.5 * g, state.params, gradient)
    chex.assert_trees_all_close(after.params, want, atol=1e-5)
    average = jax.tree.map(lambda t, s: 0.9 * t + 0.1 * s, state.teacher_params, after.params)
    chex.assert_trees_all_close(after.teacher_params, average, rtol=1e-5)
    np.testing.assert_allclose(after.center, 0.9 * state.center + 0.1 * jnp.concatenate(taught).mean(0), rtol=1e-5)
    target = jax.nn.softmax((jnp.concatenate(taught) - state.center) / 0.04)
    entropy = -(target * jnp.log(target)).sum(-1).mean()
    assert metrics["entropy"].compute() == pytest.approx(float(entropy / jnp.log(6)), rel=1e-5)
    assert metrics["kl"].compute() == pytest.approx(float(value - entropy), rel=1e-4)
    mean = target.mean(0)
    assert metrics["usage"].compute() == pytest.approx(float(-(mean * jnp.log(mean)).sum() / jnp.log(6)), rel=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SS-18")
def test_the_teacher_gets_no_gradient_and_the_first_epoch_keeps_the_prototypes(started):
    _, rows, state, _ = started
    learner = toy(teacher_momentum=lambda step: 1.0, last_layer=lambda step: jnp.where(step < 1, 0.0, 1.0))
    update = jax.jit(learner.update)
    once, _ = update(state, rows)
    chex.assert_trees_all_equal(once.teacher_params, state.teacher_params)
    np.testing.assert_array_equal(once.params["prototypes"], state.params["prototypes"])
    twice, _ = update(once, rows)
    assert np.abs(twice.params["prototypes"] - once.params["prototypes"]).max() > 1e-5


@pytest.mark.covers("SS-18")
def test_the_schedule_and_the_center_by_arithmetic():
    momentum = cosine_momentum(0.996, 100)
    # 1 - .004 (1 + cos(pi t / 100)) / 2: .996, .998 in the middle, 1 at the end and after it
    np.testing.assert_allclose([momentum(t) for t in (0, 50, 100, 200)], [0.996, 0.998, 1, 1], rtol=1e-6)
    logits = jnp.asarray([[[1.0, 0], [3, 2], [99, 99]], [[5, 4], [7, 6], [99, 99]]])
    # the mean of both views of the two real examples is (4, 3)
    center = dino.updated_center(jnp.asarray([10.0, 20]), logits, jnp.asarray([1, 1, 0]), 0.9)
    np.testing.assert_allclose(center, [9.4, 18.3], rtol=1e-6)
    np.testing.assert_array_equal(dino.updated_center(center, logits, jnp.zeros(3), 0.9), center)


@pytest.mark.slow
@pytest.mark.covers("SS-18")
def test_a_logit_of_minus_infinity_has_no_probability_and_a_finite_loss():
    """Teacher and student choose evenly between the first two of three prototypes: cross-entropy and entropy log 2."""
    logits = np.array([0.0, 0.0, -np.inf], np.float32)
    teacher, student = np.tile(logits, (2, 1, 1)), np.tile(logits, (3, 1, 1))

    def loss(student):
        losses, entropy, _ = dino.dino_losses(teacher, student, jnp.zeros(3))
        return losses.sum(), entropy

    (value, entropy), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(student)
    np.testing.assert_allclose([value, *entropy], [np.log(2)] * 2, rtol=1e-6)
    # The student predicts what the teacher does.
    np.testing.assert_allclose(gradient, np.zeros((3, 1, 3)), atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("SS-18")
def test_metrics_tell_both_collapses(started):
    """A network with one output for all: usage 0; with uniform outputs: entropy 1, KL 0."""
    learner, rows, state, _ = started
    evaluate = jax.jit(learner.evaluate)
    flat = state.replace(
        params=jax.tree.map(jnp.zeros_like, state.params),
        teacher_params=jax.tree.map(jnp.zeros_like, state.teacher_params),
        center=jnp.zeros(6),
    )
    uniform = {k: v.compute() for k, v in evaluate(flat, rows).items()}
    assert uniform["entropy"] == pytest.approx(1, abs=1e-5)
    assert uniform["kl"] == pytest.approx(0, abs=1e-5)
    assert uniform["loss"] == pytest.approx(np.log(6), abs=1e-5)
    one = evaluate(flat.replace(center=-10 * jnp.eye(6)[0]), rows)
    assert one["usage"].compute() == pytest.approx(0, abs=1e-5)
    assert one["center_norm"].compute() == pytest.approx(10)


@pytest.mark.weekly
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    def run(placement):
        learner = toy(local_crops=1)
        return fit(learner, Pipeline(source(), 16), steps=2, placement=placement, progress=False).state

    one = run(Placement(make_mesh("data:1", jax.devices()[:1])))
    chex.assert_trees_all_close(plain(one), plain(run(Placement(make_mesh("data:8"), spmd=spmd))), atol=3e-6)


@pytest.mark.weekly
def test_a_vit_gives_its_class_token_and_takes_small_crops():
    model = create_model(
        "vit_tiny_cifar", image_size=8, patch_size=2, width=8, depth=1, num_heads=2, mlp_features=8, num_classes=0
    )
    net = DINONet(model, outputs=5, hidden_features=6, bottleneck=4)
    large, small = (jax.random.normal(jax.random.key(side), (2, side, side, 1)) for side in (8, 4))
    variables = net.init(jax.random.key(0), large)
    out, less = jax.jit(lambda *x: [net.apply(variables, x) for x in x])(large, small)
    chex.assert_shape([out["features"], less["features"]], (2, 8))
    assert np.abs(out["logits"]).max() <= 1 + 1e-6
    chex.assert_shape(less["logits"], (2, 5))


@pytest.mark.slow
def test_batch_norm_in_the_head_tells_features_apart_that_hardly_differ():
    class Alike(nn.Module):
        num_classes: int = 0

        @nn.compact
        def __call__(self, x, train=False):
            return 1 + 1e-3 * x

    def spread(batch_norm):
        net = DINONet(Alike(), outputs=5, hidden_features=16, bottleneck=4, batch_norm=batch_norm)
        x = jax.random.normal(jax.random.key(0), (8, 6))
        variables = net.init(jax.random.key(1), x)
        return net.apply(variables, x, train=True, mutable=["batch_stats"])[0]["logits"].std(0).mean()

    assert spread(False) < 0.01
    assert spread(True) > 0.1


def test_usage_does_not_depend_on_the_batches():
    """Two examples that choose one output each of two: the mean is (1/2, 1/2), usage 1; alone each would have 0."""
    parts = [PrototypeUsage(jnp.array([2.0, 0]), jnp.int32(2)), PrototypeUsage(jnp.array([0, 2.0]), jnp.int32(2))]
    assert [part.compute() for part in parts] == pytest.approx([0, 0], abs=1e-6)
    assert parts[0].merge(parts[1]).compute() == pytest.approx(1)
    assert parts[0].empty().compute() is None


def test_temperatures_are_above_zero():
    with pytest.raises(ValueError, match="teacher_temperature=0: out of range; allowed: above 0"):
        dino.dino_losses(jnp.ones((2, 1, 3)), jnp.ones((2, 1, 3)), jnp.zeros(3), 0.0, 0.1)

"""PointNet: bit-equal under permutation, padding without effect, T-Nets at the identity, and an update by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.learner import ModelState
from dlcore.vision3d import pointnet
from dlcore.vision3d.pointnet import _pool
from tests.passes import PASSED, count_pass, passes
from tests.told_sgd import told_sgd
from tests.wiring import assert_wiring

TINY = {
    "num_classes": 3,
    "widths": (8,),
    "features": (16,),
    "hidden": (8,),
    "transform_features": (8,),
    "transform_hidden": (4,),
}
MODEL = pointnet.PointNet(**TINY)
RNG = np.random.default_rng(0)
POINTS = jnp.asarray(RNG.normal(size=(2, 21, 3)), jnp.float32)


def randomized(variables):
    """Every leaf at random, so that T-Nets and statistics do something; variances positive."""
    leaves, structure = jax.tree.flatten(variables)
    rng = np.random.default_rng(1)
    return structure.unflatten([jnp.asarray(np.abs(rng.normal(0.3, 0.3, v.shape)), v.dtype) for v in leaves])


@pytest.fixture(scope="module")
def variables():
    return randomized(jax.eval_shape(lambda: MODEL.init(jax.random.key(0), POINTS, False)))


@pytest.fixture(scope="module")
def forward(variables):
    return jax.jit(lambda points, mask=None: MODEL.apply(variables, points, False, mask))


@pytest.mark.covers("TD-09")
def test_logits_are_bit_equal_under_permutation(forward):
    logits, known = forward(POINTS)
    assert np.ptp(np.asarray(logits)) > 0.1
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(21)
        permuted, known_permuted = forward(POINTS[:, order])
        np.testing.assert_array_equal(permuted, logits)
        # The same points attain the maxima.
        first, second = (
            jnp.take_along_axis(p, k["critical"][..., None], 1)
            for p, k in ((POINTS, known), (POINTS[:, order], known_permuted))
        )
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
@pytest.mark.covers("TD-09")
def test_only_the_critical_points_count(forward):
    logits, known = forward(POINTS[:1])
    critical = np.unique(known["critical"][0])
    assert len(critical) < 21
    # All others become copies of a critical point; T-Nets look at other points, so that they are fixed here.
    plain = pointnet.PointNet(**TINY, input_transform=False, feature_transform=False)
    weights = randomized(jax.eval_shape(lambda: plain.init(jax.random.key(0), POINTS, False)))
    run = jax.jit(lambda p: plain.apply(weights, p, False))
    logits, known = run(POINTS[:1])
    keep = np.isin(np.arange(21), np.asarray(known["critical"][0]))
    kept = jnp.where(keep[None, :, None], POINTS[:1], POINTS[:1, keep.argmax()][:, None])
    assert 0 < keep.sum() < 21
    np.testing.assert_array_equal(run(kept)[0], logits)


def test_padding_has_no_effect(forward):
    padded = jnp.concatenate([POINTS, jnp.full((2, 4, 3), jnp.nan)], 1)
    mask = jnp.concatenate([jnp.ones((2, 21)), jnp.zeros((2, 4))], 1)
    np.testing.assert_allclose(forward(padded, mask)[0], forward(POINTS)[0], rtol=1e-6)


def test_the_pool_of_a_set_is_its_largest_point_and_zero_without_points():
    x = jnp.array([[0.5, 0.2], [0.1, 0.7], [9, 9], [3, 3], [3, 3], [3, 3]])
    values, index = _pool(x, 2, jnp.array([[1, 1, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(values, np.array([[0.5, 0.7], [0, 0]], np.float32))
    np.testing.assert_array_equal(index[0], [0, 1])


@pytest.mark.slow
def test_padding_has_no_part_in_batch_statistics(variables):
    padded = jnp.concatenate([POINTS, jnp.full((2, 4, 3), 1e3)], 1)
    mask = jnp.concatenate([jnp.ones((2, 21)), jnp.zeros((2, 4))], 1)
    model = pointnet.PointNet(**TINY, dropout=0.0)

    @jax.jit
    def statistics(points, mask):
        return model.apply(variables, points, True, mask, mutable=["batch_stats"])[1]

    for a, b in zip(*map(jax.tree.leaves, (statistics(POINTS, None), statistics(padded, mask))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.covers("TD-09")
def test_transforms_start_at_the_identity_and_are_penalized_off_it():
    net = pointnet.TransformNet(3, (4,), (2,))
    first = jax.jit(lambda x: net.init_with_output(jax.random.key(0), x, 2, False)[0])(POINTS.reshape(-1, 3))
    np.testing.assert_array_equal(first, np.broadcast_to(np.eye(3), (2, 3, 3)))
    # A = 2 I of 3 rows: I - A Aᵀ = -3 I, squared 9 for each of 3; a rotation costs nothing.
    angle = 0.3
    turn = jnp.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    got = pointnet.orthogonality_penalty(jnp.stack([2 * jnp.eye(3), turn]))
    np.testing.assert_allclose(got, [27, 0], atol=1e-6)


@pytest.mark.slow
def test_augmentation_turns_about_the_vertical_axis():
    key, points, mask = jax.random.key(3), POINTS[0], jnp.arange(21) % 2

    @jax.jit
    def augmented():
        turned = [pointnet.augment_points(key, points, rotation=360.0, up=up, jitter=0.0)[0] for up in "zy"]
        moved, _ = pointnet.augment_points(key, points, rotation=0.0, jitter=0.02)
        subset = pointnet.augment_points(key, points, mask, num_points=10, rotation=0.0, jitter=0.0)
        noise, _ = pointnet.augment_points(key, jnp.zeros((4000, 3)), rotation=0.0, jitter=0.02)
        some, _ = pointnet.augment_points(key, points, num_points=20, rotation=0.0, jitter=0.0)
        turn = 2 * jnp.pi * (jax.random.uniform(jax.random.split(key, 3)[1]) - 0.5)
        return turned, moved, subset, noise, some, turn

    both, moved, (_, chosen), noise, some, turn = augmented()
    np.testing.assert_allclose(both[0][:, 0], np.cos(turn) * points[:, 0] - np.sin(turn) * points[:, 1], atol=1e-5)
    assert 0.049 < noise.max() <= 0.05 + 1e-6
    assert -0.049 > noise.min() >= -0.05 - 1e-6
    chex.assert_shape(some, (20, 3))
    for turned, fixed in zip(both, (2, 1), strict=True):
        np.testing.assert_array_equal(turned[:, fixed], points[:, fixed])
        np.testing.assert_allclose(jnp.linalg.norm(turned, axis=1), jnp.linalg.norm(points, axis=1), rtol=1e-5)
        # A rotation, not a mirror: x × y stays on the same side.
        assert float(jnp.linalg.det(turned[:3])) == pytest.approx(float(jnp.linalg.det(points[:3])), rel=1e-4)
    assert 0.005 < float(jnp.abs(moved - points).mean()) < 0.03
    assert float(jnp.abs(moved - points).max()) <= 0.05 + 1e-6
    # The subset takes what counts before padding.
    np.testing.assert_array_equal(chosen, 1)


@pytest.mark.slow
def test_an_update_lowers_the_loss_and_keeps_dtypes():
    points = POINTS.astype(jnp.float16)
    batch = {"points": points, "label": jnp.array([0, 2]), "index": jnp.arange(2)}
    model = pointnet.PointNet(**TINY, dropout=0.0)
    learner = pointnet.learner(model=model, optimizer=optax.adam(0.01), rotation=0.0, jitter=0.0, num_points=16)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    first = float(jax.jit(learner.loss)(state.params, state, batch)[0])
    update = jax.jit(learner.update)
    for _ in range(30):
        state, metrics = update(state, batch)
    assert float(metrics["loss"].compute()) < first / 2
    outputs = jax.jit(learner.predict)(state, batch)
    chex.assert_shape(outputs["critical"], (2, 16))
    np.testing.assert_allclose(outputs["probabilities"].sum(-1), 1, rtol=1e-5)


def test_training_alone_drops_and_every_function_reads_the_points_asked_for():
    """Three of five points and of their mask; without a number all of them, and no mask where there is none."""
    calls = []

    class Noted(nn.Module):
        @nn.compact
        def __call__(self, points, train=False, mask=None):
            calls.append((train, self.has_rng("dropout"), points.shape, None if mask is None else mask.shape))
            self.variable("batch_stats", "mean", jnp.zeros, ())
            logits = points.sum(1) * self.param("scale", nn.initializers.ones, ())
            return logits, {"critical": jnp.zeros((len(points), 4), jnp.int32)}

    batch = {"points": np.zeros((2, 5, 3)), "label": np.zeros(2, np.int32), "index": np.arange(2)}
    few, whole = (pointnet.learner(model=Noted(), optimizer=optax.sgd(0.1), num_points=n) for n in (3, None))
    state = jax.eval_shape(few.init, jax.random.key(0), batch)
    calls.clear()
    masked = batch | {"point_mask": np.ones((2, 5), np.int32)}
    after, metrics = jax.eval_shape(few.update, state, masked)
    assert calls == [(True, True, (2, 3, 3), (2, 3))]
    assert (set(after.model_state), set(metrics)) == ({"batch_stats"}, {"loss", "accuracy"})
    calls.clear()
    jax.eval_shape(lambda state, batch: few.loss(state.params, state, batch), state, masked)
    jax.eval_shape(few.evaluate, state, masked)
    outputs = jax.eval_shape(whole.predict, state, batch)
    assert calls == [(False, False, (2, 3, 3), (2, 3))] * 2 + [(False, False, (2, 5, 3), None)]
    assert {name: x.shape for name, x in outputs.items()} == {
        "logits": (2, 3), "probabilities": (2, 3), "critical": (2, 4)
    }  # fmt: skip
    assert whole.classes(state, batch) == {"label": 3}


class Means(nn.Module):
    """Scores of two classes from the mean of the points that count, and the transform s I."""

    @nn.compact
    def __call__(self, points, train=False, mask=None):
        count_pass(self, train)
        w, s = self.param("w", nn.initializers.ones, (3, 2)), self.param("s", nn.initializers.ones, ())
        mean = (points * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return mean @ w, {"transform": jnp.broadcast_to(s * jnp.eye(3), (len(points), 3, 3))}


def test_one_update_by_hand():
    """Smoothed entropies of two sets, the third is masked, and 0.3 |I - s^2 I|^2 = 0.9 (1 - s^2)^2."""
    learner = pointnet.learner(
        model=Means(), optimizer=told_sgd(0.1), rotation=0.0, jitter=0.0, orthogonality=0.3, label_smoothing=0.2
    )
    rng, label = np.random.default_rng(0), np.array([1, 0, 1])
    points, point_mask = rng.normal(size=(3, 4, 3)).astype(np.float32), np.array([[1, 1, 0, 0], [1] * 4, [1, 0, 0, 0]])
    batch = {"points": points, "point_mask": point_mask, "label": label, "mask": np.array([1, 1, 0])}
    params = {"w": rng.normal(size=(3, 2)).astype(np.float32), "s": np.float32(1.2)}
    state = ModelState(np.int32(0), jax.random.key(0), params, optax.sgd(0.1).init(params), PASSED)
    after, metrics = jax.jit(learner.update)(state, batch | {"index": np.arange(3)})
    x = np.stack([points[0, :2].mean(0), points[1].mean(0)])
    p = np.exp(x @ params["w"])
    p /= p.sum(1, keepdims=True)
    target = 0.8 * np.eye(2)[label[:2]] + 0.1
    np.testing.assert_allclose(after.params["w"], params["w"] - 0.1 * x.T @ (p - target) / 2, rtol=1e-4, atol=1e-6)
    assert after.params["s"] == pytest.approx(1.2 - 0.1 * 0.9 * 4 * 1.2 * (1.2**2 - 1), rel=1e-4)
    assert (passes(after.model_state), int(after.step)) == (3 + 1, 1)
    assert metrics["loss"].compute() == pytest.approx(-(target * np.log(p)).sum(1).mean(), rel=1e-5)
    assert metrics["orthogonality"].compute() == pytest.approx(3 * 0.44**2, rel=1e-4)


def test_bad_settings_are_one_clear_line():
    with pytest.raises(ValueError, match=r"rotation=400.0: out of range; allowed: at least 0, at most 360"):
        pointnet.learner(model=MODEL, optimizer=optax.sgd(1.0), rotation=400.0)


def test_the_wiring_of_pointnet_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(MODEL, (2, 6, 3), [280.825, -63.3111], train=False)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_whole_numbers_are_turned_as_float32(dtype):
    points = np.array([[10, 0, 0], [0, 7, 1]], dtype)
    for settings in ({"jitter": 0.0}, {"jitter": 0.1}):
        got, _ = pointnet.augment_points(jax.random.key(0), points, **settings)
        expected, _ = pointnet.augment_points(jax.random.key(0), points.astype(np.float32), **settings)
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_allclose(np.linalg.norm(got[:, :2], axis=1), [10, 7], atol=0.5)
    assert np.abs(got - np.round(got)).max() > 0.01

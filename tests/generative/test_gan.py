"""One step by hand, the two losses where the discriminator is sure, the game's value at its optimum, and the ring."""

import chex
import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.generative import dcgan, gan
from dlcore.learner import example_keys
from dlcore.optim import create_optimizer
from dlcore.run import Placement, Saving, fit, make_mesh


class Shift(nn.Module):
    """G(z) = z + shift."""

    @nn.compact
    def __call__(self, z, train=False):
        return z + self.param("shift", nn.initializers.zeros, z.shape[-1:])


class Line(nn.Module):
    """logit = w x + b."""

    w: float = 0.0
    b: float = 0.0

    @nn.compact
    def __call__(self, x, train=False):
        w = self.param("w", nn.initializers.constant(self.w), x.shape[-1:])
        return x @ w + self.param("b", nn.initializers.constant(self.b), ())


def points(n=16, seed=0, mean=0.0):
    rows = np.random.default_rng(seed).normal(mean, 1, (n, 2)).astype(np.float32)
    return {"point": rows, "index": np.arange(n, dtype=np.int32)}


def toy(rate=0.1, w=0.0, b=0.0, **settings):
    learner = gan.learner(
        generator=Shift(),
        discriminator=Line(w, b),
        encode=lambda batch: batch["point"],
        decode=lambda x: x,
        generator_optimizer=optax.sgd(rate),
        discriminator_optimizer=optax.sgd(rate),
        latent_dim=2,
        **settings,
    )
    return learner._replace(**{name: jax.jit(getattr(learner, name)) for name in learner._fields[:4]})


@pytest.mark.covers("GE-13")
def test_one_step_by_hand():
    """D ascends on real and fake, then G descends against the new D, on new noise; the average of G is measured.

    Of six examples the last two are padding. The average moves by 1 - 1/10 at the first step.
    """
    learner, rows = toy(rate=0.5, w=0.3, b=-0.2, ema=0.95), points(6)
    rows["mask"] = np.float32([1, 1, 1, 1, 0, 0])

    @jax.jit
    def run():
        state = learner.init(jax.random.key(0), rows)
        rng = jax.random.fold_in(state.rng, 0)
        keys = [example_keys(key, rows) for key in (*(jax.random.fold_in(rng, i) for i in (0, 1)), rng)]
        z = [jax.vmap(lambda key: jax.random.normal(key, (2,)))(key) for key in keys]
        after, metrics = learner.update(state, rows)
        return z, after, metrics, learner.evaluate(after, rows), learner.predict(after, rows)["sample"]

    (z0, z1, shown), after, metrics, measured, sample = jax.device_get(run())
    z0, z1, x, w, b = z0[:4], z1[:4], rows["point"][:4], np.full(2, 0.3), -0.2

    def d(x, w, b):
        return 1 / (1 + np.exp(-(x @ w + b)))

    def played(real, fake):
        return {"d_real": real.mean(), "d_fake": fake.mean(), "loss": -(np.log(real) + np.log(1 - fake)).mean()}

    real, fake = d(x, w, b), d(z0, w, b)
    expected = played(real, fake)
    w = w - 0.5 * (-(1 - real) @ x + fake @ z0) / 4
    b = b - 0.5 * (-(1 - real) + fake).mean()
    np.testing.assert_allclose(after.params["discriminator"]["w"], w, rtol=1e-5)
    np.testing.assert_allclose(after.params["discriminator"]["b"], b, rtol=1e-5)
    shift = -0.5 * -(1 - d(z1, w, b)).mean() * w
    np.testing.assert_allclose(after.params["generator"]["shift"], shift, rtol=1e-4)
    expected |= {"d_loss": expected.pop("loss"), "g_loss": -np.log(d(z1, w, b)).mean()}
    assert {name: metric.compute() for name, metric in metrics.items()} == pytest.approx(expected, rel=1e-5)
    assert int(after.step) == 1
    np.testing.assert_allclose(sample, shown + 0.9 * shift, rtol=1e-4)
    expected = played(d(x, w, b), d(sample[:4], w, b))
    expected["value"] = -expected.pop("loss")
    assert {name: metric.compute() for name, metric in measured.items()} == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_game_is_evaluated_by_hand_and_rows_without_mask_have_no_part():
    learner, rows = toy(rate=0.5, w=0.3, b=-0.2), points()
    padded = {name: np.concatenate([x, 9 + x[:4]]) for name, x in rows.items()} | {"mask": np.arange(20) < 16}
    state = learner.init(jax.random.key(0), rows)
    fake = learner.predict(state, rows)["sample"]
    real, fake = (1 / (1 + np.exp(0.2 - 0.3 * x.sum(1))) for x in (rows["point"], np.asarray(fake)))
    expected = {"value": (np.log(real) + np.log(1 - fake)).mean(), "d_real": real.mean(), "d_fake": fake.mean()}
    for batch in (rows, padded):
        metrics = {name: value.compute() for name, value in learner.evaluate(state, batch).items()}
        assert metrics == pytest.approx(expected, rel=1e-5)
    (alone, metrics), (after, of_padded) = learner.update(state, rows), learner.update(state, padded)
    chex.assert_trees_all_close(after.params, alone.params, rtol=1e-5)
    chex.assert_trees_all_close(of_padded, metrics, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("GE-13")
def test_at_the_optimum_the_value_is_minus_log_four_and_nothing_moves():
    """p_G = p_data and D = 1/2: V = -log 4, and on average no player gains."""
    learner, rows = toy(rate=1.0), points(4096)
    state = learner.init(jax.random.key(0), rows)
    metrics = learner.evaluate(state, rows)
    assert metrics["value"].compute() == pytest.approx(-1.386294, abs=1e-6)
    assert metrics["d_real"].compute() == pytest.approx(0.5)
    assert metrics["d_fake"].compute() == pytest.approx(0.5)
    after, _ = learner.update(state, rows)
    for leaf, old in zip(jax.tree.leaves(after.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(leaf, old, atol=0.05)


@pytest.mark.slow
@pytest.mark.covers("GE-14")
def test_against_a_sure_discriminator_only_the_non_saturating_generator_moves():
    # Logits near -8 on fake samples: D = 3e-4. Slopes by the logit are -3e-4 (minimax) and -1.
    moved = {}
    for loss in ("minimax", "non_saturating"):
        learner, rows = toy(rate=1e-3, w=1.0, b=-8.0, loss=loss), points()
        after, _ = learner.update(learner.init(jax.random.key(0), rows), rows)
        moved[loss] = np.asarray(after.params["generator"]["shift"])
    assert (moved["minimax"] > 0).all()
    np.testing.assert_allclose(moved["non_saturating"], 1e-3, rtol=0.05)
    assert (moved["non_saturating"] > 200 * moved["minimax"]).all()


@pytest.mark.slow
@pytest.mark.covers("GE-13")
def test_the_generator_finds_the_data():
    learner = toy(rate=0.1, r1=0.5, ema=0.9)
    train = Pipeline(Source({"point": points(1024, mean=1.5)["point"]}), 128)
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    state = fit(learner, train, steps=300, placement=placement, progress=False).state
    drawn = learner.predict(state, Source.indices(1000)[:])["sample"]
    np.testing.assert_allclose(drawn.mean(0), 1.5, atol=0.2)


def test_the_penalty_is_half_the_squared_slope_on_real_examples():
    """logit = w x: the slope is w everywhere, so that the step of w gains -rate r1 w."""
    rows = points()
    games = [toy(rate=0.5, w=0.3, r1=r1) for r1 in (0.0, 2.0)]

    @jax.jit
    def run(rows):
        state = games[0].init(jax.random.key(0), rows)
        return [game.update(state, rows)[0].params["discriminator"] for game in games]

    without, having = run(rows)
    np.testing.assert_allclose(having["w"], without["w"] - 0.5 * 2.0 * 0.3, rtol=1e-5)
    np.testing.assert_allclose(having["b"], without["b"], rtol=1e-6)


class Table(nn.Module):
    """G(z) = W z + e, where e is the first row of a table of vectors."""

    @nn.compact
    def __call__(self, z, train=False):
        kernel = self.param("kernel", lambda _: jax.numpy.array([[1.0, 2.0], [3.0, 4.0]]))
        table = self.param("embedding", lambda _: jax.numpy.array([[1.0, 2.0], [3.0, 4.0]]))
        return z @ kernel + table[0]


@pytest.mark.covers("GE-22")
def test_the_orthogonal_penalty_reaches_the_generators_kernels_alone():
    """The columns (1, 3) and (2, 4) have the product 14, and the penalty the slope 4 * 14 times the other column."""
    rows, games = points(), {}
    for weight in (0.0, 0.1):
        games[weight] = gan.learner(
            generator=Table(),
            discriminator=Line(0.3),
            encode=lambda batch: batch["point"],
            decode=lambda x: x,
            generator_optimizer=optax.sgd(0.5),
            discriminator_optimizer=optax.sgd(0.5),
            latent_dim=2,
            orthogonal=weight,
        )

    @jax.jit
    def run(rows):
        state = games[0.0].init(jax.random.key(0), rows)
        return {weight: game.update(state, rows)[0].params for weight, game in games.items()}

    steps = run(rows)
    plain, held = (steps[weight]["generator"] for weight in (0.0, 0.1))
    slope = 56 * np.array([[2.0, 1.0], [4.0, 3.0]])
    np.testing.assert_allclose(held["kernel"], plain["kernel"] - 0.5 * 0.1 * slope, rtol=1e-4)
    np.testing.assert_array_equal(held["embedding"], plain["embedding"])
    np.testing.assert_array_equal(steps[0.1]["discriminator"]["w"], steps[0.0]["discriminator"]["w"])


@pytest.mark.slow
def test_samples_come_from_the_average():
    rows = points()
    learner = toy(rate=0.5, w=0.3, ema=0.5)
    state = learner.init(jax.random.key(0), rows)
    after, _ = learner.update(state, rows)
    shift = np.asarray(after.params["generator"]["shift"])
    # The first decay is min(0.5, 1 / 10): the average is 0.9 of the way to the first step's parameters.
    np.testing.assert_allclose(after.generator_ema["params"]["shift"], 0.9 * shift, rtol=1e-5)
    without = toy(rate=0.5, w=0.3)
    difference = learner.predict(after, rows)["sample"] - without.predict(after, rows)["sample"]
    np.testing.assert_allclose(difference, np.broadcast_to(-0.1 * shift, (16, 2)), atol=1e-6)


def test_a_sample_lies_on_the_arc_between_the_noise_of_two_indices():
    learner = toy()

    @jax.jit
    def run(indices):
        state = learner.init(jax.random.key(0), points())
        walk = {"index": indices, "ends": indices[None].repeat(3, 0), "share": np.float32([0, 0.25, 1])}
        return [learner.predict(state, rows)["sample"] for rows in ({"index": indices}, walk)]

    (a, b), path = jax.device_get(run(np.array([7, 3])))
    np.testing.assert_allclose(path[[0, 2]], [a, b], rtol=1e-5)
    angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    middle = (np.sin(0.75 * angle) * a + np.sin(0.25 * angle) * b) / np.sin(angle)
    np.testing.assert_allclose(path[1], middle, rtol=1e-4)


def images(n=16, seed=0):
    rng = np.random.default_rng(seed)
    return {"image": rng.integers(0, 256, (n, 8, 8, 1), np.uint8), "index": np.arange(n, dtype=np.int32)}


def small(rate=0.01, **settings):
    return gan.learner(
        generator=dcgan.Generator((8, 8, 1), width=2),
        discriminator=dcgan.Discriminator(width=2),
        generator_optimizer=optax.sgd(rate),
        latent_dim=4,
        discriminator_optimizer=optax.sgd(rate),
        **settings,
    )


@pytest.mark.weekly
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    source = Pipeline(Source({"image": images(32)["image"]}), 16)
    one = Placement(make_mesh("data:1", jax.devices()[:1]))
    eight = Placement(make_mesh("data:8"), spmd=spmd)
    left, right = (fit(small(ema=0.9), source, steps=2, placement=p, progress=False).state for p in (one, eight))
    chex.assert_trees_all_close(left.params, right.params, atol=2e-6)
    chex.assert_trees_all_close(left.model_state, right.model_state, atol=1e-5)
    chex.assert_trees_all_close(left.generator_ema, right.generator_ema, atol=1e-5)


@pytest.mark.weekly
def test_a_resumed_run_is_the_same(tmp_path):
    source = Pipeline(Source({"image": images(32)["image"]}), 16)
    options = {"placement": Placement(make_mesh("data:1", jax.devices()[:1])), "progress": False}
    learner = small(ema=0.9, r1=0.1)
    whole = fit(learner, source, steps=3, **options)
    fit(learner, source, steps=2, folder=tmp_path, saving=Saving(steps=1), **options)
    resumed = fit(learner, source, steps=3, folder=tmp_path, **options)
    for name in ("params", "opt_state", "model_state", "generator_ema"):
        chex.assert_trees_all_equal(getattr(whole.state, name), getattr(resumed.state, name))


@pytest.mark.weekly
def test_degenerate_batches_stay_finite():
    """All images alike, so that batch variances are 0; and a batch of nothing but padding."""
    learner = small(r1=1.0)
    update = jax.jit(learner.update)
    rows = {**images(4), "mask": np.ones(4, np.float32)}
    state = learner.init(jax.random.key(0), rows)
    for degenerate in ({**rows, "image": np.zeros_like(rows["image"])}, {**rows, "mask": np.zeros(4, np.float32)}):
        after, metrics = update(state, degenerate)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after.params, metrics)))


@pytest.mark.slow
def test_predict_needs_indices_alone_and_no_neighbors():
    learner = small()
    state = learner.init(jax.random.key(0), images())
    predict = jax.jit(learner.predict)
    five = np.asarray(predict(state, Source.indices(5)[:])["sample"])
    chex.assert_shape(five, (5, 8, 8, 1))
    assert five.min() >= 0
    assert five.max() <= 1
    np.testing.assert_allclose(predict(state, Source.indices(5)[[4, 0]])["sample"], five[[4, 0]], atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("GE-15")
def test_the_ring_tells_a_collapsed_generator_from_a_trained_one():
    """Untrained, all samples lie at one place; trained, on both modes of a small ring."""
    from dlcore.evaluators.mode_coverage import mode_coverage
    from dlcore.generative.ring import PointDiscriminator, PointGenerator, ring_centers, ring_points

    learner = gan.learner(
        generator=PointGenerator(width=32, depth=2),
        discriminator=PointDiscriminator(width=32, depth=2),
        generator_optimizer=create_optimizer("adam", 2e-3, momentum=0.5),
        latent_dim=4,
        r1=0.1,
        ema=0.99,
        discriminator_optimizer=create_optimizer("adam", 2e-3, momentum=0.5),
        encode=lambda b: b["point"],
        decode=lambda x: x,
    )
    train = Pipeline(ring_points(1024, 0, num_modes=2, radius=1.0, std=0.1), 128)
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    centers = ring_centers(2, 1.0)

    def covered(steps):
        state = fit(learner, train, steps=steps, placement=placement, progress=False).state
        drawn = jax.jit(learner.predict)(state, Source.indices(500)[:])["sample"]
        return mode_coverage(drawn, centers, 0.1)

    assert covered(1)["modes"] < 2
    metrics = covered(800)
    assert metrics["modes"] == 2, metrics
    assert metrics["high_quality"] > 0.3, metrics

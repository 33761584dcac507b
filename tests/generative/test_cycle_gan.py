"""The pool by hand, the two ways by toys, and a known map found from unpaired images."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative import cycle_gan
from dlcore.generative.cycle_gan import Both, Pool, draw_from


class Affine(nn.Module):
    """x -> scale x + shift."""

    scale: float = 1.0
    shift: float = 0.0

    @nn.compact
    def __call__(self, x, train=False):
        scale = self.param("scale", nn.initializers.constant(self.scale), ())
        return scale * x + self.param("shift", nn.initializers.constant(self.shift), ())


class Judge(nn.Module):
    """A logit a pixel, quadratic in it."""

    @nn.compact
    def __call__(self, x, train=False):
        w = self.param("w", nn.initializers.constant(0.1), (3,))
        return (w[0] + w[1] * x + w[2] * jnp.square(x))[..., 0]


def images(*values):
    return jnp.asarray(np.array(values, np.float32).reshape(-1, 1, 1, 1))


def values(x):
    return np.asarray(x).ravel().tolist()


@pytest.mark.slow
@pytest.mark.covers("GE-20")
def test_the_pool_fills_and_then_gives_old_fakes_for_half_of_the_new():
    pool, ones = Pool(jnp.zeros((3, 1, 1, 1)), jnp.zeros((), jnp.int32)), jnp.ones(2)
    pool, judged = draw_from(pool, jax.random.key(0), images(1, 2), ones)
    assert (values(judged), int(pool.count)) == ([1, 2], 2)
    pool, judged = draw_from(pool, jax.random.key(1), images(3, 4), jnp.array([1, 0]))
    assert (values(judged), values(pool.images), int(pool.count)) == ([3, 4], [1, 2, 3], 3)
    draw = jax.jit(draw_from)
    old = 0
    for k in range(200):
        before = values(pool.images)
        pool, judged = draw(pool, jax.random.key(k), images(10 + k), ones[:1])
        if values(judged) != [10 + k]:
            old += 1
            assert values(judged)[0] in before
            assert sorted(values(pool.images)) == sorted([*(set(before) - set(values(judged))), 10 + k])
        else:
            assert values(pool.images) == before
    assert 70 < old < 130
    again = draw(pool, jax.random.key(7), images(5), ones[:1])
    np.testing.assert_array_equal(again[1], draw(pool, jax.random.key(7), images(5), ones[:1])[1])
    kept, judged = draw_from(
        Pool(jnp.zeros((0, 1, 1, 1)), jnp.zeros((), jnp.int32)), jax.random.key(0), images(1), ones[:1]
    )
    assert (values(judged), kept.images.shape[0]) == ([1], 0)


def toy(a=None, b=None, rate=0.1, **settings):
    return cycle_gan.learner(
        generators=Both(a or Affine(), b or Affine()),
        discriminators=Both(Judge(), Judge()),
        generator_optimizer=optax.adam(rate, b1=0.5),
        discriminator_optimizer=optax.adam(rate, b1=0.5),
        **settings,
    )


def batch(n=64, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0.5, 1.0, (2, n, 1, 1, 1)).astype(np.float32)
    return {"a": a, "b": 0.2 + 0.5 * b, "b_of_a": 0.2 + 0.5 * a, "a_of_b": b, "index": np.arange(n, dtype=np.int32)}


@pytest.mark.slow
@pytest.mark.covers("GE-20")
def test_the_way_there_and_back_and_the_true_partner():
    """a' = 0.5 a + 0.2 and b' = 2 b - 0.1 in [-1, 1]; by hand in [0, 1]."""
    learner, rows = toy(Affine(0.5, 0.2), Affine(2.0, -0.1)), batch(4)
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    a, b = (2 * rows[k].ravel() - 1 for k in "ab")
    again_a, again_b = 2 * (0.5 * a + 0.2) - 0.1, 0.5 * (2 * b - 0.1) + 0.2
    metrics = jax.jit(learner.evaluate)(state, rows)
    back = [np.abs(np.clip((x + 1) / 2, 0, 1) - y) for x, y in ((again_a, (a + 1) / 2), (again_b, (b + 1) / 2))]
    assert metrics["cycle_l1"].compute() == pytest.approx(np.mean(back), rel=1e-5)
    outputs = jax.jit(learner.predict)(state, {"a": rows["a"], "index": rows["index"]})
    assert set(outputs) == {"b_of_a", "cycle_a"}
    np.testing.assert_allclose(values(outputs["b_of_a"]), np.clip((0.5 * a + 1.2) / 2, 0, 1), rtol=1e-5)
    true = np.mean([np.abs(rows["a"] - rows["b_of_a"]), np.abs(rows["b"] - rows["a_of_b"])])
    assert metrics["unchanged_l1"].compute() == pytest.approx(true, rel=1e-5)
    _, trained = jax.jit(learner.update)(state, rows)
    raw = (np.abs(again_a - a).mean() + np.abs(again_b - b).mean()) / 4
    assert trained["cycle_l1"].compute() == pytest.approx(raw, rel=1e-5)


@pytest.mark.slow
@pytest.mark.covers("GE-20")
def test_one_update_of_the_generators_by_hand():
    """Beside discriminators that say nothing: 10 (|G_b(G_a(a)) - a| + |G_a(G_b(b)) - b|) + 5 (both identities)."""
    judge, rows = {"w": np.array([0.1, 0, 0], np.float32)}, batch(4)
    learner = cycle_gan.learner(
        generators=Both(Affine(), Affine()),
        discriminators=Both(Judge(), Judge()),
        generator_optimizer=optax.sgd(0.01),
        discriminator_optimizer=optax.sgd(0.0),
        pool_size=0,
    )
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    there, back = ({"scale": np.float32(s), "shift": np.float32(t)} for s, t in ((0.5, 0.3), (1.5, -0.1)))
    params = {"generator": {"a": there, "b": back}, "discriminator": {"a": judge, "b": judge}}
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(rng=jax.random.key(0), params=params)
    after, metrics = jax.jit(learner.update)(state, rows)
    a, b = (2 * rows[k].ravel().astype(np.float64) - 1 for k in "ab")
    (s1, t1), (s2, t2) = (0.5, 0.3), (1.5, -0.1)
    fake_b, fake_a = s1 * a + t1, s2 * b + t2
    miss_a, miss_b = s2 * fake_b + t2 - a, s1 * fake_a + t1 - b
    assert metrics["cycle_l1"].compute() == pytest.approx((np.abs(miss_a).mean() + np.abs(miss_b).mean()) / 4, rel=1e-5)
    up_a, up_b, same_a, same_b = (np.sign(x) for x in (miss_a, miss_b, s2 * a + t2 - a, s1 * b + t1 - b))
    slopes = {
        "a": {
            "scale": 10 * (up_a * s2 * a + up_b * fake_a) + 5 * same_b * b,
            "shift": 10 * (up_a * s2 + up_b) + 5 * same_b,
        },
        "b": {
            "scale": 10 * (up_b * s1 * b + up_a * fake_b) + 5 * same_a * a,
            "shift": 10 * (up_b * s1 + up_a) + 5 * same_a,
        },
    }
    for kind, layer in slopes.items():
        for name, slope in layer.items():
            want = params["generator"][kind][name] - 0.01 * slope.mean()
            assert after.params["generator"][kind][name] == pytest.approx(want, abs=1e-5), (kind, name)


@pytest.mark.weekly
@pytest.mark.covers("GE-20")
def test_a_known_map_is_found_from_unpaired_values():
    """b is 0.2 + a / 2, where the generators start as the identity: the discriminators tell of mean and spread."""
    learner, held = toy(rate=0.03, pool_size=64, identity_weight=0.0), batch()
    data = {name: jnp.asarray(x) for name, x in batch(2048, 1).items() if name in ("a", "b")}

    def step(state, k):
        rows = {name: jax.lax.dynamic_slice_in_dim(x, k % 32 * 64, 64) for name, x in data.items()}
        return learner.update(state, {**rows, "index": jnp.arange(64)})[0], None

    state, evaluate = jax.jit(learner.init)(jax.random.key(0), held), jax.jit(learner.evaluate)
    before = evaluate(state, held)["map_l1"].compute()
    state = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(1200))[0])(state)
    after = evaluate(state, held)
    assert int(state.pools["a"].count) == 64
    assert before > 0.15
    assert after["map_l1"].compute() < 0.03, after["map_l1"].compute()
    assert after["cycle_l1"].compute() < 0.03

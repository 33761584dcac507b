"""The pool by hand, the two ways by toys, and a known map found from unpaired images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative import cycle_gan
from dlcore.generative.cycle_gan import Both, Pool, draw_from
from tests.derivatives import slopes


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


@pytest.mark.covers("GE-20")
def test_the_pool_fills_and_then_gives_old_fakes_for_half_of_the_new():
    """Fakes 1 to 80, of which 2 and 6 are padding; the judged ones are replayed with a list."""
    real = np.ones(80)
    real[[1, 5]] = 0
    pool, judged = jax.jit(draw_from)(
        Pool(np.zeros((3, 1, 1, 1), np.float32), np.int32(0)), jax.random.key(0), images(*range(1, 81)), real
    )
    stored, exchanged, slots = [], 0, set()
    for number, (seen, is_real) in enumerate(zip(values(judged), real, strict=True), 1):
        if is_real and len(stored) < 3:
            assert seen == number
            stored.append(number)
        elif seen != number:
            assert is_real
            slots.add(stored.index(seen))
            stored[stored.index(seen)] = number
            exchanged += 1
    assert values(pool.images) == stored
    assert int(pool.count) == 3
    assert slots == {0, 1, 2}
    # Of 75 coins: 37.5 +- 3 x 4.3.
    assert 25 < exchanged < 51
    kept, judged = draw_from(Pool(np.zeros((0, 1, 1, 1)), np.int32(0)), jax.random.key(0), images(1), np.ones(1))
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


def miss(x, y):
    """The l1 of each image."""
    return np.abs(x - y).mean(1)


GENERATORS = {"a": (0.5, 0.3), "b": (1.5, -0.1)}
JUDGES = {"a": (0.1, 0.4, -0.2), "b": (-0.3, 0.2, 0.5)}


@pytest.fixture(scope="module")
def stepped():
    """(three pairs of images of two pixels, the state before, after, metrics of the step, of evaluation, predictions).

    The third pair is padding.
    """
    learner = cycle_gan.learner(
        generators=Both(Affine(*GENERATORS["a"]), Affine(*GENERATORS["b"])),
        discriminators=Both(Judge(), Judge()),
        generator_optimizer=optax.sgd(0.01),
        discriminator_optimizer=optax.sgd(0.2),
        cycle_weight=3.0,
        identity_weight=0.4,
        pool_size=4,
    )
    rng = np.random.default_rng(0)
    kinds = {name: rng.random((3, 1, 2, 1), np.float32) for name in ("a", "b", "b_of_a", "a_of_b")}
    rows = {**kinds, "index": np.arange(3), "mask": np.float32([1, 1, 0])}

    @jax.jit
    def run(rows):
        state = learner.init(jax.random.key(0), rows)
        judges = {kind: {"w": jnp.array(w)} for kind, w in JUDGES.items()}
        state = state.replace(params={**state.params, "discriminator": judges})
        predictions = [learner.predict(state, {k: rows[k] for k in keys}) for keys in ("a", "b", "ab")]
        return state, *learner.update(state, rows), learner.evaluate(state, rows), predictions

    return rows, *jax.device_get(run(rows))


@pytest.mark.covers("GE-20")
def test_one_update_of_all_networks_by_hand(stepped):
    """Least squares, 3 (cycle both ways) and 3 (0.4) (both identities); the discriminators step first."""
    rows, state, after, metrics, _, _ = stepped
    a, b = (2 * rows[kind][:2].reshape(2, 2).astype(np.float64) - 1 for kind in "ab")

    def judged(w, x):
        return w[0] + w[1] * x + w[2] * x**2

    def translated(p):
        return p[0] * a + p[1], p[2] * b + p[3]

    start = np.array([*GENERATORS["a"], *GENERATORS["b"]])
    fakes = dict(zip("ba", translated(start), strict=True))

    def judge_losses(w, real, fake):
        return ((judged(w, real) - 1) ** 2 + judged(w, fake) ** 2).mean(1) / 2

    losses = {kind: functools.partial(judge_losses, real=x, fake=fakes[kind]) for kind, x in (("a", a), ("b", b))}
    d_loss = sum(losses[kind](JUDGES[kind]) for kind in "ab")
    assert metrics["d_loss"].compute() == pytest.approx(d_loss.mean(), rel=1e-5)
    judges = {k: w - 0.2 * slopes(lambda w, k=k: losses[k](w).mean(), np.array(w)) for k, w in JUDGES.items()}
    for kind, w in judges.items():
        np.testing.assert_allclose(after.params["discriminator"][kind]["w"], w, atol=1e-5)

    def parts(p):
        fake_b, fake_a = translated(p)
        fooled = sum(((judged(judges[k], x) - 1) ** 2).mean(1) / 2 for k, x in (("a", fake_a), ("b", fake_b)))
        cycle = miss(p[2] * fake_b + p[3], a) + miss(p[0] * fake_a + p[1], b)
        return fooled, cycle, miss(p[0] * b + p[1], b) + miss(p[2] * a + p[3], a)

    fooled, cycle, _ = parts(start)
    assert metrics["g_loss"].compute() == pytest.approx(fooled.mean(), rel=1e-5)
    assert metrics["cycle_l1"].compute() == pytest.approx(cycle.mean() / 4, rel=1e-5)
    found = [after.params["generator"][kind][name] for kind in "ab" for name in ("scale", "shift")]
    slope = slopes(lambda p: np.dot([1, 3, 1.2], [part.mean() for part in parts(p)]), start)
    np.testing.assert_allclose(found, start - 0.01 * slope, atol=1e-5)
    # Both pools were empty and have room: they keep the fakes that count.
    for kind in "ab":
        assert (int(state.pools[kind].count), int(after.pools[kind].count)) == (0, 2)
        np.testing.assert_allclose(after.pools[kind].images[:2].reshape(2, 2), fakes[kind], rtol=1e-5)
        np.testing.assert_array_equal(after.pools[kind].images[2:], np.zeros((2, 1, 2, 1)))
    assert int(after.step) == 1


@pytest.mark.covers("GE-20")
def test_the_way_there_and_back_and_the_true_partner(stepped):
    """a' = 0.5 a + 0.3 and b' = 1.5 b - 0.1 in [-1, 1]; measured in [0, 1]."""
    rows, _, _, _, metrics, (of_a, of_b, of_both) = stepped
    a, b, true_b, true_a = (rows[name].reshape(3, 2) for name in ("a", "b", "b_of_a", "a_of_b"))
    x, y = 2 * a - 1, 2 * b - 1
    fake_b, fake_a = 0.5 * x + 0.3, 1.5 * y - 0.1
    cycle_a, cycle_b = 1.5 * fake_b - 0.1, 0.5 * fake_a + 0.3
    shown = {"b_of_a": fake_b, "cycle_a": cycle_a, "a_of_b": fake_a, "cycle_b": cycle_b}
    shown = {name: np.clip((image + 1) / 2, 0, 1) for name, image in shown.items()}
    assert (set(of_a), set(of_b), set(of_both)) == ({"b_of_a", "cycle_a"}, {"a_of_b", "cycle_b"}, set(shown))
    for name, image in {**of_a, **of_b}.items():
        np.testing.assert_allclose(image.reshape(3, 2), shown[name], atol=1e-6)
        np.testing.assert_array_equal(of_both[name], image)
    expected = {
        "cycle_l1": (miss(shown["cycle_a"], a) + miss(shown["cycle_b"], b)) / 2,
        "map_l1": (miss(shown["b_of_a"], true_b) + miss(shown["a_of_b"], true_a)) / 2,
        "unchanged_l1": (miss(a, true_b) + miss(b, true_a)) / 2,
    }
    assert set(metrics) == set(expected)
    for name, each in expected.items():
        assert metrics[name].compute() == pytest.approx(each[:2].mean(), rel=1e-5), name


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

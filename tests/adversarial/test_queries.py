"""Attacks by queries: success within the budget, exact counts, and nothing that is differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.adversarial.queries import nes, random_signs, simba

WEIGHTS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
IMAGE = np.random.default_rng(1).uniform(0.4, 0.6, (4, 5, 1)).astype(np.float32)
LABEL = int(np.argmax(IMAGE.reshape(-1) @ WEIGHTS))


@jax.custom_jvp
def _ask(x):
    return x.reshape(-1) @ WEIGHTS


@_ask.defjvp
def _(primals, tangents):
    raise AssertionError("an attack by queries took a gradient")


@pytest.mark.covers("AD-03")
def test_nes_errs_by_queries_alone():
    found = jax.jit(lambda k, x: nes(_ask, k, x, LABEL, 0.3, 0.1, 2000, 20))(jax.random.key(0), IMAGE)
    assert found.success
    assert np.argmax(np.asarray(found.image).reshape(-1) @ WEIGHTS) != LABEL
    assert np.abs(found.image - IMAGE).max() <= 0.3 + 1e-6
    # One query at first, and 2 * 20 + 1 a step.
    assert (int(found.queries) - 1) % 41 == 0
    assert found.queries <= 2000


def test_every_query_is_an_image_in_the_unit_range():
    seen = []

    def asked(x):
        jax.debug.callback(lambda v: seen.append((float(v.min()), float(v.max()))), x)
        return _ask(x)

    nes(asked, jax.random.key(0), IMAGE, LABEL, 0.0, 0.1, 45, 20, sigma=2.0)
    jax.effects_barrier()
    assert len(seen) == 42
    assert min(low for low, _ in seen) == 0
    assert max(high for _, high in seen) == 1


@pytest.mark.parametrize(
    "change", [{"samples": 0}, {"samples": 2.5}, {"step_size": np.inf}, {"sigma": 0.0}, {"max_queries": 0}]
)
def test_settings_out_of_range_are_named(change):
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"{name}={value:g}: (out of range|not finite|no whole number); allowed"):
        nes(_ask, jax.random.key(0), IMAGE, LABEL, **{name: value})


@pytest.mark.covers("AD-03")
def test_the_budget_holds():
    exact = jax.jit(lambda k, x: nes(_ask, k, x, LABEL, 0.0, 0.1, 82, 20))(jax.random.key(0), IMAGE)
    assert exact.queries == 1 + 41, "a second step would be the 83rd query"
    hard = jax.jit(lambda k, x: nes(_ask, k, x, LABEL, 0.0, 0.1, 100, 20))(jax.random.key(0), IMAGE)
    assert not hard.success
    assert hard.queries == 1 + 2 * 41, "a third step would be 124 queries"
    np.testing.assert_array_equal(hard.image, IMAGE)
    # Two queries a pixel, after the first one: all that fit, and at most those of the 20 pixels.
    search = jax.jit(lambda k, x, most: simba(_ask, k, x, LABEL, 0.0, most).queries)
    assert [int(search(jax.random.key(0), IMAGE, most)) for most in (9, 10, 100)] == [9, 9, 41]


@pytest.mark.covers("AD-03")
def test_simba_keeps_what_raises_the_margin_and_counts():
    """Two pixels, scores (x_0 - x_1, 0.35): class 0 at (0.9, 0.1). Whatever the order, each pixel needs its right sign:
    pixel 0 down (two queries) and pixel 1 up (one): 0.3 * 2 = 0.6 less, 0.2 < 0.35. One query at the start."""
    image = jnp.array([[[0.9], [0.1]]])
    run = jax.jit(lambda k: simba(lambda x: jnp.array([x[0, 0, 0] - x[0, 1, 0], 0.35]), k, image, 0, 0.3))
    found = run(jax.random.key(0))
    assert found.success
    np.testing.assert_allclose(np.asarray(found.image).ravel(), [0.6, 0.4], atol=1e-6)
    assert found.queries == 1 + 2 + 1


@pytest.mark.covers("AD-03")
def test_random_signs_of_the_same_norm_do_not():
    signs = jax.jit(jax.vmap(lambda k: random_signs(_ask, k, IMAGE, LABEL, 0.1)))(
        jax.random.split(jax.random.key(0), 50)
    )
    attack = jax.jit(lambda k: nes(_ask, k, IMAGE, LABEL, 0.1, 0.05, 4000, 20))
    assert np.allclose(np.abs(signs.image - IMAGE), 0.1, atol=1e-6)
    assert attack(jax.random.key(1)).success
    assert np.asarray(signs.success).mean() < 0.5


def test_an_image_of_integers_is_refused():
    """Adding a small change to integers leaves them as they are."""
    image = np.ones(IMAGE.shape, np.uint8)
    with pytest.raises(ValueError, match=r"images=uint8.*no array of floats"):
        nes(_ask, jax.random.key(0), image, LABEL)

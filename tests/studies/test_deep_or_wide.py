"""Parameters and the target by hand, and the verdict on depth at equal parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import deep_or_wide as study


@pytest.mark.parametrize("depth", [1, 3])
def test_parameters_are_counted_and_the_widest_network_is_found(depth):
    """One layer of 30 units: 8 x 30 + 30 + 30 + 1 = 301, above a budget of 300, so that 29 remain."""
    width = study.widest(depth, 300)
    count = study.num_parameters(depth, width)
    assert count <= 300 < study.num_parameters(depth, width + 1)
    assert depth > 1 or (width, count) == (29, 291)
    shapes = jax.eval_shape(study.Net(study.Arm(depth), width).init, jax.random.key(0), jnp.zeros((1, 8)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


@pytest.mark.slow
def test_the_target_folds_sums_in_a_tree():
    """Only the first pair is not 0: every other node of level 1 is h(0, 0) = -m / s."""
    mean, std = 2 / np.sqrt(np.pi), np.sqrt(2 - 4 / np.pi)

    def h(a, b):
        return (abs(a + b) - mean) / std

    zero = h(0, 0)
    expected = h(h(h(3, -1), zero), h(zero, zero))
    x = jnp.array([[3.0, -1, 0, 0, 0, 0, 0, 0], [-1, 3, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1]])
    got = np.asarray(study.target(x))
    np.testing.assert_allclose(got[:2], expected, rtol=1e-5)
    np.testing.assert_allclose(got[2], h(h(zero, zero), h(zero, h(1, 1))), rtol=1e-5)
    samples = jnp.abs(jnp.diff(jax.random.normal(jax.random.key(0), (100_000, 2))))  # |a + b| of normal numbers
    assert float(samples.mean()) == pytest.approx(mean, rel=0.01)
    assert float(samples.std()) == pytest.approx(std, rel=0.01)


def test_shortcuts_carry_the_signal_past_the_layers():
    """With weights of 0 behind the first layer only the first layer's output remains, or nothing."""
    x = jnp.ones((1, 8))
    for shortcuts, expected in ((True, 8.0), (False, 0.0)):
        net = study.Net(study.Arm(3, shortcuts), 1)
        params = jax.tree.map(jnp.zeros_like, net.init(jax.random.key(0), x)["params"])
        params["dense0"]["kernel"] += 1
        params["head"]["kernel"] += 1
        np.testing.assert_allclose(net.apply({"params": params}, x), [expected])


BUDGETS = (300, 1000, 3000)
WIDE, DEEPER, PLAIN, RESIDUAL = study.NAMES
GOOD = {(WIDE, b): np.array([0.3, 0.4]) for b in BUDGETS} | {(DEEPER, b): np.array([0.05, 0.06]) for b in BUDGETS}
GOOD |= {(PLAIN, 3000): np.array([0.2, 0.3]), (RESIDUAL, 3000): np.array([0.1, 0.1])}


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        # The arms swapped: depth, shortcuts.
        ({key: GOOD[{WIDE: DEEPER, DEEPER: WIDE}[key[0]], key[1]] for key in GOOD if key[0] in (WIDE, DEEPER)}, False),
        ({(PLAIN, 3000): GOOD[RESIDUAL, 3000], (RESIDUAL, 3000): GOOD[PLAIN, 3000]}, False),
        ({(DEEPER, 3000): np.array([0.05, 0.25])}, False),  # not half on one seed
        ({(DEEPER, 1000): np.array([0.05, 0.45])}, False),  # more parameters are needed on one seed
        ({(PLAIN, 3000): np.array([0.2, 0.05]), (RESIDUAL, 3000): np.array([0.1, 0.01])}, False),  # easy to train
    ],
)
def test_the_verdict(changes, holds):
    result = study.report(GOOD | changes, BUDGETS)
    assert result.holds is holds
    if not changes:
        np.testing.assert_array_equal(result.headline.values, [0.05, 0.06])
        assert result.headline.baseline[0] == pytest.approx(0.35)


@pytest.mark.parametrize("budgets", [(300,), (1000, 300), (20, 300)])
def test_budgets_must_be_a_range(budgets):
    with pytest.raises(ValueError, match=r"budgets=.*allowed: two or more, ascending, of 87 and more"):
        study.study(budgets=budgets)


def test_layers_with_shortcuts_start_at_zero():
    init = jax.jit(study.Net(study.RESIDUAL, 3).init)(jax.random.key(0), jnp.ones((1, 8)))["params"]
    assert not any(np.any(init[f"dense{k}"]["kernel"]) for k in range(1, study.VERY_DEEP))
    assert np.all(init["dense0"]["kernel"])
    assert np.all(init["head"]["kernel"])


def test_each_name_says_the_depth_and_the_shortcuts_of_its_arm():
    assert {name: tuple(arm) for arm, name in study.NAMES.items()} == {
        "1 layer": (1, False),
        "3 layers": (3, False),
        "12 layers": (12, False),
        "12 layers with shortcuts": (12, True),
    }

"""The study of initial weights: its numbers and its claims."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import initialization_depth as study

SMOKE = study.experiment.smoke | {"large_width": 64}


@pytest.fixture(scope="module")
def smoke():
    return study.study(**SMOKE)


@pytest.mark.weekly
@pytest.mark.covers("IN-12")
def test_mean_and_deviation_of_every_layer_from_four_starts(smoke):
    assert len(study.INITS) == 4
    for kind, depth in (("tanh", 3), ("relu", 4)):
        for name in study.INITS:
            for quantity in ("mean", "deviation", "gradient"):
                assert len(smoke.numbers[f"{kind} {name} 64: {quantity} per layer"]) == depth
    assert len(smoke.figures["histograms"].axes) == 8 * 3  # nets and columns
    deviation = {name: smoke.numbers[f"tanh {name} 64: deviation per layer"] for name in study.INITS}
    # 0.01 sqrt(64) = 0.08 a layer
    np.testing.assert_allclose(np.divide(deviation["0.01 randn"][1:], deviation["0.01 randn"][:-1]), 0.08, rtol=0.1)
    assert deviation["0.01 randn"][-1] < deviation["0.05 randn"][-1] < deviation["Xavier"][-1]
    assert deviation["Xavier"][-1] < deviation["Kaiming"][-1]


@pytest.mark.slow
@pytest.mark.covers("IN-12")
def test_the_bands_hold_at_their_width_and_reject_another_start():
    results = {
        ("tanh", name, 512): study.measure(name, "tanh", 512, 6, 16, 1)
        for name in ("Xavier", "0.01 randn", "0.05 randn")
    }
    assert study.check_bands(results) == (3, [])
    results["tanh", "Xavier", 512] = results["tanh", "0.05 randn", 512]
    tried, wrong = study.check_bands(results)
    assert tried == 3
    assert len(wrong) == 1
    assert "deviation of the last layer, Xavier in tanh at width 512, is 0.3" in wrong[0]
    shallow = {key: rows | {"mean": rows["mean"][:, :3]} for key, rows in results.items()}
    assert study.check_bands(shallow) == (0, [])  # other depths have no bands


@pytest.mark.slow
@pytest.mark.covers("IN-12")
def test_the_gradient_that_arrives_is_that_of_the_net():
    for kind, f in study.ACTIVATIONS.items():
        depth = 3 if kind == "tanh" else 4  # as in the smoke version, whose programs are compiled
        kernels = study.draw("Xavier", jax.random.key(0), depth, 64)
        x, cotangent = jax.random.normal(jax.random.key(1), (2, 8, 64))
        h, gradient = study.look(kernels, kind, x, cotangent, 0.1)

        @jax.jit
        def net(x, cotangent, kernels=kernels, f=f):
            def forward(x):
                for kernel in kernels:
                    x = f(x @ kernel + 0.1)
                return x

            y, pull = jax.vjp(forward, x)
            return y, jnp.linalg.norm(pull(cotangent)[0]) / jnp.linalg.norm(cotangent)

        y, want = net(x, cotangent)
        np.testing.assert_allclose(h[-1], y, atol=1e-6)
        assert float(gradient[0]) == pytest.approx(float(want), rel=1e-5)


@pytest.mark.covers("IN-12")
def test_statistics_by_hand():
    h = np.array([[[0.0, 1.0], [0.0, 3.0]], [[-1.0, 0.995], [0.5, 0.995]]])
    results = study.statistics(h)
    np.testing.assert_allclose(results["mean"], [1, 0.3725])
    assert results["deviation"][0] == pytest.approx(np.sqrt((1 + 0 + 1 + 4) / 4))
    assert results["second moment"][0] == 10 / 4
    np.testing.assert_allclose(results["saturated"], [0.5, 0.75])
    np.testing.assert_allclose(results["dead"], [0.5, 0])
    assert results["median slope"][1] == pytest.approx(1 - 0.995**2)  # of 0, twice that, and 1 - .5^2
    chex.assert_shape(results["histogram"], (2, 40))


@pytest.mark.slow
@pytest.mark.covers("IN-01")
def test_zero_never_moves_constant_stays_one_unit(smoke):
    assert "Zero weights never moved, constant ones stayed the same in all units" in smoke.verdict
    assert smoke.numbers["digits from zero: loss"] == [pytest.approx(np.log(10), abs=1e-4)]
    assert max(smoke.numbers["digits from zero: weights moved"]) < 1e-6
    assert smoke.numbers["digits from Kaiming: loss"][0] < 2


@pytest.mark.covers("IN-09")
def test_variance_grows_over_residual_blocks_unless_they_end_in_zero():
    # times 3 a block, 4 blocks: 81
    assert 40 < study.residual("Kaiming", 64, 4, 1)[0, -1] < 160
    np.testing.assert_array_equal(study.residual("zero", 64, 4, 1), np.ones((1, 4)))


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [
        ("zero", 0, 0),
        ("constant", 0.03, 0),
        ("0.01 randn", 0, 0.01),
        ("0.05 randn", 0, 0.05),
        ("Xavier", 0, (2 / (64 + 64)) ** 0.5),
        ("Kaiming", 0, (2 / 64) ** 0.5),
    ],
)
def test_each_start_has_the_deviation_of_its_name(name, mean, deviation):
    """Two kernels of 64 x 64: of 8,192 numbers the deviation is known to a percent."""
    kernels = np.asarray(study.draw(name, jax.random.key(0), 2, 64))
    assert kernels.mean() == pytest.approx(mean, abs=4 * deviation / 90 + 1e-6)
    assert kernels.std() == pytest.approx(deviation, rel=0.04, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "claims"),
    [
        ({}, (True, True, True, True)),
        ({"moved": 0.1}, (False, True, True, True)),
        ({"differ": 0.1}, (True, False, True, True)),
        ({"dead": 0.3}, (True, True, False, True)),
        ({"dead": 0.2}, (True, True, False, True)),
        ({"variance": 2.0}, (True, True, True, False)),
    ],
)
def test_each_claim_turns(changes, claims):
    row = {"moved": 0.0, "differ": 0.0, "dead": 0.1, "variance": 1.0} | changes
    learned = {"zero": {"weights moved": [row["moved"]]}, "Kaiming": {"units differ by": [1.0]}}
    learned["constant"] = {"units differ by": [row["differ"]]}
    unbiased, biased = (dict.fromkeys(study.INITS, np.full((1, 2), dead)) for dead in (0.2, row["dead"]))
    residual = np.full((1, 2), 200.0), np.full((1, 2), row["variance"])
    assert study.judge(learned, unbiased, biased, *residual) == claims


def test_bands_apply_at_their_depths_alone():
    """Six tanh layers of deviation 0.3 from Xavier: in the band of .25 to .36. Of three layers nothing is known."""
    for depth, tried in ((6, 1), (3, 0)):
        rows = dict.fromkeys(("mean", "deviation", "saturated", "second moment"), np.full((2, depth), 0.3))
        assert study.check_bands({("tanh", "Xavier", 512): rows}) == (tried, [])

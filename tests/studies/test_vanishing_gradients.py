"""Gradients of the study's nets against closed forms, and its verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.studies import vanishing_gradients as study

IMAGES, LABELS = jax.random.uniform(jax.random.key(0), (16, 64)), jnp.arange(16) % 10


@pytest.fixture(scope="module")
def at_the_start():
    """Numbers of the study's smoke settings."""
    return study.study(**study.experiment.smoke).numbers


@pytest.mark.weekly
@pytest.mark.covers("BP-13")
def test_a_sigmoid_passes_less_than_a_quarter_and_a_residual_block_everything(at_the_start):
    norms = {kind: at_the_start[f"gradient norm by layer, {kind}"] for kind in ("sigmoid", "residual")}
    # The derivative is at most 1/4, and Xavier's weights keep the rest: 29 layers take at least 4^-29.
    assert norms["sigmoid"][0] < norms["sigmoid"][-1] / 4**28
    assert 0.1 < norms["residual"][0] / norms["residual"][-1] < 10


@pytest.mark.covers("BP-13")
@pytest.mark.parametrize(("kind", "variance"), [("sigmoid", 1 / 64), ("ReLU", 2 / 64), ("residual", 2 / 64)])
def test_sigmoids_start_as_xavier_says_and_rectifiers_as_he_does(kind, variance):
    kernels = study.Deep(kind, 6, gain=3.0).init(jax.random.key(1), 64)["kernels"]
    assert float(kernels.var()) == pytest.approx(9 * variance, rel=0.05)


@pytest.mark.covers("BP-13")
def test_without_biases_relus_scale_the_output_by_the_gain_to_the_depth():
    plain, large = (study.Deep("ReLU", 6, gain) for gain in (1.0, 2.0))
    params, wider = (net.init(jax.random.key(1), 64) for net in (plain, large))
    np.testing.assert_allclose(large.apply(wider, IMAGES), 2**6 * plain.apply(params, IMAGES), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.covers("BP-13")
def test_clipping_bounds_each_step():
    net = study.Deep("exploding", 8, 3.0)
    clipped = study.losses_of(net, IMAGES, LABELS, optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.01)), 20, 1)
    assert np.isfinite(clipped).all()
    assert clipped[0, -1] < clipped[0, 0]
    assert not np.isfinite(study.losses_of(net, IMAGES, LABELS, optax.sgd(1.0), 20, 1)[0, -1])


def measured(sigmoid=1e-9, relu=1.0, plain=np.nan, clipped=0.5, lower_learning_rate=0.5, large=1e3):
    firsts = {"sigmoid": sigmoid, "ReLU": relu, "batch norm": 200.0, "residual": 1.0, "exploding": large}
    norms = {name: np.array([[v, v if name == "exploding" else 1.0, 1.0]] * 2) for name, v in firsts.items()}
    curves = {
        name: np.array([[9.0, end]] * 2)
        for name, end in (("plain", plain), ("clipped", clipped), ("lower rate", lower_learning_rate))
    }
    return norms, curves


@pytest.mark.covers("BP-13")
def test_the_verdict_turns():
    good = study.report(*measured())
    assert good.holds
    assert "ReLU 1 to 1 (in the band 0.1 to 10)" in good.verdict
    assert "loss NaN by plain descent, 0.5 clipped and 0.5 at a lower rate: cured by both" in good.verdict
    for changed in (
        {"sigmoid": 0.1},
        {"relu": 50.0},
        {"plain": 0.1},
        {"clipped": 3.0},
        {"lower_learning_rate": np.inf},
        {"large": 2},
    ):
        assert not study.report(*measured(**changed)).holds


@pytest.mark.slow
@pytest.mark.covers("BP-13")
def test_thirty_layers_lie_in_their_bands(at_the_start):
    for name, (low, high) in study.BANDS.items():
        assert low <= at_the_start[f"first over last, {name}"][0] <= high


@pytest.mark.covers("BP-13")
@pytest.mark.parametrize("kind", [*study.BANDS, "exploding"])
def test_a_layer_of_each_kind_by_hand(kind):
    """x is the identity, and so is the head: what remains is the layer's output for the kernel."""
    kernel = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)
    params = {"kernels": kernel[None], "head": np.eye(2, dtype=np.float32)}
    expected = {
        "sigmoid": 1 / (1 + np.exp(-kernel)),
        # Two rows are a batch: the larger of each column is 1 deviation above its mean, the other becomes 0.
        "batch norm": np.array([[0.0, 0], [1, 1]]),
        "residual": np.eye(2) + np.maximum(kernel, 0),  # over the root of a depth of 1
    }
    outputs = study.Deep(kind, 1).apply(params, jnp.eye(2))
    np.testing.assert_allclose(outputs, expected.get(kind, np.maximum(kernel, 0)), atol=1e-4)


@pytest.mark.covers("BP-13")
def test_the_bands_are_those_of_the_claim():
    """Sigmoids lose all of a gradient, batch norm makes it grow, the others keep it within ten."""
    bands = {kind: (low, high) for kind, (low, high) in study.BANDS.items()}
    assert bands.pop("sigmoid") == (0, 1e-6)
    assert bands.pop("batch norm") == (10, 1000)
    assert bands == {"ReLU": (0.1, 10), "residual": (0.1, 10)}

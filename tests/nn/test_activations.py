"""Activations: worked values, derivatives, torch's goldens, and the properties that papers claim for them."""

import functools
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given
from hypothesis import strategies as st

from dlcore.nn import activations
from tests.derivatives import output_and_gradients

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "torch_norm_act.npz")
META = {k: v["args"] for k, v in json.loads(str(GOLDEN["meta"]))["cases"].items() if k.startswith("act.")}
POINTS = np.linspace(-6, 6, 49)


def last(f):
    """torch's channels are axis 1."""
    return lambda x, *others: jnp.moveaxis(f(jnp.moveaxis(x, 1, -1), *others), -1, 1)


def prelu(x, w):
    return activations.PReLU().apply({"params": {"negative_slope": w}}, x)


ROWS = {
    "AC-01": {"act.sigmoid": activations.sigmoid},
    "AC-02": {"act.tanh": activations.tanh},
    "AC-03": {"act.relu": activations.relu},
    "AC-04": {"act.leaky_relu": activations.leaky_relu},
    "AC-05": {"act.prelu": last(prelu)},
    "AC-06": {"act.elu": activations.elu},
    "AC-07": {"act.selu": activations.selu},
    "AC-08": {"act.gelu": activations.gelu, "act.gelu_tanh": lambda x: activations.gelu(x, approximate=True)},
    "AC-09": {"act.softplus": activations.softplus},
    "AC-12": {"act.softmax": activations.softmax},
    None: {
        "act.silu": activations.silu,
        "act.mish": activations.mish,
        "act.hardswish": activations.hard_swish,
        "act.hardsigmoid": activations.hard_sigmoid,
        "act.hardtanh": activations.hard_tanh,
        "act.relu6": activations.relu6,
        "act.softsign": activations.soft_sign,
        "act.logsigmoid": activations.log_sigmoid,
        "act.celu": lambda x: activations.celu(x, 1.5),
        "act.tanhshrink": activations.tanh_shrink,
        "act.softshrink": lambda x: activations.soft_shrink(x, 0.5),
        "act.hardshrink": lambda x: activations.hard_shrink(x, 0.5),
        "act.glu": last(activations.glu),
        "act.log_softmax": activations.log_softmax,
    },
}
CASES = [
    pytest.param(case, f, id=case, marks=[pytest.mark.covers(row)] if row else [])
    for row, cases in ROWS.items()
    for case, f in cases.items()
]


def test_no_case_is_left_out():
    assert {case for cases in ROWS.values() for case in cases} == set(META)


@pytest.mark.parametrize(("case", "f"), CASES)
def test_equals_torch(case, f):
    inputs = {k.split("in.")[1]: GOLDEN[k] for k in GOLDEN.files if k.startswith(f"{case}/in.")}
    cotangent = inputs.pop("cot")
    out, *gradients = output_and_gradients(f, cotangent, *inputs.values())
    want = GOLDEN[f"{case}/out"]
    np.testing.assert_allclose(out, want, rtol=0, atol=1e-5 * np.std(want))
    for name, gradient in zip(inputs, gradients, strict=True):
        want = GOLDEN[f"{case}/grad.{name}"]
        np.testing.assert_allclose(gradient, want, rtol=0, atol=1e-4 * np.std(want))


def slopes(f, x=POINTS):
    return jax.jit(jax.vmap(jax.grad(f)))(x)


@pytest.fixture
def wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.covers("AC-01")
def test_sigmoid(wide):
    # 1 / (1 + e^-1) = 1 / 1.3678794; a sign lost, 1 / (1 + e), is 0.2689414
    assert float(activations.sigmoid(0.0)) == 0.5
    assert float(activations.sigmoid(1.0)) == pytest.approx(0.7310586, abs=1e-7)
    s = activations.sigmoid(POINTS)
    np.testing.assert_allclose(slopes(activations.sigmoid), s * (1 - s), atol=1e-12)
    assert slopes(activations.sigmoid).argmax() == 24
    assert float(jax.grad(activations.sigmoid)(0.0)) == 0.25
    # it saturates on both sides, and its outputs are all positive
    for x in (-40.0, 40.0):
        assert float(jax.grad(activations.sigmoid)(x)) < 1e-16
    assert (s > 0).all()


@pytest.mark.covers("AC-02")
def test_tanh_is_a_sigmoid_stretched(wide):
    np.testing.assert_allclose(activations.tanh(POINTS), 2 * activations.sigmoid(2 * POINTS) - 1, atol=1e-12)
    e = np.exp(2 * POINTS)
    np.testing.assert_allclose(activations.tanh(POINTS), (e - 1) / (e + 1), atol=1e-12)
    np.testing.assert_allclose(slopes(activations.tanh), 1 - np.tanh(POINTS) ** 2, atol=1e-12)


@pytest.mark.covers("AC-03")
@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_relu_has_the_subgradient_that_was_chosen(slope):
    x = jnp.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(activations.relu(x, slope), [0, 0, 3])
    np.testing.assert_array_equal(slopes(lambda x: activations.relu(x, slope), x), [0, slope, 1])


@pytest.mark.covers("AC-03")
def test_relu_without_a_choice_is_jax_relu():
    assert float(jax.grad(activations.relu)(0.0)) == float(jax.grad(jax.nn.relu)(0.0)) == 0
    np.testing.assert_array_equal(activations.relu(POINTS), jax.nn.relu(POINTS))


@pytest.mark.covers("AC-04")
@pytest.mark.parametrize("slope", [0.1, 0.01, 0.2])
def test_leaky_relu_by_hand(slope):
    x = jnp.array([-2.0, 0.0, 3.0])
    np.testing.assert_allclose(activations.leaky_relu(x, slope), [-2 * slope, 0, 3], rtol=1e-6)
    np.testing.assert_allclose(activations.leaky_relu(x, slope), np.maximum(slope * x, x), rtol=1e-6)
    np.testing.assert_allclose(slopes(lambda x: activations.leaky_relu(x, slope), x), [slope, slope, 1])
    np.testing.assert_allclose(activations.leaky_relu(x), [-0.02, 0, 3], rtol=1e-6)


@pytest.mark.slow(unless=["False"])
@pytest.mark.covers("AC-05")
@pytest.mark.parametrize("per_channel", [True, False])
def test_prelu_learns_from_what_is_negative(per_channel):
    layer = activations.PReLU(per_channel=per_channel)
    x, g = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(1), x)
    slope = variables["params"]["negative_slope"]
    assert slope.shape == ((3,) if per_channel else ())
    np.testing.assert_array_equal(slope, 0.25)
    np.testing.assert_allclose(y, np.where(x >= 0, x, 0.25 * x), rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda v: (g * layer.apply(v, x)).sum()))(variables)["params"]["negative_slope"]
    at_zero = jax.jit(jax.grad(lambda x: layer.apply(variables, x).sum()))(np.zeros((1, 3), np.float32))
    np.testing.assert_array_equal(at_zero, 0.25)
    want = np.where(x < 0, x * g, 0).sum(0 if per_channel else None)
    np.testing.assert_allclose(gradient, want, rtol=1e-5)


@pytest.mark.covers("AC-06")
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_elu_by_hand(alpha, wide):
    # e^-1 - 1 = -0.6321206
    assert float(activations.elu(-1.0, alpha)) == pytest.approx(-0.6321206 * alpha, abs=1e-7)
    np.testing.assert_allclose(activations.elu(POINTS, alpha), np.where(POINTS > 0, POINTS, alpha * np.expm1(POINTS)))
    want = np.where(POINTS > 0, 1, alpha * np.exp(POINTS))
    np.testing.assert_allclose(slopes(lambda x: activations.elu(x, alpha)), want, atol=1e-12)


@pytest.mark.covers("AC-07")
def test_selu_by_hand(wide):
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    want = scale * np.where(POINTS > 0, POINTS, alpha * np.expm1(POINTS))
    np.testing.assert_allclose(activations.selu(POINTS), want, atol=1e-12)
    # a standard normal comes out with mean 0 and variance 1
    x = np.random.default_rng(0).normal(size=1_000_000)
    y = np.asarray(activations.selu(x))
    assert (y.mean(), y.var()) == pytest.approx((0, 1), abs=6e-3)


@pytest.mark.slow
@pytest.mark.covers("AC-07")
@pytest.mark.parametrize(("f", "stays"), [(activations.selu, True), (activations.tanh, False), (jax.nn.relu, False)])
def test_fifty_selu_layers_keep_mean_and_variance(f, stays):
    """LeCun's initialization, variance 1 / inputs, 256 wide."""
    init = linen.initializers.lecun_normal()
    x = jax.random.normal(jax.random.key(0), (128, 256))

    def layer(x, key):
        return f(x @ init(key, (256, 256))), None

    x = jax.jit(lambda x: jax.lax.scan(layer, x, jax.random.split(jax.random.key(1), 50))[0])(x)
    normal = abs(float(x.mean())) < 0.1 and 0.8 < float(x.var()) < 1.25
    assert normal == stays


@pytest.mark.slow
@pytest.mark.covers("AC-08")
def test_gelu_by_hand(wide):
    # P(X <= 1) = 0.8413447, P(X <= -1) = 0.1586553
    assert float(activations.gelu(1.0)) == pytest.approx(0.8413447, abs=1e-7)
    assert float(activations.gelu(-1.0)) == pytest.approx(-0.1586553, abs=1e-7)
    # (1 + tanh(sqrt(2 / pi) (1 + 0.044715))) / 2
    assert float(activations.gelu(1.0, approximate=True)) == pytest.approx(0.8411920, abs=1e-7)
    share = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in POINTS])
    np.testing.assert_allclose(activations.gelu(POINTS), POINTS * share, atol=1e-12)
    density = np.exp(-(POINTS**2) / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(slopes(activations.gelu), share + POINTS * density, atol=1e-12)
    assert np.abs(activations.gelu(POINTS, True) - activations.gelu(POINTS)).max() < 5e-4


@pytest.mark.covers("AC-08")
def test_stochastic_gelu_keeps_what_is_above_a_normal_draw():
    key, x = jax.random.key(0), np.linspace(-2, 2, 40, dtype=np.float32)
    found, drawn = jax.jit(lambda: (activations.stochastic_gelu(key, x), jax.random.normal(key, x.shape)))()
    np.testing.assert_array_equal(found, np.where(drawn <= x, x, 0))
    assert 10 < (np.asarray(found) == 0).sum() < 30


@pytest.mark.slow
@pytest.mark.covers("AC-08")
def test_gelu_is_the_mean_of_a_dropout_led_by_the_data():
    x = jnp.array([-2.0, -0.5, 0.3, 1.0, 2.5])
    drawn = jax.jit(jax.vmap(lambda rng: activations.stochastic_gelu(rng, x)))(
        jax.random.split(jax.random.key(0), 40_000)
    )
    assert ((drawn == 0) | (drawn == x)).all()
    # the mean of 40,000 has an error of |x| / 400 at most
    np.testing.assert_allclose(drawn.mean(0), activations.gelu(x), atol=4 * 2.5 / 400)
    fewer = np.abs(drawn[:40].mean(0) - activations.gelu(x)).max()
    assert np.abs(drawn.mean(0) - activations.gelu(x)).max() < fewer


@pytest.mark.covers("AC-09")
def test_softplus(wide):
    assert float(activations.softplus(0.0)) == pytest.approx(0.6931472, abs=1e-7)
    np.testing.assert_allclose(activations.softplus(POINTS), np.log1p(np.exp(POINTS)), atol=1e-12)
    np.testing.assert_allclose(slopes(activations.softplus), activations.sigmoid(POINTS), atol=1e-12)
    assert float(activations.softplus(1e4)) == 1e4


@pytest.mark.covers("AC-10")
@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_maxout_can_be_a_relu(slope):
    layer, x = activations.Maxout(3), jax.random.normal(jax.random.key(0), (4, 3))
    kernel = jnp.concatenate([jnp.eye(3), slope * jnp.eye(3)], 1)
    params = {"dense": {"kernel": kernel, "bias": jnp.zeros(6)}}
    np.testing.assert_allclose(layer.apply({"params": params}, x), activations.leaky_relu(x, slope), atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("AC-10")
def test_maxout_is_the_largest_of_its_layers_and_has_as_many_parameters():
    layer, x = activations.Maxout(5), jax.random.normal(jax.random.key(0), (4, 3))
    params = layer.init(jax.random.key(1), x)["params"]["dense"]
    # 2 (3 x 5 + 5) = 40
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 2 * sum(
        leaf.size for leaf in jax.tree.leaves(linen.Dense(5).init(jax.random.key(1), x))
    )
    params = {"kernel": params["kernel"], "bias": jnp.arange(10.0) / 10}
    both = [x @ params["kernel"][:, k : k + 5] + params["bias"][k : k + 5] for k in (0, 5)]
    np.testing.assert_allclose(layer.apply({"params": {"dense": params}}, x), np.maximum(*both), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="pieces=3: not a divisor; allowed: divisors of the 4 channels"):
        activations.maxout(jnp.zeros(4), 3)


@functools.partial(jax.jit, static_argnums=0)
def neuron_gradient(f, before, w, target):
    return jax.grad(lambda w: jnp.square(jnp.tanh(f(before) @ w) - target).sum())(w)


@pytest.mark.covers("AC-11")
@given(st.integers(0, 10_000))
def test_positive_inputs_make_a_neurons_weights_move_together(seed):
    """dL/dw_ij = x_i dL/ds_j for one example: where all x_i > 0 a column of dW has one sign, so that the weights can go
    to a target that lies between only in zig-zags; centered inputs have both signs.
    """
    rng = np.random.default_rng(seed)
    before, w, target = (rng.normal(size=size).astype(np.float32) for size in (8, (8, 4), 4))

    def signs(f):
        return np.sign(neuron_gradient(f, before, w, target))

    assert (np.abs(signs(activations.sigmoid).sum(0)) == 8).all()
    split = (before > 0).sum()
    assert (np.abs(signs(activations.tanh).sum(0)) == abs(2 * split - 8)).all()


@pytest.mark.covers("AC-12")
@given(st.integers(0, 10_000))
def test_softmax_tends_to_the_argmax_as_it_cools(seed):
    x = jnp.asarray(np.random.default_rng(seed).permutation(6), jnp.float32)
    one_hot = np.eye(6)[int(x.argmax())]
    np.testing.assert_allclose(activations.softmax(x / 0.01), one_hot, atol=1e-6)
    np.testing.assert_allclose(activations.softmax(x / 1e6), 1 / 6, atol=1e-5)
    distance = [float(np.abs(activations.softmax(x / t) - one_hot).sum()) for t in (4.0, 2.0, 1.0, 0.5)]
    assert distance == sorted(distance, reverse=True)
    assert float(activations.softmax(x).sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_tanh_shrink_keeps_its_digits_near_0(dtype):
    """x - tanh x is about x^3 / 3, of which the difference in float32 keeps nothing at x = 1e-3."""
    x = jnp.asarray([-0.5, -0.3, -1e-3, 0, 1e-4, 0.01, 0.29], dtype)
    exact = np.asarray(x, np.float64)
    exact = exact - np.tanh(exact)
    exact[4] = float(x[4]) ** 3 / 3
    y = activations.tanh_shrink(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, np.float64), exact, rtol=1e-5 if dtype == jnp.float32 else 4e-3)

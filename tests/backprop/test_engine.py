"""The engine: every gate's rule, gradients that add at forks, circuits by hand, and random graphs against jax.grad."""

import doctest

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore.backprop import Value, backward, engine, forward, numerical_gradient, relative_error, topological, zero_grad
from dlcore.optim import create_optimizer


def gradients(root, *leaves):
    zero_grad(root)
    backward(root)
    return [leaf.grad for leaf in leaves]


UNARY = {
    "tanh": (Value.tanh, jnp.tanh),
    "sigmoid": (Value.sigmoid, jax.nn.sigmoid),
    "relu": (Value.relu, jax.nn.relu),
    "square": (lambda x: x**2, lambda x: x**2),
    "exp": (lambda x: x.tanh().exp(), lambda x: jnp.exp(jnp.tanh(x))),
    "log": (lambda x: (x**2 + 1).log(), lambda x: jnp.log(x**2 + 1)),
    "negate": (lambda x: -x, lambda x: -x),
}
BINARY = {
    "add": (lambda a, b: a + b, lambda a, b: a + b),
    "subtract": (lambda a, b: a - b, lambda a, b: a - b),
    "multiply": (lambda a, b: a * b, lambda a, b: a * b),
    "divide": (lambda a, b: a / (b**2 + 1), lambda a, b: a / (b**2 + 1)),
    "maximum": (Value.maximum, jnp.maximum),
}


def grow(program, leaves, side):
    """Run a program (name, i, j) on all values so far; the result is the sum of the last value and of its square."""
    values = list(leaves)
    for name, i, j in program:
        operands = [values[i % len(values)], values[j % len(values)]]
        rule = (UNARY | BINARY)[name][side]
        made = rule(*operands) if name in BINARY else rule(operands[0])
        # Held down, so that squares of squares stay within what differences of floats can resolve.
        values.append(made.tanh() if side == 0 else jnp.tanh(made))
    return values[-1].sum() + (values[-1] * values[0]).sum()


@pytest.mark.slow
@pytest.mark.covers("BP-01", "BP-03")
@settings(max_examples=10)
@given(
    program=st.lists(
        st.tuples(st.sampled_from(sorted(UNARY | BINARY)), st.integers(0, 20), st.integers(0, 20)),
        min_size=1,
        max_size=8,
    ),
    seed=st.integers(0, 2**31 - 1),
)
def test_random_graphs_have_jaxs_gradients(program, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape) for shape in ((2, 3), (3,), (2, 1), ())]
    leaves = [Value(a) for a in arrays]
    root = grow(program, leaves, 0)
    with jax.enable_x64(True):
        value, want = jax.value_and_grad(lambda arrays: grow(program, arrays, 1))([jnp.asarray(a) for a in arrays])
    assert float(root.data) == pytest.approx(float(value), rel=1e-9)
    for got, expected in zip(gradients(root, *leaves), want, strict=True):
        chex.assert_equal_shape([got, expected])
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.covers("BP-01")
def test_forward_runs_again_in_order_and_values_stay_cached():
    x, y = Value(2.0), Value(3.0)
    product = x * y
    root = (product + x).tanh()
    order = topological(root)
    place = {id(v): i for i, v in enumerate(order)}
    assert order[-1] is root
    assert len(order) == 5
    assert all(place[id(p)] < place[id(v)] for v in order for p in v.parents)
    x.data = np.array(0.1)
    assert float(product.data) == 6.0, "what was computed stays until the graph is run again"
    assert float(forward(root)) == pytest.approx(np.tanh(0.1 * 3 + 0.1))
    assert float(product.data) == pytest.approx(0.3)


def test_deep_graphs_need_no_recursion():
    x = Value(1.0)
    root = x
    for _ in range(3000):
        root = root + 0.0
    assert float(gradients(root, x)[0]) == 1.0


@pytest.mark.covers("BP-02")
def test_add_distributes():
    a, b = Value(3.0), Value(-5.0)
    assert [float(g) for g in gradients((a + b) * 7, a, b)] == [7, 7]


@pytest.mark.covers("BP-02")
def test_max_routes_to_the_winner():
    a, b = Value([3.0, -1.0, 2.0]), Value([1.0, 4.0, 2.0])
    root = (a.maximum(b) * np.array([1.0, 10.0, 100.0])).sum()
    ga, gb = gradients(root, a, b)
    np.testing.assert_array_equal(ga, [1, 0, 100])  # a tie goes to the first
    np.testing.assert_array_equal(gb, [0, 10, 0])


@pytest.mark.covers("BP-02")
def test_multiply_switches():
    # 2 (3 * -4): the gradient of 3 is 2 * -4, that of -4 is 2 * 3.
    a, b = Value(3.0), Value(-4.0)
    assert [float(g) for g in gradients((a * b) * 2, a, b)] == [-8, 6]


@pytest.mark.covers("BP-02", "BP-03")
def test_copies_sum():
    # x is used three times: x + 5 x + x x at x = 2: 1 + 5 + 2 * 2 = 10. Assigning instead of adding would leave one.
    x = Value(2.0)
    assert float(gradients(x + x * 5 + x * x, x)[0]) == 10
    # A value that broadcasting copies, too: b goes into four sums.
    b = Value([1.0, 2.0])
    np.testing.assert_array_equal(gradients((np.ones((4, 2)) * (b + np.zeros((4, 2)))).sum(), b)[0], [4, 4])


@pytest.mark.covers("BP-03")
@given(x=st.floats(-5, 5), y=st.floats(-5, 5))
def test_a_fork_adds(x, y):
    # f = x y + x: df/dx = y + 1, df/dy = x.
    x, y = Value(x), Value(y)
    gx, gy = gradients(x * y + x, x, y)
    assert float(gx) == pytest.approx(float(y.data) + 1)
    assert float(gy) == pytest.approx(float(x.data))


def neuron(grouped):
    w, x = [Value(v) for v in (2.0, -3.0, -3.0)], [Value(v) for v in (-1.0, -2.0)]
    z = w[0] * x[0] + w[1] * x[1] + w[2]
    return (z.sigmoid() if grouped else 1 / (1 + (-z).exp())), [*w, *x]


@pytest.mark.covers("BP-04")
@pytest.mark.parametrize("grouped", [False, True])
def test_the_sigmoid_circuit(grouped):
    # z = 2 * -1 + -3 * -2 - 3 = 1, f = 1 / (1 + e^-1) = .7310586 (not 1 / (1 + e) = .2689), f (1 - f) = .1966;
    # dw0 = .1966 * x0 = -.1966, dw1 = .1966 * -2 = -.3932, dx0 = .1966 * 2 = .3932, dx1 = .1966 * -3 = -.5898.
    f, leaves = neuron(grouped)
    assert float(f.data) == pytest.approx(0.7310586, abs=1e-7)
    got = [float(g) for g in gradients(f, *leaves)]
    assert got == pytest.approx([-0.1966119, -0.3932239, 0.1966119, 0.3932239, -0.5898358], abs=1e-7)


@pytest.mark.covers("BP-05")
def test_one_sigmoid_gate_equals_its_four_parts_and_survives_where_they_overflow():
    for z in (-30.0, -2.0, 0.0, 1.0, 25.0):
        one, parts = Value(z), Value(z)
        whole, expanded = one.sigmoid(), 1 / (1 + (-parts).exp())
        assert len(topological(whole)) == 2
        assert len(topological(expanded)) > 5
        assert float(whole.data) == pytest.approx(float(expanded.data), rel=1e-12)
        assert float(gradients(whole, one)[0]) == pytest.approx(float(gradients(expanded, parts)[0]), rel=1e-6)
    far = Value([-1000.0, 1000.0])
    root = far.sigmoid().sum()
    np.testing.assert_array_equal(gradients(root, far)[0], [0, 0])
    assert float(root.data) == 1.0


@pytest.mark.covers("BP-06")
def test_matmul_has_the_gradients_of_y_equals_xw():
    rng = np.random.default_rng(0)
    x, w, dy = rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=(4, 2))
    a, b = Value(x), Value(w)
    backward(a @ b, dy)
    chex.assert_equal_shape([a.grad, x])
    chex.assert_equal_shape([b.grad, w])
    np.testing.assert_allclose(a.grad, dy @ w.T)
    np.testing.assert_allclose(b.grad, x.T @ dy)
    # Y = W X takes the others: dX = Wᵀ dY, dW = dY Xᵀ; here w.T @ x.T, whose gradient is dyᵀ.
    c, d = Value(w.T), Value(x.T)
    backward(c @ d, dy.T)
    np.testing.assert_allclose(d.grad, w @ dy.T)
    np.testing.assert_allclose(c.grad, dy.T @ x)
    assert relative_error(a.grad, numerical_gradient(lambda x: ((x @ w) * dy).sum(), x)) < 1e-7


@pytest.mark.covers("BP-07")
def test_a_backward_pass_is_the_jacobian_transposed_times_the_upstream():
    rng = np.random.default_rng(1)
    x, w, v = rng.normal(size=5), rng.normal(size=(5, 3)), rng.normal(size=5)
    with jax.enable_x64(True):
        for ours, theirs in UNARY.values():
            leaf = Value(x)
            backward(ours(leaf), v)
            jacobian = np.asarray(jax.jit(jax.jacobian(theirs))(x))
            np.testing.assert_allclose(leaf.grad, jacobian.T @ v, rtol=1e-9)
            np.testing.assert_array_equal(jacobian, np.diag(np.diag(jacobian)))  # element by element: diagonal
            np.testing.assert_allclose(leaf.grad, np.diag(jacobian) * v, rtol=1e-9)
        leaf, u = Value(x[None]), rng.normal(size=3)
        backward(leaf @ w, u[None])
        jacobian = np.asarray(jax.jit(jax.jacobian(lambda x: x @ w))(x))
        chex.assert_shape(jacobian, (3, 5))
        np.testing.assert_allclose(leaf.grad[0], jacobian.T @ u, rtol=1e-9)


def squared(x, y, w):
    return ((x @ w - y) ** 2).sum()


@pytest.mark.covers("BP-12")
def test_gradients_accumulate_until_they_are_zeroed():
    rng = np.random.default_rng(2)
    x, y, w = rng.normal(size=(6, 3)), rng.normal(size=(6, 1)), Value(rng.normal(size=(3, 1)))
    backward(squared(x, y, w))
    whole = w.grad
    w.grad = np.zeros_like(w.data)
    for part in range(3):  # three micro-batches, nothing zeroed between them
        rows = slice(2 * part, 2 * part + 2)
        backward(squared(x[rows], y[rows], w))
    np.testing.assert_allclose(w.grad, whole, rtol=1e-12)
    root = squared(x, y, w)
    backward(root)
    np.testing.assert_allclose(w.grad, 2 * whole, rtol=1e-12)
    zero_grad(root)
    backward(root)
    backward(root)
    np.testing.assert_allclose(w.grad, 2 * whole, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.covers("BP-12")
def test_the_accumulating_optimiser_makes_micro_batches_one_batch():
    rng = np.random.default_rng(3)
    x, y = jnp.asarray(rng.normal(size=(6, 3))), jnp.asarray(rng.normal(size=6))

    def loss(w, x, y):
        return jnp.square(x @ w - y).mean()

    start = jnp.array([0.1, -0.2, 0.3])
    one, many = create_optimizer("adam", 0.1), create_optimizer("adam", 0.1, accumulate=3)
    want = start + one.update(jax.grad(loss)(start, x, y), one.init(start), start)[0]
    w, state = start, many.init(start)
    for part in range(3):
        rows = slice(2 * part, 2 * part + 2)
        update, state = many.update(jax.grad(loss)(w, x[rows], y[rows]), state, w)
        w = w + update
    np.testing.assert_allclose(w, want, rtol=1e-5)


@pytest.mark.covers("BP-12")
def test_no_gradient_passes_a_detached_value():
    # f = x * stop(x²) at 3: 9 and not 27; stop_gradient is the same.
    x = Value(3.0)
    assert float(gradients(x * (x * x).detach(), x)[0]) == 9
    assert float(jax.grad(lambda x: x * jax.lax.stop_gradient(x * x))(3.0)) == 9
    # An update on the arrays adds nothing to the graph.
    w = Value(1.0)
    root = w * w
    backward(root)
    w.data = w.data - 0.1 * w.grad
    assert w.gate is None
    assert float(forward(root)) == pytest.approx(0.64)


def flops(function, *arguments):
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


@pytest.mark.covers("BP-11")
def test_the_backward_pass_costs_about_two_forward_passes():
    """A layer's forward is one product and its backward two (dX and dW), all as large; the first dX is not needed."""
    x = jnp.ones((16, 64))
    weights = [jnp.ones((64, 64))] * 4

    def loss(weights):
        h = x
        for w in weights:
            h = jnp.tanh(h @ w)
        return h.sum()

    ratio = flops(jax.value_and_grad(loss), weights) / flops(loss, weights)
    assert 2.5 < ratio <= 3.1  # (4 + 4 + 3) / 4 = 2.75
    # The same count here: a product a gate forwards, two backwards.
    calls = []
    gate = engine.Gate(
        "@",
        lambda a, b: calls.append("forward") or a @ b,
        lambda g, y, a, b: calls.extend(["backward"] * 2) or (g @ b.T, a.T @ g),
    )
    h = Value(np.ones((2, 3)))
    for _ in range(4):
        h = engine.apply(gate, h, Value(np.ones((3, 3))))
    backward(h.sum())
    assert (calls.count("forward"), calls.count("backward")) == (4, 8)


def test_shapes_and_reductions():
    x = Value(np.arange(6.0).reshape(2, 3))
    root = (x.sum(0) * np.array([1.0, 2.0, 3.0])).sum() + x.sum(1, keepdims=True).sum() + x.reshape(3, 2).T.mean() * 6
    # By column 1, 2, 3; by row 1; the mean of six, times six, 1 again.
    np.testing.assert_allclose(gradients(root, x)[0], [[3, 4, 5]] * 2)
    left, right = Value(2.0), Value(4.0)
    assert float((1 - left).data) == -1
    assert [float(g) for g in gradients(left / right, left, right)] == [0.25, -0.125]
    assert [repr(v) for v in (Value(1.0), Value([2.0], name="w"), Value(1.0) + 2)] == [
        "Value(leaf, 1.0)",
        "Value(w, [2.0])",
        "Value(+, 3.0)",
    ]
    cube = Value(np.arange(8.0).reshape(2, 2, 2))
    for keepdims in (False, True):
        sums = cube.sum((0, 2), keepdims)
        weights = np.array([1.0, 10.0]).reshape(sums.data.shape)
        np.testing.assert_array_equal(sums.data.ravel(), [0 + 1 + 4 + 5, 2 + 3 + 6 + 7])
        np.testing.assert_array_equal(gradients((sums * weights).sum(), cube)[0], [[[1, 1], [10, 10]]] * 2)


def test_bad_roots():
    with pytest.raises(ValueError, match=r"upstream=None: the root is not a scalar; allowed: an array of shape \(2,\)"):
        backward(Value([1.0, 2.0]) + 1)


def test_the_example_of_the_docstring():
    assert doctest.testmod(engine).failed == 0

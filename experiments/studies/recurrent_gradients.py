"""Does a gradient pass T steps back as s^T where the recurrent weights stretch by s, less with tanh, whole in an LSTM?

python -m experiments.studies.recurrent_gradients

The recurrent kernel is s Q, Q orthogonal: all its singular values are s. Measured is the largest singular value of
dh_T/dh_0 for each T, of a linear cell and of a tanh cell under random inputs, and that of dc_T/dc_0 of an LSTM whose
forget gates are open and whose input gates are closed. Before, back-propagation through time written out by hand
(`dlcore.sequence.bptt`) is compared with jax.grad of the scan (`dlcore.nn.Recurrent`), and on four steps with the
engine of `dlcore.backprop`. The claim holds where the three gradients agree to 1e-10 in float64, the linear cell
follows s^T to 1e-9, tanh stays below it from the second step on, and the LSTM's norm is 1 to the last bit.

Measured over three seeds with T = 100: the gradients differ by 1e-15; tanh leaves 1e-15, 6e-12 and 7e-9 at s = 0.9, 1
and 1.1, where s^T is 3e-5, 1 and 1e4; the LSTM keeps 1.

References: Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063; Hochreiter & Schmidhuber 1997.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.backprop.engine import Value
from dlcore.backprop.engine import backward as engine_backward
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.nn import initializers
from dlcore.nn.recurrent import Recurrent
from dlcore.report.figure import BLACK, BLUE, GREEN, VERMILION, new_figure, seed_lines
from dlcore.sequence import bptt

COLORS = (VERMILION, BLACK, BLUE)
TOLERANCE = 1e-10
"""Of gradients in float64, relative to the largest of an array."""


def problem(seed: int, steps: int, batch: int = 3, inputs: int = 2, width: int = 5):
    """Draw (weights, h0, x, gradient of the loss by each state), all float64."""
    rng = np.random.default_rng(seed)
    kernels = rng.normal(size=(inputs, width)), rng.normal(size=(width, width)) / np.sqrt(width)
    weights = bptt.RNNWeights(*map(jnp.asarray, (*kernels, rng.normal(size=width))))
    shapes = (batch, width), (batch, steps, inputs), (batch, steps, width)
    return weights, *(jnp.asarray(rng.normal(size=shape)) for shape in shapes)


def by_hand(weights, h0, x, gradient) -> tuple:
    """The gradients of sum(gradient * states) by the weights, h0 and x, by `bptt`."""
    d_weights, d_h0, d_x = bptt.backward(weights, bptt.forward(weights, h0, x), x, gradient)
    return *d_weights, d_h0, d_x


def by_scan(weights, h0, x, gradient) -> tuple:
    """The same by jax.grad of the layer."""
    layer = Recurrent(h0.shape[-1], "rnn")

    def loss(weights, h0, x):
        names = ("input_kernel", "hidden_kernel", "input_bias")
        params = dict(zip(names, weights, strict=True)) | {"hidden_bias": jnp.zeros_like(weights.bias)}
        return (layer.apply({"params": params}, (h0,), x)[1] * gradient).sum()

    d_weights, d_h0, d_x = jax.grad(loss, (0, 1, 2))(weights, h0, x)
    return *d_weights, d_h0, d_x


def by_engine(weights, h0, x, gradient) -> tuple:
    """The same by the gates of `dlcore.backprop`, one for each operation of each step."""
    leaves = [Value(w) for w in weights]
    start, inputs = Value(h0), [Value(x[:, t]) for t in range(x.shape[1])]
    h, loss = start, Value(0.0)
    for t, value in enumerate(inputs):
        h = (value @ leaves[0] + h @ leaves[1] + leaves[2]).tanh()
        loss = loss + (h * np.asarray(gradient[:, t])).sum()
    engine_backward(loss)
    return *(leaf.grad for leaf in leaves), start.grad, np.stack([v.grad for v in inputs], 1)


def difference(ours, reference) -> float:
    """The largest difference of two lists of arrays, each relative to the largest element of its array."""
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(ours, reference, strict=True))


def orthogonal(key: jax.Array, width: int) -> jax.Array:
    return initializers.orthogonal()(key, (width, width), jnp.float64)


def jacobian_norms(step, inputs: jax.Array, state: jax.Array) -> jax.Array:
    """Compute the largest singular value [T] of dh_t/dh_0 along inputs [T, ...], with step: (h [H], input) -> h."""

    def over_time(carry, a):
        h, jacobian = carry
        jacobian = jax.jacfwd(step)(h, a) @ jacobian
        return (step(h, a), jacobian), jnp.linalg.norm(jacobian, 2)

    return jax.lax.scan(over_time, (state, jnp.eye(state.size, dtype=state.dtype)), inputs)[1]


def rnn_norms(seed: int, scale: float, steps: int, width: int, linear: bool) -> np.ndarray:
    """Compute the norms [T] of a cell whose recurrent kernel is `scale` times an orthogonal matrix."""
    keys = jax.random.split(jax.random.key(seed), 3)
    kernel = scale * orthogonal(keys[0], width)
    inputs = 0.5 * jax.random.normal(keys[1], (steps, width), jnp.float64)
    state = 0.5 * jax.random.normal(keys[2], (width,), jnp.float64)
    return np.asarray(
        jacobian_norms(lambda h, a: a + h @ kernel if linear else jnp.tanh(a + h @ kernel), inputs, state)
    )


def lstm_norms(seed: int, steps: int, width: int) -> np.ndarray:
    """Compute the norms [T] of dc_t/dc_0 where f = 1 and i = 0, whatever the recurrent kernel and the inputs."""
    keys = jax.random.split(jax.random.key(seed), 3)
    layer = Recurrent(width, "lstm")
    kernels = (0.5 * jax.random.normal(key, (width, 4 * width), jnp.float64) for key in keys[:2])
    params = dict(zip(("input_kernel", "hidden_kernel"), kernels, strict=True))
    params["input_bias"] = jnp.repeat(jnp.array([-1000.0, 1000.0, 0.0, 0.0]), width)  # of the gates i, f, g, o
    params["hidden_bias"] = jnp.zeros(4 * width)

    def step(state, x):
        h, c = state[None, :width], state[None, width:]
        (h, c), _ = layer.apply({"params": params}, (h, c), x[None, None])
        return jnp.concatenate([h[0], c[0]])

    inputs = jax.random.normal(keys[2], (steps, width), jnp.float64)

    def over_time(carry, x):
        state, jacobian = carry
        jacobian = jax.jacfwd(step)(state, x) @ jacobian
        return (step(state, x), jacobian), jnp.linalg.norm(jacobian[width:, width:], 2)

    start = jnp.concatenate([jnp.zeros(width), jnp.linspace(-1, 1, width)])
    return np.asarray(jax.lax.scan(over_time, (start, jnp.eye(2 * width)), inputs)[1])


def report(differences: dict[str, float], norms: dict[tuple[str, float], np.ndarray], lstm: np.ndarray) -> StudyResult:
    """Judge gradients' differences, norms {(cell, s): [seeds, T]} and the LSTM's [seeds, T]."""
    steps = np.arange(1, lstm.shape[1] + 1)
    scales = sorted({s for _, s in norms})
    errors = {s: float(np.abs(norms["linear", s] / s**steps - 1).max()) for s in scales}
    below = all((norms["tanh", s][:, 1:] < norms["linear", s][:, 1:]).all() for s in scales)
    agree = all(d <= TOLERANCE for d in differences.values())
    follows = all(e <= 1e-9 for e in errors.values())
    whole = bool((lstm == 1).all())
    norms_text = "; ".join(
        f"s = {s:g}: {norms['linear', s][:, -1].mean():.2g} linear (s^T = {s ** int(steps[-1]):.2g}), "
        f"{norms['tanh', s][:, -1].mean():.1g} tanh"
        for s in scales
    )
    verdict = (
        f"The gradients by hand {'equal' if agree else 'do NOT equal'} the scan's and the engine's (largest relative "
        f"difference {max(differences.values()):.1g}). After {steps[-1]} steps {norms_text}; tanh is "
        f"{'below' if below else 'NOT below'} the linear cell throughout. The LSTM with f = 1, i = 0: "
        f"{'exactly 1' if whole else f'NOT 1, but {lstm.min():g} to {lstm.max():g}'}."
    )
    numbers = {f"difference, {name}": d for name, d in differences.items()}
    numbers |= {f"norm after {steps[-1]} steps, {cell}, s = {s:g}": n[:, -1].tolist() for (cell, s), n in norms.items()}
    numbers |= {f"largest relative distance from s^T, s = {s:g}": e for s, e in errors.items()}
    numbers["norm of dc_T/dc_0, LSTM"] = lstm[:, -1].tolist()
    headline = Headline(
        f"norm of dh_T/dh_0 after {steps[-1]} steps, tanh, s = {scales[-1]:g}",
        norms["tanh", scales[-1]][:, -1],
        "random inputs",
    )
    return StudyResult(numbers, verdict, {"norms": draw(norms, lstm)}, agree and follows and below and whole, headline)


def draw(norms, lstm):
    figure, axes = new_figure((6, 4), grid="both")
    steps = np.arange(1, lstm.shape[1] + 1)
    scales = sorted({s for _, s in norms})
    for s, color in zip(scales, itertools.cycle(COLORS), strict=False):
        axes.semilogy(steps, s**steps, color=color, lw=3, alpha=0.25)
        axes.semilogy(steps, norms["linear", s][0], color=color, ls="--", lw=1, label=f"linear, s = {s:g}")
        seed_lines(axes, norms["tanh", s], color, f"tanh, s = {s:g}")
    axes.semilogy(steps, lstm[0], color=GREEN, lw=1.5, ls=":", label="LSTM's cell, f = 1, i = 0")
    axes.set(xlabel="steps back", ylabel="norm of the Jacobian", ylim=(1e-20, None))
    axes.legend(frameon=False, fontsize=8)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 100,
    width: PositiveInt = 32,
    scales: tuple[float, ...] = (0.9, 1.0, 1.1),
) -> StudyResult:
    """Compare gradients through time with closed forms.

    Args:
      steps: T, at least 4.
      width: width of the states.
      scales: s, the singular values of the recurrent kernel.
    """
    with jax.enable_x64(True):
        long, short = problem(0, steps), problem(1, 4)
        differences = {
            f"by hand and by scan, T = {steps}": difference(by_hand(*long), by_scan(*long)),
            "by hand and by engine, T = 4": difference(by_hand(*short), by_engine(*short)),
            "by scan and by engine, T = 4": difference(by_scan(*short), by_engine(*short)),
        }
        norms = {
            (cell, s): np.stack([rnn_norms(seed, s, steps, width, cell == "linear") for seed in range(num_seeds)])
            for s in scales
            for cell in ("linear", "tanh")
        }
        lstm = np.stack([lstm_norms(seed, steps, width) for seed in range(num_seeds)])
    return report(differences, norms, lstm)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 6, "width": 4})

if __name__ == "__main__":
    main(experiment)

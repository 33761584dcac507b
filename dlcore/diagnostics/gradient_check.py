"""Gradient check: compare a gradient with finite differences of the loss, one coordinate at a time.

    one-sided      (f(w + h) - f(w)) / h          error of order h
    centered       (f(w + h) - f(w - h)) / 2h     error of order h²
    complex step   Im f(w + ih) / h               no cancellation, so h may be 1e-20 (Squire & Trapp 1998)
    relative error |a - n| / max(|a|, |n|)        or over |a| + |n|; a analytic, n numerical

In float64 with h = 1e-5 an error above 1e-2 is a wrong gradient; 1e-4 to 1e-2 is uncomfortable; less is fine for a
function with kinks (ReLU, max), but too high for one without (tanh, softmax); at most 1e-7 is happy. Errors grow with
depth. A kink between w - h and w + h spoils the numerical gradient. A coordinate whose step crosses a kink is therefore
measured on the side without one, by the parabola through three points (error of order h²), or with a smaller step; if
kinks are everywhere, another coordinate of the array replaces it.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.diagnostics.trace import Operation, draws_random_numbers, run_traced
from dlcore.ops.checks import check_indices, check_shapes

__all__ = [
    "METHODS",
    "VERDICTS",
    "LeafCheck",
    "check_gradient",
    "check_step",
    "has_kinks",
    "kinks_crossed",
    "numerical_gradient",
    "relative_error",
    "verdict",
]

METHODS = ("centered", "one_sided", "complex_step")
KINKS = ("max", "min", "clamp", "reduce_max", "reduce_min", "sort")
VERDICTS = {
    "happy": "a relative error of at most 1e-7, as of an exact gradient in float64",
    "fine with kinks": "below 1e-4: right for a loss with kinks, such as those of ReLU and max",
    "too high without kinks": "below 1e-4, but the loss is smooth, where a right gradient has at most 1e-7",
    "uncomfortable": "1e-4 to 1e-2: probably a wrong gradient",
    "wrong": "above 1e-2: the gradient is wrong",
}
"""What each result of `verdict` means."""
TINY = 1e-10
NOISE = 1e4
"""A slope is compared only if it is above this many times the rounding error eps |f| / h of its difference."""
REPLACEMENTS = 10
"""Number of other coordinates to try for each coordinate that has kinks everywhere."""


class LeafCheck(NamedTuple):
    """The comparison for one parameter array.

    Args:
      path: path of the array, a/b/c.
      checked: number of compared coordinates.
      skipped: number of sampled coordinates whose gradients are below the rounding error.
      analytic: the gradient at the worst coordinate.
      numerical: the numerical gradient at the worst coordinate.
      error: the relative error at the worst coordinate.
      kinks: number of kinks that steps of `h` along the sampled coordinates crossed; those coordinates were measured on
        the other side, with a smaller step, or replaced.
      verdict: result of `verdict`; None if nothing was compared.
    """

    path: str
    checked: int
    skipped: int
    analytic: float
    numerical: float
    error: float
    kinks: int
    verdict: str | None


def relative_error(a: np.ndarray, b: np.ndarray, over: Literal["max", "sum"] = "max") -> float:
    """Compute the largest relative error |a - b| / max(|a|, |b|), or over |a| + |b|, of two gradients.

    Args:
      a: a gradient of any shape.
      b: a gradient of the same shape; values that are both below 1e-10 in magnitude count as equal.
      over: "max" divides by the larger magnitude, "sum" by the sum of both.

    Returns:
      The largest relative error; 0 for empty arrays.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"b={b.shape}: wrong shape; allowed: {a.shape}, that of a")
    check_choice("over", over, ("max", "sum"))
    sizes = np.abs(a), np.abs(b)
    scale = np.maximum(*sizes) if over == "max" else sizes[0] + sizes[1]
    tiny = np.maximum(*sizes) < TINY
    with np.errstate(invalid="ignore"):
        return float(np.max(np.where(tiny, 0, np.abs(a - b) / np.where(tiny, 1, scale)), initial=0.0))


def verdict(error: float, kinks: bool = False) -> str:
    """Classify a relative error.

    Args:
      error: a relative error in float64 at h = 1e-5; NaN is "wrong".
      kinks: whether the function has kinks, such as ReLU.

    Returns:
      "wrong" (above 1e-2), "uncomfortable" (from 1e-4), "fine with kinks" or "too high without kinks", "happy" (to
        1e-7).
    """
    if error is None or isinstance(error, str):
        raise ValueError(f"error={error!r}: no number; allowed: at least 0, or NaN")
    if error < 0:
        raise ValueError(f"error={error}: out of range; allowed: at least 0")
    if not error <= 1e-2:
        return "wrong"
    if error >= 1e-4:
        return "uncomfortable"
    if error <= 1e-7:
        return "happy"
    return "fine with kinks" if kinks else "too high without kinks"


def check_step(h: float, method: str = "centered") -> None:
    """Check that a step is above the rounding error.

    Args:
      h: step size.
      method: "centered", "one_sided" or "complex_step" (see the module).
    """
    check_choice("method", method, METHODS)
    if h is None or isinstance(h, str):
        raise ValueError(f"h={h!r}: no number; allowed: [1e-10, 1), of a complex step (0, 1)")
    if not 0 < h < 1 or (method != "complex_step" and h < TINY):
        raise ValueError(f"h={h}: rounding would take over; allowed: [1e-10, 1), of a complex step (0, 1)")


def numerical_gradient(
    f: Callable[[jax.Array], jax.Array],
    w: jax.Array,
    coordinates: jax.Array,
    h: float = 1e-5,
    method: Literal["centered", "one_sided", "complex_step"] = "centered",
) -> jax.Array:
    """Compute the numerical gradient of a scalar function at some coordinates, one after the other.

    Args:
      f: [D] -> scalar.
      w: [D] float64, the point of the gradient.
      coordinates: [K] int in [0, D).
      h: step size in [1e-10, 1); for a complex step in (0, 1).
      method: "centered", "one_sided" or "complex_step" (see the module).

    Returns:
      [K], ∂f/∂w_i for i in `coordinates`.

    Raises:
      TypeError: w is not float64, or a complex step meets an operation with a real result (abs).
      ValueError: the method is unknown, h is out of range, w has no such coordinate, or `f` gives no scalar.
    """
    check_step(h, method)
    if w.dtype != jnp.float64:
        raise TypeError(f"w={w.dtype}: not precise enough; allowed: float64 (jax.enable_x64)")
    check_shapes(w=(w, "D"), coordinates=(coordinates, "int K"))
    check_indices("coordinates", coordinates, len(w), "numbers")
    _check_scalar("f", f, w)
    if method == "complex_step":
        _refuse_real(f, w)
        return jax.lax.map(lambda i: f(w.astype(jnp.complex128).at[i].add(1j * h)).imag / h, coordinates)
    if method == "one_sided":
        value = f(w)
        return jax.lax.map(lambda i: (f(w.at[i].add(h)) - value) / h, coordinates)
    return jax.lax.map(lambda i: (f(w.at[i].add(h)) - f(w.at[i].add(-h))) / (2 * h), coordinates)


def _choices(operation: Operation) -> jax.Array | None:
    """Return the side of the kink that each value is on: the argument of a maximum, the sign of an absolute value."""
    name, x = operation.name, operation.inputs
    if name in ("max", "min"):
        return x[0] > x[1]
    if name in ("abs", "sign"):
        return x[0] > 0
    if name == "clamp":
        return (x[1] > x[0]) & (x[1] < x[2])
    if name in ("reduce_max", "reduce_min"):
        return x[0] == jnp.expand_dims(operation.outputs[0], operation.params["axes"])
    if name == "select_n" and x[0].dtype == bool:
        return x[0]
    if name == "sort" and "dimension" in operation.params:  # the operation, not the function that calls it
        return jnp.argsort(x[0], operation.params["dimension"])
    return None


def kinks_crossed(f: Callable[..., jax.Array], a: Any, b: Any) -> jax.Array:
    """Count the kinks between two arguments: differing arguments of max, signs, branches of where.

    Args:
      f: a function that JAX can trace; loops are not opened.
      a: an argument of `f`.
      b: an argument of the same shape.

    Returns:
      [] int32.
    """

    pairs = zip(_value_and_choices(f, a)[1], _value_and_choices(f, b)[1], strict=True)
    return _differing(pairs)


def _value_and_choices(f: Callable[..., jax.Array], x: Any) -> tuple[jax.Array, list[jax.Array]]:
    choices = []

    def visit(operation):
        choice = _choices(operation)
        if choice is not None:
            choices.append(choice)

    return run_traced(f, x, visit=visit), choices


def _differing(pairs: Iterable[tuple[jax.Array, jax.Array]]) -> jax.Array:
    return sum((jnp.sum(left != right, dtype=jnp.int32) for left, right in pairs), jnp.int32(0))


def has_kinks(f: Callable[..., jax.Array], *args: Any) -> bool:
    """Return whether maxima, minima, clipping or sorting lie between the arguments and the value, outside of loops.

    Args:
      f: a function that JAX can trace.
      *args: its arguments, or their shapes and dtypes.

    Returns:
      True if a gradient passes one of them.
    """
    kinks = []

    def visit(operation: Operation) -> None:
        finite = not any(
            np.ndim(x) == 0 and isinstance(x, float | np.floating) and np.isinf(x) for x in operation.inputs
        )
        kinks.append(operation.name in KINKS and finite and not operation.stopped)

    jax.eval_shape(lambda *args: run_traced(f, *args, visit=visit), *args)
    return any(kinks)


def _check_scalar(name: str, f: Callable[[Any], jax.Array], x: Any) -> None:
    shapes = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(f, x))]
    if shapes != [()]:
        raise ValueError(f"{name}: gives {', '.join(map(str, map(list, shapes)))}; allowed: a scalar")


def _refuse_real(f: Callable[[jax.Array], jax.Array], w: jax.Array) -> None:
    def visit(operation: Operation) -> None:
        complex_inputs, complex_outputs = (
            [jnp.iscomplexobj(x) for x in side] for side in (operation.inputs, operation.outputs)
        )
        if any(complex_inputs) and not any(complex_outputs) and operation.outputs[0].dtype != bool:
            raise TypeError(
                f"method='complex_step': {operation.name} returns a real number; allowed: centered, one_sided"
            )

    jax.eval_shape(lambda w: run_traced(f, w, visit=visit), w.astype(jnp.complex128))


def check_gradient(
    loss: Callable[[Any], jax.Array],
    params: Any,
    *,
    samples: int = 3,
    h: float | None = None,
    method: Literal["centered", "one_sided", "complex_step"] = "centered",
    seed: int = 0,
    gradient: Callable[[Any], Any] | None = None,
    allow_random: bool = False,
) -> list[LeafCheck]:
    """Compare the gradient of a scalar loss with numerical gradients at a few coordinates of every parameter array.

    Call it under `jax.enable_x64` with float64 parameters after a few training steps (gradients at initialization
    differ from those of the run, and vanish behind a head of zeros), few examples (few kinks), and with the data loss
    and the penalty separately, so that one does not hide an error of the other.

    Args:
      loss: params -> scalar.
      params: any pytree of float64 arrays.
      samples: number of coordinates of each array.
      h: step size; None for 1e-5, and 1e-20 for the complex step.
      method: "centered", "one_sided" or "complex_step" (see the module).
      seed: random seed of the coordinates.
      gradient: params -> gradient to check; None for `jax.grad(loss)`.
      allow_random: let the loss draw random numbers with fixed keys, such as noise of a diffusion model.

    Returns:
      One result per parameter array.

    Raises:
      TypeError: a parameter is not float64.
      ValueError: the loss draws random numbers (dropout, augmentation) or gives no scalar, the gradient has other
        shapes than `params`, or an argument is out of range.
    """
    check_whole_number("samples", samples, 1)
    check_whole_number("seed", seed, 0)
    check_choice("method", method, METHODS)
    leaves, tree = jax.tree.flatten(params)
    if not leaves:
        raise ValueError("params: holds no array; allowed: at least one")
    paths = [
        jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    for path, leaf in zip(paths, leaves, strict=True):
        if jnp.asarray(leaf).dtype != jnp.float64:
            dtype = jnp.asarray(leaf).dtype
            raise TypeError(f"{path}={dtype}: not precise enough; allowed: float64 (jax.enable_x64)")
    _check_scalar("loss", loss, params)
    if not allow_random and draws_random_numbers(loss, params):
        raise ValueError(
            "loss: draws random numbers; allowed: one without dropout and augmentation, or allow_random=True"
        )
    h = (1e-20 if method == "complex_step" else 1e-5) if h is None else h
    check_step(h, method)
    shapes, sizes = [leaf.shape for leaf in leaves], [leaf.size for leaf in leaves]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)

    def flat_loss(w: jax.Array) -> jax.Array:
        parts = (w[s : s + n].reshape(shape) for s, n, shape in zip(starts, sizes, shapes, strict=True))
        return loss(jax.tree.unflatten(tree, list(parts)))

    w = jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])
    gradients = jax.tree.leaves((gradient or jax.jit(jax.grad(loss)))(params))
    if [jnp.shape(g) for g in gradients] != shapes:
        raise ValueError("gradient: of other shapes than params; allowed: a tree like params")
    analytic = np.asarray(jnp.concatenate([jnp.ravel(g) for g in gradients]))
    rng = np.random.default_rng(seed)
    orders = [s + rng.permutation(n) for s, n in zip(starts, sizes, strict=True)]
    if method == "complex_step":
        coordinates = jnp.asarray(np.concatenate([order[:samples] for order in orders]))
        measured = np.asarray(jax.jit(lambda w: numerical_gradient(flat_loss, w, coordinates, h, method))(w))
        numbers = [_Number(analytic[i], n, TINY, 0) for i, n in zip(coordinates, measured, strict=True)]
        boundaries = np.cumsum([len(order[:samples]) for order in orders])[:-1]
        columns = [numbers[first:last] for first, last in itertools.pairwise([0, *boundaries, len(numbers)])]
    else:
        probe = _Probe(flat_loss, w, analytic)
        columns = [probe.numbers(order, samples, h, method) for order in orders]
    function_has_kinks = has_kinks(loss, params)
    return [_line(path, numbers, function_has_kinks) for path, numbers in zip(paths, columns, strict=True)]


class _Number(NamedTuple):
    """An analytic and a numerical slope, the least magnitude above rounding error, and the kinks that h crosses."""

    analytic: float
    numerical: float
    least: float
    kinks: int

    @property
    def loud(self) -> bool:
        return not np.maximum(abs(self.analytic), abs(self.numerical)) < self.least


class _Probe:
    """Measure slopes and kinks of f: [D] -> scalar at w along single coordinates."""

    def __init__(self, f: Callable[[jax.Array], jax.Array], w: jax.Array, analytic: np.ndarray):
        at = jax.jit(lambda w, i, step: _value_and_choices(f, w.at[i].add(step)))
        self.at = lambda i, step: at(w, i, step)
        self.differing = jax.jit(lambda a, b: _differing(zip(a, b, strict=True)))
        self.analytic, self.here = analytic, self.at(0, 0.0)
        self.rounding = NOISE * np.finfo(np.float64).eps * abs(float(self.here[0]))

    def numbers(self, order: np.ndarray, samples: int, h: float, method: str) -> list[_Number]:
        """Measure the first `samples` coordinates of `order`; later coordinates may replace them."""
        replacements = iter(order[samples : samples + REPLACEMENTS * samples])
        return [self.number(i, replacements, h, method) for i in order[:samples]]

    def number(self, i: int, replacements: Iterator[int], h: float, method: str) -> _Number:
        first = self.measure(i, 0.0 if method == "one_sided" else -h, h, parabola=False)
        if not first.kinks:
            return first
        for j in itertools.chain([i], replacements):
            for step in (h, h / 10):
                for low, high in ((-step, step), (0.0, step), (-step, 0.0)):
                    candidate = self.measure(j, low, high)
                    if not candidate.kinks and candidate.loud:
                        return candidate._replace(kinks=first.kinks)
        return first

    def measure(self, i: int, low: float, high: float, parabola: bool = True) -> _Number:
        """Measure the slope between two points, or at w of the parabola through them and their midpoint; both are equal
        for low = -high."""
        (left, before), (right, after) = (self.at(i, step) if step else self.here for step in (low, high))
        middle, half = (low + high) / 2, (high - low) / 2
        slope, width = (right - left) / (2 * half), half
        if parabola and middle:
            slope -= middle * (left - 2 * self.at(i, middle)[0] + right) / half**2
            width = half / 4
        # The weights of a one-sided parabola are -3, 4, -1, those of a difference -1, 0, 1: magnitudes 8 and 2.
        least = max(TINY, self.rounding / width)
        return _Number(float(self.analytic[i]), float(slope), least, int(self.differing(before, after)))


def _line(path: str, numbers: list[_Number], function_has_kinks: bool) -> LeafCheck:
    compared, kinks = [number for number in numbers if number.loud], sum(number.kinks for number in numbers)
    if not compared:
        return LeafCheck(path, 0, len(numbers), 0.0, 0.0, 0.0, kinks, None)
    errors = np.array([relative_error(number.analytic, number.numerical) for number in compared])
    worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
    error = float(errors[worst]) if np.isfinite(errors[worst]) else float("inf")
    return LeafCheck(
        path,
        checked=len(compared),
        skipped=len(numbers) - len(compared),
        analytic=float(compared[worst].analytic),
        numerical=float(compared[worst].numerical),
        error=error,
        kinks=kinks,
        verdict=verdict(error, function_has_kinks or kinks > 0),
    )

"""Flow matching (rectified flow, FM): a network learns the velocity that carries noise to data along straight lines.

Lipman et al. 2023, arXiv:2210.02747; Liu, Gong & Liu 2023, arXiv:2209.03003; the density of times is Esser et al. 2024,
arXiv:2403.03206 (Stable Diffusion 3).

    x_t = (1 - t) x_0 + t eps,   eps ~ N(0, I),   t in [0, 1]: 0 is data, 1 is noise
    L = |(eps - x_0) - v_theta(x_t, t)|^2, averaged over the dimensions
    dx / dt = v_theta(x_t, t), solved from t = 1 to t = 0, gives a sample

The best v_theta(x, t) is the mean of eps - x_0 over all pairs whose line passes through x at t. Times are uniform or
logit-normal, t = sigmoid(n), n ~ N(0, 1), which trains the middle of the path more, where the mean is hardest. A solver
may spend more steps near noise: t' = s t / (1 + (s - 1) t) with a shift s above 1.

Reflow trains a second network on the pairs (x_0, eps) that the first one, the teacher, connects: x_0 = ODE(eps). Their
lines cross less, so the paths are straighter and few steps suffice. The straightness of a path measures it; it is 0 for
a line that is passed at constant speed:

    S = integral over t from 0 to 1 of |(x_1 - x_0) - dx / dt|^2, averaged over the dimensions

The paper draws the pairs once, before the second training; here each step draws new ones, by Heun's method. The network
gets 1000 t, as in Stable Diffusion 3.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.generative.condition import Condition, check_guidance
from dlcore.generative.consistency import Distillation
from dlcore.generative.denoising import decode_pixels, denoising_learner, encode_pixels, example_noise
from dlcore.generative.diffusion import denoiser, noise_of
from dlcore.generative.samplers import check_falling, walk
from dlcore.generative.schedules import check_floats, to_acc_dtype
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops.checks import check_finite, check_range, check_shapes, describe_array

__all__ = [
    "FlowSampling",
    "flow_loss",
    "flow_path",
    "flow_times",
    "learner",
    "path_straightness",
    "reflow_loss",
    "reflow_pairs",
    "sample_times",
    "solve_flow",
]

TIME_SCALE = 1000.0
"""What the network gets is TIME_SCALE t, in the range of a diffusion model's timesteps."""


class FlowSampling(NamedTuple):
    """How the flow is solved.

    Args:
      solver: euler, or heun, which calls the network twice a step and averages both velocities.
      num_inference_steps: steps of the solver.
      shift: s above; more than 1 spends more of the steps near noise.
      guidance: strength w of the condition in samples: 0 without, 1 as trained, more at the price of variety.
    """

    solver: Literal["euler", "heun"] = "euler"
    num_inference_steps: Annotated[int, Range(1)] = 50
    shift: Annotated[float, Range(1e-3)] = 1.0
    guidance: Annotated[float, Range(0)] = 1.0

    def times(self) -> np.ndarray:
        """Space the times of the solver.

        Returns:
          [N + 1], see `flow_times`.
        """
        check_choice("solver", self.solver, ("euler", "heun"))
        return flow_times(self.num_inference_steps, self.shift)


def flow_path(x: jax.Array, noise: jax.Array, t: Any) -> jax.Array:
    """Interpolate between data and noise.

    Args:
      x: [...], x_0.
      noise: [...], eps.
      t: [...] or a number in [0, 1].

    Returns:
      x_t = (1 - t) x_0 + t eps, [...], computed in float32 and cast to the dtype of x.
    """
    check_floats("x", x)
    check_shapes(x=(x, "..."), noise=(noise, "..."))
    check_range("t", t, 0, 1)
    t = to_acc_dtype(t)
    if t.ndim not in (0, np.ndim(x)) or any(size not in (1, np.shape(x)[k]) for k, size in enumerate(t.shape)):
        raise ValueError(f"t={describe_array(t)}: wrong shape; allowed: a number, or the axes of {describe_array(x)}")
    return ((1 - t) * to_acc_dtype(x) + t * to_acc_dtype(noise)).astype(jnp.asarray(x).dtype)


def sample_times(keys: jax.Array, time_density: Literal["uniform", "logit_normal"] = "uniform") -> jax.Array:
    """Draw the time of each example.

    Args:
      keys: [B], of the examples.
      time_density: uniform in [0, 1], or sigmoid of a standard normal number.

    Returns:
      [B] in [0, 1].
    """
    check_shapes(keys=(keys, "B"))
    check_choice("time_density", time_density, ("uniform", "logit_normal"))
    if time_density == "uniform":
        return jax.vmap(jax.random.uniform)(keys)
    return jax.nn.sigmoid(jax.vmap(jax.random.normal)(keys))


def flow_loss(
    network: Callable[..., jax.Array],
    keys: jax.Array,
    x: jax.Array,
    cond: tuple = (),
    time_density: Literal["uniform", "logit_normal"] = "uniform",
) -> jax.Array:
    """Compute L of each example: the squared error of the predicted velocity.

    Args:
      network: (x_t [B, ...], 1000 t [B], *cond) -> velocity [B, ...].
      keys: [B], of the examples.
      x: [B, ...], x_0.
      cond: the condition, or () for none.
      time_density: density of the times, see `sample_times`.

    Returns:
      [B], at least float32.

    Raises:
      ValueError: as `sample_times` and `reflow_loss`.
    """
    # A time and noise for each example.
    t = sample_times(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys), time_density)  # [B]
    noise = example_noise(keys, x)  # [B, ...]
    return reflow_loss(network, x, noise, t, cond)


def reflow_loss(
    network: Callable[..., jax.Array], x: jax.Array, noise: jax.Array, t: jax.Array, cond: tuple = ()
) -> jax.Array:
    """Compute the squared error of the velocity between given pairs of data and noise.

    Args:
      noise: [B, ...], eps of each x_0.
      t: [B] in [0, 1].
      As `flow_loss`.

    Returns:
      [B], at least float32.
    """
    # Straight line from data to noise; its velocity is the target.
    check_shapes(t=(t, str(len(x))))
    noisy = flow_path(x, noise, t.reshape(-1, *[1] * (x.ndim - 1)))  # [B, ...]
    velocity = to_acc_dtype(network(noisy, TIME_SCALE * t, *cond))
    check_shapes(x=(x, "..."), velocity=(velocity, "..."))
    error = to_acc_dtype(noise) - to_acc_dtype(x) - velocity
    return jnp.square(error).reshape(x.shape[0], -1).mean(-1)


def reflow_pairs(
    teacher: Callable[..., jax.Array], keys: jax.Array, x: jax.Array, cond: tuple = (), num_steps: int = 8
) -> tuple[jax.Array, jax.Array]:
    """Draw pairs of data and noise that a trained flow connects.

    Args:
      teacher: (x_t [B, ...], 1000 t [B], *cond) -> velocity [B, ...].
      x: [B, ...], whose shape and dtype the pairs get.
      num_steps: steps of Heun's method, which call the teacher 2 num_steps - 1 times.
      As `flow_loss`.

    Returns:
      (x_0 [B, ...], eps [B, ...]).

    Raises:
      ValueError: num_steps is below 1.
    """
    noise = example_noise(keys, x).astype(x.dtype)

    def velocity(x, t):
        return teacher(x, jnp.full(x.shape[0], t), *cond)

    return jax.lax.stop_gradient(solve_flow(velocity, noise, flow_times(num_steps), "heun")), noise


def path_straightness(path: jax.Array, times: np.ndarray) -> jax.Array:
    """Compute S of paths whose points are connected by straight lines.

    Args:
      path: [N + 1, B, ...], from noise to data, see `return_trajectory` of `solve_flow`.
      times: [N + 1], of the points, falling.

    Returns:
      S of each path, [B], at least float32; 0 is a straight line, and one step is always one.
    """
    times = np.asarray(times)
    check_shapes(times=(times, "N finite"))
    if len(times) != len(path) or len(times) < 2:
        raise ValueError(f"times={len(times)}: of {len(path)} points; allowed: a time for each point, at least two")
    if path.ndim < 2 or not (np.diff(times) < 0).all():
        raise ValueError(
            f"times={times.tolist()} of path={list(path.shape)}: allowed: falling times, path [N + 1, B, ...]"
        )
    path = to_acc_dtype(path)
    path = path.reshape(*path.shape[:2], -1)  # [N + 1, B, D]
    lengths = jnp.asarray(np.diff(times), path.dtype)[:, None, None]  # [N, 1, 1], below 0
    error = (path[-1] - path[0]) / lengths.sum() - jnp.diff(path, axis=0) / lengths  # [N, B, D]
    return (jnp.square(error).mean(-1) * -lengths[..., 0]).sum(0)


def flow_times(num_inference_steps: int, shift: float = 1.0, *, last: float = 0.0) -> np.ndarray:
    """Space the times of a solver evenly from 1 to `last`, shift them, and end at 0.

    Args:
      num_inference_steps: N, at least 1.
      shift: s, above 0.
      last: time before the last step, where `last` is above 0, as Stable Diffusion 3 has it (1 / 1000); 0 spaces
        N + 1 times evenly from 1 to 0.

    Returns:
      [N + 1] float64, falling.
    """
    check_whole_number("num_inference_steps", num_inference_steps, 1)
    check_shapes(shift=(shift, "> 0"), last=(last, "0 to 1"))
    check_finite("shift", shift)
    even = np.linspace(1.0, 0.0, num_inference_steps + 1)[:-1]
    t = np.linspace(1.0, last, num_inference_steps) if last > 0 else even
    return np.append(shift * t / (1 + (shift - 1) * t), 0.0)


def solve_flow(
    velocity: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    times: np.ndarray,
    solver: Literal["euler", "heun"] = "euler",
    *,
    return_trajectory: bool = False,
) -> Any:
    """Solve dx / dt = v(x, t) along falling times.

    Args:
      velocity: (x [B, ...], 1000 t []) -> [B, ...].
      x: [B, ...], the start, noise.
      times: [N + 1], falling, see `flow_times`.
      solver: euler; or heun, whose last step, to t = 0, is one of Euler.
      return_trajectory: return x after every step too.

    Returns:
      [B, ...], of the dtype of the start; with `return_trajectory` (sample, [N + 1, B, ...] from the start on).
    """
    check_choice("solver", solver, ("euler", "heun"))
    check_falling("times", times)
    dtype = x.dtype

    def v(x, t):
        return to_acc_dtype(velocity(x.astype(dtype), TIME_SCALE * t))

    def step(x, extra, k, t, s):
        slope = v(x, t)
        after = x + (s - t) * slope
        if solver == "heun":
            # The mean of the velocities at both ends of the step.
            after = jax.lax.cond(s > 0, lambda: x + (s - t) * (slope + v(after, s)) / 2, lambda: after)
        return after, extra

    return walk(step, x, None, times, return_trajectory=return_trajectory)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    teacher: nn.Module | None = None,
    condition: Condition | None = None,
    encode: Callable[[Any, jax.Array, dict], jax.Array] = encode_pixels,
    decode: Callable[[Any, jax.Array], jax.Array] = decode_pixels,
    frozen: Sequence[str] = (),
    time_density: Literal["uniform", "logit_normal"] = "logit_normal",
    flow_sampling: FlowSampling = FlowSampling(),
    condition_dropout: Annotated[float, Range(0, 1)] = 0.1,
    teacher_steps: Annotated[int, Range(1), "if changed"] = 8,
) -> Learner:
    """Train a flow of `{"image": [B, *shape], "index": [B]}`, and of what `condition` reads.

    Args:
      model: `__call__(x [B, *shape], 1000 t [B]) -> velocity [B, *shape]`; with a condition it is the third argument.
      shape: shape of one example.
      teacher: trained flow of the same inputs, for reflow; the state then holds `params["student"]` and
        `locked["teacher"]`, which the caller replaces by trained parameters. None connects examples with any noise.
      encode: (parameters, keys [B], batch) -> [B, *shape], what flows; the pixels in [-1, 1] by default.
      decode: (parameters, samples [B, *shape]) -> images in [0, 1].
      frozen: submodules of the model that do not learn.
      time_density: density of the times in training: uniform, or logit_normal, more in the middle.
      condition_dropout: share of the training examples that lose their condition.
      teacher_steps: reflow: steps of Heun's method by which the teacher draws the pairs.

    Returns:
      The learner. `evaluate` measures the loss with t and noise drawn for each example by its index; `predict` needs
      `index` and the condition, and gives `{"sample": images}`.
    """
    check_guidance(flow_sampling.guidance, condition is not None)
    if teacher is not None and frozen:
        raise ValueError(f"frozen={frozen!r}: beside a teacher, which is frozen itself; allowed: ()")
    times = flow_sampling.times()

    def losses(network, keys, x, cond, step):
        if teacher is None:
            return flow_loss(network, keys, x, cond, time_density)

        def teacher_network(x, t, *cond):
            return network(x, t, *cond, use_teacher=True)

        # Reflow: the line between a noise and where the teacher carries it.
        x, noise = reflow_pairs(teacher_network, keys, x, cond, teacher_steps)  # [B, ...]
        t = sample_times(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys), time_density)  # [B]
        return reflow_loss(network, x, noise, t, cond)

    def draw(network, keys, cond, fractions):
        velocity = denoiser(network, condition, cond, flow_sampling.guidance)
        return solve_flow(velocity, noise_of(keys, tuple(shape), fractions)(-1), times, flow_sampling.solver)

    return denoising_learner(
        model=model if teacher is None else Distillation(model, teacher),
        optimizer=optimizer,
        shape=shape,
        losses=losses,
        draw=draw,
        condition=condition,
        encode=encode,
        decode=decode,
        frozen=frozen if teacher is None else ("teacher",),
        condition_dropout=condition_dropout,
    )

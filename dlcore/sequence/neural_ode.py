"""A neural ordinary differential equation, fitted to trajectories.

Chen et al. 2018, arXiv:1806.07366.

    dh/dt = f_w(t, h),  h(t_0) = y_0,      L(w) = mean over i, j of (h_j(t_i) - y_ij)^2

The network gives a velocity; a solver (`dlcore.nn.ode.odeint`) makes a trajectory of it, from the first point of an
example on. The gradient is that of the solver's steps, or that of the equation by the adjoint method.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean, mse_loss
from dlcore.nn import Dense
from dlcore.nn.ode import odeint
from dlcore.optim import apply_gradients, init_state

__all__ = ["VectorField", "learner"]


class VectorField(nn.Module):
    """A perceptron that gives a velocity to each point, whatever the time.

    Args:
      hidden_size: width of the hidden layers.
      num_layers: hidden layers.
    """

    hidden_size: Annotated[int, Range(1)] = 64
    num_layers: Annotated[int, Range(1)] = 2

    @nn.compact
    def __call__(self, t: jax.Array, h: jax.Array) -> jax.Array:
        """Compute the velocity.

        Args:
          t: [] time; it changes nothing.
          h: [..., D] points.

        Returns:
          [..., D].
        """
        x = h
        for i in range(self.num_layers):
            x = jnp.tanh(Dense(self.hidden_size, name=f"hidden{i}")(x))
        return Dense(h.shape[-1], name="head")(x)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    solver: Literal["rk4", "euler"] = "rk4",
    solver_steps: Annotated[int, Range(1)] = 1,
    gradient: Literal["adjoint", "direct"] = "adjoint",
) -> Learner:
    """Fit a vector field to trajectories `{"state": [B, T, D], "time": [B, T], "index": [B]}`.

    Args:
      model: `__call__(t [], h [D]) -> dh/dt [D]`.
      optimizer: any optax transformation.
      solver: rule of a step.
      solver_steps: number of the solver's steps between two points of a trajectory.
      gradient: gradient of the equation ("adjoint"), or of the solver's steps ("direct").

    Returns:
      The learner. `evaluate` returns the mean squared error over points, `loss`, and that of the last point. `predict`
      gives `{"state": [B, T, D]}` from the first point of each example.
    """

    def field(params: Any, t: jax.Array, h: jax.Array) -> jax.Array:
        return model.apply({"params": params}, t, h)

    def solve(params: Any, batch: dict) -> jax.Array:
        def row(h, times):
            return odeint(field, params, h, times, steps=solver_steps, method=solver, gradient=gradient)

        return jax.vmap(row)(batch["state"][:, 0], batch["time"])

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), jnp.zeros(()), batch["state"][0, 0])["params"]
        return init_state(params, optimizer, rng)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        # Integrate from the first point, and compare with all later ones.
        errors = mse_loss(solve(params, batch)[:, 1:], batch["state"][:, 1:])  # [B, T - 1]
        mask = mask_of(batch)
        metrics = {"loss": Sum.of(errors, mask), "last_point": Sum.of(errors[:, -1], mask)}
        return masked_mean(errors.mean(1), mask), metrics

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Gradient through the solver, or by its adjoint.
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state, batch)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        return {"state": solve(state.params, batch)}

    return Learner(init, update, evaluate, predict, loss)

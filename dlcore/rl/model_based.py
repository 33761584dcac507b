"""Planning in a learnt model: the next observation by a network, the next action by the cross-entropy method.

Nagabandi, Kahn, Fearing & Levine 2018, "Neural network dynamics for model-based deep reinforcement learning with
model-free fine-tuning", arXiv:1708.02596; ensembles and the planner as in Chua, Calandra, McAllister & Levine 2018,
arXiv:1805.12114; the cross-entropy method by Rubinstein 1999.

    model    s' = s + sigma_d f(z(s), a) + mu_d              z(s) = (s - mu_s) / sigma_s
    loss     |f(z(s), a) - (s' - s - mu_d) / sigma_d|^2 / 2   for each of the ensemble, on its own minibatches
    plan     a_0 ... a_{H-1} ~ N(m, v);  m, v <- mean and variance of the elites, those of the largest return
    act      the first action of m;  the next plan starts from m moved by one step, its last action 0

mu and sigma are the mean and deviation of what was seen so far. The return of a plan is the mean over the ensemble of
its rewards, sum_t r(s_t, a_t, s_{t+1}); the reward is a known function, or learnt as one more number of f. The planner
does not know that an episode may end, so that this is for environments that do not terminate. The agent acts at random
until it has taken `random_steps` steps, and the model is trained anew after each update's steps, from its last weights.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype
from dlcore.ops.replica import pmean, replica_key
from dlcore.optim import optimizer_step
from dlcore.rl.environments import AgentState, Environment, check_environment, env_step, random_actions, start
from dlcore.rl.off_policy import BATCHED, empty_replay
from dlcore.rl.replay import Replay, Transition

__all__ = [
    "REWARDS",
    "Dynamics",
    "ModelBasedState",
    "Planner",
    "Statistics",
    "cross_entropy_method",
    "learner",
    "pendulum_reward",
]

Reward = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def pendulum_reward(observation: jax.Array, action: jax.Array, next_observation: jax.Array) -> jax.Array:
    """-(angle^2 + velocity^2 / 10 + torque^2 / 1000), the torque being twice the action.

    Args:
      observation: [..., 3], (cos, sin, velocity) before the action.
      action: [..., 1] in [-1, 1].
      next_observation: not used.

    Returns:
      [...].
    """
    check_shapes(observation=(observation, "... 3"))
    check_shapes(action=(action, "... 1"))
    del next_observation
    cosine, sine, velocity = jnp.moveaxis(observation, -1, 0)
    torque = 2 * jnp.clip(action[..., 0], -1, 1)
    return -(jnp.square(jnp.arctan2(sine, cosine)) + 0.1 * jnp.square(velocity) + 0.001 * jnp.square(torque))


REWARDS: dict[str, Reward] = {"Pendulum-v1": pendulum_reward}
"""Rewards known as functions of (observation, action, next observation), by environment."""


class Dynamics(nn.Module):
    """An ensemble of networks that predict the normalized change of the observation.

    Args:
      num_outputs: numbers that each predicts.
      width: units of each of two dense layers.
      ensemble: number of networks.
    """

    num_outputs: int
    width: Annotated[int, Range(1)] = 64
    ensemble: Annotated[int, Range(1)] = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Predict by each network from inputs of its own.

        Args:
          x: [E, B, D], normalized.

        Returns:
          [E, B, num_outputs].
        """
        for i, units in enumerate((self.width, self.width, self.num_outputs)):
            init = nn.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=0)
            kernel = self.param(f"kernel{i}", init, (self.ensemble, x.shape[-1], units))
            bias = self.param(f"bias{i}", nn.initializers.zeros, (self.ensemble, 1, units))
            x = jnp.einsum("ebd,edu->ebu", x, kernel) + bias
            x = nn.silu(x) if i < 2 else x
        return x


@struct.dataclass
class Statistics:
    """Mean and deviation of the observations.

    Args:
      input_mean: [D], of observations.
      input_std: [D].
      output_mean: [O], of what is predicted: changes, and the reward where it is learnt.
      output_std: [O].
    """

    input_mean: jax.Array
    input_std: jax.Array
    output_mean: jax.Array
    output_std: jax.Array


@struct.dataclass
class ModelBasedState(AgentState):
    """State of an agent that plans.

    Args:
      replay: replay buffer of the visited transitions.
      statistics: statistics of the replay.
      plan: [N, H, A], the running plan of each instance.
    """

    replay: Replay
    statistics: Statistics
    plan: jax.Array


def cross_entropy_method(
    score: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    mean: jax.Array,
    std: jax.Array | float = 1.0,
    *,
    population: int = 100,
    num_elites: int = 10,
    iterations: int = 4,
) -> jax.Array:
    """Maximize a function over the cube [-1, 1]^D by samples alone.

    Each iteration draws a population around the mean, clips it to the cube, and fits mean and deviation to the elites.
    The mean itself is one of the population.

    Args:
      score: [P, ...] -> [P], larger is better; NaN is worse than all numbers.
      key: random key.
      mean: [...], where the search starts.
      std: [...] or a number, how far it looks at first.
      population: P, candidates of an iteration.
      num_elites: candidates that the next iteration is fitted to; all of them where it is P.
      iterations: how often; one with a single elite is random shooting.

    Returns:
      [...], the last mean.
    """
    check_shapes(
        num_elites=(num_elites, "int >= 1"), population=(population, "int >= 1"), iterations=(iterations, "int >= 1")
    )
    check_shapes(mean=(mean, "..."), std=(std, "... > 0" if np.ndim(std) else "> 0"))
    if num_elites > population:
        raise ValueError(f"num_elites={num_elites}: not among the candidates; allowed: 1 to population={population}")

    mean, dtype = to_acc_dtype(mean), result_dtype(mean)

    def step(carry, i):
        mean, std = carry
        # The first candidate is the mean itself.
        noise = jax.random.normal(jax.random.fold_in(key, i), (population, *mean.shape)).at[0].set(0.0)
        candidates = jnp.clip(mean + std * noise, -1, 1)  # [P, ...]
        scores = score(candidates)  # [P]
        check_shapes(score=(scores, str(population)))
        _, best = jax.lax.top_k(jnp.where(jnp.isnan(scores), -jnp.inf, scores), num_elites)
        # Refit the Gaussian to the elites.
        elites = candidates[best]
        return (elites.mean(0), elites.std(0)), None

    std = jnp.broadcast_to(jnp.asarray(std, mean.dtype), mean.shape)
    return jax.lax.scan(step, (mean, std), jnp.arange(iterations))[0][0].astype(dtype)


class Planner(NamedTuple):
    """How far and how thoroughly the agent plans.

    Args:
      horizon: H, steps that a plan looks ahead.
      population: plans that an iteration of the planner compares.
      num_elites: the best of them, which the next iteration starts from.
      iterations: planner's iterations for each action.
      warm_start: start from the last plan moved by one step; else from no action.
    """

    horizon: Annotated[int, Range(1)] = 20
    population: Annotated[int, Range(1)] = 100
    num_elites: Annotated[int, Range(1)] = 10
    iterations: Annotated[int, Range(1)] = 3
    warm_start: bool = True


class _World(NamedTuple):
    """The learned model of an environment. reward: known function, or None where the model predicts it."""

    model: Any
    dimensions: int
    reward: Reward | None

    def predict(self, params: Any, statistics: Statistics, observation: jax.Array, action: jax.Array) -> jax.Array:
        """[E, B, D] and [E, B, A] -> [E, B, O], in deviations."""
        inputs = (observation - statistics.input_mean) / statistics.input_std
        return self.model.apply({"params": params}, jnp.concatenate([inputs, jnp.clip(action, -1, 1)], -1))

    def imagine(
        self, params: Any, statistics: Statistics, observation: jax.Array, action: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """[E, B, D] and [E, B, A] -> next observations [E, B, D] and rewards [E, B]."""
        out = self.predict(params, statistics, observation, action) * statistics.output_std + statistics.output_mean
        after = observation + out[..., : self.dimensions]
        return after, out[..., self.dimensions] if self.reward is None else self.reward(observation, action, after)

    def members(self, x: jax.Array) -> jax.Array:
        """[...] -> [E, ...], the same for each network of the ensemble."""
        return jnp.broadcast_to(x, (self.model.ensemble, *x.shape))

    def targets(self, data: Transition) -> jax.Array:
        """[..., O], what the model is to predict."""
        change = data.next_observation - data.observation
        return change if self.reward is not None else jnp.concatenate([change, data.reward[..., None]], -1)

    def statistics(self, replay: Replay) -> Statistics:
        """Mean and deviation of the observations and targets in the replay buffer."""
        is_valid = jnp.arange(replay.data.reward.shape[1]) < replay.written
        weights = is_valid / (is_valid.sum() * replay.data.reward.shape[0])

        def average(x):
            return pmean(jnp.einsum("l,nld->d", weights, x))

        def moments(x):
            variance = average(jnp.square(x - average(x)))
            return average(x), jnp.where(variance > 1e-12, jnp.sqrt(variance), 1.0)

        return Statistics(*moments(replay.data.observation), *moments(self.targets(replay.data)))

    def loss(self, params: Any, statistics: Statistics, data: Transition) -> tuple[jax.Array, jax.Array]:
        """(sum over the ensemble, losses [E * B])."""
        out = self.predict(params, statistics, data.observation, data.action)
        # Each member of the ensemble predicts the normalized change of state.
        targets_normalized = (self.targets(data) - statistics.output_mean) / statistics.output_std  # [E, B, O]
        losses = 0.5 * jnp.square(out - targets_normalized).mean(-1)  # [E, B]
        return losses.mean(1).sum(), losses.ravel()


def _plan(
    world: _World, planner: Planner, state: ModelBasedState, key: jax.Array, observation: jax.Array, before: jax.Array
) -> jax.Array:
    """[H, A] actions from an observation [D] and the plan [H, A] before it."""

    def score(candidates):
        first = world.members(jnp.broadcast_to(observation, (planner.population, world.dimensions)))
        # Predicted return of each action sequence, the mean over the ensemble.
        _, rewards = jax.lax.scan(  # [horizon, E, population]
            lambda x, action: world.imagine(state.params, state.statistics, x, world.members(action)),
            first,
            jnp.moveaxis(candidates, 1, 0),
        )
        return jnp.nan_to_num(rewards.sum(0).mean(0), nan=-jnp.inf)

    # Warm start: the previous plan, one step on.
    moved = jnp.concatenate([before[1:], jnp.zeros_like(before[:1])]) if planner.warm_start else jnp.zeros_like(before)
    return cross_entropy_method(
        score, key, moved, population=planner.population, num_elites=planner.num_elites, iterations=planner.iterations
    )


def _act(
    environment: Environment, plan: Callable, state: ModelBasedState, keys: jax.Array, is_random: jax.Array
) -> tuple[ModelBasedState, Sum]:
    """One step of each instance: (state, returns of episodes that ended)."""

    def planned():
        plans = jax.vmap(plan, (None, 0, 0, 0))(state, keys[:, 0], state.observation, state.plan)
        return plans, plans[:, 0]

    # Random actions at first; then the first action of each plan (MPC).
    plans, action = jax.lax.cond(is_random, lambda: (state.plan, random_actions(environment, keys[:, 0])), planned)
    after, out, finished = env_step(environment, state, keys[:, 1], action)
    transition = Transition(state.observation, action, out.reward, out.terminated, out.final_observation)
    # A new episode starts without a plan.
    done = (out.terminated | out.truncated)[:, None, None]
    return after.replace(replay=state.replay.add(transition), plan=jnp.where(done, 0.0, plans)), finished


def _fit(
    world: _World,
    optimizer: optax.GradientTransformation,
    state: ModelBasedState,
    rng: jax.Array,
    num_updates: int,
    minibatch_size: int,
) -> tuple[ModelBasedState, Sum]:
    """Gradient steps on minibatches of the replay buffer: (state, losses)."""
    size = world.model.ensemble, minibatch_size

    def descend(carry, t):
        params, opt_state = carry
        # A minibatch of its own for each member of the ensemble.
        data = state.replay.sample(jax.random.fold_in(rng, t), size[0] * size[1])
        data = jax.tree.map(lambda x: x.reshape(*size, *x.shape[1:]), data)  # [E, B, ...]
        gradients, losses = jax.grad(world.loss, has_aux=True)(params, state.statistics, data)
        return optimizer_step(optimizer, gradients, opt_state, params), Sum.of(losses)

    (params, opt_state), losses = jax.lax.scan(descend, (state.params, state.opt_state), jnp.arange(num_updates))
    return state.replace(params=params, opt_state=opt_state), losses.collapse()


def _episode(
    environment: Environment, world: _World, plan: Callable, state: ModelBasedState, first: jax.Array, key: jax.Array
) -> jax.Array:
    """[4] of one episode from the plan `first`: return, length, and sums of both squared errors."""
    start_state, observation = environment.reset(jax.random.fold_in(key, 0))

    def step(carry, t):
        env_state, observation, before, running = carry
        environment_key, plan_key = jax.random.split(jax.random.fold_in(key, t + 1))
        # Plan, act by the first action, and compare the model's prediction with what came.
        plans = plan(state, plan_key, observation, before)
        inputs = map(world.members, (observation[None], plans[:1]))
        predictions, _ = world.imagine(state.params, state.statistics, *inputs)
        env_state, out = environment.step(environment_key, env_state, plans[0])
        scale = state.statistics.output_std[: world.dimensions]
        # Error of the model, and of predicting no change.
        errors = [(x - out.final_observation) / scale for x in (predictions.mean(0)[0], observation)]
        measures = jnp.stack([out.reward, jnp.float32(1), *(jnp.square(error).mean() for error in errors)])
        still_running = running & ~(out.terminated | out.truncated)
        return (env_state, out.observation, plans, still_running), jnp.where(running, measures, 0.0)

    carry = start_state, observation, first, jnp.array(True)
    return jax.lax.scan(step, carry, jnp.arange(environment.max_steps))[1].sum(0)


def _check(environment: Environment, planner: Planner) -> None:
    shape = environment.observation_shape
    check_environment(environment, 0.0, "continuous")
    if len(shape) != 1:
        raise ValueError(f"environment={environment.name!r}: observations of shape {shape}; allowed: vectors")
    if planner.num_elites > planner.population:
        allowed = f"1 to population={planner.population}"
        raise ValueError(f"num_elites={planner.num_elites}: not among the candidates; allowed: {allowed}")


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    reward: Reward | None = None,
    num_steps: Annotated[int, Range(1)] = 200,
    num_updates: Annotated[int, Range(1)] = 500,
    minibatch_size: Annotated[int, Range(1)] = 64,
    buffer_size: Annotated[int, Range(1)] = 4000,
    random_steps: Annotated[int, Range(1)] = 400,
    planner: Planner = Planner(),
) -> Learner:
    """Learn a model and plan in it; the batch is `{"index": [N]}`, one entry per environment instance.

    Args:
      model: `__call__(inputs [E, B, D + A]) -> outputs [E, B, O]` of E networks; see `Dynamics`.
      optimizer: any optax transformation.
      environment: environment of continuous actions; see `dlcore.rl.environments`.
      reward: (observations [..., D], actions [..., A], next observations [..., D]) -> [...]; None learns it, as the
        last of O = D + 1 outputs.
      num_steps: steps of each instance in one update.
      num_updates: gradient steps after them.
      minibatch_size: steps that each network sees in a gradient step.
      buffer_size: steps of each instance that are kept.
      random_steps: steps of each instance before the first plan, rounded up to whole updates.
      planner: how far and how thoroughly the agent plans.

    Returns:
      The learner. evaluate and predict play one episode per example; predict also gives each episode's "model_error",
      the mean squared error of the next observation over deviations of the change, and "no_change_error", that of
      predicting that nothing changes.
    """
    _check(environment, planner)
    (dimensions,), size = environment.observation_shape, environment.action_size
    world = _World(model, dimensions, reward)
    plan = functools.partial(_plan, world, planner)

    def init(rng: jax.Array, batch: dict) -> ModelBasedState:
        n, outputs = len(batch["index"]), dimensions + (reward is None)

        def params(key, observation):
            return model.init(key, world.members(jnp.concatenate([observation, jnp.zeros((n, size))], -1)))["params"]

        agent = start(environment, params, optimizer, rng, batch)
        return ModelBasedState(
            **vars(agent),
            replay=empty_replay(agent, environment, buffer_size, minibatch_size),
            statistics=Statistics(*(make(k) for k in (dimensions, outputs) for make in (jnp.zeros, jnp.ones))),
            plan=jnp.zeros((n, planner.horizon, size)),
        )

    def update(state: ModelBasedState, batch: dict) -> tuple[ModelBasedState, Metrics]:
        # Replicas sample different minibatches.
        root = jax.random.fold_in(state.rng, state.step)
        keys, sampling = example_keys(jax.random.fold_in(root, 0), batch), replica_key(jax.random.fold_in(root, 1))
        # Act for `num_steps`: plan by the model, or randomly in the first steps.
        is_random = state.step * num_steps < random_steps

        def act(state, t):
            step_keys = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, t)))(keys)
            return _act(environment, plan, state, step_keys, is_random)

        state, finished = jax.lax.scan(act, state, jnp.arange(num_steps))
        # Normalization of inputs and outputs, over the whole replay buffer.
        state = state.replace(step=state.step + 1, statistics=world.statistics(state.replay))
        # `num_updates` gradient steps on the dynamics model.
        state, losses = _fit(world, optimizer, state, sampling, num_updates, minibatch_size)
        return state, {"return": finished.collapse(), "loss": losses}

    def predict(state: ModelBasedState, batch: dict) -> dict[str, jax.Array]:
        keys = example_keys(state.rng, {"index": batch.get("episode", batch["index"])})
        first = jnp.zeros((planner.horizon, size))
        episode = functools.partial(_episode, environment, world, plan, state, first)
        total, length, model_error, no_change_error = jax.vmap(episode)(keys).T  # [B] each
        errors = {"model_error": model_error / length, "no_change_error": no_change_error / length}
        return {"return": total, "length": length.astype(jnp.int32), **errors}

    def evaluate(state: ModelBasedState, batch: dict) -> Metrics:
        return {name: Sum.of(values, mask_of(batch)) for name, values in predict(state, batch).items()}

    return Learner(init, update, evaluate, predict, batched=(*BATCHED, "plan"))

"""Deep Q-learning with a replay buffer and a target network.

Mnih et al. 2015, Nature 518; double Q-learning by van Hasselt, Guez & Silver 2016, arXiv:1509.06461.

    y = r + gamma (1 - terminated) Q_target(s', argmax_a Q(s', a))        without double: max_a Q_target(s', a)
    L = (Q(s, a) - stop_gradient(y))^2 / 2

The buffer holds the last L steps of each environment instance, [N, L, ...]; s' is the state that the action led to, so
that an episode cut off by time still counts the value of its last state. Exploration falls linearly from 1.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments, example_keys
from dlcore.rl.environments import AgentState, Environment, advance, episodes, start

__all__ = ["DQNState", "Transition", "learner", "q_target"]


class Transition(NamedTuple):
    """One step of an instance.

    Args:
      observation: before the action.
      action: int.
      reward: of the step.
      terminated: bool, the task is over.
      next_observation: the observation that the action led to, before any new episode.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    next_observation: jax.Array


@struct.dataclass
class DQNState(AgentState):
    """State of an agent with a replay buffer.

    Args:
      target_params: parameters of the target network.
      replay: Transition of [N, L, ...], a ring.
      env_steps: [] int32, steps that each instance has taken.
    """

    target_params: Any
    replay: Transition
    env_steps: jax.Array


def q_target(
    reward: jax.Array,
    terminated: jax.Array,
    next_q: jax.Array,
    next_target_q: jax.Array,
    gamma: float | jax.Array,
    double: bool = True,
) -> jax.Array:
    """Compute y of one transition; no gradient passes.

    Args:
      reward: [].
      terminated: [] bool.
      next_q: [A], values of s' by the network.
      next_target_q: [A], values of s' by the target network.
      gamma: discount a step.
      double: let the network choose the action that the target network values.

    Returns:
      [].
    """
    best = next_target_q[next_q.argmax()] if double else next_target_q.max()
    return jax.lax.stop_gradient(reward + gamma * jnp.where(terminated, 0.0, best))


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    environment: Environment,
    num_steps: Annotated[int, Range(1)] = 32,
    buffer_size: Annotated[int, Range(1)] = 1024,
    minibatch_size: Annotated[int, Range(1)] = 128,
    learning_starts: Annotated[int, Range(0)] = 64,
    exploration_steps: Annotated[int, Range(1)] = 2000,
    exploration_final_eps: Annotated[float, Range(0, 1)] = 0.05,
    target_update_interval: Annotated[int, Range(1)] = 100,
    gamma: Annotated[float, Range(0, 1)] = 0.99,
    double: bool = True,
    axis: str | None = None,
) -> Learner:
    """Learn action values; the batch is `{"index": [N]}`, one entry an instance of the environment.

    Args:
      model: `__call__(observations [B, ...]) -> values [B, A]`.
      optimizer: any optax transformation.
      environment: see `dlcore.rl.environments`.
      num_steps: steps of each instance in one update, each followed by one gradient step.
      buffer_size: steps of each instance that the replay buffer holds.
      minibatch_size: transitions of a gradient step.
      learning_starts: steps of each instance before the first gradient step.
      exploration_steps: steps of each instance over which exploration falls from 1 to `exploration_final_eps`.
      exploration_final_eps: share of random actions at the end.
      target_update_interval: gradient steps between two copies to the target network.
      gamma: discount a step.
      double: choose the next action by the network and value it by the target network.
      axis: name of the mapped axis under pmap; each replica samples its own environments' steps.

    Returns:
      The learner. evaluate and predict play one episode an example, greedily.
    """

    def q_values(params, observation):
        return model.apply({"params": params}, observation)

    def init(rng: jax.Array, batch: dict) -> DQNState:
        agent = start(environment, model, optimizer, rng, batch)
        x, scalar = agent.observation, agent.episode_return
        transition = Transition(x, scalar.astype(jnp.int32), scalar, scalar.astype(bool), x)
        replay = jax.tree.map(lambda x: jnp.zeros((len(x), buffer_size, *x.shape[1:]), x.dtype), transition)
        return DQNState(**vars(agent), target_params=agent.params, replay=replay, env_steps=jnp.zeros((), jnp.int32))

    def td_loss(params, target_params, data: Transition):
        q = jnp.take_along_axis(q_values(params, data.observation), data.action[:, None], -1)[:, 0]
        next_q, next_target_q = (q_values(p, data.next_observation) for p in (params, target_params))
        y = jax.vmap(lambda *row: q_target(*row, gamma, double))(data.reward, data.terminated, next_q, next_target_q)
        losses = optax.l2_loss(q, y)
        return losses.mean(), (losses, q)

    def act(state: DQNState, keys: jax.Array):
        falling = 1 - (1 - exploration_final_eps) * state.env_steps / exploration_steps
        epsilon = jnp.maximum(exploration_final_eps, falling)

        def choose(key, greedy):
            explore, which = jax.random.split(key)
            random = jax.random.randint(which, (), 0, environment.num_actions)
            return jnp.where(jax.random.bernoulli(explore, epsilon), random, greedy).astype(jnp.int32)

        action = jax.vmap(choose)(keys[:, 0], q_values(state.params, state.observation).argmax(-1))
        after, out, finished = advance(environment, state, keys[:, 1], action)
        transition = Transition(state.observation, action, out.reward, out.terminated, out.final_observation)
        column = state.env_steps % buffer_size
        replay = jax.tree.map(lambda buffer, x: buffer.at[:, column].set(x), state.replay, transition)
        return after.replace(replay=replay, env_steps=state.env_steps + 1), finished

    def sample(state: DQNState, key: jax.Array) -> Transition:
        row_key, column_key = jax.random.split(key)
        row = jax.random.randint(row_key, (minibatch_size,), 0, state.observation.shape[0])
        stored = jnp.minimum(state.env_steps, buffer_size)
        column = jax.random.randint(column_key, (minibatch_size,), 0, stored)
        return jax.tree.map(lambda buffer: buffer[row, column], state.replay)

    def update(state: DQNState, batch: dict) -> tuple[DQNState, Metrics]:
        root = jax.random.fold_in(state.rng, state.step)
        keys = example_keys(jax.random.fold_in(root, 0), batch)
        sampling = jax.random.fold_in(root, 1)
        if axis is not None:
            sampling = jax.random.fold_in(sampling, jax.lax.axis_index(axis))

        def step(state, t):
            state, finished = act(state, jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, t)))(keys))
            data = sample(state, jax.random.fold_in(sampling, t))
            gradients, (losses, q) = jax.grad(td_loss, has_aux=True)(state.params, state.target_params, data)
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
            learning = state.env_steps > learning_starts
            params, opt_state = jax.tree.map(
                lambda new, old: jnp.where(learning, new, old),
                (optax.apply_updates(state.params, updates), opt_state),
                (state.params, state.opt_state),
            )
            copy = state.env_steps % target_update_interval == 0
            target_params = jax.tree.map(lambda new, old: jnp.where(copy, new, old), params, state.target_params)
            state = state.replace(params=params, opt_state=opt_state, target_params=target_params)
            return state, {"return": finished, "loss": Sum.of(losses), "q": Sum.of(q)}

        state, metrics = jax.lax.scan(step, state, jnp.arange(num_steps))
        return state.replace(step=state.step + 1), {name: m.collapse() for name, m in metrics.items()}

    evaluate, predict = episodes(environment, lambda params, x: q_values(params, x[None])[0].argmax())
    batched = ("environment/*", "observation", "episode_return", "replay/*")
    return Learner(init, update, evaluate, predict, batched=batched)

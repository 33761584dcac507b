"""Q-learning with a table: an action's value moves towards its reward and the best value of the next state.

Watkins & Dayan 1992, Machine Learning 8.

    Q(s, a) <- Q(s, a) + alpha (r + gamma (1 - terminated) max_a' Q(s', a') - Q(s, a)),   alpha = 1 / n(s, a)^p

n counts the visits of a cell of the table; 1/2 < p <= 1 converges wherever every cell is visited for ever. The table
starts at random. s' is the state that the action led to, so that an episode cut off by time still counts the value of
its last state. The N instances share one table: where m of them visit a cell at once, the mean of their errors counts
by min(1, m / n^p). Actions are epsilon-greedy.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments, example_keys, root_key
from dlcore.ops.replica import psum
from dlcore.rl.environments import (
    AGENT_BATCHED,
    AgentState,
    Environment,
    check_environment,
    env_step,
    episodes,
    epsilon_greedy,
    start,
)

__all__ = ["QLearningState", "learner"]


@struct.dataclass
class QLearningState(AgentState):
    """State of an agent whose `params` are the table [S, A].

    Args:
      visits: [S, A] int32, how often each cell was updated.
    """

    visits: jax.Array


@check_arguments
def learner(
    *,
    environment: Environment,
    num_steps: Annotated[int, Range(1)] = 100,
    gamma: Annotated[float, Range(0, 1)] = 0.9,
    epsilon: Annotated[float, Range(0, 1)] = 0.8,
    step_power: Annotated[float, Range(0, 1)] = 0.8,
    initial_std: Annotated[float, Range(0)] = 0.1,
) -> Learner:
    """Learn a table of action values; the batch is `{"index": [N]}`, one entry per environment instance.

    Args:
      environment: environment whose observations are one-hot vectors [S], as of `dlcore.rl.gridworld.environment`.
      num_steps: steps of each instance in one update.
      gamma: discount a step.
      epsilon: share of random actions.
      step_power: p; 0 replaces a value by its newest target, 1 averages all targets.
      initial_std: standard deviation of the table at the start.

    Returns:
      The learner. evaluate and predict play one episode per example, greedily.
    """
    check_environment(environment, gamma, "discrete")
    first_observation = np.asarray(environment.reset(root_key(0))[1])
    if first_observation.ndim != 1 or np.flatnonzero(first_observation).size != 1 or first_observation.max() != 1:
        raise ValueError(
            f"environment={environment.name!r}: observations of shape {list(first_observation.shape)} that number no "
            "state; allowed: one-hot vectors [S], such as a grid's"
        )
    table_shape = (len(first_observation), environment.num_actions or 0)

    def init(rng: jax.Array, batch: dict) -> QLearningState:
        def params(key, observation):
            return initial_std * jax.random.normal(key, table_shape)

        agent = start(environment, params, optax.identity(), rng, batch)
        return QLearningState(**vars(agent), visits=jnp.zeros(table_shape, jnp.int32))

    def update(state: QLearningState, batch: dict) -> tuple[QLearningState, Metrics]:
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)

        def step(state, t):
            action_keys, env_keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, t)), out_axes=1)(keys)
            table, state_idx = state.params, state.observation.argmax(-1)  # [S, A], [N]
            # Epsilon-greedy step in every environment.
            action = epsilon_greedy(environment, action_keys, table[state_idx], epsilon)
            state, out, finished = env_step(environment, state, env_keys, action)
            # TD error against the greedy value of the next state.
            next_value = table[out.final_observation.argmax(-1)].max(-1)  # [N]
            target = out.reward + gamma * jnp.where(out.terminated, 0.0, next_value)  # [N]
            error = target - table[state_idx, action]  # [N]
            # Sum the errors of each visited pair (s, a), over replicas too.
            total = jnp.zeros(table_shape).at[state_idx, action].add(error)  # [S, A]
            count = jnp.zeros(table_shape, jnp.int32).at[state_idx, action].add(1)  # [S, A]
            total, count = psum((total, count))
            visits = state.visits + count
            # m / n^p of the mean of m errors is their sum over n^p; at most the mean itself.
            table = table + total / jnp.maximum(jnp.maximum(visits.astype(jnp.float32), 1) ** step_power, count)
            metrics = {"return": finished, "td_error": Sum.of(jnp.abs(error))}
            return state.replace(params=table, visits=visits), metrics

        state, metrics = jax.lax.scan(step, state, jnp.arange(num_steps))
        return state.replace(step=state.step + 1), {name: m.collapse() for name, m in metrics.items()}

    evaluate, predict = episodes(environment, lambda state, observation: state.params[observation.argmax()].argmax())
    return Learner(init, update, evaluate, predict, batched=AGENT_BATCHED)

"""Environments made of other environments: a shorter time, hidden velocities, stacked frames, repeated actions.

Their names say so, as in "repeat_actions(Pendulum-v1, 4)": episodes of other steps are of another environment.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_shapes
from dlcore.rl.environments import Environment, Step

__all__ = ["POSITIONS", "mask_velocities", "repeat_actions", "stack_frames", "time_limit"]

POSITIONS = {
    "CartPole-v1": (0, 2),
    "Pendulum-v1": (0, 1),
    "Acrobot-v1": (0, 1, 2, 3),
    "MountainCar-v0": (0,),
    "MountainCarContinuous-v0": (0,),
}
"""Entries of the observation that are positions, by environment."""


class _Timed(NamedTuple):
    inner: Any
    time: jax.Array


class _Stacked(NamedTuple):
    inner: Any
    frames: jax.Array


def mask_velocities(environment: Environment) -> Environment:
    """Leave velocities out of the observations, so that one observation does not tell the state.

    Of stacked frames the positions of every frame stay.

    Args:
      environment: a key of `POSITIONS`, stacked or not.

    Returns:
      The environment.
    """
    positions = _positions_of(environment)
    if positions is None:
        raise ValueError(
            f"environment={environment.name!r}: no velocities to hide are known; allowed: {', '.join(POSITIONS)}"
        )
    position_idx = np.array(positions)

    def reset(key: jax.Array):
        state, observation = environment.reset(key)
        return state, observation[position_idx]

    def step(key: jax.Array, state: Any, action: jax.Array):
        state, out = environment.step(key, state, action)
        return state, out._replace(
            observation=out.observation[position_idx], final_observation=out.final_observation[position_idx]
        )

    name, shape, left = f"mask_velocities({environment.name})", (len(positions),), tuple(range(len(positions)))
    return environment._replace(name=name, reset=reset, step=step, observation_shape=shape, positions=left)


def _positions_of(environment: Environment) -> tuple[int, ...] | None:
    """Entries of an environment's observation that are positions."""
    return POSITIONS.get(environment.name) if environment.positions is None else environment.positions


def time_limit(environment: Environment, max_steps: int) -> Environment:
    """Truncate episodes earlier.

    Args:
      environment: environment whose own limit is later.
      max_steps: largest number of steps of an episode.

    Returns:
      The environment.
    """
    check_whole_number("max_steps", max_steps, 1)
    check_shapes(max_steps=(max_steps, f"int 1 to {environment.max_steps}"))

    def reset(key: jax.Array):
        state, observation = environment.reset(key)
        return _Timed(state, jnp.zeros((), jnp.int32)), observation

    def step(key: jax.Array, state: _Timed, action: jax.Array):
        inner, out = environment.step(jax.random.fold_in(key, 0), state.inner, action)
        is_time_limit = state.time + 1 >= max_steps
        ended = out.terminated | out.truncated
        # The wrapped environment restarts where its time is cut.
        restart, first = environment.reset(jax.random.fold_in(key, 1))
        cut = is_time_limit & ~ended
        inner, observation = jax.tree.map(
            lambda new, old: jnp.where(cut, new, old), (restart, first), (inner, out.observation)
        )
        time = jnp.where(is_time_limit | ended, 0, state.time + 1)
        # The time limit truncates and does not terminate: the last state keeps its value.
        truncated = out.truncated | (is_time_limit & ~out.terminated)
        return _Timed(inner, time), out._replace(observation=observation, truncated=truncated)

    name, positions = f"time_limit({environment.name}, {max_steps})", _positions_of(environment)
    return environment._replace(name=name, reset=reset, step=step, max_steps=max_steps, positions=positions)


def stack_frames(environment: Environment, num_frames: int) -> Environment:
    """Observe the last observations, joined along the last axis; the first of an episode is repeated.

    Args:
      environment: environment with observations [..., D].
      num_frames: K.

    Returns:
      The environment, with observations [..., K D], the newest last.
    """
    check_whole_number("num_frames", num_frames, 1)
    *front, depth = environment.observation_shape

    def joined(frames: jax.Array) -> jax.Array:
        return jnp.concatenate(list(frames), -1)

    def repeated(observation: jax.Array) -> jax.Array:
        return jnp.repeat(observation[None], num_frames, 0)

    def reset(key: jax.Array):
        state, observation = environment.reset(key)
        frames = repeated(observation)
        return _Stacked(state, frames), joined(frames)

    def step(key: jax.Array, state: _Stacked, action: jax.Array):
        inner, out = environment.step(key, state.inner, action)
        final = jnp.concatenate([state.frames[1:], out.final_observation[None]])
        # A new episode starts with copies of its first observation.
        frames = jnp.where(out.terminated | out.truncated, repeated(out.observation), final)
        out = out._replace(observation=joined(frames), final_observation=joined(final))
        return _Stacked(inner, frames), out

    positions = _positions_of(environment)
    if positions is not None:
        positions = tuple(frame * depth + entry for frame in range(num_frames) for entry in positions)
    name, shape = f"stack_frames({environment.name}, {num_frames})", (*front, num_frames * depth)
    return environment._replace(name=name, reset=reset, step=step, observation_shape=shape, positions=positions)


def repeat_actions(environment: Environment, num_repeats: int) -> Environment:
    """Take each action several times in turn, until an episode ends; rewards are summed.

    Args:
      environment: environment to act in.
      num_repeats: times.

    Returns:
      The environment, whose steps are so much longer.
    """
    check_whole_number("num_repeats", num_repeats, 1)

    def step(key: jax.Array, state: Any, action: jax.Array):
        def once(carry, key):
            state, out = carry
            # Nothing more happens after the end of an episode.
            over = out.terminated | out.truncated
            after, new = environment.step(key, state, action)
            new = new._replace(reward=out.reward + new.reward)
            return jax.tree.map(lambda a, b: jnp.where(over, b, a), (after, new), (state, out)), None

        keys = jax.random.split(key, num_repeats)
        carry: tuple[Any, Step] = environment.step(keys[0], state, action)
        return jax.lax.scan(once, carry, keys[1:])[0]

    name, positions = f"repeat_actions({environment.name}, {num_repeats})", _positions_of(environment)
    max_steps = -(-environment.max_steps // num_repeats)
    return environment._replace(name=name, step=step, max_steps=max_steps, positions=positions)

"""Demonstrations: episodes of an expert as arrays, in a file, and the steps of them that a learner may see.

Sub-sampling every k-th step, from a random one of the first k, leaves the states of an episode and takes away how
many there are, as Ho & Ermon 2016 (arXiv:1606.03476) did, so that cloning has it hard.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.models.weight_files import read_npz
from dlcore.ops.checks import check_finite, check_range, check_shapes
from dlcore.rl.environments import Environment, trace

__all__ = ["Demonstrations", "check", "load", "record", "save", "select"]


class Demonstrations(NamedTuple):
    """Episodes of an expert; only the first `length` steps of each are of it.

    Args:
      environment: its name.
      observation: [E, T, ...], before the action.
      action: [E, T] int, or [E, T, A] in [-1, 1], which the environment scales to its units.
      length: [E] int, 1 to T.
      terminated: [E] bool, the episode ended before its time was up.
      total: [E], the episodes' returns.
    """

    environment: str
    observation: np.ndarray
    action: np.ndarray
    length: np.ndarray
    terminated: np.ndarray
    total: np.ndarray

    @property
    def mean_return(self) -> float:
        """Mean return of the expert's episodes."""
        return float(np.mean(self.total))

    def first(self, count: int) -> "Demonstrations":
        """Take the first episodes.

        Args:
          count: how many.

        Returns:
          Those.
        """
        check_whole_number("demonstrations", count)
        if not 1 <= count <= len(self.length):
            raise ValueError(f"demonstrations={count}: not that many; allowed: 1 to {len(self.length)} episodes")
        return Demonstrations(self.environment, *(x[:count] for x in self[1:]))


def record(
    environment: Environment, policy: Callable[[jax.Array, jax.Array], jax.Array], keys: jax.Array
) -> Demonstrations:
    """Play episodes to their ends.

    Args:
      environment: environment to play in.
      policy: `(key, observation) -> action`.
      keys: [E], one an episode.

    Returns:
      The episodes.
    """
    check_shapes(keys=(keys, "E"))

    def one(key):
        episode = trace(environment, lambda key, memory, x: (memory, policy(key, x)), (), key, environment.max_steps)
        return episode._replace(state=None, action=environment.clip_action(episode.action))

    episode = jax.device_get(jax.jit(jax.vmap(one))(keys))
    length = episode.running.sum(1).astype(np.int32)
    return Demonstrations(
        environment.name, episode.observation, episode.action, length, episode.terminated.any(1), episode.reward.sum(1)
    )


def save(path: Path | str, demonstrations: Demonstrations) -> None:
    """Write a file, whole or not at all.

    Args:
      path: ends in .npz.
      demonstrations: the episodes.
    """
    part = Path(path).with_suffix(".part.npz")
    np.savez_compressed(part, **demonstrations._asdict())
    part.replace(path)


def load(path: Path | str) -> Demonstrations:
    """Read a file of `save`.

    Args:
      path: path of the file.

    Returns:
      The episodes.
    """
    problem = "no demonstrations; allowed: a file of dlcore.rl.demonstrations.save, such as RUN/demonstrations.npz"
    try:
        stored = read_npz(path, Demonstrations._fields)
        arrays = {name: stored[name] for name in Demonstrations._fields}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"demonstrations={str(path)!r}: {problem}") from error
    fields: dict[str, Any] = arrays | {"environment": str(arrays["environment"])}
    return Demonstrations(**fields)


def check(demonstrations: Demonstrations, environment: Environment) -> None:
    """Check that episodes are of an environment.

    Args:
      demonstrations: the episodes.
      environment: environment in which a learner imitates them.
    """
    recorded, expected_name = demonstrations.environment, environment.name
    if recorded != expected_name:
        raise ValueError(f"environment={expected_name!r}: the demonstrations are of another; allowed: {recorded}")
    shape = demonstrations.observation.shape[2:]
    if shape != environment.observation_shape:
        expected = environment.observation_shape
        raise ValueError(f"demonstrations={recorded!r}: observations of shape {shape}; allowed: {expected}")
    is_step, size, action = _steps(demonstrations), environment.action_size, demonstrations.action
    check_range("length", demonstrations.length, 1, environment.max_steps)
    check_finite("observation", demonstrations.observation[is_step])
    check_finite("total", demonstrations.total)
    if size:
        fits, expected = action.shape[2:] == (size,), f"vectors of {size}"
        if fits:
            # Units of the environment, such as a torque of 2, would be clipped and learned as something else.
            check_range("action", action[is_step], -1, 1)
    else:
        whole = np.issubdtype(action.dtype, np.integer) and action.ndim == 2
        count = environment.num_actions or 0
        fits = whole and bool(np.isin(action[is_step], range(count)).all())
        expected = f"whole numbers from 0 to {count - 1}"
    if not fits:
        actual = f"{action.dtype} of shape {action.shape[2:]}"
        raise ValueError(f"demonstrations={recorded!r}: actions are {actual}; allowed: {expected}")


def _steps(demonstrations: Demonstrations) -> np.ndarray:
    """[E, T] bool, the steps that are of an episode; ValueError where the arrays do not fit together."""
    if demonstrations.observation.ndim < 2:
        shape = list(demonstrations.observation.shape)
        raise ValueError(f"observation: shape {shape}; allowed: [E, T, ...], episodes of steps")
    (episodes, steps), action = demonstrations.observation.shape[:2], demonstrations.action
    length, name = np.asarray(demonstrations.length), f"demonstrations={demonstrations.environment!r}"
    check_shapes(
        length=(length, "int E"), terminated=(demonstrations.terminated, "E"), total=(demonstrations.total, "E")
    )
    if action.shape[:2] != (episodes, steps) or len(length) != episodes:
        sizes = f"actions {action.shape[:2]}, lengths {length.shape}"
        raise ValueError(f"{name}: {sizes}; allowed: those of {episodes} episodes of {steps} steps")
    if (invalid := (length < 1) | (length > steps)).any():
        count = length[invalid.argmax()]
        raise ValueError(f"{name}: an episode of length {count}; allowed: 1 to {steps} steps, as the arrays hold")
    return np.arange(steps) < length[:, None]


def select(
    demonstrations: Demonstrations, every: int = 1, seed: int = 0, absorbing: bool = False
) -> dict[str, np.ndarray]:
    """Take every k-th step of each episode.

    Args:
      demonstrations: the episodes.
      every: k; the first step of an episode is a random one of its first k.
      seed: random seed of the first steps.
      absorbing: add a row of zeros for each episode that terminated, and say which they are.

    Returns:
      {"observation": [M, ...], "action": [M] or [M, A]}, and with `absorbing` its [M] bool and "weight" [M] float32: 1
      for a step; for the end of an episode the share of its steps that is taken, since a step that is left out weighs
      nothing, either.
    """
    check_whole_number("every", every, 1)
    check_whole_number("seed", seed, 0)
    _steps(demonstrations)
    # Subsample each episode from a random first step on.
    starts = np.random.default_rng(seed).integers(0, np.minimum(every, demonstrations.length))
    rows = [np.arange(start, length, every) for start, length in zip(starts, demonstrations.length, strict=True)]
    episode = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    step = np.concatenate(rows)
    pairs = {"observation": demonstrations.observation[episode, step], "action": demonstrations.action[episode, step]}
    if not absorbing:
        return pairs
    over = demonstrations.terminated
    # Absorbing states: one an episode that terminated, weighted as its steps.
    fraction = np.array([len(row) for row in rows])[over] / demonstrations.length[over]
    ended = {name: np.concatenate([x, np.zeros((len(fraction), *x.shape[1:]), x.dtype)]) for name, x in pairs.items()}
    weight = np.concatenate([np.ones(len(step)), fraction]).astype(np.float32)
    return {**ended, "absorbing": np.arange(len(weight)) >= len(step), "weight": weight}

"""Search spaces of hyperparameters: axes, sampling of trials, and narrowing of a space.

Bergstra & Bengio, "Random search for hyper-parameter optimization" (JMLR 2012).

    x(u) = low + u (high - low)        Uniform          u in [0, 1]
    x(u) = low^(1 - u) high^u          LogUniform: log x is uniform, as for learning rates
    x(u) = low + floor(u (high - low + 1))     Integers, both ends included

Every method maps points of the unit cube by x(u): a grid, independent samples, a Latin hypercube (each of n slices of
an axis holds one of n trials), or a scrambled Sobol sequence. A grid of n trials on d axes tries n^(1/d) values of each
axis; the others try n, which is better if only few axes matter.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_shapes

__all__ = [
    "Choice",
    "Integers",
    "LogUniform",
    "Space",
    "Uniform",
    "edges",
    "grid",
    "latin_hypercube",
    "narrow",
    "parse_space",
    "random",
    "sobol",
]


class Uniform(NamedTuple):
    """Axis of real numbers in [low, high].

    Args:
      low: lower end.
      high: upper end.
    """

    low: float
    high: float

    def at(self, u: float) -> float:
        """Map the unit interval to the axis.

        Args:
          u: number in [0, 1].

        Returns:
          The value.
        """
        check_shapes(u=(u, "0 to 1"))
        return float(np.clip(self.low + u * (self.high - self.low), self.low, self.high))

    def position(self, value: float) -> float:
        """Map the axis to the unit interval.

        Args:
          value: value on the axis.

        Returns:
          u.
        """
        return (value - self.low) / (self.high - self.low)


class LogUniform(NamedTuple):
    """Axis of any number of [low, high], each power of ten as likely as the next.

    Args:
      low: lower end, positive.
      high: upper end.
    """

    low: float
    high: float

    def at(self, u: float) -> float:
        """Map the unit interval to the axis.

        Args:
          u: number in [0, 1].

        Returns:
          The value.
        """
        check_shapes(u=(u, "0 to 1"))
        return float(np.clip(self.low ** (1 - u) * self.high**u, self.low, self.high))

    def position(self, value: float) -> float:
        """Map the axis to the unit interval.

        Args:
          value: value on the axis.

        Returns:
          u; -inf for a value that is not positive.
        """
        return math.log(value / self.low) / math.log(self.high / self.low) if value > 0 else -math.inf


class Integers(NamedTuple):
    """Axis of integers from low to high, both included.

    Args:
      low: lower end.
      high: upper end.
    """

    low: int
    high: int

    def at(self, u: float) -> int:
        """Map the unit interval to the axis.

        Args:
          u: number in [0, 1].

        Returns:
          The value.
        """
        check_shapes(u=(u, "0 to 1"))
        return int(min(self.low + math.floor(u * (self.high - self.low + 1)), self.high))

    def position(self, value: int) -> float:
        """Map the axis to the unit interval, its ends to 0 and 1.

        Args:
          value: value on the axis.

        Returns:
          u in [0, 1]; 1/2 if there is only one value.
        """
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5 + value - self.low


class Choice(NamedTuple):
    """Axis of unordered values.

    Args:
      options: the values.
    """

    options: tuple

    def at(self, u: float) -> Any:
        """Map the unit interval to the options, all equally likely.

        Args:
          u: number in [0, 1].

        Returns:
          The value.
        """
        check_shapes(u=(u, "0 to 1"))
        return self.options[min(math.floor(u * len(self.options)), len(self.options) - 1)]


Space = dict[str, Uniform | LogUniform | Integers | Choice]
KINDS = {"uniform": Uniform, "log": LogUniform, "int": Integers}


def parse_space(words: Sequence[str]) -> Space:
    """Parse `learning_rate=log:1e-5:1 dropout=uniform:0:1 model.width=int:8:64 optimizer=sgd,adam`, one word per axis.

    Args:
      words: options of the command line; those that look like a bool, an int or a float become one.

    Returns:
      The space.
    """
    if isinstance(words, str) or not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"words={words!r}: no words; allowed: a list of texts such as 'learning_rate=log:1e-5:1'")
    space: Space = {}
    for word in words:
        name, equals, text = (part.strip() for part in word.partition("="))
        if not (name and equals and text):
            raise ValueError(f"{word}: no axis; allowed: NAME=A,B,... or NAME=KIND:LOW:HIGH of {', '.join(KINDS)}")
        if name in space:
            raise ValueError(f"{word}: {name} is given twice; allowed: once")
        kind, *numbers = text.split(":")
        if kind in KINDS:
            values = [_number(number) for number in numbers]
            if len(values) != 2 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
                raise ValueError(f"{word}: no range; allowed: {name}={kind}:LOW:HIGH with two numbers")
            space[name] = KINDS[kind](*values)
        elif len(numbers) == 2 and not isinstance(_number(numbers[0]), str):
            raise ValueError(f"{word}: {kind} is unknown; allowed: {', '.join(KINDS)}")
        else:
            space[name] = Choice(tuple(_number(option.strip()) for option in text.split(",")))
    _check(space)
    return space


def grid(space: Space, points: int) -> list[dict]:
    """Build the grid of all combinations of axis values.

    Args:
      space: the search space.
      points: values per axis, including the ends (the middle for one point), evenly spaced, in the logarithm for
        LogUniform; all options of a Choice, at most all values of Integers.

    Returns:
      The trials, {name: value} each.
    """
    _check(space)
    check_whole_number("points", points, 1)
    units = np.linspace(0, 1, points) if points > 1 else np.array([0.5])

    def values(axis) -> list:
        if isinstance(axis, Choice):
            return list(axis.options)
        if isinstance(axis, Integers):
            return sorted({round(axis.low + u * (axis.high - axis.low)) for u in units})
        return [axis.at(u) for u in units]

    return [dict(zip(space, row, strict=True)) for row in itertools.product(*map(values, space.values()))]


def random(space: Space, trials: int, seed: int, tried: Sequence[dict] = ()) -> list[dict]:
    """Sample trials independently.

    Args:
      space: the search space.
      trials: number of trials.
      seed: random seed.

      tried: earlier trials, which are excluded.

    Returns:
      The trials, {name: value} each and all different: fewer than `trials` if the space holds fewer.

    Raises:
      ValueError: the space is empty or has no valid axis, `trials` is no whole number from 1, or `seed` none from 0.
    """
    return _sample(space, trials, seed, tried, lambda: np.random.default_rng(seed).random((trials, len(space))))


def latin_hypercube(space: Space, trials: int, seed: int, tried: Sequence[dict] = ()) -> list[dict]:
    """Sample a Latin hypercube: each of n slices of an axis holds one of n trials (McKay, Beckman & Conover 1979).

    Args:
      space: the search space.
      trials: number of trials, n.
      seed: random seed.

      tried: earlier trials, which are excluded.

    Returns:
      The trials, {name: value} each and all different: fewer than `trials` if the space holds fewer.

    Raises:
      ValueError: the space is empty or has no valid axis, `trials` is no whole number from 1, or `seed` none from 0.
    """
    from scipy.stats import qmc

    return _sample(space, trials, seed, tried, lambda: qmc.LatinHypercube(len(space), rng=seed).random(trials))


def sobol(space: Space, trials: int, seed: int, tried: Sequence[dict] = ()) -> list[dict]:
    """Sample trials from a scrambled Sobol sequence, which covers the cube evenly, best for a power of two.

    Args:
      space: the search space.
      trials: number of trials.
      seed: random seed of the scrambling.

      tried: earlier trials, which are excluded.

    Returns:
      The trials, {name: value} each and all different: fewer than `trials` if the space holds fewer.

    Raises:
      ValueError: the space is empty or has no valid axis, `trials` is no whole number from 1, or `seed` none from 0.
    """
    from scipy.stats import qmc

    def points() -> np.ndarray:
        return qmc.Sobol(len(space), rng=seed).random_base2((trials - 1).bit_length())[:trials]

    return _sample(space, trials, seed, tried, points)


def narrow(space: Space, trials: Sequence[dict], scores: Sequence[float], keep: float = 0.25) -> Space:
    """Narrow a space after a coarse search to the range of the best trials.

    Each end moves outward by half the gap to the next tried value, or to the old end if there is none. A Choice keeps
    the options of the best trials.

    Args:
      space: search space of the coarse search.
      trials: trials of the coarse search.
      scores: [trials], higher is better; a score that is not finite is worst.
      keep: fraction of the trials that count as best.

    Returns:
      The finer space.
    """
    _check(space)
    scores = np.asarray(scores, np.float64)
    if scores.shape != (len(trials),):
        raise ValueError(f"scores={scores.shape}: wrong shape; allowed: [{len(trials)}], one a trial")
    if not isinstance(keep, Real) or not 0 < keep <= 1:
        raise ValueError(f"keep={keep}: out of range; allowed: (0, 1]")
    finite = np.flatnonzero(np.isfinite(scores))
    if not finite.size:
        raise ValueError(f"scores: none of {len(scores)} is finite; allowed: at least one")
    best = finite[np.argsort(-scores[finite], kind="stable")][: math.ceil(keep * len(trials))]
    finer: Space = {}
    for name, axis in space.items():
        if isinstance(axis, Choice):
            if bad := [trial[name] for trial in trials if _value_of(trial, name) not in axis.options]:
                raise ValueError(f"{name}={bad[0]}: outside the space; allowed: {', '.join(map(str, axis.options))}")
            best_options = [_value_of(trials[i], name) for i in best]
            finer[name] = Choice(tuple(option for option in axis.options if option in best_options))
            continue
        positions = np.array([_position(name, axis, trial) for trial in trials])
        low, high = positions[best].min(), positions[best].max()
        low = (low + max([0.0, *positions[positions < low]])) / 2
        high = (high + min([1.0, *positions[positions > high]])) / 2
        if isinstance(axis, Integers):
            size = axis.high - axis.low
            finer[name] = Integers(axis.low + math.ceil(low * size - 1e-9), axis.low + math.floor(high * size + 1e-9))
        else:
            finer[name] = type(axis)(axis.at(low), axis.at(high))
    return finer


def edges(space: Space, best: dict) -> list[str]:
    """Warn if the best trial lies within 5 % of an end of its (logarithmic) range: a better one may lie outside.

    Args:
      space: search space of the trials.
      best: the best trial's values.

    Returns:
      A sentence for each such axis.
    """
    _check(space)
    warnings = []
    for name, axis in space.items():
        if isinstance(axis, Choice):
            continue
        position = _position(name, axis, best)
        if not 0.05 < position < 0.95:
            end = f"{'lower' if position < 0.5 else 'upper'} end of [{axis.low:g}, {axis.high:g}]"
            warnings.append(f"{name}: the best, {best[name]:g}, is at the {end}: widen it")
    return warnings


def _sample(
    space: Space, trials: int, seed: int, tried: Sequence[dict], points: Callable[[], np.ndarray]
) -> list[dict]:
    """Map points [trials, axes] of the unit cube to trials; independent samples replace repeated ones."""
    _check(space)
    check_whole_number("trials", trials, 1)
    check_whole_number("seed", seed, 0)
    keys = {_key(space, trial) for trial in tried}
    options = [_options(axis) for axis in space.values()]
    if math.prod(map(len, options)) <= trials + len(keys):
        trials = min(trials, len({tuple(map(repr, row)) for row in itertools.product(*options)} - keys))
    rng, block, unique_trials = np.random.default_rng([seed, 1]), points(), []
    while len(unique_trials) < trials:
        for row in block:
            trial = {name: axis.at(u) for (name, axis), u in zip(space.items(), row, strict=True)}
            if len(unique_trials) < trials and (key := _key(space, trial)) not in keys:
                keys.add(key)
                unique_trials.append(trial)
        block = rng.random((max(trials, 64), len(space)))
    return unique_trials


def _key(space: Space, trial: dict) -> tuple[str, ...]:
    return tuple(repr(_value_of(trial, name)) for name in space)


def _options(axis: Uniform | LogUniform | Integers | Choice) -> Sequence:
    """Return the values of an axis; a huge range for a continuous axis."""
    if isinstance(axis, Choice):
        return axis.options
    low, high = (int(axis.low), int(axis.high)) if isinstance(axis, Integers) else (0, 2**62)
    return range(low, min(high, low + 2**62) + 1)


def _value_of(trial: dict, name: str) -> Any:
    if name not in trial:
        raise ValueError(f"trial={trial}: lacks {name}; allowed: a value for each axis")
    return trial[name]


def _position(name: str, axis: Uniform | LogUniform | Integers, trial: dict) -> float:
    value = _value_of(trial, name)
    position = axis.position(value) if isinstance(value, Real) else math.nan
    if not -1e-9 <= position <= 1 + 1e-9:
        raise ValueError(f"{name}={trial[name]}: outside the space; allowed: [{axis.low:g}, {axis.high:g}]")
    return min(max(position, 0.0), 1.0)


def _number(text: str) -> Any:
    """Parse a text as bool, int or float if it looks like one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _check(space: Space) -> None:
    if not isinstance(space, Mapping):
        raise ValueError(f"space={type(space).__name__}: no space; allowed: {{name: axis}}")
    if not space:
        raise ValueError("space: empty; allowed: at least one axis, such as learning_rate=log:1e-4:1")
    for name, axis in space.items():
        if not isinstance(axis, Uniform | LogUniform | Integers | Choice):
            raise ValueError(f"{name}={axis!r}: no axis; allowed: Uniform, LogUniform, Integers, Choice")
        if isinstance(axis, Choice):
            if not isinstance(axis.options, Sequence) or isinstance(axis.options, str):
                raise ValueError(f"{name}={axis.options!r}: no options; allowed: a tuple of values")
            if not axis.options or "" in axis.options or len(set(map(repr, axis.options))) < len(axis.options):
                raise ValueError(f"{name}={axis.options}: empty or repeated; allowed: different values, none empty")
            continue
        low, high = axis
        is_integers = isinstance(axis, Integers)
        if not (isinstance(low, Real) and isinstance(high, Real)):
            raise ValueError(f"{name}=[{low!r}, {high!r}]: no numbers; allowed: finite ends, the lower first")
        if not (math.isfinite(low) and math.isfinite(high) and (low <= high if is_integers else low < high)):
            raise ValueError(f"{name}=[{low:g}, {high:g}]: no range; allowed: finite ends, the lower first")
        if isinstance(axis, LogUniform) and low <= 0:
            raise ValueError(f"{name}=[{low:g}, {high:g}]: not positive; allowed: positive ends of a logarithmic range")
        if is_integers and (low % 1 or high % 1):
            raise ValueError(f"{name}=[{low:g}, {high:g}]: not whole; allowed: whole numbers as ends of int")

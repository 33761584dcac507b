"""Spaces of hyper-parameters: what may be tried, which trials to run, and where to look next.

Bergstra & Bengio, "Random search for hyper-parameter optimization" (JMLR 2012).

    x(u) = low + u (high - low)        Uniform          u in [0, 1]
    x(u) = low^(1 - u) high^u          LogUniform: log x is uniform; a rate is tried by factors, not by steps
    x(u) = low + floor(u (high - low + 1))     Integers, both ends included

Every way to search is a set of points of the unit cube, mapped by x(u): a grid, independent draws, a Latin hypercube
(each of n slices of an axis holds one of n trials), or a scrambled Sobol sequence. A grid of n trials on d axes tries
n^(1/d) values of each; the others try n, which is what counts where few of the axes matter.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

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
    """Any number of [low, high]."""

    low: float
    high: float

    def at(self, u: float) -> float:
        """The value at u in [0, 1]."""
        return float(np.clip(self.low + u * (self.high - self.low), self.low, self.high))

    def place(self, value: float) -> float:
        """The u of a value."""
        return (value - self.low) / (self.high - self.low)


class LogUniform(NamedTuple):
    """Any number of [low, high], each power of ten as likely as the next; low must be positive."""

    low: float
    high: float

    def at(self, u: float) -> float:
        """The value at u in [0, 1]."""
        return float(np.clip(self.low ** (1 - u) * self.high**u, self.low, self.high))

    def place(self, value: float) -> float:
        """The u of a value; -inf for one that has no logarithm."""
        return math.log(value / self.low) / math.log(self.high / self.low) if value > 0 else -math.inf


class Integers(NamedTuple):
    """Any whole number from low to high, both included."""

    low: int
    high: int

    def at(self, u: float) -> int:
        """The value at u in [0, 1]."""
        return int(min(self.low + math.floor(u * (self.high - self.low + 1)), self.high))

    def place(self, value: int) -> float:
        """Where a value lies between the ends, in [0, 1]; 1/2 where there is only one."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5 + value - self.low


class Choice(NamedTuple):
    """One of some values that have no order."""

    options: tuple

    def at(self, u: float) -> Any:
        """The value at u in [0, 1]."""
        return self.options[min(math.floor(u * len(self.options)), len(self.options) - 1)]


Space = dict[str, Uniform | LogUniform | Integers | Choice]
KINDS = {"uniform": Uniform, "log": LogUniform, "int": Integers}


def parse_space(words: Sequence[str]) -> Space:
    """`learning_rate=log:1e-5:1 dropout=uniform:0:1 model.width=int:8:64 optimizer=sgd,adam`, a word an axis.

    Options that look like it become bool, int or float.

    Raises:
      ValueError: a word has another form, its numbers make no range, or it names an axis twice.
    """
    space: Space = {}
    for word in words:
        name, equals, text = (part.strip() for part in word.partition("="))
        if not (name and equals and text):
            raise ValueError(f"{word!r} must be NAME=A,B,... or NAME=log:LOW:HIGH, or uniform or int in place of log")
        if name in space:
            raise ValueError(f"{name} is given twice: {word!r}")
        kind, *numbers = text.split(":")
        if kind in KINDS:
            values = [_number(number) for number in numbers]
            if len(values) != 2 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
                raise ValueError(f"{word!r} must be {name}={kind}:LOW:HIGH with two numbers")
            space[name] = KINDS[kind](*values)
        elif len(numbers) == 2 and not isinstance(_number(numbers[0]), str):
            raise ValueError(f"{word!r} has the unknown kind {kind!r}; known are {', '.join(KINDS)}")
        else:
            space[name] = Choice(tuple(_number(option.strip()) for option in text.split(",")))
    _check(space)
    return space


def grid(space: Space, points: int) -> list[dict]:
    """All combinations of `points` values an axis, the ends among them (the middle for one point), and every option.

    The steps of a LogUniform are equal factors. Integers has no more values than there are.
    """
    _check(space)
    if points < 1:
        raise ValueError(f"points={points} must be at least 1")
    units = np.linspace(0, 1, points) if points > 1 else np.array([0.5])

    def values(axis) -> list:
        if isinstance(axis, Choice):
            return list(axis.options)
        if isinstance(axis, Integers):
            return sorted({round(axis.low + u * (axis.high - axis.low)) for u in units})
        return [axis.at(u) for u in units]

    return [dict(zip(space, row, strict=True)) for row in itertools.product(*map(values, space.values()))]


def random(space: Space, trials: int, seed: int) -> list[dict]:
    """Independent draws."""
    return _draw(space, trials, lambda: np.random.default_rng(seed).random((trials, len(space))))


def latin_hypercube(space: Space, trials: int, seed: int) -> list[dict]:
    """Draws of which every n-th part of an axis holds one of the n (McKay, Beckman & Conover 1979)."""
    from scipy.stats import qmc

    return _draw(space, trials, lambda: qmc.LatinHypercube(len(space), rng=seed).random(trials))


def sobol(space: Space, trials: int, seed: int) -> list[dict]:
    """The first of a scrambled Sobol sequence: even in all axes together, most so for a power of two."""
    from scipy.stats import qmc

    exponent = max(trials - 1, 0).bit_length()
    return _draw(space, trials, lambda: qmc.Sobol(len(space), rng=seed).random_base2(exponent)[:trials])


def narrow(space: Space, trials: Sequence[dict], scores: Sequence[float], keep: float = 0.25) -> Space:
    """The finer space after a coarse search: on each axis what the best share `keep` of the trials spans.

    Each end is moved out by half the gap to the next value that was tried, or to the old end where none was. Of a
    Choice the options of the best stay. scores: [trials], higher is better; what is not finite is worst.

    Raises:
      ValueError: no score is finite, there is not one a trial, keep is not in (0, 1], or a trial is not of the space.
    """
    _check(space)
    scores = np.asarray(scores, np.float64)
    if scores.shape != (len(trials),):
        raise ValueError(f"scores has shape {scores.shape} for {len(trials)} trials")
    if not 0 < keep <= 1:
        raise ValueError(f"keep={keep} must be in (0, 1]")
    finite = np.flatnonzero(np.isfinite(scores))
    if not finite.size:
        raise ValueError(f"scores has no finite value among {len(scores)}")
    best = finite[np.argsort(-scores[finite], kind="stable")][: math.ceil(keep * len(trials))]
    finer: Space = {}
    for name, axis in space.items():
        if isinstance(axis, Choice):
            kept = [_of(trials[i], name) for i in best]
            finer[name] = Choice(tuple(option for option in axis.options if option in kept))
            continue
        places = np.array([_place(name, axis, trial) for trial in trials])
        low, high = places[best].min(), places[best].max()
        low = (low + max([0.0, *places[places < low]])) / 2
        high = (high + min([1.0, *places[places > high]])) / 2
        if isinstance(axis, Integers):
            size = axis.high - axis.low
            finer[name] = Integers(axis.low + math.ceil(low * size - 1e-9), axis.low + math.floor(high * size + 1e-9))
        else:
            finer[name] = type(axis)(axis.at(low), axis.at(high))
    return finer


def edges(space: Space, best: dict) -> list[str]:
    """Where the best trial lies within 5 % of an end of its (logarithmic) range, so that a better one may lie outside.

    Raises:
      ValueError: `best` lacks an axis or lies outside the space.
    """
    _check(space)
    said = []
    for name, axis in space.items():
        if isinstance(axis, Choice):
            continue
        place = _place(name, axis, best)
        if not 0.05 < place < 0.95:
            end = f"{'lower' if place < 0.5 else 'upper'} end of [{axis.low:g}, {axis.high:g}]"
            said.append(f"{name}: the best, {best[name]:g}, is at the {end}: widen it")
    return said


def _draw(space: Space, trials: int, points: Callable[[], np.ndarray]) -> list[dict]:
    """The trials at points [trials, axes] of the unit cube."""
    _check(space)
    if trials < 1:
        raise ValueError(f"trials={trials} must be at least 1")
    return [{name: axis.at(u) for (name, axis), u in zip(space.items(), row, strict=True)} for row in points()]


def _of(trial: dict, name: str) -> Any:
    if name not in trial:
        raise ValueError(f"the trial {trial} has no {name}")
    return trial[name]


def _place(name: str, axis: Uniform | LogUniform | Integers, trial: dict) -> float:
    place = axis.place(_of(trial, name))
    if not -1e-9 <= place <= 1 + 1e-9:
        raise ValueError(f"{name}={trial[name]} lies outside [{axis.low:g}, {axis.high:g}]")
    return min(max(place, 0.0), 1.0)


def _number(text: str) -> Any:
    """A text as the bool, int or float that it looks like."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _check(space: Space) -> None:
    if not space:
        raise ValueError("space is empty; it must have at least one axis")
    for name, axis in space.items():
        if isinstance(axis, Choice):
            if not axis.options or "" in axis.options or len(set(map(repr, axis.options))) < len(axis.options):
                raise ValueError(f"{name}: options {axis.options} must be some different values, none of them empty")
            continue
        low, high = axis
        whole = isinstance(axis, Integers)
        if not (math.isfinite(low) and math.isfinite(high) and (low <= high if whole else low < high)):
            raise ValueError(f"{name}: [{low:g}, {high:g}] must be finite, the lower end first")
        if isinstance(axis, LogUniform) and low <= 0:
            raise ValueError(f"{name}: [{low:g}, {high:g}] of a logarithmic range must be positive")
        if whole and (low % 1 or high % 1):
            raise ValueError(f"{name}: [{low:g}, {high:g}] of integers must be whole numbers")

"""Calls of public functions made from their docstrings: arrays of the shapes that `Args` states, of whole numbers.

`boxes: [N, 4] (x0, y0, x1, y1)` is a shape and a kind of values. A size that two arguments share is one number. Values
are whole numbers from 0 to 7 (quarters where the docstring says "in [0, 1]"), which every type from bfloat16 on holds
exactly: a function that gives another answer in another type has rounded or wrapped them itself.
"""

import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

__all__ = [
    *("KINDS", "MODULES", "NAMES", "ROOMS", "SHAPE", "Argument"),
    *("argument_of", "argument_texts", "call_of", "documented_functions"),
]

ROOMS = (
    *("ops", "losses", "metrics", "data", "evaluators", "diagnostics", "classic_ml", "classical_vision", "detection"),
    *("segmentation", "generative", "interpretability", "adversarial", "self_supervised", "semi_supervised"),
    *("sequence", "transfer", "video", "vision3d", "vision_language", "rl", "nn", "classification"),
)
SIZES = {
    **{"B": 4, "N": 6, "M": 5, "D": 4, "C": 3, "H": 16, "W": 16, "K": 3, "T": 6, "F": 4, "V": 4, "h": 4, "w": 4},
    **{"R": 3, "L": 5, "S": 5, "E": 5, "P": 4, "Q": 5, "A": 3, "U": 2, "...": 2},
}
NAMES = json.loads((Path(__file__).parent / "goldens" / "public_names.json").read_text())
SECTION = re.compile(r"^Args:\n(.*?)(?=^\S|\Z)", re.M | re.S)
LINE = re.compile(r"^  (\*{0,2}\w+): (.*?)(?=^  \*{0,2}\w+: |\Z)", re.M | re.S)
REFERENCE = re.compile(r"^  As `([\w.]+)`\.$", re.M)
SHAPE = re.compile(r"(?:(int32|int|bool|uint8|float32|floating|float)\s+)?\[([^\]]*)\](?:\s+(int32|int|bool|uint8)\b)?")
LABELS = re.compile(r"label|class|index|indices|codes|tokens|token_ids|groups|clusters|_ids?$|faces|edges")
MASKS = re.compile(r"mask|valid|train$|ignored|matched|is_")


class Argument(NamedTuple):
    """An array of a call, whether its numbers are data, whose type may be any, and whether their values may change."""

    value: Any
    is_data: bool = False
    is_free: bool = False


MODULES = [module for module in NAMES if module.count(".") > 1 and module.split(".")[1] in ROOMS]
"""The modules of the rooms, whose public functions are called."""


def documented_functions(module: str) -> Iterator[tuple[str, Callable]]:
    """The public functions that a module defines, by their names."""
    home = importlib.import_module(module)
    for name in NAMES[module]:
        function = getattr(home, name, None)
        if inspect.isfunction(function) and inspect.unwrap(function).__module__ == module:
            yield name, function


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "whole numbers": lambda x: x,
    "positive": lambda x: x + 1,
    "fractions": lambda x: x / 8,
    "distribution": lambda x: np.eye(x.shape[-1])[x.astype(int)[..., 0] % x.shape[-1]] / 2 + 0.5 / x.shape[-1],
    "bits": lambda x: x % 2,
    "signs": lambda x: x % 2 * 2 - 1,
}
"""Values that a function may ask for; the first kind that it takes is used. All are exact in bfloat16."""


def call_of(function: Callable) -> tuple[dict[str, Argument], Any] | None:
    """Arguments that the function takes, and what it gives for them; None where its docstring does not say enough."""
    call = arguments(function)
    for kind in KINDS.values() if call else ():
        changed = {
            name: a._replace(value=kind(a.value).astype(np.float32)) if a.is_free else a for name, a in call.items()
        }
        try:
            return changed, function(**{name: a.value for name, a in changed.items()})
        except Exception:
            continue
    return None


def argument_texts(function: Callable) -> dict[str, str]:
    """What the docstring says of each argument, those of the function that it refers to by "As `NAME`." too."""
    section = SECTION.search(inspect.getdoc(function) or "")
    texts = {}
    for name in REFERENCE.findall(section[1]) if section else ():
        module, _, last = name.rpartition(".")
        texts |= argument_texts(getattr(importlib.import_module(module or function.__module__), last))
    return texts | {name: " ".join(text.split()) for name, text in LINE.findall(section[1] if section else "")}


def arguments(function: Callable) -> dict[str, Argument] | None:
    """Arguments of a call of the function; None where its docstring does not say enough."""
    texts, call = argument_texts(function), {}
    for position, parameter in enumerate(inspect.signature(function).parameters.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        argument = argument_of(parameter, texts.get(parameter.name, ""), position)
        if argument is not None:
            call[parameter.name] = argument
        elif parameter.default is parameter.empty:
            return None
    return call if any(argument.is_data for argument in call.values()) else None


def argument_of(parameter: inspect.Parameter, text: str, position: int) -> Argument | None:
    """What a call gives for a parameter that is required, or masks; None where its text does not say enough."""
    is_required = parameter.default is parameter.empty
    shape = SHAPE.match(text)
    if not is_required and not (shape and parameter.name in ("mask", "valid", "weights")):
        return None
    if shape and (sizes := _sizes(shape[2])) is not None:
        return _array(parameter.name, text, shape[1] or shape[3], sizes, position)
    if re.match(r"(PRNG )?key\b", text):
        return Argument(jax.random.key(0))
    number = _number(parameter) if is_required else None
    return None if number is None else Argument(number)


def _sizes(text: str) -> tuple[int, ...] | None:
    """Sizes of "N, C + 1" or "..., 3 H"; None where a symbol is unknown."""
    sizes = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        words = re.findall(r"\.\.\.|[A-Za-z]+|\d+|[+*]", part)
        if "".join(words) != part.replace(" ", "") or any(w.isalpha() and w not in SIZES for w in words):
            return None
        if part == "..." and not sizes:
            sizes.append(SIZES["..."])
        elif part == "...":
            sizes.extend((4, 3) if len(sizes) == 1 else ())
        else:
            code = re.sub(r"(\d|[A-Za-z])\s+(?=[A-Za-z])", r"\1 * ", part)
            sizes.append(int(eval(code, {}, SIZES)))
    return tuple(sizes)


def _array(name: str, text: str, kind: str | None, sizes: tuple[int, ...], position: int) -> Argument:
    rng = np.random.default_rng(position)
    if (re.search(r"\bkeys?\b", text.split(";")[0][:40]) and "PRNG" in text) or name == "keys":
        return Argument(jax.random.split(jax.random.key(0), sizes))
    if kind == "bool" or MASKS.search(name):
        return Argument(np.ones(sizes, bool))
    if kind in ("int", "int32") or LABELS.search(name):
        return Argument((np.arange(np.prod(sizes)) % 2).reshape(sizes).astype(np.int32))
    values, free = rng.integers(0, 8, sizes).astype(np.float32), not re.search(r"\[\d, \d\]", text)
    if re.search(r"\bin \[0, 1\]", text):
        values, free = values / 8, False
    if (sizes[-1:] == (4,) and re.search(r"box|x0|corner", f"{name} {text}")) or (
        name in ("a", "b") and sizes[-1:] == (4,)
    ):
        values = np.concatenate([values[..., :2], values[..., :2] + 1 + rng.integers(0, 5, (*sizes[:-1], 2))], -1)
        free = False
    if name == "intrinsics":
        values, free = np.broadcast_to([[64, 0, 4], [0, 64, 4], [0, 0, 1]], sizes), False
    if sizes[-2:] == (3, 3) and "rotation" in f"{name} {text}":
        values, free = np.broadcast_to(np.eye(3), sizes), False
    return Argument(np.array(values, np.float32), kind != "uint8", free and bool(sizes))


def _number(parameter: inspect.Parameter) -> Any:
    text = str(parameter.annotation)
    if "tuple[int, int]" in text:
        return (8, 8)
    return 2 if "int" in text else 0.5 if "float" in text else None

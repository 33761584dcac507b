"""Where the time of a compiled program goes: its operations by the time that the profiler saw them take.

    share        time of the operation over the time of all
    at least     max(FLOPs / peak, bytes / bandwidth): the roofline of Williams, Waterman & Patterson (2009)
    of the roof  at least / time

Times come from a trace of `jax.profiler`, names from the program's text: XLA keeps the path of modules that an
instruction was made from (of a fusion: of its last one). FLOPs are two for each multiply-add of the products and
convolutions in an instruction and in what it calls; bytes are its operands and its result once. On several threads the
times of all are added, so they can exceed the clock's.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.roofline import CHIPS, Chip

__all__ = [
    "Hot",
    "Instruction",
    "chip_of",
    "hot_operations",
    "instructions",
    "measured_chip",
    "module_of",
    "trace_times",
]

DEFINED = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .*)?\{\s*$")
SHAPE = re.compile(r"\b([a-z]+[0-9]*[a-z0-9]*)\[([0-9,]*)\]")
NOISE = re.compile(r"^(cond|while|body|scan|checkpoint|rematted_computation|closed_call|pjit|branch_\d+_fun)$|\.")
"""Parts of an op_name that are no module: what JAX puts around, and the methods of modules (Class.method)."""
KINDS = {
    "h100": "h100",
    "h200": "h200",
    "a100": "a100",
    "v5 lite": "v5e",
    "v5e": "v5e",
    "v5p": "v5p",
    "v6 lite": "v6e",
    "v6e": "v6e",
    "v4": "v4",
}
"""What a device's kind contains -> the name in CHIPS."""


class Instruction(NamedTuple):
    """An instruction of a program. path: the op_name of its metadata. flops, bytes: see the module."""

    name: str
    opcode: str
    path: str
    flops: float
    bytes: int


class Hot(NamedTuple):
    """One row of the table. seconds: of one run of the program. bound: "compute" or "memory"."""

    name: str
    opcode: str
    module: str
    phase: str
    seconds: float
    share: float
    flops: float
    bytes: int
    bound: str
    least_seconds: float


def instructions(text: str) -> dict[str, Instruction]:
    """{name: instruction} of a compiled program's text."""
    shapes: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    lines: dict[str, tuple[str, str, list[str], str]] = {}
    inside: dict[str, list[str]] = {}
    here = ""
    for line in text.splitlines():
        if found := COMPUTATION.match(line):
            here = found[1]
        elif found := DEFINED.match(line):
            name, rest = found[1], line[found.end() :]
            opcode = re.search(r"(?:^|[\s)}])([a-z][a-z0-9\-]*)\(", rest)
            if not opcode:
                continue
            shapes[name] = _shapes(rest[: opcode.start(1)])
            arguments = rest[opcode.end() :].split("), ")[0]
            lines[name] = (opcode[1], rest, re.findall(r"%([\w.\-]+)", arguments), here)
            inside.setdefault(here, []).append(name)
    flops = {
        name: _flops(opcode, rest, [shapes.get(o, []) for o in operands], shapes[name])
        for name, (opcode, rest, operands, _) in lines.items()
    }
    found = {}
    for name, (opcode, rest, operands, _) in lines.items():
        path = re.search(r'op_name="([^"]*)"', rest)
        called = re.findall(r"\bcalls=%?([\w.\-]+)", rest)
        total = flops[name] + sum(flops[inner] for c in called for inner in inside.get(c, []))
        moved = sum(map(_bytes, [*(shapes.get(o, []) for o in operands), shapes[name]]))
        found[name] = Instruction(name, opcode, path[1] if path else "", total, moved)
    return found


def _shapes(text: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(kind, tuple(int(n) for n in sides.split(",") if n)) for kind, sides in SHAPE.findall(text)]


def _bytes(shapes: list[tuple[str, tuple[int, ...]]]) -> int:
    def width(kind: str) -> float:
        digits = re.search(r"\d+", kind)
        return int(digits[0]) / 8 if digits else 1

    return int(sum(width(kind) * math.prod(shape) for kind, shape in shapes))


def _flops(opcode: str, rest: str, operands: list, result: list) -> float:
    """Of one product or convolution; 0 for anything else and where a shape is not known."""
    if not result or len(operands) < 2 or not operands[0] or not operands[1]:
        return 0.0
    left, right, out = operands[0][0][1], operands[1][0][1], math.prod(result[0][1])
    if opcode == "dot":
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", rest)
        return 2.0 * out * math.prod(left[int(a)] for a in axes[1].split(",") if a) if axes else 0.0
    if opcode == "convolution":
        labels = re.search(r"dim_labels=\w+_(\w+)->", rest)
        return 2.0 * out * math.prod(right) / right[labels[1].index("o")] if labels else 0.0
    return 0.0


def module_of(path: str) -> tuple[str, str]:
    """("stage1_block0/conv2", "backward") of an op_name; the phase is forward, backward or other."""
    phase = "backward" if "transpose(" in path else "forward" if "jvp(" in path else "other"
    names = [part for part in path.split("/")[:-1] if part and "(" not in part and not NOISE.search(part)]
    return "/".join(names), phase


def trace_times(folder: Path | str) -> dict[str, float]:
    """{instruction: seconds} over a whole trace of `jax.profiler.trace(folder)`.

    Raises:
      FileNotFoundError: there is no trace in the folder.
    """
    files = sorted(Path(folder).glob("plugins/profile/*/*.xplane.pb"))
    if not files:
        raise FileNotFoundError(f"there is no trace in {folder}")
    seconds: Counter[str] = Counter()
    planes = list(jax.profiler.ProfileData.from_file(str(files[-1])).planes)
    device = [plane for plane in planes if plane.name.startswith("/device:")]
    for plane in device or planes:
        lines = list(plane.lines)
        for line in [line for line in lines if line.name == "XLA Ops"] or lines:
            for event in line.events:
                operation = dict(event.stats).get("hlo_op")
                if operation is not None:
                    seconds[operation] += event.duration_ns * 1e-9
    return dict(seconds)


def hot_operations(times: Mapping[str, float], text: str, runs: int, chip: Chip) -> list[Hot]:
    """The operations of a program, the dearest first.

    times: of all `runs` together, as `trace_times` gives them. text: of the compiled program.
    """
    known, total = instructions(text), sum(times.values())
    rows = []
    for name, seconds in sorted(times.items(), key=lambda item: -item[1]):
        found = known.get(name, Instruction(name, "?", "", 0.0, 0))
        module, phase = module_of(found.path)
        compute, memory = found.flops / chip.flops, found.bytes / chip.bandwidth
        bound = "compute" if compute > memory else "memory"
        rows.append(
            Hot(
                name,
                found.opcode,
                module,
                phase,
                seconds / runs,
                seconds / total,
                found.flops,
                found.bytes,
                bound,
                max(compute, memory),
            )
        )
    return rows


def chip_of(kind: str) -> Chip | None:
    """The chip of a device's kind ("NVIDIA H100 80GB HBM3"); None for one that is not in the table."""
    return next((CHIPS[name] for part, name in KINDS.items() if part in kind.lower()), None)


def measured_chip(size: int = 1024, megabytes: int = 64, repeats: int = 5) -> Chip:
    """What the default device reaches here: a float32 product of size x size, and x + 1 over an array in memory."""
    x = jnp.ones((size, size), jnp.float32)
    y = jnp.ones(megabytes * 2**18, jnp.float32)
    product = _best(jax.jit(lambda x: x @ x), x, repeats)
    copy = _best(jax.jit(lambda y: y + 1), y, repeats)
    return Chip(2 * size**3 / product, 2 * 4 * y.size / copy)


def _best(function: Callable, x: jax.Array, repeats: int) -> float:
    jax.block_until_ready(function(x))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(x))
        times.append(time.perf_counter() - began)
    return float(np.min(times))

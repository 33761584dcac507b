"""Operations of a compiled program by the time that the profiler measured for them.

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
from dlcore.ops.checks import check_shapes

__all__ = [
    "HotOperation",
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
    """An instruction of a compiled program.

    Args:
      name: name in the program's text.
      opcode: such as "fusion" or "dot".
      path: the op_name of its metadata, modules and phases; "" where it has none.
      flops: two for each multiply-add, those of what it calls included.
      bytes: bytes of its operands and its result.
    """

    name: str
    opcode: str
    path: str
    flops: float
    bytes: int


class HotOperation(NamedTuple):
    """One operation of a profile.

    Args:
      name: name of the instruction.
      opcode: such as "fusion" or "dot".
      module: path of the flax module, "" where it has none.
      phase: "forward", "backward" or "other".
      seconds: time of one run in seconds of the program.
      share: fraction of the time of all operations.
      flops: two for each multiply-add.
      bytes: bytes of its operands and its result.
      bound: "compute" or "memory", whichever the roofline says takes longer.
      least_seconds: the roofline's bound.
    """

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
    """Parse the instructions of a compiled program.

    Args:
      text: text of the program (`as_text()`).

    Returns:
      {name: instruction}.
    """
    shapes: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    lines: dict[str, tuple[str, str, list[str], str]] = {}
    inside: dict[str, list[str]] = {}
    here = ""
    for line in text.splitlines():
        if match := COMPUTATION.match(line):
            here = match[1]
        elif match := DEFINED.match(line):
            name, rest = match[1], line[match.end() :]
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
    parsed = {}
    for name, (opcode, rest, operands, _) in lines.items():
        path = re.search(r'op_name="([^"]*)"', rest)
        called = re.findall(r"\bcalls=%?([\w.\-]+)", rest)
        total = flops[name] + sum(flops[inner] for c in called for inner in inside.get(c, []))
        moved = sum(map(_bytes, [*(shapes.get(o, []) for o in operands), shapes[name]]))
        parsed[name] = Instruction(name, opcode, path[1] if path else "", total, moved)
    return parsed


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
    """Split an instruction's op_name into module and phase.

    Args:
      path: such as "jit(update)/transpose(jvp(ResNet))/stage1_block0/conv2/conv_general_dilated".

    Returns:
      ("stage1_block0/conv2", "backward"); the phase is "forward", "backward" or "other".
    """
    phase = "backward" if "transpose(" in path else "forward" if "jvp(" in path else "other"
    names = [part for part in path.split("/")[:-1] if part and "(" not in part and not NOISE.search(part)]
    return "/".join(names), phase


def trace_times(folder: Path | str) -> dict[str, float]:
    """Sum the time of every instruction over a whole trace.

    Args:
      folder: folder that `jax.profiler.trace(folder)` wrote; the newest trace in it is read.

    Returns:
      {instruction: seconds}.

    Raises:
      FileNotFoundError: there is no trace in the folder.
    """
    files = sorted(Path(folder).glob("plugins/profile/*/*.xplane.pb"))
    if not files:
        raise FileNotFoundError(f"folder={folder}: holds no trace; allowed: a folder of jax.profiler.trace")
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


def hot_operations(times: Mapping[str, float], text: str, runs: int, chip: Chip) -> list[HotOperation]:
    """Combine measured times with the roofline of each operation.

    Args:
      times: {instruction: seconds} of all runs together, as `trace_times` returns them.
      text: text of the compiled program.
      runs: how often the program ran.
      chip: chip whose peaks bound the time.

    Returns:
      The operations, the longest first.
    """
    check_shapes(runs=(runs, "int >= 1"), times=(np.fromiter(times.values(), float), "... >= 0"))
    check_shapes(flops=(chip.flops, "> 0"), bandwidth=(chip.bandwidth, "> 0"))
    instructions_of, total = instructions(text), sum(times.values())
    rows = []
    for name, seconds in sorted(times.items(), key=lambda item: -item[1]):
        instruction = instructions_of.get(name, Instruction(name, "?", "", 0.0, 0))
        module, phase = module_of(instruction.path)
        compute, memory = instruction.flops / chip.flops, instruction.bytes / chip.bandwidth
        bound = "compute" if compute > memory else "memory"
        rows.append(
            HotOperation(
                name,
                instruction.opcode,
                module,
                phase,
                seconds / runs,
                seconds / total,
                instruction.flops,
                instruction.bytes,
                bound,
                max(compute, memory),
            )
        )
    return rows


def chip_of(kind: str) -> Chip | None:
    """Find a chip by the name that jax gives a device.

    Args:
      kind: such as "NVIDIA H100 80GB HBM3".

    Returns:
      Its peaks; None for a chip that is not in the table.
    """
    return next((CHIPS[name] for part, name in KINDS.items() if part in kind.lower()), None)


def measured_chip(size: int = 1024, megabytes: int = 64, repeats: int = 5) -> Chip:
    """Measure what the default device reaches: a float32 product, and x + 1 over an array in memory.

    Args:
      size: size of the square matrices that are multiplied.
      megabytes: size of the array in MiB.
      repeats: the fastest of so many runs counts.

    Returns:
      FLOPs and bytes per second.
    """
    check_shapes(size=(size, "int >= 1"), megabytes=(megabytes, "int >= 1"), repeats=(repeats, "int >= 1"))
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

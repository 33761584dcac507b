"""Collectives of a compiled program: what it sends between devices in one run, read from its text (`as_text()`).

    all-reduce of B bytes over n devices      each sends 2 B (n - 1) / n in a ring
    all-gather, reduce-scatter, all-to-all    each sends B (n - 1) / n, B the whole buffer (the larger side)
    collective-permute                        each sends B

Rings: Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations" (2009).

XLA:TPU's text needs care. A collective that is spread over several fusions appears in each of them under one channel,
and is counted once: as often as in the computation of the fewest loop iterations, as one may continue beside a loop. A
pair of `-start` and `-done` is one; the type of some starts holds the input beside the output. A reduce-scatter is
mostly printed as an all-reduce inside a fusion that is called `all-reduce-scatter`. A collective in a loop counts as
often as the loop iterates, where the text says so or its condition compares with a constant; otherwise once, and it is
marked. Of a conditional all branches count.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["KINDS", "Collective", "by_kind", "collectives"]

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .*)?\{\s*$")
LINE = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.*)$")
OPERATION = re.compile(r"(?:^|\s)([a-z][a-z0-9\-]*)\(")
SHAPE = re.compile(r"\b([a-z]+[0-9]*[a-z0-9]*)\[([0-9,]*)\]")
CALLED = re.compile(r"\b(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)")
SEVERAL = re.compile(r"\b(?:branch_computations|called_computations)=\{([^}]*)\}")


class Collective(NamedTuple):
    """One collective operation.

    Args:
      kind: one of `KINDS`.
      bytes: size of the whole buffer.
      devices: how many take part in one group.
      times: how often it runs.
      exact: whether `times` is known; False where one iteration of a loop of unknown length was counted.
    """

    kind: str
    bytes: int
    devices: int
    times: int = 1
    exact: bool = True

    @property
    def sent(self) -> int:
        """Bytes that a device sends for it, in all its runs."""
        fraction = 1.0 if self.kind == "collective-permute" else (self.devices - 1) / self.devices
        return round(self.times * self.bytes * fraction * (2 if self.kind == "all-reduce" else 1))


class _Operation(NamedTuple):
    type: str
    name: str
    rest: str


def collectives(text: str) -> list[Collective]:
    """Find the collectives of a program, for one device and one run.

    Args:
      text: text of the compiled program.

    Returns:
      In the order of the text.
    """
    computations, entry = _computations(text)
    match = re.search(r"num_partitions=(\d+)", text.partition("\n")[0])
    partitions = int(match[1]) if match else 1
    turns = _turns(computations, entry)
    collectives: dict[str, Collective] = {}
    for number, (name, operation) in enumerate((n, o) for n, lines in computations.items() for o in lines):
        kind, started = operation.name.removesuffix("-start"), operation.name.endswith("-start")
        if kind not in KINDS or name not in turns:
            continue
        times, exact = turns[name]
        size, devices = _bytes(operation.type, kind, started), _devices(operation.rest, partitions)
        if kind == "all-reduce" and name.startswith("all-reduce-scatter"):
            kind = "reduce-scatter"
        elif kind == "reduce-scatter":
            size *= devices
        channel = re.search(r"channel_id=(\d+)", operation.rest)
        key = f"channel {channel[1]}" if channel else f"line {number}"
        new = Collective(kind, size, devices, times, exact)
        collectives[key] = _one(collectives[key], new) if key in collectives else new
    return list(collectives.values())


def by_kind(operations: Iterable[Collective]) -> dict[str, tuple[int, int, int]]:
    """Sum collectives by kind.

    Args:
      operations: such as `collectives` gives.

    Returns:
      {kind: (how many run, bytes of their buffers, bytes that a device sends)}.
    """
    table: dict[str, tuple[int, int, int]] = {}
    for c in operations:
        count, size, sent = table.get(c.kind, (0, 0, 0))
        table[c.kind] = (count + c.times, size + c.times * c.bytes, sent + c.sent)
    return table


def _one(a: Collective, b: Collective) -> Collective:
    """Merge two appearances of one channel, which runs as often as the rarer one: the start or the end of a chain."""
    fewer = min(a, b, key=lambda c: (c.times, not c.exact))
    kind = "reduce-scatter" if "reduce-scatter" in (a.kind, b.kind) else a.kind
    return fewer._replace(kind=kind)


def _computations(text: str) -> tuple[dict[str, list[_Operation]], str | None]:
    """Parse {name: its operations}, and the name of the entry."""
    computations: dict[str, list[_Operation]] = {}
    entry, lines = None, None
    for line in text.splitlines():
        if head := HEAD.match(line):
            lines = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif lines is not None and (match := LINE.match(line)):
            body = match[1]
            at = OPERATION.search(body, _end_of_type(body))
            if at:
                lines.append(_Operation(body[: at.start()], at[1], body[at.end() :]))
    return computations, entry


def _end_of_type(body: str) -> int:
    """Find where the type ends: after its brackets if it is a tuple."""
    if not body.startswith("("):
        return 0
    depth = 0
    for position, letter in enumerate(body):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return position + 1
    return 0


def _called(operation: _Operation) -> Iterator[str]:
    yield from CALLED.findall(operation.rest)
    for names in SEVERAL.findall(operation.rest):
        yield from (name.strip().lstrip("%") for name in names.split(",") if name.strip())


def _turns(computations: dict[str, list[_Operation]], entry: str | None) -> dict[str, tuple[int, bool]]:
    """Count how often each computation that the entry reaches runs: {name: (times, whether that is known)}."""
    callers: dict[str, list[tuple[str, int | None]]] = {}
    for name, operations in computations.items():
        for operation in operations:
            times = _loop_turns(operation, computations) if operation.name == "while" else 1
            for callee in _called(operation):
                callers.setdefault(callee, []).append((name, times))
    counts: dict[str, tuple[int, bool]] = {}

    def turns(name: str) -> tuple[int, bool]:
        if name not in counts:
            parts = [(1, True)] if name == entry else []
            for caller, times in callers.get(name, []):
                outer, exact = turns(caller)
                parts.append((outer * (times or 1), exact and times is not None))
            counts[name] = (sum(n for n, _ in parts), all(exact for n, exact in parts if n))
        return counts[name]

    return {name: turns(name) for name in computations if turns(name)[0]}


def _loop_turns(loop: _Operation, computations: dict[str, list[_Operation]]) -> int | None:
    """Count a loop's iterations, as the text says or by its condition `i < N` from 0; None where neither does."""
    if trip_count := re.search(r'known_trip_count"?[:=]\s*\{"?n"?:"?(\d+)', loop.rest):
        return int(trip_count[1])
    condition = re.search(r"condition=%?([\w.\-]+)", loop.rest)
    operations = list(computations.get(condition[1], [])) if condition else []
    for operation in list(operations):
        for callee in _called(operation):
            operations += computations.get(callee, [])
    limits = {m[1] for o in operations if o.name == "constant" and (m := re.match(r"(\d+)\)", o.rest))}
    compares = [o for o in operations if o.name == "compare"]
    if len(limits) == 1 and len(compares) == 1 and "direction=LT" in compares[0].rest:
        return int(limits.pop())
    return None


def _bytes(type_: str, kind: str, started: bool) -> int:
    """Bytes of a collective's result, from its type."""
    if started and kind != "all-reduce":  # (inputs, outputs, contexts): the larger of the first two is the whole
        sides = re.findall(r"\(([^()]*(?:\{[^{}]*\}[^()]*)*)\)", _without_layouts(type_)[1:-1])
        sizes = [_sum(side) for side in sides] or [_size(*shape) for shape in SHAPE.findall(_without_layouts(type_))]
        return max(sizes, default=0)
    return _sum(_without_layouts(type_))


def _without_layouts(type_: str) -> str:
    return re.sub(r"\{[^{}]*\}", "", type_).strip()


def _sum(type_: str) -> int:
    return sum(_size(*shape) for shape in SHAPE.findall(type_))


def _size(dtype: str, dims: str) -> int:
    digits = re.search(r"\d+", dtype)
    bits = int(digits[0]) if digits else 8 * (dtype == "pred")  # a token and an opaque value have no bytes
    return math.prod(int(d) for d in dims.split(",") if d) * bits // 8


def _devices(rest: str, partitions: int) -> int:
    """Devices of one group, in any of the forms in which groups are printed."""
    if groups := re.search(r"replica_groups=\{\{([\d, ]+)\}", rest):
        return groups[1].count(",") + 1
    if groups := re.search(r"replica_groups=\[\d+,(\d+)\]<=", rest):
        return int(groups[1])
    if groups := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", rest):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", groups[1]))
        used = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", groups[2])
        return math.prod(int(part or sizes[axis]) for axis, part in used)
    return partitions

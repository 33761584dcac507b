"""The machines that `--mode=plan` knows: how many devices, how much memory, how fast, and how they are joined.

A TPU's memory limit is what its compiler says when a program is too large (libtpu 0.0.42, in GiB a device): less than
the chip's, as the system keeps some. A GPU's is the 80 or 141 GB of its data sheet; JAX takes 75 % of it unless
XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.

Links are bytes a second that a device sends to all others together: for TPUs Google's Cloud TPU documentation (half of
"bidirectional ICI bandwidth per chip": 400, 800 and 1200 GB/s of v5e, v6e and v5p; v4 by its all-reduce bandwidth, 1.1
PB/s for 4096 chips), for GPUs half of NVLink's 600 (A100) and 900 GB/s (H100, H200) of NVIDIA's data sheets, which
holds inside a server of eight. Speeds are those of `dlcore.cost.roofline`; of v4 there are two devices a chip.

    seconds >= max(FLOPs / peak, (arguments + results) / memory bandwidth) + sent / link

of one device. It is a bound for bfloat16 products, with nothing hidden behind anything else and no link idle: fit to
rank meshes, not to promise times.
"""

import re
from typing import NamedTuple

from dlcore.cost.roofline import CHIPS
from dlcore.experiment.flags import FlagError
from dlcore.run.sharding import RULES

__all__ = ["GPUS", "TPUS", "Kind", "Topology", "cases_of", "seconds", "topology_of"]

GIB = 2**30


class Kind(NamedTuple):
    """limit: bytes of a device. link: bytes a second of a device. a_chip: devices a chip. shapes: of TPU slices."""

    limit: float
    link: float
    a_chip: int = 1
    shapes: tuple[str, ...] = ()


FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBE = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")

TPUS = {
    "v4": Kind(15.25 * GIB, 269e9 / 2, 2, CUBE),
    "v5e": Kind(15.75 * GIB, 200e9, 1, FLAT),
    "v5p": Kind(95.74 * GIB, 600e9, 1, CUBE),
    "v6e": Kind(31.25 * GIB, 400e9, 1, FLAT),
}
GPUS = {"a100": Kind(80e9, 300e9), "h100": Kind(80e9, 450e9), "h200": Kind(141e9, 450e9)}
MOST = 1024
"""Devices that a machine without them can pretend to have."""


class Topology(NamedTuple):
    """platform: tpu, gpu or cpu. flops, bandwidth, link, limit: of one device, None where unknown (a CPU)."""

    name: str
    platform: str
    devices: int
    flops: float | None = None
    bandwidth: float | None = None
    link: float | None = None
    limit: float | None = None


def topology_of(name: str) -> Topology:
    """From "v5e:4x4" (a TPU slice), "h100:8" (GPUs) or "cpu:8" (pretended devices, to check predictions).

    Raises:
      FlagError: there is no such topology; those that there are are listed.
    """
    kind, _, size = name.partition(":")
    if kind in TPUS:
        found = TPUS[kind]
        if size not in found.shapes:
            raise FlagError(f"--topology={name} is unknown; of {kind} there are {', '.join(found.shapes)}")
        chips = 1
        for side in size.split("x"):
            chips *= int(side)
        chip = CHIPS[kind]
        speeds = (chip.flops / found.a_chip, chip.bandwidth / found.a_chip)
        return Topology(name, "tpu", chips * found.a_chip, *speeds, found.link, found.limit)
    if kind not in (*GPUS, "cpu"):
        tpus = ", ".join(f"{kind}:{found.shapes[3]}" for kind, found in TPUS.items())
        gpus = ", ".join(f"{kind}:8" for kind in GPUS)
        raise FlagError(
            f"--topology={name} is unknown; allowed are TPUs such as {tpus}, GPUs such as {gpus}, and cpu:8"
        )
    if not re.fullmatch(r"[1-9]\d*", size) or int(size) > MOST:
        raise FlagError(f"--topology={name} needs a number of devices up to {MOST}, as in {kind}:8")
    if kind == "cpu":
        return Topology(name, "cpu", int(size))
    return Topology(name, "gpu", int(size), *CHIPS[kind], GPUS[kind].link, GPUS[kind].limit)


def cases_of(devices: int, meshes: str | None = None, rules: str | None = None) -> list[tuple[str, str]]:
    """(mesh, rule) pairs to compare.

    meshes: "data:16,data:4,model:4" is two, as each begins with `data`; by default all devices on data, and 2, 4 and 8
    of them on `model` where that divides. rules: names with commas, all by default; each goes with the meshes that it
    suits: replicate and fsdp with data alone, tensor and fsdp+tensor with `model`.

    Raises:
      FlagError: a rule is unknown, a mesh does not begin with `data`, or no pair is left.
    """
    if meshes is None:
        shapes = [f"data:{devices}"]
        shapes += [f"data:{devices // m},model:{m}" for m in (2, 4, 8) if devices % m == 0 and devices > 1]
    else:
        shapes = [mesh.strip() for mesh in re.split(r",\s*(?=data:)", meshes)]
    if odd := [mesh for mesh in shapes if not mesh.startswith("data:")]:
        raise FlagError(f"--meshes: {odd[0]!r} does not begin with data:, as in data:16,data:4,model:4")
    asked = None if rules is None else [rule.strip() for rule in rules.split(",")]
    if odd := [rule for rule in asked or () if rule not in RULES]:
        raise FlagError(f"--rules: {odd[0]!r} is unknown; allowed are {', '.join(RULES)}")
    found = []
    for mesh in shapes:
        suits = ("replicate", "fsdp") if devices > 1 else ("replicate",)
        suits = ("tensor", "fsdp+tensor") if "model:" in mesh else suits
        found += [(mesh, rule) for rule in asked or suits if rule in suits]
    if not found:
        raise FlagError(f"--rules={rules} suit none of the meshes: tensor needs an axis model, as in data:4,model:4")
    return found


def seconds(topology: Topology, flops: float, moved: float, sent: float) -> float | None:
    """The bound on a step's time, for the FLOPs, the bytes of arguments and results, and those sent, of one device."""
    if topology.flops is None:
        return None
    return max(flops / topology.flops, moved / topology.bandwidth) + sent / topology.link

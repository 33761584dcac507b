"""Machines that `--mode=plan` knows: number of devices, memory, speed and interconnect.

A TPU's memory limit is the one in its compiler's error for too large programs (libtpu 0.0.42, in GiB per device): less
than the chip's, as the system reserves some. A GPU's is the 80 or 141 GB of its data sheet; JAX takes 75 % of it unless
XLA_PYTHON_CLIENT_MEM_FRACTION is set.

Links are bytes per second that a device sends to all others together: for TPUs Google's Cloud TPU documentation (half
of "bidirectional ICI bandwidth per chip": 400, 800 and 1200 GB/s of v5e, v6e and v5p; v4 by its all-reduce bandwidth,
1.1 PB/s for 4096 chips), for GPUs half of NVLink's 600 (A100) and 900 GB/s (H100, H200) of NVIDIA's data sheets, which
holds inside a server of eight. Speeds are those of `dlcore.cost.roofline`; a v4 chip has two devices.

    seconds >= max(FLOPs / peak, (arguments + results) / memory bandwidth) + sent / link

per device. It is a lower bound for bfloat16 products, without overlap and with all links busy: good for ranking meshes,
not for predicting times.
"""

import math
import re
import subprocess
import sys
from typing import NamedTuple

from dlcore.cost.roofline import CHIPS
from dlcore.run.sharding import RULES, mesh_axes
from dlcore.setting import FlagError

__all__ = ["GPUS", "TPUS", "Kind", "Topology", "cases_of", "seconds", "topology_at_hand", "topology_of"]

GIB = 2**30


class Kind(NamedTuple):
    """A kind of device.

    Args:
      limit: memory per device in bytes.
      link: bytes per second that a device sends.
      devices_per_chip: number of jax devices per chip.
      shapes: shapes of TPU slices; () for GPUs.
    """

    limit: float
    link: float
    devices_per_chip: int = 1
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
MAX_DEVICES = 1024
"""Largest number of GPUs or simulated devices of a topology."""


class Topology(NamedTuple):
    """A machine; speeds and sizes are per device, None if unknown (a CPU).

    Args:
      name: name of the topology, such as "v5e:4x4".
      platform: "tpu", "gpu" or "cpu".
      devices: number of devices.
      flops: bfloat16 FLOP/s.
      bandwidth: memory bandwidth in bytes per second.
      link: bytes per second that it sends.
      limit: memory in bytes.
    """

    name: str
    platform: str
    devices: int
    flops: float | None = None
    bandwidth: float | None = None
    link: float | None = None
    limit: float | None = None


def topology_of(name: str) -> Topology:
    """Look up a topology by its name.

    Args:
      name: "v5e:4x4" (a TPU slice), "h100:8" (GPUs) or "cpu:8" (simulated devices, to check predictions).

    Raises:
      FlagError: there is no such topology; the message lists the known ones.
    """
    kind, _, size = name.partition(":")
    if kind in TPUS:
        machine = TPUS[kind]
        if size not in machine.shapes:
            raise FlagError(f"--topology={name}: unknown shape; allowed of {kind}: {', '.join(machine.shapes)}")
        chips = 1
        for side in size.split("x"):
            chips *= int(side)
        chip = CHIPS[kind]
        speeds = (chip.flops / machine.devices_per_chip, chip.bandwidth / machine.devices_per_chip)
        return Topology(name, "tpu", chips * machine.devices_per_chip, *speeds, machine.link, machine.limit)
    if kind not in (*GPUS, "cpu"):
        tpus = ", ".join(f"{kind}:{machine.shapes[3]}" for kind, machine in TPUS.items())
        gpus = ", ".join(f"{kind}:8" for kind in GPUS)
        raise FlagError(f"--topology={name}: unknown; allowed: TPUs such as {tpus}, GPUs such as {gpus}, and cpu:8")
    if not re.fullmatch(r"[1-9]\d*", size) or int(size) > MAX_DEVICES:
        raise FlagError(f"--topology={name}: no number of devices; allowed: {kind}:1 to {kind}:{MAX_DEVICES}")
    if kind == "cpu":
        return Topology(name, "cpu", int(size))
    return Topology(name, "gpu", int(size), *CHIPS[kind], GPUS[kind].link, GPUS[kind].limit)


def topology_at_hand() -> str:
    """Name the topology of this machine's devices; a process of its own looks, as it would take their memory.

    Returns:
      A name that `topology_of` knows, such as "h100:8" or "cpu:1".

    Raises:
      FlagError: the devices are of a kind that the table lacks, or TPUs, whose shape the number does not say.
    """
    code = "import jax; print(jax.device_count(), jax.devices()[0].platform, jax.devices()[0].device_kind)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, platform, kind = process.stdout.splitlines()[-1].split(" ", 2)
    if platform == "cpu":
        return f"cpu:{count}"
    name = next((name for name in GPUS if name in kind.lower()), None)
    if name is None:
        raise FlagError(f"--topology: missing, and this machine has {count} x {kind}; allowed: v5e:4x4, h100:8, cpu:8")
    return f"{name}:{count}"


def cases_of(devices: int, meshes: str | None = None, rules: str | None = None) -> list[tuple[str, str]]:
    """List the (mesh, rule) pairs to compare.

    Args:
      devices: number of devices.
      meshes: meshes with commas, each beginning with `data`: "data:16,data:4,model:4" is two; None for all devices on
        `data`, and for 2, 4 and 8 of them on `model` if that divides.
      rules: names with commas, each used with suitable meshes: replicate, zero1 and fsdp for `data` alone, tensor and
        fsdp+tensor with `model`; None for all but zero1.

    Returns:
      The pairs.

    Raises:
      FlagError: a rule is unknown, a mesh does not begin with `data`, is malformed or has another number of devices, or
        no pair remains.
    """
    if meshes is None:
        shapes = [f"data:{devices}"]
        shapes += [f"data:{devices // m},model:{m}" for m in (2, 4, 8) if devices % m == 0 and devices > 1]
    else:
        shapes = [mesh.strip() for mesh in re.split(r",\s*(?=data:)", meshes)]
    if invalid := [mesh for mesh in shapes if not mesh.startswith("data:")]:
        raise FlagError(f"--meshes={invalid[0]}: does not begin with data:; allowed: such as data:16,data:4,model:4")
    for mesh in shapes:
        try:
            count = math.prod(mesh_axes(mesh).values())
        except ValueError as error:
            raise FlagError(f"--meshes: {error}") from None
        if count != devices:
            raise FlagError(f"--meshes={mesh}: {count} devices; allowed: {devices}, as the topology has")
    names = None if rules is None else [rule.strip() for rule in rules.split(",")]
    if invalid := [rule for rule in names or () if rule not in RULES]:
        raise FlagError(f"--rules={invalid[0]}: unknown; allowed: {', '.join(RULES)}")
    pairs = []
    for mesh in shapes:
        suitable = ("replicate", "fsdp") if devices > 1 else ("replicate",)
        suitable = ("tensor", "fsdp+tensor") if "model:" in mesh else suitable
        allowed = (*suitable, "zero1") if "fsdp" in suitable else suitable
        pairs += [(mesh, rule) for rule in names or suitable if rule in allowed]
    if not pairs:
        raise FlagError(f"--rules={rules}: suits no mesh; allowed: tensor with an axis model, as in data:4,model:4")
    return pairs


def seconds(topology: Topology, flops: float, moved: float, sent: float) -> float | None:
    """Compute a lower bound of a step's time on one device.

    Args:
      topology: topology that sets the peaks.
      flops: FLOPs of the step on one device.
      moved: bytes of arguments and results.
      sent: bytes that the device sends.

    Returns:
      Seconds; None if the topology's speeds are unknown.
    """
    if topology.flops is None or topology.bandwidth is None or topology.link is None:
        return None
    return max(flops / topology.flops, moved / topology.bandwidth) + sent / topology.link

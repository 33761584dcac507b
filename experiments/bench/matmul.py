"""How fast a device multiplies matrices, and how near that is to what it could do.

python -m experiments.bench.matmul [--sizes=512,1024,2048] [--json=matmul.json]

    TFLOP/s = 2 M K N / seconds / 1e12,     ratio = TFLOP/s over the peak

A CPU has few cores that do much each, a GPU a hundred or so multiprocessors of many narrow lanes and, for the narrow
formats, units that multiply small matrices at once. Peaks: for accelerators the makers' dense bfloat16 figure
(`dlcore.cost.roofline`); it is no peak of float32, for which the ratio is left out. For CPUs cores x clock x
FLOPs a cycle of the widest fused multiply-add that /proc/cpuinfo names (AVX-512: 64 in float32, AVX2: 32, two units of
each), at the clock that it gives; bfloat16 has no such figure and no ratio.

Seen on two cores of an AMD EPYC with AVX-512 (peak .33 TFLOP/s) at real-time priority beside other jobs, TFLOP/s at
512, 1,024 and 2,048: float32 .15, .22 and .21 (44, 66 and 64 % of the peak), bfloat16 .14, .17 and .17.
"""

import argparse
import json
import os
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.cost.profiled_operations import chip_of
from dlcore.run import provenance

FIELDS = {
    "device": str, "platform": str, "cores": int, "shape": list, "dtype": str, "seconds": float, "tflops": float,
    "peak_tflops": (float, type(None)), "ratio": (float, type(None)),
}  # fmt: skip


def cpu_peak(cpuinfo: str, cores: int) -> float | None:
    """FLOP/s in float32 of `cores` cores, from the text of /proc/cpuinfo; None where it does not say."""
    clock = re.search(r"^cpu MHz\s*:\s*([\d.]+)", cpuinfo, re.M)
    names = re.search(r"^flags\s*:\s*(.*)$", cpuinfo, re.M)
    if not clock or not names:
        return None
    known = names[1].split()
    a_cycle = 64 if "avx512f" in known else 32 if {"avx2", "fma"} <= set(known) else None
    return None if a_cycle is None else cores * float(clock[1]) * 1e6 * a_cycle


def peak(device: jax.Device, dtype: str) -> float | None:
    """FLOP/s that products of `dtype` can reach; None where it is not known."""
    if device.platform != "cpu":
        chip = chip_of(device.device_kind)
        return chip.flops if chip and dtype == "bfloat16" else None
    path = Path("/proc/cpuinfo")
    return cpu_peak(path.read_text(), cores()) if dtype == "float32" and path.exists() else None


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure(size: int, dtype: str, repeats: int) -> dict[str, Any]:
    """The median over `repeats` products of size x size; several in one program where one is short."""
    turns = max(1, round(2e9 / (2 * size**3)))
    key = jax.random.key(0)
    x, w = (jax.random.normal(k, (size, size), dtype) / size**0.5 for k in jax.random.split(key))

    @jax.jit
    def products(x, w):
        return jax.lax.fori_loop(0, turns, lambda i, x: (x @ w).astype(x.dtype), x)

    jax.block_until_ready(products(x, w))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(products(x, w))
        times.append((time.perf_counter() - began) / turns)
    device, seconds = jax.devices()[0], statistics.median(times)
    best = peak(device, dtype)
    reached = 2 * size**3 / seconds
    return {
        "device": provenance.hardware(), "platform": device.platform, "cores": cores(), "shape": [size] * 3,
        "dtype": dtype, "seconds": seconds, "tflops": reached / 1e12,
        "peak_tflops": best and best / 1e12, "ratio": best and reached / best,
    }  # fmt: skip


def check(rows: Sequence[dict[str, Any]]) -> None:
    """Raises ValueError where a row lacks a field, has another one, or one of a wrong type."""
    for row in rows:
        if odd := set(row) ^ set(FIELDS):
            raise ValueError(f"{sorted(odd)[0]!r} is missing or unknown in {row}")
        for name, kinds in FIELDS.items():
            if not isinstance(row[name], kinds):
                raise ValueError(f"{name} is {row[name]!r}; {kinds} is needed")


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="512,1024,2048", help="of square matrices, with commas between")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", type=Path, help="where to write the rows")
    options = parser.parse_args(argv)
    sizes = [int(size) for size in options.sizes.split(",")]
    if min(sizes) < 1 or options.repeats < 1:
        parser.error(f"--sizes={options.sizes} and --repeats={options.repeats} must be at least 1")
    names = options.dtypes.split(",")
    if unknown := [name for name in names if not hasattr(jnp, name)]:
        parser.error(f"--dtypes={unknown[0]} is unknown; float32, bfloat16 and float16 are usual")
    print(f"{provenance.hardware()}, jax {jax.__version__}")
    rows = []
    with jax.default_matmul_precision("default"):
        for dtype in names:
            for size in sizes:
                rows.append(row := measure(size, dtype, options.repeats))
                share = "" if row["ratio"] is None else f"   {row['ratio']:.0%} of {row['peak_tflops']:.2f}"
                speed = f"{row['seconds'] * 1e3:10.3f} ms {row['tflops']:9.3f} TFLOP/s"
                print(f"{dtype:10}{size:6}³{speed}{share}", flush=True)
    check(rows)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    main()

"""Time matrix products on this device, and compare them with the peak of the hardware.

python -m experiments.bench.matmul
python -m experiments.bench.matmul --sizes=512,1024,2048 --dtypes=float32

    TFLOP/s = 2 M K N / seconds / 1e12,     share of the peak = TFLOP/s over the peak

A CPU has few cores that do much each, a GPU a hundred or so multiprocessors of many narrow lanes and, for the narrow
formats, units that multiply small matrices at once. Peaks: for accelerators the vendors' dense bfloat16 figure
(`dlcore.cost.roofline`); it is no peak of float32, for which the share is left out. For CPUs cores x clock x FLOPs a
cycle of the widest fused multiply-add that /proc/cpuinfo names (AVX-512: 64 in float32, AVX2: 32, two units of each),
at the clock that it gives; bfloat16 has no such figure and no share.

Measured on two quiet cores of an Intel Xeon with AVX-512: float32 0.30 TFLOP/s at 1,024 (the nominal peak is 0.29) and
bfloat16 0.25.
"""

import os
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.cost.profiled_operations import chip_of
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.run import provenance
from experiments.bench.timing import bar_chart, interleaved


def cpu_peak(cpuinfo: str, cores: int) -> float | None:
    """FLOP/s in float32 of `cores` cores, from the text of /proc/cpuinfo; None where it does not say."""
    clock = re.search(r"^cpu MHz\s*:\s*([\d.]+)", cpuinfo, re.M)
    names = re.search(r"^flags\s*:\s*(.*)$", cpuinfo, re.M)
    if not clock or not names:
        return None
    extensions = set(names[1].split())
    flops_a_cycle = 64 if "avx512f" in extensions else 32 if {"avx2", "fma"} <= extensions else None
    return None if flops_a_cycle is None else cores * float(clock[1]) * 1e6 * flops_a_cycle


def peak(device: jax.Device, dtype: str) -> float | None:
    """FLOP/s that products of `dtype` can reach; None where it is not known."""
    if device.platform != "cpu":
        chip = chip_of(device.device_kind)
        return chip.flops if chip and dtype == "bfloat16" else None
    path = Path("/proc/cpuinfo")
    return cpu_peak(path.read_text(), cores()) if dtype == "float32" and path.exists() else None


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure_product(size: int, dtype: str, num_repeats: int) -> dict[str, Any]:
    """The median over products of [size, size] matrices; several in one program where one is short."""
    products_a_turn = max(1, round(2e9 / (2 * size**3)))
    x, w = (jax.random.normal(k, (size, size), dtype) / size**0.5 for k in jax.random.split(jax.random.key(0)))

    @jax.jit
    def products(x, w):
        return jax.lax.fori_loop(0, products_a_turn, lambda i, x: (x @ w).astype(x.dtype), x)

    seconds = interleaved({"x": lambda: products(x, w)}, num_repeats, steps=products_a_turn)["x"].median
    peak_flops, flops = peak(jax.devices()[0], dtype), 2 * size**3 / seconds
    return {
        "seconds": seconds,
        "TFLOP/s": flops / 1e12,
        "peak TFLOP/s": peak_flops and peak_flops / 1e12,
        "share of the peak": peak_flops and flops / peak_flops,
    }


def measure(
    *,
    sizes: tuple[PositiveInt, ...] = (512, 1024, 2048),
    dtypes: tuple[str, ...] = ("float32", "bfloat16"),
    num_repeats: PositiveInt = 10,
) -> StudyResult:
    """Time products of square matrices.

    Args:
      sizes: sides of the matrices.
      dtypes: names of jax.numpy's floating-point types.
    """
    if min(sizes) < 1:
        raise ValueError(f"sizes={sizes}: too small; allowed: at least 1")
    if unknown := [name for name in dtypes if not hasattr(jnp, name)]:
        raise ValueError(f"dtypes={unknown[0]}: unknown; allowed: types of jax.numpy, such as float32 and bfloat16")
    speeds: dict[str, dict[str, float]] = {str(size): {} for size in sizes}
    numbers = {"cores": cores()}
    with jax.default_matmul_precision("default"):
        for dtype in dtypes:
            for size in sizes:
                row = measure_product(size, dtype, num_repeats)
                numbers |= {f"{dtype}, {size}: {key}": value for key, value in row.items() if value is not None}
                speeds[str(size)][dtype] = row["TFLOP/s"]
    best = {dtype: max(speeds, key=lambda size, dtype=dtype: speeds[size][dtype]) for dtype in dtypes}
    sentences = []
    for dtype, size in best.items():
        fraction = numbers.get(f"{dtype}, {size}: share of the peak")
        of_peak = "" if fraction is None else f", {fraction:.0%} of the peak"
        sentences.append(f"{dtype} {speeds[size][dtype]:.3g} TFLOP/s at {size}{of_peak}")
    figures = {"speed": bar_chart(speeds, "TFLOP/s", reference=None)}
    verdict = f"{provenance.hardware()}: {'; '.join(sentences)}."
    headline = Headline(f"TFLOP/s, {dtypes[0]}", speeds[best[dtypes[0]]][dtypes[0]], "synthetic", tolerance=0.5)
    return StudyResult(numbers, verdict, figures, headline=headline)


experiment = Study(__file__, __doc__, measure, smoke={"sizes": (64, 96), "num_repeats": 2})

if __name__ == "__main__":
    main(experiment)

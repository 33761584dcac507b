"""Time convolutions of sequences, images and volumes, alone and in a `lax.scan`, against lax's and torch's.

python -m experiments.bench.conv_ranks
python -m experiments.bench.conv_ranks --only="3-D" --num_repeats=9

One step is the value and both gradients, by the input and by the kernel. Three ratios of medians of interleaved turns
for each case: a scanned step over one alone (the claim is at most 1.2x; on a CPU the gradients that lax writes take a
naive path in the bodies of loops), lax's step over dlcore's, and torch's over dlcore's where torch is installed.

Measured on two busy cores (AMD EPYC, jax 0.10.2), where processor time is the steadier measure and decides the claim:
a scanned step takes 0.93x to 1.05x the processor time of one alone. Alone, lax's step takes 0.92x to 0.98x that of ours
for sequences, 0.99x for images, 5.7x and 3.8x for volumes (32^3 and 12^3), 133x with stride 2; in a scan 38x and 29x,
48x, 34x and 33x, 21x. torch was not installed there.

On other platforms than a CPU dlcore's convolutions lower to lax's, and the ratios are near one.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.ops import conv_general_dilated
from dlcore.run import provenance
from experiments.bench.timing import Times, bar_chart, interleaved, ratio

SCAN_STEPS = 2
MOST_SCANNED = 1.2
LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


class Case(NamedTuple):
    """A convolution of an input [B, ..., C] with equal padding, one kernel size and one stride on all axes."""

    shape: tuple[int, ...]
    features: int
    kernel: int = 3
    stride: int = 1


CASES = {
    "1-D, 16x1024x64": Case((16, 1024, 64), 64, 5),
    "1-D stride 2, 16x1024x64": Case((16, 1024, 64), 64, 5, 2),
    "2-D, 16x32x32x32": Case((16, 32, 32, 32), 32),
    "3-D, 2x32x32x32x16": Case((2, 32, 32, 32, 16), 32),
    "3-D, 8x12x12x12x32": Case((8, 12, 12, 12, 32), 32),
    "3-D stride 2, 4x24x24x24x8": Case((4, 24, 24, 24, 8), 32, 5, 2),
}


def operands(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """[SCAN_STEPS, ...] inputs and a kernel, of normal numbers."""
    rng = np.random.default_rng(0)
    axes = len(case.shape) - 2
    kernel = rng.normal(size=(case.kernel,) * axes + (case.shape[-1], case.features))
    return rng.normal(size=(SCAN_STEPS, *case.shape)).astype(np.float32), kernel.astype(np.float32)


def jax_functions(function: Callable, case: Case) -> dict[str, Callable]:
    """SCAN_STEPS steps, one by one and scanned."""
    axes, pad = len(case.shape) - 2, case.kernel // 2
    xs, w = map(jnp.asarray, operands(case))

    def step(w, x):
        conv = functools.partial(function, dimension_numbers=LAYOUTS[axes])
        y, pull = jax.vjp(lambda x, w: conv(x, w, (case.stride,) * axes, [(pad, pad)] * axes), x, w)
        dx, dw = pull(y)
        return w - 1e-9 * dw, dx

    one = jax.jit(step).lower(w, xs[0]).compile()
    scanned = jax.jit(lambda w, xs: lax.scan(step, w, xs)).lower(w, xs).compile()

    def one_by_one():
        kernel, results = w, []
        for x in xs:
            kernel, dx = one(kernel, x)
            results.append(dx)
        return kernel, results

    return {"alone": one_by_one, "scanned": functools.partial(scanned, w, xs)}


def torch_function(case: Case) -> Callable:
    """The same steps of a torch function, on inputs with the channels first."""
    import torch

    axes = len(case.shape) - 2
    xs, w = operands(case)
    xs = [torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_(True) for x in xs]
    w = torch.from_numpy(np.ascontiguousarray(w.transpose(axes + 1, axes, *range(axes)))).requires_grad_(True)
    convolve = getattr(torch.nn.functional, f"conv{axes}d")

    def steps():
        for x in xs:
            x.grad = w.grad = None
            y = convolve(x, w, stride=case.stride, padding=case.kernel // 2)
            y.backward(y.detach())
        return w.grad.numpy()

    return steps


def times_of(case: Case, num_repeats: int) -> dict[str, Times]:
    """{"ours, alone": seconds a step, ...} of every implementation."""
    functions = {}
    for name, function in (("ours", conv_general_dilated), ("lax", lax.conv_general_dilated)):
        functions |= {f"{name}, {way}": call for way, call in jax_functions(function, case).items()}
    if importlib.util.find_spec("torch") is not None:
        functions["torch"] = torch_function(case)
    return interleaved(functions, num_repeats, steps=SCAN_STEPS)


def measure(*, only: str = "", num_repeats: PositiveInt = 5) -> StudyResult:
    """Time every convolution."""
    cases = {name: case for name, case in CASES.items() if only in name}
    if not cases:
        raise ValueError(f"only={only!r}: in no name; allowed: a part of {', '.join(CASES)}")
    ratios: dict[str, dict[str, float]] = {}
    scanned: dict[str, float] = {}
    numbers: dict[str, Any] = {}
    for name, case in cases.items():
        times = times_of(case, num_repeats)
        pairs = {
            "ours, scanned over alone": ratio(times, "ours, scanned", "ours, alone"),
            "lax over ours, alone": ratio(times, "lax, alone", "ours, alone"),
            "lax over ours, scanned": ratio(times, "lax, scanned", "ours, scanned"),
        }
        if "torch" in times:
            pairs["torch over ours, alone"] = ratio(times, "torch", "ours, alone")
        ratios[name] = {key: pair.median for key, pair in pairs.items()}
        scanned[name] = pairs["ours, scanned over alone"].cpu
        for key, pair in pairs.items():
            numbers |= pair.rows(f"{name}: {key}")
        numbers[f"{name}: ms a step"] = 1e3 * times["ours, alone"].median
    slow = [name for name, value in scanned.items() if value > MOST_SCANNED]
    verdict = (
        f"{provenance.hardware()}: a scanned step takes more than {MOST_SCANNED}x the processor time of one alone: "
        f"{', '.join(slow) or f'none of {len(cases)}'}."
    )
    figure = bar_chart(ratios, "ratio of times", log=True)
    headline = Headline("processor time, scanned over alone, worst", max(scanned.values()), "synthetic", tolerance=0.5)
    return StudyResult(numbers, verdict, {"ratios": figure}, not slow, headline)


experiment = Study(__file__, __doc__, measure, smoke={"only": "1-D stride", "num_repeats": 1})

if __name__ == "__main__":
    main(experiment)

"""Train on 1 to 8 devices: whether the work of a device falls as 1/n, and how much the devices communicate.

python -m experiments.bench.scale --model=resnet20_cifar --batch_size=64 --rules=replicate,fsdp

The global batch is fixed, so each of n devices should do 1/n of the FLOPs. Virtual devices of one machine share its
cores, so the time cannot fall: the total time of a step over that of one device is the cost of splitting, and the share
of collectives in it comes from the profiler. On a machine with several real devices the same command measures speed.

    work a device    FLOPs of one device's program x n / FLOPs of one      1 where nothing is computed twice
    efficiency       t_1 / t_n on shared cores, t_1 / (n t_n) on real devices
    sent             bytes that a device sends a step (`dlcore.cost.collectives`)

Measured on two cores, ResNet-20, batch 64: on 8 virtual devices each does 0.125 of the work and sends 1.8 MiB a step
replicated and 3.6 MiB under fsdp, and a step takes 0.71x and 0.73x the time of one device: more threads keep two cores
busier.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from dlcore.classification import supervised
from dlcore.cost.collectives import KINDS, by_kind, collectives
from dlcore.cost.memory import readable
from dlcore.cost.profiled_operations import instructions, trace_times
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.models import create_model, input_shape
from dlcore.report.figure import BLUE, GREEN, LIGHT_GRAY, PINK, VERMILION, new_figure
from dlcore.run.sharding import make_mesh
from dlcore.run.step import Placement, Program
from experiments.bench.timing import interleaved

COUNTS = (1, 2, 4, 8)


def measure_devices(
    model: str, batch_size: int, devices: int, rule: str, num_repeats: int, seed: int
) -> dict[str, Any]:
    """Seconds of a step, FLOPs of a device's program, bytes sent by a device, and the collectives' share of time."""
    shape = input_shape(model)
    learner = supervised.learner(model=create_model(model), optimizer=optax.sgd(0.1, momentum=0.9))
    rng = np.random.default_rng(seed)
    rows = {
        "image": rng.normal(size=(batch_size, *shape)).astype(np.float32),
        "label": np.arange(batch_size) % 10,
        "index": np.arange(batch_size),
    }
    program = Program(learner, rows, Placement(make_mesh(f"data:{devices}", jax.devices()[:devices]), rule), seed)
    carry = [program.init(rows)]
    program.compile()
    rows = program.put(rows)

    def step() -> Any:
        carry[0] = program.step(carry[0], rows)
        return carry[0]

    seconds = interleaved({"step": step}, num_repeats)["step"].median
    text = program.compiled.as_text()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(step())
        op_seconds = trace_times(folder)
    operations = instructions(text)
    collective_seconds = sum(
        s for name, s in op_seconds.items() if name in operations and operations[name].opcode.startswith(KINDS)
    )
    flops = (program.compiled.cost_analysis() or {}).get("flops", float("nan"))
    sent = sum(sent for _, _, sent in by_kind(collectives(text)).values())
    return {
        "seconds": seconds,
        "flops": flops,
        "sent": sent,
        "collective share": collective_seconds / max(sum(op_seconds.values()), 1e-12),
    }


def measure(
    *,
    model: str = "resnet20_cifar",
    batch_size: PositiveInt = 64,
    rules: tuple[str, ...] = ("replicate", "fsdp"),
    num_repeats: PositiveInt = 5,
    seed: Seed = 0,
) -> StudyResult:
    """Train on 1, 2, 4 and 8 devices with the same global batch.

    Args:
      batch_size: images a step, over all devices.
      rules: rules of sharding: replicate, fsdp.
      num_repeats: steps that are timed.
    """
    if len(jax.devices()) < COUNTS[-1]:
        raise ValueError(f"devices={len(jax.devices())}: too few; allowed: at least {COUNTS[-1]}")
    virtual = jax.devices()[0].platform == "cpu"
    measured = {
        rule: [measure_devices(model, batch_size, n, rule, num_repeats, seed) for n in COUNTS] for rule in rules
    }
    numbers, sentences = {}, []
    for rule, rows in measured.items():
        one = rows[0]
        work = [row["flops"] * n / one["flops"] for n, row in zip(COUNTS, rows, strict=True)]
        efficiency = [
            one["seconds"] / row["seconds"] / (1 if virtual else n) for n, row in zip(COUNTS, rows, strict=True)
        ]
        numbers |= {
            f"{rule}: work a device": work,
            f"{rule}: efficiency": efficiency,
            f"{rule}: sent": [r["sent"] for r in rows],
            f"{rule}: collective share": [r["collective share"] for r in rows],
            f"{rule}: seconds": [r["seconds"] for r in rows],
        }
        sentences.append(
            f"{rule}: on 8 devices a device does {work[-1] / 8:.3f} of the work of one (1/8 = 0.125), sends "
            f"{readable(rows[-1]['sent'])} a step, collectives take {rows[-1]['collective share']:.0%} of the "
            f"operations' time (waiting for the others included), and the step's efficiency is {efficiency[-1]:.0%}."
        )
    kind = "virtual devices on shared cores" if virtual else "devices"
    verdict = f"{model}, batch {batch_size}, {kind}. " + " ".join(sentences)
    value = numbers[f"{rules[0]}: work a device"][-1]
    headline = Headline("work a device of 8", value, model)
    return StudyResult(numbers, verdict, {"scale": figure(measured)}, headline=headline)


def figure(measured: dict[str, list[dict[str, Any]]]) -> Any:
    """FLOPs of a device against 1/n, and speed against that of one device."""
    drawing, (left, right) = new_figure((8.4, 3.6), columns=2, grid="both")
    left.plot(COUNTS, [1 / n for n in COUNTS], color=LIGHT_GRAY, linewidth=4, label="1/n")
    for color, (rule, rows) in zip((BLUE, VERMILION, GREEN, PINK), measured.items(), strict=False):
        left.plot(COUNTS, [r["flops"] / rows[0]["flops"] for r in rows], "o--", color=color, label=rule)
        right.plot(COUNTS, [rows[0]["seconds"] / r["seconds"] for r in rows], "o-", color=color, label=rule)
    left.set(xlabel="devices", ylabel="FLOPs of a device", xscale="log", yscale="log", title="Work")
    right.set(xlabel="devices", ylabel="time on one / time on n", xscale="log", ylim=(0, None), title="Time")
    for axes in (left, right):
        axes.set_xticks(COUNTS, [str(n) for n in COUNTS])
    left.set_yticks([1 / n for n in COUNTS], ["1", "1/2", "1/4", "1/8"])
    for axes in (left, right):
        axes.minorticks_off()
    left.legend(frameon=False)
    return drawing


SMOKE = {"model": "resnet8_cifar", "batch_size": 16, "rules": ("replicate",), "num_repeats": 2}
experiment = Study(__file__, __doc__, measure, SMOKE)


def with_virtual_devices() -> None:
    """Start this command again with eight virtual devices, unless devices were chosen already."""
    is_set = "device_count" in os.environ.get("XLA_FLAGS", "") or os.environ.get("JAX_PLATFORMS", "cpu") != "cpu"
    if is_set or Path("/dev/nvidia0").exists():
        return
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={COUNTS[-1]}"
    command = [sys.executable, "-m", "experiments.bench.scale", *sys.argv[1:]]
    raise SystemExit(subprocess.run(command, env={**os.environ, "XLA_FLAGS": flags}, check=False).returncode)


if __name__ == "__main__":
    with_virtual_devices()
    main(experiment)

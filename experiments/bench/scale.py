"""From 1 to 8 devices: whether work a device falls as it should, and what the devices say to each other.

python -m experiments.bench.scale --model=resnet20_cifar --batch=64 --rules=replicate,fsdp

The global batch stays as it is, so a device of n should do 1/n of the FLOPs. Virtual devices of one machine share its
cores, so no time can fall: the total time of a step over that of one device is what splitting costs, and the share of
collectives in it is what the profiler sees. On a machine with several real devices the same command measures speed.

    work a device    FLOPs of one device's program x n / FLOPs of one      1 where nothing is done twice
    efficiency       t_1 / t_n on shared cores, t_1 / (n t_n) on real devices
    sent             bytes that a device sends a step (`dlcore.cost.collectives`)

Seen on two cores, ResNet-20, batch 64: on 8 virtual devices each does .125 of the work, sends 1.8 MiB a step replicated
and 3.6 MiB under fsdp, and a step takes .71 and .73 of the time of one device: more threads keep two cores busier.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from dlcore.classification import supervised
from dlcore.cost.collectives import KINDS, by_kind, collectives
from dlcore.cost.memory import readable
from dlcore.cost.profiled_operations import instructions, trace_times
from dlcore.experiment import Headline, Study, StudyResult
from dlcore.main import main
from dlcore.models import create_model, input_shape
from dlcore.run.sharding import make_mesh
from dlcore.run.step import Placement, Program

COUNTS = (1, 2, 4, 8)


def measure(model: str, batch: int, devices: int, rule: str, repeats: int, seed: int) -> dict[str, Any]:
    """Seconds of a step, FLOPs of a device's program, bytes sent by a device, and the collectives' share of time."""
    shape = input_shape(model)
    learner = supervised.learner(model=create_model(model), optimizer=optax.sgd(0.1, momentum=0.9))
    rng = np.random.default_rng(seed)
    rows = {
        "image": rng.normal(size=(batch, *shape)).astype(np.float32), "label": np.arange(batch) % 10,
        "index": np.arange(batch),
    }  # fmt: skip
    program = Program(learner, rows, Placement(make_mesh(f"data:{devices}", jax.devices()[:devices]), rule), seed)
    carry = program.init(rows)
    program.compile()
    rows = program.put(rows)
    for _ in range(2):
        carry = jax.block_until_ready(program.step(carry, rows))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        carry = jax.block_until_ready(program.step(carry, rows))
        times.append(time.perf_counter() - began)
    text = program.compiled.as_text()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            carry = jax.block_until_ready(program.step(carry, rows))
        seen = trace_times(folder)
    known = instructions(text)
    talking = sum(s for name, s in seen.items() if name in known and known[name].opcode.startswith(KINDS))
    flops = (program.compiled.cost_analysis() or {}).get("flops", float("nan"))
    sent = sum(sent for _, _, sent in by_kind(collectives(text)).values())
    return {
        "seconds": statistics.median(times), "flops": flops, "sent": sent,
        "collective share": talking / max(sum(seen.values()), 1e-12),
    }  # fmt: skip


def study(
    *,
    model: str = "resnet20_cifar",
    batch: int = 64,
    rules: tuple[str, ...] = ("replicate", "fsdp"),
    repeats: int = 5,
    seed: int = 0,
) -> StudyResult:
    """Steps on 1, 2, 4 and 8 devices with the same global batch.

    Args:
      model: a name of the zoo.
      batch: images a step, over all devices.
      rules: of sharding.
      repeats: steps that are timed.
      seed: of weights and images.
    """
    if len(jax.devices()) < COUNTS[-1]:
        raise ValueError(f"{COUNTS[-1]} devices are needed and there are {len(jax.devices())}")
    virtual = jax.devices()[0].platform == "cpu"
    found = {rule: [measure(model, batch, n, rule, repeats, seed) for n in COUNTS] for rule in rules}
    numbers, told = {}, []
    for rule, rows in found.items():
        one = rows[0]
        work = [row["flops"] * n / one["flops"] for n, row in zip(COUNTS, rows, strict=True)]
        gain = [one["seconds"] / row["seconds"] / (1 if virtual else n) for n, row in zip(COUNTS, rows, strict=True)]
        numbers |= {
            f"{rule}: work a device": work, f"{rule}: efficiency": gain, f"{rule}: sent": [r["sent"] for r in rows],
            f"{rule}: collective share": [r["collective share"] for r in rows],
            f"{rule}: seconds": [r["seconds"] for r in rows],
        }  # fmt: skip
        told.append(
            f"{rule}: on 8 devices a device does {work[-1] / 8:.3f} of the work of one (1/8 = 0.125), sends "
            f"{readable(rows[-1]['sent'])} a step, collectives take {rows[-1]['collective share']:.0%} of the "
            f"operations' time (waiting for the others included), and the step's efficiency is {gain[-1]:.0%}."
        )
    kind = "virtual devices on shared cores" if virtual else "devices"
    verdict = f"{model}, batch {batch}, {kind}. " + " ".join(told)
    value = numbers[f"{rules[0]}: work a device"][-1]
    return StudyResult(
        numbers, verdict, {"scale": figure(found)}, headline=Headline("work a device of 8", value, model)
    )


def figure(found: dict[str, list[dict[str, Any]]]):
    """FLOPs of a device beside 1/n, and time beside that of one device."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = drawing.subplots(1, 2)
    left.plot(COUNTS, [1 / n for n in COUNTS], color="#BBBBBB", linewidth=4, label="1/n")
    for colour, (rule, rows) in zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7"), found.items(), strict=False):
        left.plot(COUNTS, [r["flops"] / rows[0]["flops"] for r in rows], "o--", color=colour, label=rule)
        right.plot(COUNTS, [rows[0]["seconds"] / r["seconds"] for r in rows], "o-", color=colour, label=rule)
    left.set(xlabel="devices", ylabel="FLOPs of a device", xscale="log", yscale="log", title="Work")
    right.set(xlabel="devices", ylabel="time on one / time on n", xscale="log", ylim=(0, None), title="Time")
    for axes in (left, right):
        axes.set_xticks(COUNTS, [str(n) for n in COUNTS])
    left.set_yticks([1 / n for n in COUNTS], ["1", "1/2", "1/4", "1/8"])
    for axes in (left, right):
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    left.legend(frameon=False)
    return drawing


experiment = Study(
    file=__file__, doc=__doc__, function=study,
    smoke={"model": "resnet8_cifar", "batch": 16, "rules": ("replicate",), "repeats": 2},
)  # fmt: skip


def with_virtual_devices() -> None:
    """Start this command again with eight virtual devices, unless devices were chosen already."""
    chosen = "device_count" in os.environ.get("XLA_FLAGS", "") or os.environ.get("JAX_PLATFORMS", "cpu") != "cpu"
    if chosen or Path("/dev/nvidia0").exists():
        return
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={COUNTS[-1]}"
    command = [sys.executable, "-m", "experiments.bench.scale", *sys.argv[1:]]
    raise SystemExit(subprocess.run(command, env={**os.environ, "XLA_FLAGS": flags}, check=False).returncode)


if __name__ == "__main__":
    with_virtual_devices()
    main(experiment)

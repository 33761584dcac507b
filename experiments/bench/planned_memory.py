"""Compare the memory that `--mode=plan` predicts for a step with what the step takes on this machine's CPU.

python -m experiments.bench.planned_memory
python -m experiments.bench.planned_memory --cases=vit_s16,resnet50
python -m experiments.bench.planned_memory --device                    (an accelerator)

Each case is planned by one process and run by another: two steps, of which the second is measured. State and batch are
the sizes of the arrays on the first device. Temporaries are how far the process grows above what it holds between steps
(VmHWM of /proc/self/status, Linux), for each device. Predicted and measured on two CPU cores, in MB:

                           state               batch           temporaries   measured / predicted
vit_s16            264.60 264.60           1.20 1.20       1103.93 1103.93   1.000
vit_s16_bf16       264.60 264.60           1.20 1.20       1015.61 1021.03   1.005
vit_s16_remat      264.60 264.60           1.20 1.20       1219.54 1224.32   1.004
vit_s16_dp4        264.60 264.60           0.60 0.60         509.64 514.54   1.010
vit_s16_fsdp4        66.42 66.42           0.60 0.60         593.82 596.85   1.005
resnet50           204.67 204.67           1.20 1.20         775.24 799.31   1.031
dit_xl2_size     1043.69 1043.69           0.03 0.03         419.54 424.21   1.011

With four devices each figure is for one of them. On a CPU XLA saves little memory by bfloat16 and none by recomputation
(the second and the third line), so neither shows in a plan for GPUs, which takes its temporaries from the CPU's.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.experiment import Experiment, Headline, Study, StudyResult
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.main import main
from experiments.bench import dit_xl2_size
from experiments.bench.timing import bar_chart
from experiments.classification import supervised
from experiments.recipes import resnet50, vit_s16


class Case(NamedTuple):
    """An experiment that is small enough for a few GiB, with `--mesh`, `--sharding` and its other flags."""

    experiment: Experiment
    mesh: str
    rule: str
    arguments: list[str]


class Memory(NamedTuple):
    """Bytes on one device of the learner's state, the batch, and what the step needs beside them."""

    state: int
    batch: int
    temporaries: int


SMALL = ["--augment=none", "--mixup_alpha=0"]
CASES = {
    "vit_s16": Case(vit_s16.experiment, "data:1", "replicate", ["--batch_size=8", *SMALL]),
    "vit_s16_bf16": Case(vit_s16.experiment, "data:1", "replicate", ["--batch_size=8", "--precision=bf16", *SMALL]),
    "vit_s16_remat": Case(vit_s16.experiment, "data:1", "replicate", ["--batch_size=8", "--model.remat=full", *SMALL]),
    "vit_s16_dp4": Case(vit_s16.experiment, "data:4", "replicate", ["--batch_size=16", *SMALL]),
    "vit_s16_fsdp4": Case(vit_s16.experiment, "data:4", "fsdp", ["--batch_size=16", *SMALL]),
    "resnet50": Case(resnet50.experiment, "data:1", "replicate", ["--batch_size=8", "--augment=none"]),
    "digits_resnet8": Case(supervised.experiment, "data:1", "replicate", ["--batch_size=64", "--augment=none"]),
    "dit_xl2_size": Case(dit_xl2_size.experiment, "data:1", "replicate", ["--batch_size=2", "--model.depth=4"]),
}


SMOKE_CASE = "digits_resnet8"
"""So small that the rest of the process shows in what it grows by."""
DEFAULT_CASES = tuple(name for name in CASES if name != SMOKE_CASE)


def resolved_run(case: Case) -> ResolvedRun:
    """The experiment of a case with its flags."""
    return ResolvedRun(case.experiment, resolve(case.experiment, case.arguments))


def num_devices(case: Case) -> int:
    """Devices of the mesh."""
    return int(case.mesh.removeprefix("data:"))


def predicted(case: Case) -> Memory:
    """The memory of a device as `--mode=plan` computes it."""
    from dlcore.modes.plan.plan import compiled_cases, planned_batch
    from dlcore.modes.plan.topology import topology_of

    resolved, topology = resolved_run(case), topology_of(f"cpu:{num_devices(case)}")
    _, plan = compiled_cases(resolved, *planned_batch(resolved), topology, [(case.mesh, case.rule)])
    sizes = plan["bytes"]
    return Memory(sum(sizes.values()) - sizes["batch"], sizes["batch"], plan["temporaries"])


def measured(name: str, device: bool) -> Memory:
    """The memory of a device in a step that is run, in a process of its own."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={num_devices(CASES[name])}"
    code = f"import json; from experiments.bench import planned_memory as m; print(json.dumps(m.execute({name!r})))"
    cpu = {} if device else {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **cpu}
    )
    if done.returncode:
        raise OSError(f"{name}: the process that runs it failed: {done.stderr.strip().splitlines()[-1:]}")
    return Memory(*json.loads(done.stdout.strip().splitlines()[-1]))


def execute(name: str) -> Memory:
    """Run two steps of a case; temporaries are the growth of this process during the second."""
    import jax

    from dlcore.experiment.resolved_run import prepare_process
    from dlcore.modes.plan.plan import planned_batch
    from dlcore.run.sharding import make_mesh
    from dlcore.run.step import Placement, Program, is_key

    case = CASES[name]
    resolved = resolved_run(case)
    prepare_process(resolved.flags)
    spec, shapes = planned_batch(resolved)
    learner = resolved.training(spec).build()
    batch = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    program = Program(learner, batch, Placement(make_mesh(case.mesh), case.rule), 0)
    carry = program.init(batch)
    program.compile()
    rows = program.put(batch)
    carry = jax.block_until_ready(program.step(carry, rows))

    def size(tree: Any) -> int:
        leaves = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in jax.tree.leaves(tree)]
        return sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)

    state, inputs = size(carry.state), size(rows)
    if (stats := jax.devices()[0].memory_stats()) and "peak_bytes_in_use" in stats:
        return Memory(state, inputs, stats["peak_bytes_in_use"] - state - inputs)
    time.sleep(2)  # the first step's memory is freed a moment later
    before = process_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    carry = jax.block_until_ready(program.step(carry, rows))
    growth = process_bytes("VmHWM") - before
    return Memory(state, inputs, round(growth / len(jax.devices())))


def process_bytes(name: str) -> int:
    """A field of /proc/self/status that is given in kB."""
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def measure(*, cases: tuple[str, ...] = DEFAULT_CASES, device: bool = False) -> StudyResult:
    """Plan and run each case.

    Args:
      cases: names of experiments, such as vit_s16 and resnet50.
      device: run on the accelerator of this machine, in cases of no more devices than it has.
    """
    if unknown := [name for name in cases if name not in CASES]:
        raise ValueError(f"cases={unknown[0]}: unknown; allowed: {', '.join(CASES)}")
    if device:
        cases = tuple(name for name in cases if num_devices(CASES[name]) == 1)
    numbers, ratios = {}, {}
    for name in cases:
        plan, run = predicted(CASES[name]), measured(name, device)
        for field in Memory._fields:
            numbers[f"{name}: {field}, MB predicted and measured"] = [getattr(m, field) / 1e6 for m in (plan, run)]
        ratios[name] = numbers[f"{name}: temporaries, measured / predicted"] = run.temporaries / plan.temporaries
    verdict = "Temporaries measured over predicted: " + ", ".join(f"{name} {r:.3f}" for name, r in ratios.items()) + "."
    chart = bar_chart({name: {"temporaries": r} for name, r in ratios.items()}, "measured over predicted")
    headline = Headline(
        "temporaries measured over predicted, mean", statistics.fmean(ratios.values()), "synthetic", tolerance=0.05
    )
    return StudyResult(numbers, verdict, {"temporaries": chart}, headline=headline)


experiment = Study(__file__, __doc__, measure, smoke={"cases": (SMOKE_CASE,)})

if __name__ == "__main__":
    main(experiment)

"""Does `--mode=plan` predict what a step takes? Bytes planned and bytes measured, on this machine's CPU.

python -m experiments.bench.plan [--models=vit_s16,resnet50]
python -m experiments.bench.plan --models=dit_xl2_size --topology=v5e:4x4 [--meshes=data:16]    plans, measures nothing

Each case is planned by one process and run by another: two steps, of which the second is measured. State and batch are
the sizes of the arrays on the first device. Temporaries are how far the process grows above what it holds between steps
(VmHWM of /proc/self/status, Linux), by device. Predicted and measured on two CPU cores, in MB:

                           state               batch           temporaries   measured / predicted
vit_s16            264.60 264.60           1.20 1.20       1103.93 1103.93   1.000
vit_s16_bf16       264.60 264.60           1.20 1.20       1015.61 1021.03   1.005
vit_s16_remat      264.60 264.60           1.20 1.20       1219.54 1224.32   1.004
vit_s16_dp4        264.60 264.60           0.60 0.60         509.64 514.54   1.010
vit_s16_fsdp4        66.42 66.42           0.60 0.60         593.82 596.85   1.005
resnet50           204.67 204.67           1.20 1.20         775.24 799.31   1.031
dit_xl2_size     1043.69 1043.69           0.03 0.03         419.54 424.21   1.011

Of four devices each figure is of one. On a CPU XLA gains little by bfloat16 and nothing by recomputation (the second
and the third line), so in a plan for GPUs, which takes its temporaries from there, neither shows.

`dit_xl2_size` is a stand-in with the size of DiT-XL/2 (Peebles & Xie 2022, arXiv:2212.09748) on latents of 32 x 32 x 4:
28 blocks of width 1152 with 16 heads over 256 tokens, as a classifier. It has no adaptive layer norms, which hold a
third of DiT's 675 million parameters, and hardly any of its FLOPs.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.experiment import Experiment
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.main import run
from experiments.classification import supervised
from experiments.recipes import resnet50, vit_s16


def latents(flags: Any) -> tuple[dict, Any]:
    """A batch of one latent, and what `build` needs to know of it."""
    spec = {"num_classes": 1000, "image_shape": [32, 32, 4], "mean": [0.0] * 4, "std": [1.0] * 4}
    zero = np.zeros(1, np.int32)
    batch = {"image": np.zeros((1, 32, 32, 4), np.float32), "label": zero, "index": zero}
    return {**spec, "dataset": "latents", "train_size": 1_281_167}, batch


dit = dataclasses.replace(
    supervised.experiment,
    file=__file__,
    doc="Not DiT: a classifier with the size of its transformer.",
    model="vit_b_16",
    planned=latents,
    defaults={
        "batch_size": 256,
        "optimizer": "adamw",
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "ema": 0.9999,
        "augment": "none",
        "model.image_size": 32,
        "model.patch_size": 2,
        "model.width": 1152,
        "model.depth": 28,
        "model.num_heads": 16,
        "model.mlp_features": 4608,
        "model.pool": "mean",
    },
    smoke={},
)

SMALL = ["--augment=none", "--mixup_alpha=0"]
CASES: dict[str, tuple[Experiment, str, str, list[str]]] = {
    "vit_s16": (vit_s16.experiment, "data:1", "replicate", ["--batch_size=8", *SMALL]),
    "vit_s16_bf16": (vit_s16.experiment, "data:1", "replicate", ["--batch_size=8", "--precision=bf16", *SMALL]),
    "vit_s16_remat": (vit_s16.experiment, "data:1", "replicate", ["--batch_size=8", "--model.remat=full", *SMALL]),
    "vit_s16_dp4": (vit_s16.experiment, "data:4", "replicate", ["--batch_size=16", *SMALL]),
    "vit_s16_fsdp4": (vit_s16.experiment, "data:4", "fsdp", ["--batch_size=16", *SMALL]),
    "resnet50": (resnet50.experiment, "data:1", "replicate", ["--batch_size=8", "--augment=none"]),
    "dit_xl2_size": (dit, "data:1", "replicate", ["--batch_size=2", "--model.depth=4"]),
}
"""Experiment, mesh, rule and settings; small enough for a few GiB."""


def predicted(resolved: ResolvedRun, mesh: str, rule: str) -> tuple[int, int, int]:
    """(state, batch, temporaries) of a device, as `--mode=plan` has them."""
    from dlcore.modes.plan.plan import compiled_cases, step_of
    from dlcore.modes.plan.topology import topology_of

    devices = int(mesh.removeprefix("data:"))
    _, found = compiled_cases(resolved, *step_of(resolved), topology_of(f"cpu:{devices}"), [(mesh, rule)])
    sizes = found["bytes"]
    return sum(sizes.values()) - sizes["batch"], sizes["batch"], found["temporaries"]


def measured(name: str) -> tuple[int, int, int]:
    """The same of a step that is run, in a process of its own."""
    devices = CASES[name][1].removeprefix("data:")
    environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, "-m", "experiments.bench.plan", f"--execute={name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr.strip().splitlines()[-1:]}")
    return tuple(json.loads(done.stdout.strip().splitlines()[-1]))


def run_of(name: str) -> ResolvedRun:
    experiment, _, _, arguments = CASES[name]
    return ResolvedRun(experiment, resolve(experiment, arguments))


def execute(name: str) -> tuple[int, int, int]:
    """Run two steps; (state, batch, growth during the second) of a device."""
    import jax

    from dlcore.experiment.resolved_run import prepare_process
    from dlcore.modes.plan.plan import step_of
    from dlcore.run.sharding import make_mesh
    from dlcore.run.step import Placement, Program, is_key

    _, mesh, rule, _ = CASES[name]
    resolved = run_of(name)
    prepare_process(resolved.flags)
    spec, shapes = step_of(resolved)
    learner = resolved.experiment.build(resolved.setup(spec))
    batch = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    program = Program(learner, batch, Placement(make_mesh(mesh), rule), 0)
    carry = program.init(batch)
    program.compile()
    rows = program.put(batch)
    carry = jax.block_until_ready(program.step(carry, rows))

    def held(tree: Any) -> int:
        leaves = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in jax.tree.leaves(tree)]
        return sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)

    time.sleep(2)  # what the first step needed is given back a moment later
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    carry = jax.block_until_ready(program.step(carry, rows))
    growth = _status("VmHWM") - before
    return held(carry.state), held(rows), round(growth / len(jax.devices()))


def _status(name: str) -> int:
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def main(argv: list[str] | None = None) -> None:
    """Print a line a case, or plan the experiments of the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(CASES), help="with commas")
    parser.add_argument("--topology", help="plan for this machine instead, at full size; other flags go to the page")
    parser.add_argument("--execute", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args(argv)
    names = options.models.split(",")
    if odd := [name for name in names if name not in CASES]:
        parser.error(f"--models={odd[0]} is unknown; there are {', '.join(CASES)}")
    if options.execute:
        print(json.dumps(execute(options.execute)))
        return
    if options.topology:
        for name in names:
            if status := run(CASES[name][0], ["--mode=plan", f"--topology={options.topology}", *rest]):
                raise SystemExit(status)
        return
    if rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    print(f"{'':14}{'state':>18}{'batch':>20}{'temporaries':>22}   measured / predicted")
    for name in names:
        _, mesh, rule, _ = CASES[name]
        want, have = predicted(run_of(name), mesh, rule), measured(name)
        cells = [f"{w / 1e6:.2f} {h / 1e6:.2f}" for w, h in zip(want, have, strict=True)]
        print(f"{name:14}{cells[0]:>18}{cells[1]:>20}{cells[2]:>22}   {have[2] / want[2]:.3f}", flush=True)


if __name__ == "__main__":
    main()

"""`--mode=plan`: will the training step of an experiment fit a machine that is not there, and over which mesh is it fastest?

    python -m experiments.recipes.vit_l16 --mode=plan --topology=v5e:4x4 --precision=bf16 --batch_size=512

For each mesh and rule: memory of a device by kind, FLOPs with loops counted in full, bytes sent by each kind of
collective, and a bound on the time (`dlcore.modes.plan.topology`). The best is the fastest of those that fit.

    TPU    libtpu compiles the step ahead of time: it fits where the compiler says so. Temporaries are its own plan.
    GPU    state and batch are exact; temporaries are what XLA plans for as many pretended CPU devices, which keeps more
           and has no bfloat16 of its own: an upper estimate. state + batch + estimate <= limit: fits; state + batch >
           limit: does not fit; between them: unknown.

The data need not be there if the experiment says what they are like (`Experiment.planned`). Nothing is trained; plan.html and
plan.json are written to the run's folder.
"""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from dlcore.data.pipeline import batch_at
from dlcore.experiment.flags import FlagError
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.modes.plan.report import lines_of, report_of, row_of, told
from dlcore.modes.plan.topology import Topology, cases_of, topology_of
from dlcore.run import provenance
from dlcore.run.checkpoint import check_writable
from dlcore.run.progress import say

__all__ = ["compiled_cases", "plan", "step_of"]


def plan(run: ResolvedRun) -> int:
    """Print what each mesh and rule takes, and write it down; 1 where nothing fits."""
    flags = run.flags
    if not flags.topology:
        raise FlagError("--mode=plan needs --topology=v5e:4x4, h100:8 or the like, several with commas")
    if flags.spmd != "jit":
        raise FlagError(f"--mode=plan is for --spmd=jit, not {flags.spmd}")
    jax.config.update(
        "jax_platforms", "cpu"
    )  # an accelerator that is here is left alone, and libtpu out of this process
    asked = [topology_of(name.strip()) for name in flags.topology.split(",")]
    cases = [cases_of(topology.devices, flags.meshes, flags.rules) for topology in asked]
    if any(t.platform == "tpu" for t in asked) and importlib.util.find_spec("libtpu") is None:
        raise FlagError("--topology of a TPU needs its compiler: pip install 'dlcore[tpu]' (no TPU has to be there)")
    check_writable(run.folder)
    spec, batch = step_of(run)
    plans = []
    for topology, some in zip(asked, cases, strict=True):
        say(f"{run.experiment.name} on {topology.name}: {len(some)} to compile" + TAKES[topology.platform])
        facts, rows = {}, []
        for found in compiled_cases(run, spec, batch, topology, some):
            if "mesh" not in found:
                facts = found
                continue
            rows.append(row_of(topology, facts, found, flags.batch_size))
            say(f"  {told(rows[-1])} ({found['compile_seconds']:.0f} s)")
        plans.append({"topology": topology._asdict(), **facts, "rows": rows})
        for line in lines_of(plans[-1], flags):
            say(line)
    content = {
        "experiment": run.experiment.name,
        "command": provenance.command(),
        "settings": run.identity,
        "plans": plans,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }
    (run.folder / "plan.json").write_text(json.dumps(content, indent=1) + "\n")
    (run.folder / "plan.html").write_text(report_of(run, content))
    say(f"report: {run.folder / 'plan.html'}")
    return int(not all(any(row["verdict"] != "does not fit" for row in p["rows"]) for p in plans))


TAKES = {"tpu": " (a TPU's compiler takes minutes for a large model)", "gpu": "", "cpu": ""}


def step_of(run: ResolvedRun) -> tuple[dict, Any]:
    """(spec, shapes and dtypes of a batch of `--batch_size`), without the data where the experiment knows them."""
    known, rows = run.experiment.planned(run.flags), run.flags.batch_size
    if known is not None:
        spec, batch = known
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype), batch)
    else:
        data = run.experiment.data(run.flags)
        spec = {**data.spec, "train_size": data.train_size}
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch_at(run.pipelines(data.train), 0))
    canonical = jax.dtypes.canonicalize_dtype
    return spec, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, canonical(x.dtype)), batch)


def compiled_cases(run: ResolvedRun, spec: dict, batch: Any, topology: Topology, cases: list) -> Iterator[dict]:
    """Facts of the step, then what `plan_child.measure` says of each (mesh, rule), from a process of its own.

    Raises:
      ValueError: the process failed; its last words are the message.
    """
    task = {
        "file": str(Path(run.experiment.file).resolve()),
        "settings": run.identity,
        "spec": spec,
        "batch": batch,
        "platform": topology.platform,
        "topology": topology.name,
        "cases": cases,
    }
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "stderr").open("w+") as stderr:
        path = Path(folder) / "task.pickle"
        path.write_bytes(pickle.dumps(task))
        child = subprocess.Popen(
            [sys.executable, "-m", "dlcore.modes.plan.worker", str(path)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=_environment(topology),
        )
        try:
            yield from (json.loads(line) for line in child.stdout if line.startswith("{"))
            if child.wait():
                stderr.seek(0)
                said = [line for line in stderr.read().splitlines() if line.strip()]
                raise ValueError(f"planning for {topology.name} failed: {said[-1] if said else child.returncode}")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            child.stdout.close()


def _environment(topology: Topology) -> dict[str, str]:
    """Of the process that compiles: no accelerator, and as many pretended devices as the topology has."""
    flags = [f for f in os.environ.get("XLA_FLAGS", "").split() if "xla_force_host_platform_device_count" not in f]
    flags.append(f"--xla_force_host_platform_device_count={topology.devices}")
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "XLA_FLAGS": "" if topology.platform == "tpu" else " ".join(flags),
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }

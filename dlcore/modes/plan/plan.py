"""`--mode=plan`: does an experiment's training step fit a machine that is not at hand, and which mesh is fastest?

    python -m experiments.recipes.vit_l16 --mode=plan --topology=v5e:4x4 --precision=bf16 --batch_size=512

For each mesh and rule: memory per device by kind, FLOPs with all loop iterations, bytes sent by each kind of
collective, and a lower bound of the time (`dlcore.modes.plan.topology`). The best is the fastest that fits.

    TPU    libtpu compiles the step ahead of time and decides whether it fits. Temporaries are the compiler's plan.
    GPU    state and batch are exact; temporaries are XLA's plan for simulated CPU devices, an upper estimate, because
           a CPU stores more and has no native bfloat16. state + batch + estimate <= limit: fits; state + batch >
           limit: does not fit; otherwise: unknown.

The data need not exist if the experiment describes them (`planned` of a part). Nothing is trained; plan.html and
plan.json are written to the run's folder.
"""

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

from dlcore.activity import activity
from dlcore.data.pipeline import batch_at
from dlcore.data.splits import Spec
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.extras import require
from dlcore.modes.plan.report import lines_of, report_of, row_of, row_summary
from dlcore.modes.plan.topology import Topology, cases_of, topology_at_hand, topology_of
from dlcore.run import provenance
from dlcore.run.checkpoint import check_writable, remove_empty
from dlcore.run.json_files import write_json
from dlcore.run.progress import say
from dlcore.setting import FlagError
from dlcore.weights.check import load_data

__all__ = ["compiled_cases", "plan", "planned_batch"]


def plan(run: ResolvedRun) -> int:
    """Print and write the cost of a training step on each topology, mesh and rule.

    Args:
      run: the resolved run, with the flags `topology`, `meshes` and `rules`.

    Returns:
      The exit status: 1 if nothing fits one of the topologies.

    Raises:
      FlagError: this machine is unknown and no other is named, or a value is not allowed.
      MissingPackage: a TPU's compiler, libtpu, is not installed.
    """
    flags = run.flags
    if flags.spmd != "jit":
        raise FlagError(f"--spmd={flags.spmd}: not for --mode=plan; allowed: jit")
    names = flags.topology or topology_at_hand()
    # keep this process off the accelerator, and free of libtpu
    jax.config.update("jax_platforms", "cpu")
    topologies = [topology_of(name.strip()) for name in names.split(",")]
    cases = [cases_of(topology.devices, flags.meshes, flags.rules) for topology in topologies]
    if any(t.platform == "tpu" for t in topologies):
        require("libtpu", what=f"--topology={names}")
    remove_empty(check_writable(run.folder))
    spec, batch = planned_batch(run)
    plans = []
    for topology, pairs in zip(topologies, cases, strict=True):
        say(f"{run.experiment.name} on {topology.name}: {len(pairs)} to compile" + COMPILE_TIME[topology.platform])
        facts, rows = {}, []
        with activity(f"compiling for {topology.name}, mesh", len(pairs)) as count:
            count(1)
            for measures in compiled_cases(run, spec, batch, topology, pairs):
                if "mesh" not in measures:
                    facts = measures
                    continue
                rows.append(row_of(topology, facts, measures, flags.batch_size))
                say(f"  {row_summary(rows[-1])} ({measures['compile_seconds']:.0f} s)")
                count(min(len(rows) + 1, len(pairs)))
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
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / "plan.json", content)
    (run.folder / "plan.html").write_text(report_of(run, content))
    say(f"report: {run.folder / 'plan.html'}")
    return int(not all(any(row["verdict"] != "does not fit" for row in p["rows"]) for p in plans))


COMPILE_TIME = {"tpu": " (a TPU's compiler takes minutes for a large model)", "gpu": "", "cpu": ""}


def planned_batch(run: ResolvedRun) -> tuple[dict, Any]:
    """Return the shapes of a training batch, without loading the data if the experiment describes them.

    Args:
      run: the resolved run, with the flag `batch_size`.

    Returns:
      (spec, batch of ShapeDtypeStructs).
    """
    planned, rows = run.before_data().planned(), run.flags.batch_size
    if planned is not None:
        spec, batch = planned
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype), batch)
    else:
        data = load_data(run)
        spec = data.facts
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch_at(run.pipelines(data), 0))
    canonical = jax.dtypes.canonicalize_dtype
    return spec, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, canonical(x.dtype)), batch)


def compiled_cases(run: ResolvedRun, spec: Spec, batch: Any, topology: Topology, cases: list) -> Iterator[dict]:
    """Compile a training step for some meshes and rules, in a separate process.

    Args:
      batch: batch of ShapeDtypeStructs.
      topology: topology to compile for.
      cases: (mesh, rule) pairs.

    Yields:
      First the result of `dlcore.modes.plan.worker.step_facts`, then of `dlcore.modes.plan.worker.measure` for each
      case.
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
        assert child.stdout is not None  # a pipe
        try:
            yield from (json.loads(line) for line in child.stdout if line.startswith("{"))
            if child.wait():
                stderr.seek(0)
                errors = [line for line in stderr.read().splitlines() if line.strip()]
                raise ValueError(f"planning for {topology.name} failed: {errors[-1] if errors else child.returncode}")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            child.stdout.close()


def _environment(topology: Topology) -> dict[str, str]:
    """Build the environment of the compiling process: no accelerator, and one simulated device per topology device."""
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

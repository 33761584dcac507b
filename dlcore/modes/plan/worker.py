"""Worker process of `--mode=plan`: compile a training step for devices that are not at hand.

    python -m dlcore.modes.plan.worker TASK        TASK: a pickled dict, written by dlcore.modes.plan.plan

It prints a line of JSON for the learner, and one for each compiled mesh and rule. It is a separate process because
libtpu must not be loaded by a process that trains, and because the number of simulated devices is fixed when jax
starts.
"""

import importlib.util
import json
import pickle
import re
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["measure", "memory_shortage", "step_facts"]

SCALE = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def memory_shortage(message: str) -> tuple[float, float] | None:
    """Parse XLA's out-of-memory error.

    Args:
      message: message of the error.

    Returns:
      (bytes needed, bytes available); None for another error.
    """
    size = r"([\d.]+)([KMGT]?)i?B?"
    for pattern in (rf"\({size}\) exceeds available HBM \({size}\)", rf"Used {size} of {size} hbm"):
        if match := re.search(pattern, message):
            needed, needed_unit, available, available_unit = match.groups()
            return float(needed) * SCALE[needed_unit], float(available) * SCALE[available_unit]
    return None


def _experiment(file: str) -> Any:
    """Load the experiment of a file by its path."""
    from dlcore.experiment.experiment import Experiment

    spec = importlib.util.spec_from_file_location("planned_experiment", file)
    assert spec is not None
    assert spec.loader is not None  # a .py file has one
    module = importlib.util.module_from_spec(spec)
    sys.modules["planned_experiment"] = module
    spec.loader.exec_module(module)
    experiments = [value for value in vars(module).values() if isinstance(value, Experiment)]
    return next(experiment for experiment in experiments if Path(experiment.file).resolve() == Path(file).resolve())


def _devices(platform: str, name: str) -> list:
    import jax

    if platform != "tpu":
        return jax.devices("cpu")
    from jax.experimental import topologies

    bounds = {"chips_per_host_bounds": (1, 1, 1)} if name.endswith(":1x1") else {}
    return list(topologies.get_topology_desc(platform="tpu", topology_name=name, **bounds).devices)


def _activation_bytes(learner: Any, state: Any, batch: Any) -> int | None:
    """Count the bytes that the loss stores for its backward pass, without parameters; None without a loss."""
    import jax

    from dlcore.cost.memory import residual_bytes

    if learner.loss is None:
        return None
    sizes = []

    def visit(state: Any, batch: Any) -> Any:
        sizes.append(residual_bytes(lambda params: learner.loss(params, state, batch)[0], state.params))
        return state.step

    jax.eval_shape(visit, state, batch)
    parameters = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.params))
    return max(0, sizes[0] - parameters)


def step_facts(learner: Any, batch: Any) -> dict[str, Any]:
    """Count parameters, FLOPs and activations, which do not depend on the mesh.

    Args:
      learner: the learner whose training step is planned.
      batch: ShapeDtypeStructs of the global batch.

    Returns:
      {"parameters": their number, "flops": FLOPs of a step over all devices, "loops": while loops of unknown length,
        "activations": bytes that the loss stores for its backward pass, None without a loss}.
    """
    import jax

    from dlcore.cost.step_flops import step_flops

    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    count = step_flops(learner.update, state, batch)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(getattr(state, "params", None)))
    return {
        "parameters": parameters,
        "flops": count.flops,
        "loops": count.loops,
        "activations": _activation_bytes(learner, state, batch),
    }


def measure(learner: Any, batch: Any, devices: list, mesh: str, rule: str) -> dict[str, Any]:
    """Compile a training step for one mesh and rule.

    Args:
      learner: the learner whose training step is planned.
      batch: ShapeDtypeStructs of the global batch.
      devices: devices to compile for.
      mesh: mesh, such as "data:4,model:2".
      rule: sharding rule, such as "fsdp".

    Returns:
      Bytes per device by kind, XLA's memory plan, and the collectives. If the compiler runs out of memory, "needs" and
        "has" instead: required and available bytes. "failed" is its message for any other failure.
    """
    import jax

    from dlcore.cost.collectives import by_kind, collectives
    from dlcore.run.sharding import make_mesh
    from dlcore.run.step import Placement, Program

    program = Program(learner, batch, Placement(make_mesh(mesh, devices), rule), 0)
    state, shardings = program.abstract_state, program.state_shardings
    sizes = {
        name: _bytes(getattr(state, field, None), getattr(shardings, field, None))
        for name, field in (("parameters", "params"), ("optimizer", "opt_state"))
    }
    sizes["other state"] = _bytes(state, shardings) - sum(sizes.values())
    sizes["batch"] = _bytes(program.batch, program._batch_shardings)
    case = {"mesh": mesh, "rule": rule, "bytes": sizes}
    started = time.monotonic()
    try:
        program.compile()
    except jax.errors.JaxRuntimeError as error:
        shortage, compile_time = memory_shortage(str(error)), {"compile_seconds": round(time.monotonic() - started, 1)}
        if shortage is None:
            return {**case, **compile_time, "failed": str(error).strip().split("\n")[0][:300]}
        return {**case, **compile_time, "needs": shortage[0], "has": shortage[1]}
    plan = program.compiled.memory_analysis()
    collective_ops = collectives(program.compiled.as_text())
    return {
        **case,
        "compile_seconds": round(time.monotonic() - started, 1),
        "temporaries": plan.temp_size_in_bytes,
        "arguments": plan.argument_size_in_bytes,
        "results": plan.output_size_in_bytes,
        "shared": plan.alias_size_in_bytes,
        "peak": getattr(plan, "peak_memory_in_bytes", None),
        "collectives": by_kind(collective_ops),
        "loops": [c._asdict() for c in collective_ops if not c.exact],
    }


def _bytes(tree: Any, shardings: Any) -> int:
    """Count the bytes on one device."""
    import math

    import jax
    import jax.numpy as jnp
    import numpy as np

    total = 0
    for leaf, sharding in zip(jax.tree.leaves(tree), jax.tree.leaves(shardings), strict=True):
        key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        total += math.prod(sharding.shard_shape(leaf.shape)) * (8 if key else np.dtype(leaf.dtype).itemsize)
    return total


def main(path: str) -> None:
    """Run a task and print one line of JSON per result.

    Args:
      path: path of the task file.
    """
    task = pickle.loads(Path(path).read_bytes())
    from dlcore.experiment.resolve import resolve
    from dlcore.experiment.resolved_run import ResolvedRun, prepare_process

    config = Path(path).with_suffix(".json")
    config.write_text(json.dumps({"settings": task["settings"]}))
    experiment = _experiment(task["file"])
    flags = resolve(experiment, [f"--config_json={config}"])
    prepare_process(flags)
    learner = ResolvedRun(experiment, flags).training(task["spec"]).build()
    devices = _devices(task["platform"], task["topology"])
    print(json.dumps(step_facts(learner, task["batch"])), flush=True)
    for mesh, rule in task["cases"]:
        print(json.dumps(measure(learner, task["batch"], devices, mesh, rule)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

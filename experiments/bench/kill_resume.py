"""Kill a training process again and again; what it leaves must equal an uninterrupted run byte for byte.

python -m experiments.bench.kill --kills=100

A process that trains on digits and saves after every step is sent SIGKILL at random moments, in the middle of saves
too, and started again by the same command until it has finished. Then every logged number and every array of the final
checkpoint is compared with those of a run that nobody disturbed.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dlcore.run.metrics_writer import read_metrics

TIMES = ("seconds", "examples_per_second")


def command(folder: Path, steps: int, model: str) -> list[str]:
    flags = {
        "model": model, "steps": steps, "batch_size": 32, "log_every": 1, "eval_every": max(1, steps // 5),
        "checkpoint_steps": 1, "checkpoint_seconds": 0, "select": "last", "run_dir": folder,
    }  # fmt: skip
    return [sys.executable, "-m", "experiments.classification.supervised", *(f"--{k}={v}" for k, v in flags.items())]


def start(folder: Path, steps: int, model: str, cache: Path) -> subprocess.Popen:
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    arguments = command(folder, steps, model)
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def run_once(folder: Path, steps: int, model: str, cache: Path, rng: random.Random, kill: bool) -> tuple[bool, bool]:
    """(killed, in the middle of a save) of one process; it runs to its end where `kill` is False.

    Raises:
      RuntimeError: the process failed by itself.
    """
    process = start(folder, steps, model, cache)
    if kill:
        log, began = folder / "metrics.jsonl", time.monotonic()
        before = size(log)
        early = rng.random() < 0.1
        while process.poll() is None and not early and size(log) <= before and time.monotonic() - began < 300:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 5.0 if early else 0.6))
    if kill and process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True, any((folder / "checkpoints").glob("*.orbax-checkpoint-tmp"))
    output = process.communicate()[0].decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}:\n{output[-3000:]}")
    return False, False


def final_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, by path."""
    import jax
    import orbax.checkpoint as ocp

    steps = [int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit()]
    path = (folder / "checkpoints" / str(max(steps)) / "state").absolute()
    here = jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])  # whatever devices it was saved from
    with ocp.StandardCheckpointer() as reader:
        saved = reader.metadata(path).item_metadata.tree

        def abstract(leaf):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)

        wanted = jax.tree.map(abstract, saved, is_leaf=lambda leaf: hasattr(leaf, "shape"))
        tree = reader.restore(path, wanted)
    leaves = jax.tree_util.tree_leaves_with_path(tree)

    def plain(x):
        return np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x)

    return {jax.tree_util.keystr(path, simple=True, separator="/"): plain(x) for path, x in leaves}


def differences(left: Path, right: Path) -> list[str]:
    """What differs between two finished runs, in logged numbers and in final arrays."""

    def rows(folder):
        return [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(folder)]

    found = [f"row {i}: {a} and {b}" for i, (a, b) in enumerate(zip(rows(left), rows(right), strict=False)) if a != b]
    if len(rows(left)) != len(rows(right)):
        found.append(f"{len(rows(left))} rows and {len(rows(right))}")
    a, b = final_arrays(left), final_arrays(right)
    found += [f"leaf {name} is in one only" for name in sorted(set(a) ^ set(b))]
    found += [f"leaf {name}" for name in sorted(set(a) & set(b)) if a[name].tobytes() != b[name].tobytes()]
    return found


def measure(kills: int, steps: int, model: str, seed: int, workdir: Path) -> tuple[int, int, list[str]]:
    """(kills done, of them in the middle of a save, differences)."""
    rng, cache = random.Random(seed), workdir / "cache"
    run_once(workdir / "whole", steps, model, cache, rng, kill=False)
    done = torn = 0
    while True:
        killed, in_save = run_once(workdir / "killed", steps, model, cache, rng, kill=done < kills)
        if not killed:
            break
        done, torn = done + 1, torn + in_save
        print(f"kill {done}/{kills}{' in a save' if in_save else ''}", flush=True)
    return done, torn, differences(workdir / "whole", workdir / "killed")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=1500, help="long enough that the kills happen before the end")
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as workdir:
        began = time.monotonic()
        done, torn, found = measure(options.kills, options.steps, options.model, options.seed, Path(workdir))
    print(f"{done} kills, {torn} in the middle of a save, {time.monotonic() - began:.0f} s")
    print("\n".join(found[:20]) or "every logged number and every array of the final checkpoint is byte-identical")
    return int(bool(found) or done < options.kills)


if __name__ == "__main__":
    sys.exit(main())

"""Kill a training process again and again; its results must equal an uninterrupted run's byte for byte.

python -m experiments.bench.kill_resume
python -m experiments.bench.kill_resume --kills=100

A process that trains on digits and saves after every step gets SIGKILL at random moments, in the middle of saves too,
and is started again by the same command until it has finished. Then every logged number and every array of the final
checkpoint is compared with those of an undisturbed run.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from experiments.bench.compare_runs import differences


def command(folder: Path, steps: int, model: str, deterministic: bool) -> list[str]:
    """A training run that saves after every step."""
    flags = {
        "model": model,
        "steps": steps,
        "batch_size": 32,
        "log_every": 1,
        "eval_every": max(1, steps // 5),
        "checkpoint_steps": 1,
        "checkpoint_seconds": 0,
        "select": "last",
        "run_dir": folder,
    }
    words = [f"--{name}={value}" for name, value in flags.items()] + ["--deterministic"] * deterministic
    return [sys.executable, "-m", "experiments.classification.supervised", *words]


def start(arguments: list[str], cache: Path) -> subprocess.Popen:
    """Start the command, with every compiled program cached."""
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def file_size(path: Path) -> int:
    """Bytes; 0 where there is no file."""
    return path.stat().st_size if path.exists() else 0


def run_once(folder: Path, arguments: list[str], cache: Path, rng: random.Random, kill: bool) -> tuple[bool, bool]:
    """(killed, in the middle of a save) of one process; it runs to its end where `kill` is False."""
    process = start(arguments, cache)
    if kill:
        log, began = folder / "metrics.jsonl", time.monotonic()
        before = file_size(log)
        early = rng.random() < 0.1
        while process.poll() is None and not early and file_size(log) <= before and time.monotonic() - began < 300:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 5.0 if early else 0.6))
    if kill and process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True, any((folder / "checkpoints").glob("*.orbax-checkpoint-tmp"))
    output = process.communicate()[0].decode(errors="replace")
    if process.returncode:
        raise OSError(f"the training process ended with status {process.returncode}:\n{output[-3000:]}")
    return False, False


def kill_until_finished(
    kills: int, steps: int, model: str, deterministic: bool, seed: int, workdir: Path
) -> tuple[int, int, list[str]]:
    """(kills done, kills in the middle of a save, differences)."""
    rng, cache = random.Random(seed), workdir / "cache"
    whole, killed_run = (command(workdir / name, steps, model, deterministic) for name in ("whole", "killed"))
    run_once(workdir / "whole", whole, cache, rng, kill=False)
    done = in_saves = 0
    while True:
        killed, in_save = run_once(workdir / "killed", killed_run, cache, rng, kill=done < kills)
        if not killed:
            break
        done, in_saves = done + 1, in_saves + in_save
        print(f"kill {done}/{kills}{' in a save' if in_save else ''}", flush=True)
    return done, in_saves, differences(workdir / "whole", workdir / "killed")


def measure(
    *,
    kills: PositiveInt = 100,
    steps: PositiveInt = 1500,
    model: str = "mlp",
    deterministic: bool = False,
    seed: Seed = 0,
) -> StudyResult:
    """Kill, resume and compare.

    Args:
      kills: number of times that the process is killed.
      steps: steps of training; enough that the kills happen before the end.
      deterministic: train with --deterministic, which a GPU needs to repeat itself.
      seed: seed of the moments of the kills.
    """
    with tempfile.TemporaryDirectory() as workdir:
        began = time.monotonic()
        done, in_saves, mismatches = kill_until_finished(kills, steps, model, deterministic, seed, Path(workdir))
    numbers = {
        "kills": done,
        "kills in the middle of a save": in_saves,
        "seconds": time.monotonic() - began,
        "differences": len(mismatches),
        "first differences": "; ".join(mismatches[:20]) or "none",
    }
    outcome = (
        f"{len(mismatches)} numbers or arrays differ, first {mismatches[0]}"
        if mismatches
        else "every logged number and every array of the final checkpoint is byte-identical"
    )
    verdict = f"{done} of {kills} kills, {in_saves} in the middle of a save: {outcome}."
    headline = Headline("differences after kills", len(mismatches), "digits")
    return StudyResult(numbers, verdict, holds=not mismatches and done >= kills, headline=headline)


experiment = Study(__file__, __doc__, measure, smoke={"kills": 1, "steps": 10})

if __name__ == "__main__":
    main(experiment)

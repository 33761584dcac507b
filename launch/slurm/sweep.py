"""Run a sweep on a cluster: the trials of a search, one job each, by submitit.

    python -m launch.slurm.sweep experiments.classification.supervised learning_rate=log:1e-4:1e-1 --trials=16 \\
        --partition=gpu --gpus=1 --model=mlp --steps=300
    python -m launch.slurm.sweep experiments.classification.supervised model.hidden=16,64 --method=grid \\
        --cluster=local --jobs=2 --model=mlp --steps=100

The arguments are those of dlcore.search: an experiment, spaces, flags of the search and of the experiment; the methods
are those that choose all trials beforehand. The same command resumes: trials with a score are not trained again, and
unfinished ones resume. A job that is preempted, or that reaches its time limit, saves and is requeued. Trials are
compared by the experiment's validation metric and never see the test split. Where Slurm has no accounting (sacct), the
command waits forever for a job that Slurm itself has killed: stop it, and start it again.
"""

import hashlib
import json
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from dlcore.experiment.flags import Flags, parse
from dlcore.experiment.resolve import resolve
from dlcore.extras import MissingPackage, require
from dlcore.learner import Range
from dlcore.run.progress import say
from dlcore.search import space as spaces
from dlcore.search.__main__ import SETTINGS as SEARCH
from dlcore.search.metric import monitor_mode_of
from dlcore.search.report import ranked, search_report, text_table
from dlcore.search.space import Space, edges, parse_space
from dlcore.search.trials import Trial, experiment_of, run_of
from dlcore.setting import FlagError, Setting, did_you_mean, text_of
from launch.slurm.trial import SCORE, TRIAL, TrialJob

__all__ = ["SETTINGS", "main", "sweep"]

METHODS = ("grid", "random", "latin", "sobol")
SETTINGS = {
    "method": Setting("random", "how trials are chosen", Literal[METHODS]),
    **{name: SEARCH[name] for name in ("trials", "grid_points", "search_seed", "metric", "better", "out")},
    "jobs": Setting(8, "jobs at once", limits=Range(1)),
    "cluster": Setting("slurm", "where jobs run; local: processes of this machine", Literal["slurm", "local"]),
    "partition": Setting(None, "of Slurm", str | None),
    "account": Setting(None, "of Slurm", str | None),
    "hours": Setting(4.0, "time limit of a job, after which it saves and is requeued", limits=Range(0)),
    "cpus": Setting(4, "of a job", limits=Range(1)),
    "gpus": Setting(0, "of a job", limits=Range(0)),
    "dry_run": Setting(False, "print the command of each trial, and submit none"),
    "restarts": Setting(20, "how often a job may reach its time limit and restart", limits=Range(0)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sweep from the command line.

    Args:
      argv: the command line; that of the process by default.

    Returns:
      The exit status: 0, 1 (a trial failed) or 2 (bad flags).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(
            __doc__.strip()
            + "\n\n"
            + "\n".join(f"  --{n}  {s.help} (default {s.default})" for n, s in SETTINGS.items())
        )
        return 0 if argv else 2
    try:
        return sweep(argv[0], argv[1:])
    except FlagError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError, RuntimeError, MissingPackage) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def sweep(module: str, words: Sequence[str]) -> int:
    """Choose trials, submit a job for each, wait for all, and write a table and a report.

    Args:
      module: of the experiment.
      words: spaces, flags of the sweep and of the experiment.

    Returns:
      The exit status: 0, or 1 where a trial failed.

    Raises:
      FlagError: a flag is unknown or its value not allowed.
      ValueError: no trial has a finite score.
    """
    own, axes, argv = _split_arguments(words)
    if not own.dry_run:
        require("submitit", what="launch.slurm.sweep")
    space = parse_space(axes)
    experiment = experiment_of(module)
    flags = resolve(experiment, argv)
    if unknown := [name for name in space if name not in flags]:
        hint = did_you_mean(unknown[0], flags)
        raise FlagError(f"{', '.join(unknown)}: unknown{hint}; allowed: the settings of --help of {experiment.name}")
    metric = own.metric or experiment.parts.monitor
    if metric is None:
        raise FlagError(f"{experiment.name} names no validation metric: give --metric")
    mode = monitor_mode_of(metric, experiment, own.better)
    identity = [
        module,
        *sorted(axes),
        *sorted(argv),
        own.method,
        own.trials,
        own.grid_points,
        own.search_seed,
        metric,
        mode,
    ]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:10]
    folder = Path(own.out) if own.out else Path(flags.runs) / f"sweep.{experiment.name}" / digest
    rows = _draw(own, space)
    for values in rows:
        run_of(experiment, argv, values)  # a value that is not allowed is known here, not in a job
    if own.dry_run:
        for values in rows:
            print(shlex.join(["python", "-m", module, *argv, *(f"--{k}={text_of(v)}" for k, v in values.items())]))
        return 0
    jobs = []
    for number, values in enumerate(rows):
        (folder / f"trial{number}").mkdir(parents=True, exist_ok=True)
        told = {"experiment": module, "flags": argv, "values": values, "metric": metric, "mode": mode}
        (folder / f"trial{number}" / TRIAL).write_text(json.dumps(told))
        jobs.append(TrialJob(folder / f"trial{number}"))
    _run([job for job in jobs if not (job.folder / SCORE).exists()], own, folder, experiment.name)
    return _finish(module, experiment.name, own, space, argv, metric, mode, folder, rows)


def _split_arguments(words: Sequence[str]) -> tuple[Flags, list[str], list[str]]:
    """(the sweep's own flags, words of the space, flags of the experiment)."""
    own, axes, rest = [], [], []
    for word in words:
        name = word.lstrip("-").split("=")[0].replace("dry-run", "dry_run")
        (axes if not word.startswith("-") else own if name in SETTINGS else rest).append(word)
    return parse({"sweep": SETTINGS}, [word.replace("--dry-run", "--dry_run") for word in own]), axes, rest


def _draw(own: Flags, space: Space) -> list[dict]:
    if own.method == "grid":
        return spaces.grid(space, own.grid_points)
    draw = {"latin": spaces.latin_hypercube, "sobol": spaces.sobol, "random": spaces.random}[own.method]
    return draw(space, own.trials, own.search_seed)


def _run(jobs: Sequence[TrialJob], own: Flags, folder: Path, name: str) -> None:
    """Submit, and wait until every job has ended."""
    if not jobs:
        return
    import submitit

    logging.getLogger("submitit").setLevel(logging.ERROR)  # it warns at every look where sacct has no accounts
    options = {"slurm_max_num_timeout": own.restarts} if own.cluster == "slurm" else {}
    executor = submitit.AutoExecutor(folder / "jobs", cluster=own.cluster, **options)
    executor.update_parameters(
        name=name,
        timeout_min=max(1, round(60 * own.hours)),
        cpus_per_task=own.cpus,
        gpus_per_node=own.gpus,
    )
    waiting, running = list(jobs), []
    if own.cluster == "slurm":
        slurm = {"partition": own.partition, "account": own.account, "array_parallelism": own.jobs}
        executor.update_parameters(**{f"slurm_{key}": value for key, value in slurm.items() if value is not None})
        running, waiting = executor.submit_array(waiting), []
        say(f"{len(running)} jobs, {running[0].job_id} to {running[-1].job_id}; their logs: {folder / 'jobs'}")
    else:
        say(f"{len(jobs)} trials, {own.jobs} at once; their logs: {folder / 'jobs'}")
    while waiting or running:
        while waiting and len(running) < own.jobs:
            running.append(executor.submit(waiting.pop(0)))
        ended = [job for job in running if job.done()]
        for job in ended:
            if (error := job.exception()) is not None:
                say(f"job {job.job_id} failed; its log: {job.paths.stderr}\n{str(error).strip().splitlines()[-1]}")
        running = [job for job in running if job not in ended]
        time.sleep(0.5)


def _trial(folder: Path, values: dict[str, Any]) -> Trial:
    """The trial of a job; without a score where it failed."""
    path = folder / SCORE
    result = json.loads(path.read_text()) if path.exists() else {"score": None, "step": 0, "curve": ([], [])}
    score = float("nan") if result["score"] is None else result["score"]
    return Trial(values, score, result["step"], tuple(result["curve"]))


def _finish(module, name, own, space, argv, metric, mode, folder: Path, rows: Sequence[dict]) -> int:
    trials = [_trial(folder / f"trial{number}", values) for number, values in enumerate(rows)]
    lost = [number for number in range(len(rows)) if not (folder / f"trial{number}" / SCORE).exists()]
    sentences = [f"Trials {', '.join(map(str, lost))} failed; the same command tries them again."] if lost else []
    best = trials[ranked(trials, mode)[0]]
    if best.score != best.score:
        raise ValueError(f"no trial of {len(trials)} has a finite {metric}; logs: {folder / 'jobs'}")
    sentences += [f"{edge}." for edge in edges(space, best.values)]
    lines = [{"values": t.values, "score": t.score if t.score == t.score else None, "step": t.step} for t in trials]
    (folder / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cards = {f"best valid {metric}": f"{best.score:.4f}", "trials": str(len(trials)), "at step": f"{best.step:,}"}
    details = {
        "experiment": module,
        "method": own.method,
        "flags": " ".join(argv),
        **{k: str(v) for k, v in space.items()},
    }
    html = search_report(trials, space, metric, mode, f"sweep of {name}", sentences, cards, details)
    (folder / "report.html").write_text(html)
    print(text_table(trials, metric, mode))
    for sentence in sentences:
        say(sentence)
    say(f"report: {folder / 'report.html'}")
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())

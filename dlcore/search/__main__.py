"""Search the settings of an experiment.

python -m dlcore.search experiments.classification.supervised learning_rate=log:1e-4:1 l2=log:1e-6:1e-2 \\
    --trials=24 --model=mlp --steps=300

The first word is a module with an experiment that has a learner; a space is log:LOW:HIGH, uniform:LOW:HIGH,
int:LOW:HIGH or A,B,C. Methods: grid, random, latin, sobol; coarse_to_fine (half of the trials in the whole space, half
in the region of the best quarter); halving (a third of the trials continues, three times as long); hyperband (several
halvings, from many short trials to few long ones); pbt (population-based training). A trial trains as --mode=train
does. Trials are ranked by the experiment's validation metric and never see the test split; --retrain trains the best on
training and validation data, and tests it once; --ensemble=K does so with the mean of the K best. The same command
resumes.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from dlcore.activity import activity, heartbeat
from dlcore.evaluators.ensemble import ensemble
from dlcore.experiment.flags import Flags, parse
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun, fast_compilation, prepare_process
from dlcore.learner import Range
from dlcore.run.endings import note_repeats, orderly_ending
from dlcore.run.processes import is_first
from dlcore.run.program_cache import use_program_cache
from dlcore.run.progress import say
from dlcore.run.xla_flags import use_fast_cpu_convolutions
from dlcore.search.methods import METHODS, Outcome, Search
from dlcore.search.metric import check_metric, monitor_mode_of
from dlcore.search.report import ranked, search_report, text_table
from dlcore.search.space import edges, parse_space
from dlcore.search.trials import experiment_of, measure_ensemble, retrain, summary
from dlcore.setting import FlagError, Setting, did_you_mean
from dlcore.weights.check import load_data

__all__ = ["SETTINGS", "main", "search", "split_arguments"]

MAX_FAILURES = 5
"""Largest number of failed trials that the report lists."""

UNUSED = ("fresh", "run", "run_dir", "track", "watch")
"""Flags of a training that a search would ignore."""

SETTINGS = {
    "method": Setting("random", "how trials are chosen", Literal[METHODS]),
    "trials": Setting(16, "number of trials; by default a grid has all its points", limits=Range(1)),
    "grid_points": Setting(3, "grid: number of values of each axis", limits=Range(1)),
    "search_seed": Setting(0, "random seed of the search", limits=Range(0)),
    "metric": Setting(None, "validation metric; the experiment's by default", str | None),
    "better": Setting(
        None, "whether max or min is better, of a metric that dlcore does not know", Literal["max", "min"] | None
    ),
    "reduction_factor": Setting(
        3, "halving: reduction factor eta; one of eta trials continues, eta times as long", limits=Range(2)
    ),
    "first": Setting(
        None, "halving: steps of the first rung; by default such that one trial trains to the end", int | None, Range(1)
    ),
    "exchange": Setting(None, "pbt: steps between two exchanges; a tenth of the run by default", int | None, Range(1)),
    "processes": Setting(1, "processes that run trials which cannot share a program", limits=Range(1)),
    "share": Setting(True, "let trials of equal shapes share one compiled step"),
    "retrain": Setting(False, "train the best on training and validation data, and test it once"),
    "ensemble": Setting(
        1,
        "number of classifiers in an ensemble: train that many of the best on training and validation data, and test "
        "the mean of their probabilities once, beside the single best",
        limits=Range(1),
    ),
    "out": Setting(None, "folder of the search; by default runs/search.PAGE/HASH of the command", str | None),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a search from the command line.

    Args:
      argv: arguments after `python -m dlcore.search`; None for those of the process.

    Returns:
      The exit status: 0, 1 (failure) or 2 (bad arguments).

    Raises:
      SystemExit: status 75 (run me again), 130 (Ctrl-C) or 141 (the reader of the output is gone).
    """
    if argv is None:
        argv = sys.argv[1:]
        note_repeats(argv)
    with orderly_ending():
        return _main(list(argv))


def _main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(
            __doc__.strip()
            + "\n\n"
            + "\n".join(f"  --{n}  {s.help} (default {s.default})" for n, s in SETTINGS.items())
        )
        return 0 if argv else 2
    use_fast_cpu_convolutions()
    use_program_cache()
    try:
        with heartbeat(is_first), activity("preparing the trials"):
            return search(argv[0], argv[1:])
    except FlagError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def split_arguments(words: Sequence[str]) -> tuple[Flags, list[str], list[str]]:
    """Split the arguments of a command.

    Args:
      words: arguments after the module.

    Returns:
      (flags of the search, axes of the space, flags of the experiment).

    Raises:
      FlagError: a flag is unknown, or one that a search would ignore.
    """
    search_words, axes, rest = [], [], []
    for word in words:
        if not word.startswith("-"):
            axes.append(word)
            continue
        name = word.lstrip("-").split("=")[0]
        if name in UNUSED:
            raise FlagError(f"{word}: a search takes no --{name}; allowed: --{name} of a training, --mode=train")
        (search_words if name in SETTINGS or name.removeprefix("no") in SETTINGS else rest).append(word)
    return parse({"search": SETTINGS}, search_words), axes, rest


def search(module: str, words: Sequence[str]) -> int:
    """Choose trials, run them, and write the table and the report.

    Args:
      module: dotted name of the experiment's module.
      words: arguments of the space, the search and the experiment.

    Returns:
      The exit status, 0.

    Raises:
      FlagError: a flag is unknown or its value not allowed, or there is no such validation metric.
      ValueError: no trial has a finite score.
    """
    search_flags, axes, argv = split_arguments(words)
    space = parse_space(axes)
    experiment = experiment_of(module)
    flags = resolve(experiment, argv)
    if hidden := sorted(flags.keys() & SETTINGS.keys()):
        raise FlagError(f"--{hidden[0]}: a flag of {experiment.name} and of the search; allowed: another name there")
    if unknown := [name for name in space if name not in flags]:
        hint = did_you_mean(unknown[0], flags)
        raise FlagError(f"{', '.join(unknown)}: unknown{hint}; allowed: the settings of --help of {experiment.name}")
    if fixed := sorted(flags.given & space.keys()):
        raise FlagError(f"--{fixed[0]}={flags[fixed[0]]}: fixed, and an axis of the search; allowed: either")
    metric = search_flags.metric or experiment.parts.monitor
    if metric is None:
        raise FlagError(f"--metric: missing, and {experiment.name} names none; allowed: a validation metric")
    digest = hashlib.sha256(json.dumps([module, *sorted(words)]).encode()).hexdigest()[:10]
    folder = Path(search_flags.out) if search_flags.out else Path(flags.runs) / f"search.{experiment.name}" / digest
    prepare_process(flags)
    with fast_compilation(flags.smoke):
        base = ResolvedRun(experiment, flags)
        data = load_data(base)
        for name, is_asked in (("retrain", search_flags.retrain), ("ensemble", search_flags.ensemble > 1)):
            if is_asked and isinstance(data.train, dict):
                raise FlagError(f"--{name}: {experiment.name} has several training sources; allowed: without it")
        if search_flags.ensemble > 1:
            try:
                ensemble([base.training_of(data).build()], data.test[:1])
            except ValueError:
                raise FlagError(f"--ensemble: {experiment.name} is no classifier; allowed: without it") from None
        can_share = check_metric(base, data, metric) and search_flags.share
        monitor_mode = monitor_mode_of(metric, experiment, search_flags.better)
        folder.mkdir(parents=True, exist_ok=True)
        search = Search(module, base, data, search_flags, space, argv, metric, monitor_mode, can_share, folder)
        return _finish(search, search.run())


def _finish(search: Search, outcome: Outcome) -> int:
    """Write the table and the report."""
    metric, folder, trials, monitor_mode = search.metric, search.folder, outcome.trials, search.monitor_mode
    rows = [
        {
            "values": t.values,
            "score": t.score if np.isfinite(t.score) else None,
            "step": t.step,
            **({"error": t.error} if t.error else {}),
        }
        for t in trials
    ]
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    best = trials[ranked(trials, monitor_mode)[0]]
    if not np.isfinite(best.score):
        error = next((f"trial {i} failed: {t.error}; " for i, t in enumerate(trials) if t.error), "")
        raise ValueError(f"{metric}: no trial of {len(trials)} has a finite one; {error}allowed: a space where one has")
    remarks = [*outcome.remarks, *(f"{edge}." for edge in edges(outcome.space, best.values))]
    cards = {f"best valid {metric}": f"{best.score:.4f}", "trials": str(len(trials)), "at step": f"{best.step:,}"}
    cards |= {name: f"{v:.3g}" if isinstance(v, float) else str(v) for name, v in best.values.items()}
    failed = [f"Trial {i} ({summary(t.values)}) failed: {t.error}" for i, t in enumerate(trials) if t.error]
    num_infinite = sum(not np.isfinite(trial.score) for trial in trials) - len(failed)
    if num_infinite:
        remarks.append(f"{num_infinite} of {len(trials)} trials were not finite.")
    remarks += failed[:MAX_FAILURES] + (
        [f"{len(failed) - MAX_FAILURES} more failed."] if len(failed) > MAX_FAILURES else []
    )
    if search.flags.retrain:
        metrics = retrain(search.module, search.argv, best, folder)
        summary_text = ", ".join(f"{k} {v:.4f}" for k, v in metrics.items() if "/" not in k and v is not None)
        remarks.append(f"Retrained on training and validation data for {best.step} steps, tested once: {summary_text}.")
    if search.flags.ensemble > 1:
        order = [i for i in ranked(trials, monitor_mode) if np.isfinite(trials[i].score)][: search.flags.ensemble]
        ensemble_metrics, single = measure_ensemble(search.module, search.argv, [trials[i] for i in order], folder)
        summary_text = ", ".join(
            f"{k} {v:.4f} (the best alone {single[k]:.4f})"
            for k, v in ensemble_metrics.items()
            if "/" not in k and v is not None and single.get(k) is not None
        )
        remarks.append(
            f"Mean of the probabilities of the {len(order)} best, retrained on training and validation data and tested "
            f"once: {summary_text}."
        )
    details = {
        "experiment": search.module,
        "method": search.flags.method,
        "flags": " ".join(search.argv),
        **{name: str(axis) for name, axis in outcome.space.items()},
    }
    title = f"search of {search.base.experiment.name}"
    html = search_report(trials, outcome.space, metric, monitor_mode, title, remarks, cards, details)
    (folder / "report.html").write_text(html)
    print(text_table(trials, metric, monitor_mode))
    for sentence in remarks:
        say(sentence)
    say(f"report: {folder / 'report.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A study: a function from flags to numbers, figures and a verdict on a claim.

    def study(*, num_seeds: int = 5, noise: float = 0.1) -> StudyResult: ...
    experiment = Study(file=__file__, doc=__doc__, function=study)

Its simple keyword parameters are flags, whose help is the docstring's `Args`, or else `PARAMETER_HELP`. The run folder
gets config.json, numbers.json, the figures and a report, and with a `Headline` result.json, from which
`python -m experiments.results --add` makes a row of the ledger. The first line of the docstring is the claim
(`dlcore.report.study_text`).
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.activity import activity, heartbeat
from dlcore.experiment.experiment import name_of
from dlcore.experiment.flags import parse
from dlcore.experiment.resolve import wants_smoke
from dlcore.experiment.resolved_run import check_settings, run_folder
from dlcore.experiment.settings import FOLDER
from dlcore.extras import MissingPackage
from dlcore.run import provenance
from dlcore.run.checkpoint import check_writable
from dlcore.run.json_files import read_json, write_json
from dlcore.run.progress import duration, say
from dlcore.setting import FlagError, Setting, settings_of

__all__ = ["SMOKE", "Headline", "Study", "StudyResult", "run_study"]


MAX_NUMBERS = 24
"""Largest array whose numbers are printed; of a larger array the range is printed."""


SMOKE = "A smoke run: small settings and a few steps. It shows that everything works; its numbers say nothing."
"""Banner of a smoke run's report."""

PARAMETER_HELP = {
    "steps": "steps of each training.",
    "num_seeds": "repetitions, each with random numbers of its own, such as weights and batches.",
    "batch_size": "examples in a step.",
    "learning_rate": "learning rate, at its peak where a schedule changes it.",
    "min_log2_learning_rate": "base-2 logarithm of the lowest learning rate of a ladder.",
    "max_log2_learning_rate": "base-2 logarithm of the highest learning rate of a ladder.",
    "seed": "seed of all random numbers.",
    "num_steps": "training steps of a turn.",
    "num_repeats": "timed turns of each function, in shuffled order.",
    "least_seconds": "a turn repeats its steps for so long, after a call that is not timed.",
    "only": "measure only what has this text in its name; empty measures all.",
    "workers": "processes of PyTorch's loader.",
    "data_dir": "folder in which TFDS prepared the data set; not needed for digits.",
    "model": "a name of the model zoo.",
    "models": "names of the model zoo.",
    "image": "china, flower, or the path of an image.",
    "num_examples": "training examples.",
    "num_train": "training examples.",
    "num_test": "test examples.",
    "image_size": "side of the images in pixels.",
    "side": "side of the images in pixels.",
    "height": "height of the images in pixels.",
    "depth": "hidden layers.",
    "hidden": "units of each hidden layer.",
}
"""Help of parameters that mean the same in many studies; a study documents only another meaning, unit or limit."""


class Headline(NamedTuple):
    """The number of a study that the ledger keeps and `--rerun` compares, beside whether the claim held.

    Args:
      metric: name of the metric.
      values: the number, or one per seed from seed 0.
      dataset: name of the data set.
      tolerance: relative tolerance of the mean in a rerun, such as 0.5 for times; two standard errors over the seeds,
        if that is more.
      baseline: baseline to beat: (value, its name, "higher" or "lower", whichever is better).
    """

    metric: str
    values: float | Sequence[float] | np.ndarray
    dataset: str
    tolerance: float = 0.01
    baseline: tuple[float, str, str] | None = None


class StudyResult(NamedTuple):
    """Result of a study.

    Args:
      numbers: JSON-able results.
      verdict: one or two sentences with numbers.
      figures: {name: matplotlib Figure}.
      holds: whether the claim held; None without a claim.
      headline: number for the ledger; None adds none.
    """

    numbers: dict[str, Any]
    verdict: str
    figures: dict[str, Any] = {}
    holds: bool | None = None
    headline: Headline | None = None


@dataclasses.dataclass(frozen=True)
class Study:
    """An experiment without a learner.

    Args:
      file: `__file__` of the study.
      doc: `__doc__` of the study.
      function: study: keyword parameters, which become flags, -> result.
      smoke: values of the function's parameters under `--smoke`.
    """

    file: str
    doc: str
    function: Callable[..., StudyResult]
    smoke: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """`<topic>.<stem>`."""
        return name_of(self.file)

    @property
    def settings(self) -> dict[str, Setting]:
        """Its flags: {parameter: setting}."""
        settings = settings_of(self.function)
        return {k: s._replace(help=s.help or PARAMETER_HELP.get(k, "")) for k, s in settings.items()}


def run_study(study: Study, argv: list[str]) -> int:
    """Run a study and write its folder.

    Args:
      study: study to run.
      argv: the command line.

    Returns:
      Exit status: 0 for either verdict, 1 for an error, 2 for bad flags.
    """
    try:
        smoke = study.smoke if wants_smoke(argv) else {}
        parameters = {k: s._replace(default=smoke.get(k, s.default)) for k, s in study.settings.items()}
        flags = parse({"study": parameters, "run": FOLDER}, argv, usage=study.doc)
        _check_several(parameters, flags.group("study"))
    except FlagError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    values = flags.group("study")
    folder = run_folder(study.name, values, flags.runs, flags.run_dir)
    try:
        provenance.commit()  # before the files can change
        check_writable(folder)
        _check_settings(study, folder, values)
        say(f"{study.name}: run folder {folder}")
        with heartbeat(), activity(study.name):
            result = study.function(**values)
    except (ValueError, OSError, MissingPackage) as error:
        if flags.traceback or isinstance(error, BrokenPipeError):
            raise
        print(f"error: {error}  (--traceback shows where)", file=sys.stderr)
        return 2 if isinstance(error, FlagError) else 1
    _write(study, folder, values, result, flags.smoke)
    if result.headline is not None:
        _write_result(study, folder, values, result, result.headline, smoke=flags.smoke)
    for name, value in result.numbers.items():
        say(f"  {name:32} {_format(value)}")
    say(f"verdict: {result.verdict}")
    say(f"report: {folder / 'report.html'}")
    return 0


def _check_several(parameters: dict[str, Setting], values: dict[str, Any]) -> None:
    """Refuse no value where a study compares several."""
    for name, setting in parameters.items():
        if setting.default and values[name] == ():
            raise FlagError(f"--{name}=: no value; allowed: one or more, such as {','.join(map(str, setting.default))}")


def _check_settings(study: Study, folder: Path, values: dict) -> None:
    """Check that an existing folder was made by this study with these settings."""
    path = folder / "config.json"
    if path.exists():
        before = read_json(path, ["experiment", "settings"])
        check_settings(folder, before["experiment"], before["settings"], study.name, values, values)


def _write(study: Study, folder: Path, values: dict, result: StudyResult, smoke: bool) -> None:
    from dlcore.report.figure import figure_panel, figure_png
    from dlcore.report.html import render
    from dlcore.report.study_text import claim_panels, reference_panels

    config = {
        "experiment": study.name,
        "command": provenance.command(),
        "settings": values,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "wall_seconds": round(provenance.process_seconds(), 1),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    numbers = {**result.numbers, "verdict": result.verdict, "holds": result.holds}
    write_json(folder / "numbers.json", numbers)
    panels = claim_panels(study.doc, result.verdict, result.holds)
    for name, figure in result.figures.items():
        (folder / f"{name}.png").write_bytes(figure_png(figure))
        panels.append(figure_panel(name.replace("_", " "), figure))
    panels.append(_number_panel(result.numbers))
    panels += reference_panels(study.doc)
    summary = {"time": duration(provenance.process_seconds())}
    if result.holds is not None:
        summary = {"the claim": "held" if result.holds else "did not hold", **summary}
    details = {"Settings": {"command": config["command"], **values}, "Environment": config["versions"]}
    (folder / "report.html").write_text(
        render(study.name, panels, summary, details=details, banner=SMOKE if smoke else "")
    )


def _number_panel(numbers: Mapping[str, Any]) -> Any:
    """Build a panel of plain numbers in one list, and of dicts with the same keys in a table."""
    from dlcore.report.panel import Panel
    from dlcore.report.tables import table

    plain = {name: _format(value) for name, value in numbers.items() if not isinstance(value, Mapping)}
    groups: dict[tuple, list[dict]] = {}
    for name, row in numbers.items():
        if isinstance(row, Mapping):
            cells = {str(k): _cell(v) for k, v in row.items()}
            groups.setdefault(tuple(cells), []).append({"": name, **cells})
    parts = [table(rows) for rows in ([plain] if plain else []) + list(groups.values())]
    return Panel("Numbers", "".join(part.html for part in parts))


def _cell(value: Any) -> Any:
    """Convert a value to a Python number, which a table aligns, or to text."""
    if isinstance(value, Mapping) or np.ndim(value):
        return _format(value)
    return value.item() if hasattr(value, "item") else value


def _write_result(
    study: Study, folder: Path, values: dict, result: StudyResult, headline: Headline, smoke: bool
) -> None:
    numbers = np.asarray(headline.values, np.float64)
    names = range(len(numbers)) if numbers.ndim else [values.get("seed", "all")]
    content = {
        "experiment": study.name,
        "claim": study.doc.strip().split("\n")[0],
        "holds": None if result.holds is None else bool(result.holds),
        "verdict": result.verdict,
        "dataset": headline.dataset,
        "metric": headline.metric,
        "values": dict(zip(map(str, names), numbers.ravel().tolist(), strict=True)),
        "tolerance": _tolerance(numbers.ravel(), headline.tolerance),
        "baseline": _baseline(headline.baseline),
        "wall_seconds": round(provenance.process_seconds(), 1),
        **provenance.result_facts(smoke),
    }
    write_json(folder / "result.json", content)


def _baseline(baseline: tuple[float, str, str] | None) -> dict[str, Any] | None:
    return None if baseline is None else {"value": float(baseline[0]), "name": baseline[1], "better": baseline[2]}


def _tolerance(numbers: np.ndarray, relative: float) -> float:
    """Compute the tolerance of a mean: two standard errors of a difference, or the relative tolerance if larger."""
    spread = 2 * np.sqrt(2 / len(numbers)) * numbers.std(ddof=1) if len(numbers) > 1 else 0.0
    return float(f"{max(spread, relative * abs(numbers.mean())):.2g}")


def _format(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_format(v)}" for name, v in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple | np.ndarray):
        array = np.asarray(value)
        if array.ndim == 1 and array.size > MAX_NUMBERS and np.issubdtype(array.dtype, np.number):
            return f"{array.size} numbers from {array.min():.6g} to {array.max():.6g}, median {np.median(array):.6g}"
        return ", ".join(_format(v) for v in array.tolist())
    return str(value)

"""A lab: a function from flags to numbers, figures and a verdict, for what is shown rather than trained.

    def study(*, seeds: int = 5, noise: float = 0.1) -> LabResult: ...
    page = Lab(file=__file__, doc=__doc__, function=study)

Its simple keyword parameters are flags. The run folder gets config.json, numbers.json, the figures and a report.
"""

import base64
import dataclasses
import datetime
import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.run import environment
from dlcore.run.checkpoint import check_writable
from dlcore.run.flags import FlagError, Setting, parse, settings_of, wants_smoke
from dlcore.run.progress import duration, say

__all__ = ["Headline", "Lab", "LabResult", "run_lab"]

OWN = {
    "smoke": Setting(False, "small settings, in seconds, to see that everything works"),
    "run_dir": Setting(None, "folder of this run; runs/PAGE/HASH of the settings by default", str | None),
    "runs": Setting("runs", "where run folders go"),
    "traceback": Setting(False, "show where an error was raised"),
}


class Headline(NamedTuple):
    """The one number of a lab that the ledger keeps, and what it was measured on."""

    metric: str
    value: float
    dataset: str


class LabResult(NamedTuple):
    """What a lab found.

    numbers: JSON-able results. verdict: one or two sentences with numbers. figures: name -> matplotlib Figure.
    holds: whether the claim under study held; None where there is no claim. headline: where given, the run offers a
    line for the ledger; the function needs a parameter `seed`.
    """

    numbers: dict[str, Any]
    verdict: str
    figures: dict[str, Any] = {}
    holds: bool | None = None
    headline: Headline | None = None


@dataclasses.dataclass(frozen=True)
class Lab:
    """A page without a learner. smoke: values of the function's parameters under `--smoke`."""

    file: str
    doc: str
    function: Callable[..., LabResult]
    smoke: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """`<topic>.<stem>`."""
        path = Path(self.file).resolve()
        return f"{path.parent.name}.{path.stem}"


def run_lab(lab: Lab, argv: list[str]) -> int:
    """Run a lab and write its folder; the exit status is 0 whatever the verdict, 1 for an error, 2 for bad flags."""
    try:
        parameters = settings_of(lab.function)
        smoke = lab.smoke if wants_smoke(argv) else {}
        parameters = {k: s._replace(default=smoke.get(k, s.default)) for k, s in parameters.items()}
        flags = parse({"run": OWN, "lab": parameters}, argv, usage=lab.doc)
    except FlagError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    values = flags.group("lab")
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]
    folder = Path(flags.run_dir) if flags.run_dir else Path(flags.runs) / lab.name / digest
    try:
        check_writable(folder)
        _check_settings(lab, folder, values)
        result = lab.function(**values)
    except (ValueError, OSError) as error:
        if flags.traceback:
            raise
        print(f"error: {error}  (--traceback shows where)", file=sys.stderr)
        return 2 if isinstance(error, FlagError) else 1
    _write(lab, folder, values, result)
    if result.headline is not None:
        _offer(lab, folder, values, result.headline)
    for name, value in result.numbers.items():
        say(f"  {name:32} {_short(value)}")
    say(f"verdict: {result.verdict}")
    say(f"report: {folder / 'report.html'}")
    return 0


def _check_settings(lab: Lab, folder: Path, values: dict) -> None:
    """A given folder must have been made by this lab with these settings."""
    path = folder / "config.json"
    if not path.exists():
        return
    before, now = json.loads(path.read_text()), json.loads(json.dumps(values))
    odd = [f"{k}={before['settings'].get(k)} there, {v} here" for k, v in now.items() if before["settings"].get(k) != v]
    if before["page"] != lab.name or odd:
        what = "; ".join(odd) or f"page {before['page']} there, {lab.name} here"
        raise FlagError(f"{folder} was made with other settings: {what}. Choose another --run_dir")


def _write(lab: Lab, folder: Path, values: dict, result: LabResult) -> None:
    from dlcore.diagnostics.panels import table
    from dlcore.diagnostics.report import Panel, render

    config = {
        "page": lab.name, "command": environment.command(), "settings": values, "versions": environment.versions(),
        "commit": environment.commit(), "hardware": environment.hardware(),
        "seconds": round(environment.process_seconds(), 1),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    numbers = {**result.numbers, "verdict": result.verdict, "holds": result.holds}
    (folder / "numbers.json").write_text(json.dumps(numbers, indent=1, default=_plain) + "\n")
    panels = [Panel("Verdict", f"<p>{_escape(result.verdict)}</p>")]
    for name, figure in result.figures.items():
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=150, bbox_inches="tight")
        (folder / f"{name}.png").write_bytes(picture.getvalue())
        encoded = base64.b64encode(picture.getvalue()).decode()
        alt = _escape(name)
        panels.append(
            Panel(name.replace("_", " "), f'<img alt="{alt}" src="data:image/png;base64,{encoded}" width="760">')
        )
    panels.append(table({k: _short(v) for k, v in result.numbers.items()}, title="Numbers"))
    summary = {"time": duration(environment.process_seconds())}
    if result.holds is not None:
        summary = {"the claim": "held" if result.holds else "did not hold", **summary}
    details = {"Settings": {"command": config["command"], **values}, "Environment": config["versions"]}
    subtitle = lab.doc.strip().split("\n")[0]
    (folder / "report.html").write_text(render(lab.name, panels, summary, subtitle=subtitle, details=details))


def _offer(lab: Lab, folder: Path, values: dict, headline: Headline) -> None:
    line = {
        "page": lab.name, "command": environment.command(), "seed": values["seed"], "dataset": headline.dataset,
        "metric": headline.metric, "value": float(headline.value),
        "wall_seconds": round(environment.process_seconds(), 1), "hardware": environment.hardware(),
        "versions": environment.versions(), "commit": environment.commit(), "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(line, indent=1) + "\n")


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist()


def _escape(text: str) -> str:
    from html import escape

    return escape(text)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(_short(v) for v in np.asarray(value).tolist())
    return str(value)

"""A page: what an experiment file says about data, model and learner, and `main`, which runs it in any mode.

    page = Page(file=__file__, doc=__doc__, learner=supervised.learner, data=data, build=build, model="resnet8_cifar")
    if __name__ == "__main__":
        main(page)

Precedence of a setting: command line, `--config_json` (or `--run`) of an earlier run, `--smoke`, page, signature.
"""

import dataclasses
import hashlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from dlcore.learner import Learner
from dlcore.run import environment
from dlcore.run.flags import FlagError, Flags, Setting, model_settings, parse, read_config, settings_of, wants_smoke
from dlcore.run.lab import Lab, run_lab
from dlcore.run.preemption import Preempted
from dlcore.run.processes import joined, leave
from dlcore.run.settings import MODES, RUN, VOLATILE

__all__ = ["Data", "Job", "Page", "Setup", "check_identity", "main", "resolve", "run"]


class Data(NamedTuple):
    """What a page trains and measures on.

    train: a source, or a dict of sources. valid, test: sources or None. spec: JSON-able facts that `build` needs (class
    names, image shape, statistics of the training split); they are kept in config.json, so that a run can be used
    without its data. notes: lines to say once. shown: what `predict` runs over for the report, where that is not the
    test split (generators: a few indices, one a sample).
    """

    train: Any
    valid: Any
    test: Any
    spec: dict
    notes: tuple[str, ...] = ()
    shown: Any = None

    @property
    def train_size(self) -> int:
        """Training examples; of several sources those of the largest."""
        return max(map(len, _sources(self.train)))


def _sources(train: Any) -> list:
    return [s for part in train.values() for s in _sources(part)] if isinstance(train, dict) else [train]


class Setup(NamedTuple):
    """What `build` gets. steps: length of the run. axis: the mapped axis under pmap. dtype: of computation."""

    flags: Flags
    spec: dict
    steps: int
    axis: str | None
    dtype: Any


@dataclasses.dataclass(frozen=True)
class Page:
    """An experiment.

    Args:
      file, doc: `__file__` and `__doc__` of the page.
      learner: the technique's factory; its simple parameters become flags.
      data: Flags -> Data.
      build: Setup -> Learner.
      model: the default of `--model`; its simple fields become `--model.NAME`. None: the page has no such flag.
      settings: the page's own flags.
      defaults: values in place of the settings', the signature's and the model's own.
      smoke: values under `--smoke`.
      monitor, mode: the validation metric that selects the best checkpoint, and its sense.
      headline: the test metric of the ledger.
      expected_loss: Setup -> the loss at initialisation, for `--mode=sanity`.
      plain: values that switch regularisation and augmentation off, for `--mode=sanity`.
      regularizer: the flag that scales a penalty, for `--mode=sanity`.
      overfit: the loss that twenty examples must get under, for `--mode=sanity`; None where a loss does not go to 0 (of
        adversaries, of noise).
      example: spec -> one batch of zeros, for modes that load a run without its data.
      planned: Flags -> (spec, one batch) of data that is known without being there, for `--mode=plan`; None for other
        data, which is loaded.
      inputs: (Flags, spec) -> (source, names), what `--input` names.
      describe: (outputs, spec) -> one dict an example, what predict prints: its `text`, or its `probabilities`.
      panels: ReportContext -> panels of the report.
      pictures: ReportContext -> name to image [H, W, C] for TensorBoard.
      hooks: Setup -> hooks for fit.
      start: Setup -> fit's `start`, where the settings ask for weights to start from; else None.
      evaluators: (Setup, Data, "valid" or "test") -> measures of that split taken from what `predict` gives.
    """

    file: str
    doc: str
    learner: Callable[..., Learner]
    data: Callable[[Flags], Data]
    build: Callable[[Setup], Learner]
    model: str | None = None
    settings: dict[str, Setting] = dataclasses.field(default_factory=dict)
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)
    smoke: dict[str, Any] = dataclasses.field(default_factory=dict)
    monitor: str | None = "accuracy"
    mode: str = "max"
    headline: str = "accuracy"
    expected_loss: Callable[[Setup], float] | None = None
    plain: dict[str, Any] = dataclasses.field(default_factory=dict)
    regularizer: str | None = None
    overfit: float | None = None
    example: Callable[[dict], Any] | None = None
    planned: Callable[[Flags], tuple[dict, Any] | None] = lambda flags: None
    inputs: Callable[[Flags, dict], tuple[Any, list[str]]] | None = None
    describe: Callable[[Any, dict], list[dict]] | None = None
    panels: Callable[[Any], list] | None = None
    pictures: Callable[[Any], dict[str, Any]] | None = None
    hooks: Callable[[Setup], list] = lambda setup: []
    start: Callable[[Setup], Callable[[Any], Any] | None] = lambda setup: None
    evaluators: Callable[[Setup, Data, str], list] = lambda setup, data, split: []

    @property
    def name(self) -> str:
        """`<topic>.<stem>`."""
        path = Path(self.file).resolve()
        return f"{path.parent.name}.{path.stem}"


def resolve(page: Page, argv: list[str]) -> Flags:
    """The settings of a page for a command line.

    Raises:
      FlagError: a name or value is not allowed.
    """
    own = dict(page.settings)
    learner = settings_of(page.learner)
    config = _config(argv)
    groups = {"run": {k: v for k, v in RUN.items() if k not in own}, "page": own, "learner": learner}
    if page.model is not None:
        name = _last(argv, "model") or (config or {}).get("model") or page.model
        own["model"] = Setting(page.model, "a name of dlcore.models.list_models()")
        groups["model"] = model_settings(name)
        if config and config.get("model", page.model) != name:
            config = {k: v for k, v in config.items() if not k.startswith("model.")}
    values = dict(page.defaults)
    if page.model is not None and name != page.model:
        values = {k: v for k, v in values.items() if not k.startswith("model.")}
    if wants_smoke(argv):
        values |= {k: v for k, v in page.smoke.items() if not k.startswith("model.") or k in groups.get("model", {})}
    known = {name for entries in groups.values() for name in entries}
    if unknown := set(values) - known:
        raise TypeError(f"page {page.name} sets {sorted(unknown)}, which no flag is called")
    groups = {
        group: {k: s._replace(default=values.get(k, s.default)) for k, s in entries.items()}
        for group, entries in groups.items()
    }
    return parse(groups, argv, config, usage=page.doc)


def _last(argv: list[str], name: str) -> str | None:
    found = None
    for i, word in enumerate(argv):
        if word.startswith(f"--{name}="):
            found = word.split("=", 1)[1]
        elif word == f"--{name}" and i + 1 < len(argv):
            found = argv[i + 1]
    return found


def _config(argv: list[str]) -> dict | None:
    path = _last(argv, "run") or _last(argv, "config_json")
    if path is None:
        return None
    config = read_config(path)
    settings = config.get("settings", config)
    if not isinstance(settings, dict):
        raise FlagError(f"{path} holds no settings")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k not in VOLATILE}


class Job:
    """One page with resolved settings: what a mode works with."""

    def __init__(self, page: Page, flags: Flags):
        self.page, self.flags = page, flags

    def placement(self):
        """The run's devices and shardings."""
        from dlcore.run.sharding import make_mesh
        from dlcore.run.step import Placement

        return Placement(make_mesh(self.flags.mesh), self.flags.sharding, self.flags.spmd)

    def steps(self, train_size: int) -> int:
        """Training steps: `--steps`, or `--epochs` passes over `train_size` examples."""
        if self.flags.steps is not None:
            return self.flags.steps
        return max(1, round(self.flags.epochs * train_size / self.flags.batch_size))

    def setup(self, spec: dict, flags: Flags | None = None, dtype: Any = None) -> Setup:
        """The argument of the page's `build`."""
        import jax.numpy as jnp

        flags = flags or self.flags
        dtype = dtype or {"f32": jnp.float32, "bf16": jnp.bfloat16}[flags.precision]
        return Setup(flags, spec, self.steps(spec["train_size"]), "data" if flags.spmd == "pmap" else None, dtype)

    def setup_of(self, data: Data, flags: Flags | None = None, dtype: Any = None) -> Setup:
        """The argument of the page's `build` for this data."""
        return self.setup({**data.spec, "train_size": data.train_size}, flags, dtype)

    @property
    def plain(self) -> dict[str, Any]:
        """What the page says of flags that it has: values that switch regularisation and augmentation off."""
        return {name: value for name, value in self.page.plain.items() if name in self.flags}

    def eval_every(self, train_size: int) -> int:
        """Steps between two validations: `--eval_every`, or an epoch."""
        return self.flags.eval_every or max(1, round(train_size / self.flags.batch_size))

    def pipelines(self, sources: Any) -> Any:
        """One pipeline over a source, or a dict of them over a dict."""
        import jax

        from dlcore.data.pipeline import Pipeline, device_resident

        if isinstance(sources, dict):
            return {name: self.pipelines(source) for name, source in sources.items()}
        pipeline = Pipeline(
            sources, self.flags.batch_size, self.flags.seed,
            process_index=jax.process_index(), process_count=jax.process_count(),
        )  # fmt: skip
        return device_resident(pipeline) if self.flags.device_data else pipeline

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that decide what is learnt."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self.flags.items() if k not in VOLATILE}

    @property
    def folder(self) -> Path:
        """The run's folder: `--run`, `--run_dir`, or runs/<page>/<hash of the identity>."""
        if self.flags.run or self.flags.run_dir:
            return Path(self.flags.run or self.flags.run_dir)
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:10]
        return Path(self.flags.runs) / self.page.name / digest

    def config(self) -> dict | None:
        """The folder's config.json."""
        path = self.folder / "config.json"
        return json.loads(path.read_text()) if path.exists() else None

    def write_config(self, spec: dict) -> None:
        """Record settings, facts of the data, versions, commit and devices."""
        content = {
            "page": self.page.name,
            "command": environment.command(),
            "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in self.flags.items()},
            "identity": self.identity,
            "spec": spec,
            "versions": environment.versions(),
            "commit": environment.commit(),
            "devices": environment.devices(),
        }
        path = self.folder / "config.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        os.replace(temporary, path)


def check_identity(job: Job, config: dict) -> None:
    """A given folder must have been made with these settings.

    Raises:
      FlagError: it was not; the settings that differ are named.
    """
    before, now = config["identity"], json.loads(json.dumps(job.identity))
    odd = [
        f"{k}={before.get(k)} there, {now.get(k)} here" for k in sorted({*before, *now}) if before.get(k) != now.get(k)
    ]
    if config["page"] != job.page.name:
        odd.insert(0, f"page {config['page']} there, {job.page.name} here")
    if odd:
        raise FlagError(f"{job.folder} was made with other settings: {'; '.join(odd)}. Choose another --run_dir")


def _prepare(flags: Flags) -> None:
    """Settings of the process, before any array is made."""
    import jax

    if flags.deterministic:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"
    if flags.precision == "f32":
        jax.config.update("jax_default_matmul_precision", "highest")


def main(page: Page | Lab, argv: list[str] | None = None) -> None:
    """Run a page or a lab and leave with 0, 1 (an error, a failed check), 2 (bad flags) or 75 (run me again)."""
    argv = sys.argv[1:] if argv is None else argv
    status = run_lab(page, argv) if isinstance(page, Lab) else run(page, argv)
    if status:
        raise SystemExit(status)


def run(page: Page, argv: list[str]) -> int:
    """`main` with the exit status as its value."""
    show = "--traceback" in argv
    try:
        flags = resolve(page, argv)
    except FlagError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    module, function = MODES[flags.mode].split(":")
    try:
        _prepare(flags)
        with joined(flags.distributed, flags.heartbeat_seconds, flags.join_seconds):
            try:
                status = getattr(import_module(module), function)(Job(page, flags)) or 0
            except EXPECTED as error:
                status = _told(error, show)
            if status:
                leave(status)
        return status
    except Preempted as stop:
        print(stop, flush=True)
        raise
    except EXPECTED as error:
        return _told(error, show)


EXPECTED = (ValueError, OSError, FloatingPointError)


def _told(error: Exception, show: bool) -> int:
    """The exit status of an error whose message says it all."""
    if show:
        traceback.print_exc()
    print(f"error: {error}" + ("" if show else "  (--traceback shows where)"), file=sys.stderr)
    return 2 if isinstance(error, FlagError) else 1

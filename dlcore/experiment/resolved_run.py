"""One experiment with resolved settings, and its folder."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dlcore.activity import activity
from dlcore.data.splits import Spec, Splits, map_sources, zero_batch
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.resolve import resolve
from dlcore.experiment.settings import STEPS
from dlcore.extras import require
from dlcore.learner import Learner
from dlcore.run import provenance
from dlcore.run.json_files import read_json
from dlcore.run.trackers import Tracking
from dlcore.setting import FlagError, text_of

__all__ = [
    "ResolvedRun",
    "check_identity",
    "check_settings",
    "config_of",
    "fast_compilation",
    "open_run",
    "prepare_process",
    "restore_state",
    "run_folder",
]


def run_folder(name: str, identity: dict[str, Any], runs: str, run_dir: str | None = None) -> Path:
    """Find the folder of a run.

    Args:
      name: name of the experiment.
      identity: the settings that decide what is learned.
      runs: parent folder of the run folders.
      run_dir: the folder itself, or its config.json, if given.

    Returns:
      The folder of `run_dir`, or runs/NAME/HASH of the identity.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
    if run_dir is None or run_dir == "":
        return Path(runs) / name / digest
    return Path(run_dir).parent if Path(run_dir).name == "config.json" else Path(run_dir)


class ResolvedRun:
    """One experiment with resolved settings, the argument of a mode.

    Args:
      experiment: the experiment.
      flags: values of the settings.

    Raises:
      MissingPackage: a package that the experiment or a tracker needs is not installed.
    """

    def __init__(self, experiment: Experiment, flags: Flags):
        require(*experiment.packages, what=experiment.name)
        self.experiment, self.flags = experiment, flags
        self.tracking = Tracking(flags.track, flags.identity)

    def placement(self):
        """Build the mesh and the sharding from the flags.

        Returns:
          A `dlcore.run.Placement`.
        """
        from dlcore.run.sharding import make_mesh
        from dlcore.run.step import Placement

        return Placement(make_mesh(self.flags.mesh), self.flags.sharding, self.flags.spmd)

    def steps(self, train_size: int, batch_size: int | None = None) -> int:
        """Count the training steps.

        Args:
          train_size: number of training examples.
          batch_size: examples per step; None takes `--batch_size`.

        Returns:
          `--steps`, or the steps of `--epochs`.

        Raises:
          FlagError: the epochs take too many steps, or `--accumulate` needs more steps for one update than there are.
        """
        flags = self.flags
        steps = flags.steps or max(1, round(flags.epochs * train_size / (batch_size or flags.batch_size)))
        if steps > STEPS.high:
            raise FlagError(f"--epochs={flags.epochs:g}: {steps:.3g} steps; allowed: at most {STEPS.high} steps")
        if flags.get("accumulate", 1) > steps:
            raise FlagError(f"--accumulate={flags.accumulate}: no update in {steps} steps; allowed: 1 to {steps}")
        return steps

    def before_data(self, flags: Flags | None = None) -> Run:
        """Build what the parts may know before the data are loaded.

        Args:
          flags: settings that replace the run's.
        """
        return self.experiment.run(flags or self.flags)

    def load(self, flags: Flags | None = None) -> Splits:
        """Load the data.

        Args:
          flags: settings that replace the run's.
        """
        return self.before_data(flags).load()

    def training(self, spec: Spec, flags: Flags | None = None, dtype: Any = None) -> Run:
        """Build what the parts may know of the run.

        Args:
          spec: `Splits.spec` with `train_size`, and `batch_size` if that of the flags does not fit the data.
          flags: settings that replace the run's.
          dtype: dtype of the computation; by default `--precision`'s.
        """
        import jax.numpy as jnp

        flags = flags or self.flags
        if "batch_size" in spec:
            flags = flags.replace(batch_size=spec["batch_size"])
        dtype = dtype or {"f32": jnp.float32, "bf16": jnp.bfloat16}[flags.precision]
        steps = self.steps(spec["train_size"], flags.batch_size)
        return self.experiment.run(flags, spec, steps, dtype)

    def training_of(self, splits: Splits, flags: Flags | None = None, dtype: Any = None) -> Run:
        """Build what the parts may know of the run for loaded data.

        Args:
          flags: settings that replace the run's.
          dtype: dtype of the computation; by default `--precision`'s.
        """
        fitted, spec = self.fitted_batch_size(splits), splits.facts
        return self.training(spec if fitted is None else {**spec, "batch_size": fitted}, flags, dtype)

    def example(self, spec: dict) -> Any:
        """Make an example batch without loading the data.

        Returns:
          A batch of zeros of the training batch size, since a state may have a batch axis. It is read from the data if
          `spec` does not describe it.
        """
        from dlcore.data.pipeline import batch_at

        if not isinstance(spec.get("batch"), dict):
            return batch_at(self.pipelines(self.load()), 0)
        return zero_batch(spec["batch"], spec.get("batch_size", self.flags.batch_size))

    def fitted_batch_size(self, splits: Splits) -> int | None:
        """Fit `--batch_size` to data with fewer examples.

        Returns:
          The largest power of two that every training source can fill; None where `--batch_size` fits, was given, or
          nothing fits.
        """
        sizes: list[int] = []
        map_sources(lambda source, ratio: sizes.append(len(source) // ratio), splits.train, splits.batch_ratios)
        smallest_source = min(sizes, default=0)
        if "batch_size" in self.flags.given or smallest_source < 1 or self.flags.batch_size <= smallest_source:
            return None
        return 2 ** (smallest_source.bit_length() - 1)

    def build(self, training: Run, batch: Any) -> Learner:
        """Build the learner, and initialize it abstractly if the command line sets fields of its network.

        Args:
          training: what the parts know of the run.
          batch: a training batch.

        Raises:
          FlagError: the network cannot be built; the message names the fields.
        """
        import jax
        from flax.errors import FlaxError

        network_flags = sorted(name for name in self.flags.given if name == "model" or "." in name)
        if not network_flags:
            return training.build()
        try:
            learner = training.build()
            on_one_device = self.flags.spmd == "jit"
            checked = learner if on_one_device else training.replace(flags=training.flags.replace(spmd="jit")).build()
            jax.eval_shape(checked.init, jax.random.key(0), batch)
        except FlagError:
            raise
        except (ArithmeticError, IndexError, TypeError, ValueError, FlaxError) as error:
            words = " ".join(f"--{name}={text_of(self.flags[name])}" for name in network_flags)
            problem = str(error).split("\n")[0]
            if not isinstance(error, ValueError):
                problem = f"{type(error).__name__}, {problem}; allowed: fields that fit the data and each other"
            raise FlagError(f"{words}: no network: {problem}") from error
        return learner

    @property
    def plain(self) -> dict[str, Any]:
        """Values of the experiment's flags that switch regularization and augmentation off."""
        plain = {name: s.default for name, s in self.experiment.settings.items() if s.regularizes}
        plain |= self.experiment.sanity.plain
        return {name: value for name, value in plain.items() if name in self.flags}

    def eval_every(self, training: Run) -> int:
        """Count the steps between two validations.

        Returns:
          `--eval_every`, or the steps of an epoch.
        """
        return self.flags.eval_every or max(1, round(training.spec["train_size"] / training.flags.batch_size))

    def pipelines(self, splits: Splits) -> Any:
        """Batch the training data: `--batch_size` examples per step, times the batch ratio of each source.

        If the default batch size exceeds the data, it is `fitted_batch_size`.

        Returns:
          A pipeline, or a dict of pipelines.
        """
        import jax

        from dlcore.data.device import device_resident
        from dlcore.data.pipeline import Pipeline

        batch_size = self.fitted_batch_size(splits) or self.flags.batch_size

        def batched(source: Any, ratio: int) -> Any:
            pipeline = Pipeline(
                source,
                batch_size * ratio,
                self.flags.seed,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
            return device_resident(pipeline) if self.flags.device_data else pipeline

        return map_sources(batched, splits.train, splits.batch_ratios)

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that decide what is learned."""
        return self.flags.identity

    @property
    def folder(self) -> Path:
        """The run's folder: `--run`, `--run_dir`, or runs/EXPERIMENT/HASH of the identity."""
        return run_folder(self.experiment.name, self.identity, self.flags.runs, self.flags.run or self.flags.run_dir)

    def config(self) -> dict | None:
        """Read the folder's config.json.

        Returns:
          Its content; None if there is no such file.

        Raises:
          ValueError: the file is no configuration of a run.
        """
        path = self.folder / "config.json"
        return read_json(path, ["experiment", "identity", "settings", "spec"]) if path.exists() else None

    def write_config(self, spec: Spec, data: dict | None = None) -> None:
        """Record what other runs need to start from this one: settings, facts of the data, technique and monitor.

        Args:
          spec: `Splits.spec` with `train_size`.
          data: fingerprints of the splits, see `dlcore.experiment.run_data`.
        """
        content = {
            "experiment": self.experiment.name,
            "technique": self.experiment.parts.technique.__module__,
            "monitor": self.experiment.parts.monitor,
            "monitor_mode": self.experiment.parts.mode,
            "command": provenance.command(),
            "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in self.flags.items()},
            "identity": self.identity,
            "spec": spec,
            "data": data or {},
            "versions": provenance.versions(),
            "commit": provenance.commit(),
            "devices": provenance.devices(),
        }
        path = self.folder / "config.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        os.replace(temporary, path)


def check_identity(run: ResolvedRun, config: dict) -> None:
    """Check that a run's folder was made with its settings.

    A flag that is newer than the run is compared only if given.

    Args:
      config: the folder's config.json.

    Raises:
      FlagError: the settings differ; each is named.
    """
    before, now = config["identity"], run.identity
    # A flag that is newer than the run has its default, which is what the run did.
    names = sorted({*before, *(k for k in now if k in run.flags.given)})
    check_settings(run.folder, config["experiment"], before, run.experiment.name, now, names)


def check_settings(
    folder: Path, made_by: str, before: dict[str, Any], experiment: str, settings: dict[str, Any], names: Iterable[str]
) -> None:
    """Check that a folder was made by an experiment or a study with the same settings.

    Args:
      folder: folder of the earlier run, for the error.
      made_by: name of the experiment that made it.
      before: JSON values of the settings that made it.
      experiment: name of the experiment that would use it.
      settings: settings of this call.
      names: names of the settings to compare.

    Raises:
      FlagError: the settings differ; each is named.
    """
    now = json.loads(json.dumps(settings))
    changes = [f"{k}={before.get(k)} there, {now.get(k)} here" for k in names if before.get(k) != now.get(k)]
    if made_by != experiment:
        changes.insert(0, f"experiment {made_by} there, {experiment} here")
    if changes:
        raise FlagError(f"{folder} was made with other settings: {'; '.join(changes)}. Choose another --run_dir")


def config_of(run: ResolvedRun) -> dict:
    """Read the configuration of a mode's run.

    Returns:
      The content of its config.json.

    Raises:
      FlagError: the folder has no run, or one of another experiment.
    """
    config = run.config()
    if config is None:
        raise FlagError(f"{run.folder}: there is no run; allowed: --run=RUN of a trained run, or the settings of one")
    if config["experiment"] != run.experiment.name:
        raise FlagError(f"--run={run.folder}: a run of {config['experiment']}; allowed: runs of {run.experiment.name}")
    return config


def open_run(folder: Path | str, experiment: Experiment) -> ResolvedRun:
    """Open the run in a folder.

    Args:
      folder: the run's folder.

    Returns:
      The run with its original settings.

    Raises:
      FlagError: the folder holds no run of `experiment`.
    """
    if not (Path(folder) / "config.json").exists():
        raise FlagError(f"{str(folder)!r}: holds no run; allowed: a run of {experiment.name}")
    run = ResolvedRun(experiment, resolve(experiment, [f"--run={folder}"]))
    config_of(run)
    return run


def restore_state(run: ResolvedRun, learner: Learner, batch: Any, select: str) -> tuple[int, Any]:
    """Restore a checkpoint of a run; a damaged best one is replaced by the newest that can be read, with a warning.

    Args:
      batch: an example batch.
      select: "best" or "last".

    Returns:
      (step, state).

    Raises:
      FileNotFoundError: there is no checkpoint.
      OSError: no checkpoint can be read.
    """
    with activity("reading the checkpoint"):
        return _restored(run, learner, batch, select)


def _restored(run: ResolvedRun, learner: Learner, batch: Any, select: str) -> tuple[int, Any]:
    from absl import logging

    from dlcore.run.checkpoint import Checkpoints
    from dlcore.run.pmap import program_for

    store = Checkpoints(run.folder / "checkpoints", mode=run.experiment.parts.mode, read_only=True)
    program = program_for(learner, batch, run.placement(), run.flags.seed)
    step = store.best_step() if select == "best" else None
    try:
        restored = store.restore(program.abstract_carry, step)
    except OSError as error:
        if step is None:
            raise
        logging.warning("%s: the newest that can be read replaces it", error)
        restored = store.restore(program.abstract_carry)
    store.close()
    if restored is None:
        raise FileNotFoundError(f"there is no checkpoint in {run.folder}")
    return restored[0], restored[1].state


@contextlib.contextmanager
def fast_compilation(wanted: bool) -> Iterator[None]:
    """Disable most optimizations of XLA, for `--smoke`: programs compile faster and run slower.

    Args:
      wanted: whether to disable them; False changes nothing.

    Yields:
      None.
    """
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", wanted or before)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def prepare_process(flags: Flags) -> None:
    """Set the process's XLA flags and matmul precision, before any array exists.

    Args:
      flags: `deterministic` and `precision`.
    """
    import jax

    options = os.environ.get("XLA_FLAGS", "")
    if flags.deterministic and "--xla_gpu_deterministic_ops=true" not in options:
        os.environ["XLA_FLAGS"] = options + " --xla_gpu_deterministic_ops=true"
    jax.config.update("jax_default_matmul_precision", "highest" if flags.precision == "f32" else None)

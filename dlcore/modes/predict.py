"""`--mode=predict`: apply the checkpoint of a finished or running training to files, or sample from it."""

from pathlib import Path
from typing import Literal

from dlcore.experiment.mode import Mode
from dlcore.experiment.resolved_run import ResolvedRun, config_of
from dlcore.modes.members import MEMBERS, members_of, restore_members
from dlcore.modes.views import TTA
from dlcore.run.evaluate import predict
from dlcore.run.json_files import json_text
from dlcore.run.progress import say
from dlcore.setting import FlagError, Setting

__all__ = ["MODE"]


def _predict_files(run: ResolvedRun) -> None:
    """Print predictions for the files of `--input`, or samples without it, as text or JSON."""
    import jax

    experiment, flags = run.experiment, run.flags
    if experiment.use is None:
        raise FlagError(f"--mode=predict: {experiment.name} has none; allowed: the other modes")
    has_source = hasattr(experiment.use, "samples" if flags.input is None else "inputs")
    if not has_source and flags.input is None:
        missing, run_flag = ("--input", "") if flags.get("run") else ("--run, --input", " --run=RUN")
        raise FlagError(f"{missing}: missing; allowed: --mode=predict{run_flag} --input={experiment.parts.input_kind}")
    if not has_source:
        raise FlagError(f"--input={flags.input}: {experiment.name} reads no input; allowed: --mode=predict without it")
    if flags.input is not None and "num_drawn" in flags.given:
        raise FlagError(f"--num_drawn={flags.num_drawn}: beside --input={flags.input}; allowed: one of them")
    if not (flags.get("run") or flags.get("run_dir")):
        usable = "" if run.config() is None else f"--run={run.folder}, the run of these settings, or "
        raise FlagError(f"--run: missing; allowed: {usable}--run=RUN of another trained run")
    if flags.output is not None and not hasattr(experiment.use, "write"):
        raise FlagError(f"--output={flags.output}: {experiment.name} writes no files; allowed: none")
    spec = config_of(run)["spec"]
    example = run.example(spec)
    training = run.before_data().replace(spec=spec)
    use, facts = training.parts.use, training.facts
    source, names = use.samples(training) if flags.input is None else use.inputs(flags.input, training)
    learner, step, state = restore_members(members_of(run), flags.tta, flags.select, example)
    if (seed := flags.get("sample_seed")) is not None:
        state = state.replace(rng=jax.random.fold_in(state.rng, seed))
    outputs = predict(learner, state, source, batch_size=flags.eval_batch_size, placement=run.placement())
    rows = use.describe(outputs, facts)
    files = [] if flags.output is None else use.write(Path(flags.output), outputs, source, names, facts)
    if flags.format == "json":
        say(json_text([{"input": name, **row} for name, row in zip(names, rows, strict=True)]))
        return
    shape = spec.get("image_shape") if flags.input is not None else None
    pixels = f"; images are read as {shape[0]} x {shape[1]} {'gray' if shape[2] == 1 else 'RGB'}" if shape else ""
    say(f"run: {run.folder}, step {step}{pixels}")
    for name, row in zip(names, rows, strict=True):
        text = row.get("text") or "  ".join(f"{label} {p:.3f}" for label, p in list(row["probabilities"].items())[:5])
        say(f"{name}: {text}")
    if files:
        say(f"wrote {len(files)} files to {flags.output}")


MODE = Mode(
    _predict_files,
    {
        "input": Setting(
            None, "a file or a folder; generative models draw samples without it", str | None, identity=False
        ),
        "output": Setting(None, "a folder for pictures and masks of the predictions", str | None, identity=False),
        "tta": TTA,
        "members": MEMBERS,
        "format": Setting("text", "how to print", Literal["text", "json"], identity=False),
    },
)

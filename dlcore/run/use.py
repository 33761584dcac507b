"""`--mode=evaluate` and `--mode=predict`: use a finished or a running training's checkpoint."""

import json
from typing import Any

import numpy as np

from dlcore.run.evaluate import evaluate, predict
from dlcore.run.flags import FlagError
from dlcore.run.page import Job
from dlcore.run.progress import say
from dlcore.run.train import restore_state

__all__ = ["config_of", "evaluate_mode", "predict_mode"]


def config_of(job: Job) -> dict:
    """The config of the run that a mode is to use.

    Raises:
      FlagError: there is none, or it is of another page.
    """
    config = job.config()
    if config is None:
        raise FlagError(
            f"there is no run in {job.folder}; name one with --run=RUN, or train with the same settings first"
        )
    if config["page"] != job.page.name:
        raise FlagError(f"--run={job.folder} is a run of {config['page']}, not of {job.page.name}")
    return config


def evaluate_mode(job: Job) -> int:
    """Exact metrics over a whole split, printed as text or JSON."""
    config = config_of(job)
    data = job.page.data(job.flags)
    source = getattr(data, job.flags.split)
    if source is None or isinstance(source, dict):
        raise FlagError(f"--split={job.flags.split} is not there in this dataset")
    setup = job.setup(config["spec"])
    learner = job.page.build(setup)
    step, state = restore_state(job, learner, job.page.example(config["spec"]), job.flags.select)
    evaluators = [] if job.flags.split == "train" else job.page.evaluators(setup, data, job.flags.split)
    numbers, arrays = evaluate(
        learner, state, source, batch_size=job.flags.eval_batch_size, placement=job.placement(), evaluators=evaluators
    )
    if job.flags.format == "json":
        content = {"run": str(job.folder), "step": step, "split": job.flags.split, "examples": len(source), **numbers}
        say(json.dumps({**content, **{k: np.asarray(v).tolist() for k, v in arrays.items()}}))
        return 0
    say(f"{job.folder}, step {step}, {job.flags.split} split, {len(source):,} examples")
    for name, value in numbers.items():
        say(f"  {name:28} {'–' if value is None else f'{value:.6g}'}")
    return 0


def predict_mode(job: Job) -> int:
    """Predictions for the files that `--input` names, printed as text or JSON."""
    if job.flags.input is None:
        raise FlagError("--mode=predict needs --input=FILE_OR_FOLDER")
    if job.page.inputs is None or job.page.describe is None:
        raise FlagError(f"{job.page.name} has no --mode=predict")
    config = config_of(job)
    spec = config["spec"]
    source, names = job.page.inputs(job.flags, spec)
    learner = job.page.build(job.setup(spec))
    _, state = restore_state(job, learner, job.page.example(spec), job.flags.select)
    outputs = predict(learner, state, source, batch_size=job.flags.eval_batch_size, placement=job.placement())
    rows: list[dict[str, Any]] = job.page.describe(outputs, spec)
    if job.flags.format == "json":
        say(json.dumps([{"input": name, **row} for name, row in zip(names, rows, strict=True)]))
        return 0
    for name, row in zip(names, rows, strict=True):
        text = row.get("text") or "  ".join(f"{label} {p:.3f}" for label, p in list(row["probabilities"].items())[:5])
        say(f"{name}: {text}")
    return 0

"""`--mode=evaluate`: evaluate the checkpoint of a finished or running training on a split."""

from typing import Literal

from dlcore.experiment.mode import Mode
from dlcore.experiment.resolved_run import ResolvedRun, config_of
from dlcore.experiment.run_data import compare_with_run, data_for
from dlcore.modes.members import MEMBERS, members_of, restore_members
from dlcore.modes.views import TTA
from dlcore.run.evaluate import evaluate, scalars
from dlcore.run.json_files import json_text
from dlcore.run.progress import say
from dlcore.setting import FlagError, Setting

__all__ = ["MODE"]


def _evaluate_run(run: ResolvedRun) -> None:
    """Print the exact metrics of a split, as text or JSON."""
    config, flags = config_of(run), run.flags
    training, example = run.training(config["spec"]), run.example(config["spec"])
    runs = members_of(run)
    splits = data_for(run, config)
    source = getattr(splits, flags.split)
    if source is None or isinstance(source, dict):
        names = [name for name in ("train", "valid", "test") if not isinstance(getattr(splits, name), dict | None)]
        raise FlagError(f"--split={flags.split}: not in this data; allowed: {', '.join(names)}")
    comparison, *_ = (compare_with_run(one, config_of(one), splits, flags.split) for one in runs)
    learner, step, state = restore_members(runs, flags.tta, flags.select, example)
    evaluators = [] if flags.split == "train" else training.evaluators(splits, flags.split)
    measures = evaluate(
        learner, state, source, batch_size=flags.eval_batch_size, placement=run.placement(), evaluators=evaluators
    )
    if flags.format == "json":
        content = {
            "run": str(run.folder),
            "members": list(flags.members),
            "step": step,
            "split": flags.split,
            "examples": len(source),
        }
        content |= {"data_changes": comparison.changes, "trained_on": comparison.trained_on}
        say(json_text(content | measures))
        return
    member_text = f" and {len(runs) - 1} more runs" if len(runs) > 1 else ""
    say(f"{run.folder}{member_text}, step {step}, {flags.split} split, {len(source):,} examples")
    if comparison.changes is not None:
        say(f"  not the run's {flags.split} split: {comparison.changes}")
    if comparison.trained_on:
        say(f"  the run was trained on {comparison.trained_on:,} of these examples")
    for name, value in scalars(measures).items():
        say(f"  {name:28} {'–' if value is None else f'{value:.6g}'}")


MODE = Mode(
    _evaluate_run,
    {
        "split": Setting("test", "which split to evaluate", Literal["train", "valid", "test"], identity=False),
        "tta": TTA,
        "members": MEMBERS,
        "format": Setting("text", "how to print", Literal["text", "json"], identity=False),
    },
)

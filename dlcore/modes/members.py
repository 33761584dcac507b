"""The runs of an ensemble: `--mode=evaluate --run=A,B,C` and `--mode=predict --run=A,B,C`."""

from typing import Any

from dlcore.evaluators.ensemble import ensemble
from dlcore.evaluators.test_time_augmentation import Views
from dlcore.experiment.resolved_run import ResolvedRun, config_of, open_run, restore_state
from dlcore.learner import Batch, Learner
from dlcore.modes.views import average_views
from dlcore.setting import FlagError, Setting

__all__ = ["MEMBERS", "members_of", "restore_members"]

MEMBERS = Setting(
    (), "further runs whose probabilities are averaged with those of --run; --run=A,B,C names them, too",
    tuple[str, ...], identity=False,
)  # fmt: skip


def members_of(run: ResolvedRun) -> list[ResolvedRun]:
    """Open the runs of an ensemble.

    Args:
      run: the resolved run, with the flag `members`.

    Returns:
      The run itself, then its members.

    Raises:
      FlagError: a folder holds no run of the experiment, or a run with other classes or images.
    """
    runs, spec = [run], config_of(run)["spec"]
    for folder in run.flags.get("members") or ():
        member = open_run(folder, run.experiment)
        member_spec = config_of(member)["spec"]
        for name in ("class_names", "image_shape"):
            if member_spec.get(name) != spec.get(name):
                raise FlagError(f"--members={folder}: its {name} is {member_spec.get(name)}; allowed: {spec.get(name)}")
        overrides = {name: run.flags[name] for name in ("changed_data", "eval_batch_size", "mesh") if name in run.flags}
        runs.append(ResolvedRun(run.experiment, member.flags.replace(**overrides)))
    return runs


def restore_members(runs: list[ResolvedRun], tta: Views, select: str, example: Batch) -> tuple[Learner, int, Any]:
    """Restore a run, or an ensemble of several.

    Args:
      runs: result of `members_of`.
      tta: a test-time augmentation, see `dlcore.evaluators.test_time_augmentation`.
      select: "best" or "last".
      example: a batch of the first run's data.

    Returns:
      (the learner, the step of the first run, the state); an ensemble averages probabilities.

    Raises:
      FlagError: views or several runs are requested for a learner that is no classifier.
      FileNotFoundError: a run has no checkpoint.
    """
    learners = [run.training(config_of(run)["spec"]).build() for run in runs]
    with_tta = [average_views(learner, tta, example) for learner in learners]
    if len(runs) == 1:
        return with_tta[0], *restore_state(runs[0], with_tta[0], example, select)
    try:
        mean_learner = ensemble(with_tta, example)
    except ValueError as error:
        raise FlagError(f"--{error}") from None
    steps, states = zip(
        *(restore_state(run, learner, example, select) for run, learner in zip(runs, with_tta, strict=True)),
        strict=True,
    )
    return mean_learner, steps[0], states

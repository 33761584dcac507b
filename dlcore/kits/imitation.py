"""The shared part of the experiments that imitate: an expert, its demonstrations as data, returns side by side."""

from typing import Any

import jax
import numpy as np

from dlcore.data.source import Source
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.kits import earlier_phase, rl
from dlcore.learner import Range
from dlcore.rl import demonstrations as demos

__all__ = ["NUM_RECORDED", "SETTINGS", "comparison", "data", "panels", "record_expert"]

NUM_RECORDED = 16
"""Episodes in the file of an expert."""
_NUM_RANDOM = 100

SETTINGS = {
    **rl.SETTINGS,
    "demonstrations": Setting(None, "a file of recorded episodes; by default the expert's", str | None, essential=True),
    "expert": Setting(
        None, "the folder of a run of rl.ppo, whose episodes are recorded; by default one is trained", str | None
    ),
    "expert_steps": Setting(200, "training steps of the default expert", limits=Range(1)),
    "num_demonstrations": Setting(4, "episodes to imitate", limits=Range(1, NUM_RECORDED), essential=True),
    "every": Setting(1, "a learner sees every k-th step of an episode", limits=Range(1)),
}


def record_expert(flags: Flags) -> demos.Demonstrations:
    """Load recorded episodes, or let an expert play them and keep them in its folder.

    The expert acts as it was tested, with its most probable action; of several seeds it is the one with the largest
    mean return.

    Args:
      flags: of SETTINGS. In a smoke run without an expert an untrained network plays.

    Returns:
      The episodes.

    Raises:
      ValueError: a file or a folder is not what its flag says.
    """
    from dlcore.rl import environments, networks

    environment = environments.make(flags.environment)
    path = flags.demonstrations
    keys = jax.random.split(jax.random.key(0), NUM_RECORDED)
    if path is None and flags.expert is None and flags.smoke:
        model = networks.ActorCritic(environment.num_actions)
        _, observation = environment.reset(jax.random.key(0))
        params = model.init(jax.random.key(0), observation[None])["params"]
        return demos.record(environment, _greedy(model, params), keys[:1])
    if path is None:
        words = [f"--environment={flags.environment}", "--num_seeds=1", f"--steps={flags.expert_steps}"]
        folder = earlier_phase.find_or_train(flags, "expert", "rl.ppo", words[:2] if flags.smoke else words)
        path = folder / "demonstrations.npz"
        if not path.exists():
            phase = earlier_phase.load(folder)
            theirs = environments.make(phase.flags.environment)
            model = networks.ActorCritic(theirs.num_actions, **phase.flags.group("network"))
            seeds, several = phase.flags.num_seeds, phase.flags.num_seeds > 1
            params = [
                jax.tree.map(lambda x, k=k: x[k], phase.params) if several else phase.params for k in range(seeds)
            ]
            recorded = [demos.record(theirs, _greedy(model, p), keys) for p in params]
            demos.save(path, max(recorded, key=lambda episodes: episodes.mean_return))
    found = demos.load(path)
    demos.check(found, environment)
    return found


def _greedy(model: Any, params: Any) -> Any:
    return lambda key, observation: model.apply({"params": params}, observation[None])[0].argmax(-1)[0]


def data(flags: Flags) -> Splits:
    """Select the steps to learn from; validation and test are episodes to play.

    Args:
      flags: of SETTINGS.

    Returns:
      Splits whose training source has `observation` and `action`; the spec has the expert's and the random policy's
      mean return.

    Raises:
      ValueError: the demonstrations are of another environment, or there are too few.
    """
    from dlcore.rl import environments

    environment = environments.make(flags.environment)
    recorded = record_expert(flags)
    keys = jax.random.split(jax.random.key(1), _NUM_RANDOM)
    random = demos.record(environment, lambda key, _: environments.random_actions(environment, key[None])[0], keys)
    chosen = recorded.first(
        min(flags.num_demonstrations, len(recorded.length)) if flags.smoke else flags.num_demonstrations
    )
    pairs = demos.select(chosen, flags.every, flags.seed)
    splits = rl.data(flags)
    spec = {
        **splits.spec,
        "expert_return": recorded.mean_return,
        "random_return": random.mean_return,
        "observation_shape": list(environment.observation_shape),
    }
    note = f"{len(pairs['action'])} steps of {len(chosen.length)} episodes; expert's return {recorded.mean_return:.1f}"
    return splits._replace(train=Source(pairs, name="demonstrations"), spec=spec, notes=(note,))


def comparison(context: Any, **others: float) -> Any:
    """Show the return beside those of the expert and of a random policy.

    Args:
      context: the run's ReportContext.
      **others: mean returns of other policies, by name.

    Returns:
      The panel.
    """
    from dlcore.report.tables import table

    returns = np.asarray(context.outputs["return"])
    by_seed = returns.reshape(len(returns), -1).mean(0)
    rows = {"expert": context.spec["expert_return"], "this policy": float(by_seed.mean()), **others}
    rows["random policy"] = context.spec["random_return"]
    table_rows = [{"": name, "mean return": round(value, 1)} for name, value in rows.items()]
    if len(by_seed) > 1:
        table_rows[1]["by seed"] = ", ".join(f"{value:.1f}" for value in by_seed)
    count = context.flags.num_demonstrations
    return table(table_rows, "Returns", f"{count} episodes shown, every step number {context.flags.every} of them.")


def panels(context: Any) -> list:
    """Show returns side by side, and the curves.

    Args:
      context: the run's ReportContext.

    Returns:
      The panels.
    """
    from dlcore.report.curves import curves
    from dlcore.run.seeds import split_by_seed

    return [comparison(context), curves(split_by_seed(context.history)[0])]

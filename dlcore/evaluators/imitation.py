"""Returns of agents that imitate, beside those of their expert."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator, root_key
from dlcore.optim import create_optimizer
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.rl import behavior_cloning
from dlcore.rl.environments import Environment
from dlcore.rl.seeds import split_by_seed

__all__ = ["ReturnBesideExpert", "clone_return", "seed_curves"]

_CLONE_STEPS = 1000
"""Gradient steps of behavior cloning, each on all selected steps."""


@dataclasses.dataclass(frozen=True)
class ReturnBesideExpert:
    """Return of an episode, beside those of the expert and of a random policy.

    Args:
      clone: also train behavior cloning on the same steps, and measure its return on the test episodes
    """

    clone: Annotated[bool, "no flag"] = False

    metric: ClassVar[str] = "return"
    mode: ClassVar[str] = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure "clone_return" on the test split; the spec has the other returns."""

        def measure(acc) -> dict[str, float]:
            demonstrations, episodes = splits.train["demonstrations"].arrays, splits.test[np.arange(len(splits.test))]
            steps = 2 if run.flags.smoke else _CLONE_STEPS
            clone_and_evaluate = clone_return(run.parts.data.build(), demonstrations, episodes, steps)
            return {"clone_return": float(jax.jit(clone_and_evaluate)(root_key(run.seed)))}

        evaluator = Evaluator(lambda acc, outputs, rows: True, measure, None, ("clone_return",))
        return [evaluator] if self.clone and split == "test" else []

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show returns side by side."""
        return [_comparison(context)]


def clone_return(
    environment: Environment, demonstrations: dict[str, np.ndarray], episodes: dict, steps: int
) -> Callable[[jax.Array], jax.Array]:
    """Build the function that clones an expert and measures the clone's return.

    Args:
      environment: environment to play in.
      demonstrations: steps from `dlcore.rl.demonstrations.select` with `absorbing`; absorbing steps are left out.
      episodes: batch of the episodes to evaluate on.
      steps: number of Adam steps, each on all of `demonstrations`.

    Returns:
      A function from a PRNG key to the mean return [].
    """
    check_whole_number("steps", steps, 1)
    is_step = ~demonstrations["absorbing"]
    pairs = {name: jnp.asarray(demonstrations[name][is_step]) for name in ("observation", "action")}
    pairs["index"] = jnp.arange(int(is_step.sum()))
    learner = behavior_cloning.learner(
        model=behavior_cloning.actor(environment), optimizer=create_optimizer("adam", 1e-3), environment=environment
    )

    def clone_and_evaluate(key):
        first = learner.init(key, pairs)
        state, _ = jax.lax.scan(lambda state, _: (learner.update(state, pairs)[0], None), first, None, steps)
        return learner.predict(state, episodes)["return"].mean()

    return clone_and_evaluate


def seed_curves(context: ReportContext) -> list[Panel]:
    """Show the curves of all seeds together."""
    from dlcore.report.curves import curves

    return [curves(split_by_seed(context.history)[0])]


def _comparison(context: ReportContext) -> Any:
    """Compare the return with those of the expert and of a random policy."""
    from dlcore.report.tables import table

    returns = np.asarray(context.outputs["return"])
    by_seed = returns.reshape(len(returns), -1).mean(0)
    rows = {"expert": context.spec["expert_return"], "this policy": float(by_seed.mean())}
    if "clone_return" in context.numbers:
        rows["behavior cloning of the same steps"] = context.numbers["clone_return"]
    rows["random policy"] = context.spec["random_return"]
    table_rows = [{"": name, "mean return": round(value, 1)} for name, value in rows.items()]
    if len(by_seed) > 1:
        table_rows[1]["by seed"] = ", ".join(f"{value:.1f}" for value in by_seed)
    count, interval = context.flags.num_demonstrations, context.flags.every
    steps = "all steps" if interval == 1 else f"one step in {interval}"
    return table(table_rows, "Returns", f"The expert showed {steps} of {count} episode{'s' if count > 1 else ''}.")

"""`--watch`: a look inside the network every so many steps, kept with the checkpoint and shown in the report.

A look costs one update, one gradient and one forward pass of a training batch: with N = 100 under 3 % of the time.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dlcore.diagnostics.monitor import findings
from dlcore.diagnostics.trace import first_reads
from dlcore.learner import Learner
from dlcore.report.monitor import monitor_panels
from dlcore.report.panel import Panel
from dlcore.run.progress import say
from dlcore.run.sharding import leaf_paths

__all__ = ["Watch", "kernels_in_order"]


class Watch:
    """A hook; `memory["looks"]` holds what was seen.

    Args:
      learner: what is trained, without a mapped axis.
      batch: a batch of training data, the same at every look.
      every: the fewest steps between two looks; they are taken at log steps.
    """

    def __init__(self, learner: Learner, batch: Any, every: int):
        if every < 1:
            raise ValueError(f"every={every} must be at least 1")
        self.every, self.batch = every, batch
        self.memory: dict[str, Any] = {"looks": [], "next": 0}
        self._look = jax.jit(lambda state, batch: look(learner, state, batch))

    def __call__(self, step: int, state: Any, metrics: dict[str, float]) -> None:
        """Look, where it is time; what is new among the remarks is printed."""
        if step < self.memory["next"]:
            return
        seen = jax.device_get(self._look(state, self.batch))
        seen = {"step": step, **jax.tree.map(lambda x: np.asarray(x).tolist(), seen)}
        known = {finding.kind for old in self.memory["looks"] for finding in findings(old)}
        for finding in findings(seen):
            if finding.kind not in known and finding.kind != "updates":
                say(f"step {step}: {finding.words}")
        self.memory = {"looks": [*self.memory["looks"], seen], "next": step + self.every}

    def panels(self, context: Any) -> list[Panel]:
        """What was seen, for the report."""
        return monitor_panels(self.memory["looks"], kernels_in_order(context.learner, context.state, self.batch))


def kernels_in_order(learner: Learner, state: Any, batch: Any) -> list[str]:
    """Paths of the kernels in the order in which `predict` reads them; those that it never reads are left out."""
    names = [path for path, _ in leaf_paths(state.params)]
    leaves, tree = jax.tree.flatten(state.params)

    def outputs(leaves: Sequence[Any]) -> Any:
        return learner.predict(state.replace(params=jax.tree.unflatten(tree, leaves)), batch)

    read = [(first, name) for first, name in zip(first_reads(outputs, leaves), names, strict=True) if first is not None]
    return [name for _, name in sorted(read) if name.rpartition("/")[2] in ("kernel", "w")]

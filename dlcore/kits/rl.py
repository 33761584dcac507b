"""What reinforcement learning's experiments share: indices for data, and returns by seed in the report."""

from typing import Any

import numpy as np

from dlcore.data.source import Source
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.learner import Range
from dlcore.run.seeds import split_by_seed

__all__ = ["SETTINGS", "data", "panels"]

SETTINGS = {
    "environment": Setting("CartPole-v1", "a gymnax environment with discrete actions"),
    "num_seeds": Setting(5, "seeds trained side by side in one step", limits=Range(1)),
    "episodes": Setting(20, "episodes of each evaluation", limits=Range(1)),
}


def data(flags: Flags) -> Splits:
    """Indices: of environments to train in, of episodes to validate on, and of other episodes to test on."""
    count = flags.episodes
    valid, test = (
        Source({"episode": np.arange(first, first + count, dtype=np.int32)}, name=f"{name} episodes")
        for name, first in (("validation", 0), ("test", count))
    )
    return Splits(Source.indices(flags.batch_size, "environments"), valid, test, {"dataset": flags.environment})


def panels(context: Any) -> list:
    """Returns of finished episodes by seed, and the curves of everything."""
    from dlcore.report.curves import curves

    joined, seeds = split_by_seed(context.history)
    returns = [{k: row.get(k) for k in ("step", "split", "return")} for row in seeds]
    return [curves(returns, title="Return of finished episodes, by seed")] * bool(seeds) + [curves(joined)]

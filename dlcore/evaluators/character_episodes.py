"""The accuracy of few-shot episodes of characters, and panels of some."""

import dataclasses
from typing import ClassVar

import numpy as np

from dlcore.data.augment import to_float
from dlcore.data.character_episodes import TEST_SEED
from dlcore.data.episodes import episodes
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators.episodes import episode_accuracy
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator
from dlcore.models.encoder import Encoder, module_encoder
from dlcore.report.context import ReportContext
from dlcore.setting import FlagError

__all__ = ["EpisodeAccuracy", "episode_panels"]


@dataclasses.dataclass(frozen=True)
class EpisodeAccuracy:
    """Accuracy over episodes, of the test also over others.

    Args:
      also: other episodes that the test measures, too: classes and supports of each, such as 5x5,20x1
    """

    also: tuple[str, ...] = ()

    metric: ClassVar[str] = "accuracy"
    mode: ClassVar[str] = "max"

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Check that the other episodes can be drawn, before the training."""
        self._sources(splits, run)
        return splits

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of the test's other episodes."""
        return [episode_accuracy(source) for source in self._sources(splits, run)] if split == "test" else []

    def encoder(self, run: Run) -> Encoder:
        """Describe the network for fine-tuning."""
        return module_encoder(
            run.parts.network.arguments(run)["model"],
            to_float,
            list(run.facts.image_shape),
            lambda state: {"params": state.params, **state.model_state},
            lambda embeddings: embeddings[0],
            method="__call__",
        )

    def _sources(self, splits: Splits, run: Run) -> list[Source]:
        """The other episodes, of the characters of the test."""
        data, allowed = run.parts.data, "classes x supports, such as --also=5x5,20x1"
        if self.also and data.shot == 0:
            raise FlagError(
                "--also: needs a network that learns from supports, not --shot=0; allowed: --shot=1 or more"
            )
        sources = []
        for text in self.also:
            way, _, shot = text.partition("x")
            if not (way.isdecimal() and shot.isdecimal() and int(shot) > 0):
                raise FlagError(f"--also={text}: not understood; allowed: {allowed}")
            if (int(way), int(shot)) == (data.way, data.shot) or self.also.count(text) > 1:
                raise FlagError(f"--also={text}: is measured already; allowed: other {allowed}")
            sizes = {"way": int(way), "shot": int(shot), "query": data.query}
            test = splits.test.arrays["query"].episodes.source
            sources.append(episodes(test, data.test_episodes, **sizes, seed=TEST_SEED))
        return sources


def episode_panels(context: ReportContext) -> list:
    """Show the accuracy beside what is trivial, an episode, and the curves.

    Returns:
      Report panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.few_shot import accuracies, episode

    test = context.data.test[np.arange(1)]
    logits = np.asarray(context.outputs["logits"][0])
    return [
        accuracies(context.numbers, context.spec),
        episode(test.get("support"), test["query"], logits),
        curves(context.history),
    ]

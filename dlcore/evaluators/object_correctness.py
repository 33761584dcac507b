"""The share of samples in which the objects that their prompt names are there."""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np

from dlcore.data.captioned_shapes import words_of
from dlcore.data.splits import Splits
from dlcore.evaluators.clip_score import clip_score_evaluator
from dlcore.experiment.parts import Run
from dlcore.generative.text_networks import correct_objects
from dlcore.learner import Evaluator, Range
from dlcore.setting import Setting
from dlcore.weights import published_clip

__all__ = ["ObjectCorrectness"]


@dataclasses.dataclass(frozen=True)
class ObjectCorrectness:
    """At the end of a run, the share of the objects of test prompts that are seen in samples, and their CLIP score.

    Args:
      num_samples: samples for prompts of the test split, at the end of a run
    """

    num_samples: Annotated[int, Range(2)] = 400

    metric: ClassVar[str] = "loss"
    mode: ClassVar[str] = "min"
    headline: ClassVar[str] = "object_correctness"
    settings: ClassVar[dict[str, Setting]] = published_clip.SETTINGS

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Say what is measured."""
        message = f"object_correctness: {self.num_samples} samples of test prompts, shapes read without a network"
        return splits._replace(notes=(*splits.notes, message))

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of samples of test prompts, at the end of a run: their objects, and their CLIP score."""
        source, words = splits.test.take(self.num_samples), words_of(run.facts)
        result = [correct_objects(run.facts, source)]
        if run.flags.clip is not None:
            clip = published_clip.open_clip(run.flags.clip)

            def encode(rows: dict) -> np.ndarray:
                return clip.encode_texts([words.decode(tokens) for tokens in rows["tokens"]])

            encode(source[:])  # a prompt that is too long is an error before training
            result.append(clip_score_evaluator(clip.encode_images, encode, source))
        return [] if split == "valid" else result

"""Clips of drawn frames, whose middle frame is the image that features are measured on."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

from dlcore.data.facts import Facts
from dlcore.data.images import labeled_batch
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.splits import Splits, batch_facts
from dlcore.learner import Range

__all__ = ["FrameClips"]

HELD_OUT = 500
"""Largest number of clips of the validation and of the test split."""


@dataclasses.dataclass(frozen=True)
class FrameClips:
    """Synthetic clips, of which the features of single frames are measured.

    Args:
      draw: (count, seed) -> clips, with one frame of each as `image`, [N, H, W, C] uint8, and its `label`.
      dataset: name of the data set.
      frame_classes: names of the classes of the frames, by which features are measured.
      num_clips: training clips
    """

    draw: Callable[[int, int], Source]
    dataset: Annotated[str, "no flag"]
    frame_classes: Annotated[Sequence[str], "no flag"]
    num_clips: Annotated[int, Range(20)] = 2000

    reads_files: ClassVar[bool] = True

    def load(self, seed: int = 0) -> Splits:
        """Draw the splits.

        Args:
          seed: seed of the clips.

        Returns:
          The splits.
        """
        held_out = min(HELD_OUT, self.num_clips)
        counts = (self.num_clips, held_out, held_out)
        train, valid, test = (self.draw(n, 3 * seed + k) for k, n in enumerate(counts))
        pixels = train.arrays["image"] / 255
        facts = Facts(
            dataset=self.dataset,
            class_names=tuple(self.frame_classes),
            image_shape=pixels.shape[1:],
            mean=tuple(pixels.mean((0, 1, 2)).tolist()),
            std=tuple(pixels.std((0, 1, 2)).tolist()),
            batch=batch_facts(train) | labeled_batch(pixels.shape[1:]),
        )
        return Splits(train, valid, test, facts.spec())

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique `prepare`, to floats in [0, 1], and `normalize`."""
        facts = run.facts
        return {"prepare": normalizer((0.0,), (1.0,)), "normalize": normalizer(facts.mean, facts.std, dtype=run.dtype)}

"""Labeled images, of which some training labels are wrong."""

import dataclasses
from typing import Annotated, Any

from dlcore.data.images import MadeOfImages
from dlcore.data.splits import Splits
from dlcore.learner import Range
from dlcore.semi_supervised.noisy_labels import Noise, corrupt_labels, transition_matrix

__all__ = ["NoisyImages"]


@dataclasses.dataclass(frozen=True)
class NoisyImages(MadeOfImages):
    """Labeled images, of which some training labels are wrong.

    Args:
      images: the images by name
      noise: a wrong label is any other class, or the next one (asymmetric)
      noise_rate: share of the training labels that are wrong
    """

    noise: Annotated[Noise, "essential"] = "symmetric"
    noise_rate: Annotated[float, Range(0, 0.95), "essential"] = 0.4

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, of which the training labels are noisy.

        Args:
          seed: seed of the splits and of the noise.
          min_classes: least number of classes.
        """
        splits = self.images.load(seed, min_classes)
        transition = transition_matrix(splits.spec["num_classes"], self.noise_rate, self.noise)
        train = corrupt_labels(splits.train, transition, seed)
        noise_fraction = (train.arrays["label"] != train.arrays["hidden_label"]).mean()
        message = (
            f"{noise_fraction:.1%} of the {len(train):,} training labels are wrong ({self.noise} noise of seed "
            f"{seed}); those of validation, by which early stopping stops, and of test are right"
        )
        return splits._replace(
            train=train, spec=splits.spec | {"transition": transition.tolist()}, notes=(*splits.notes, message)
        )

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `preprocess`, `augment` and `transition`."""
        transition = transition_matrix(run.facts.num_classes, self.noise_rate, self.noise)
        return {**self.images.arguments(run), "transition": transition}

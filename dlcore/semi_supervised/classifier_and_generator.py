"""A generator beside the classifier of a few labeled images, which is its discriminator."""

import dataclasses
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from dlcore.models.encoder import Encoder
from dlcore.models.network import NetworkFields, Zoo
from dlcore.self_supervised import encoders

__all__ = ["ClassifierAndGenerator"]


@dataclasses.dataclass(frozen=True)
class ClassifierAndGenerator(NetworkFields):
    """A classifier of the zoo, which is the discriminator, and a generator of images.

    Args:
      backbone: the classifier.
      generator: class of the generator with the fields `shape` and `dtype`, or a `functools.partial`.
    """

    backbone: Zoo
    generator: Callable[..., nn.Module]

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique `model` and `generator`."""
        generator = self.generator(tuple(run.facts.image_shape), dtype=run.dtype)
        return {**self.backbone.arguments(run), "generator": generator}

    def encoder(self, run: Any) -> Encoder:
        """Describe the classifier in the learner's state, for fine-tuning."""

        def variables(state: Any) -> dict[str, Any]:
            return {"params": state.params["discriminator"], **state.model_state["discriminator"]}

        return encoders.encoder(run, variables=variables)

"""A generator beside the classifier of a few labeled images, which is its discriminator."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from flax import linen as nn

from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.splits import Splits
from dlcore.kits.self_supervised import encoders
from dlcore.learner import Evaluator, Range
from dlcore.models.network import Zoo
from dlcore.optim import AdamW, create_optimizer
from dlcore.report.context import ReportContext
from dlcore.semi_supervised.gan_classifier import low_density

__all__ = ["ClassifierAndGenerator", "LowDensity", "TwoPlayersAdamW", "generated_images"]

SHOWN = 64
"""Generated images in the report."""


@dataclasses.dataclass(frozen=True)
class ClassifierAndGenerator:
    """A classifier of the zoo, which is the discriminator, and a generator of images.

    Args:
      backbone: the classifier.
      generator: class of the generator with the fields `shape` and `dtype`, or a `functools.partial`.
    """

    backbone: Zoo
    generator: Callable[..., nn.Module]

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The generator by the prefix of its flags."""
        return {"generator": self.generator}

    def with_flags(self, flags: Flags) -> "ClassifierAndGenerator":
        """Return the networks with the values of their flags in their fields."""
        generator = partial(self.generator, **flags.group("generator"))
        return ClassifierAndGenerator(self.backbone.with_flags(flags), generator)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique `model` and `generator`."""
        generator = self.generator(tuple(run.facts.image_shape), dtype=run.dtype)
        return {**self.backbone.arguments(run), "generator": generator}

    def encoder(self, run: Run) -> Encoder:
        """Describe the classifier in the learner's state, for fine-tuning."""

        def variables(state: Any) -> dict[str, Any]:
            return {"params": state.params["discriminator"], **state.model_state["discriminator"]}

        return encoders.encoder(run, variables=variables)


@dataclasses.dataclass(frozen=True)
class TwoPlayersAdamW(AdamW):
    """AdamW of the classifier, and Adam of the generator.

    Args:
      generator_learning_rate: learning rate of the generator's Adam, constant
    """

    generator_learning_rate: Annotated[float, Range(0)] = 3e-4

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique its `generator_optimizer`."""
        return {"generator_optimizer": create_optimizer("adam", self.generator_learning_rate, momentum=0.5)}


class LowDensity:
    """How often a generated image is less likely than a real one."""

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluator of `low_density`."""
        return [low_density()]


def generated_images(context: ReportContext) -> list:
    """Show images of the generator.

    Returns:
      Report panels.
    """
    from dlcore.report.generative import sample_grid

    caption = "Drawn at random. A complement generator is to draw what is almost a digit."
    return [sample_grid(context.outputs["sample"][:SHOWN], "Generated images", caption)]

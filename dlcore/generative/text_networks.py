"""The U-Net that a prompt conditions, and whether its samples have the objects that the prompt names."""

import dataclasses
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from dlcore.data.captioned_shapes import words_of
from dlcore.data.captions import named_objects
from dlcore.data.facts import Facts
from dlcore.data.shape_grid import read_shapes
from dlcore.data.source import Source
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.text_to_image import TextUNet, WordEncoder, object_correctness, prompt_condition
from dlcore.learner import Evaluator
from dlcore.models.network import NetworkFields

__all__ = ["TextConditionalUNet"]


@dataclasses.dataclass(frozen=True)
class TextConditionalUNet(NetworkFields):
    """A U-Net with cross-attention to the words of a prompt; its flags are `--unet.FIELD` and `--words.FIELD`.

    Args:
      unet: `ConditionalUNet`, or a `functools.partial`.
      words: `WordEncoder`, or a `functools.partial`.
    """

    unet: Callable[..., nn.Module] = ConditionalUNet
    words: Callable[..., nn.Module] = WordEncoder

    def build(self, run: Any) -> TextUNet:
        """Build the network for the vocabulary of the data.

        Args:
          run: the run.
        """
        return TextUNet(self.words(len(words_of(run.facts))), self.unet(dtype=run.dtype))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`, and its condition."""
        return {"model": self.build(run), "condition": prompt_condition()}


def correct_objects(facts: Facts, source: Source) -> Evaluator:
    """Build the evaluator of the objects in samples: are they those that the prompts name?

    Args:
      source: source with `tokens`.

    Returns:
      The evaluator, see `object_correctness`.
    """
    words = words_of(facts)
    return object_correctness(
        lambda image: read_shapes(image, facts.grid),
        lambda rows: [named_objects(words.decode(tokens)) for tokens in rows["tokens"]],
        source,
    )

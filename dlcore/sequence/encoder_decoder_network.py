"""Networks that read one sequence and write another."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from flax import linen as nn

from dlcore.data.sentence_pairs import vocabularies
from dlcore.learner import check_record
from dlcore.models.transformer import Transformer
from dlcore.sequence.recurrent_encoder_decoder import RecurrentEncoderDecoder

__all__ = ["EncoderDecoder", "log_vocabulary"]


@dataclasses.dataclass(frozen=True)
class EncoderDecoder:
    """A network that reads the source and writes the target.

    Args:
      model: rnn: all passes through one vector; attention: the same with attention to the source; transformer
      transformer: fields of `Transformer`, the flags `--transformer.FIELD`.
      rnn: fields of `RecurrentEncoderDecoder`, the flags `--rnn.FIELD`, with attention or without.
    """

    model: Annotated[Literal["rnn", "attention", "transformer"], "essential"] = "transformer"
    transformer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rnn: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_record(self)

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The networks by the prefix of their flags."""
        return {
            "rnn": partial(RecurrentEncoderDecoder, **self.rnn),
            "transformer": partial(Transformer, **self.transformer),
        }

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        source, target = vocabularies(run.facts)
        sizes = len(target), None if source is target else len(source)
        if self.model == "transformer":
            return {"model": Transformer(*sizes, **self.transformer, dtype=run.dtype)}
        attention = "additive" if self.model == "attention" else "none"
        return {"model": RecurrentEncoderDecoder(*sizes, attention, **self.rnn, dtype=run.dtype)}


def log_vocabulary(run: Any) -> float:
    """Compute the initial loss of equally probable tokens.

    Returns:
      Nats.
    """
    return math.log(len(vocabularies(run.facts)[1]))

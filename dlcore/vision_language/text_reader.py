"""Networks that read a string in an image."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from flax import linen as nn

from dlcore.data.words import vocabulary_from_dict
from dlcore.setting import FlagError
from dlcore.vision_language import text_reading

__all__ = ["TextReader"]


@dataclasses.dataclass(frozen=True)
class TextReader:
    """A network that reads, by attention or by CTC.

    Args:
      model: attention: an LSTM that looks before each character; ctc
      encoder: fields of `TextEncoder`, the flags `--encoder.FIELD`.
      attention: fields of `AttendingReader`, the flags `--attention.FIELD`.
    """

    model: Annotated[str, "essential"] = "attention"
    encoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    attention: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The networks by the prefix of their flags."""
        return {
            "encoder": partial(text_reading.TextEncoder, **self.encoder),
            "attention": partial(text_reading.AttendingReader, **self.attention),
        }

    def check(self, run: Any) -> None:
        """Check the name of the network."""
        if self.model not in ("attention", "ctc"):
            raise FlagError(f"--model={self.model}: unknown; allowed: attention, ctc")

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        size, dtype = len(vocabulary_from_dict(run.facts.vocabulary)), run.dtype
        encoder = text_reading.TextEncoder(**self.encoder, dtype=dtype)
        if self.model == "ctc":
            return {"model": text_reading.CTCReader(encoder, size, dtype=dtype)}
        return {"model": text_reading.AttendingReader(encoder, size, **self.attention, dtype=dtype)}

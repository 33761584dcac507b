"""Networks by name that write captions."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from flax import linen as nn

from dlcore.data.words import vocabulary_from_dict
from dlcore.learner import check_record
from dlcore.models.resnet_cifar import CifarResNet
from dlcore.vision_language.caption_rnn import CaptionRNN
from dlcore.vision_language.caption_transformer import CaptionTransformer
from dlcore.vision_language.show_attend_tell import ShowAttendTell

__all__ = ["CaptionNetwork"]


@dataclasses.dataclass(frozen=True)
class CaptionNetwork:
    """A network that writes the caption of an image, on a backbone.

    Args:
      model: rnn, lstm, gru: the image is one vector; attention: an LSTM that looks at a grid; transformer
      backbone: small: a residual network by --small.FIELD; or a name of `dlcore models`
      recurrent: fields of `CaptionRNN`, the flags `--recurrent.FIELD` of rnn, lstm and gru.
      attention: fields of `ShowAttendTell`, the flags `--attention.FIELD`.
      transformer: fields of `CaptionTransformer`, the flags `--transformer.FIELD`.
      small: fields of the small backbone; without `stages` there are as many stages of one block as leave a grid of
        about 8 x 8 positions.
    """

    model: Annotated[Literal["rnn", "lstm", "gru", "attention", "transformer"], "essential"] = "attention"
    backbone: Annotated[str, "essential"] = "small"
    recurrent: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    attention: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    transformer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    small: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_record(self)

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The networks by the prefix of their flags."""
        small = {"stages": (), "stem_stride": 2, "width": 24, **self.small}
        return {
            "recurrent": partial(CaptionRNN, **self.recurrent),
            "attention": partial(ShowAttendTell, **self.attention),
            "transformer": partial(CaptionTransformer, **self.transformer),
            "small": partial(CifarResNet, **small),
        }

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        from dlcore.models import create_model

        modules, size = self.modules, len(vocabulary_from_dict(run.facts.vocabulary))
        name, fields = self.backbone, {}
        if name == "small":
            name, fields = "resnet8_cifar", dict(modules["small"].keywords)
            halvings = max(1, round(math.log2(run.facts.image_shape[0] / 8)))
            fields["stages"] = fields["stages"] or (1,) * halvings  # the stem is one of them
        backbone = create_model(name, num_classes=1, dtype=run.dtype, **fields)
        if self.model in ("attention", "transformer"):
            return {"model": modules[self.model](backbone, size, dtype=run.dtype)}
        return {"model": modules["recurrent"](backbone, size, self.model, dtype=run.dtype)}

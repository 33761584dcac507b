"""BLIP's answers to questions: a reader of an image and a question, and a decoder that writes the answer.

    memory = BERT(question; image's tokens);   logits = head(decoder(answer's tokens, memory))

Li et al. 2022, arXiv:2201.12086. See `dlcore.models.blip` for the reader, `image_to_text` for the decoder.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.models import blip
from dlcore.models.image_to_text import ImageToText
from dlcore.models.image_to_text_names import BERT_NAMES, OLDER, OPTIONAL
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.weight_files import unwrap_state_dict

__all__ = ["MODELS", "BLIPAnswers", "example_inputs", "from_torch_names"]


class BLIPAnswers(ImageToText):
    """A writer of answers: ((images, questions), tokens [B, T]) -> logits [B, T, V] of the token after each.

    All fields of `ImageToText`; the tower is a `BLIP` of head states.
    """

    tower: Any

    def encode(self, source: Any, train: bool = False, mask: jax.Array | None = None) -> dict[str, Any]:
        """Read images and questions.

        Args:
          source: (images [B, H, W, C], questions [B, S] int).
          mask: [B, S] bool, True where a question has a token; None: everywhere.

        Returns:
          The memory: `states: [B, S, width]`, and `mask`: None, for the published decoder attends to padding too.
        """
        images, questions = source
        return {"states": self.tower(images, questions, mask), "mask": None}


def example_inputs(model: BLIPAnswers) -> tuple[Any, jax.Array]:
    """Build ((an image [1, H, W, C], a question [1, 1]), tokens [1, 1])."""
    return blip.example_inputs(model.tower), jnp.zeros((1, 1), jnp.int32)


def from_torch_names(model: BLIPAnswers, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of BlipForQuestionAnswering of transformers."""
    entries = unwrap_state_dict(state_dict)
    words = {key: value for key, value in entries.items() if key.startswith("text_decoder.")}
    rest = {key: value for key, value in entries.items() if key not in words}
    params = dict(jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))["params"])
    del params["tower"]
    decoder = fill_from_torch(
        {"params": params}, words, BERT_NAMES, what="BLIP's decoder", older=OLDER, optional=OPTIONAL
    )
    tower = blip.from_torch_names(model.tower, rest)
    return {"params": {**decoder["params"], "tower": tower["params"]}}


_base = functools.partial(
    BLIPAnswers,
    vocab_size=30524,
    num_heads=12,
    width=768,
    mlp_features=3072,
    offset=0,
    head="bert",
    epsilon=1e-12,
)
MODELS = {"blip_answers_base": functools.partial(_base, tower=blip.MODELS["blip_match_base"](head="states"))}

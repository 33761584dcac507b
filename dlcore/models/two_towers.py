"""Chinese CLIP and AltCLIP: an image tower of CLIP and a BERT that put an image and its caption at the same place.

Yang et al., "Chinese CLIP" (2022), arXiv:2211.01335;  Chen et al., "AltCLIP" (2022), arXiv:2211.06679.

    image   W_i LN(class token);    text   W_t BERT(tokens)[first],  in AltCLIP  W_t (W LN(RoBERTa(tokens)[first]) + b)
    both    to length 1, and a learned scale exp(s)

Weights are those of transformers' ChineseCLIPModel and AltCLIPModel.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import bert, image_tower
from dlcore.models.bert import BERT
from dlcore.models.clip import CLIP, unit
from dlcore.models.fields import CheckedFields
from dlcore.models.image_tower import ImageTower
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.nn import Dense, LayerNorm

__all__ = ["MODELS", "TwoTowers", "example_inputs", "from_torch_names"]


class TwoTowers(CheckedFields):
    """An image tower and a text tower into one space.

    Args:
      image: network whose call on images [B, H, W, 3] gives [B, C].
      text: the text's BERT.
      embedding_size: D, of the shared space.
      text_width: features of a text between a norm with a linear layer and the shared space; None: there is neither.
      dtype: dtype of the computation; None takes the parameters'.
    """

    image: ImageTower
    text: BERT
    embedding_size: Annotated[int, Range(1)] = 512
    text_width: Annotated[int, Range(1)] | None = None
    dtype: Any = None

    TORCH_NAMES = (
        (r"^image_head\.", "visual_projection."),
        (r"^text_head\.", "text_projection."),
        (r"^text_norm\.", "text_model.pre_LN."),
        (r"^text_transform\.", "text_model.transformation."),
    )

    def setup(self) -> None:
        """Build what stands behind the towers."""
        self.image_head = Dense(self.embedding_size, use_bias=False, dtype=self.dtype)
        self.text_head = Dense(self.embedding_size, use_bias=False, dtype=self.dtype)
        if self.text_width is not None:
            self.text_norm = LayerNorm(self.text.epsilon, dtype=self.dtype)
            self.text_transform = Dense(self.text_width, dtype=self.dtype)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(np.log(1 / 0.07)), ())

    def __call__(
        self, images: jax.Array, tokens: jax.Array, mask: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Encode images and texts.

        Args:
          images: [B, H, W, 3], normalized.
          tokens: [B', T] int.
          mask: [B', T] bool, True where there is a token and not padding; None: everywhere.

        Returns:
          (images [B, D], texts [B', D], both of length 1, and the scale of cosines).
        """
        return self.encode_image(images), self.encode_text(tokens, mask), self.scale()

    def scale(self) -> jax.Array:
        """Read the factor of the cosines, []."""
        return jnp.exp(self.logit_scale)

    def encode_image(self, images: jax.Array) -> jax.Array:
        """Encode images: [B, H, W, 3], normalized -> [B, D], of length 1, at least float32."""
        return unit(self.image_head(self.image(images)))

    def encode_text(
        self, tokens: jax.Array, mask: jax.Array | None = None, segments: jax.Array | None = None
    ) -> jax.Array:
        """Encode texts.

        Args:
          tokens: [B, T] int.
          mask: [B, T] bool, True where there is a token and not padding; None: everywhere.
          segments: [B, T] int, the segment of each token; None: all are in the first.

        Returns:
          [B, D], of length 1, at least float32.
        """
        x = self.text.features(tokens, mask=mask, segments=segments)[:, 0]
        if self.text_width is not None:
            x = self.text_transform(self.text_norm(x))
        return unit(self.text_head(x))


def example_inputs(model: TwoTowers) -> tuple[Any, jax.Array]:
    """Build (an image [1, H, W, 3], a token [1, 1])."""
    return image_tower.example_inputs(model.image)[0], jnp.zeros((1, 1), jnp.int32)


def from_torch_names(model: TwoTowers, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers' ChineseCLIPModel or AltCLIPModel."""
    entries = dict(unwrap_state_dict(state_dict))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))["params"]

    def taken(prefix: str) -> dict[str, Any]:
        return {name: entries.pop(name) for name in list(entries) if name.startswith(prefix)}

    image = image_tower.from_torch_names(model.image, taken("vision_model."))["params"]
    prefix = "text_model." if model.text_width is None else "text_model.roberta."
    text = {name.removeprefix(prefix): value for name, value in taken(prefix).items()}
    buffers = ("position_ids", "token_type_ids")
    text_entries = {name: value for name, value in text.items() if not name.endswith(buffers)}
    older = (*bert.TORCH_OLD_NAMES, (r"^encoder\.layers\.", "encoder.layer."))  # AltCLIP's of transformers 5
    rules = {"older": older, "optional": bert.TORCH_OPTIONAL}
    text = fill_from_torch({"params": shapes["text"]}, text_entries, bert.TORCH_NAMES, what="BERT", **rules)["params"]
    rest = {"params": {name: tree for name, tree in shapes.items() if name not in ("image", "text")}}
    rest = fill_from_torch(rest, entries, model.TORCH_NAMES, what=type(model).__name__)["params"]
    return {"params": {"image": image, "text": text, **rest}}


def _image(width: int, depth: int, patch_size: int) -> ImageTower:
    sizes: dict[str, Any] = {"vision_width": width, "vision_heads": width // 64, "vision_depth": depth}
    return ImageTower(CLIP(vocab_size=1, end_token=0, patch_size=patch_size, **sizes))


MODELS = {
    "chinese_clip_vit_b_16": functools.partial(
        TwoTowers, image=_image(768, 12, 16), text=BERT(vocab_size=21128, window=512, head="pooled")
    ),
    "altclip_vit_l_14": functools.partial(
        TwoTowers,
        image=_image(1024, 24, 14),
        text=BERT(
            vocab_size=250002,
            window=512,
            num_layers=24,
            num_heads=16,
            width=1024,
            mlp_features=4096,
            num_segments=1,
            head="pooled",
            epsilon=1e-5,
            pad_token=1,
        ),
        embedding_size=768,
        text_width=768,
    ),
}

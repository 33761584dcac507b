"""The image tower of a CLIP or SigLIP alone, with a classifier on the mean of its tokens, or without.

Radford et al., "Learning transferable visual models from natural language supervision" (2021), arXiv:2103.00020;
Zhai et al., "Sigmoid loss for language image pre-training" (2023), arXiv:2303.15343.

    tokens = blocks(patches + P), normalized in a SigLIP;   logits = W mean over patches + b

Weights are those of transformers' classes `*VisionModel` and `*ForImageClassification` of CLIP, MetaCLIP 2, SigLIP and
SigLIP 2; the text's side has no parameters here.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.models import clip
from dlcore.models.clip import CLIP
from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import Dense

__all__ = ["MODELS", "ImageTower", "example_inputs", "from_torch_names"]


class ImageTower(CheckedFields):
    """An image tower and a linear head.

    Args:
      tower: a CLIP, SigLIP or SigLIP 2, of which only the image's side is used.
      num_classes: number of classes; 0: no head, a call gives the vector before the shared space.
    """

    tower: CLIP
    num_classes: Annotated[int, "if changed"] = 0

    @nn.compact
    def __call__(self, images: Any, train: bool = False) -> jax.Array:
        """Classify images.

        Args:
          images: [B, H, W, 3], or packed images of a SigLIP 2.
          train: unused, as nothing drops.

        Returns:
          [B, num_classes], the logits; [B, width] without classes.
        """
        _, pooled, mean = self.tower.describe_image(images)
        if self.num_classes == 0:
            return pooled
        return Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(mean)

    def tokens(self, images: Any, train: bool = False) -> jax.Array:
        """Describe patches: [B, H, W, 3] -> [B, T, width], the class token of a CLIP first."""
        return self.tower.describe_image(images)[0]


MODELS = {"clip_vision_b_32": functools.partial(ImageTower, tower=clip.MODELS["clip_vit_b_32"]())}
OLDER = ((r"^(?=(embeddings|encoder|pre_layrnorm|post_layernorm|head)\.)", "vision_model."),)
"""Names of `*VisionModel`."""


def example_inputs(model: ImageTower) -> tuple[Any]:
    """Build (an image [1, H, W, 3], or in the form that the tower reads,)."""
    return (clip.example_inputs(model.tower)[0],)


def from_torch_names(model: ImageTower, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of one of transformers' classes `*VisionModel` and `*ForImageClassification`."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    of_texts = {"logit_scale", "logit_bias"} & shapes["params"]["tower"].keys()
    entries = {name: np.zeros(shapes["params"]["tower"][name].shape, np.float32) for name in of_texts}
    state_dict = {("vision_model." + k if k.startswith("head.") else k): v for k, v in state_dict.items()}
    entries |= clip.published_entries(model.tower, state_dict)
    rules = ((r"^head\.", "classifier."), (r"^tower\.", ""), *clip.TORCH_NAMES)
    return fill_from_torch(shapes, entries, rules, what="ImageTower", older=OLDER)

"""Data-efficient image transformers: ViTs that learn from a teacher through a distillation token.

Touvron et al., "Training data-efficient image transformers & distillation through attention" (2020), arXiv:2012.12877.

    z = [class token; distillation token; patches E] + positions,  then the encoder of `dlcore.models.vit`
    class logits = head(LN(z)[0]),  distillation logits = head_dist(LN(z)[1]);   at inference their mean
    loss = (CE(class logits, label) + CE(distillation logits, argmax teacher)) / 2

The paper's teacher is a convolutional network, whose locality the student adopts. Training uses
`model.apply(variables, x, train=True, method="auxiliary")`, which returns both logits, and
`dlcore.losses.hard_distillation_loss`. Names and initial values are timm's; without the distillation token the model is
a ViT under those names. Weights may be timm's, the authors' or transformers' (with `epsilon=1e-12`).
"""

import functools
from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.models import vit
from dlcore.models.vit import ViT
from dlcore.nn.initializers import torch_default

__all__ = ["MODELS", "DeiT"]

TORCH_NAMES = vit.TIMM_NAMES
TORCH_LAYOUTS = (vit.TRANSFORMERS, vit.TIMM)
from_torch = vit.from_torch


class DeiT(ViT):
    """A vision transformer with a second token that learns the teacher's predictions; stages are those of `ViT`.

    All fields of `ViT`.

    Args:
      pool: token; a DeiT allows nothing else.
      token_last: False; a DeiT allows nothing else.
      distilled: False leaves out the distillation token and its head.
      second_head: False leaves out the distillation token's head; the token stays.
    """

    distilled: bool = True
    second_head: Annotated[bool, "if changed"] = True

    pools = ("token",)
    moves_token = False

    INITS = {
        "patch": torch_default(),
        "token": nn.initializers.normal(1e-6),
        "kernel": nn.initializers.normal(0.02),
        "out": nn.initializers.normal(0.02),
        "bias": nn.initializers.zeros,
    }

    @nn.compact
    def all_tokens(
        self, x: jax.Array, masked: jax.Array | None = None, mask_token: jax.Array | None = None
    ) -> jax.Array:
        """Encode images of which some patches may be hidden; nothing of the heads is computed.

        Args:
          x: [B, H, W, C], images.
          masked: [B, N] bool, patches in whose place `mask_token` stands; None: none.
          mask_token: [width], in place of an embedded patch; None where `masked` is None.

        Returns:
          [B, T + N, width] after the last norm: the class token, the distillation token of a distilled model, patches.
        """
        return self._encode(x, False, self._front(), masked, mask_token)[0]

    def _front(self) -> dict[str, Any]:
        front = {"cls_token": self.INITS["token"]}
        return front | ({"dist_token": nn.initializers.normal(0.02)} if self.distilled else {})

    def auxiliary(self, x: jax.Array, train: bool = True) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classify images by each of the two heads.

        Args:
          x: [B, H, W, C], images.

        Returns:
          The class logits [B, num_classes], and {"distillation": the teacher head's logits [B, num_classes]}.
        """
        if not (self.distilled and self.second_head):
            raise ValueError(
                f"distilled={self.distilled}, second_head={self.second_head}: no second head; allowed: True, True"
            )
        return self._forward(x, train, True)[2]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool, head: bool) -> tuple:
        tokens, maps = self._encode(x, train, self._front())
        if not head:
            return None, maps
        logits = self._classify(tokens[:, 0], "head")
        if not (self.distilled and self.second_head):
            return logits, maps
        distillation = self._classify(tokens[:, 1], "head_dist")
        return (logits + distillation) / 2, maps, (logits, {"distillation": distillation})


def _variant(width: int, num_heads: int, **fields: Any) -> functools.partial:
    return functools.partial(DeiT, width=width, num_heads=num_heads, mlp_features=4 * width, **fields)


SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
MODELS = {
    **{f"deit_{size}_patch16_224": _variant(*numbers, distilled=False) for size, numbers in SIZES.items()},
    **{f"deit_{size}_distilled_patch16_224": _variant(*numbers) for size, numbers in SIZES.items()},
}

"""Data-efficient image transformers: ViTs that learn from a teacher through a token of its own.

Touvron et al., "Training data-efficient image transformers & distillation through attention" (2020), arXiv:2012.12877.

    z = [class token; distillation token; patches E] + positions,  then the encoder of `dlcore.models.vit`
    class logits = head(LN(z)[0]),  distillation logits = head_dist(LN(z)[1]);   in use their mean
    loss = (CE(class logits, label) + CE(distillation logits, argmax teacher)) / 2

The teacher of the paper is a convolutional network, whose locality the student takes over. For training take
`model.apply(variables, x, train=True, method="auxiliary")`, which keeps the two apart, and
`dlcore.losses.hard_distillation_loss`. Names and initial values are
timm's; without the distillation token it is a ViT under those names.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models import vit
from dlcore.models.vit import ViT
from dlcore.nn.initializers import torch_default

__all__ = ["MODELS", "DeiT"]

TORCH_NAMES = ((r"^patch_embed\.", "patch_embed.proj."), (r"^pos_embed\.weight", "pos_embed"))
from_torch = vit.from_torch


class DeiT(ViT):
    """A vision transformer whose second token answers as the teacher does; fields and stages are those of `ViT`.

    distilled: False leaves that token and its head out. pool is "token".
    """

    distilled: bool = True

    INITS = {
        "patch": torch_default(),
        "token": nn.initializers.normal(1e-6),
        "kernel": nn.initializers.normal(0.02),
        "out": nn.initializers.normal(0.02),
        "bias": nn.initializers.zeros,
    }

    def auxiliary(self, x: jax.Array, train: bool = True) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(class logits [B, num_classes], {"distillation": logits}); ValueError where there is no such token."""
        if not self.distilled:
            raise ValueError("distilled is False: this DeiT has no distillation token")
        return self._forward(x, train)[2]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool) -> tuple:
        if self.pool != "token":
            raise ValueError(f"pool is {self.pool!r}: token alone is allowed in a DeiT")
        front = {"cls_token": self.INITS["token"]}
        if not self.distilled:
            tokens, maps = self._encode(x, train, front)
            return self._head(tokens[:, 0], "head"), maps
        tokens, maps = self._encode(x, train, front | {"dist_token": nn.initializers.normal(0.02)})
        logits, taught = self._head(tokens[:, 0], "head"), self._head(tokens[:, 1], "head_dist")
        return (logits + taught) / 2, maps, (logits, {"distillation": taught})


def _variant(width: int, num_heads: int, **fields: Any) -> functools.partial:
    return functools.partial(DeiT, width=width, num_heads=num_heads, mlp_features=4 * width, **fields)


SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
MODELS = {
    **{f"deit_{size}_patch16_224": _variant(*numbers, distilled=False) for size, numbers in SIZES.items()},
    **{f"deit_{size}_distilled_patch16_224": _variant(*numbers) for size, numbers in SIZES.items()},
}

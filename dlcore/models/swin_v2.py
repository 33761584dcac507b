"""Swin transformers V2: attention by cosines, a bias that a perceptron computes from offsets, and norms after branches.

Liu et al., "Swin transformer V2: scaling up capacity and resolution" (2021), arXiv:2111.09883. The stages, windows and
shifts of `dlcore.models.swin`, whose blocks differ:

    block      z = z + LN(W-MSA(z)),  z = z + LN(MLP(z))             norms after the branches keep deep networks calm
    W-MSA      softmax(t_h cos(Q, K) + B) V,   t_h = exp(a learned logit_scale), at most 100
    B          16 sigmoid(perceptron(s(y_i - y_j), s(x_i - x_j))),   s(d) = sign(d) log_2(1 + 8 |d| / (M - 1)) / 3
    merging    the 4 C values of 2 x 2 neighbors -> linear to 2 C -> LN

The perceptron gives biases for windows of any size, so that `window_size` may grow after a training on small images;
`pretrained_window` then keeps its scale of offsets. Queries and values have a bias, keys none: torchvision stores zeros
for theirs and counts them. Names are torchvision's; those of transformers, timm and Microsoft's files load too.
"""

import functools
from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import swin
from dlcore.models.swin import PatchMerging, Swin, SwinBlock
from dlcore.models.torch_weights import Layout
from dlcore.models.vit import qkv_bias_part
from dlcore.nn import LayerNorm, drop_path
from dlcore.nn.position import ContinuousPositionBias

__all__ = ["MODELS", "PatchMergingV2", "SwinBlockV2", "SwinV2"]

_BIAS = ((r"\.bias_mlp\.hidden\.", ".attn.cpb_mlp.0."), (r"\.bias_mlp\.out\.", ".attn.cpb_mlp.2."))
TORCH_NAMES = (
    *_BIAS,
    (r"\.attn\.[qv]_bias$", ".attn.qkv.bias"),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
)
TORCH_IGNORED = r"\.relative_(position_index|coords_table)$"
from_torch = qkv_bias_part


def _timm(layout: Layout) -> Layout:
    """Return the names of timm's Swin V2, of those of its Swin."""
    return layout._replace(names=(*layout.names, *_BIAS), ignored=rf"{layout.ignored}|{TORCH_IGNORED}")


TORCH_LAYOUTS = (
    Layout(
        r"^embeddings\.patch_embeddings\.",
        names=(
            *swin.TRANSFORMERS_NAMES,
            (r"\.bias_mlp\.hidden\.", ".attention.self.continuous_position_bias_mlp.0."),
            (r"\.bias_mlp\.out\.", ".attention.self.continuous_position_bias_mlp.2."),
            (r"\.attn\.logit_scale$", ".attention.self.logit_scale"),
            (r"\.attn\.q_bias$", ".attention.self.query.bias"),
            (r"\.attn\.v_bias$", ".attention.self.value.bias"),
            (
                r"^(.*)\.attn\.qkv\.(.*)",
                r"\1.attention.self.query.\2 + \1.attention.self.key.\2 + \1.attention.self.value.\2",
            ),
            (r"\.attn\.proj\.", ".attention.output.dense."),
            (r"\.mlp\.fc1\.", ".intermediate.dense."),
            (r"\.mlp\.fc2\.", ".output.dense."),
        ),
        older=((r"^swinv2\.", ""),),
        ignored=rf"{TORCH_IGNORED}|(^|\.)embeddings\.mask_token$",
    ),
    *(_timm(layout) for layout in swin.TORCH_LAYOUTS[1:]),
)
"""Swinv2ForImageClassification and Swinv2Model of transformers; Microsoft's files; timm's."""


class SwinBlockV2(SwinBlock):
    """Attention by cosines in (shifted) windows and an MLP, each with a norm and a residual connection.

    All fields of `SwinBlock`.

    Args:
      pretrained_window: side of the window whose scale of offsets stays; 0 means `window_size`.
    """

    pretrained_window: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the block."""
        for branch, name in ((self._attend, "norm1"), (self._mlp, "norm2")):
            y = LayerNorm(dtype=self.dtype, name=name)(branch(x, train))
            x = x + drop_path(y, self.drop_path, train)
        return x

    def _bias(self, window: tuple[int, ...]) -> jax.Array:
        return ContinuousPositionBias(
            window, self.num_heads, self.pretrained_window or None, dtype=self.dtype, name="bias_mlp"
        )()

    def _attention_fields(self) -> dict[str, Any]:
        return {"qkv_bias": "qv", "cosine": True}


class PatchMergingV2(PatchMerging):
    """Concatenate every 2x2 neighboring patches, project them to twice the channels and normalize them.

    All fields of `PatchMerging`.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Merge patches; an odd side is first padded by a row or column of zeros."""
        return LayerNorm(dtype=self.dtype, name="norm")(self._reduce(self._neighbors(x)))


class SwinV2(Swin):
    """A Swin transformer V2 on [B, H, W, C]; stages are those of `Swin`.

    All fields of `Swin`.

    Args:
      pretrained_window: side of the window of each stage in an earlier training, whose scale of offsets stays, such as
        (12, 12, 12, 6); 0, or an empty tuple, means that of `window_size`.
    """

    window_size: int = 8
    pretrained_window: Annotated[tuple[int, ...], Range(0)] = ()

    def _block(self) -> type[SwinBlock]:
        return SwinBlockV2

    def _block_fields(self, i: int, j: int) -> dict[str, Any]:
        return {"pretrained_window": self.pretrained_window[i] if self.pretrained_window else 0}

    def _merging(self) -> type[PatchMerging]:
        return PatchMergingV2

    def _stages(self, x: jax.Array, train: bool, *hidden: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        if self.pretrained_window and len(self.pretrained_window) != len(self.stages):
            raise ValueError(f"pretrained_window={self.pretrained_window}: wrong length; allowed: one a stage, or none")
        return super()._stages(x, train, *hidden)


MODELS = {
    "swin_v2_t": functools.partial(SwinV2),
    "swin_v2_s": functools.partial(SwinV2, stages=(2, 2, 18, 2), drop_path=0.3),
    "swin_v2_b": functools.partial(SwinV2, stages=(2, 2, 18, 2), width=128, num_heads=(4, 8, 16, 32), drop_path=0.5),
}
INPUT_SHAPES = dict.fromkeys(MODELS, (256, 256, 3))

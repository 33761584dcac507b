"""MaxxViT: CoAtNet, MaxViT and their relatives as timm publishes them.

Dai et al., "CoAtNet: marrying convolution and attention for all data sizes" (2021), arXiv:2106.04803; Tu et al.,
"MaxViT: multi-axis vision transformer" (2022), arXiv:2204.01697. `dlcore.models.coatnet` has the blocks.

    stem      conv3x3 of stride 2 -> N -> s -> conv3x3
    CoAtNet   two stages of convolutions, two of transformers whose attention sees all pixels
    MaxViT    four stages of: convolution, attention in windows, attention along a grid; of side / 32 pixels each
    CoAtNeXt, MaxxViT   ConvNeXt blocks in place of inverted residuals; MaxxViT v2 leaves the windows out

"tf" are the networks of the paper's authors; "rw" are timm's own. The tables of positions fix the image's size. Names
are timm's, but for the tables' layout and the order of queries, keys and values.
"""

import functools
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.coatnet import CONV_INIT, HEAD_FEATURES, CoAtNetConv, CoAtNetConvNeXt, CoAtNetTransformer
from dlcore.models.inputs import check_images
from dlcore.models.maxxvit_sizes import SIZES
from dlcore.nn import BatchNorm, Conv, Dense, LayerNorm, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "MaxxViT"]

TORCH_NAMES = (
    (r"^stages\.(\d)_", r"stages.\1."),
    (r"^stem_", "stem."),
    (r"(blocks\.\d+)_(conv|attn_block|attn_grid)\.", r"\1.\2."),
    (r"\.shortcut_expand\.", ".shortcut.expand."),
    (r"\.norm1_norm\.", ".norm1.norm."),
    (r"\.attn_by_head\.", ".attn."),
    (r"\.rel_pos_mlp\.", ".attn.rel_pos.mlp."),
    (r"\.rel_pos_table\.weight$", ".attn.rel_pos.relative_position_bias_table"),
    (r"\.ls([12]?)$", r".ls\1.gamma"),
    (r"^head_(norm|pre_logits_fc)\.", lambda m: f"head.{m[1].replace('_fc', '.fc')}."),
    (r"^head\.(?=weight|bias)", "head.fc."),
)


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Order queries before keys before values, and a table of the authors by offsets of queries to keys.

    Args:
      path: path of the variable.
      value: the entry; queries, keys and values of a head are neighbors where the path says so.
      shape: shape of the variable.

    Returns:
      The variable; None where the entry is as it is.
    """
    if "/attn_by_head/qkv/" in path:
        rows = value.reshape(-1, 3, HEAD_FEATURES, *value.shape[1:2]).swapaxes(0, 1)
        rows = rows.reshape(value.shape[0], *value.shape[1:2])
        return rows.T if rows.ndim == 2 else rows
    if path.endswith("rel_pos_table/embedding") and value.ndim == 3:
        return value[:, ::-1, ::-1].reshape(len(value), -1).T
    return None


class MaxxViT(Backbone):
    """A MaxxViT on [B, H, W, C]. Stages: stem (stride 2), stage1 to stage4 (strides 4, 8, 16 and 32).

    Args:
      image_size: side of the images in pixels; the tables of positions have its size.
      stem_widths: channels of the two convolutions of the stem.
      partitioned: attention in windows and along a grid in all stages, in place of attention of all pixels in the last
        two stages.
      windows: the attention in windows; otherwise there is the grid's alone.
      convnext: ConvNeXt blocks, in place of inverted residuals.
      authors: the paper's inverted residuals, from TensorFlow: inner channels from the output's, tanh GELU, biases.
      pool_stride: halve maps by pools in front of the convolutions.
      max_pool: shortcuts halve maps by maxima.
      pre_activation: activate after the first norm of a convolution block.
      output_bias: biases of the last convolution of a convolution block.
      se_early: gates in front of the second norm.
      se_units: units of squeeze-and-excitation as a fraction of the inner channels.
      se_relu: squeeze-and-excitation has a ReLU, in place of a SiLU.
      shortcut_bias: biases of the shortcuts of transformers.
      position_units: units of the perceptron of positions; 0: tables.
      layer_scale: initial factor of each channel of attention and MLPs; None for none.
      batch_norm: batch norms in transformers.
      head_units: units of the hidden layer of the head; None: no hidden layer.
    """

    num_classes: int = 1000
    image_size: int = 224
    stages: tuple[int, ...] = (2, 2, 5, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_widths: tuple[int, int] = (32, 64)
    partitioned: bool = True
    windows: bool = True
    convnext: bool = False
    authors: bool = False
    pool_stride: bool = False
    max_pool: bool = False
    pre_activation: bool = False
    output_bias: bool = False
    se_early: bool = False
    se_units: float = 0.0625
    se_relu: bool = False
    shortcut_bias: bool = True
    position_units: int = 0
    layer_scale: float | None = None
    batch_norm: bool = False
    head_units: int | None = None
    drop_path: float = 0.2
    remat: Remat = "none"

    def _conv(self, i: int, stride: int, fields: dict[str, Any], name: str) -> nn.Module:
        fields = {**fields, "name": name}
        if self.convnext:
            fields.pop("axis_name")
            block = remat(CoAtNetConvNeXt, self.remat, static_argnums=(2,))
            return block(self.widths[i], stride, 1e-6 if self.partitioned else 1e-5, **fields)
        return remat(CoAtNetConv, self.remat, static_argnums=(2,))(
            self.widths[i],
            stride,
            self.authors,
            self.pool_stride,
            self.max_pool,
            self.pre_activation,
            self.output_bias or self.authors,
            self.se_early,
            self.se_units,
            nn.relu if self.se_relu else nn.silu,
            functools.partial(gelu, approximate=True) if self.authors else nn.silu,
            epsilon=1e-3 if self.authors else 1e-5,
            **fields,
        )

    def _transformer(self, i: int, fields: dict[str, Any], **sides: Any) -> nn.Module:
        return remat(CoAtNetTransformer, self.remat, static_argnums=(2,))(
            self.widths[i],
            max_pool=self.max_pool,
            shortcut_bias=self.shortcut_bias,
            position_units=self.position_units,
            layer_scale=self.layer_scale,
            batch_norm=self.batch_norm,
            activation=functools.partial(gelu, approximate=self.authors),
            by_head=not self.authors,
            epsilon=1e-5 if self.authors else 1e-6,
            **fields,
            **sides,
        )

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "stem_conv1", self.image_size, self.image_size)
        dtype = compute_dtype(self.dtype, x, self.variables)
        conv = functools.partial(Conv, kernel_size=(3, 3), use_bias=self.authors, dtype=dtype, kernel_init=CONV_INIT)
        x = conv(self.stem_widths[0], strides=2, padding="SAME" if self.authors else 1, name="stem_conv1")(x)
        if self.convnext:
            x = gelu(LayerNorm(1e-6, dtype=dtype, name="stem_norm1")(x))
        else:
            epsilon = 1e-3 if self.authors else 1e-5
            x = BatchNorm(not train, 0.9, epsilon, self.axis_name, dtype=dtype, name="stem_norm1")(x)
            x = gelu(x, approximate=True) if self.authors else nn.silu(x)
        x = self.perturb("stem", conv(self.stem_widths[1], padding=1, name="stem_conv2")(x))
        maps, index, side = {"stem": x}, 0, self.image_size // 32
        for i, blocks in enumerate(self.stages):
            for j in range(blocks):
                rate = self.drop_path * index / max(sum(self.stages) - 1, 1)
                fields = {"drop_path": rate, "dtype": dtype, "axis_name": self.axis_name}
                name, stride, index = f"stages_{i}_blocks_{j}", 1 if j else 2, index + 1
                if self.partitioned:
                    x = self._conv(i, stride, fields, f"{name}_conv")(x, train)
                    for kind in ("window", "grid") if self.windows else ("grid",):
                        part = f"{name}_attn_{'block' if kind == 'window' else 'grid'}"
                        x = self._transformer(i, fields, window=(side, side), partition=kind, name=part)(x, train)
                elif i < 2:
                    x = self._conv(i, stride, fields, name)(x, train)
                else:
                    window = (self.image_size >> (i + 2),) * 2
                    x = self._transformer(i, fields, window=window, stride=stride, name=name)(x, train)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = to_acc_dtype(x)
        x = global_avg_pool(x) if self.head_units else x
        name, epsilon = "head_norm" if self.head_units else "norm", 1e-5 if self.authors else 1e-6
        if self.batch_norm:
            x = BatchNorm(not train, 0.9, epsilon, self.axis_name, dtype=x.dtype, name=name)(x)
        else:
            x = LayerNorm(epsilon, dtype=x.dtype, name=name)(x)
        if self.head_units is None:
            return self._linear(global_avg_pool(x))
        return self._linear(nn.tanh(Dense(self.head_units, dtype=x.dtype, name="head_pre_logits_fc")(x)))


MODELS = {name: functools.partial(MaxxViT, **fields) for name, fields in SIZES.items()}
_SIDES = {name: fields.get("image_size", 224) for name, fields in SIZES.items()}
INPUT_SHAPES = {name: (side, side, 3) for name, side in _SIDES.items() if side != 224}

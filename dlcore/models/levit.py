"""LeViT: a vision transformer with convolutions in front, batch norms, and attention that halves the map.

Graham et al., "LeViT: a vision transformer in ConvNet's clothing for faster inference" (2021), arXiv:2104.01136.

    L(z)     BN(W z)
    MSA(z)   L(s(softmax(Q K^T / sqrt(d) + B) V)),  Q, K, V = L(z),  B: of a head and the distance in rows and columns
    block    z = z + MSA(z),  z = z + L(s(L(z)))                s: hard swish
    shrink   z = MSA(z) with the queries of every second row and column,  z = z + L(s(L(z)))

Keys have few channels, values 2 (4 where the map shrinks) times as many. The table B fixes the image's size. At
inference the logits are the mean of two heads, the second of which learned from a teacher. Names are timm's; dense
layers here are 1x1 convolutions in "levit_conv".
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import ConvNorm
from dlcore.nn import BatchNorm, Dense, drop_path, hard_swish
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "DenseNorm", "LeViT", "LeViTAttention", "LeViTMLP"]

KERNEL_INIT = nn.initializers.truncated_normal(0.02)
TORCH_NAMES = (
    (r"^stem_conv(\d)\.0\.", r"stem.conv\1.linear."),
    (r"^stem_conv(\d)\.1\.", r"stem.conv\1.bn."),
    (r"^stages\.(\d)_downsample_", r"stages.\1.downsample."),
    (r"^stages\.(\d)_blocks\.(\d+)_", r"stages.\1.blocks.\2."),
    (r"\.(q|proj)\.(?=linear|bn)", r".\1.ln."),
    (r"^(head|head_dist)_norm\.", r"\1.bn."),
    (r"^(head|head_dist)\.(?=weight|bias)", r"\1.linear."),
)


class DenseNorm(CheckedFields):
    """A dense layer without a bias (`linear`) and batch norm (`bn`).

    Args:
      scale_init: initializer of the norm's scale.
    """

    features: int
    scale_init: Any = nn.initializers.ones
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the layer.

        Args:
          x: [..., C].

        Returns:
          [..., features].
        """
        x = Dense(self.features, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT, name="linear")(x)
        norm = BatchNorm(not train, axis_name=self.axis_name, dtype=self.dtype, scale_init=self.scale_init, name="bn")
        return norm(x)


class LeViTMLP(CheckedFields):
    """Two dense layers with batch norm, and a hard swish between them.

    Args:
      hidden: units between the layers.
    """

    hidden: int
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the layers.

        Args:
          x: [..., C].

        Returns:
          [..., C].
        """
        layer = functools.partial(DenseNorm, dtype=self.dtype, axis_name=self.axis_name)
        y = hard_swish(layer(self.hidden, name="ln1")(x, train))
        return layer(x.shape[-1], nn.initializers.zeros, name="ln2")(y, train)


class LeViTAttention(CheckedFields):
    """Attention of all pixels with a bias of their distance.

    Args:
      features: output channels.
      key_features: channels of a head's queries and keys.
      value_ratio: channels of a head's values as a multiple of those of its keys.
      stride: distance of the pixels that have queries.
    """

    features: int
    num_heads: int
    key_features: int
    value_ratio: float = 2.0
    stride: int = 1
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Attend.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        layer = functools.partial(DenseNorm, dtype=self.dtype, axis_name=self.axis_name)
        keys, values, heads = self.key_features, int(self.value_ratio * self.key_features), self.num_heads
        queries = x[:, :: self.stride, :: self.stride]

        def project(x: jax.Array, size: int, name: str) -> jax.Array:
            return layer(heads * size, name=name)(x, train).reshape(len(x), -1, heads, size)

        if self.stride == 1:
            q, k, v = jnp.split(project(x, 2 * keys + values, "qkv"), (keys, 2 * keys), -1)
        else:
            k, v = jnp.split(project(x, keys + values, "kv"), (keys,), -1)
            q = project(queries, keys, "q")
        height, width = x.shape[1:3]
        table = self.param("attention_biases", nn.initializers.zeros, (heads, height * width))
        positions = np.indices((height, width))
        rows, columns = positions.reshape(2, -1)
        query_rows, query_columns = positions[:, :: self.stride, :: self.stride].reshape(2, -1)
        distance = abs(query_rows[:, None] - rows) * width + abs(query_columns[:, None] - columns)
        scores = to_acc_dtype(jnp.einsum("bqhd,bkhd->bhqk", q, k)) * keys**-0.5 + table[:, distance]
        y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, -1).astype(v.dtype), v)
        y = hard_swish(y.reshape(*queries.shape[:3], heads * values))
        scale_init = nn.initializers.zeros if self.stride == 1 else nn.initializers.ones
        return layer(self.features, scale_init, name="proj")(y, train)


class LeViT(Backbone):
    """A LeViT on [B, H, W, C]. Stages: stem and stage1 (stride 16), stage2 and stage3 (strides 32 and 64).

    Args:
      image_size: side of the images in pixels; the tables of biases have its size.
      key_features: channels of a head's queries and keys.
      value_ratios: channels of a head's values in each stage, as a multiple of those of its keys.
      mlp_ratios: hidden units of an MLP of each stage as a multiple of its channels.
      distilled: a second head, of a teacher's predictions; a call gives the mean of both.
      drop_path: probability of dropping a block's branches of an example in training, the same for all blocks.
    """

    num_classes: int = 1000
    image_size: int = 224
    stages: tuple[int, ...] = (4, 4, 4)
    widths: tuple[int, ...] = (128, 256, 384)
    num_heads: tuple[int, ...] = (4, 8, 12)
    key_features: tuple[int, ...] = (16, 16, 16)
    value_ratios: tuple[float, ...] = (2.0, 2.0, 2.0)
    mlp_ratios: tuple[float, ...] = (2.0, 2.0, 2.0)
    distilled: bool = True
    drop_path: float = 0.0
    remat: Remat = "none"

    def auxiliary(self, x: jax.Array, train: bool = True) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classify images by each of the two heads.

        Args:
          x: [B, H, W, C], images.

        Returns:
          The logits [B, num_classes], and {"distillation": the teacher head's logits [B, num_classes]}.
        """
        if not self.distilled:
            raise ValueError("distilled=False: this LeViT has one head; allowed: distilled=True")
        return self._forward(x, train, True)[2]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool, head: bool) -> tuple:
        x, maps = self._stages(x, train)
        if not head:
            return None, maps
        x = global_avg_pool(to_acc_dtype(x))
        if self.num_classes == 0:
            return x, maps
        norm = functools.partial(BatchNorm, not train, axis_name=self.axis_name, dtype=x.dtype)
        dense = functools.partial(Dense, self.num_classes, dtype=x.dtype, kernel_init=self.head_init)
        logits = dense(name="head")(norm(name="head_norm")(x))
        if not self.distilled:
            return logits, maps
        distillation = dense(name="head_dist")(norm(name="head_dist_norm")(x))
        return (logits + distillation) / 2, maps, (logits, {"distillation": distillation})

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        for field in ("widths", "num_heads", "key_features", "value_ratios", "mlp_ratios"):
            if len(getattr(self, field)) != len(self.stages):
                raise ValueError(f"{field}={getattr(self, field)}: wrong length; allowed: {len(self.stages)}")
        check_images(self, x, "stem_conv1/0", self.image_size, self.image_size)
        fields = {"dtype": compute_dtype(self.dtype, x, self.variables), "axis_name": self.axis_name}
        for i in range(4):
            activation = hard_swish if i < 3 else None
            width = self.widths[0] >> (3 - i)
            x = ConvNorm(width, 3, 2, activation=activation, **fields, name=f"stem_conv{i + 1}")(x, train)
        x = self.perturb("stem", x)
        maps = {"stem": x}
        attention = remat(LeViTAttention, self.remat, static_argnums=(2,))
        for i, (blocks, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            if i:
                heads, front = self.widths[i - 1] // self.key_features[0], f"stages_{i}_downsample"
                x = attention(width, heads, self.key_features[0], 4.0, 2, **fields, name=f"{front}_attn_downsample")(
                    x, train
                )
                x = x + drop_path(LeViTMLP(2 * width, **fields, name=f"{front}_mlp")(x, train), self.drop_path, train)
            sizes = (width, self.num_heads[i], self.key_features[i], self.value_ratios[i])
            for j in range(blocks):
                front = f"stages_{i}_blocks_{j}"
                x = x + drop_path(attention(*sizes, **fields, name=f"{front}_attn")(x, train), self.drop_path, train)
                mlp = LeViTMLP(int(width * self.mlp_ratios[i]), **fields, name=f"{front}_mlp")
                x = x + drop_path(mlp(x, train), self.drop_path, train)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps


SIZES: dict[str, dict[str, Any]] = {
    "128s": {"stages": (2, 3, 4), "num_heads": (4, 6, 8)},
    "128": {},
    "192": {"widths": (192, 288, 384), "num_heads": (3, 5, 6), "key_features": (32, 32, 32)},
    "256": {"widths": (256, 384, 512), "num_heads": (4, 6, 8), "key_features": (32, 32, 32)},
    "384": {"widths": (384, 512, 768), "num_heads": (6, 9, 12), "key_features": (32, 32, 32)},
}
MODELS = {
    f"{name}_{size}": functools.partial(LeViT, **fields)
    for name in ("levit", "levit_conv")
    for size, fields in SIZES.items()
}

"""CLIP with a residual network in place of the vision transformer.

Radford et al., "Learning transferable visual models from natural language supervision" (2021), arXiv:2103.00020, 2.4.

    stem       three 3x3 convolutions in place of 7x7, the first of stride 2, and an average over 2x2
    block      1x1, 3x3, average over the stride, 1x1;   shortcut: average over the stride, 1x1
    pooling    the map's mean attends to [mean; map] + positions; its output is the image's vector

Zhang, "Making convolutional networks shift-invariant again" (2019), arXiv:1904.11486: averaging before the strides are
taken. Names are OpenAI's and OpenCLIP's. CLIP RN50 has 102,007,137 parameters.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import clip
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv, Dense, MultiHeadAttention
from dlcore.ops import avg_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "AttentionPool", "CLIPResNet", "ModifiedResNet", "example_inputs", "from_torch_names"]

EXPANSION = 4


class AttentionPool(CheckedFields):
    """Attention of a map's mean to the map and itself.

    Args:
      features: D, of the output.
      grid: rows and columns of the map whose positions are learned.
    """

    features: int
    num_heads: int
    grid: tuple[int, int]
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool a map.

        Args:
          x: [B, H, W, C], of H x W = `grid`.

        Returns:
          [B, D].
        """
        if x.shape[1:3] != self.grid:
            rows, columns = self.grid
            raise ValueError(
                f"x={x.shape[1]}x{x.shape[2]}: a map without positions; allowed: {rows}x{columns}, as of image_size"
            )
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        tokens = jnp.concatenate([tokens.mean(1, keepdims=True), tokens], 1)
        init = nn.initializers.normal(x.shape[-1] ** -0.5)
        tokens = tokens + self.param("positions", init, tokens.shape[1:]).astype(tokens.dtype)
        attend = MultiHeadAttention(self.num_heads, self.features, x.shape[-1], dtype=self.dtype, name="attn")
        return attend(tokens[:, :1], tokens)[:, 0]


class _Block(nn.Module):
    """A bottleneck that averages over the stride before it is taken."""

    features: int
    stride: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype)
        norm = functools.partial(BatchNorm, use_running_average=not train, dtype=self.dtype)
        size = (self.stride, self.stride)
        y = nn.relu(norm(name="bn1")(conv(self.features, (1, 1), name="conv1")(x)))
        y = nn.relu(norm(name="bn2")(conv(self.features, (3, 3), padding=1, name="conv2")(y)))
        y = avg_pool(y, size, size) if self.stride > 1 else y
        features = EXPANSION * self.features
        y = norm(name="bn3")(conv(features, (1, 1), name="conv3")(y))
        if self.stride > 1 or x.shape[-1] != features:
            x = avg_pool(x, size, size) if self.stride > 1 else x
            x = norm(name="downsample_1")(conv(features, (1, 1), name="downsample_0")(x))
        return nn.relu(x + y)


class ModifiedResNet(CheckedFields):
    """CLIP's residual network of images of 32 S pixels.

    Args:
      features: D, of the output.
      stages: blocks of each stage; every stage but the first halves the map and doubles the channels.
      width: channels of the stem.
      num_heads: number of heads of the attention that pools.
      image_size: side in pixels of the square images.
    """

    features: int
    stages: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    num_heads: int = 32
    image_size: int = 224
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Describe images.

        Args:
          x: [B, H, W, 3], normalized.

        Returns:
          [B, D].
        """
        check_images(self, x, "conv1", smallest=2 ** (len(self.stages) + 1))
        for i, (features, stride) in enumerate(((self.width // 2, 2), (self.width // 2, 1), (self.width, 1)), 1):
            x = Conv(features, (3, 3), stride, padding=1, use_bias=False, dtype=self.dtype, name=f"conv{i}")(x)
            x = nn.relu(BatchNorm(not train, dtype=self.dtype, name=f"bn{i}")(x))
        x = avg_pool(x, (2, 2), (2, 2))
        for i, blocks in enumerate(self.stages):
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                x = _Block(self.width * 2**i, stride, self.dtype, name=f"layer{i + 1}_{j}")(x, train)
        side = self.image_size // 2 ** (len(self.stages) + 1)
        return AttentionPool(self.features, self.num_heads, (side, side), self.dtype, name="attnpool")(x)


class CLIPResNet(clip.CLIP):
    """CLIP with a `ModifiedResNet`: (images [B, H, W, 3], tokens [B, T]) -> vectors of length 1, and the scale.

    All fields of `dlcore.models.clip.CLIP`; `patch_size`, `crop_rest` and `vision_depth` are not used.

    Args:
      vision_stages: blocks of each stage of the residual network.
      vision_width: channels of its stem.
      vision_heads: heads of the attention that pools.
    """

    vision_stages: tuple[int, ...] = (3, 4, 6, 3)
    vision_width: Annotated[int, Range(2)] = 64
    vision_heads: Annotated[int, Range(1)] = 32

    OPENAI_NAMES = tuple(pair for pair in clip.OPENAI_NAMES if not pair[0].startswith(r"^visual\."))

    def setup(self):
        """Build the residual network and the text's transformer."""
        self._text_tower()
        self.visual = ModifiedResNet(
            self.embedding_size, self.vision_stages, self.vision_width, self.vision_heads, self.image_size, self.dtype
        )
        self.text_head = Dense(
            self.embedding_size,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(self.text_width**-0.5),
        )
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(np.log(self.FIRST_SCALE)), ())

    def encode_image(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Encode images."""
        x = self.visual(images, train)
        return clip.unit(to_acc_dtype(x))

    def image_tokens(self, images: jax.Array) -> jax.Array:
        """Refuse: a residual network has no tokens.

        Args:
          images: [B, H, W, 3].

        Returns:
          Nothing.
        """
        raise ValueError("image_tokens: a residual network has none; allowed: CLIP with a vision transformer")


from_torch_names = clip.from_torch_names
example_inputs = clip.example_inputs


def _resnet(stages: tuple[int, ...], width: int, embedding_size: int, image_size: int, text: int) -> functools.partial:
    return functools.partial(
        CLIPResNet,
        vocab_size=49408,
        end_token=49407,
        vision_stages=stages,
        vision_width=width,
        vision_heads=width // 2,
        embedding_size=embedding_size,
        image_size=image_size,
        text_width=text,
        text_heads=text // 64,
    )


MODELS = {
    "clip_resnet50": _resnet((3, 4, 6, 3), 64, 1024, 224, 512),
    "clip_resnet101": _resnet((3, 4, 23, 3), 64, 512, 224, 512),
    "clip_resnet50x4": _resnet((4, 6, 10, 6), 80, 640, 288, 640),
    "clip_resnet50x16": _resnet((6, 8, 18, 8), 96, 768, 384, 768),
    "clip_resnet50x64": _resnet((3, 15, 36, 10), 128, 1024, 448, 1024),
}

"""SegFormer: a pyramid transformer, and a head of linear layers alone on the maps of its four stages.

Xie et al. 2021, arXiv:2105.15203.

    y_k = enlarge(W_k map_k)  to the finest map,   k = 1, ..., 4
    s = W relu(BN(W_f [y_4, y_3, y_2, y_1])),      logits = enlarge(s)  to the image

The head can be this small as attention sees the whole image in the coarse stages. The encoder is `dlcore.models.mit`,
or any backbone with maps. Weights are those of transformers' SegformerForSemanticSegmentation, of any version.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.mit import ENCODER_NAMES, ENCODER_OLD_NAMES
from dlcore.nn import BatchNorm, Conv, Dense, Dropout
from dlcore.nn.precision import compute_dtype
from dlcore.ops.replica import REPLICA
from dlcore.ops.resize import resize
from dlcore.segmentation.maps import KERNEL_INIT, enlarge, named_map, score

__all__ = ["SegFormer", "SegFormerHead"]


class SegFormerHead(nn.Module):
    """Linear layers on maps of several sizes, joined at the size of the first.

    Args:
      num_classes: C.
      features: channels of each map's projection, and of the joined map.
      dropout: probability of dropping a value before the scores in training.
    """

    num_classes: int
    features: int = 256
    dropout: float = 0.1
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, maps: list[jax.Array], train: bool) -> jax.Array:
        """Score every location of the first map.

        [B, h, w, K] each, the finest first -> [B, h, w, C] logits, at least float32.
        """
        # One linear layer a map, enlarged to the finest.
        parts = [
            resize(Dense(self.features, dtype=self.dtype, name=f"projection_{i}")(x), maps[0].shape[1:3])
            for i, x in enumerate(maps)
        ]
        # Fuse, the coarsest first.
        fuse = Conv(
            self.features, (1, 1), use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT, name="linear_fuse"
        )
        x = fuse(jnp.concatenate(parts[::-1], -1))
        x = nn.relu(BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name="batch_norm")(x))
        x = Dropout(self.dropout, deterministic=not train)(x)
        return score(self.num_classes, "classifier", x)


class SegFormer(nn.Module):
    """Encoder and head; the logits are enlarged bilinearly to the size of the image, whatever it is.

    Args:
      num_classes: C.
      stages: the maps that the head joins, the finest first.
      features: channels of each map's projection, and of the joined map.
      dropout: probability of dropping a value before the scores in training.
    """

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("stage1", "stage2", "stage3", "stage4")
    features: Annotated[int, Range(1)] = 256
    dropout: Annotated[float, Range(0, 0.99)] = 0.1
    dtype: Any = None
    axis_name: str | None = REPLICA

    TORCH_NAMES = (
        (r"^backbone\.", ""),
        *ENCODER_NAMES,
        (r"^decode_head\.projection\.(\d+)\.", r"decode_head.linear_projections.\1.proj."),
    )
    TORCH_OLD_NAMES = (*ENCODER_OLD_NAMES, (r"^decode_head\.linear_c\.", "decode_head.linear_projections."))
    TORCH_OPTIONAL = "(?!)"

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify every pixel.

        [B, H, W, C'], images of any size that the backbone takes -> [B, H, W, C] logits, at least float32.
        """
        return enlarge(self.scores(x, train), x.shape[1:3])

    @nn.compact
    def scores(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify every location of the finest map, as published.

        [B, H, W, C'], images -> [B, h, w, C] logits, at least float32.
        """
        dtype = compute_dtype(self.dtype, x, self.variables)
        maps = self.backbone.features(x, train)
        head = SegFormerHead(self.num_classes, self.features, self.dropout, dtype, self.axis_name, name="decode_head")
        return head([named_map(maps, stage) for stage in self.stages], train)

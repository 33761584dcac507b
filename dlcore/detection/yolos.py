"""YOLOS: a ViT with detection tokens beside its patches, each of which predicts one box.

Fang et al., "You only look at one sequence" (2021), arXiv:2106.00666.

    z = [class token; patches; Q detection tokens] + positions,   blocks of a ViT,   optionally + positions between them
    logits, box = MLP(LN(z) of a detection token),   a set that `dlcore.detection.detr` matches to true boxes

There is no decoder, no pyramid and no region: the tokens of ImageNet's ViT learn where objects are. `detr.learner`
trains it. Positions of patches are interpolated (bicubic) for images of other sizes. Weights are those of transformers'
YolosForObjectDetection (`hustvl/yolos-tiny`).
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.detection.detr import Outputs
from dlcore.learner import Range
from dlcore.models.inputs import check_images
from dlcore.models.vit import TRANSFORMERS
from dlcore.nn import Conv, Dense, LayerNorm, TransformerEncoderBlock, gelu, interpolate_positions
from dlcore.nn.precision import compute_dtype
from dlcore.ops.precision import to_acc_dtype

__all__ = ["YOLOS"]

INIT = nn.initializers.truncated_normal(0.02)


class YOLOS(nn.Module):
    """A ViT on patches and detection tokens, and two heads.

    Args:
      num_classes: C.
      image_size: (H, W) in pixels of the images whose positions are learned.
      patch_size: P, side in pixels of a patch.
      depth: number of blocks.
      width: channels of a token.
      num_heads: attention heads of each block.
      mlp_features: hidden units of a block's MLP.
      num_queries: Q, detection tokens, at least the objects of an image.
      mid_positions: add learned positions between blocks, too.
      epsilon: added to variances by the layer norms.
      dropout: probability of dropping a value of the tokens, and of each block's attention output and MLP.
    """

    num_classes: int
    image_size: tuple[int, int] = (512, 864)
    patch_size: Annotated[int, Range(1)] = 16
    depth: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 384
    num_heads: Annotated[int, Range(1)] = 6
    mlp_features: Annotated[int, Range(1)] = 1536
    num_queries: Annotated[int, Range(1)] = 100
    mid_positions: bool = True
    epsilon: Annotated[float, Range(0)] = 1e-12
    dropout: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    TORCH_NAMES = (
        (r"^detection_tokens$", "embeddings.detection_tokens"),
        (r"^position_embeddings$", "embeddings.position_embeddings"),
        (r"^mid_position_embeddings$", "encoder.interpolation.mid_position_embeddings"),
        *TRANSFORMERS.names,
        (r"^(class_labels_classifier|bbox_predictor)_layers\.", r"\1.layers."),
    )
    TORCH_OLD_NAMES = (
        *TRANSFORMERS.older,
        (r"^encoder\.mid_position_embeddings$", "encoder.interpolation.mid_position_embeddings"),
    )

    def __call__(self, x: jax.Array, train: bool = False) -> tuple[Outputs, np.ndarray]:
        """Predict a set of boxes.

        [B, H, W, C'], sides at least P; what does not fill a patch is left out -> (outputs [B, 1, Q, ...], (W, H, W,
        H): what turns their boxes into pixels).
        """
        return self._forward(x, train, True), np.array((x.shape[2], x.shape[1]) * 2, np.float32)

    def tokens(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Describe patches and detection tokens; nothing of the heads is computed.

        [B, H, W, C'], images -> [B, 1 + N + Q, width], after the last norm, the class token first.
        """
        return self._forward(x, train, False)

    @nn.compact
    def _forward(self, x: jax.Array, train: bool, heads: bool) -> Any:
        size = self.patch_size
        check_images(self, x, "patch_embed", smallest=size)
        dtype = compute_dtype(self.dtype, x, self.variables)
        patches = Conv(
            self.width, (size, size), (size, size), padding="VALID", dtype=dtype, kernel_init=INIT, name="patch_embed"
        )(x)
        grid = patches.shape[1:3]
        # Class token, patches, detection tokens, and their positions.
        token = self.param("cls_token", INIT, (1, 1, self.width))
        queries = self.param("detection_tokens", INIT, (1, self.num_queries, self.width))
        parts = [jnp.broadcast_to(part.astype(dtype), (len(x), *part.shape[1:])) for part in (token, queries)]
        z = jnp.concatenate([parts[0], patches.reshape(len(x), -1, self.width), parts[1]], 1)  # [B, 1 + N + Q, D]
        table_grid = self.image_size[0] // size, self.image_size[1] // size
        length = 1 + table_grid[0] * table_grid[1] + self.num_queries
        table = self.param("position_embeddings", INIT, (1, length, self.width))
        z = nn.Dropout(self.dropout)(z + self._positions(table, table_grid, grid, dtype), deterministic=not train)
        if self.mid_positions:
            middle = self.param("mid_position_embeddings", INIT, (self.depth - 1, 1, length, self.width))
            middle = self._positions(middle, table_grid, grid, dtype)
        # Transformer encoder.
        for i in range(self.depth):
            block = TransformerEncoderBlock(
                self.num_heads,
                self.mlp_features,
                pre_norm=True,
                activation=gelu,
                dropout_rate=self.dropout,
                epsilon=self.epsilon,
                dtype=dtype,
                kernel_init=INIT,
                name=f"blocks_{i}",
            )
            z = block(z, train)
            z = z + middle[i] if self.mid_positions and i < self.depth - 1 else z
        z = LayerNorm(self.epsilon, dtype=dtype, name="norm")(z)
        if not heads:
            return z
        # Class and box heads on the detection tokens.
        z = z[:, -self.num_queries :]
        logits = self._perceptron(z, self.num_classes + 1, "class_labels_classifier", dtype)
        boxes = nn.sigmoid(self._perceptron(z, 4, "bbox_predictor", dtype))
        return Outputs(logits[:, None], boxes[:, None])

    def _positions(self, table: jax.Array, table_grid: tuple[int, int], grid: tuple[int, int], dtype: Any) -> jax.Array:
        """Interpolate the positions of patches; those of the class token and the detection tokens stay."""
        front, back = table[..., : -self.num_queries, :], table[..., -self.num_queries :, :]
        return jnp.concatenate([interpolate_positions(front, table_grid, grid, 1), back], -2).astype(dtype)

    def _perceptron(self, x: jax.Array, features: int, name: str, dtype: Any) -> jax.Array:
        for i in range(2):
            x = nn.relu(Dense(self.width, dtype=dtype, name=f"{name}_layers_{i}")(x))
        x = Dense(features, dtype=dtype, name=f"{name}_layers_2")(x)
        return to_acc_dtype(x)

"""RF-DETR for instance segmentation: a mask for each query, the product of its features and an image of features.

Robinson et al. 2025, arXiv:2511.09554, section 3.

    y_0 = resize(first level's map),   y_l = y_{l-1} + gelu(W LN(depthwise conv3x3 y_{l-1})) for each decoder layer
    q   = z + MLP(LN(z)) of the last layer's queries z,   mask = W_q q . W_y y + b

Weights are those of transformers' RfDetrForInstanceSegmentation.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.detection.lw_detr import LWDETR
from dlcore.learner import Range
from dlcore.nn import Conv, Dense, FeedForward, LayerNorm
from dlcore.nn.activations import gelu
from dlcore.ops.resize import resize
from dlcore.segmentation.detr_segmenter import QueryMasks

__all__ = ["RFDETRSegmenter"]


class RFDETRSegmenter(nn.Module):
    """An RF-DETR and a head of masks.

    Args:
      detector: the detector.
      hidden_features: units of the perceptron on queries.
      stride: pixels of the image between two of a mask.
    """

    detector: LWDETR
    hidden_features: Annotated[int, Range(1)] = 1024
    stride: Annotated[int, Range(1)] = 4

    TORCH_NAMES = (
        (r"^blocks\.(\d+)_", r"blocks.\1."),
        (r"^query_features_(norm|mlp)\.", r"query_features_block.\1."),
        (r"^detector\.", ""),
        *LWDETR.TORCH_NAMES,
        (r"^(model|class_embed|bbox_embed)\.", r"model.\1."),
    )
    TORCH_OLD_NAMES = (
        (r"^(model\.model\.backbone\.projector)\.(?=projector_layer\.|layer_norm\.)", r"\1.scale_layers.0."),
    )
    TORCH_OPTIONAL = r"mask_token$"

    @property
    def image_size(self) -> int:
        """Side in pixels of an image that has as many locations as there are queries."""
        return self.detector.EXAMPLE_SIDE

    @nn.compact
    def __call__(self, x: jax.Array, image_size: jax.Array | None = None, train: bool = False) -> QueryMasks:
        """Predict classes, boxes and masks.

        Args:
          x: [B, H, W, C], images.
          image_size: [B, 2], height and width of images padded to H by W; None: images without padding.
          train: training mode of the detector.

        Returns:
          Classes, without "no object", boxes and masks of the queries.
        """
        outputs, states, y = self.detector.predict(x, image_size, train)
        dtype, width = self.detector.dtype, y.shape[-1]
        y = resize(y, (x.shape[1] // self.stride, x.shape[2] // self.stride))
        for i in range(self.detector.decoder_layers):
            name = f"blocks_{i}"
            conv = Conv(width, (3, 3), padding=1, feature_group_count=width, dtype=dtype, name=f"{name}_depthwise_conv")
            branch = LayerNorm(1e-6, dtype=dtype, name=f"{name}_layernorm")(conv(y))
            y = y + gelu(Dense(width, dtype=dtype, name=f"{name}_pointwise_conv")(branch))
        y = Conv(width, (1, 1), dtype=dtype, name="spatial_features_proj")(y)
        # Features of the last layer's queries.
        q = LayerNorm(dtype=dtype, name="query_features_norm")(states[:, -1])
        q = states[:, -1] + FeedForward(self.hidden_features, gelu, dtype=dtype, name="query_features_mlp")(q, train)
        q = Dense(width, dtype=dtype, name="query_features_proj")(q)
        bias = self.param("segmentation_bias", nn.initializers.zeros, (1,))
        masks = jnp.einsum("bhwd,bqd->bhwq", y, q) + bias
        return QueryMasks(outputs.logits[:, -1], outputs.boxes[:, -1], masks)

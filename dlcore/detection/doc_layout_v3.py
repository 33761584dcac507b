"""PP-DocLayoutV3: RT-DETR for the layout of pages, with masks of the objects and their reading order.

PaddlePaddle's, without a paper; RT-DETR is Zhao et al. 2023, arXiv:2304.08069.

    pixels       P = W silu BN conv(up2(M) + silu BN conv(s)), s the backbone's map of stride 4, M the sum of the
                 encoder's maps behind convolutions, as large as the finest
    masks        MLP(LN(z)) P of each query z
    selection    RT-DETR's; a query looks first at the box around the pixels where its own mask is above 0
    decoder      RT-DETR's, where the heads of the selection read the boxes of z and the classes of LN(z)
    order        q(y) k(y)^T / sqrt(h) of y = W_l LN(z) above the diagonal, else -10^4

For inference alone, as in transformers: there are no denoising queries.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.detection.dense import named_maps
from dlcore.detection.detr_names import QUERY_NAMES
from dlcore.detection.hybrid_encoder import HYBRID_NAMES, ConvNorm
from dlcore.detection.query_blocks import BoxHead, inverse_sigmoid
from dlcore.detection.resnet_d import RESNET_D_NAMES
from dlcore.detection.rt_detr import RTDETR, select_queries
from dlcore.learner import Range
from dlcore.models.hgnet import HGNET_V2_NAMES
from dlcore.nn import Conv, Dense, LayerNorm
from dlcore.nn.deformable_encoder import flatten_maps
from dlcore.ops.resize import resize

__all__ = ["DocLayoutV3", "MaskedLayoutOutputs"]


class MaskedLayoutOutputs(NamedTuple):
    """Predictions of Q queries; of logits and boxes those of the proposals come first.

    Args:
      logits: [B, 1 + layers, Q, C].
      boxes: [B, 1 + layers, Q, 4], center and size in fractions of the image's sides.
      masks: [B, Q, H / 4, W / 4], logits.
      order: [B, Q, Q], logits of "query i is read before query j", for i < j.
    """

    logits: jax.Array
    boxes: jax.Array
    masks: jax.Array
    order: jax.Array


class DocLayoutV3(RTDETR):
    """Backbone, hybrid encoder, pixels of the masks, query selection, decoder and reading order.

    Args:
      fine_stage: stage of the backbone of the pixels, twice as fine as the finest of `stages`.
      mask_features: channels inside the sum of the maps and of its output.
      num_prototypes: channels of the pixels.
      mask_boxes: queries look first at the boxes of their masks, not at the proposed ones.
      order_features: h, features of the reading order.
    """

    num_denoising: Annotated[int, Range(0, 0)] = 0
    fine_stage: str = "layer1"
    mask_features: tuple[int, int] = (64, 64)
    num_prototypes: Annotated[int, Range(1)] = 32
    mask_boxes: bool = True
    order_features: Annotated[int, Range(1)] = 64

    TORCH_NAMES = (
        (r"^(mask_(?:scale\.\d+\.\d+|output|lateral|base))\.conv\.", r"\1.convolution."),
        (r"^(mask_(?:scale\.\d+\.\d+|output|lateral|base))\.norm\.", r"\1.normalization."),
        (r"^mask_scale\.(\d+)\.", r"model.encoder.mask_feature_head.scale_heads.\1.layers."),
        (r"^mask_output\.", "model.encoder.mask_feature_head.output_conv."),
        (r"^mask_lateral\.", "model.encoder.encoder_mask_lateral."),
        (r"^mask_base\.", "model.encoder.encoder_mask_output.base_conv."),
        (r"^mask_prototypes\.", "model.encoder.encoder_mask_output.conv."),
        (r"^(mask_query_head|decoder_order_head|decoder_norm)\.", r"model.\1."),
        (r"^decoder_global_pointer_dense\.", "model.decoder_global_pointer.dense."),
        *(rule for rule in RTDETR.TORCH_NAMES if rule not in (*RESNET_D_NAMES, *HYBRID_NAMES, *QUERY_NAMES)),
        *HGNET_V2_NAMES,
        *HYBRID_NAMES,
        *QUERY_NAMES,
    )
    TORCH_OPTIONAL = (
        r"^model\.decoder\.(class|bbox)_embed|^model\.decoder_order_head"
        rf"|^model\.denoising_class_embed|{RTDETR.TORCH_OPTIONAL}"
    )

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[MaskedLayoutOutputs, np.ndarray]:
        """Predict a set of objects: x [B, H, W, C] -> (outputs, (W, H, W, H): what turns boxes into pixels)."""
        fine, *maps = named_maps(self.backbone.features(x, train=train), (self.fine_stage, *self.stages))
        maps, norm = self._encoded(maps, train)
        pixels = self._pixels(maps, fine, train)
        memory, shapes = flatten_maps(self._levels(maps, norm))
        bias = float(-np.log(self.num_classes))
        layer_norm = LayerNorm(dtype=self.dtype, name="decoder_norm")
        mask_head = BoxHead(self.features, self.num_prototypes, dtype=self.dtype, name="mask_query_head")
        heads = self._class_head("enc_score_head"), BoxHead(self.features, dtype=self.dtype, name="enc_bbox_head")
        proposals = select_queries(memory, shapes, self.num_queries, self.num_classes, bias, self.dtype, heads=heads)
        class_head, box_head = heads
        position_head = BoxHead(2 * self.features, self.features, 2, dtype=self.dtype, name="query_pos_head")

        def masks_of(queries: jax.Array) -> jax.Array:
            return jnp.einsum("bqc,bhwc->bqhw", mask_head(layer_norm(queries)), pixels)

        queries, boxes = proposals.memory, proposals.boxes
        states = [(proposals.logits, boxes)]
        if self.mask_boxes:  # through the inverse sigmoid, which keeps the numbers from 0 and 1
            boxes = nn.sigmoid(inverse_sigmoid(_boxes_around(masks_of(queries) > 0)))
        for i in range(self.decoder_layers):
            position = position_head(boxes.astype(queries.dtype))
            queries = self._decoder_layer(i)(queries, position, boxes[:, :, None], memory, shapes, train=train)
            boxes = nn.sigmoid(box_head(queries).astype(boxes.dtype) + inverse_sigmoid(boxes))
            states.append((class_head(layer_norm(queries)).astype(boxes.dtype), boxes))
            boxes = jax.lax.stop_gradient(boxes)
        logits, boxes = (jnp.stack(parts, 1) for parts in zip(*states, strict=True))
        last = f"decoder_order_head_{self.decoder_layers - 1}"
        y = Dense(self.features, dtype=self.dtype, name=last)(layer_norm(queries))
        y = Dense(2 * self.order_features, dtype=self.dtype, name="decoder_global_pointer_dense")(y)
        q, k = jnp.split(y, 2, axis=-1)
        order = (q @ k.mT).astype(boxes.dtype) * self.order_features**-0.5
        order = jnp.where(jnp.tri(self.num_queries, dtype=bool), -1e4, order)
        sides = np.tile(np.array(x.shape[2:0:-1], np.float32), 2)
        return MaskedLayoutOutputs(logits, boxes, masks_of(queries), order), sides

    def _pixels(self, maps: list[jax.Array], fine: jax.Array, train: bool) -> jax.Array:
        """What the masks of queries are products with, [B, H / 4, W / 4, num_prototypes]."""

        def conv(y: jax.Array, features: int, name: str) -> jax.Array:
            return ConvNorm(features, 3, dtype=self.dtype, name=f"mask_{name}")(y, train)

        def double(y: jax.Array) -> jax.Array:
            return resize(y, (2 * y.shape[1], 2 * y.shape[2]), "bilinear")

        (inner, width), parts = self.mask_features, []
        for i, y in enumerate(maps):
            for j in range(max(1, i)):
                y = conv(y, inner, f"scale_{i}_{2 * j}")
                y = double(y) if i > 0 else y
            parts.append(y)
        y = double(conv(jnp.stack(parts).sum(0), width, "output")) + conv(fine, width, "lateral")
        return Conv(self.num_prototypes, (1, 1), dtype=self.dtype, name="mask_prototypes")(conv(y, width, "base"))


def _boxes_around(masks: jax.Array) -> jax.Array:
    """Boxes around the pixels of masks, [B, Q, H, W] bool -> [B, Q, 4] center and size, zeros for an empty mask."""
    boundaries: list[Any] = []
    for axis in (2, 3):  # columns, then rows
        line = masks.any(axis)
        boundaries.append((line.argmax(-1) / line.shape[-1], 1 - line[..., ::-1].argmax(-1) / line.shape[-1]))
    low, high = (jnp.stack(parts, -1) for parts in zip(*boundaries, strict=True))
    boxes = jnp.concatenate([(low + high) / 2, high - low], -1)
    return jnp.where(masks.any((2, 3))[..., None], boxes, 0)

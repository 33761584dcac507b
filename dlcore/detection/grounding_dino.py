"""Grounding DINO: detection of the words of a text, whose features and the image's enhance each other.

Liu et al. 2023, arXiv:2303.05499; MM Grounding DINO, Zhao et al. 2024, arXiv:2401.02361.

    text      BERT of phrases between marks ("a cat. a dog."); phrases do not see each other; positions start anew
    enhancer  each layer: attention of image and text to each other, self-attention of the text, deformable attention of
              the image
    queries   the Q locations of the image that are most like a word; their boxes start from those that they propose
    decoder   self-attention, attention to the words, deformable attention to the image; each layer refines the boxes
    scores    s(z, t) = z . t, of each query and word;  MM: z . t / sqrt(D) + b

Published weights are of transformers (IDEA-Research, openmmlab-community).
"""

import math
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.detection.detr import Outputs
from dlcore.detection.grounding_blocks import FusionLayer, GroundedDecoderLayer, phrase_masks
from dlcore.detection.padding import pixel_mask
from dlcore.detection.query_blocks import BoxHead, inverse_sigmoid
from dlcore.learner import Range
from dlcore.models.bert import BERT
from dlcore.models.feature_maps import FeatureMaps
from dlcore.nn import Conv, Dense, GroupNorm, LayerNorm, TransformerEncoderBlock
from dlcore.nn.deformable_encoder import DeformableEncoderLayer, flatten_maps, grid_centers
from dlcore.nn.position import sinusoidal_encoding, sinusoidal_encoding_2d

__all__ = ["GroundingDINO"]


class GroundingDINO(nn.Module):
    """Backbones of images and texts, enhancer, decoder, and heads.

    Args:
      backbone: maps of the image.
      text_backbone: transformer of the text.
      num_levels: levels of the pyramid; those beyond the maps have half the size of the one before.
      num_queries: Q.
      features: number of features of tokens and queries, a multiple of 32.
      encoder_heads: heads of the deformable attention of the enhancer; attentions of and with the text have half.
      encoder_hidden_features: width of its perceptrons on the image; on the text half.
      encoder_layers: layers of the enhancer.
      encoder_points: points that each of its heads reads on each level.
      decoder_heads: heads of each attention of the decoder.
      decoder_hidden_features: width of its perceptrons.
      decoder_layers: layers on the queries.
      decoder_points: points that each of its heads reads on each level.
      max_text_length: words that are read, and the number of a query's scores.
      shared_heads: all layers of the decoder share one head of boxes.
      scaled: scores are scaled and shifted (MM Grounding DINO).
      max_period: period of the sines of rows and columns.
      dropout_rate: dropout rate in training.
    """

    backbone: FeatureMaps
    text_backbone: BERT
    num_levels: Annotated[int, Range(1)] = 4
    num_queries: Annotated[int, Range(1)] = 900
    features: Annotated[int, Range(4)] = 256
    encoder_heads: Annotated[int, Range(2)] = 8
    encoder_hidden_features: Annotated[int, Range(2)] = 2048
    encoder_layers: Annotated[int, Range(0)] = 6
    encoder_points: Annotated[int, Range(1)] = 4
    decoder_heads: Annotated[int, Range(1)] = 8
    decoder_hidden_features: Annotated[int, Range(1)] = 2048
    decoder_layers: Annotated[int, Range(1)] = 6
    decoder_points: Annotated[int, Range(1)] = 4
    max_text_length: Annotated[int, Range(1)] = 256
    shared_heads: bool = True
    scaled: bool = False
    max_period: float = 20.0
    dropout_rate: Annotated[float, Range(0, 1)] = 0.1
    dtype: Any = None

    @property
    def EXAMPLE_SIDE(self) -> int:  # noqa: N802
        """Side in pixels of an image that has as many locations, 8 pixels apart, as there are queries."""
        return 32 * math.ceil(self.num_queries**0.5 / 4)

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        tokens: jax.Array,
        token_mask: jax.Array | None = None,
        image_size: jax.Array | None = None,
        segments: jax.Array | None = None,
        train: bool = False,
    ) -> Outputs:
        """Predict boxes and the scores of all words.

        Args:
          images: [B, H, W, C].
          tokens: [B, T] int, a text for each image.
          token_mask: [B, T], True where there is a token and not padding; None: everywhere.
          image_size: [B, 2], height and width of images padded to H by W; None: images without padding.
          segments: [B, T] int, the segment of each token; None: all are in the first.

        Returns:
          Outputs of each decoder layer, with logits [B, layers, Q, max_text_length], -inf where there is no word.
        """
        length, layers = min(tokens.shape[1], self.max_text_length), self.decoder_layers
        token_mask = jnp.ones(tokens.shape, bool) if token_mask is None else token_mask.astype(bool)
        phrases, word_index = (x[:, :length] for x in phrase_masks(tokens))
        tokens, token_mask, phrases = tokens[:, :length], token_mask[:, :length], phrases[:, :, :length]
        segments = None if segments is None else segments[:, :length]
        text = self.text_backbone.features(tokens, train, phrases, segments, word_index)
        text = Dense(self.features, dtype=self.dtype, name="text_projection")(text)  # [B, T, D]
        memory, position, mask, ratio, shapes = self._pyramid(images, image_size, train)
        centers, level = jnp.asarray(grid_centers(shapes)), self._level(shapes)
        centers = centers / ratio[:, level]  # [B or 1, N, 2] in fractions of the image
        # Feature enhancer.
        word_position = sinusoidal_encoding(2 * np.pi * word_index.astype(jnp.float32), self.features)
        fields = {"dropout_rate": self.dropout_rate, "dtype": self.dtype}
        heads, hidden = self.encoder_heads // 2, self.encoder_hidden_features // 2
        for i in range(self.encoder_layers):
            fusion = FusionLayer(heads, hidden, self.dtype, name=f"encoder_{i}_fusion_layer")
            memory, text = fusion(memory, text, mask, token_mask)
            block = TransformerEncoderBlock(
                heads, hidden, fused_qkv=False, dtype=self.dtype, name=f"encoder_{i}_text_enhancer_layer"
            )
            text = block(text, train, phrases[:, None], position=word_position.astype(text.dtype))
            layer = DeformableEncoderLayer(
                self.encoder_heads, 2 * hidden, self.encoder_points, name=f"encoder_{i}_deformable_layer", **fields
            )
            memory = layer(memory, position, centers[:, :, None] * ratio[:, None], shapes, mask, train)

        def scores(z: jax.Array, name: str) -> jax.Array:
            y = jnp.einsum("bqd,btd->bqt", z, text).astype(jnp.float32)
            if self.scaled:
                y = y / math.sqrt(self.features) + self.param(f"{name}_bias", nn.initializers.constant(-4.6), ())
            return jnp.where(token_mask[:, None], y, -jnp.inf)

        # Queries: the locations most like a word, and the boxes that they propose.
        anchors = jnp.broadcast_to(centers, (len(images), *centers.shape[1:]))
        size = jnp.broadcast_to(jnp.asarray(0.05 * 2.0**level, jnp.float32)[:, None], anchors.shape)
        anchors = jnp.concatenate([anchors, size], -1)  # [B, N, 4]
        valid = ((anchors > 0.01) & (anchors < 0.99)).all(-1, keepdims=True)
        valid = valid if mask is None else valid & mask[..., None]
        y = Dense(self.features, dtype=self.dtype, name="enc_output")(jnp.where(valid, memory, 0))
        y = LayerNorm(dtype=self.dtype, name="enc_output_norm")(y)
        logits = jnp.where(valid, jnp.log(anchors / (1 - anchors)), jnp.inf)
        logits = logits + BoxHead(self.features, dtype=self.dtype, name="encoder_output_bbox_embed")(y)
        _, best = jax.lax.top_k(scores(y, "encoder_output_class_embed").max(-1), self.num_queries)
        reference = jax.lax.stop_gradient(nn.sigmoid(jnp.take_along_axis(logits, best[..., None], 1)))
        table = self.param("query_positions", nn.initializers.normal(1.0), (self.num_queries, self.features))
        queries = jnp.broadcast_to(table, (len(images), *table.shape)).astype(memory.dtype)
        # Decoder: each layer refines the boxes.
        init = nn.initializers.xavier_uniform()
        point_head = BoxHead(self.features, self.features, 2, init, self.dtype, name="decoder_reference_points_head")
        count = 1 if self.shared_heads else layers
        boxes = [BoxHead(self.features, dtype=self.dtype, name=f"bbox_embed_{i}") for i in range(count)]
        norm, states = LayerNorm(dtype=self.dtype, name="decoder_layer_norm"), []
        for i in range(layers):
            references = reference[:, :, None] * jnp.tile(ratio, 2)[:, None]  # [B, Q, levels, 4]
            yxwh = references[:, :, 0, jnp.array([1, 0, 2, 3])]
            sines = sinusoidal_encoding(2 * np.pi * yxwh, self.features // 2).reshape(*queries.shape[:2], -1)
            layer = GroundedDecoderLayer(
                self.decoder_heads, self.decoder_hidden_features, self.decoder_points, name=f"decoder_{i}", **fields
            )
            query_pos = point_head(sines.astype(memory.dtype))
            queries = layer(queries, query_pos, references, memory, shapes, text, mask, token_mask, train)
            box_head, logit = boxes[i % count], inverse_sigmoid(jnp.clip(reference, 1e-5, 1 - 1e-5))
            words = scores(norm(queries), f"class_embed_{i}")
            words = jnp.pad(words, ((0, 0), (0, 0), (0, self.max_text_length - length)), constant_values=-jnp.inf)
            states.append((words, nn.sigmoid(box_head(norm(queries)) + logit)))
            reference = jax.lax.stop_gradient(nn.sigmoid(box_head(queries) + logit))
        return Outputs(*(jnp.stack(parts, 1) for parts in zip(*states, strict=True)))

    @nn.nowrap
    def _level(self, shapes: Any) -> np.ndarray:
        return np.repeat(np.arange(self.num_levels), [rows * columns for rows, columns in shapes])

    def _pyramid(self, images: jax.Array, image_size: jax.Array | None, train: bool) -> tuple:
        """(tokens [B, N, D], positions, mask [B, N] or None, shares of the image on each level, shapes)."""
        maps = list(self.backbone.features(images, train).values())
        levels: list[jax.Array] = []
        for i in range(self.num_levels):
            conv = partial(Conv, self.features, dtype=self.dtype, name=f"input_proj_vision_{i}_0")
            if i < len(maps):
                y = conv((1, 1))(maps[i])
            else:
                y = conv((3, 3), 2, padding=1)(maps[-1] if i == len(maps) else levels[-1])
            levels.append(GroupNorm(32, dtype=self.dtype, name=f"input_proj_vision_{i}_1")(y))
        memory, shapes = flatten_maps(levels)
        level_embed = self.param("level_embed", nn.initializers.normal(1.0), (self.num_levels, self.features))
        positions, masks, ratios = [], [], []
        for (rows, columns), embedding in zip(shapes, level_embed, strict=True):
            counts = (None, None)
            if image_size is not None:
                mask = pixel_mask(image_size, (rows, columns), (images.shape[1] // rows, images.shape[2] // columns))
                counts = mask[:, :, 0].sum(1), mask[:, 0].sum(1)
                masks.append(mask.reshape(len(mask), -1))
                ratios.append(jnp.stack([counts[1] / columns, counts[0] / rows], -1))
            sines = sinusoidal_encoding_2d(rows, columns, self.features, self.max_period, *counts)
            positions.append(sines.reshape(*sines.shape[:-3], -1, self.features) + embedding)
        position = jnp.concatenate(positions, -2).astype(memory.dtype)
        mask = jnp.concatenate(masks, 1) if masks else None
        return memory, position, mask, jnp.stack(ratios, 1) if ratios else jnp.ones((1, len(shapes), 2)), shapes

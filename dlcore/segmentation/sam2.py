"""Segment Anything 2 (SAM 2) on images: masks of what points, boxes or a rough mask point at.

Ravi et al., "SAM 2: Segment anything in images and videos" (2024), arXiv:2408.00714.

    image     p_i = conv1x1(stage_i),  p_3 = p_3 + nearest_2x(p_4);    z = p_3 + e,   e: there is no memory
    decoder   SAM's (`dlcore.segmentation.sam`), whose pixels also read p_1 and p_2 where they have their size
    present   MLP(token of the object), a logit that what is prompted is in the image;  IoU = sigmoid(MLP(its token))

Weights are those of transformers' Sam2Model (`facebook/sam2.1-hiera-tiny`); what a Sam2VideoModel has beside them, its
memory, is left over.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn import Conv
from dlcore.ops.resize import resize
from dlcore.segmentation.mask_decoder import MaskDecoder
from dlcore.segmentation.sam import SAM, PromptEncoder

__all__ = ["SAM2", "PyramidNeck"]


class PyramidNeck(nn.Module):
    """A feature pyramid: a 1x1 convolution of each stage, some with the map of the stage above added.

    Args:
      features: output channels.
      top_down: indices of stages to which the map above is added.
    """

    features: int
    top_down: tuple[int, ...] = (2, 3)
    dtype: Any = None

    @nn.compact
    def __call__(self, maps: list[jax.Array]) -> list[jax.Array]:
        """Project maps: [B, h_i, w_i, C_i], the finest first -> [B, h_i, w_i, features]."""
        last, results = len(maps) - 1, []
        for i in range(last, -1, -1):
            x = Conv(self.features, (1, 1), dtype=self.dtype, name=f"convs_{last - i}")(maps[i])
            if i in self.top_down and i < last:
                x = x + resize(results[0], x.shape[1:3], "nearest")
            results.insert(0, x)
        return results


class SAM2(SAM):
    """Image encoder, pyramid, prompt encoder and mask decoder.

    Args:
      encoder: a backbone with the stages stage1 to stage4, for square images of `encoder.image_size` pixels.
      features: D, channels of the pyramid and of tokens, a multiple of 8.
      top_down: indices of stages to which the pyramid adds the map above.
    """

    encoder: Any = None
    top_down: Annotated[tuple[int, ...], "if changed"] = (2, 3)

    TORCH_NAMES = (
        (r"^positional_embedding$", "shared_image_embedding.positional_embedding"),
        (r"^prompt_frequencies$", "prompt_encoder.shared_embedding.positional_embedding"),
        (r"^neck\.", "vision_encoder.neck."),
        (r"^encoder\.", "vision_encoder.backbone."),
        (r"\.patch_embed\.", ".patch_embed.projection."),
        (r"\.norm(\d)\.", r".layer_norm\1."),
        (r"\.mlp\.fc1\.", ".mlp.proj_in."),
        (r"\.mlp\.fc2\.", ".mlp.proj_out."),
        (r"^conv_s", "mask_decoder.conv_s"),
        (r"\.(no_mask_embed|not_a_point_embed|point_embed|iou_token|mask_tokens|obj_score_token)$", r".\1.weight"),
        (r"^mask_decoder\.transformer_", "mask_decoder.transformer."),
        (r"^(mask_decoder.*attn.*)\.(q|k|v)(?:uery|ey|alue)\.", r"\1.\2_proj."),
        (r"^(mask_decoder.*attn.*)\.proj\.", r"\1.o_proj."),
    )
    TORCH_OPTIONAL = (
        r"^(memory_|mask_downsample|object_pointer_proj|temporal_positional_encoding_projection_layer|"
        r"no_memory_positional_encoding|no_object_pointer|occlusion_spatial_embedding_parameter)"
    )

    def setup(self) -> None:
        """Create the frequencies, the pyramid, the prompt encoder and the decoder."""
        shape, init = (2, self.features // 2), nn.initializers.normal(1.0)
        self.positional_embedding = self.param("positional_embedding", init, shape)
        self.prompt_frequencies = self.param("prompt_frequencies", init, shape)
        self.no_memory_embedding = self.param("no_memory_embedding", nn.initializers.zeros, (1, 1, self.features))
        self.neck = self._pyramid()
        self.conv_s0 = Conv(self.features // 8, (1, 1), dtype=self.dtype)
        self.conv_s1 = Conv(self.features // 4, (1, 1), dtype=self.dtype)
        self.prompt_encoder = PromptEncoder(
            self.features, self.encoder.image_size, self.mask_channels, self.dtype, ends_boxes=True
        )
        self.mask_decoder = MaskDecoder(
            self.num_masks,
            self.decoder_depth,
            self.num_heads,
            self.hidden,
            self.iou_hidden,
            self.iou_depth,
            self.dtype,
            occlusion=True,
            epsilon=1e-5,
        )

    @nn.nowrap
    def _pyramid(self) -> nn.Module:
        return PyramidNeck(self.features, self.top_down, self.dtype)

    def encode(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Compute an image's maps, once for all prompts.

        Args:
          x: [B, S, S, 3], S the encoder's image size.

        Returns:
          ([B, 4 h, 4 w, D / 8], [B, 2 h, 2 w, D / 4], [B, h, w, D]).
        """
        finest, fine, image, *_ = self.neck(list(self.encoder.features(x).values()))
        return self.conv_s0(finest), self.conv_s1(fine), image + self.no_memory_embedding.astype(image.dtype)

    def decode(
        self,
        image: tuple[jax.Array, ...],
        points: jax.Array | None = None,
        labels: jax.Array | None = None,
        boxes: jax.Array | None = None,
        masks: jax.Array | None = None,
        has_mask: jax.Array | None = None,
    ) -> tuple[jax.Array, ...]:
        """Segment what the prompts point at in images whose maps are known.

        Args:
          image: maps of `encode`.
          points: as of `SAM`.
          labels: as of `SAM`.
          boxes: as of `SAM`.
          masks: as of `SAM`.
          has_mask: as of `SAM`.

        Returns:
          (logits [B, P, 1 + M, S / 4, S / 4], the single mask first; their predicted IoU [B, P, 1 + M]; logits [B, P,
          1] that the object is in the image; the masks' tokens [B, P, 1 + M, D]).
        """
        *fine_maps, image_map = image
        if points is None and boxes is None and masks is not None:  # as the library: one point that is none
            points, labels = jnp.zeros((len(masks), 1, 1, 2)), -jnp.ones((len(masks), 1, 1), jnp.int32)
        prompts = (points, labels, boxes, masks, has_mask)
        return self._decode(image_map, self.prompt_frequencies, *prompts, fine_maps=fine_maps)

"""Image-to-text models: a network reads an image, and a decoder with cross-attention writes about it.

    memory = tower(image);   logits = head(decoder(tokens, memory))

TrOCR (Li et al. 2021, arXiv:2109.10282): a ViT or DeiT and a post-norm decoder. Donut (Kim et al. 2021,
arXiv:2111.15664): a Swin transformer without its last norm and a pre-norm decoder. BLIP's captioner (Li et al. 2022,
arXiv:2201.12086): a ViT and a BERT with cross-attention. `EncoderDecoder` says how texts are decoded with a cache;
see `dlcore.models.vision_encoder_decoder` for ViT and GPT-2.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.bart import OFFSET
from dlcore.models.encoder_decoder import EncoderDecoder
from dlcore.models.image_to_text_names import fill_parts
from dlcore.models.swin import Swin
from dlcore.models.vision_tower import VisionTower
from dlcore.nn import Dense, LayerNorm
from dlcore.nn.activations import named_activation
from dlcore.nn.embed import Embed
from dlcore.nn.transformer import TransformerDecoderBlock
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "ImageToText", "SwinTower", "example_inputs", "fairseq_encoding", "from_torch_names"]


class SwinTower(Swin):
    """A Swin transformer without its last norm: images [B, H, W, C] -> tokens [B, h w, channels].

    All fields of `Swin`.

    Args:
      image_size: side in pixels of the square images that initialize it.
    """

    image_size: Annotated[int, Range(1)] = 224

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Read images.

        Returns:
          [B, h w, channels].
        """
        x = self._stages(x, train)[0]
        return x.reshape(len(x), -1, x.shape[-1])


class ImageToText(EncoderDecoder):
    """A reader of images: (images [B, H, W, C], tokens [B, T]) -> logits [B, T, V] of the token after each.

    Args:
      tower: images -> tokens [B, N, D].
      vocab_size: V, different tokens.
      window: the most tokens of a text.
      num_layers: blocks of the decoder.
      num_heads: attention heads of each block; divides the width.
      width: features of a token.
      activation: of the MLPs, by transformers' name.
      pre_norm: normalize the input of each branch, and the last block's output.
      positions: learned, or sinusoidal as in fairseq.
      offset: row of the table of positions where the first token's is.
      embed_scale: factor of the embedded tokens.
      embed_norm: normalize what the first block reads.
      head: tied, the transposed embedding; own, a layer without bias; or bert, LN(f(W x)) by the transposed embedding
        and a bias.
      projects: project the image's tokens to the decoder's width.
      dtype: dtype of the computation; None takes the parameters'.
    """

    tower: nn.Module
    vocab_size: int = 50265
    window: Annotated[int, Range(1)] = 512
    num_layers: Annotated[int, Range(1)] = 12
    num_heads: Annotated[int, Range(1)] = 16
    width: Annotated[int, Range(2)] = 1024
    mlp_features: Annotated[int, Range(1)] = 4096
    activation: str = "gelu"
    pre_norm: bool = False
    positions: Literal["learned", "sinusoidal"] = "learned"
    offset: Annotated[int, Range(0)] = OFFSET
    embed_scale: float = 1.0
    embed_norm: bool = True
    head: Literal["tied", "own", "bert"] = "tied"
    projects: bool = False
    epsilon: float = 1e-5
    dtype: Any = None

    def setup(self):
        """Build the embeddings, the blocks and the head."""
        init = nn.initializers.normal(0.02)
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=init)
        norm = functools.partial(LayerNorm, self.epsilon, dtype=self.dtype)
        self.embed_tokens = Embed(self.vocab_size, self.width, embedding_init=init, dtype=self.dtype)
        if self.positions == "learned":
            rows = self.window + self.offset
            self.embed_positions = Embed(rows, self.width, embedding_init=init, dtype=self.dtype)
        if self.embed_norm:
            self.embeddings_norm = norm()
        if self.projects:
            self.enc_to_dec_proj = dense(self.width)
        self.decoder = [
            TransformerDecoderBlock(
                self.num_heads,
                self.mlp_features,
                pre_norm=self.pre_norm,
                activation=named_activation(self.activation),
                epsilon=self.epsilon,
                fused_qkv=False,
                qkv_features=self.width,
                dtype=self.dtype,
                kernel_init=init,
            )
            for _ in range(self.num_layers)
        ]
        if self.pre_norm:
            self.norm = norm()
        if self.head == "own":
            self.lm_head = dense(self.vocab_size, use_bias=False)
        elif self.head == "bert":
            self.transform, self.transform_norm = dense(self.width), norm()
            self.head_bias = self.param("head_bias", nn.initializers.zeros, (self.vocab_size,))

    def encode(self, source: jax.Array, train: bool = False, mask: jax.Array | None = None) -> dict[str, Any]:
        """Read the images.

        Args:
          source: [B, H, W, C].
          mask: [B, N] bool, True where a token of the tower may be seen; None: everywhere.

        Returns:
          The memory: `states: [B, N, D]`, and `mask: [B, 1, 1, N]` or None.
        """
        states = self.tower(source, train)
        states = self.enc_to_dec_proj(states) if self.projects else states
        return {"states": states, "mask": None if mask is None else mask.astype(bool)[:, None, None]}

    def embedded(self, side: str, tokens: jax.Array, positions: jax.Array, train: bool) -> jax.Array:
        """Embed tokens at their positions."""
        length = tokens.shape[1]
        if length > self.window:
            raise ValueError(f"tokens.shape={tokens.shape}: {length} tokens; allowed: at most window={self.window}")
        x = self.embed_tokens(tokens) * self.embed_scale
        if self.positions == "learned":
            x = x + self.embed_positions(positions + self.offset)
        else:
            x = x + fairseq_encoding(positions + self.offset, self.width).astype(x.dtype)
        return self.embeddings_norm(x) if self.embed_norm else x

    def finish(self, side: str, x: jax.Array, train: bool) -> jax.Array:
        """Apply the last norm of pre-norm blocks."""
        return self.norm(x) if self.pre_norm else x

    def logits(self, x: jax.Array) -> jax.Array:
        """Compute logits by the head."""
        if self.head == "own":
            return self.lm_head(x)
        if self.head == "tied":
            return self.embed_tokens.attend(x)
        x = self.transform_norm(named_activation(self.activation)(self.transform(x)))
        return to_acc_dtype(self.embed_tokens.attend(x)) + self.head_bias


def fairseq_encoding(positions: jax.Array, features: int) -> jax.Array:
    """Encode positions by sines, then cosines, of wavelengths that end at 2 pi 10,000.

    Args:
      positions: [...] int.
      features: D, even.

    Returns:
      [..., D] float32.
    """
    half = features // 2
    frequencies = np.exp(-np.log(10_000.0) / (half - 1) * np.arange(half)).astype(np.float32)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


def example_inputs(model: ImageToText) -> tuple[jax.Array, jax.Array]:
    """Build (an image [1, H, W, C], tokens [1, 1])."""
    side = model.tower.image_size
    return jnp.zeros((1, side, side, 3)), jnp.zeros((1, 1), jnp.int32)


def from_torch_names(model: ImageToText, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of VisionEncoderDecoderModel or BlipForConditionalGeneration of transformers."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    return fill_parts(shapes, state_dict, isinstance(model.tower, Swin), model.head)


MODELS = {
    "trocr_base": functools.partial(
        ImageToText,
        tower=VisionTower(num_classes=0, image_size=384, qkv_bias="none", reads=(12,), skips_first_token=False),
    ),
    "donut_base": functools.partial(
        ImageToText,
        tower=SwinTower(num_classes=0, stages=(2, 2, 14, 2), width=128, num_heads=(4, 8, 16, 32), window_size=10),
        vocab_size=57525,
        window=1536,
        num_layers=4,
        pre_norm=True,
        embed_scale=32.0,
    ),
    "blip_base": functools.partial(
        ImageToText,
        tower=VisionTower(num_classes=0, image_size=384, epsilon=1e-5, reads=(12,), skips_first_token=False),
        vocab_size=30524,
        num_heads=12,
        width=768,
        mlp_features=3072,
        offset=0,
        head="bert",
        epsilon=1e-12,
    ),
}

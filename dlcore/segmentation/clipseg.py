"""CLIPSeg: the mask of what a text, or another image, describes, from the layers of a frozen CLIP.

Lüddecke & Ecker, "Image segmentation using text and image prompts" (2022), arXiv:2112.10003.

    c       CLIP's vector of the text or of the image that prompts, of any length
    x       x = x + W_i z_i,  x = block_i(x), post-norm,    z_i: tokens of CLIP's block e_i, the deepest first
    FiLM    before one of the blocks  x = (A c + a) x + (B c + b)
    mask    transposed convolution of x as a map without the class token, a patch to its pixels

Weights are those of transformers' CLIPSegForImageSegmentation (`CIDAS/clipseg-rd64-refined`).
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.clip import CLIP, LAYER_NAMES
from dlcore.models.fields import CheckedFields
from dlcore.nn import Conv, ConvTranspose, Dense, TransformerEncoderBlock
from dlcore.ops.precision import to_acc_dtype

__all__ = ["CLIPSeg", "CLIPSegDecoder"]


class CLIPSegDecoder(CheckedFields):
    """Blocks on projected tokens of CLIP's layers, modulated by the prompt's vector.

    Args:
      patch_size: side in pixels of a patch of the CLIP.
      layers: indices of CLIP's blocks that are read, from 0.
      features: channels of the blocks.
      num_heads: attention heads of the blocks.
      hidden: hidden units of a block's MLP.
      film_layer: block before which the prompt modulates the tokens, from 0.
      refined: whether a convolution and two transposed ones draw the mask, in place of one.
    """

    patch_size: Annotated[int, Range(1)] = 16
    layers: Annotated[tuple[int, ...], Range(0)] = (3, 6, 9)
    features: Annotated[int, Range(2)] = 64
    num_heads: Annotated[int, Range(1)] = 4
    hidden: Annotated[int, Range(1)] = 2048
    film_layer: Annotated[int, Range(0)] = 0
    refined: bool = False
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: list[jax.Array], prompt: jax.Array, sides: tuple[int, int]) -> jax.Array:
        """Draw masks.

        Args:
          tokens: [B, 1 + h w, C] of each of CLIP's blocks.
          prompt: [B, D].
          sides: (h, w).

        Returns:
          [B, h P, w P], logits, P the side of a patch; with `refined` (P / 4)^2 in its place, the same for 16 pixels.
        """
        dense = functools.partial(Dense, self.features, dtype=self.dtype)
        x = jnp.zeros((*tokens[0].shape[:2], self.features), tokens[0].dtype)
        for i, layer in enumerate(reversed(self.layers)):
            x = x + dense(name=f"reduces_{i}")(tokens[layer])
            if i == self.film_layer:
                x = dense(name="film_mul")(prompt)[:, None] * x + dense(name="film_add")(prompt)[:, None]
            settings = {"activation": nn.relu, "epsilon": self.epsilon, "dtype": self.dtype, "name": f"layers_{i}"}
            x = TransformerEncoderBlock(self.num_heads, self.hidden, pre_norm=False, **settings)(x)
        x, size = x[:, 1:].reshape(len(x), *sides, self.features), self.patch_size
        if self.refined:
            x = nn.relu(Conv(self.features, (3, 3), padding=1, dtype=self.dtype, name="transposed_convolution_0")(x))
            size //= 4
            settings = {"dtype": self.dtype, "name": "transposed_convolution_2"}
            x = nn.relu(ConvTranspose(self.features // 2, (size, size), size, 0, **settings)(x))
        name = "transposed_convolution_4" if self.refined else "transposed_convolution"
        x = ConvTranspose(1, (size, size), size, 0, dtype=self.dtype, name=name)(x)
        return to_acc_dtype(x[..., 0])


class CLIPSeg(CheckedFields):
    """A CLIP and a decoder of masks.

    Args:
      clip: the CLIP, which is not trained.
      decoder: the decoder.
    """

    clip: CLIP
    decoder: CLIPSegDecoder

    TORCH_NAMES = LAYER_NAMES

    def __call__(self, images: jax.Array, texts: jax.Array | None = None, prompt: jax.Array | None = None) -> jax.Array:
        """Segment what a text describes.

        Args:
          images: [B, H, W, 3], normalized, H and W multiples of the patch.
          texts: [B, T] int, each with an end token.
          prompt: [B, D], in place of texts: a vector of `describe`.

        Returns:
          [B, H, W], logits.
        """
        if (texts is None) == (prompt is None):
            raise ValueError("texts=None: no prompt, or two; allowed: texts or prompt")
        prompt = self.describe(texts=texts) if prompt is None else prompt
        layers = self.clip.image_layers(images)
        if self.is_initializing():
            self.clip.project_image(layers[-1])
        size = self.clip.patch_size
        sides = images.shape[1] // size, images.shape[2] // size
        prompt = jax.lax.stop_gradient(prompt)
        return self.decoder(jax.lax.stop_gradient(layers), prompt, sides)

    def describe(self, texts: jax.Array | None = None, images: jax.Array | None = None) -> jax.Array:
        """Describe prompts: texts [B, T] int or images [B, H, W, 3] -> [B, D], of any length."""
        if texts is not None:
            return self.clip.project_text(texts)
        return self.clip.project_image(self.clip.image_tokens(jnp.asarray(images)))

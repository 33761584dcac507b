"""The VQ autoencoder of latent diffusion: residual blocks and attention around a grid of codes.

Esser, Rombach & Ommer 2021, arXiv:2012.09841 ("VQGAN"), in the form of the diffusers library, whose weights it takes.

    z = quant_conv(encoder(x)),   q the nearest codes,   reconstruction = decoder(post_quant_conv(q))

It is a `model` of `dlcore.generative.vq_gan.learner`, which adds the paper's perceptual and adversarial losses, or of
`dlcore.generative.vq_vae.learner`; either holds the codebook.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.generative import torch_diffusers
from dlcore.generative.autoencoder_kl import Decoder, Encoder
from dlcore.learner import Range
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.nn import Conv

__all__ = ["VQModel", "from_torch_names"]

CODEBOOK = "quantize.embedding.weight"


class VQModel(nn.Module):
    """Encoder to a map of vectors, and decoder from the codes that are nearest to them.

    Args:
      shape: (H, W, C) of an image.
      channels: number of channels of each level; each after the first halves the sides.
      num_res_blocks: residual blocks of each level; one more in the decoder.
      embedding_dim: D, of a code.
      groups: groups of the group norms; divides all channels.
    """

    shape: tuple[int, ...]
    channels: tuple[int, ...] = (32, 64)
    num_res_blocks: Annotated[int, Range(1)] = 1
    embedding_dim: Annotated[int, Range(1)] = 16
    groups: Annotated[int, Range(1)] = 8
    dtype: Any = None

    def setup(self):
        """Build both halves and the 1x1 convolutions around the codes."""
        fields = self.channels, self.num_res_blocks
        self.encoder = Encoder(*fields, self.embedding_dim, self.groups, self.dtype)
        self.decoder = Decoder(*fields, self.shape[-1], self.groups, self.dtype)
        self.quant_conv = Conv(self.embedding_dim, (1, 1))
        self.post_quant_conv = Conv(self.embedding_dim, (1, 1))

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the codes."""
        factor = 2 ** (len(self.channels) - 1)
        height, width, _ = self.shape
        if height % factor or width % factor:
            raise ValueError(f"shape={tuple(self.shape)}: sides do not divide; allowed: multiples of {factor}")
        return height // factor, width // factor

    @property
    def last_kernel(self) -> tuple[str, ...]:
        """Path of the decoder's last kernel among the parameters."""
        return "decoder", "conv_out", "kernel"

    def encode(self, x: jax.Array) -> jax.Array:
        """Compute what the codes are nearest to: [B, H, W, C] in [-1, 1] -> [B, h, w, D]."""
        _ = self.grid
        return self.quant_conv(self.encoder(x))

    def decode(self, q: jax.Array) -> jax.Array:
        """Decode code vectors: [B, h, w, D] -> [B, H, W, C], about [-1, 1]."""
        return self.decoder(self.post_quant_conv(q))

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Reconstruct without quantization: [B, H, W, C] in [-1, 1] -> [B, H, W, C], about [-1, 1]."""
        return self.decode(self.encode(x))


def from_torch_names(model: VQModel, state_dict: Mapping[str, Any]) -> tuple[Any, jax.Array]:
    """Convert a state dict of diffusers' VQModel.

    Args:
      model: model of the same form.
      state_dict: {name: array}.

    Returns:
      (variables of the model, the codebook's vectors [K, D]).
    """
    state_dict = unwrap_state_dict(state_dict)
    if CODEBOOK not in state_dict:
        raise ValueError(f"state_dict: it has no {CODEBOOK}; allowed: that of a VQModel")
    vectors = np.asarray(state_dict[CODEBOOK], np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != model.embedding_dim:
        allowed = f"[K, {model.embedding_dim}]"
        raise ValueError(f"state_dict: {CODEBOOK} is of shape {vectors.shape}; allowed: {allowed}")
    rest = {name: value for name, value in state_dict.items() if name != CODEBOOK}
    return torch_diffusers.from_torch_names(model, rest, jnp.zeros((1, *model.shape))), jnp.asarray(vectors)

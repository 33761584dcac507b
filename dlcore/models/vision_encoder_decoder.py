"""A ViT that reads an image, and a GPT-2 that writes about it: the published image captioners of transformers.

    memory = ViT(image), all tokens;   logits = GPT-2 with cross-attention(tokens, memory)

Li et al. 2021, "TrOCR", arXiv:2109.10282, joins an image transformer and a language model so, each pretrained alone.
The decoder is `dlcore.models.gpt2`'s network with a cross-attention in each block; both sides have the same width.

`load_torch` takes the state dict of transformers' VisionEncoderDecoderModel with these two networks, and leaves out the
ViT's pooler.
"""

import functools
from typing import Annotated, Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import vit
from dlcore.models.encoder_decoder import EncoderDecoder
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.remat import Remat, remat
from dlcore.nn.transformer import TransformerDecoderBlock

__all__ = ["MODELS", "ViTEncoder", "VisionEncoderDecoder", "from_torch"]

INPUTS = ("image", "tokens")
TORCH_NAMES = (
    (r"^encoder\.cls_token", "encoder.embeddings.cls_token"),
    (r"^encoder\.pos_embed\.weight", "encoder.embeddings.position_embeddings"),
    (r"^encoder\.patch_embed\.", "encoder.embeddings.patch_embeddings.projection."),
    (r"^encoder\.norm\.", "encoder.layernorm."),
    (r"^encoder\.blocks\.", "encoder.layers."),
    (r"^(encoder.*)\.norm1\.", r"\1.layernorm_before."),
    (r"^(encoder.*)\.norm2\.", r"\1.layernorm_after."),
    (r"^(encoder.*)\.attn\.proj\.", r"\1.attention.o_proj."),
    (r"^(encoder.*)\.attn\.qkv\.(.*)", r"\1.attention.q_proj.\2 + \1.attention.k_proj.\2 + \1.attention.v_proj.\2"),
    (r"^(w[tp]e)\.", r"decoder.transformer.\1."),
    (r"^decoder_norm\.", "decoder.transformer.ln_f."),
    (r"^decoder\.(\d+)\.", r"decoder.transformer.h.\1."),
    (r"^(decoder.*)\.norm1\.", r"\1.ln_1."),
    (r"^(decoder.*)\.norm2\.", r"\1.ln_cross_attn."),
    (r"^(decoder.*)\.norm3\.", r"\1.ln_2."),
    (r"\.attn\.(?:qkv|proj)\.", lambda match: ".attn.c_attn." if "qkv" in match[0] else ".attn.c_proj."),
    (r"\.cross_attn\.query\.", ".crossattention.q_attn."),
    (r"\.cross_attn\.(key|value)\.", ".crossattention.c_attn."),
    (r"\.cross_attn\.proj\.", ".crossattention.c_proj."),
    (r"^(decoder.*)\.mlp\.fc1\.", r"\1.mlp.c_fc."),
    (r"^(decoder.*)\.mlp\.fc2\.", r"\1.mlp.c_proj."),
)
TORCH_OLD_NAMES = (
    (r"^encoder\.encoder\.layer\.", "encoder.layers."),
    (r"\.attention\.attention\.(q|k|v)(uery|ey|alue)\.", r".attention.\1_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"^(encoder.*)\.intermediate\.dense\.", r"\1.mlp.fc1."),
    (r"^(encoder\.layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
TORCH_IGNORED = r"\.(attn|crossattention)\.(masked_)?bias$"
TORCH_OPTIONAL = r"^encoder\.pooler\."
TORCH_TIED = {"decoder.lm_head.weight": "decoder.transformer.wte.weight"}


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Keep the decoder's kernels as (in, out), and part the keys and values of a cross-attention."""
    if "/cross_attn/key/" in path or "/cross_attn/value/" in path:
        return np.split(value, 2, -1)["/value/" in path]
    if "/decoder_" in path:
        return value if path.endswith("/kernel") else None
    return vit.from_torch(path, value, shape)


class ViTEncoder(vit.ViT):
    """A ViT without a head: images [B, H, W, C] -> normalized tokens [B, 1 + N, width], the class token first.

    All fields of `ViT`.
    """

    moves_token = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Read images.

        Returns:
          [B, 1 + N, width], at least float32.
        """
        return self._encode(x, train, {"cls_token": self.INITS["token"]})[0]


class VisionEncoderDecoder(EncoderDecoder):
    """A captioner: (images [B, H, W, C], tokens [B, T]) -> logits [B, T, V] of the token after each.

    Submodules `encoder` (a ViT), `wte`, `wpe`, `decoder_0` ..., `decoder_norm`.

    Args:
      vocab_size: V, different tokens.
      window: the most tokens of a text.
      image_size: side in pixels of the square images whose position table is learned.
      patch_size: side in pixels of a patch.
      encoder_layers: blocks of the ViT.
      decoder_layers: blocks of the language model.
      num_heads: attention heads of each block; divides the width.
      width: features of a token.
      mlp_features: hidden units of the MLP in a block of the ViT; the decoder's are 4 widths.
      dropout: probability to drop a value of an embedding, of a branch or, in the decoder, an attention weight.
      encoder_epsilon: epsilon of the ViT's layer norms.
      epsilon: epsilon of the decoder's layer norms.
      dtype: dtype of the computation; None takes the parameters'.
    """

    vocab_size: int = 50257
    window: Annotated[int, Range(1)] = 1024
    image_size: Annotated[int, Range(1)] = 224
    patch_size: Annotated[int, Range(1)] = 16
    encoder_layers: Annotated[int, Range(1)] = 12
    decoder_layers: Annotated[int, Range(1)] = 12
    num_heads: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    mlp_features: Annotated[int, Range(1)] = 3072
    dropout: Annotated[float, Range(0, 1)] = 0.0
    encoder_epsilon: float = 1e-12
    epsilon: float = 1e-5
    dtype: Any = None
    remat: Remat = "none"

    def setup(self):
        """Build the ViT, the embeddings, the blocks and the last norm."""
        same = ("image_size", "patch_size", "width", "num_heads", "mlp_features", "dropout", "dtype", "remat")
        fields = {field: getattr(self, field) for field in same}
        self.encoder = ViTEncoder(depth=self.encoder_layers, epsilon=self.encoder_epsilon, **fields)
        init = nn.initializers.normal(0.02)
        self.wte = Embed(self.vocab_size, self.width, embedding_init=init, dtype=self.dtype)
        self.wpe = Embed(self.window, self.width, embedding_init=init, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        block = remat(TransformerDecoderBlock, self.remat, static_argnums=(3,))
        self.decoder = [
            block(
                self.num_heads,
                4 * self.width,
                pre_norm=True,
                activation=functools.partial(nn.gelu, approximate=True),
                dropout_rate=self.dropout,
                attention_dropout_rate=self.dropout,
                epsilon=self.epsilon,
                dtype=self.dtype,
                kernel_init=init,
                out_kernel_init=nn.initializers.normal(0.02 / (2 * self.decoder_layers) ** 0.5),
            )
            for _ in range(self.decoder_layers)
        ]
        self.decoder_norm = LayerNorm(self.epsilon, dtype=self.dtype)

    def encode(self, source: jax.Array, train: bool = False, mask: jax.Array | None = None) -> dict[str, Any]:
        """Read the images.

        Args:
          source: [B, H, W, C].
          mask: [B, 1 + N] bool, True where a token of the ViT may be seen; None: everywhere.

        Returns:
          The memory: `states: [B, 1 + N, width]`, and `mask: [B, 1, 1, 1 + N]` or None.
        """
        attention_mask = None if mask is None else mask.astype(bool)[:, None, None]
        return {"states": self.encoder(source, train), "mask": attention_mask}

    def embedded(self, side: str, tokens: jax.Array, positions: jax.Array, train: bool) -> jax.Array:
        """Embed tokens at their positions."""
        length = tokens.shape[1]
        if length > self.window:
            raise ValueError(f"tokens.shape={tokens.shape}: {length} tokens; allowed: at most window={self.window}")
        position_embedding = self.wpe(positions)  # NaN beyond the window
        return self.drop(self.wte(tokens) + position_embedding, deterministic=not train)

    def finish(self, side: str, x: jax.Array, train: bool) -> jax.Array:
        """Apply the final norm to the decoder's hidden states."""
        return self.decoder_norm(x)

    def logits(self, x: jax.Array) -> jax.Array:
        """Compute logits by the transposed token embedding (tied weights)."""
        return self.wte.attend(x)


MODELS = {"vit_gpt2": VisionEncoderDecoder}

"""GPT-2: a decoder-only transformer that predicts the next token.

    x = E[tokens] + P[position];  x = block(x) for each block (pre-norm, causal);  logits = LN(x) E^T

Radford et al. 2019, "Language models are unsupervised multitask learners"; GPT-3 (Brown et al. 2020, arXiv:2005.14165)
is the same network at other sizes. The embedding E is also the head. Kernels start as N(0, 0.02^2), those at the end of
a branch smaller by sqrt(2 blocks), so the first loss is about log V. Activations are GELU's tanh form, as published.

`load_torch` takes the state dict of transformers, with or without the prefix `transformer.` and the copy `lm_head`.
Its kernels (`Conv1D`) are (in, out) as ours are; entries `attn.bias` and `attn.masked_bias` are masks.
"""

import functools
from typing import Annotated, Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.decoder_only import DecoderOnly
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.remat import Remat, remat
from dlcore.nn.scanned_blocks import STACK
from dlcore.nn.transformer import TransformerDecoderBlock

__all__ = ["GPT2", "MODELS", "from_torch"]

INPUTS = ("tokens",)
TORCH_NAMES = (
    (r"^blocks\.", "h."),
    (r"\.norm(\d)\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".attn.c_attn."),
    (r"\.attn\.proj\.", ".attn.c_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"^norm\.", "ln_f."),
)
TORCH_OLD_NAMES = ((r"^transformer\.", ""),)
TORCH_IGNORED = r"\.attn\.(masked_)?bias$"
TORCH_TIED = {"lm_head.weight": "wte.weight"}


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Keep kernels as they are: transformers stores GPT-2's as (in, out)."""
    return value if path.endswith("/kernel") else None


class GPT2(DecoderOnly):
    """A language model: tokens [B, T] -> logits [B, T, V] of the token after each.

    Args:
      vocab_size: V, different tokens.
      window: the most tokens that it reads, prompt and continuation together.
      num_layers: blocks.
      num_heads: attention heads of each block; divides the width.
      width: features of a token.
      dropout: probability to drop a value of the embedding, of a branch or an attention weight in training.
      dtype: dtype of the computation; None takes the parameters'.
      scan_blocks: compute the blocks in one loop, which compiles faster; their parameters are stacked, see
        `dlcore.nn.scanned_blocks`.
    """

    vocab_size: int
    window: Annotated[int, Range(1)]
    num_layers: Annotated[int, Range(1)] = 12
    num_heads: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    dropout: Annotated[float, Range(0, 1)] = 0.0
    epsilon: float = 1e-5
    dtype: Any = None
    remat: Remat = "none"
    scan_blocks: Annotated[bool, "if changed"] = False

    def setup(self):
        """Build the embeddings, the blocks and the last norm."""
        init = nn.initializers.normal(0.02)
        self.wte = Embed(self.vocab_size, self.width, embedding_init=init, dtype=self.dtype)
        self.wpe = Embed(self.window, self.width, embedding_init=init, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        block = remat(TransformerDecoderBlock, self.remat, static_argnums=(3, 8), is_scanned=self.scan_blocks)
        if self.scan_blocks:
            self.blocks = self._block(block, STACK)
        else:
            self.blocks = [self._block(block, f"{STACK}_{i}") for i in range(self.num_layers)]
        self.norm = LayerNorm(self.epsilon, dtype=self.dtype)

    @nn.nowrap
    def _block(self, block: Any = TransformerDecoderBlock, name: str | None = None) -> Any:
        return block(
            self.num_heads,
            4 * self.width,
            cross=False,
            pre_norm=True,
            activation=functools.partial(nn.gelu, approximate=True),
            dropout_rate=self.dropout,
            attention_dropout_rate=self.dropout,
            epsilon=self.epsilon,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.02),
            out_kernel_init=nn.initializers.normal(0.02 / (2 * self.num_layers) ** 0.5),
            **({"parent": None} if name is None else {"name": name}),
        )

    def embedded(self, tokens: jax.Array, position: jax.Array, train: bool) -> jax.Array:
        """Embed tokens at their positions."""
        position_embedding = self.wpe(position)  # NaN beyond the window
        return self.drop(self.wte(tokens) + position_embedding, deterministic=not train)

    def logits(self, x: jax.Array) -> jax.Array:
        """Compute logits by the transposed token embedding (tied weights)."""
        return self.wte.attend(x)


_published = functools.partial(GPT2, vocab_size=50257, window=1024)
MODELS = {
    "gpt2": _published,
    "gpt2_medium": functools.partial(_published, num_layers=24, num_heads=16, width=1024),
    "gpt2_large": functools.partial(_published, num_layers=36, num_heads=20, width=1280),
    "gpt2_xl": functools.partial(_published, num_layers=48, num_heads=25, width=1600),
}

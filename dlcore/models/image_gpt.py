"""Image GPT (iGPT): a GPT-2 that reads an image as a sequence of colors, pixel by pixel.

Chen et al., "Generative pretraining from pixels" (2020).

    x = E[colors] + P[position];  x = block(x) for each block (pre-norm, causal; RMS norms);  y = RMSNorm(x)
    logits = W mean(y)

Weights are those of transformers' ImageGPTModel and ImageGPTForImageClassification, whose last color starts a sequence.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import gpt2
from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import ACTIVATIONS, Dense
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import RMSNorm
from dlcore.nn.transformer import TransformerDecoderBlock
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "ImageGPT", "example_inputs", "from_torch_names"]


class ImageGPT(CheckedFields):
    """An encoder or a classifier of sequences of colors.

    Args:
      num_classes: number of classes; 0: no head, a call gives the tokens.
      vocab_size: colors, and one that starts a sequence.
      window: the most tokens that it reads.
      num_layers: blocks.
      width: features of a token.
      mlp_features: hidden units of a block's MLP.
      activation: of the MLPs, a name of `dlcore.nn.ACTIVATIONS`.
    """

    num_classes: int = 0
    vocab_size: int = 513
    window: Annotated[int, Range(1)] = 1024
    num_layers: Annotated[int, Range(1)] = 24
    num_heads: int = 8
    width: Annotated[int, Range(1)] = 512
    mlp_features: int = 2048
    activation: str = "quick_gelu"
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, colors: jax.Array, train: bool = False) -> jax.Array:
        """Describe or classify sequences.

        Args:
          colors: [B, T] int, T at most the window.
          train: unused, as nothing drops.

        Returns:
          [B, T, width], after the last norm; with classes the logits [B, num_classes].
        """
        length, init = colors.shape[1], nn.initializers.normal(0.02)
        if not 1 <= length <= self.window:
            raise ValueError(f"colors.shape={colors.shape}: {length} tokens; allowed: 1 to window={self.window}")
        embed = functools.partial(Embed, features=self.width, embedding_init=init, dtype=self.dtype)
        x = embed(self.vocab_size, name="wte")(colors) + embed(self.window, name="wpe")(jnp.arange(length))
        for i in range(self.num_layers):
            block = TransformerDecoderBlock(
                *(self.num_heads, self.mlp_features),
                cross=False,
                pre_norm=True,
                activation=ACTIVATIONS[self.activation],
                norm="rms",
                epsilon=self.epsilon,
                dtype=self.dtype,
                kernel_init=init,
                name=f"blocks_{i}",
            )
            x = block(x, None, train, None, None, None, None, True)
        x = to_acc_dtype(RMSNorm(self.epsilon, dtype=self.dtype, name="norm")(x))
        if self.num_classes == 0:
            return x
        return Dense(self.num_classes, use_bias=False, dtype=x.dtype, name="score")(x.mean(1))


MODELS = {
    "imagegpt_small": functools.partial(ImageGPT),
    "imagegpt_medium": functools.partial(ImageGPT, num_layers=36, width=1024, mlp_features=4096),
    "imagegpt_large": functools.partial(ImageGPT, num_layers=48, num_heads=16, width=1536, mlp_features=6144),
}


def example_inputs(model: ImageGPT) -> tuple[jax.Array]:
    """Build (colors [1, 1],)."""
    return (jnp.zeros((1, 1), jnp.int32),)


def from_torch_names(model: ImageGPT, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers' ImageGPT, whose kernels in blocks are (in, out)."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    entries = {
        key: np.transpose(value) if key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else value
        for key, value in state_dict.items()
    }
    older, optional = gpt2.TORCH_OLD_NAMES, rf"{gpt2.TORCH_IGNORED}|^lm_head\."
    return fill_from_torch(shapes, entries, gpt2.TORCH_NAMES, what="ImageGPT", older=older, optional=optional)

"""Text to image: a U-Net that attends to the words of a prompt at every position.

Rombach et al. 2022, arXiv:2112.10752, section 3.3; guided by Ho & Salimans 2022, arXiv:2207.12598.

    context = transformer(E[words] + positions),   eps = U-Net(x_t, t, context)

The words are embedded by a small transformer that learns with the U-Net. A prompt of padding alone stands for none:
training drops one prompt in ten to it, so that samples can be guided.
"""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.shape_grid import Placed
from dlcore.generative.condition import Condition, entry_of
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.learner import Evaluator, Range
from dlcore.nn.embed import Embed
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.position import sinusoidal_encoding
from dlcore.nn.transformer import TransformerEncoderBlock
from dlcore.ops.checks import check_finite

__all__ = ["TextUNet", "WordEncoder", "object_correctness", "prompt_condition"]


class WordEncoder(nn.Module):
    """A transformer over the tokens of a prompt.

    Args:
      vocab_size: V, tokens.
      width: D, of a token; even.
      depth: blocks.
      num_heads: attention heads; divides width.
    """

    vocab_size: int
    width: Annotated[int, Range(2)] = 64
    depth: Annotated[int, Range(0)] = 2
    num_heads: Annotated[int, Range(1)] = 4

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Encode prompts: [B, T] int -> [B, T, D]."""
        x = Embed(self.vocab_size, self.width, embedding_init=nn.initializers.normal(1.0), name="embed")(tokens)
        x += sinusoidal_encoding(tokens.shape[1], self.width)
        for k in range(self.depth):
            x = TransformerEncoderBlock(self.num_heads, 4 * self.width, pre_norm=True, name=f"blocks_{k}")(x)
        return LayerNorm(name="norm")(x)


class TextUNet(nn.Module):
    """Predicts the noise of an image from it, the timestep, and the tokens of a prompt.

    Args:
      words: the encoder of the prompt.
      unet: U-Net that attends to it.
    """

    words: WordEncoder
    unet: ConditionalUNet

    def __call__(self, x: jax.Array, t: jax.Array, tokens: jax.Array) -> jax.Array:
        """Predict the noise.

        x [B, H, W, C]; t [B], timesteps; tokens [B, T] int (all 0 for no prompt) -> [B, H, W, C].
        """
        return self.denoise(x, t, *self.prompted(tokens))

    def prompted(self, tokens: jax.Array) -> tuple[None, jax.Array]:
        """Encode prompts: [B, T] int -> (no class, context [B, T, D])."""
        return None, self.words(tokens)

    def denoise(self, x, t, label, context, control=None) -> jax.Array:
        """Predict the noise, given encoded prompts.

        Args:
          x: [B, H, W, C].
          t: [B], timesteps.
          label: None.
          context: [B, T, D].
          control: control of a ControlNet, see `ConditionalUNet`.

        Returns:
          [B, H, W, C].
        """
        return self.unet(x, t, label, context, control)


def prompt_condition(name: str = "tokens") -> Condition:
    """Condition on a prompt; padding alone is none.

    Args:
      name: name of the tokens [B, T] in the batch.

    Returns:
      The condition.

    Raises:
      ValueError: when a batch is read: it has no tokens.
    """
    return Condition(lambda batch: entry_of(batch, name).astype(jnp.int32), jnp.zeros_like)


def object_correctness(
    read: Callable[[np.ndarray], list[Placed]], asked: Callable[[dict], list[list[tuple[str, str]]]], source: object
) -> Evaluator:
    """Measure how many of the objects that prompts name are in the samples, and how many prompts hold altogether.

    Args:
      read: image [H, W, C] in [0, 1] -> the objects that are seen, see `dlcore.data.shape_grid.read_shapes`.
      asked: rows of the source -> the objects (color, shape) of each prompt, the left or upper one first.
      source: prompts.

    Returns:
      The evaluator of `object_correctness` (of the named objects, those seen), `scene_correctness` (prompts whose
      objects are seen, no others, in their order) and `shuffled_correctness` (object correctness by the prompt of the
      next sample: the baseline).
    """

    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        check_finite("sample", outputs["sample"])
        detected = [
            [(s.color, s.shape) for s in sorted(read(image), key=lambda s: s.cell)] for image in outputs["sample"]
        ]
        return [*(acc or []), *zip(asked(rows), detected, strict=True)]

    def is_present(prompted: list, detected: list) -> list[bool]:
        return [thing in detected for thing in prompted]

    def finish(acc: list) -> dict[str, float]:
        prompted, detected = zip(*acc, strict=True)
        other = (*prompted[1:], prompted[0])
        return {
            "object_correctness": float(np.mean([f for w, s in acc for f in is_present(w, s)])),
            "scene_correctness": float(np.mean([w == s for w, s in acc])),
            "shuffled_correctness": float(
                np.mean([f for w, s in zip(other, detected, strict=True) for f in is_present(w, s)])
            ),
        }

    return Evaluator(add, finish, source, ("object_correctness", "scene_correctness", "shuffled_correctness"))

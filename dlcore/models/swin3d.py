"""Video Swin: Swin transformers of clips, whose windows span several frames and shift in time as well.

Liu et al., "Video Swin transformer" (2021), arXiv:2106.13230.

    patches of 2 x 4 x 4 -> T/2 x H/4 x W/4 x C;  stage i: pairs of blocks at 2^i C channels
    block      z = z + W-MSA(LN(z)),  z = z + MLP(LN(z));   every other block shifts its windows by half along each axis
    W-MSA      softmax(Q K^T / sqrt(d) + B) V in each window of P x M x M;  B depends on the offset (t, y, x) alone
    merging    the 4 C values of 2 x 2 neighbors of a frame -> LN -> linear to 2 C;  time keeps its length

Everything else is `dlcore.models.swin`. Along an axis that a window covers, the window shrinks to the map, and nothing
shifts. As in torchvision, the shrunk window then takes the biases of the first positions of the whole one: those of its
own offsets where only time shrinks, others where rows or columns do. Clips that patches do not divide are padded with
zeros at the end.
"""

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import swin
from dlcore.models.inputs import check_clips
from dlcore.models.swin import Swin, SwinBlock
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import RelativePositionBias

__all__ = ["MODELS", "Swin3D", "SwinBlock3D", "example_inputs", "from_torch_names"]

TORCH_NAMES = (
    (r"^features\.0\.0\.", "patch_embed.proj."),
    (r"^features\.0\.2\.", "patch_embed.norm."),
    (r"^features\.(\d+)\.", lambda match: f"features.{int(match[1]) - 1}."),
    *swin.TORCH_NAMES,
)


class SwinBlock3D(SwinBlock):
    """Attention in (shifted) windows of several frames and an MLP, each with a residual connection.

    All fields of `SwinBlock`.

    Args:
      window_frames: P, frames of a window, in patches.
      shift_frames: shift of the windows in time, in patches.
    """

    window_frames: Annotated[int, Range(1)] = 8
    shift_frames: int = 0

    def _sides(self) -> tuple[int, int, int]:
        return (self.window_frames, self.window_size, self.window_size)

    def _window(self, sides: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(map(min, sides, self._sides()))

    def _shift(self) -> tuple[int, ...]:
        return (self.shift_frames, self.shift, self.shift)

    def _bias(self, window: tuple[int, ...]) -> jax.Array:
        count = math.prod(window)
        return RelativePositionBias(self._sides(), self.num_heads, name="bias_table")()[:, :count, :count]


class Swin3D(Swin):
    """A Video Swin transformer on clips [B, T, H, W, C]. Stages stage1 to stage4, maps [B, t, h, w, channels].

    All fields of `Swin`.

    Args:
      num_classes: number of classes; 400 of Kinetics in the published weights.
      patch_frames: frames of a patch.
      window_frames: P, frames of a window of attention, in patches.
      dropout: probability of dropping a value of the patches, and of each block's attention output and MLP in training.
    """

    num_classes: int = 400
    patch_frames: Annotated[int, Range(1)] = 2
    window_frames: Annotated[int, Range(1)] = 8
    dropout: float = 0.0
    drop_path: float = 0.1

    def _block(self) -> type[SwinBlock]:
        return SwinBlock3D

    def _block_fields(self, i: int, j: int) -> dict[str, Any]:
        return {"window_frames": self.window_frames, "shift_frames": self.window_frames // 2 if j % 2 else 0}

    def _patch(self) -> tuple[int, ...]:
        return (self.patch_frames, self.patch_size, self.patch_size)

    def _checked(self, x: jax.Array) -> jax.Array:
        check_clips(self, x, "features_0_0", smallest=(1, 1))
        pad = [(0, -side % length) for side, length in zip(x.shape[1:4], self._patch(), strict=True)]
        return jnp.pad(x, ((0, 0), *pad, (0, 0)))

    def _embedded(self, x: jax.Array, train: bool) -> jax.Array:
        return nn.Dropout(self.dropout)(x, deterministic=not train)


MODELS = {
    "swin3d_t": functools.partial(Swin3D),
    "swin3d_s": functools.partial(Swin3D, stages=(2, 2, 18, 2)),
    "swin3d_b": functools.partial(Swin3D, stages=(2, 2, 18, 2), width=128, num_heads=(4, 8, 16, 32)),
}


def example_inputs(model: Swin3D) -> tuple[jax.Array]:
    """Build (a clip [1, 32, 224, 224, 3],), as published."""
    return (jnp.zeros((1, 32, 224, 224, 3)),)


def from_torch_names(model: Swin3D, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of torchvision to the variables of a Video Swin transformer."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    return fill_from_torch(shapes, state_dict, TORCH_NAMES, what="Swin3D", optional=swin.TORCH_IGNORED)

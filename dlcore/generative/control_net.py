"""ControlNet: a trained U-Net follows an image of edges, of poses or of depths besides its prompt.

Zhang, Rao & Agrawala 2023, arXiv:2302.05543.

    maps = U-Net's encoder(x_t, t, prompt),   control = Z(copy of the encoder(x_t + Z(hint), t, prompt))
    eps  = U-Net's decoder(maps + control)

The U-Net is locked; a copy of its encoder learns. Z are 1x1 convolutions that start at zero, so that the first
prediction is the U-Net's own to the bit. The gradient of a zero convolution's weights is not zero, for its input is
not: y = w h has dL/dw = dL/dy h; but dL/dh = w dL/dy is, and the copy starts to learn once w has moved.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.generative.condition import Condition, entry_of
from dlcore.generative.conditional_unet import UNetEncoder
from dlcore.learner import Evaluator
from dlcore.nn import Conv
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_finite, check_shapes, describe_array

__all__ = ["ControlNet", "ControlledUNet", "control_condition", "copy_encoder", "edge_map", "shape_iou"]

_ZEROS = nn.initializers.zeros


class _HintEmbedding(nn.Module):
    """Convolutions that bring a hint to the size of what is diffused; the last starts at zero."""

    channels: tuple[int, ...]
    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.silu(Conv(self.channels[0], (3, 3), dtype=self.dtype, name="conv_in")(x))
        for k, (a, b) in enumerate(zip(self.channels[:-1], self.channels[1:], strict=True)):
            x = nn.silu(Conv(a, (3, 3), dtype=self.dtype, name=f"blocks_{2 * k}")(x))
            x = nn.silu(Conv(b, (3, 3), 2, padding=1, dtype=self.dtype, name=f"blocks_{2 * k + 1}")(x))
        return Conv(self.features, (3, 3), dtype=self.dtype, kernel_init=_ZEROS, name="conv_out")(x)


class ControlNet(UNetEncoder):
    """Turns a hint into what is added to the maps of a U-Net of the same fields.

    Args:
      hint_channels: number of channels of the convolutions on the hint; each after the first halves its sides.
    """

    hint_channels: tuple[int, ...] = (16,)

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        hint: jax.Array,
        label: jax.Array | None = None,
        context: jax.Array | None = None,
    ) -> tuple[list[jax.Array], jax.Array]:
        """Compute the control.

        x [B, H, W, C], what is denoised; t [B], timesteps; hint [B, H', W', C'], such as edges (H' = H / patch_size
        2^(len(hint_channels) - 1)); label [B] int, classes (None where num_classes is None); context [B, T, D], a text,
        or None -> (maps, map): what is added to the U-Net's maps on the way down, and to its middle's.
        """
        dtype = compute_dtype(self.dtype, x, self.variables)
        embedding = self.embed(t, label, dtype)
        x = self.stem(x, dtype)
        height, width = (2 ** (len(self.hint_channels) - 1) * side for side in x.shape[1:3])
        if hint.shape[1:3] != (height, width):
            raise ValueError(f"hint={hint.shape[1]}x{hint.shape[2]}: another size; allowed: {height}x{width}")
        x += _HintEmbedding(self.hint_channels, self.channels[0], dtype, name="controlnet_cond_embedding")(hint)
        x, maps = self.encode(x, embedding, context, dtype)

        def zero(name: str, h: jax.Array) -> jax.Array:
            return Conv(h.shape[-1], (1, 1), dtype=dtype, kernel_init=_ZEROS, name=name)(h)

        maps = [zero(f"controlnet_down_blocks_{k}", h) for k, h in enumerate(maps)]
        return maps, zero("controlnet_mid_block", x)


class ControlledUNet(nn.Module):
    """A locked network and its ControlNet: (x, t, {"prompt": ..., "hint": [B, H, W, C]}) -> noise.

    Args:
      base: model with `prompted(prompt) -> (label, context)` and `denoise(x, t, label, context, control)`, as
        `TextUNet`.
      control: the ControlNet, of the fields of the base's U-Net.
    """

    base: nn.Module
    control: ControlNet

    def __call__(self, x: jax.Array, t: jax.Array, given: dict[str, jax.Array]) -> jax.Array:
        """Predict the noise.

        x [B, H, W, C]; t [B], timesteps; given, "prompt", and "hint" [B, H', W', C'] -> [B, H, W, C].
        """
        # Frozen U-Net plus the output of the trainable copy.
        label, context = self.base.prompted(given["prompt"])
        return self.base.denoise(x, t, label, context, self.control(x, t, given["hint"], label, context))


def copy_encoder(control: Any, unet: Any) -> Any:
    """Start a ControlNet from its U-Net: every weight of the encoder that both have.

    Args:
      control: parameters of the ControlNet.
      unet: parameters of the U-Net.

    Returns:
      Those of the ControlNet, replaced where the U-Net has the same ones.
    """
    return {name: unet.get(name, control_params) for name, control_params in control.items()}


def control_condition(prompt: str = "tokens", hint: str = "hint") -> Condition:
    """Condition on a prompt and a hint; without a condition the prompt is missing, the hint stays.

    Args:
      prompt: name of the tokens [B, T] in the batch.
      hint: name of the hints [B, H, W, C] in the batch.

    Returns:
      The condition.

    Raises:
      ValueError: when a batch is read: it lacks one of them.
    """

    def read(batch: dict) -> dict:
        return {"prompt": entry_of(batch, prompt).astype(jnp.int32), "hint": entry_of(batch, hint).astype(jnp.float32)}

    return Condition(read, lambda cond: {**cond, "prompt": jnp.zeros_like(cond["prompt"])})


def edge_map(images: np.ndarray, least: float = 40) -> np.ndarray:
    """Find edges: where a channel changes by more than the noise.

    Args:
      images: [N, H, W, C] uint8.
      least: slope of a channel, in levels of 255 a pixel.

    Returns:
      [N, H, W, 1] float32, 1 at an edge and 0 elsewhere.
    """
    check_shapes(images=(images, "N H W C"), least=(least, ">= 0"))
    if np.asarray(images).dtype != np.uint8:
        raise ValueError(f"images={describe_array(images)}: no levels of 255; allowed: uint8")
    x = np.pad(np.asarray(images, np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    across, down = x[:, 1:-1, 2:] - x[:, 1:-1, :-2], x[:, 2:, 1:-1] - x[:, :-2, 1:-1]
    slope = np.sqrt(np.square(across) + np.square(down)).max(-1, keepdims=True) / 2
    return (slope > least).astype(np.float32)


def shape_iou(mask: Callable[[np.ndarray], np.ndarray], source: Any) -> Evaluator:
    """Measure whether samples have their shapes where the images have theirs whose edges they were given.

    Args:
      mask: images [B, H, W, C] -> the pixels of shapes, [B, H, W] bool.
      source: source with `image`, and the edges.

    Returns:
      The evaluator of `shape_iou`, and of `shuffled_iou`, with the shapes of the next image: the baseline.
    """

    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        check_finite("sample", outputs["sample"])
        return [*(acc or []), (mask(outputs["sample"]), mask(rows["image"]))]

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        both, either = (a & b).sum((1, 2)), (a | b).sum((1, 2))
        return float(np.where(either, both / np.maximum(either, 1), 1.0).mean())

    def finish(acc: list) -> dict[str, float]:
        generated, real = (np.concatenate(part) for part in zip(*acc, strict=True))
        return {"shape_iou": iou(generated, real), "shuffled_iou": iou(generated, np.roll(real, 1, 0))}

    return Evaluator(add, finish, source, ("shape_iou", "shuffled_iou"))

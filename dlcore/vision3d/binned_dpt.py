"""DPT with bins: the depth of a pixel is a mean over bins of depth, as of TIPS v2 and canopy height maps (CHMv2).

Ranftl, Bochkovskiy & Koltun, "Vision transformers for dense prediction" (2021), arXiv:2103.13413; the bins are those
of Bhat, Alhashim & Wonka, "AdaBins" (2020), arXiv:2011.14141, at fixed depths.

    s = head(neck(maps)),   w_k = a(s_k) / sum_j a(s_j),   depth = f sum_k w_k b_k
    a       relu(s) + floor, sigmoid(s) or exp(s)
    b_k     from min_depth to max_depth in equal steps of depth (linear), of its logarithm (log), or, mixed,
            (1 - t_k) log bin + t_k linear bin,   t_k = k / (K - 1),  k = 0, ..., K - 1

Weights are those of transformers' Tipsv2DptForDepthEstimation and CHMv2ForDepthEstimation.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import dinov2, dinov3
from dlcore.models.dinov2 import DINOv2
from dlcore.models.dinov3 import DINOv3
from dlcore.models.vit import ViT
from dlcore.nn import Conv, Dense
from dlcore.nn.precision import compute_dtype
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype
from dlcore.vision3d.dpt import DepthHead, DPTNeck

__all__ = ["BinnedDPT", "ReadoutDINOv2", "ReadoutDINOv3", "ReadoutMaps", "dense_head"]


class ReadoutMaps:
    """Of a `dlcore.models.vit.ViT` whose maps hold the class token beside each patch, both behind the last norm."""

    final_norm = False

    def _map(self, x: jax.Array, first: int, grid: tuple[int, int]) -> jax.Array:
        patches = super()._map(x, first, grid)
        return jnp.concatenate([patches, jnp.broadcast_to(x[:, None, None, 0], patches.shape)], -1)

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        x, maps = super()._stages(x, train)
        norm = self._norm("norm", acc_dtype_of(x.dtype))
        halves = {name: jnp.split(value, 2, -1) for name, value in maps.items()}
        return norm(x), {name: jnp.concatenate([norm(y) for y in parts], -1) for name, parts in halves.items()}


class ReadoutDINOv2(ReadoutMaps, DINOv2):
    """A DINOv2 whose maps hold the class token beside each patch: [B, h, w, 2 width].

    All fields of `DINOv2`.
    """


class ReadoutDINOv3(ReadoutMaps, DINOv3):
    """A DINOv3 whose maps hold the class token beside each patch: [B, h, w, 2 width].

    All fields of `DINOv3`.
    """


def dense_head(y: jax.Array, outputs: int, dtype: Any, rectified: bool = False) -> jax.Array:
    """Apply TIPS' head, the layers `project` and `head`, in the compact method of a module.

    Args:
      y: [B, h, w, C].
      outputs: channels of the result.
      rectified: apply a rectifier between the layers.

    Returns:
      [B, h, w, outputs], at least float32.
    """
    y = Conv(y.shape[-1], (3, 3), padding=1, dtype=dtype, name="decoder_project")(y)
    y = to_acc_dtype(nn.relu(y) if rectified else y)
    return Dense(outputs, dtype=y.dtype, name="decoder_head")(y)


NECK_NAMES = ((r"^(neck\..*\.\d+)_", r"\1."), (r"^neck\.(reassemble|fusion)_stage_", r"neck.\1_stage."))
TIPS_NAMES = (
    (r"^backbone\.", ""),
    *dinov2.TORCH_NAMES,
    *NECK_NAMES,
    (r"readout_projects\.(\d)\.0\.", r"readout_projects.\1.layers.0."),
    (r"^decoder_", "decoder."),
)
TIPS_OLD_NAMES = ((r"^backbone\.", ""), *dinov2.TORCH_OLD_NAMES)


class BinnedDPT(nn.Module):
    """Vision transformer, neck and a head of bins.

    Args:
      backbone: a vision transformer without a head whose maps hold the class token, unless the readout ignores it.
      stages: blocks whose maps are read, the first first.
      channels: channels of each map of the pyramid, the finest first.
      factors: size of each map of the pyramid, as a multiple of the patches' grid.
      features: channels of the fused map.
      head_features: channels before the last convolution of the head of DPT; None: the head of TIPS.
      readout: what is read of the class token: ignore, add or project.
      num_bins: K.
      min_depth: depth of the first bin, in meters where the network's are.
      max_depth: depth of the last bin.
      bins: how bins follow each other: linear, log or mixed.
      weights: a, what makes weights of scores: relu, sigmoid or softmax.
      floor: added to the rectified scores.
      factor: f, of the output.
      dtype: dtype of the computation; None for that of the input.
    """

    backbone: ViT
    stages: tuple[str, ...] = ("block3", "block6", "block9", "block12")
    channels: tuple[int, ...] = (96, 192, 384, 768)
    factors: tuple[float, ...] = (4, 2, 1, 0.5)
    features: Annotated[int, Range(2)] = 256
    head_features: Annotated[int, Range(1)] | None = None
    readout: Literal["ignore", "add", "project"] = "project"
    num_bins: Annotated[int, Range(2)] = 256
    min_depth: Annotated[float, Range(1e-9)] = 1e-3
    max_depth: Annotated[float, Range(1e-9)] = 10.0
    bins: Literal["linear", "log", "mixed"] = "linear"
    weights: Literal["relu", "sigmoid", "softmax"] = "relu"
    floor: Annotated[float, Range(0)] = 1e-3
    factor: Annotated[float, Range(1e-9)] = 1.0
    dtype: Any = None

    TORCH_OPTIONAL = r"mask_token$"

    @property
    def TORCH_NAMES(self) -> tuple:  # noqa: N802
        """Pairs of `re.sub` from the paths of the parameters to transformers' names."""
        if self.head_features is None:
            return TIPS_NAMES
        return (
            (r"^backbone\.", ""),
            *dinov3.TORCH_NAMES,
            *NECK_NAMES,
            (r"^neck\.fusion_stage\.layers\.", "neck.fusion_layers."),
            (r"^neck\.", "head."),
            (r"^depth_head\.conv(\d)", lambda m: f"head.conv_depth.head.{2 * int(m[1]) - 2}"),
        )

    @property
    def TORCH_OLD_NAMES(self) -> tuple:  # noqa: N802
        """Such pairs for names of files."""
        return TIPS_OLD_NAMES if self.head_features is None else ((r"^backbone\.", ""), *dinov3.TORCH_OLD_NAMES)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Predict depth.

        Args:
          x: [B, H, W, C], sides multiples of the backbone's patch size.
          train: apply the backbone's dropout, which needs the rng "dropout".

        Returns:
          [B, H', W'] depth, at least float32.
        """
        dtype, maps = compute_dtype(self.dtype, x, self.variables), self.backbone.features(x, train)
        is_tips = self.head_features is None
        neck = DPTNeck(
            self.channels, self.factors, self.features, self.readout, dtype=dtype, is_tips=is_tips, name="neck"
        )
        y = neck([maps[stage] for stage in self.stages])
        if is_tips:
            scores = dense_head(y, self.num_bins, dtype, rectified=True)
        else:
            scores = DepthHead(None, self.head_features, dtype, self.num_bins, name="depth_head")(y)
        if self.weights == "softmax":
            weights = nn.softmax(scores)
        else:
            weights = nn.sigmoid(scores) if self.weights == "sigmoid" else nn.relu(scores) + self.floor
            weights = weights / weights.sum(-1, keepdims=True)
        return self.factor * (weights @ self._bins().astype(weights.dtype))

    def _bins(self) -> jax.Array:
        """Depths of the bins, [num_bins]."""
        linear = jnp.linspace(self.min_depth, self.max_depth, self.num_bins)
        log = jnp.geomspace(self.min_depth, self.max_depth, self.num_bins)
        fraction = jnp.linspace(0.0, 1.0, self.num_bins)
        return {"linear": linear, "log": log, "mixed": (1 - fraction) * log + fraction * linear}[self.bins]

"""DPT: depth of each pixel from the tokens of a vision transformer; Depth Anything is DPT on DINOv2.

Ranftl, Bochkovskiy & Koltun, "Vision transformers for dense prediction" (2021), arXiv:2103.13413; Yang et al., "Depth
anything" (2024), arXiv:2401.10891, and V2, arXiv:2406.09414; Lin et al., "Prompting depth anything for 4K resolution
accurate metric depth estimation" (2024), arXiv:2412.14015: a coarse depth map, such as a phone's LiDAR, is a prompt.

    reassemble   m_k = resize(conv1x1(patches of block b_k)),   4, 2, 1 and 1/2 times as many places, k = 1, ..., 4
    fuse         x = conv1x1(enlarge(R(x + R(conv3x3 m_k)))),   k = 4, ..., 1,   R(y) = y + conv(relu(conv(relu y)))
    depth        relu(conv1x1(relu(conv3x3(enlarge(conv3x3 x)))))
    prompt       each fused map + convs(resized prompt from 0 to 1), and the output back in the prompt's range

Depth is inverse and known up to a scale and a shift, as its loss (`scale_and_shift_invariant_loss`) asks, unless a
sigmoid and `max_depth` make it metric. With `readout="project"` each patch is joined by the class token and projected.
For other image sizes positions are interpolated bicubically (the authors of DPT: bilinearly). Weights are those of
transformers' DPTForDepthEstimation (`Intel/dpt-large`) and DepthAnythingForDepthEstimation.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.models import dinov2, vit
from dlcore.models.dinov2 import DINOv2
from dlcore.models.feature_maps import NormalizedMaps
from dlcore.models.vit import ViT
from dlcore.nn import Conv, ConvTranspose, Dense, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.resize import resize

__all__ = ["DPT", "ClassTokenMaps", "ClassTokenViT", "DPTNeck", "DepthHead", "NormalizedDINOv2", "PromptUnit"]


class ClassTokenMaps:
    """Of a `ViT` whose maps hold the class token beside each patch; stands before it among the bases."""

    def _map(self, x: jax.Array, first: int, grid: tuple[int, int]) -> jax.Array:
        patches = super()._map(x, first, grid)  # pyright: ignore[reportAttributeAccessIssue]
        token = jnp.broadcast_to(x[:, None, None, 0], patches.shape)
        return jnp.concatenate([patches, token], -1)


class ClassTokenViT(ClassTokenMaps, ViT):
    """A ViT whose maps hold the class token beside each patch: [B, h, w, 2 width].

    All fields of `ViT`.
    """


class NormalizedDINOv2(NormalizedMaps, DINOv2):
    """A DINOv2 whose maps have gone through the last norm.

    All fields of `DINOv2`.
    """


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each behind a rectifier, beside a shortcut.

    Args:
      dtype: dtype of the computation; None means by promotion.
      use_bias: add biases.
    """

    dtype: Any = None
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the unit.

        Args:
          x: [B, h, w, C].

        Returns:
          [B, h, w, C].
        """
        y, fields = x, {"use_bias": self.use_bias, "dtype": self.dtype}
        for i in (1, 2):
            y = Conv(x.shape[-1], (3, 3), padding=1, name=f"convolution{i}", **fields)(nn.relu(y))
        return x + y


class PromptUnit(nn.Module):
    """Three 3x3 convolutions with rectifiers between them.

    Args:
      features: channels of each.
      dtype: dtype of the computation; None means by promotion.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the unit.

        Args:
          x: [B, h, w, C].

        Returns:
          [B, h, w, features].
        """
        for i in (1, 2, 3):
            x = nn.relu(x) if i > 1 else x
            x = Conv(self.features, (3, 3), padding=1, dtype=self.dtype, name=f"convolution{i}")(x)
        return x


class DPTNeck(nn.Module):
    """Maps of one size become a pyramid, which is fused from the coarsest to the finest map.

    Args:
      channels: channels of each map of the pyramid, the finest first.
      factors: size of each map of the pyramid, as a multiple of the patches' grid.
      features: channels of the fused map.
      readout: what is read of the class token, which follows a patch's channels: ignore, add or project.
      follows_maps: enlarge to the size of the next map; otherwise to the double.
      dtype: dtype of the computation; None means by promotion.
      is_tips: convolutions of residual units have no bias, and the readout's GELU is that of tanh (TIPS v2).
    """

    channels: tuple[int, ...]
    factors: tuple[float, ...]
    features: int
    readout: str = "ignore"
    follows_maps: bool = False
    dtype: Any = None
    is_tips: bool = False

    def __call__(self, maps: list[jax.Array], prompt: jax.Array | None = None) -> jax.Array:
        """Fuse maps.

        Args:
          maps: [B, h, w, C] each, with the class token [B, h, w, 2 C] unless it is ignored.
          prompt: [B, h', w', 1], depth from 0 to 1, which each fused map is told; None: none.

        Returns:
          [B, h', w', features].
        """
        return self.all_maps(maps, prompt)[-1]

    @nn.compact
    def all_maps(self, maps: list[jax.Array], prompt: jax.Array | None = None) -> list[jax.Array]:
        """Return the coarsest map before fusion, and each fused map, the coarsest first.

        Args:
          maps: see `__call__`.
          prompt: see `__call__`.

        Returns:
          [B, h, w, features] each.
        """
        # Reassemble: each map at its own size.
        pyramid = []
        for i, (x, width, factor) in enumerate(zip(maps, self.channels, self.factors, strict=True)):
            y = self._resized(self._read(x, i), width, factor, i)
            conv = Conv(self.features, (3, 3), padding=1, use_bias=False, dtype=self.dtype, name=f"convs_{i}")
            pyramid.append(conv(y))
        # Fuse, the coarsest first.
        fused, results = None, pyramid[-1:]
        for i, y in enumerate(reversed(pyramid)):
            name = f"fusion_stage_layers_{i}"
            if fused is not None:
                y = y if y.shape == fused.shape else resize(y, fused.shape[1:3])
                y = fused + ResidualUnit(self.dtype, not self.is_tips, name=f"{name}_residual_layer1")(y)
            y = ResidualUnit(self.dtype, not self.is_tips, name=f"{name}_residual_layer2")(y)
            if prompt is not None:
                unit = PromptUnit(self.features, self.dtype, name=f"{name}_prompt_depth_layer")
                y = y + unit(resize(prompt.astype(y.dtype), y.shape[1:3]))
            last = i == len(pyramid) - 1
            size = pyramid[-2 - i].shape[1:3] if self.follows_maps and not last else [2 * side for side in y.shape[1:3]]
            y = resize(y, size, align_corners=True)
            fused = Conv(self.features, (1, 1), dtype=self.dtype, name=f"{name}_projection")(y)
            results.append(fused)
        return results

    def _read(self, x: jax.Array, i: int) -> jax.Array:
        if self.readout == "project":
            layer = Dense(x.shape[-1] // 2, dtype=self.dtype, name=f"reassemble_stage_readout_projects_{i}_0")
            return nn.gelu(layer(x), approximate=True) if self.is_tips else gelu(layer(x))
        if self.readout == "add":
            return sum(jnp.split(x, 2, -1))
        return x

    def _resized(self, x: jax.Array, width: int, factor: float, i: int) -> jax.Array:
        name = f"reassemble_stage_layers_{i}"
        y = Conv(width, (1, 1), dtype=self.dtype, name=f"{name}_projection")(x)
        if factor > 1:
            sides = (int(factor),) * 2
            up = ConvTranspose(width, sides, int(factor), padding=0, dtype=self.dtype, name=f"{name}_resize")
            return up(y)
        if factor < 1:
            down = Conv(width, (3, 3), round(1 / factor), padding=1, dtype=self.dtype, name=f"{name}_resize")
            return down(y)
        return y


class DPT(nn.Module):
    """Vision transformer, neck and a convolutional head.

    Args:
      backbone: a vision transformer without a head; `ClassTokenViT` where the class token is read.
      stages: blocks whose maps are read, the first first.
      channels: channels of each map of the pyramid, the finest first.
      factors: size of each map of the pyramid, as a multiple of the patches' grid.
      features: channels of the fused map.
      head_features: channels before the last convolution.
      readout: what is read of the class token: ignore, add or project.
      image_sized: enlarge to the patches' pixels, and maps to each other's size (Depth Anything); otherwise by 2.
      max_depth: factor of the output.
      metric: a sigmoid ends the network, whose output is depth; otherwise a rectifier, and it is inverse depth.
      rectified: inverse depth is at least 0; otherwise any number, for a training from random weights: its scale and
        shift are free, and a map that drifts below 0 would have no gradient.
      prompted: a coarse depth map comes with the image, and the output is depth in its range.
      dtype: dtype of the computation; None for that of the input.
    """

    backbone: ViT
    stages: tuple[str, ...] = ("block3", "block6", "block9", "block12")
    channels: tuple[int, ...] = (96, 192, 384, 768)
    factors: tuple[float, ...] = (4, 2, 1, 0.5)
    features: Annotated[int, Range(2)] = 256
    head_features: Annotated[int, Range(1)] = 32
    readout: Literal["ignore", "add", "project"] = "ignore"
    image_sized: bool = False
    max_depth: Annotated[float, Range(1e-6)] = 1.0
    metric: bool = False
    rectified: Annotated[bool, "if changed"] = True
    prompted: Annotated[bool, "if changed"] = False
    dtype: Any = None

    @property
    def TORCH_NAMES(self) -> tuple:  # noqa: N802
        """Pairs of `re.sub` from the paths of the parameters to transformers' names."""
        is_dinov2 = isinstance(self.backbone, DINOv2)
        encoder = dinov2.TORCH_NAMES if is_dinov2 else vit.TRANSFORMERS.names
        return (
            (r"^backbone\.", ""),
            *encoder,
            (r"^(neck\..*\.\d+)_", r"\1."),
            (r"^neck\.(reassemble|fusion)_stage_", r"neck.\1_stage."),
            (r"^depth_head\.conv(\d)", r"head.conv\1" if is_dinov2 else lambda m: f"head.head.{2 * int(m[1]) - 2}"),
        )

    TORCH_OLD_NAMES = (
        (r"^dpt\.encoder\.layer\.", "layers."),
        (r"^(backbone|dpt)\.", ""),
        (r"\.attention\.attention\.(q|k|v)(?:uery|ey|alue)\.", r".attention.\1_proj."),
        (r"\.attention\.output\.dense\.", ".attention.o_proj."),
        (r"^layers\.(\d+)\.intermediate\.dense\.", r"layers.\1.mlp.fc1."),
        (r"^layers\.(\d+)\.output\.dense\.", r"layers.\1.mlp.fc2."),
    )
    TORCH_OPTIONAL = r"^neck\.fusion_stage\.layers\.0\.residual_layer1\.|mask_token$"
    """Layers of files that compute nothing."""

    def __call__(self, x: jax.Array, train: bool = False, prompt: jax.Array | None = None) -> jax.Array:
        """Predict depth.

        Args:
          x: [B, H, W, C], sides multiples of the backbone's patch size.
          train: apply the backbone's dropout, which needs the rng "dropout".
          prompt: [B, h, w], coarse depth, where the network is `prompted`; None: none.

        Returns:
          [B, H', W'] inverse depth up to scale and shift, or depth where `metric` or with a prompt; at least float32.
        """
        if prompt is None:
            y = self.scores(x, train)
            return self._limited(y) * self.max_depth
        # The prompt's range becomes 0 to 1, and the output's range the prompt's.
        prompt = to_acc_dtype(prompt)
        low, high = (limit(prompt, (1, 2), keepdims=True) for limit in (jnp.min, jnp.max))
        y = self.scores(x, train, (prompt - low) / jnp.where(high > low, high - low, 1))
        return self._limited(y) * (high - low) + low

    def _limited(self, y: jax.Array) -> jax.Array:
        if self.metric:
            return nn.sigmoid(y)
        return nn.relu(y) if self.rectified else y

    @nn.compact
    def scores(self, x: jax.Array, train: bool = False, prompt: jax.Array | None = None) -> jax.Array:
        """Predict depth before the last activation.

        Args:
          x: [B, H, W, C], images.
          train: training mode, see `__call__`.
          prompt: [B, h, w], coarse depth from 0 to 1; None: none.

        Returns:
          [B, H', W'], at least float32.
        """
        check_choice("readout", self.readout, ("ignore", "add", "project"))
        for field in ("channels", "factors"):
            if len(getattr(self, field)) != len(self.stages):
                raise ValueError(
                    f"{field}={getattr(self, field)}: wrong length; allowed: one for each of {len(self.stages)} stages"
                )
        dtype, maps = compute_dtype(self.dtype, x, self.variables), self.backbone.features(x, train)
        if missing := [stage for stage in self.stages if stage not in maps]:
            raise ValueError(f"stages={self.stages}: no {missing[0]} in the backbone; allowed: {', '.join(maps)}")
        neck = DPTNeck(self.channels, self.factors, self.features, self.readout, self.image_sized, dtype, name="neck")
        if self.prompted and prompt is None and self.is_initializing():
            prompt = jnp.zeros(x.shape[:3])
        y = neck([maps[stage] for stage in self.stages], None if prompt is None else prompt[..., None])
        return DepthHead(
            (x.shape[1], x.shape[2]) if self.image_sized else None, self.head_features, dtype, name="depth_head"
        )(y)


class DepthHead(nn.Module):
    """Three convolutions to one channel or more, with an enlargement behind the first.

    Args:
      size: (H, W) that the map is enlarged to; None: the double.
      features: channels before the last convolution.
      dtype: dtype of the computation; None means by promotion.
      outputs: channels of the result; of one the axis is left out.
    """

    size: tuple[int, int] | None = None
    features: int = 32
    dtype: Any = None
    outputs: int = 1

    def __call__(self, x: jax.Array) -> jax.Array:
        """Predict depth before its activation.

        Args:
          x: [B, h, w, C].

        Returns:
          [B, H, W] or [B, H, W, outputs], at least float32.
        """
        return self.scores_and_features(x)[0]

    @nn.compact
    def scores_and_features(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Predict depth before its activation, and return what the last convolution reads.

        Args:
          x: [B, h, w, C].

        Returns:
          ([B, H, W], [B, H, W, features]), at least float32.
        """
        y = Conv(x.shape[-1] // 2, (3, 3), padding=1, dtype=self.dtype, name="conv1")(x)
        size = self.size or (2 * y.shape[1], 2 * y.shape[2])
        y = resize(y, size, align_corners=True)
        y = nn.relu(Conv(self.features, (3, 3), padding=1, dtype=self.dtype, name="conv2")(y))
        y = to_acc_dtype(y)
        scores = Conv(self.outputs, (1, 1), dtype=y.dtype, name="conv3")(y)
        return scores[..., 0] if self.outputs == 1 else scores, y

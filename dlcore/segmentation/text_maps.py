"""PP-OCR text detection: how likely each pixel is text, from a pyramid of a convolutional network's maps.

Cui et al., "PaddleOCR 3.0 technical report" (2025), arXiv:2507.05595. Large-kernel and residual necks are those of
Li et al., "PP-OCRv3" (2022), arXiv:2206.03001; the head is that of Liao et al., "Real-time scene text detection with
differentiable binarization" (2019), arXiv:1911.08947, without its map of thresholds, which only training reads.

    t_s = conv1x1(x_s) + up2(t_s+1)                                    x_s: the map of stride 4, 8, 16, 32
    y   = [up8(z_4), up4(z_3), up2(z_2), z_1]                          up: nearest
    paths      z_s = I(conv9x9(p_s)),  p_s = conv9x9(t_s) + conv3x3 of stride 2 of p_s-1
               I(x) = x + relu(BN conv1x1(k_3(k_5(k_7(conv1x1(x))))))  k_n = conv nxn + conv nx1 + conv 1xn
    residual   z_s = R(conv3x3(t_s)), R behind the conv1x1 of t_s too  R(x) = x + x clip(0.2 W' relu(W mean(x)) + 0.5)
    separable  z_s = R(conv1x1(depthwise(t_s)))
    f   = relu(BN deconv2x2(relu(BN conv3x3(y)))),  p = sigmoid(deconv2x2(f))
    refined    (p + sigmoid(conv1x1(relu(BN conv3x3([p, up2(f)]))))) / 2

Names are those of transformers.
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.feature_maps import backbone_layout
from dlcore.models.fields import CheckedFields
from dlcore.nn import BatchNorm, Conv, ConvTranspose
from dlcore.nn.precision import compute_dtype
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA
from dlcore.ops.unpooling import nearest_unpool
from dlcore.segmentation.maps import KERNEL_INIT, named_map

__all__ = ["TextMap"]

SCALES = (1, 2, 4, 8)
RATIOS = {"long": 7, "mid": 5, "short": 3}
"""{word of transformers' names: side of the kernel}."""
PARTS = (r"(binarize_head|local_refinement_module|squeeze_excitation_(?:block|module))_(?=conv)", r"\1.")


def _conv(features: int, kernel: int | tuple[int, int] = 1, stride: int = 1, **fields: Any) -> Conv:
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = tuple((side // 2, side // 2) for side in sides)
    return Conv(features, sides, stride, padding=padding, kernel_init=KERNEL_INIT, **fields)


class _ConvNorm(nn.Module):
    """Convolution, or one that doubles the sides, batch norm and ReLU."""

    features: int
    kernel: int
    doubles: bool = False
    use_bias: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        fields = {"dtype": self.dtype, "name": "convolution"}
        if self.doubles:
            x = ConvTranspose(self.features, (self.kernel,) * 2, 2, padding=0, **fields)(x)
        else:
            x = _conv(self.features, self.kernel, use_bias=self.use_bias, **fields)(x)
        return nn.relu(BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name="norm")(x))


class _Intraclass(nn.Module):
    """I: crosses of long kernels, from large to small."""

    reduction: int
    layer: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        inner, dtype = x.shape[-1] // self.reduction, self.layer.keywords["dtype"]
        y = _conv(inner, dtype=dtype, name="conv_reduce_channel")(x)
        for word, n in RATIOS.items():
            shapes = {"symmetric_conv_long": (n, n), "vertical_long_to_small_conv": (n, 1)}
            shapes["horizontal_small_to_long_conv"] = (1, n)
            y = sum(_conv(inner, shape, dtype=dtype, name=f"{name}_{word}ratio")(y) for name, shape in shapes.items())
        return x + self.layer(x.shape[-1], 1, use_bias=True, name="conv_final")(y, train)


class _Gated(nn.Module):
    """R, behind a convolution, or a depthwise one and a pointwise one."""

    features: int
    kernel: int
    reduction: int
    separable: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, channels = functools.partial(_conv, dtype=self.dtype), x.shape[-1]
        if self.separable:
            x = conv(channels, self.kernel, feature_group_count=channels, name="depthwise_convolution")(x)
            x = conv(self.features, use_bias=False, name="pointwise_convolution")(x)
        else:
            x = conv(self.features, self.kernel, use_bias=False, name="in_conv")(x)
        name = "squeeze_excitation_module" if self.separable else "squeeze_excitation_block"
        gate = nn.relu(conv(self.features // self.reduction, name=f"{name}_conv1")(x.mean((1, 2), keepdims=True)))
        gate = conv(self.features, name=f"{name}_conv2")(gate)
        return x + x * jnp.clip(0.2 * gate + 0.5, 0, 1)


class _Neck(nn.Module):
    """Four maps -> y, [B, H / 4, W / 4, features]."""

    kind: str
    features: int
    reduction: int
    kernel: int
    use_bias: bool
    layer: Any

    @nn.compact
    def __call__(self, maps: list[jax.Array], train: bool) -> jax.Array:
        dtype, quarter = self.layer.keywords["dtype"], self.features // 4
        if self.kind == "paths":
            name = "input_channel_adjustment_convolution"
            xs = [_conv(self.features, use_bias=False, dtype=dtype, name=f"{name}_{i}")(x) for i, x in enumerate(maps)]
        else:
            gated = functools.partial(_Gated, reduction=self.reduction, dtype=dtype)
            xs = [gated(self.features, 1, name=f"insert_conv_{i}")(x) for i, x in enumerate(maps)]
        for i in reversed(range(len(xs) - 1)):
            xs[i] += nearest_unpool(xs[i + 1], 2)
        if self.kind == "paths":
            conv = functools.partial(_conv, quarter, dtype=dtype)
            name, long = "path_aggregation", functools.partial(conv, 9, use_bias=self.use_bias)
            xs = [long(name=f"input_feature_projection_convolution_{i}")(x) for i, x in enumerate(xs)]
            for i in range(1, len(xs)):
                xs[i] += conv(3, 2, use_bias=False, name=f"{name}_head_convolution_{i - 1}")(xs[i - 1])
            xs = [long(name=f"{name}_lateral_convolution_{i}")(x) for i, x in enumerate(xs)]
            block = functools.partial(_Intraclass, self.reduction, self.layer)
            xs = [block(name=f"intraclass_blocks_{i}")(x, train) for i, x in enumerate(xs)]
        else:
            gated = functools.partial(gated, quarter, self.kernel, separable=self.kind == "separable")
            xs = [gated(name=f"input_conv_{i}")(x) for i, x in enumerate(xs)]
        return jnp.concatenate([nearest_unpool(x, n) for x, n in zip(xs, SCALES, strict=True)][::-1], -1)


class TextMap(CheckedFields):
    """Network that marks the pixels of text.

    Args:
      backbone: a network with a method `features`.
      stages: names of its maps of strides 4, 8, 16 and 32.
      widths: channels of the maps' linear layers before the neck; () for none.
      features: channels of the neck.
      neck: paths of large kernels down and up, or a residual or separable layer for each map.
      reduction: channels of a neck's layer over its inner ones.
      kernel: side of the kernel of a residual or separable layer.
      use_bias: whether the neck's large kernels have biases.
      kernels: sides of the head's three kernels.
      refined: whether a second map at the image's size refines the first.
    """

    backbone: nn.Module
    stages: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")
    widths: tuple[int, ...] = ()
    features: Annotated[int, Range(4)] = 256
    neck: Literal["paths", "residual", "separable"] = "paths"
    reduction: Annotated[int, Range(1)] = 2
    kernel: Annotated[int, Range(1)] = 3
    use_bias: bool = False
    kernels: tuple[int, ...] = (3, 2, 2)
    refined: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    @property
    def TORCH_NAMES(self) -> tuple:  # noqa: N802
        """Pairs of `re.sub` from the paths of the parameters to transformers' names."""
        of_backbone = backbone_layout(self.backbone, {}).names
        first = ((r"^(?!backbone\.)", "."), (r"^backbone\.", ""))  # a dot keeps the backbone's rules from other layers
        last = ((r"^(?!\.)", "model.backbone."), (r"^\.head", "head"), (r"^\.", "model."), PARTS)
        return (*first, *of_backbone, *last)

    TORCH_OLD_NAMES = ()
    TORCH_OPTIONAL = "(?!)"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Mark text.

        Args:
          x: [B, H, W, C], images whose sides are multiples of 32.
          train: training mode of the batch norms.

        Returns:
          [B, H, W, 1], probabilities of text, at least float32.
        """
        dtype = compute_dtype(self.dtype, x, self.variables)
        layer = functools.partial(_ConvNorm, dtype=dtype, axis_name=self.axis_name)
        maps = self.backbone.features(x, train)
        xs = [named_map(maps, stage) for stage in self.stages]
        for i, width in enumerate(self.widths):
            xs[i] = _conv(width, dtype=dtype, name=f"layer_{i}")(xs[i])
        neck = (self.neck, self.features, self.reduction, self.kernel, self.use_bias, layer)
        return _Head(self.features // 4, self.kernels, self.refined, layer, name="head")(
            _Neck(*neck, name="neck")(xs, train), train
        )


class _Head(nn.Module):
    """y -> probabilities, [B, 4 h, 4 w, 1]."""

    features: int
    kernels: tuple[int, ...]
    refined: bool
    layer: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        prefix = "binarize_head_" if self.refined else ""
        down, up, last = self.kernels
        x = self.layer(self.features, down, name=f"{prefix}conv_down")(x, train)
        x = self.layer(self.features, up, doubles=True, name=f"{prefix}conv_up")(x, train)
        p = ConvTranspose(1, (last, last), 2, padding=0, dtype=x.dtype, name=f"{prefix}conv_final")(x)
        p = nn.sigmoid(to_acc_dtype(p))
        if not self.refined:
            return p
        name = "local_refinement_module_convolution"
        y = jnp.concatenate([p.astype(x.dtype), nearest_unpool(x, 2)], -1)
        y = _conv(1, dtype=x.dtype, name=f"{name}_final")(
            self.layer(self.features, 3, name=f"{name}_backbone")(y, train)
        )
        return (p + nn.sigmoid(to_acc_dtype(y))) / 2

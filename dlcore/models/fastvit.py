"""FastViT: mixers of branches that fold into one depthwise convolution in use, and attention in the last stage.

Vasu et al., "FastViT: a fast hybrid vision transformer using structural reparameterization" (2023), arXiv:2303.14189.

    RepMixer, train    y = x + gamma (M(x) - BN(x)),    M(x) = BN depthwise3x3(x) + BN depthwise1x1(x) + BN(x)
    RepMixer, use      y = K * x + b,    K = I + gamma (K_M - K_BN),  b = gamma (b_M - b_BN)
    block              y = RepMixer(x),  z = y + gamma W_2 gelu(W_1 BN depthwise7x7(y))
    between stages     conv1x1 of depthwise 7x7 + 3x3 of stride 2, each a sum of branches

Every branch is linear with running statistics, so all branches and the shortcut of the mixer are one convolution:
`fold_branches` turns the variables of `FastViT()` into those of `FastViT(folded=True)`, with the same logits. The sizes
"sa" and "ma" attend between all pixels in the last stage, after a depthwise 7x7 convolution that tells positions
(y = x + conv(x), which folds as well). The batch norm before the MLP stays, as in timm. Names are timm's, whose
published weights load into both forms; its MCi networks are others.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn

from dlcore.models import repvgg
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import KERNEL_INIT, ConvNorm
from dlcore.models.repvgg import EPSILON, RepConv, fold_rep_conv, identity_kernel
from dlcore.models.resnet import SqueezeExcitation
from dlcore.nn import BatchNorm, Conv, FeedForward, MultiHeadAttention, drop_path, fold_batch_norm, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "FastViT", "FastViTBlock", "RepBlock", "RepMixer", "fold_branches"]

MLP_INIT = nn.initializers.truncated_normal(0.02)
TORCH_NAMES = (
    (r"^stages\.(\d)_", r"stages.\1."),
    (r"\.downsample\.0\.(large|small)\.0\.", r".downsample.proj.0.\1_conv.conv."),
    (r"\.downsample\.0\.(large|small)\.1\.", r".downsample.proj.0.\1_conv.bn."),
    (r"\.downsample\.(?=\d)", ".downsample.proj."),
    (r"\.conv\.(?=large|small|identity|folded)", "."),
    (r"\.large\.0\.", ".conv_kxk.0.conv."),
    (r"\.large\.1\.", ".conv_kxk.0.bn."),
    (r"\.small\.0\.", ".conv_scale.conv."),
    (r"\.small\.1\.", ".conv_scale.bn."),
    (r"\.folded\.", ".reparam_conv."),
    (r"\.token_mixer\.norm\.", ".token_mixer.norm.identity."),
    (r"\.mlp_conv\.0\.", ".mlp.conv.conv."),
    (r"\.mlp_conv\.1\.", ".mlp.conv.bn."),
    (r"\.layer_scale$", ".layer_scale.gamma"),
    (r"\.layer_scale\.(\d)$", r".layer_scale_\1.gamma"),
    (r"^head\.", "head.fc."),
)


def _depthwise(channels: int, size: int, dtype: Any, name: str) -> Conv:
    return Conv(
        channels,
        (size, size),
        padding=size // 2,
        feature_group_count=channels,
        dtype=dtype,
        kernel_init=KERNEL_INIT,
        name=name,
    )


def _gamma(block: nn.Module, name: str, y: jax.Array, initial: float) -> jax.Array:
    """Scale the channels of a branch by a parameter."""
    return y * block.param(name, nn.initializers.constant(initial), y.shape[-1:]).astype(y.dtype)


class RepBlock(CheckedFields):
    """A `RepConv` (submodule `conv`), squeeze-and-excitation (`se`) and GELU.

    Args:
      kernel_size: side of the large kernel; 1 has no small branch.
      stride: stride of the convolutions.
      groups: groups of channels; as many as the input's channels is depthwise.
      use_se: squeeze-and-excitation with a sixteenth of the channels.
      folded: one convolution with a bias in place of the branches.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    use_se: bool = False
    folded: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        x = RepConv(
            self.features,
            self.kernel_size,
            self.stride,
            self.groups,
            small_kernel=1 if self.kernel_size > 1 else None,
            folded=self.folded,
            dtype=self.dtype,
            axis_name=self.axis_name,
            name="conv",
        )(x, train)
        if self.use_se:
            units = max(1, round(self.features / 16))
            x = SqueezeExcitation(units, dtype=self.dtype, kernel_init=KERNEL_INIT, name="se")(x)
        return gelu(x)


class RepMixer(CheckedFields):
    """A mixer of neighboring pixels, which is one depthwise convolution where it is folded.

    Args:
      layer_scale: initial value of gamma, the gain of each channel of the branch.
      folded: one convolution with a bias in place of branches and shortcut.
    """

    layer_scale: float = 1e-5
    folded: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Mix each pixel with the 3x3 around it.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        channels, fields = x.shape[-1], {"dtype": self.dtype, "axis_name": self.axis_name}
        if self.folded:
            return _depthwise(channels, 3, self.dtype, "folded")(x)
        normalized = BatchNorm(not train, epsilon=EPSILON, **fields, name="norm")(x)
        mixed = RepConv(channels, groups=channels, **fields, name="mixer")(x, train)
        return x + _gamma(self, "layer_scale", mixed - normalized, self.layer_scale)


class FastViTBlock(CheckedFields):
    """A `RepMixer` or attention, and an MLP behind a depthwise 7x7 convolution.

    Args:
      attention: attention between all pixels in place of the mixer.
      mlp_ratio: hidden units of the MLP as a multiple of the channels.
      head_features: channels of a head of attention.
      layer_scale: initial value of gamma, the gain of each channel of a branch.
      drop_path: probability of dropping a branch of an example in training (stochastic depth); the mixer's stays.
      folded: the mixer is one convolution.
    """

    attention: bool = False
    mlp_ratio: float = 4.0
    head_features: int = 32
    layer_scale: float = 1e-5
    drop_path: float = 0.0
    folded: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        channels, fields = x.shape[-1], {"dtype": self.dtype, "axis_name": self.axis_name}
        if self.attention:
            y = BatchNorm(not train, epsilon=EPSILON, **fields, name="norm")(x)
            attend = MultiHeadAttention(
                channels // self.head_features,
                fused_qkv=True,
                qkv_bias="none",
                dtype=self.dtype,
                kernel_init=MLP_INIT,
                name="token_mixer",
            )
            y = attend(y.reshape(y.shape[0], -1, channels)).reshape(x.shape)
            x = x + drop_path(_gamma(self, "layer_scale_1", y, self.layer_scale), self.drop_path, train)
        else:
            x = RepMixer(self.layer_scale, self.folded, **fields, name="token_mixer")(x, train)
        y = ConvNorm(channels, 7, groups=channels, activation=None, **fields, name="mlp_conv")(x, train)
        hidden = int(channels * self.mlp_ratio)
        y = FeedForward(hidden, gelu, dtype=self.dtype, kernel_init=MLP_INIT, name="mlp")(y, train)
        name = "layer_scale_2" if self.attention else "layer_scale"
        return x + drop_path(_gamma(self, name, y, self.layer_scale), self.drop_path, train)


class ConditionalPositions(CheckedFields):
    """Add to each pixel a depthwise 7x7 convolution, whose zeros beyond the border tell positions.

    Args:
      folded: one convolution in place of the sum.
    """

    folded: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Add the positions.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        if self.folded:
            return _depthwise(x.shape[-1], 7, self.dtype, "folded")(x)
        return x + _depthwise(x.shape[-1], 7, self.dtype, "pos_enc")(x)


def _fold_mixer(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> dict[str, Any] | None:
    if set(params) != {"norm", "mixer", "layer_scale"}:
        return None
    mixer = fold_rep_conv(params["mixer"], statistics["mixer"])
    assert mixer is not None
    mixer, gamma = mixer["folded"], params["layer_scale"]
    identity = identity_kernel(mixer["kernel"].shape)
    norm = fold_batch_norm({"kernel": identity}, params["norm"], statistics["norm"], EPSILON)
    kernel = identity + gamma * (mixer["kernel"] - norm["kernel"])
    return {"folded": {"kernel": kernel, "bias": gamma * (mixer["bias"] - norm["bias"])}}


def _fold_positions(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> dict[str, Any] | None:
    if set(params) != {"pos_enc"}:
        return None
    kernel, bias = params["pos_enc"]["kernel"], params["pos_enc"]["bias"]
    return {"folded": {"kernel": kernel + identity_kernel(kernel.shape), "bias": bias}}


def fold_branches(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the variables of `FastViT()` into those of `FastViT(folded=True)`.

    Args:
      variables: {"params": ..., "batch_stats": ...}.

    Returns:
      Variables of the folded network.
    """
    return repvgg.fold_branches(variables, (_fold_mixer, _fold_positions, fold_rep_conv))


class FastViT(Backbone):
    """A FastViT on [B, H, W, C]. Stages: stem (stride 4), stage1 to stage4 (strides 4, 8, 16 and 32).

    Args:
      mlp_ratio: hidden units of a block's MLP as a multiple of its channels.
      attention: attention between all pixels in the last stage, in place of mixers.
      layer_scale: initial value of gamma, the gain of each channel of a branch.
      folded: one convolution with a bias in place of branches, for use; `fold_branches` gives its variables.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (2, 2, 6, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    mlp_ratio: float = 4.0
    attention: bool = False
    layer_scale: float = 1e-5
    drop_path: float = 0.0
    folded: bool = False
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if len(self.widths) != len(self.stages):
            raise ValueError(f"widths={self.widths}: wrong length; allowed: one for each of {len(self.stages)} stages")
        check_images(self, x, f"stem_0/conv/{'folded' if self.folded else 'large/0'}", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        fields = {"folded": self.folded, "dtype": dtype, "axis_name": self.axis_name}
        first = self.widths[0]
        x = RepBlock(first, 3, 2, **fields, name="stem_0")(x, train)
        x = RepBlock(first, 3, 2, first, **fields, name="stem_1")(x, train)
        x = self.perturb("stem", RepBlock(first, 1, **fields, name="stem_2")(x, train))
        maps, index = {"stem": x}, 0
        block = remat(FastViTBlock, self.remat, static_argnums=(2,))
        for i, (blocks, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            if i > 0:
                groups = x.shape[-1]
                x = RepConv(width, 7, 2, groups, 3, identity=False, **fields, name=f"stages_{i}_downsample_0")(x, train)
                x = RepBlock(width, 1, **fields, name=f"stages_{i}_downsample_1")(x, train)
            attention = self.attention and i == len(self.stages) - 1
            if attention:
                x = ConditionalPositions(self.folded, dtype, name=f"stages_{i}_pos_emb")(x)
            for j in range(blocks):
                rate = self.drop_path * index / max(sum(self.stages) - 1, 1)
                layer = block(
                    attention,
                    self.mlp_ratio,
                    layer_scale=self.layer_scale,
                    drop_path=rate,
                    **fields,
                    name=f"stages_{i}_blocks_{j}",
                )
                x = layer(x, train)
                index += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        fields = {"folded": self.folded, "dtype": x.dtype, "axis_name": self.axis_name}
        channels = x.shape[-1]
        x = RepBlock(2 * channels, 3, 1, channels, use_se=True, **fields, name="final_conv")(x, train)
        return self._linear(global_avg_pool(to_acc_dtype(x)))


_deep = functools.partial(FastViT, stages=(6, 6, 18, 6), attention=True)
MODELS = {
    "fastvit_t8": functools.partial(FastViT, stages=(2, 2, 4, 2), widths=(48, 96, 192, 384), mlp_ratio=3.0),
    "fastvit_t12": functools.partial(FastViT, mlp_ratio=3.0),
    "fastvit_s12": functools.partial(FastViT),
    "fastvit_sa12": functools.partial(FastViT, attention=True),
    "fastvit_sa24": functools.partial(FastViT, stages=(4, 4, 12, 4), attention=True),
    "fastvit_sa36": _deep,
    "fastvit_ma36": functools.partial(_deep, widths=(76, 152, 304, 608)),
}
INPUT_SHAPES = dict.fromkeys(MODELS, (256, 256, 3))

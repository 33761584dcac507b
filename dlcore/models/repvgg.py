"""RepVGG: three branches in each block while it trains, one 3x3 convolution in use.

Ding et al., "RepVGG: making VGG-style ConvNets great again" (2021), arXiv:2101.03697.

    train   y = relu(BN conv3x3(x) + BN conv1x1(x) + BN(x))        BN(x) where the stride is 1 and the channels stay
    use     y = relu(K * x + b)
            K = sum_i a_i K_i,  b = sum_i (beta_i - mean_i a_i)    a_i = gamma_i / sqrt(var_i + eps)

Convolution is linear and so is batch norm with running statistics, so the sum of branches is one convolution: the 1x1
kernel is the middle of a 3x3 one, and the identity a kernel with a 1 in the middle (structural reparameterization).
`fold_branches` turns the variables of `RepVGG()` into those of `RepVGG(folded=True)`, a plain VGG with the same logits:

    variables = fold_branches(variables)
    logits = create_model("repvgg_a0", folded=True).apply(variables, images)

In the sizes "g4" every second convolution of a stage has 4 groups; D2se has squeeze-and-excitation before the relu.
Names are timm's, whose published weights load into both forms.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import is_whole_number
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import KERNEL_INIT, ConvNorm
from dlcore.models.resnet import SqueezeExcitation
from dlcore.nn import BatchNorm, Conv, fold_batch_norm
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops.replica import REPLICA

__all__ = ["EPSILON", "MODELS", "RepConv", "RepVGG", "RepVGGBlock", "fold_branches", "fold_rep_conv", "identity_kernel"]

EPSILON = 1e-5
TORCH_NAMES = (
    (r"\.large\.0\.", ".conv_kxk.conv."),
    (r"\.large\.1\.", ".conv_kxk.bn."),
    (r"\.small\.0\.", ".conv_1x1.conv."),
    (r"\.small\.1\.", ".conv_1x1.bn."),
    (r"\.folded\.", ".reparam_conv."),
    (r"\.conv\.(?=conv_|identity|reparam_)", "."),
    (r"^head\.", "head.fc."),
)


class RepConv(CheckedFields):
    """A sum of two convolutions and of the input, each with batch norm; one convolution where it is folded.

    Submodules `large`, `small` and `identity`, or `folded`.

    Args:
      kernel_size: side of the large kernel.
      stride: stride of the convolutions.
      groups: groups of channels; as many as the input's channels is depthwise.
      small_kernel: side of the small kernel; None: no such branch.
      identity: add the normalized input where the stride is 1 and the channels stay.
      folded: one convolution with a bias in place of the branches.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    groups: int = 1
    small_kernel: int | None = 1
    identity: bool = True
    folded: bool = False
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the layer.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        if self.folded:
            return Conv(
                self.features,
                (self.kernel_size,) * 2,
                strides=self.stride,
                padding=self.kernel_size // 2,
                feature_group_count=self.groups,
                dtype=self.dtype,
                kernel_init=KERNEL_INIT,
                name="folded",
            )(x)
        fields = {"epsilon": EPSILON, "dtype": self.dtype, "axis_name": self.axis_name}
        branch = functools.partial(
            ConvNorm, self.features, stride=self.stride, groups=self.groups, activation=None, **fields
        )
        y = branch(kernel_size=self.kernel_size, name="large")(x, train)
        if self.small_kernel is not None:
            y = y + branch(kernel_size=self.small_kernel, name="small")(x, train)
        if self.identity and self.stride == 1 and x.shape[-1] == self.features:
            y = y + BatchNorm(not train, **fields, name="identity")(x)
        return y


def identity_kernel(shape: tuple[int, ...]) -> jax.Array:
    """Compute the kernel of the convolution that changes nothing.

    Args:
      shape: (k, k, C / groups, C) with an odd k.

    Returns:
      The kernel: 1 in the middle where an output channel meets its own input.
    """
    if not (len(shape) == 4 and all(is_whole_number(n) and n > 0 for n in shape) and shape[0] == shape[1]):
        raise ValueError(f"shape={tuple(shape)}: no kernel; allowed: (k, k, C / groups, C)")
    if shape[0] % 2 == 0 or shape[3] % shape[2]:
        raise ValueError(f"shape={tuple(shape)}: no middle, or unequal groups; allowed: an odd k, and divisors of C")
    k, _, inputs, features = shape
    channel = jnp.arange(features)
    return jnp.zeros(shape).at[k // 2, k // 2, channel % inputs, channel].set(1)


def fold_rep_conv(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Merge the branches of a `RepConv`.

    Args:
      params: parameters of a module.
      statistics: its running statistics.

    Returns:
      {"folded": {"kernel", "bias"}}, the parameters of the folded module; None where the module is no `RepConv`.
    """
    if not {"large"} <= set(params) <= {"large", "small", "identity"}:
        return None
    shape = params["large"]["0"]["kernel"].shape
    kernel, bias = jnp.zeros(shape), jnp.zeros(shape[-1])
    for name in params:
        if name == "identity":
            layer, norm, running = {"kernel": identity_kernel(shape)}, params[name], statistics[name]
        else:
            layer, norm, running = params[name]["0"], params[name]["1"], statistics[name]["1"]
        merged = fold_batch_norm(layer, norm, running, EPSILON)
        width = (shape[0] - merged["kernel"].shape[0]) // 2
        kernel = kernel + jnp.pad(merged["kernel"], ((width, width), (width, width), (0, 0), (0, 0)))
        bias = bias + merged["bias"]
    return {"folded": {"kernel": kernel, "bias": bias}}


Rule = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any] | None]


def fold_branches(variables: Mapping[str, Any], rules: tuple[Rule, ...] = (fold_rep_conv,)) -> dict[str, Any]:
    """Turn the variables of a network in training into those of the same network with `folded=True`.

    Args:
      variables: {"params": ..., "batch_stats": ...}.
      rules: functions of a module's parameters and running statistics that give its folded parameters, or None where
        they do not apply; the first that applies counts.

    Returns:
      Variables of the folded network; a module that no rule folds is as it was.
    """
    if not (isinstance(variables, Mapping) and isinstance(variables.get("params"), Mapping)):
        raise ValueError("variables: no parameters; allowed: {'params': ..., 'batch_stats': ...} of a network")
    count = 0

    def fold(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        nonlocal count
        for rule in rules:
            merged = rule(params, statistics)
            if merged is not None:
                count += 1
                return merged, {}
        new_params, new_statistics = dict(params), dict(statistics)
        for name, child in params.items():
            if isinstance(child, Mapping):
                new_params[name], rest = fold(child, statistics.get(name, {}))
                new_statistics.pop(name, None)
                new_statistics |= {name: rest} if rest else {}
        return new_params, new_statistics

    params, statistics = fold(variables["params"], variables.get("batch_stats", {}))
    if not count:
        raise ValueError("variables: no module has branches; allowed: variables of a network with folded=False")
    return {"params": params} | ({"batch_stats": statistics} if statistics else {})


class RepVGGBlock(CheckedFields):
    """A `RepConv` (submodule `conv`), squeeze-and-excitation (`attn`) and a ReLU.

    Args:
      stride: stride of the convolutions.
      groups: groups of channels.
      se_ratio: units of squeeze-and-excitation as a fraction of the output channels; 0 for none.
      folded: one convolution with a bias in place of the branches.
    """

    features: int
    stride: int = 1
    groups: int = 1
    se_ratio: float = 0.0
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
        fields = {"folded": self.folded, "dtype": self.dtype, "axis_name": self.axis_name}
        x = RepConv(self.features, 3, self.stride, self.groups, **fields, name="conv")(x, train)
        if self.se_ratio:
            units = max(1, round(self.features * self.se_ratio))
            x = SqueezeExcitation(units, dtype=self.dtype, kernel_init=KERNEL_INIT, name="attn")(x)
        return nn.relu(x)


class RepVGG(Backbone):
    """A RepVGG on [B, H, W, C]. Stages: stem (stride 2), stage1 to stage4 (strides 4, 8, 16 and 32).

    Args:
      stem_width: channels of the first block.
      groups: groups of channels in every second block of a stage.
      se_ratio: units of squeeze-and-excitation as a fraction of a block's channels; 0 for none.
      folded: one convolution with a bias in place of a block's branches, for use; `fold_branches` gives its variables.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (4, 6, 16, 1)
    widths: tuple[int, ...] = (64, 128, 256, 1280)
    stem_width: int = 64
    groups: int = 1
    se_ratio: float = 0.0
    folded: bool = False
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if len(self.widths) != len(self.stages):
            raise ValueError(f"widths={self.widths}: wrong length; allowed: one for each of {len(self.stages)} stages")
        check_images(self, x, f"stem/conv/{'folded' if self.folded else 'large/0'}", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        block = functools.partial(
            remat(RepVGGBlock, self.remat, static_argnums=(2,)),
            se_ratio=self.se_ratio,
            folded=self.folded,
            dtype=dtype,
            axis_name=self.axis_name,
        )
        x = self.perturb("stem", block(self.stem_width, 2, name="stem")(x, train))
        maps = {"stem": x}
        for i, (blocks, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            for j in range(blocks):
                groups = self.groups if j % 2 else 1
                x = block(width, 1 if j else 2, groups, name=f"stages_{i}_{j}")(x, train)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps


def _variant(factor: float, last: float, stages: tuple[int, ...] = (4, 6, 16, 1), **fields: Any) -> functools.partial:
    widths = (*(int(width * factor) for width in (64, 128, 256)), int(512 * last))
    return functools.partial(RepVGG, stages=stages, widths=widths, stem_width=min(64, widths[0]), **fields)


A = (2, 4, 14, 1)
MODELS = {
    "repvgg_a0": _variant(0.75, 2.5, A),
    "repvgg_a1": _variant(1, 2.5, A),
    "repvgg_a2": _variant(1.5, 2.75, A),
    "repvgg_b0": _variant(1, 2.5),
    "repvgg_b1": _variant(2, 4),
    "repvgg_b1g4": _variant(2, 4, groups=4),
    "repvgg_b2": _variant(2.5, 5),
    "repvgg_b2g4": _variant(2.5, 5, groups=4),
    "repvgg_b3": _variant(3, 5),
    "repvgg_b3g4": _variant(3, 5, groups=4),
    "repvgg_d2se": _variant(2.5, 5, (8, 14, 24, 1), se_ratio=0.0625),
}

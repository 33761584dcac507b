"""Networks of RAFT: encoders of features and context, the recurrent update, and torchvision's names of weights.

Teed & Deng 2020, arXiv:2003.12039, with the layers of torchvision's `raft_small` and `raft_large`; see `raft`.
"""

import functools
from collections.abc import Callable, Mapping
from math import prod
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range, check_range
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import BatchNorm, Conv, InstanceNorm
from dlcore.nn.initializers import kaiming_normal
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.replica import REPLICA
from dlcore.ops.resize import resize
from dlcore.video.correlation import convex_upsample, correlation_pyramid, lookup_correlation

__all__ = ["RAFT", "from_torch_names", "raft_large", "raft_small"]

Norm = Literal["none", "instance", "batch"]


class RAFT(nn.Module):
    """RAFT: two frames -> the flow from the first to the second, after each update.

    The defaults are those of `raft_small`. The stride s of the maps is the product of `strides`.

    Args:
      widths: output channels of the encoders' stem and three stages.
      strides: strides of the same layers.
      bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions in place of two of 3x3.
      features: D, channels that are correlated.
      context_features: channels of the context, which each update reads.
      hidden_features: channels of the recurrent state.
      context_norm: norm of the context's encoder: none or batch; that of the features is instance norm.
      num_levels: number of levels of the correlation pyramid.
      radius: largest offset of a lookup, in pixels of each level.
      correlation_features: output channels of the convolutions of the correlations, one or two.
      flow_features: output channels of the two convolutions of the flow.
      motion_features: channels of correlations and flow together.
      separable: a GRU of 1x5 and one of 5x1 in place of one of 3x3.
      head_features: hidden channels of the head of the flow.
      convex: enlarge the flow by learned weights, in place of bilinear interpolation.
      num_updates: N, number of updates.
      dtype: dtype of the convolutions; None for that of the input.
      axis_name: mapped axis over which batch statistics are averaged; None: each device by itself.
    """

    widths: tuple[int, ...] = (32, 32, 64, 96)
    strides: tuple[int, ...] = (2, 1, 2, 2)
    bottleneck: bool = True
    features: Annotated[int, Range(1)] = 128
    context_features: Annotated[int, Range(1)] = 64
    hidden_features: Annotated[int, Range(1)] = 96
    context_norm: Literal["none", "batch"] = "none"
    num_levels: Annotated[int, Range(1)] = 4
    radius: Annotated[int, Range(0)] = 3
    correlation_features: tuple[int, ...] = (96,)
    flow_features: tuple[int, ...] = (64, 32)
    motion_features: Annotated[int, Range(3)] = 82
    separable: bool = False
    head_features: Annotated[int, Range(1)] = 128
    convex: bool = False
    num_updates: Annotated[int, Range(1)] = 12
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, first: jax.Array, second: jax.Array, train: bool = False, last_only: bool = False) -> jax.Array:
        """Estimate the motion between two frames.

        Args:
          first: [B, H, W, C], commonly in [-1, 1]; s divides H and W.
          second: [B, H, W, C].
          train: whether batch norm uses the batch.
          last_only: return the flow of the last update alone, which saves enlarging the others.

        Returns:
          [N, B, H, W, 2], (right, down) in pixels after each update, at least float32; N is 1 with `last_only`.
        """
        stride = prod(self.strides)
        _check(self, first, second, stride)
        dtype = compute_dtype(self.dtype, first, self.variables)
        encoder = functools.partial(
            _Encoder, self.widths, self.strides, self.bottleneck, dtype=dtype, axis_name=self.axis_name
        )
        maps = encoder(norm="instance", features=self.features, name="feature_encoder")(
            jnp.concatenate([first, second]), train
        )
        first_map, second_map = jnp.split(maps, 2)
        pyramid = correlation_pyramid(first_map, second_map, self.num_levels)
        context_width = self.hidden_features + self.context_features
        context = encoder(norm=self.context_norm, features=context_width, name="context_encoder")(first, train)
        hidden = jnp.tanh(context[..., : self.hidden_features])
        context = nn.relu(context[..., self.hidden_features :])

        flow = jnp.zeros((*hidden.shape[:3], 2), acc_dtype_of(hidden.dtype))
        update_block = nn.scan(
            _UpdateBlock,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]
            length=self.num_updates,
        )(
            self.radius,
            self.correlation_features,
            self.flow_features,
            self.motion_features,
            self.separable,
            self.head_features,
            dtype,
            name="update_block",
        )
        _, (flows, states) = update_block((hidden, flow), pyramid, context)  # [N, B, h, w, 2], [N, B, h, w, hidden]
        if last_only:
            flows, states = flows[-1:], states[-1:]
        return self._enlarge(flows, states, stride, dtype)

    def _enlarge(self, flows: jax.Array, states: jax.Array, stride: int, dtype: Any) -> jax.Array:
        flat = flows.reshape(-1, *flows.shape[2:])  # [N B, h, w, 2]
        if self.convex:
            logits = _MaskPredictor(stride, dtype, name="mask_predictor")(states.reshape(-1, *states.shape[2:]))
            fine = convex_upsample(flat, logits.astype(flat.dtype), stride)
        else:
            size = (stride * flat.shape[1], stride * flat.shape[2])
            fine = stride * resize(flat, size, "bilinear", align_corners=True)
        return fine.reshape(*flows.shape[:2], *fine.shape[1:])


raft_small = RAFT
"""The network of torchvision's `raft_small`: 0.99 million parameters."""

raft_large = functools.partial(
    RAFT,
    widths=(64, 64, 96, 128),
    bottleneck=False,
    features=256,
    context_features=128,
    hidden_features=128,
    context_norm="batch",
    radius=4,
    correlation_features=(256, 192),
    flow_features=(128, 64),
    motion_features=128,
    separable=True,
    head_features=256,
    convex=True,
)
"""The network of torchvision's `raft_large`: 5.3 million parameters."""


def from_torch_names(model: RAFT, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of torchvision to the variables of a RAFT.

    Args:
      model: `raft_small()` or `raft_large()`, or one with the fields of the network that was saved.
      state_dict: {name: array}, torchvision's.

    Returns:
      {"params": ...}, and "batch_stats" where the context has batch norm.

    Raises:
      ValueError: entries are missing, left over or of a wrong shape; they are listed by name.
    """
    side = prod(model.strides) * 2 ** (model.num_levels - 1)
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image, image)
    return fill_from_torch(shapes, state_dict, (), what="RAFT")


def _check(model: RAFT, first: jax.Array, second: jax.Array, stride: int) -> None:
    check_choice("context_norm", model.context_norm, ("none", "batch"))
    check_shapes(first=(first, "B H W C"), second=(second, "B H W C"))
    for name, count in (("widths", 4), ("strides", 4), ("flow_features", 2)):
        if len(values := getattr(model, name)) != count or min(values) < 1:
            raise ValueError(f"{name}={values}: does not fit; allowed: {count} numbers of at least 1")
    for name, least in (("num_levels", 1), ("radius", 0), ("motion_features", 3), ("num_updates", 1)):
        check_range(name, getattr(model, name), Range(least))
    if len(model.correlation_features) not in (1, 2) or min(model.correlation_features) < 1:
        raise ValueError(
            f"correlation_features={model.correlation_features}: does not fit; allowed: one or two numbers of at "
            "least 1"
        )
    least = stride * 2 ** (model.num_levels - 1)
    if any(side % stride or side < least for side in first.shape[1:3]):
        raise ValueError(
            f"first.shape={first.shape}: does not fit the maps; allowed: sides that are multiples of {stride} and at "
            f"least {least}; pad the frames"
        )


def _layer(
    x: jax.Array,
    width: int,
    kernel: int,
    stride: int,
    name: str,
    *,
    norm: Norm,
    train: bool,
    dtype: Any,
    batch_norm: Callable[..., nn.Module],
    activation: bool = True,
) -> jax.Array:
    """Convolution `NAME_0`, norm `NAME_1` and relu, in the module that calls it."""
    init = kaiming_normal("fan_out")
    size, padding = (kernel, kernel), kernel // 2
    x = Conv(width, size, strides=stride, padding=padding, dtype=dtype, kernel_init=init, name=f"{name}_0")(x)
    if norm == "instance":
        x = InstanceNorm(use_scale=False, use_bias=False, dtype=dtype, name=f"{name}_1")(x)
    if norm == "batch":
        x = batch_norm(not train, dtype=dtype, name=f"{name}_1")(x)
    return nn.relu(x) if activation else x


class _Encoder(nn.Module):
    """A stem and three stages of two residual blocks: [B, H, W, C] -> [B, H / s, W / s, features]."""

    widths: tuple[int, ...]
    strides: tuple[int, ...]
    bottleneck: bool
    features: int
    norm: Norm
    dtype: Any
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        batch_norm = functools.partial(BatchNorm, axis_name=self.axis_name)
        layer = functools.partial(_layer, norm=self.norm, train=train, dtype=self.dtype, batch_norm=batch_norm)
        x = layer(x, self.widths[0], 7, self.strides[0], "convnormrelu")
        for i, (width, stride) in enumerate(zip(self.widths[1:], self.strides[1:], strict=True), 1):
            for block in range(2):
                x = _Block(width, 1 if block else stride, self.bottleneck, layer, name=f"layer{i}_{block}")(x)
        init = kaiming_normal("fan_out")
        return Conv(self.features, (1, 1), dtype=self.dtype, kernel_init=init, name="conv")(x)


class _Block(nn.Module):
    """A residual block whose branch ends in a relu of its own."""

    width: int
    stride: int
    bottleneck: bool
    layer: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        narrow = self.width // 4
        branch = ((narrow, 1, 1), (narrow, 3, self.stride), (self.width, 1, 1))
        if not self.bottleneck:
            branch = ((self.width, 3, self.stride), (self.width, 3, 1))
        y = x
        for i, (width, kernel, stride) in enumerate(branch, 1):
            y = self.layer(y, width, kernel, stride, f"convnormrelu{i}")
        if self.stride != 1 or x.shape[-1] != self.width:
            x = self.layer(x, self.width, 1, self.stride, "downsample", activation=False)
        return nn.relu(x + y)


class _UpdateBlock(nn.Module):
    """One update: ((state, flow), pyramid, context) -> ((state, flow), (flow, state))."""

    radius: int
    correlation_features: tuple[int, ...]
    flow_features: tuple[int, ...]
    motion_features: int
    separable: bool
    head_features: int
    dtype: Any

    @nn.compact
    def __call__(self, carry: tuple, pyramid: tuple[jax.Array, ...], context: jax.Array) -> tuple:
        hidden, flow = carry
        # The error of one update does not flow back into the position that it started from.
        flow = jax.lax.stop_gradient(flow)
        columns, rows = jnp.meshgrid(jnp.arange(flow.shape[2]), jnp.arange(flow.shape[1]))
        points = flow + jnp.stack([columns, rows], -1).astype(flow.dtype)
        correlations = lookup_correlation(pyramid, points, self.radius)
        motion = _MotionEncoder(
            self.correlation_features, self.flow_features, self.motion_features, self.dtype, name="motion_encoder"
        )(flow, correlations)
        inputs = jnp.concatenate([context, motion], -1)
        hidden = _RecurrentBlock(self.separable, self.dtype, name="recurrent_block")(hidden, inputs)
        flow = flow + _FlowHead(self.head_features, self.dtype, name="flow_head")(hidden).astype(flow.dtype)
        return (hidden, flow), (flow, hidden)


class _MotionEncoder(nn.Module):
    """Flow and correlations as features; the last two are the flow itself."""

    correlation_features: tuple[int, ...]
    flow_features: tuple[int, ...]
    features: int
    dtype: Any

    @nn.compact
    def __call__(self, flow: jax.Array, correlations: jax.Array) -> jax.Array:
        def conv(x: jax.Array, width: int, kernel: int, name: str) -> jax.Array:
            layer = Conv(width, (kernel, kernel), padding=kernel // 2, dtype=self.dtype, name=f"{name}_0")
            return nn.relu(layer(x))

        x, y = correlations, flow
        kernels = (1, 3)[: len(self.correlation_features)]
        for i, (width, kernel) in enumerate(zip(self.correlation_features, kernels, strict=True), 1):
            x = conv(x, width, kernel, f"convcorr{i}")
        for i, (width, kernel) in enumerate(zip(self.flow_features, (7, 3), strict=True), 1):
            y = conv(y, width, kernel, f"convflow{i}")
        x = conv(jnp.concatenate([x, y], -1), self.features - 2, 3, "conv")
        return jnp.concatenate([x, flow.astype(x.dtype)], -1)


class _RecurrentBlock(nn.Module):
    """Convolutional GRUs, one after the other, whose candidate reads r h (not r times a product of h)."""

    separable: bool
    dtype: Any

    @nn.compact
    def __call__(self, hidden: jax.Array, x: jax.Array) -> jax.Array:
        for i, kernel in enumerate(((1, 5), (5, 1)) if self.separable else ((3, 3),), 1):
            hidden = _ConvGRU(kernel, self.dtype, name=f"convgru{i}")(hidden, x)
        return hidden


class _ConvGRU(nn.Module):
    kernel: tuple[int, int]
    dtype: Any

    @nn.compact
    def __call__(self, hidden: jax.Array, x: jax.Array) -> jax.Array:
        def gate(state: jax.Array, name: str) -> jax.Array:
            padding = tuple(side // 2 for side in self.kernel)
            conv = Conv(hidden.shape[-1], self.kernel, padding=padding, dtype=self.dtype, name=name)
            return conv(jnp.concatenate([state, x], -1))

        z = nn.sigmoid(gate(hidden, "convz"))
        r = nn.sigmoid(gate(hidden, "convr"))
        return (1 - z) * hidden + z * jnp.tanh(gate(r * hidden, "convq"))


class _FlowHead(nn.Module):
    """Change of the flow, [B, h, w, 2]."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        x = nn.relu(Conv(self.features, (3, 3), padding=1, dtype=self.dtype, name="conv1")(hidden))
        return Conv(2, (3, 3), padding=1, dtype=self.dtype, name="conv2")(x)


class _MaskPredictor(nn.Module):
    """Logits of convex upsampling, a quarter of the last convolution's output."""

    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        x = nn.relu(Conv(2 * hidden.shape[-1], (3, 3), padding=1, dtype=self.dtype, name="convrelu_0")(hidden))
        return 0.25 * Conv(9 * self.stride**2, (1, 1), dtype=self.dtype, name="conv")(x)

"""Fusion over time: where a classifier of clips joins what its frames show.

    single      the mean of the frames' logits: no motion at all
    late_pool   frame features -> mean over frames -> linear: blind to the order
    late_dense  frame features, concatenated -> two dense layers
    early       frames stacked as channels, T x H x W x 3 -> H x W x 3T: one layer joins all of time
    slow        3-D convolutions: time is joined a little at each layer, by the same weights at each time step
    lstm        frame features -> LSTM -> linear, of the last step
    slowfast    two pathways at two frame rates (dlcore.video.slowfast)

Karpathy et al. 2014, "Large-scale video classification with convolutional neural networks"; Tran et al. 2015 (C3D),
arXiv:1412.0767; Donahue et al. 2015 (LRCN), arXiv:1411.4389. Here the networks are small: max pools halve space and
leave time as it is. Single-frame, early and slow fusion average the last map over space.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.learner import Range
from dlcore.nn import Conv, Dense, NonLocalBlock, RecurrentStack
from dlcore.nn.precision import compute_dtype
from dlcore.ops import max_pool
from dlcore.ops.checks import check_size
from dlcore.ops.precision import to_acc_dtype
from dlcore.video.slowfast import SlowFast

__all__ = ["C3D", "ClipClassifier", "ConvNet", "Fusion", "inflate", "width_of"]

Fusion = Literal["single", "late_dense", "late_pool", "early", "slow", "lstm", "slowfast"]


class ConvNet(nn.Module):
    """Convolutions, each with a max pool that halves space: [B, (T,) H, W, C] -> [B, (T,) H', W', features].

    With `temporal` kernels it reads clips, and `inflate` makes its weights from those of the network without.

    Args:
      features: output channels of each layer.
      temporal: taps along time, odd; None for images, without an axis of time.
      non_local: add a space-time non-local block after the last layer.
      dtype: dtype of the computation; None takes the input's.
    """

    features: tuple[int, ...] = (16, 32, 32)
    temporal: int | None = None
    non_local: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Compute the last map.

        Args:
          x: [B, H, W, C], or [B, T, H, W, C] with `temporal` taps.

        Returns:
          The map; time as long as it was.
        """
        time = () if self.temporal is None else (self.temporal,)
        window = (*(1 for _ in time), 2, 2)
        for i, features in enumerate(self.features):
            x = nn.relu(Conv(features, (*time, 3, 3), dtype=self.dtype, name=f"conv{i}")(x))
            x = max_pool(x, window, window) if min(x.shape[-3:-1]) > 1 else x
        return NonLocalBlock(dtype=self.dtype, name="non_local")(x) if self.non_local else x


class ClipClassifier(nn.Module):
    """Classify clips with one of the fusions.

    Args:
      num_classes: number of classes.
      fusion: where frames are joined.
      width: output channels of the first layer; twice as many of the next two.
      hidden: units of late fusion's first dense layer, and of the LSTM.
      temporal: taps of a 3-D kernel along time, in slow fusion.
      non_local: add a space-time non-local block to slow fusion.
      dtype: dtype of the computation; None takes the input's.
    """

    num_classes: int
    fusion: Fusion = "slow"
    width: Annotated[int, Range(1)] = 16
    hidden: Annotated[int, Range(1)] = 64
    temporal: Annotated[int, Range(1)] = 3
    non_local: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify.

        Args:
          x: [B, T, H, W, C].
          train: ignored; the network is the same in training.

        Returns:
          logits, [B, num_classes].
        """
        if x.ndim != 5:
            raise ValueError(f"x.shape={x.shape}: no clips; allowed: [B, T, H, W, C]")
        check_choice("fusion", self.fusion, Fusion)
        if self.fusion == "slowfast":
            return SlowFast(self.num_classes, self.width, alpha=2, dtype=self.dtype, name="net")(x, train)
        dtype = compute_dtype(self.dtype, x, self.variables)
        x, (batch, frames) = x.astype(dtype), x.shape[:2]
        net = ConvNet(
            (self.width, 2 * self.width, 2 * self.width),
            temporal=self.temporal if self.fusion == "slow" else None,
            non_local=self.non_local and self.fusion == "slow",
            dtype=dtype,
            name="net",
        )
        head = Dense(self.num_classes, dtype=dtype, name="logits")
        if self.fusion == "slow":
            logits = head(net(x).mean((1, 2, 3)))
        elif self.fusion == "early":
            # Frames as channels of one image, [B, H, W, T C].
            logits = head(net(jnp.moveaxis(x, 1, 3).reshape(batch, *x.shape[2:4], -1)).mean((1, 2)))
        else:
            # Late fusion and the LSTM need to know where things are: the map, not its mean over space.
            maps = net(x.reshape(-1, *x.shape[2:]))
            maps = maps.reshape(batch, frames, *maps.shape[1:])
            if self.fusion == "single":
                logits = head(maps.mean((2, 3))).mean(1)
            elif self.fusion == "late_pool":
                logits = head(maps.reshape(batch, frames, -1).mean(1))
            elif self.fusion == "late_dense":
                logits = head(nn.relu(Dense(self.hidden, dtype=dtype, name="hidden")(maps.reshape(batch, -1))))
            else:
                stack = RecurrentStack(self.hidden, dtype=dtype, name="lstm")
                _, states = stack(stack.initial_carry(batch), maps.reshape(batch, frames, -1))
                logits = head(states[:, -1])
        return to_acc_dtype(logits)


class C3D(nn.Module):
    """C3D, "the VGG of 3-D networks": eight 3^3 convolutions, five max pools, three dense layers.

    The layers' names are the reference's: conv1, conv2, conv3a, ..., conv5b, fc6, fc7, fc8.

    Args:
      num_classes: 101 for UCF101, 487 for Sports-1M.
      width: output channels of the first convolution; 2, 4, 8 and 8 times as many of the next groups.
      hidden: units of fc6 and fc7.
      dropout: probability of dropping a hidden unit.
      dtype: dtype of the computation; None takes the input's.
    """

    num_classes: int = 487
    width: Annotated[int, Range(1)] = 64
    hidden: Annotated[int, Range(1)] = 4096
    dropout: Annotated[float, Range(0, 0.99)] = 0.5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify clips.

        Args:
          x: [B, 16, 112, 112, 3]; fc6 fits clips of one size, of at least 16 frames and 16 pixels.
          train: use dropout.

        Returns:
          logits, [B, num_classes].
        """
        if x.ndim != 5 or min(x.shape[1:4]) < 16:
            raise ValueError(f"x.shape={x.shape}: no such clips; allowed: [B, T, H, W, C], T, H and W at least 16")
        dtype = compute_dtype(self.dtype, x, self.variables)
        x = x.astype(dtype)
        # Of each group: its layers and channels, and the pool after it; the first pool leaves time as it is.
        groups = ((("1",), 1), (("2",), 2), (("3a", "3b"), 4), (("4a", "4b"), 8), (("5a", "5b"), 8))
        for group, (names, times) in enumerate(groups):
            for name in names:
                x = nn.relu(Conv(times * self.width, (3, 3, 3), padding=1, dtype=dtype, name=f"conv{name}")(x))
            window = (1, 2, 2) if group == 0 else (2, 2, 2)
            # The last map of 7 x 7 becomes 4 x 4: fc6 reads 512 4 4 = 8192 numbers.
            x = max_pool(x, window, window, ((0, 0), (0, 1), (0, 1)) if group == 4 else "VALID")
        x = x.reshape(x.shape[0], -1)
        for name in ("fc6", "fc7"):
            x = nn.relu(Dense(self.hidden, dtype=dtype, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        logits = Dense(self.num_classes, dtype=dtype, name="fc8")(x)
        return to_acc_dtype(logits)


def inflate(variables: Any, taps: int) -> Any:
    """Inflate the weights of a 2-D network (I3D): each kernel `taps` times along time, divided by `taps`.

    Where all frames are the same, a 3-D network with the inflated weights computes what the 2-D one computes of the
    frame, at the time steps that see no zeros beyond the clip's ends. Carreira & Zisserman 2017, arXiv:1705.07750.

    Args:
      variables: tree of a network whose kernels of four axes are [height, width, in, out].
      taps: along time.

    Returns:
      The same tree; kernels of four axes are [taps, height, width, in, out].
    """
    check_whole_number("taps", taps, 1)

    def one(path: Any, leaf: jax.Array) -> jax.Array:
        is_kernel = getattr(path[-1], "key", None) == "kernel" and jnp.ndim(leaf) == 4
        return jnp.repeat(leaf[None], taps, 0) / taps if is_kernel else leaf

    return jax.tree_util.tree_map_with_path(one, variables)


def width_of(fusion: Fusion, parameters: int, num_classes: int, shape: tuple[int, ...], hidden: int = 64) -> int:
    """Find the width at which a fusion has about a number of parameters, to compare fusions at equal size.

    Args:
      fusion: fusion of the frames, see `ClipClassifier`.
      parameters: how many.
      num_classes: number of classes.
      shape: (T, H, W, C) of a clip.
      hidden: hidden width, see `ClipClassifier`.

    Returns:
      The width whose number of parameters is nearest, up to 128.
    """
    check_choice("fusion", fusion, Fusion)
    check_size("shape", shape, "T, H, W, C")
    for name, number in (("parameters", parameters), ("num_classes", num_classes), ("hidden", hidden)):
        check_whole_number(name, number, 1)
    clip = jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    def count(width: int) -> int:
        model = ClipClassifier(num_classes, fusion, width, hidden)
        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), clip)))

    low, high = 1, 128
    while low < high:  # the first width with at least as many parameters
        middle = (low + high) // 2
        low, high = (middle + 1, high) if count(middle) < parameters else (low, middle)
    widths = [w for w in (low - 1, low) if w > 0]
    return widths[int(np.argmin([abs(count(w) - parameters) for w in widths]))]

"""Two-stream network: one frame shows what is there, a stack of optical flow how it moves.

    log p = log(1/2 softmax(f_spatial(frame)) + 1/2 softmax(f_temporal(flow stack)))

Simonyan & Zisserman 2014, arXiv:1406.2199: both streams are image classifiers, and their class scores are averaged.
Feichtenhofer, Pinz & Zisserman 2016, arXiv:1604.06573, fuse their last maps in space and in time (`ConvFusion`): at
each time the maps are stacked as channels, so that what is there and how it moves meet at the same place, and

    y = relu(f * [spatial; temporal] + b),    f of 3 x 3 x 3 over time and space

then the largest value over 3 x 3 x 3 neighbors (3-D pooling) goes to the classifier. The stacks come from
`dlcore.video.flow_stack`, the flow from `dlcore.classical_vision.optical_flow` or exact sources.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.classical_vision.optical_flow import dense_lucas_kanade
from dlcore.learner import Range
from dlcore.nn import Conv, Dense
from dlcore.ops import max_pool
from dlcore.video.flow_stack import flow_stack
from dlcore.video.fusion import ConvNet

__all__ = ["ConvFusion", "TwoStream", "TwoStreamClips"]


class ConvFusion(nn.Module):
    """Fuse the maps of two streams in space and in time: one 3-D convolution of both, and 3-D max pooling.

    Submodule `conv`, of 3 x 3 x 3, whose input channels are those of the spatial stream, then those of the temporal.

    Args:
      features: output channels.
      dtype: dtype of the computation; None takes the input's.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, spatial: jax.Array, temporal: jax.Array) -> jax.Array:
        """Fuse.

        Args:
          spatial: [B, T, h, w, C], maps of T frames.
          temporal: [B, T, h, w, D], maps of the flow around each.

        Returns:
          [B, T, h, w, features].
        """
        if spatial.ndim != 5 or spatial.shape[:4] != temporal.shape[:4]:
            raise ValueError(
                f"temporal.shape={temporal.shape}: spatial.shape={spatial.shape}; allowed: [B, T, h, w, D] of "
                "[B, T, h, w, C]"
            )
        stacked = jnp.concatenate([spatial, temporal], -1)
        fused = nn.relu(Conv(self.features, (3, 3, 3), dtype=self.dtype, name="conv")(stacked))
        return max_pool(fused, (3, 3, 3), (1, 1, 1), padding=1)


class TwoStream(nn.Module):
    """Classify a frame and the flow around it.

    Submodules `spatial` and `temporal`, and their heads `spatial_logits` and `temporal_logits`.

    Args:
      num_classes: number of classes.
      width: output channels of each stream's first layer; twice as many of the next two.
      dtype: dtype of the computation; None takes the input's.
    """

    num_classes: int
    width: Annotated[int, Range(1)] = 16
    dtype: Any = None

    @nn.compact
    def streams(self, frame: jax.Array, flow: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Classify by each stream alone.

        Args:
          frame: [B, H, W, C].
          flow: [B, H, W, 2 L], of `flow_stack`.

        Returns:
          (logits of the frame, logits of the flow), [B, num_classes] each.
        """
        if frame.ndim != 4 or frame.shape[:3] != flow.shape[:3] or flow.shape[-1] % 2:
            raise ValueError(
                f"flow.shape={flow.shape}: frame.shape={frame.shape}; allowed: [B, H, W, 2 L] of [B, H, W, C]"
            )
        logits = []
        for name, x in (("spatial", frame), ("temporal", flow)):
            net = ConvNet((self.width, 2 * self.width, 2 * self.width), dtype=self.dtype, name=name)
            logits.append(Dense(self.num_classes, dtype=self.dtype, name=f"{name}_logits")(net(x).mean((1, 2))))
        return logits[0], logits[1]

    def __call__(self, frame: jax.Array, flow: jax.Array, train: bool = False) -> jax.Array:
        """Average the class probabilities of the two streams.

        Args:
          frame: [B, H, W, C].
          flow: [B, H, W, 2 L], of `flow_stack`.
          train: ignored; the network is the same in training.

        Returns:
          log-probabilities, [B, num_classes]: logits whose softmax is the mean of the streams'.
        """
        return _mean_of_streams(*self.streams(frame, flow))


def _mean_of_streams(spatial: jax.Array, temporal: jax.Array) -> jax.Array:
    """Average the class probabilities of two streams of logits [..., C]: log-probabilities [..., C]."""
    return jnp.logaddexp(jax.nn.log_softmax(spatial), jax.nn.log_softmax(temporal)) - jnp.log(2.0)


class TwoStreamClips(nn.Module):
    """Classify clips by their middle frame and by their optical flow, which Lucas-Kanade estimates inside.

    Submodule `streams`, a `TwoStream`; with `conv` fusion `spatial`, `temporal`, `conv_fusion` and their heads.

    Args:
      num_classes: number of classes.
      width: output channels of each stream's first layer.
      fusion: scores, the mean of the streams' probabilities, of the middle frame and all flow; or conv, `ConvFusion`
        of the streams' last maps over time, one frame and the flow around it at each time.
      subtract_mean: subtract each flow field's mean, which a panning camera adds.
      trajectories: stack the flow along the paths of the first frame's pixels.
      window: odd side of Lucas-Kanade's square around a pixel.
      levels: levels of its pyramid of images; each doubles the motion that it reaches.
      dtype: dtype of the computation; None takes the input's.
    """

    num_classes: int
    width: Annotated[int, Range(1)] = 16
    subtract_mean: bool = True
    trajectories: bool = False
    window: Annotated[int, Range(3)] = 5
    levels: Annotated[int, Range(1)] = 2
    dtype: Any = None
    fusion: Annotated[Literal["scores", "conv"], "if changed"] = "scores"

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify.

        Args:
          x: [B, T, H, W, C] in [-1, 1], T at least 2.
          train: ignored; the network is the same in training.

        Returns:
          log-probabilities, [B, num_classes].

        Raises:
          ValueError: x has another number of axes, or one frame.
        """
        return self._logits(x)[0]

    def auxiliary(self, x: jax.Array, train: bool = True) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classify by both streams and by each alone, so that each can be trained on its own loss as in the papers.

        Args:
          x: [B, T, H, W, C] in [-1, 1], T at least 2.
          train: ignored; the network is the same in training.

        Returns:
          (log-probabilities or logits [B, num_classes], {"spatial", "temporal": logits [B, num_classes]}).
        """
        return self._logits(x)

    @nn.compact
    def _logits(self, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_choice("fusion", self.fusion, ("scores", "conv"))
        if x.ndim != 5 or x.shape[1] < 2:
            raise ValueError(f"x.shape={x.shape}: no such clips; allowed: [B, T, H, W, C], T at least 2")

        def flow_of(gray: jax.Array) -> jax.Array:
            return jax.vmap(lambda a, b: dense_lucas_kanade(a, b, self.window, self.levels).flow)(gray[:-1], gray[1:])

        def stack(flow: jax.Array) -> jax.Array:
            return flow_stack(flow, self.subtract_mean, self.trajectories)

        flow = jax.vmap(flow_of)((x.astype(jnp.float32).mean(-1) + 1) / 2)  # [B, T - 1, H, W, 2]
        if self.fusion == "conv":
            # The three fields around each frame; the first and the last repeat at the ends.
            around = jnp.clip(jnp.arange(flow.shape[1])[:, None] + jnp.arange(-1, 2), 0, flow.shape[1] - 1)
            stacks = jax.lax.stop_gradient(jax.vmap(jax.vmap(stack))(flow[:, around]))
            return self._fused_logits(x[:, :-1], stacks.astype(x.dtype))
        stacks = jax.lax.stop_gradient(jax.vmap(stack)(flow))
        streams = TwoStream(self.num_classes, self.width, dtype=self.dtype, name="streams")
        spatial, temporal = streams.streams(x[:, x.shape[1] // 2], stacks.astype(x.dtype))
        return _mean_of_streams(spatial, temporal), {"spatial": spatial, "temporal": temporal}

    def _fused_logits(self, frames: jax.Array, stacks: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classify frames [B, T, H, W, C] and flow stacks [B, T, H, W, 6] by the fusion of their maps, and by each."""
        maps, logits = {}, {}
        for name, clip in (("spatial", frames), ("temporal", stacks)):
            net = ConvNet((self.width, 2 * self.width, 2 * self.width), dtype=self.dtype, name=name)
            flat = net(clip.reshape(-1, *clip.shape[2:]))
            maps[name] = flat.reshape(*clip.shape[:2], *flat.shape[1:])
            head = Dense(self.num_classes, dtype=self.dtype, name=f"{name}_logits")
            logits[name] = head(maps[name].mean((1, 2, 3)))
        fused = ConvFusion(2 * self.width, dtype=self.dtype, name="conv_fusion")(maps["spatial"], maps["temporal"])
        return Dense(self.num_classes, dtype=self.dtype, name="fused_logits")(fused.mean((1, 2, 3))), logits

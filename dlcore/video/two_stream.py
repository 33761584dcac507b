"""Two-stream network: one frame shows what is there, a stack of optical flow how it moves.

    log p = log(1/2 softmax(f_spatial(frame)) + 1/2 softmax(f_temporal(flow stack)))

Simonyan & Zisserman 2014, arXiv:1406.2199: both streams are image classifiers, and their class scores are averaged. The
stacks come from `dlcore.video.flow_stack`, the flow from `dlcore.classical_vision.optical_flow` or exact sources.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.classical_vision.optical_flow import dense_lucas_kanade
from dlcore.learner import Range
from dlcore.nn import Dense
from dlcore.video.flow_stack import flow_stack
from dlcore.video.fusion import ConvNet

__all__ = ["TwoStream", "TwoStreamClips"]


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

        Raises:
          ValueError: the shapes do not fit.
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
    """Average the class probabilities of two streams.

    Args:
      spatial: [..., C], logits.
      temporal: [..., C], logits.

    Returns:
      log-probabilities, [..., C].
    """
    return jnp.logaddexp(jax.nn.log_softmax(spatial), jax.nn.log_softmax(temporal)) - jnp.log(2.0)


class TwoStreamClips(nn.Module):
    """Classify clips by their middle frame and by their optical flow, which Lucas-Kanade estimates inside.

    Submodule `streams`, a `TwoStream`.

    Args:
      num_classes: number of classes.
      width: output channels of each stream's first layer.
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
        return _mean_of_streams(*self._streams(x))

    def auxiliary(self, x: jax.Array, train: bool = True) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classify by both streams and by each alone, so that each can be trained on its own loss as in the paper.

        Args:
          x: [B, T, H, W, C] in [-1, 1], T at least 2.
          train: ignored; the network is the same in training.

        Returns:
          (log-probabilities [B, num_classes], {"spatial", "temporal": logits [B, num_classes]}).
        """
        spatial, temporal = self._streams(x)
        return _mean_of_streams(spatial, temporal), {"spatial": spatial, "temporal": temporal}

    @nn.compact
    def _streams(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        if x.ndim != 5 or x.shape[1] < 2:
            raise ValueError(f"x.shape={x.shape}: no such clips; allowed: [B, T, H, W, C], T at least 2")

        def stack(gray: jax.Array) -> jax.Array:
            flow = jax.vmap(lambda a, b: dense_lucas_kanade(a, b, self.window, self.levels).flow)(gray[:-1], gray[1:])
            return flow_stack(flow, self.subtract_mean, self.trajectories)

        gray = (x.astype(jnp.float32).mean(-1) + 1) / 2
        stacks = jax.lax.stop_gradient(jax.vmap(stack)(gray))
        streams = TwoStream(self.num_classes, self.width, dtype=self.dtype, name="streams")
        return streams.streams(x[:, x.shape[1] // 2], stacks.astype(x.dtype))

"""Frame pairs: two frames of a clip, and the optical flow from the first to the second.

data=FramePairs(num_pairs=1600, image_size=32), measures=[Measure("epe", "min")], report=[frame_pairs.panels]
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.optical_flow import dense_lucas_kanade, endpoint_error
from dlcore.data.clips import clips
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.learner import Range, check_record
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["FramePairs", "frame_pairs", "panels", "untrained_errors"]


@dataclasses.dataclass(frozen=True)
class FramePairs:
    """Pairs of frames with exact flow.

    Args:
      num_pairs: pairs to train on; a tenth as many validate, and a tenth test
      image_size: side of a frame in pixels, a multiple of the network's stride
    """

    num_pairs: Annotated[int, Range(40), "essential"] = 1600
    image_size: Annotated[int, Range(32), "essential"] = 32

    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Draw the pairs, and measure estimates without training."""
        few = self.num_pairs // 10
        counts = (self.num_pairs, few, few)
        train, valid, test = (frame_pairs(count, seed, self.image_size) for seed, count in enumerate(counts))
        errors = untrained_errors(test)
        spec = {
            "dataset": "pairs of frames",
            "image_size": self.image_size,
            "trivial": {"epe": (errors["Lucas-Kanade"], "Lucas-Kanade")},
        }
        summary = ", ".join(f"{name} {error:.3f}" for name, error in errors.items())
        return Splits(train, valid, test, spec, (f"endpoint error in pixels, without training: {summary}",))

    def arguments(self, run: Any) -> dict[str, Callable[[jax.Array], jax.Array]]:
        """Give the technique its `preprocess`."""
        return {"preprocess": lambda frames: frames.astype(jnp.float32) / 127.5 - 1}


def frame_pairs(count: int, seed: int, size: int) -> Source:
    """Draw pairs of frames: `first`, `second`, `flow` and `valid`, which is 0 where a pixel leaves the frame.

    Args:
      count: number of pairs.
      seed: random seed.
      size: side of a frame in pixels.

    Returns:
      `first` and `second` [N, S, S, 3] uint8, `flow` [N, S, S, 2] in pixels and `valid` [N, S, S] uint8.
    """
    arrays = clips(count, seed, frames=2, size=size, directions=8, camera=True, flow=True).arrays
    flow = arrays["flow"][:, 0]
    endpoints = flow + np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1)
    valid = ((endpoints >= 0) & (endpoints <= size - 1)).all(-1).astype(np.uint8)
    first, second = arrays["clip"].swapaxes(0, 1)
    return Source({"first": first, "second": second, "flow": flow, "valid": valid}, count, name="pairs of frames")


def untrained_errors(source: Source) -> dict[str, float]:
    """Measure the endpoint errors of estimates without training.

    Args:
      source: of `frame_pairs`.

    Returns:
      {name: mean error over valid pixels, in pixels}.
    """
    frames = [source.arrays[name].astype(np.float32).mean(-1) / 255 for name in ("first", "second")]
    flow, valid = source.arrays["flow"], source.arrays["valid"] > 0

    @jax.jit
    def lucas_kanade(first: jax.Array, second: jax.Array) -> jax.Array:
        return jax.lax.map(lambda pair: dense_lucas_kanade(*pair, window=15, levels=2).flow, (first, second))

    flows = {
        "Lucas-Kanade": lucas_kanade(*frames),
        "no motion": np.zeros_like(flow),
        "the mean of the true flow": flow.mean((1, 2), keepdims=True),
    }
    return {name: float(np.asarray(endpoint_error(jnp.asarray(f), flow))[valid].mean()) for name, f in flows.items()}


def panels(context: ReportContext) -> list[Panel]:
    """Draw frames with their true and their estimated flow, and the curves."""
    from dlcore.report.curves import curves
    from dlcore.report.flow import flow_panel

    test, count = context.data.test.arrays, min(4, len(context.data.test))
    estimated, frames = np.asarray(context.outputs["flow"]), list(test["first"][:count])
    return [
        flow_panel(frames, list(test["flow"][:count]), "True optical flow"),
        flow_panel(frames, list(estimated[:count]), "Estimated optical flow"),
        curves(context.history),
    ]

"""Estimate optical flow by RAFT, beside Lucas-Kanade's.

python -m experiments.video.optical_flow        (endpoint error 0.201 pixels; Lucas-Kanade 0.791; 3 min on one core)
python -m experiments.video.optical_flow --raft.num_updates=12 --num_pairs=4000 --steps=4000        (not run)

The data are pairs of frames with known flow: a colored shape moves by up to 3 pixels along each axis over a texture,
and the camera by up to 2. The page measures the mean endpoint error (EPE) over all pixels that stay in the frame. Three
baselines need no training: Lucas-Kanade (windows of 15 pixels on two levels), no motion at all (1.886), and the mean of
the true flow over the frame (0.265), which contains the motion of the camera but not that of the shape.

References: Teed & Deng 2020, arXiv:2003.12039 (RAFT); Lucas & Kanade 1981.
"""

import dataclasses
import functools
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.optical_flow import dense_lucas_kanade, endpoint_error
from dlcore.data.clips import clips
from dlcore.data.source import Source
from dlcore.experiment import Experiment, Flags, Setup, Splits
from dlcore.experiment.task import Task
from dlcore.kits.training.optimizer import AdamW
from dlcore.learner import Range
from dlcore.main import main
from dlcore.video import raft
from dlcore.video.raft_network import RAFT
from experiments.smoke import few_steps

SMALL = {
    "widths": (16, 16, 24, 32),
    "strides": (2, 1, 1, 1),
    "features": 48,
    "context_features": 24,
    "hidden_features": 32,
    "num_levels": 2,
    "radius": 2,
    "correlation_features": (48,),
    "flow_features": (24, 16),
    "motion_features": 40,
    "head_features": 48,
    "convex": True,
    "num_updates": 4,
}
"""Fields of RAFT for small frames: maps of half the side."""


def frame_pairs(count: int, seed: int, size: int) -> Source:
    """Draw pairs of frames: `first`, `second`, `flow` and `valid`, which is 0 where a pixel leaves the frame.

    Args:
      count: number of pairs.
      seed: random seed.
      size: side of a frame in pixels.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class FramePairs(Task):
    """Pairs of frames with exact flow.

    Args:
      num_pairs: pairs to train on; a tenth as many validate, and a tenth test
      image_size: side of a frame in pixels, a multiple of the network's stride
    """

    num_pairs: Annotated[int, Range(40), "essential"] = 1600
    image_size: Annotated[int, Range(32), "essential"] = 32

    monitor = headline = "epe"
    monitor_mode: ClassVar[str] = "min"

    def data(self, flags: Flags) -> Splits:
        few = flags.num_pairs // 10
        train, valid, test = (
            frame_pairs(count, seed, flags.image_size) for seed, count in enumerate((flags.num_pairs, few, few))
        )
        errors = untrained_errors(test)
        spec = {
            "dataset": "pairs of frames",
            "image_size": flags.image_size,
            "trivial": {"epe": (errors["Lucas-Kanade"], "Lucas-Kanade")},
        }
        summary = ", ".join(f"{name} {error:.3f}" for name, error in errors.items())
        return Splits(train, valid, test, spec, (f"endpoint error in pixels, without training: {summary}",))

    def arguments(self, setup: Setup) -> dict[str, Any]:
        return {
            "model": RAFT(dtype=setup.dtype, **setup.flags.group("raft")),
            "preprocess": lambda frames: frames.astype(jnp.float32) / 127.5 - 1,
        }

    def panels(self, context: Any) -> list:
        """Frames with their true and their estimated flow, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.flow import flow_panel

        test, count = context.data.test.arrays, min(4, len(context.data.test))
        estimated, frames = np.asarray(context.outputs["flow"]), list(test["first"][:count])
        return [
            flow_panel(frames, list(test["flow"][:count]), "True optical flow"),
            flow_panel(frames, list(estimated[:count]), "Estimated optical flow"),
            curves(context.history),
        ]


experiment = Experiment(
    __file__,
    __doc__,
    raft.learner,
    task=FramePairs(),
    optimizer=AdamW(learning_rate=3e-3, weight_decay=1e-4, clip_norm=1.0),
    modules={"raft": functools.partial(RAFT, **SMALL)},
    defaults={"steps": 800, "batch_size": 8, "eval_every": 200},
    smoke={
        **few_steps(2, 4),
        "eval_batch_size": 4,
        "num_pairs": 40,
        "raft.widths": (4, 4, 4, 8),
        "raft.num_updates": 2,
        "raft.hidden_features": 8,
        "raft.features": 8,
    },
)

if __name__ == "__main__":
    main(experiment)

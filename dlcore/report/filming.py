"""A film of a run: the network's outputs for one batch at log steps, saved with the checkpoint for the report.

A frame costs one call of `predict`, at steps at which logging waits for the device anyway. A film has at most 32
frames: when it is full, every second frame is dropped, and the interval between frames doubles.
"""

import base64
import io
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.report.context import ReportContext
from dlcore.report.film import film
from dlcore.report.panel import Panel

__all__ = ["Film", "film_hooks"]


class Film:
    """Hook of `fit` that takes frames; `memory["frames"]` holds them, each with its step.

    Args:
      predict: (state, batch) -> outputs, without a mapped axis.
      batch: input of `predict` for each frame; random numbers depend on the state's root key alone.
      picture: outputs on the host -> one uint8 frame [H, W, C].
      title: title of the panel.
      most: largest number of frames, at least 2.
    """

    def __init__(
        self,
        predict: Callable[[Any, Any], Any],
        batch: Any,
        picture: Callable[[Any], np.ndarray],
        title: str,
        most: int = 32,
    ):
        check_whole_number("most", most, 2)
        self.batch, self.picture, self.title, self.most = batch, picture, title, most
        self.memory: dict[str, Any] = {"frames": [], "stride": 1, "calls": 0}
        self._predict = jax.jit(predict)

    def __call__(self, step: int, state: Any, metrics: dict[str, float]) -> None:
        """Take a frame if one is due.

        Args:
          step: step of the run.
          state: the learner's state.
          metrics: metrics of the step; without a training metric it is no log step and gets no frame.
        """
        if not any(name.startswith("train/") for name in metrics):
            return
        frames, stride, calls = (self.memory[name] for name in ("frames", "stride", "calls"))
        if calls % stride == 0:
            frames = [*frames, {"step": step, "picture": _encoded(self._draw(state))}]
        if len(frames) > self.most:
            frames, stride = frames[::2], 2 * stride
        self.memory = {"frames": frames, "stride": stride, "calls": calls + 1}

    def panels(self, context: ReportContext) -> list[Panel]:
        """Show the film, which ends with the tested state."""
        steps = [frame["step"] for frame in self.memory["frames"]] or ["none"]
        frames = [_decoded(frame["picture"]) for frame in self.memory["frames"]] + [
            _decoded(_encoded(self._draw(context.state)))
        ]
        caption = f"{len(frames)} frames from step {steps[0]} to the end, from the same random numbers."
        return [film(frames, self.title, caption)]

    def _draw(self, state: Any) -> np.ndarray:
        return self.picture(jax.device_get(self._predict(state, self.batch)))


def film_hooks(run: Any, batch: Any, picture: Callable[[Any], np.ndarray], title: str) -> list[Film]:
    """Build the hook of an experiment's film.

    Args:
      run: the `dlcore.experiment.Run`, whose learner draws.
      batch: see `Film`.
      picture: see `Film`.
      title: title of the panel.

    Returns:
      The hook in a list; an empty list in a run of several processes.
    """
    if jax.process_count() > 1:
        return []
    return [Film(run.build().predict, batch, picture, title)]


def _encoded(frame: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
    picture.save(buffer, "WEBP", **({"quality": 85} if frame.size > 60_000 else {"lossless": True}))
    return base64.b64encode(buffer.getvalue()).decode()


def _decoded(text: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))

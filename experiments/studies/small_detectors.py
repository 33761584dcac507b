"""What the studies of detectors share: scenes, a short training, mAP, AP by object size, milliseconds an image."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.scenes import SHAPES, scenes
from dlcore.evaluators.coco import CocoResult, coco_evaluator, coco_map, coco_rows
from dlcore.learner import Learner, State

__all__ = [
    "SIZES",
    "average_precision_by_size",
    "coco_result",
    "mean_average_precision",
    "milliseconds",
    "scene_arrays",
    "standardize",
    "train",
]

SIZES = ("small", "medium", "large")


def scene_arrays(count: int, seed: int, size: int) -> dict[str, np.ndarray]:
    """Draw scenes: the arrays of `dlcore.data.scenes.scenes`, with shapes of up to half a scene."""
    return dict(scenes(count, seed, size=size, max_boxes=4, smallest=size // 6, largest=size // 2).arrays)


def standardize(image: jax.Array) -> jax.Array:
    """Bring uint8 images to about zero mean and unit variance."""
    return (image.astype(jnp.float32) - 127.5) / 64


def rows_of(arrays: Mapping[str, np.ndarray], index: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[index] for name, values in arrays.items()} | {"index": index.astype(np.int32)}


@functools.lru_cache(maxsize=16)
def compiled(function: Callable) -> Callable:
    """Compile a function of a learner once for all seeds."""
    return jax.jit(function)


def train(learner: Learner, arrays: Mapping[str, np.ndarray], steps: int, batch_size: int, seed: int) -> State:
    """Train a learner on random batches."""
    rng, count = np.random.default_rng(seed), len(arrays["image"])
    state = compiled(learner.init)(jax.random.key(seed), rows_of(arrays, np.arange(batch_size) % count))
    for _ in range(steps):
        state, _ = compiled(learner.update)(
            state, rows_of(arrays, rng.choice(count, batch_size, replace=count < batch_size))
        )
    return state


def predictions(
    learner: Learner, state: State, arrays: Mapping[str, np.ndarray], batch_size: int
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Predict whole batches of the arrays: (detections, rows) of each."""
    predict = compiled(learner.predict)
    for start in range(0, len(arrays["image"]) - batch_size + 1, batch_size):
        rows = rows_of(arrays, np.arange(start, start + batch_size))
        yield jax.device_get(predict(state, rows)), rows


def mean_average_precision(
    learner: Learner, state: State, arrays: Mapping[str, np.ndarray], batch_size: int = 16
) -> dict[str, float]:
    """Measure `map` and `map50` on whole batches of the arrays."""
    evaluator, state_of_evaluator = coco_evaluator(SHAPES), None
    for outputs, rows in predictions(learner, state, arrays, batch_size):
        state_of_evaluator = evaluator.add(state_of_evaluator, outputs, rows)
    numbers = evaluator.finish(state_of_evaluator)
    return {name: float(numbers[name] or 0) for name in ("map", "map50")}


def coco_result(
    learner: Learner,
    state: State,
    arrays: Mapping[str, np.ndarray],
    size_limits: tuple[float, float],
    batch_size: int = 16,
    num_classes: int = len(SHAPES),
) -> CocoResult:
    """Compute COCO's metrics of boxes on whole batches of the arrays.

    Args:
      learner: learner of boxes.
      state: trained.
      arrays: scenes.
      size_limits: areas in square pixels, as `dlcore.evaluators.coco.coco_map` takes them.
      batch_size: scenes of a batch.
      num_classes: classes of the arrays; by default the shapes of scenes.

    Returns:
      The results.
    """
    tables: list[tuple[np.ndarray, np.ndarray]] = []
    for outputs, rows in predictions(learner, state, arrays, batch_size):
        tables.append(coco_rows(outputs, rows, batch_size * len(tables)))
    target_table, detections = map(np.concatenate, zip(*tables, strict=True))
    return coco_map(target_table, detections, batch_size * len(tables), num_classes, size_limits=size_limits)


def average_precision_by_size(
    learner: Learner,
    state: State,
    arrays: Mapping[str, np.ndarray],
    size_limits: tuple[float, float],
    batch_size: int = 16,
) -> dict[str, float]:
    """Measure AP at IoU 0.5 of the objects of each size, by `coco_result`.

    Returns:
      {size: mean AP over the classes that have objects of the size}, NaN where none has.
    """
    result = coco_result(learner, state, arrays, size_limits, batch_size)
    precision = result.precision_by_size[:, 0]  # [sizes, 101, C], at IoU 0.5
    return {
        size: float(of_size[of_size > -1].mean()) if (of_size > -1).any() else float("nan")
        for size, of_size in zip(SIZES, precision, strict=True)
    }


def milliseconds(learner: Learner, state: State, arrays: Mapping[str, np.ndarray], repeats: int = 5) -> float:
    """Measure the processor milliseconds of predict on one image: the least of some calls."""
    batch, predict, times = rows_of(arrays, np.arange(1)), compiled(learner.predict), []
    jax.block_until_ready(predict(state, batch))
    for _ in range(repeats):
        start = time.process_time()
        jax.block_until_ready(predict(state, batch))
        times.append(time.process_time() - start)
    return 1000 * min(times)

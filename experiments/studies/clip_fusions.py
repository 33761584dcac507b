"""Where should a network join the frames of a clip? Five fusions at equal parameters on three tasks.

python -m experiments.studies.clip_fusions

A colored shape moves over a textured ground that wraps around. The color (appearance) is in each frame; one of four
directions (motion) is in none; right and left (order) are each the other with the frames in reverse. The fusions of
`dlcore.video.fusion` have about as many parameters each, by their widths (`width_of`). The claim holds where a single
frame names the color (at least 95 %) and not the motion (at most chance and 6 points), the mean over frames does not
tell the order (at most 56 %), and early and slow fusion name motion and order (at least 95 %), on average over seeds.

Reference: Karpathy et al. 2014, "Large-scale video classification with convolutional neural networks".
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.clip_splits import label_clips
from dlcore.data.clips import clips
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.report.figure import PALETTE, new_figure
from dlcore.run.progress import say
from dlcore.video.fusion import ClipClassifier, width_of
from experiments.studies.small_runs import minimize

FUSIONS = ("single", "late_pool", "late_dense", "early", "slow")
TASKS = {"appearance": None, "motion": 4, "order": 2}
"""Task -> number of classes; None stands for that of the colors."""
HIDDEN = 16


def task_data(task: str, count: int, seed: int, frames: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Clips [N, T, 16, 16, 3] in [-1, 1], labels [N], and the number of classes."""
    source = label_clips(clips(count * (2 if task == "order" else 1), seed, frames=frames, size=16), task)
    images = source.arrays["image"].astype(np.float32) / 127.5 - 1
    return images, source.arrays["label"], len(source.class_names)


@functools.partial(jax.jit, static_argnums=(0, 6))
def trained_accuracy(model: Any, key: jax.Array, x: Any, y: Any, test_x: Any, test_y: Any, steps: int) -> jax.Array:
    """Train by Adam on minibatches of 64, the rate falling to 0, and measure on the test clips."""
    params = model.init(key, x[:1])["params"]
    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, steps))

    def objective(params, i):
        idx = jax.random.randint(jax.random.fold_in(key, i), (64,), 0, len(x))
        return softmax_cross_entropy_loss(model.apply({"params": params}, x[idx]), y[idx]).mean()

    params, _ = minimize(objective, params, optimizer, jnp.arange(steps))
    logits = jax.lax.map(lambda clip: model.apply({"params": params}, clip[None])[0], test_x, batch_size=100)
    return (logits.argmax(-1) == test_y).mean()


def judge(mean: dict[tuple[str, str], float], baseline: float) -> bool:
    """Whether one frame shows no motion and late pooling no order, which early and slow fusion both see."""
    return (
        mean["single", "appearance"] >= 0.95
        and mean["single", "motion"] <= baseline + 0.06
        and mean["late_pool", "order"] <= 0.56
        and min(mean[fusion, task] for fusion in ("early", "slow") for task in ("motion", "order")) >= 0.95
    )


def study(
    *,
    num_clips: PositiveInt = 1500,
    steps: PositiveInt = 300,
    parameters: PositiveInt = 8000,
    frames: PositiveInt = 4,
    num_seeds: PositiveInt = 3,
) -> StudyResult:
    """Train each fusion on each task.

    Args:
      num_clips: about the number of training clips; two thirds as many test.
      steps: minibatches of 64.
      parameters: about the number of parameters of each network.
      frames: number of frames of a clip.
    """
    results, numbers = {}, {}
    for task in TASKS:
        x, y, classes = task_data(task, num_clips, 0, frames)
        test_x, test_y, _ = task_data(task, max(10, num_clips * 2 // 3), 1, frames)
        for fusion in FUSIONS:
            width = width_of(fusion, parameters, classes, x.shape[1:], HIDDEN)
            model = ClipClassifier(classes, fusion, width, HIDDEN)
            shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype))
            size = sum(leaf.size for leaf in jax.tree.leaves(shapes))
            accuracies = [
                float(trained_accuracy(model, jax.random.key(seed), x, y, test_x, test_y, steps))
                for seed in range(num_seeds)
            ]
            results[fusion, task] = np.array(accuracies)
            numbers[f"{task}, {fusion}"] = {"accuracy": float(np.mean(accuracies)), "width": width, "parameters": size}
            say(f"{task}, {fusion}: {size:,} parameters, {np.mean(accuracies):.1%}")
        numbers[f"{task}, chance"] = {
            "accuracy": float(np.bincount(test_y).max() / len(test_y)),
            "width": 0,
            "parameters": 0,
        }
    mean = {pair: float(values.mean()) for pair, values in results.items()}
    holds = judge(mean, numbers["motion, chance"]["accuracy"])
    rows = "; ".join(
        f"{fusion} " + ", ".join(f"{mean[fusion, task]:.1%} {task}" for task in TASKS) for fusion in FUSIONS
    )
    verdict = f"At about {parameters:,} parameters: {rows}."
    headline = Headline(
        "accuracy of slow fusion on motion",
        results["slow", "motion"],
        "clips, motion",
        baseline=(mean["single", "motion"], "a single frame", "higher"),
    )
    return StudyResult(numbers, verdict, {"fusions": draw(results)}, holds, headline=headline)


def draw(results: dict[tuple[str, str], np.ndarray]) -> Any:
    """Bars of the accuracies, a group a task, with the seeds as dots."""
    figure, axes = new_figure((8, 3.2))
    for i, fusion in enumerate(FUSIONS):
        for t, task in enumerate(TASKS):
            x = t + 0.16 * (i - 2)
            axes.bar(x, results[fusion, task].mean(), 0.15, color=PALETTE[i], label=fusion if t == 0 else None)
            axes.plot([x] * len(results[fusion, task]), results[fusion, task], ".", color="black", ms=3)
    axes.set_xticks(range(len(TASKS)), TASKS)
    axes.set(ylabel="test accuracy", ylim=(0, 1.25))
    axes.legend(frameon=False, ncols=5, fontsize=8, loc="upper center")
    return figure


experiment = Study(__file__, __doc__, study, smoke={"num_clips": 30, "steps": 2, "parameters": 1500, "num_seeds": 1})

if __name__ == "__main__":
    main(experiment)

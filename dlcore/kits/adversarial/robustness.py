"""Shared by pages about robustness: early stopping of fast adversarial training, and pictures of attacked images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.learner import root_key
from dlcore.modes.report_context import ReportContext
from dlcore.run.hooks import STOP

__all__ = ["RobustnessDrop", "attacked_images", "panels"]


class RobustnessDrop:
    """Stop when the robust accuracy falls: catastrophic overfitting of fast FGSM (Wong, Rice & Kolter 2020).

    Args:
      drop: difference to the best value so far, as a fraction, at which training stops; the paper's 0.2.
      monitor: name of the metric.
    """

    def __init__(self, drop: float = 0.2, monitor: str = "valid/robust_accuracy"):
        if not 0 < drop <= 1:
            raise ValueError(f"drop={drop}: out of range; allowed: above 0, at most 1")
        self.drop, self.monitor = drop, monitor
        self.memory: dict[str, Any] = {"best": None}

    def __call__(self, step: int, state: Any, metrics: dict[str, float]) -> Any:
        """Compare the metric with its best value so far.

        Args:
          step: steps done.
          state: the learner's state.
          metrics: "split/name" -> number, of this step.

        Returns:
          STOP where the metric is more than `drop` below its best value, else None.
        """
        value = metrics.get(self.monitor)
        if value is None:
            return None
        best = self.memory["best"]
        self.memory = {"best": value if best is None else max(best, value)}
        return STOP if best is not None and value < best - self.drop else None


def attacked_images(images: np.ndarray, attacked: np.ndarray, epsilon: float, titles: Sequence[str]) -> Any:
    """Draw images, the attacked ones, and the change between them.

    Args:
      images: [N, H, W, C] in [0, 1]; C is 1 or 3.
      attacked: [N, H, W, C] in [0, 1], the attacked images.
      epsilon: pixel change that is drawn as black or white; gray is no change.
      titles: N texts, above the attacked images.

    Returns:
      A matplotlib Figure.
    """
    from dlcore.report.figure import new_figure

    rows = {
        "image": images,
        "attacked": attacked,
        "change,\ngray is 0": np.clip(0.5 + (attacked - images) / (2 * max(epsilon, 1e-6)), 0, 1),
    }
    count = len(images)
    figure, axes = new_figure((1.25 * count + 0.8, 4.4), 3, count)
    for row, (name, pictures) in zip(np.reshape(axes, (3, count)), rows.items(), strict=True):
        for ax, picture in zip(row, pictures, strict=True):
            ax.imshow(picture[..., 0] if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.grid(visible=False)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        if name == "attacked":
            for ax, title in zip(row, titles, strict=True):
                ax.set_title(title, fontsize=8)
    return figure


def panels(context: ReportContext) -> list:
    """Show test images under attack, and the panels of a classifier.

    Args:
      context: the ReportContext of a run of adversarial training.

    Returns:
      Report panels.
    """
    import jax
    import jax.numpy as jnp

    from dlcore.adversarial.gradient import pgd
    from dlcore.data.augment import to_float
    from dlcore.report.classifier import classifier_panels
    from dlcore.report.curves import curves
    from dlcore.report.figure import figure_panel

    flags, names, test = context.flags, context.spec["class_names"], context.data.test.arrays
    labels = np.asarray(test["label"])
    idx = [int(np.flatnonzero(labels == k)[0]) for k in np.unique(labels)][:8]
    x, y = to_float(test["image"][idx]), jnp.asarray(labels[idx])

    def score_fn(image):
        batch = {"image": image[None], "label": y[:1], "index": jnp.zeros(1, jnp.int32)}
        return context.learner.predict(context.state, batch)["logits"][0]

    def attack(key, image, label):
        return pgd(score_fn, key, image, label, flags.epsilon, flags.eval_step_size, flags.eval_steps)

    attacked = jax.jit(jax.vmap(attack))(jax.random.split(root_key(0), len(idx)), x, y)
    logits = jax.jit(jax.vmap(score_fn))(attacked)
    titles = [f"{names[a]} as {names[b]}" for a, b in zip(labels[idx], np.asarray(logits.argmax(-1)), strict=True)]
    figure = attacked_images(np.asarray(x), np.asarray(attacked), flags.epsilon, titles)
    caption = f"PGD of {flags.eval_steps} steps within {flags.epsilon:g} of each pixel: true class as predicted class."
    measures, probabilities = {**context.numbers, **context.arrays}, context.outputs["probabilities"]
    return [
        curves(context.history),
        figure_panel("Test images under attack", figure, caption),
        *classifier_panels(measures, test["image"], labels, probabilities, names, context.state.params),
    ]

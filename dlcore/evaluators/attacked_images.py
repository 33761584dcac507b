"""The accuracy of a classifier under attack, early stopping by it, and panels."""

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.experiment.parts import Run
from dlcore.learner import Range, root_key
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.run.hooks import STOP

__all__ = ["RobustAccuracy", "RobustnessDrop", "panels"]


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


@dataclasses.dataclass(frozen=True)
class RobustAccuracy:
    """The share of images that a classifier recognizes under attack, which may end training.

    Args:
      early_stop: fall of the robust accuracy on validation images below its best, as a fraction, that ends training
    """

    early_stop: Annotated[float | None, Range(0.001, 1)] = None

    metric: ClassVar[str] = "robust_accuracy"
    mode: ClassVar[str] = "max"

    def hooks(self, run: Run) -> list:
        """Stop training where `early_stop` says."""
        return [] if self.early_stop is None else [RobustnessDrop(self.early_stop)]


def panels(context: ReportContext) -> list[Panel]:
    """Show test images under attack, and the panels of a classifier."""
    import jax
    import jax.numpy as jnp

    from dlcore.adversarial.gradient import pgd
    from dlcore.data.augment import to_float
    from dlcore.report.adversarial import attacked_images
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

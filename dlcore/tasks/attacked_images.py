"""AttackedImages: labeled images that a classifier is to recognize under attack, and early stopping by robustness."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from dlcore.experiment.parts import Run
from dlcore.kits.images import labeled_images, prediction
from dlcore.kits.images.labeled_images import ResizedImages
from dlcore.kits.training import backbone
from dlcore.learner import root_key
from dlcore.report.context import ReportContext
from dlcore.run.hooks import STOP
from dlcore.weights.start import Start, start_classifier

__all__ = ["AttackedImages", "RobustnessDrop"]


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
class AttackedImages(ResizedImages):
    """Labeled images that are attacked in training and measuring, and not augmented."""

    model: ClassVar[str] = "small_cnn"
    monitor = headline = "robust_accuracy"
    plain: ClassVar[dict[str, Any]] = {"defense": "standard", "weight_decay": 0.0}
    overfit: ClassVar[float] = 1e-2

    data = staticmethod(labeled_images.data)
    inputs = staticmethod(prediction.inputs)
    describe = staticmethod(prediction.describe)
    planned = staticmethod(labeled_images.planned)

    def start(self, run: Run) -> Start | None:
        """Start from the weights of `--init_from`."""
        return start_classifier(run)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Build the model and the preprocessing."""
        return {"model": backbone.build(run), "preprocess": labeled_images.preprocess(run)}

    def expected_loss(self, run: Run) -> float:
        """Compute the initial loss of equally probable classes."""
        return math.log(run.spec["num_classes"])

    def hooks(self, run: Run) -> list:
        """Stop training where `--early_stop` says."""
        drop = run.flags.early_stop
        return [] if drop is None else [RobustnessDrop(drop)]

    def panels(self, context: ReportContext) -> list:
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
        caption = (
            f"PGD of {flags.eval_steps} steps within {flags.epsilon:g} of each pixel: true class as predicted class."
        )
        measures, probabilities = {**context.numbers, **context.arrays}, context.outputs["probabilities"]
        return [
            curves(context.history),
            figure_panel("Test images under attack", figure, caption),
            *classifier_panels(measures, test["image"], labels, probabilities, names, context.state.params),
        ]

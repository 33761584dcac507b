"""Figure of dlcore.metrics.calibration; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.metrics.calibration import Calibration
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["calibration"]


def calibration() -> "Figure":
    """Left: accuracy against confidence in ten bins, for scores that are right and for the same scores times 2.5.

    The labels of 20 000 examples are drawn from the scores' own softmax, so these lie on the diagonal; larger scores
    claim more than they hold. The accuracy is the same for both. Right: the calibration error against the factor. A
    temperature that divides the scores finds its minimum.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    key, draw = jax.random.split(jax.random.key(0))
    logits = 1.5 * jax.random.normal(key, (20000, 4))
    labels = jax.random.categorical(draw, logits)
    for factor, color, style in ((1.0, BLUE, "o-"), (2.5, VERMILION, "s--")):
        result = Calibration.of(factor * logits, labels, num_bins=10).compute()
        used = result["bin_count"] > 0
        confidence, accuracy = result["bin_confidence"][used], result["bin_accuracy"][used]
        left.plot(
            confidence, accuracy, style, color=color, markersize=4, label=f"times {factor:g}: {result['ece']:.3f}"
        )
    left.plot([0.2, 1], [0.2, 1], ":", color=GRAY)
    left.set(xlabel="confidence", ylabel="accuracy")
    left.legend(frameon=False, title="calibration error")
    factors = np.geomspace(0.3, 4, 21)
    errors = [Calibration.of(jnp.float32(f) * logits, labels).compute()["ece"] for f in factors]
    right.semilogx(factors, errors, color=GREEN)
    right.set(xlabel="factor of the scores", ylabel="calibration error", ylim=(0, None))
    right.set_xticks([0.3, 0.5, 1, 2, 4], ["0.3", "0.5", "1", "2", "4"])
    right.minorticks_off()
    return figure

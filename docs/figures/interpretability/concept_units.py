"""Figure of dlcore.interpretability.concept_units; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.interpretability.concept_units import find_concept_units, unit_areas
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["concept_units"]


def concept_units() -> "Figure":
    """The search for a concept's unit among units of noise, with 60 pictures and 60 texts.

    A third of them have the concept. Left: the best of many units looks good on the pictures that chose it, though all
    are noise; on texts it stays at chance. Right: the areas of 200 units. The one unit that answers to both stands
    alone in the corner at the top right.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    concepts = np.arange(60)[:, None] % 3 == 0
    numbers = (1, 3, 10, 30, 100, 300)
    areas = []
    for number in numbers:
        found = []
        for seed in range(30):
            pictures, texts = np.random.default_rng(seed).normal(size=(2, 60, number))
            unit = find_concept_units(pictures, concepts, texts, concepts)
            found.append((unit.image_auc[0], unit.text_auc[0]))
        areas.append(np.mean(found, 0))
    for values, name, style, color in zip(
        np.transpose(areas), ("pictures, which chose it", "texts"), ("o-", "s--"), (BLUE, VERMILION), strict=True
    ):
        left.semilogx(numbers, values, style, color=color, markersize=4, label=name)
    left.axhline(0.5, color=GRAY, linewidth=0.8)
    left.set(xlabel="units of noise", ylabel="area of the best unit", ylim=(0.4, 1))
    left.legend(frameon=False)
    both = np.random.default_rng(1).normal(size=(2, 60, 200))
    both[:, :, 0] += 2.5 * concepts[:, 0]
    image, text = (unit_areas(x, concepts)[:, 0] for x in both)
    right.scatter(image[1:], text[1:], s=8, color=GRAY, label="noise")
    right.scatter(image[:1], text[:1], s=40, marker="*", color=VERMILION, label="concept unit")
    right.set(xlabel="area over pictures", ylabel="area over texts", xlim=(0.2, 1.02), ylim=(0.2, 1.02))
    right.legend(frameon=False, loc="upper left")
    return figure

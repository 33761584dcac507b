"""Concept units: units that answer to a concept in a picture and to its name in a text alike.

Goh, Cammarata, Voss, Carter, Petrov, Schubert, Radford & Olah 2021, "Multimodal neurons in artificial neural networks",
doi:10.23915/distill.00030.

    AUC_dk = P(a_d(x) > a_d(y)) + 1/2 P(a_d(x) = a_d(y)),   x with concept k, y without it
    unit of concept k: u_k = argmax_d AUC_dk over pictures; a concept unit has a high AUC over texts, too

The unit is chosen on pictures alone, so that its area on texts is not the best of many: chance is 1/2, however many
units there are.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from dlcore.ops.checks import check_finite

__all__ = ["ConceptUnits", "find_concept_units", "unit_areas"]


class ConceptUnits(NamedTuple):
    """The unit of each concept.

    Args:
      units: [K] int, u_k.
      image_auc: [K], its area under the ROC curve over the pictures that chose it.
      text_auc: [K], its area over texts.
    """

    units: np.ndarray
    image_auc: np.ndarray
    text_auc: np.ndarray


def unit_areas(activations: np.ndarray, concepts: np.ndarray) -> np.ndarray:
    """Measure how well each unit tells the inputs with a concept from those without it.

    Args:
      activations: [N, D].
      concepts: [N, K] bool, whether an input has a concept.

    Returns:
      [D, K], areas under the ROC curve in [0, 1]; 1/2 is chance.
    """
    activations, concepts = np.asarray(activations, np.float64), np.asarray(concepts)
    if activations.ndim != 2 or concepts.ndim != 2 or len(activations) != len(concepts):
        raise ValueError(
            f"concepts.shape={concepts.shape}: activations are {activations.shape}; allowed: [N, K] beside [N, D]"
        )
    if concepts.dtype != bool:
        raise ValueError(f"concepts.dtype={concepts.dtype}: no truth values; allowed: bool")
    check_finite("activations", activations)
    positives = concepts.sum(0)
    negatives = len(concepts) - positives
    if (bad := np.flatnonzero((positives == 0) | (negatives == 0))).size:
        raise ValueError(
            f"concepts: {positives[bad[0]]} of {len(concepts)} inputs have concept {bad[0]}; allowed: some, not all"
        )
    # Mann-Whitney: the rank sum of the inputs with a concept, less that of the lowest ranks.
    sums = rankdata(activations, axis=0).T @ concepts.astype(np.float64)  # [D, K]
    return (sums - positives * (positives + 1) / 2) / (positives * negatives)


def find_concept_units(
    image_activations: np.ndarray, image_concepts: np.ndarray, text_activations: np.ndarray, text_concepts: np.ndarray
) -> ConceptUnits:
    """Find the unit that answers best to pictures of each concept, and measure it on texts.

    Args:
      image_activations: [N, D], of pictures.
      image_concepts: [N, K] bool, what they show.
      text_activations: [M, D], of texts, of the same units.
      text_concepts: [M, K] bool, what they name.

    Returns:
      The units.
    """
    images, texts = unit_areas(image_activations, image_concepts), unit_areas(text_activations, text_concepts)
    if images.shape != texts.shape:
        raise ValueError(
            f"text_activations: {texts.shape[0]} units and {texts.shape[1]} concepts; allowed: "
            f"{images.shape[0]} and {images.shape[1]}, as of pictures"
        )
    units = images.argmax(0)
    of_concept = np.arange(images.shape[1])
    return ConceptUnits(units, images[units, of_concept], texts[units, of_concept])

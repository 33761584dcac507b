"""Concept units: areas by hand, a planted unit, and that the texts do not choose."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dlcore.interpretability.concept_units import find_concept_units, unit_areas
from experiments.interpretability import concept_units as page


@pytest.mark.covers("VI-20")
def test_areas_by_hand():
    """Activations 1, 2, 2, 4, the concept in the second and last: of four pairs 2 > 1, 2 = 2, 4 > 1, 4 > 2: 3.5/4."""
    activations = np.array([[1, 0], [2, 0], [2, 0], [4, 0]], np.float32)
    concepts = np.array([[False], [True], [False], [True]])
    np.testing.assert_allclose(unit_areas(activations, concepts), [[3.5 / 4], [1 / 2]])


def test_areas_equal_scikit_learn():
    rng = np.random.default_rng(0)
    activations, concepts = rng.normal(size=(40, 3)).round(1), rng.random((40, 2)) < 0.3
    expected = [[roc_auc_score(concepts[:, k], activations[:, d]) for k in range(2)] for d in range(3)]
    np.testing.assert_allclose(unit_areas(activations, concepts), expected)


@pytest.mark.covers("VI-20")
def test_a_planted_unit_answers_to_picture_and_word_and_texts_do_not_choose():
    """Unit 4 holds concept 1 in both; unit 2 holds concept 0 in pictures alone, although unit 0 holds it in texts."""
    rng = np.random.default_rng(1)
    concepts = rng.random((2, 400, 2)) < 0.5
    images, texts = rng.normal(size=(2, 400, 6))
    images[:, 4] += 5 * concepts[0, :, 1]
    texts[:, 4] += 5 * concepts[1, :, 1]
    images[:, 2] += 5 * concepts[0, :, 0]
    texts[:, 0] += 5 * concepts[1, :, 0]
    found = find_concept_units(images, concepts[0], texts, concepts[1])
    np.testing.assert_array_equal(found.units, [2, 4])
    assert found.image_auc.min() > 0.99
    assert found.text_auc[1] > 0.99
    assert abs(found.text_auc[0] - 0.5) < 0.1


def test_bad_inputs_are_refused():
    zeros, some = np.zeros((4, 2)), np.array([[False], [True], [False], [True]])
    with pytest.raises(ValueError, match="concepts: 4 of 4 inputs have concept 0; allowed: some, not all"):
        find_concept_units(zeros, np.ones((4, 1), bool), zeros, some)


def test_concepts_of_captions():
    """A red circle beside a blue square: of the 6 colors and 4 shapes those four."""
    names = page.CONCEPTS
    row = page.concepts_of(["a red circle is left of a blue square"])[0]
    assert {name for name, there in zip(names, row, strict=True) if there} == {"red", "circle", "blue", "square"}


@pytest.mark.covers("VI-20")
def test_the_verdict_turns():
    areas = {"trained": (np.full(10, 0.95), np.full(10, 0.93)), "untrained": (np.full(10, 0.7), np.full(10, 0.5))}
    assert page.report(areas).holds
    assert not page.report({**areas, "untrained": areas["trained"]}).holds
    assert not page.report({**areas, "trained": (np.full(10, 0.95), np.full(10, 0.6))}).holds

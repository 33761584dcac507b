"""Network dissection: planted detectors, and numbers by hand."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.interpretability.dissection import activation_thresholds, class_selectivity, concept_iou
from experiments.interpretability import dissection as page


@pytest.mark.covers("VI-20")
def test_iou_over_the_data_set_by_hand():
    """Two images of 2 x 2; the first channel is active at (0, 0) and (0, 1) of the first, the second nowhere.

    Concept 0 is at (0, 0) and (1, 0) of the first: 1 of 3. Concept 1 is at (0, 0), (0, 1) of the first and at (1, 1) of
    the second: 2 of 3. Sums over images come before the ratio: the mean of the images' ratios would be (1 + 0) / 2."""
    maps = np.zeros((2, 2, 2, 2), np.float32)
    maps[0, 0, :, 0] = 1
    masks = np.zeros((2, 2, 2, 2), bool)
    masks[0, :, 0, 0] = True
    masks[0, 0, :, 1] = masks[1, 1, 1, 1] = True
    got = concept_iou(jnp.asarray(maps), jnp.asarray(masks), jnp.array([0.5, 0.5]))
    np.testing.assert_allclose(got, [[1 / 3, 2 / 3], [0, 0]], rtol=1e-6)


@pytest.mark.covers("VI-20")
def test_thresholds_are_the_top_share_of_each_channel():
    values = jnp.arange(1000.0).reshape(10, 10, 10, 1) * jnp.array([1.0, -1.0])
    got = activation_thresholds(values, 0.01)
    assert [(values[..., d] > got[d]).sum() for d in range(2)] == [10, 10]


@pytest.mark.covers("VI-20")
def test_a_planted_detector_is_found_among_noise():
    rng = np.random.default_rng(0)
    masks = np.zeros((40, 16, 16, 3), bool)
    for n in range(40):
        y, x = rng.integers(0, 12, 2)
        masks[n, y : y + 4, x : x + 4, n % 3] = True
    maps = rng.random((40, 16, 16, 5)).astype(np.float32)
    maps[..., 3] += 2 * masks[..., 1]
    share = masks[..., 1].mean()
    got = np.asarray(
        concept_iou(jnp.asarray(maps), jnp.asarray(masks), activation_thresholds(jnp.asarray(maps), share))
    )
    assert got[3, 1] > 0.9
    assert got[3, [0, 2]].max() < 0.05
    assert np.delete(got, 3, 0).max() < 0.1


@pytest.mark.covers("VI-21")
def test_selectivity_by_hand():
    """Means by class (3, 1, 0), (2, 2, 2), none, (0, 1, 5): (3 - .5) / (3 + .5) = 5/7, 0, 0 and 4.5 / 5.5 = 9/11.

    There are two images of each class.
    """
    labels = np.array([4, 4, 7, 7, 9, 9])
    activations = np.float32([[2, 4, 1, 1, 0, 0], [2] * 6, [0] * 6, [0, 0, 0, 2, 4, 6]]).T
    got = class_selectivity(activations, labels)
    np.testing.assert_allclose(got.index, [5 / 7, 0, 0, 9 / 11], rtol=1e-6)
    assert got.classes[[0, 3]].tolist() == [4, 9]
    # Of the first two classes alone: (3 - 1) / (3 + 1), and (0 - 0) / 0 is 0.
    np.testing.assert_allclose(class_selectivity(activations[:4], labels[:4]).index, [1 / 2, 0, 0, 1])


@pytest.mark.covers("VI-20", "VI-21")
def test_the_verdict_turns():
    iou = {
        "trained": np.full((4, 5), 0.06),
        "untrained": np.full((4, 5), 0.01),
        "planted": np.array([[0.02, 0.7, 0, 0, 0]]),
    }
    selectivity = {"trained": np.array([0.8, 0.6]), "untrained": np.array([0.1, 0.1])}
    good = page.report(iou, selectivity, 0.97)
    assert good.holds
    assert "4 of 4 units of the trained network" in good.verdict
    assert not page.report({**iou, "trained": iou["untrained"], "untrained": iou["trained"]}, selectivity, 0.97).holds
    assert not page.report({**iou, "planted": iou["planted"][:, ::-1]}, selectivity, 0.97).holds


@pytest.mark.weekly
def test_a_miniature():
    result = page.study(num_train=8, num_test=10, image_size=32, width=4, steps=1, batch_size=2)
    assert {"detectors, trained", "detectors, untrained", "selectivity, trained"} <= result.numbers.keys()
    assert result.numbers["IoU of the planted unit"] >= 0.5


@pytest.mark.covers("VI-20")
def test_maps_are_enlarged_before_they_are_compared_with_the_threshold():
    """Places (0, 1) become pixels 0, .25, .75, 1 by half-pixel centers: of four columns, two exceed .6 and three .2.

    A mask of the last column: 1 of 2, and 1 of 3. Comparing first would give maps (0, 1), the same for both."""
    maps = jnp.asarray(np.array([0.0, 1.0], np.float32).reshape(1, 1, 2, 1))
    masks = jnp.asarray(np.array([False, False, False, True]).reshape(1, 1, 4, 1))
    np.testing.assert_allclose(concept_iou(maps, masks, jnp.array([0.6])), [[1 / 2]], rtol=1e-6)
    np.testing.assert_allclose(concept_iou(maps, masks, jnp.array([0.2])), [[1 / 3]], rtol=1e-6)
    np.testing.assert_allclose(concept_iou(maps, masks, jnp.array([0.9])), [[1]], rtol=1e-6)  # one pixel of one


@pytest.mark.covers("VI-20")
def test_the_trained_and_the_untrained_network_are_dissected_under_their_names(monkeypatch):
    """The last map of a network is its parameter: 2 after training, 1 without; the shape is that of class 0."""
    few = {
        "image": np.zeros((2, 4, 4, 3), np.uint8), "label": np.array([0, 1]), "mask": np.ones((2, 4, 4), bool),
    }  # fmt: skip

    class Net:
        def __init__(self, width):
            pass

        def init(self, key, x):
            return 1.0

        def apply(self, value, x):
            return jnp.eye(3)[jnp.array([0, 2])], {"last": jnp.full((2, 2, 2, 3), value)}

    masks = []
    monkeypatch.setattr(page, "single_shapes", lambda *_: few)
    monkeypatch.setattr(page, "Classifier", Net)
    monkeypatch.setattr(page, "fit", lambda *_: 2.0)
    monkeypatch.setattr(page, "activation_thresholds", lambda maps, share: share)
    monkeypatch.setattr(page, "concept_iou", lambda maps, mask, at: masks.append(mask) or maps.max())
    monkeypatch.setattr(page, "class_selectivity", lambda means, labels: types.SimpleNamespace(index=means.max()))
    monkeypatch.setattr(page, "planted_map", lambda masks, maps, seed: maps + 5)
    monkeypatch.setattr(page, "report", lambda iou, selectivity, right: (iou, selectivity, right))
    iou, selectivity, right = page.study(num_train=2, num_test=2, image_size=4)
    assert iou == {"trained": 2, "planted": 7, "untrained": 1}
    assert selectivity == {"trained": 2, "untrained": 1}
    assert right == 0.5
    np.testing.assert_array_equal(masks[0][:, 0, 0, :2], np.eye(2))

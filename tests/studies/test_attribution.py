"""The verdict on written scores, and the helpers by hand."""

import numpy as np
import pytest

from dlcore.interpretability.attribution import ANY_NETWORK
from experiments.studies import attribution as study


def verdict(**pointing):
    values = {
        "occlusion": 0.97,
        "grad_cam": 0.93,
        "gradient": 0.9,
        "middle": 0.4,
        "edges": 0.7,
        "random": 0.1,
        **pointing,
    }
    names = (*ANY_NETWORK, "middle", "edges", "random")
    scores = {n: {"pointing": values.get(n, 0.5), "CorLoc": 0.6, "deletion": 0.2, "insertion": 0.8} for n in names}
    mean = {"scores": scores, "alike": dict.fromkeys(ANY_NETWORK, 0.1), "accuracy": 0.98}
    test = {
        "image": np.zeros((2, 8, 8, 3), np.uint8),
        "label": np.array([0, 1]),
        "box": np.tile([1.0, 2, 5, 6], (2, 1)),
    }
    maps = {n: np.ones((2, 8, 8), np.float32) for n in ANY_NETWORK}
    return study.report(mean, [0.9, 0.96], 0.3, test, maps)


@pytest.mark.slow
def test_the_verdict_turns():
    good = verdict()
    assert good.holds
    assert "occlusion 0.97, Grad-CAM 0.93, gradient 0.90, " in good.verdict
    assert "middle 0.40, strongest edge 0.70, random 0.10" in good.verdict
    assert good.headline.values == [0.9, 0.96]
    assert good.numbers["mean share of the box"] == 16 / 64
    assert not verdict(occlusion=0.94).holds
    assert not verdict(gradient=0.7, edges=0.9).holds, "the arms are swapped"
    assert not verdict(edges=0.95).holds, "an edge detector does as well as Grad-CAM"


def test_boxes_and_their_pixels():
    mask = study.masks_of(np.array([[1.0, 0, 3, 2]]), 4)[0]
    assert mask.sum() == 4
    assert mask[:2, 1:3].all()
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2]], np.float32)
    truth = np.array([[0, 0, 2, 3], [0, 0, 2, 4], [0, 0, 4, 4]], np.float32)  # IoU 2/3, 1/2, 1/4
    assert study.corloc(boxes, truth) == pytest.approx(2 / 3)


def test_maps_without_a_network_point_at_the_middle_and_at_edges():
    image = np.zeros((1, 9, 9, 3), np.uint8)
    image[0, :, 6:] = 255
    maps = study.maps_without_a_network(image, 0)
    assert np.unravel_index(maps["middle"][0].argmax(), (9, 9)) == (4, 4)
    assert maps["edges"][0].argmax(1).tolist() == [5] * 9


def test_the_claim_asks_the_most_of_occlusion():
    assert study.WANTED == {"occlusion": 0.95, "grad_cam": 0.9, "gradient": 0.85}

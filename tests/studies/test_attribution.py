"""The verdict on written scores, the helpers by hand, and a miniature."""

import numpy as np
import pytest

from dlcore.kits.interpretability.attribution import ANY_NETWORK
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


@pytest.mark.weekly
def test_a_miniature(monkeypatch):
    monkeypatch.setattr(study, "ANY_NETWORK", ("gradient", "guided_backprop", "occlusion", "grad_cam"))
    settings = {"num_train": 8, "num_test": 4, "image_size": 16, "width": 4, "steps": 1, "batch_size": 2, "seeds": 1}
    result = study.study(**settings, window=4)
    assert {"pointing, occlusion", "CorLoc, grad_cam", "deletion, random"} <= result.numbers.keys()
    assert set(result.figures) == {"maps", "pointing game"}


def test_each_map_is_scored_under_its_own_name(monkeypatch):
    """Trained networks point at the box by occlusion alone; random ones by the gradient alone; edges at the box too."""
    test = {
        "image": np.zeros((2, 8, 8, 3), np.uint8),
        "label": np.array([0, 1]),
        "box": np.tile([1.0, 2, 5, 6], (2, 1)),
    }
    test["image"][:, 3:5, 2:4] = 255  # whose edges are inside the box
    rng = np.random.default_rng(0)
    ramp = rng.permutation(64).reshape(8, 8).astype(float)

    def attribution_maps(forward, variables, x, labels, methods, *, window, seed):
        maps = {name: np.stack([ramp + 0.1 * i for i in range(2)]) for name in methods}
        maps["gradient"] = ramp[None] * [[[1.0]], [[1.0]]] if variables == "trained" else -ramp[None].repeat(2, 0)
        pointing = "occlusion" if variables == "trained" else "gradient"
        for name in methods:
            maps[name] = maps[name].copy()
            maps[name][:, 3, 3] = 100 if name == pointing else -100
        return maps

    class Net:
        def __init__(self, width):
            pass

        def init(self, key, x):
            return "untrained"

        def apply(self, variables, x):
            assert variables == "trained"
            return np.eye(2, dtype=np.float32), {}

    def measure(net, variables, maps, x, rows):
        assert variables == "trained"
        return {name: {"pointing": float(study.pointing_game(v, study.masks_of(rows["box"], 8)).mean()), "CorLoc": 0.0,
                       "deletion": 0.0, "insertion": 0.0} for name, v in maps.items()}  # fmt: skip

    monkeypatch.setattr(study, "attribution_maps", attribution_maps)
    monkeypatch.setattr(study, "single_shapes", lambda count, seed, size: test)
    monkeypatch.setattr(study, "fit", lambda *args: "trained")
    monkeypatch.setattr(study, "Classifier", Net)
    monkeypatch.setattr(study, "measure", measure)
    monkeypatch.setattr(study.jax, "jit", lambda f: f)
    monkeypatch.setattr(study, "draw_maps", lambda *args: None)
    monkeypatch.setattr(study, "draw_pointing", lambda *args: None)
    numbers = study.study(num_test=2, image_size=8, seeds=1).numbers
    pointing = {name: numbers[f"pointing, {name}"] for name in (*ANY_NETWORK, "edges")}
    assert pointing == dict.fromkeys(ANY_NETWORK, 0.0) | {"occlusion": 1.0, "edges": 1.0}
    assert numbers["pointing, middle"] == float(study.masks_of(test["box"], 8)[0, 3, 3])
    ranks = {name: numbers[f"rank correlation with random weights, {name}"] for name in ANY_NETWORK}
    assert ranks["gradient"] < -0.8  # the other way around, but for one pixel
    assert min(v for name, v in ranks.items() if name not in ("gradient", "occlusion")) == pytest.approx(1)
    assert numbers["accuracy"] == 1


def test_the_claim_asks_the_most_of_occlusion():
    assert study.WANTED == {"occlusion": 0.95, "grad_cam": 0.9, "gradient": 0.85}

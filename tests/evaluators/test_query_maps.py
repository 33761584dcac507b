"""Where queries look: each image shows the queries that claim an object, the most certain first."""

from types import SimpleNamespace

import numpy as np

from dlcore.data.source import Source
from dlcore.evaluators import query_maps
from dlcore.experiment.flags import Flags
from tests.overriding import run_of


def test_images_with_other_numbers_of_detections_stand_in_one_panel(monkeypatch):
    """The first image has two detections, the second has none."""
    scores, labels = np.array([[0.6, 0.2, 0.9], [0.1, 0.2, 0.3]]), np.array([[0, 1, 1], [0, 0, 0]])
    maps = np.arange(24.0).reshape(2, 3, 2, 2)
    monkeypatch.setattr(query_maps, "query_attention_maps", lambda *args: (scores, labels, maps))
    shown = []
    strips = "dlcore.report.vision_language.attention_strips"
    monkeypatch.setattr(strips, lambda images, words, weights, *texts: shown.append((words, weights)) or "panel")
    data = SimpleNamespace(arguments=lambda run: {"preprocess": lambda images: images / 255})
    network = SimpleNamespace(arguments=lambda run: {"model": None})
    parts = {"data": data, "network": network, "optimizer": SimpleNamespace(ema=None)}
    run = run_of(Flags({}), {"class_names": ["ring", "cross"]}, **parts)
    context = SimpleNamespace(
        state=SimpleNamespace(params={}, model_state={}),
        data=SimpleNamespace(test=Source({"image": np.zeros((2, 4, 4, 3), np.uint8)})),
    )
    assert query_maps.QueryMaps().panels(context, run) == ["panel"]
    ((words, weights),) = shown
    assert words == [["cross 90", "ring 60"], []]
    np.testing.assert_array_equal(weights[0], maps[0][[2, 0, 1]])
    assert weights.shape == maps.shape

"""--mode=evaluate: splits that are not there, and the mean over views of an image."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.learner import Learner
from dlcore.modes import evaluate as module
from dlcore.modes.views import average_views
from dlcore.setting import FlagError


@pytest.mark.parametrize("test", [None, {"a": Source.indices(2)}])
def test_a_split_that_is_no_single_source_is_refused_with_those_that_are(monkeypatch, test):
    splits = Splits(Source.indices(7), Source.indices(5), test, {})
    monkeypatch.setattr(module, "config_of", lambda run: {"spec": {}})
    monkeypatch.setattr(module, "members_of", lambda run: [run])
    monkeypatch.setattr(module, "data_for", lambda run, config: splits)
    with pytest.raises(FlagError, match=r"^--split=test: not in this data; allowed: train, valid$"):
        module.MODE.run(SimpleNamespace(flags=Flags({"split": "test"}), training=print, example=print))


def test_views_are_averaged_of_a_classifier_of_images_alone():
    rows = {"image": np.zeros((2, 3, 3, 1), np.float32), "label": np.zeros(2, np.int32)}
    plain = Learner(lambda rng, batch: 0.0, None, None, lambda state, batch: {"features": batch["image"].mean((1, 2))})
    assert average_views(plain, "none", rows) is plain
    with pytest.raises(FlagError, match=r"^--tta=flip: this is no classifier of images; allowed: none$"):
        average_views(plain, "flip", rows)
    half = plain._replace(predict=lambda state, batch: {"probabilities": batch["image"][:, 0, :2, 0]})
    rows["image"][:, 0, :, 0] = [0, 0.5, 1]  # mirrored: 1 and 0.5
    found = average_views(half, "flip", rows).predict(0.0, rows)["probabilities"]
    np.testing.assert_allclose(found, [[0.5, 0.5]] * 2)

"""A run of two steps, and the verdict on written numbers."""

import chex
import numpy as np
import pytest

from experiments.studies import unet_skips as study


def measured(gain):
    joined = np.array([[0.9, 0.6], [0.92, 0.62], [0.94, 0.64]])
    return {"with skips": joined, "without": joined - [0.05, gain]}


@pytest.mark.covers("SG-04")
def test_the_verdict_turns_at_a_tenth():
    good = study.report(measured(0.11))
    assert good.holds
    assert "Boundary IoU is 0.620 with skips and 0.510 without, +0.110; mean IoU 0.920 and 0.870." in good.verdict
    np.testing.assert_allclose(good.headline.values, [0.11] * 3)
    bad = study.report(measured(0.09))
    assert not bad.holds
    assert "NOT the .10" in bad.verdict


@pytest.mark.covers("SG-04")
def test_each_arm_has_its_network(monkeypatch):
    seen = []

    class Recorded(study.UNet):
        def __post_init__(self):
            seen.append((self.widths, self.skips))
            super().__post_init__()

    class Stop(Exception):
        pass

    def fit(learner, pipeline, **fields):
        raise Stop

    monkeypatch.setattr(study, "UNet", Recorded)
    monkeypatch.setattr(study, "fit", fit)
    train = study.scene_maps(4, size=24, smallest=4, largest=12)
    for skips in study.ARMS.values():
        with pytest.raises(Stop):
            study.measure(skips, 0, train, train, (2, 4), 2, 4, 5e-3)
    assert list(dict.fromkeys(seen)) == [((2, 4), True), ((2, 4), False)]


@pytest.mark.weekly
def test_a_short_run_measures_the_test_scenes():
    train, test = (study.scene_maps(n, n, size=24, smallest=4, largest=12) for n in (8, 3))
    values = study.measure(True, 0, train, test, (2, 4), 150, 8, 5e-3)
    chex.assert_shape(values, (2,))
    assert (values >= 0).all()
    assert values[0] > 0.1  # the background, of six classes
    assert values[1] < values[0]


def test_every_arm_and_seed_is_measured(monkeypatch):
    monkeypatch.setattr(study, "measure", lambda skips, seed, *rest: np.array([skips, 0.1 * seed]))
    result = study.study(num_seeds=2, size=24, num_scenes=8)
    assert result.numbers["mean IoU, with skips"] == [1, 1]
    assert result.numbers["mean IoU, without"] == [0, 0]
    assert result.numbers["boundary IoU, with skips"] == [0, 0.1]


def test_scenes_have_shapes_from_a_sixth_to_a_half_of_their_side(monkeypatch):
    asked = []
    monkeypatch.setattr(study, "scene_maps", lambda count, seed, **fields: asked.append((count, seed, fields)))
    monkeypatch.setattr(study, "measure", lambda *_: np.zeros(2))
    monkeypatch.setattr(study, "report", lambda results: results)
    assert set(study.study(num_seeds=1, size=24, num_scenes=50)) == {"with skips", "without"}
    fields = {"size": 24, "smallest": 4, "largest": 12}
    assert asked == [(50, 0, fields), (10, 1, fields)]

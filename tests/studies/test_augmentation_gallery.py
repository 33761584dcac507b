"""The gallery draws every tile, and the photograph as it is."""

import numpy as np
import pytest

from experiments.studies import augmentation_gallery


@pytest.mark.slow
def test_a_group_of_tiles():
    result = augmentation_gallery.experiment.function(height=24, group="tone")
    assert result.holds
    assert len(result.numbers) == 9
    assert all(np.isfinite(value) and value > 0 for value in result.numbers.values())
    assert "9 of 9" in result.verdict or "8 of 9" in result.verdict
    assert [axes.get_title() for axes in result.figures["gallery"].axes][:2] == list(result.numbers)[:2]


def test_bad_height():
    with pytest.raises(ValueError, match="height=3: too small"):
        augmentation_gallery.study(height=3)

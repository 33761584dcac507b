"""The lab of center pixels: equal logits, and costs by hand."""

import chex
import numpy as np
import pytest

from dlcore.segmentation.full_resolution import FullResolutionNet
from experiments.segmentation.sliding_patch import experiment, macs, patches_of, study


def test_a_patch_is_around_its_pixel():
    image = np.arange(30.0).reshape(5, 6, 1)
    patches = patches_of(image, 3)
    chex.assert_shape(patches, (3, 4, 3, 3, 1))
    np.testing.assert_array_equal(patches[1, 2, :, :, 0], image[1:4, 2:5, 0])


@pytest.mark.covers("SG-01")
def test_the_costs_of_a_patch_by_hand():
    # Two layers of 4 channels, 3 classes: 9 * 3 * 4 at 3 x 3 places, 9 * 4 * 4 at one, and 4 * 3.
    assert macs(FullResolutionNet(3, 2, 4, padding="VALID"), 5, 5) == 108 * 9 + 144 + 12
    assert macs(FullResolutionNet(3, 2, 4), 10, 7) == (108 + 144 + 12) * 70


@pytest.mark.slow
@pytest.mark.covers("SG-01")
def test_the_claim_holds_on_a_small_scene():
    result = study(**experiment.smoke, num_classes=3)
    assert result.holds
    assert result.numbers["1 layers"]["ratio"] == 1
    assert result.headline.values == round((108 * 9 + 144 + 12) / (108 + 144 + 12), 2)

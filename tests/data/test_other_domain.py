"""The second domain by hand: the absolute difference from patches, or the negative, in another order."""

import numpy as np
import pytest

from dlcore.data.other_domain import blend, two_domains
from dlcore.data.source import Source


def test_blends_by_hand():
    images = np.array([10, 200, 90], np.uint8).reshape(3, 1, 1, 1)
    patches = np.array([[30, 10, 0], [255, 100, 200]], np.uint8).reshape(2, 1, 1, 3)
    # Image 2 has patch 2 mod 2 = 0.
    np.testing.assert_array_equal(blend(images, patches)[:, 0, 0], [[20, 0, 10], [55, 100, 0], [60, 80, 90]])
    with pytest.raises(ValueError, match=r"patches=\(1, 2\): of another size; allowed: \(1, 1\), the images'"):
        blend(images, np.zeros((2, 1, 2, 3), np.uint8))


def test_rows_of_the_second_domain_keep_their_labels():
    source = Source(
        {"image": (np.arange(20) / 255).astype(np.float32).reshape(20, 1, 1, 1), "label": np.arange(20)}, name="ramp"
    )
    drawn = two_domains(source, np.zeros((1, 1, 1, 3), np.uint8), "inverted", seed=1)
    image, target, target_label = (drawn.arrays[name] for name in ("image", "target", "target_label"))
    np.testing.assert_array_equal(image[:, 0, 0], np.arange(20)[:, None].repeat(3, 1))
    np.testing.assert_array_equal(target[:, 0, 0, 0], 255 - target_label)
    assert sorted(target_label) == list(range(20))
    assert (target_label != np.arange(20)).sum() > 10
    assert drawn.name == "ramp and inverted"
    patch = np.full((1, 1, 1, 3), 5, np.uint8)
    colors = Source({"image": image, "label": np.arange(20)}, name="ramp")
    blended = two_domains(colors, patch, seed=1).arrays
    np.testing.assert_array_equal(blended["target"][:, 0, 0, 1], np.abs(blended["target_label"] - 5))
    np.testing.assert_array_equal(blended["target_label"], target_label)

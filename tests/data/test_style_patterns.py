"""Every pattern by its checksum, which pins what the fast style networks were trained on, and the waves by hand."""

import hashlib

import numpy as np
import pytest

from dlcore.data.style_patterns import STYLE_PATTERNS, style_pattern

CHECKSUMS = {"mosaic": "f17605d73266da5b", "waves": "c4c83a1bf3bf601f", "strokes": "483f2b91b4074e43"}


@pytest.mark.parametrize("name", STYLE_PATTERNS)
def test_a_pattern_is_what_it_was(name):
    pattern = style_pattern(name, 24, seed=3)
    assert hashlib.sha256(pattern.tobytes()).hexdigest()[:16] == CHECKSUMS[name]


def test_waves_by_hand():
    """Column 0: the phase is (y + 2 sin 1) / 3 = (y + 1.683) / 3: bands of 4 colors change at y = 2, 5, 8, ..."""
    column = style_pattern("waves", 15)[:, 0, 0]
    np.testing.assert_array_equal(column, np.repeat([14, 34, 125, 245, 14, 34], [2, 3, 3, 3, 3, 1]))


def test_bad_arguments():
    with pytest.raises(ValueError, match="name='dots': unknown; allowed: mosaic, waves, strokes"):
        style_pattern("dots", 16)
    with pytest.raises(ValueError, match="side=7: out of range; allowed: at least 8"):
        style_pattern("waves", 7)
    assert style_pattern("mosaic", 8).shape == (8, 8, 3)

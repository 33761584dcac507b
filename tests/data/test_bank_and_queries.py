"""A bank and a split in one source."""

import numpy as np
import pytest

from dlcore.data.bank_and_queries import bank_and_queries
from dlcore.data.source import Source


def source(n, first=0):
    return Source({"image": np.arange(first, first + n, dtype=np.float32)[:, None], "label": np.arange(n) % 3})


def test_the_bank_comes_first_and_is_drawn_by_seed():
    joined = bank_and_queries(source(10), source(4, 100), 6)
    np.testing.assert_array_equal(joined.arrays["bank"], [1] * 6 + [0] * 4)
    np.testing.assert_array_equal(joined.arrays["image"][6:, 0], [100, 101, 102, 103])
    own = joined.arrays["image"][:6, 0]
    assert len(set(own)) == 6
    assert sorted(own) == list(own)
    np.testing.assert_array_equal(joined.arrays["label"][:6], own % 3)
    np.testing.assert_array_equal(own, bank_and_queries(source(10), source(4, 100), 6).arrays["image"][:6, 0])
    assert len(bank_and_queries(source(10), source(4))) == 14
    named = Source(source(4).arrays, class_names=("a", "b", "c"), name="queries")
    found = bank_and_queries(source(10), named, 1)
    assert (found.class_names, found.name, len(found)) == (("a", "b", "c"), "bank and queries", 5)
    with pytest.raises(ValueError, match="size=0"):
        bank_and_queries(source(10), source(4), 0)

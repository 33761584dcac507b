"""A bank and a split in one source."""

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.evaluators.bank import Gathered, gather, with_bank


def source(n, first=0):
    return Source({"image": np.arange(first, first + n, dtype=np.float32)[:, None], "label": np.arange(n) % 3})


def test_the_bank_comes_first_and_is_drawn_by_seed():
    joined = with_bank(source(10), source(4, 100), 6)
    np.testing.assert_array_equal(joined.arrays["bank"], [1] * 6 + [0] * 4)
    np.testing.assert_array_equal(joined.arrays["image"][6:, 0], [100, 101, 102, 103])
    own = joined.arrays["image"][:6, 0]
    assert len(set(own)) == 6
    np.testing.assert_array_equal(joined.arrays["label"][:6], own % 3)
    np.testing.assert_array_equal(own, with_bank(source(10), source(4, 100), 6).arrays["image"][:6, 0])
    assert len(with_bank(source(10), source(4))) == 14
    with pytest.raises(ValueError, match="size is 0"):
        with_bank(source(10), source(4), 0)
    with pytest.raises(ValueError, match="they must agree"):
        with_bank(Source.indices(3), source(4))


def test_batches_are_gathered_and_parted():
    add, acc = gather("features"), None
    for start in (0, 2):
        rows = {"label": np.arange(start, start + 2), "bank": np.array([1, 0])}
        acc = add(acc, {"features": np.full((2, 1), start)}, rows)
    bank, labels, queries, truth = acc.split()
    np.testing.assert_array_equal(labels, [0, 2])
    np.testing.assert_array_equal(truth, [1, 3])
    assert bank.shape == queries.shape == (2, 1)
    with pytest.raises(ValueError, match="with_bank"):
        Gathered([(np.zeros((2, 1)), np.zeros(2), np.ones(2))]).split()

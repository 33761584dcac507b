"""String tasks by hand, and the adding problem with its markers."""

import numpy as np
import pytest

from dlcore.data.strings import adding, strings, symbols
from dlcore.data.words import END, PAD, START


@pytest.mark.parametrize("task", ["copy", "reverse", "sort"])
def test_targets_are_what_the_task_makes_of_the_sources(task):
    names = symbols(20)
    source = strings(task, 200, 3, length=(2, 7))
    assert source.arrays["source"].shape == (200, 8)
    assert source.arrays["target"].shape == (200, 9)
    lengths = set()
    for row, target in zip(source.arrays["source"], source.arrays["target"], strict=True):
        n = int((row != PAD).sum()) - 1
        lengths.add(n)
        assert row[n] == END
        assert target[0] == START
        assert target[n + 1] == END
        assert (target[n + 2 :] == PAD).all()
        letters = names.decode(row)
        wanted = {"copy": letters, "reverse": letters[::-1], "sort": " ".join(sorted(letters.split()))}[task]
        assert names.decode(target) == wanted
    assert lengths == {2, 3, 4, 5, 6, 7}
    assert source.arrays["source"].max() == 23


def test_a_string_depends_on_seed_and_index_alone():
    few, many = strings("copy", 4, 1), strings("copy", 9, 1)
    np.testing.assert_array_equal(few.arrays["target"], many.arrays["target"][:4])
    assert (few.arrays["source"] != strings("copy", 4, 2).arrays["source"]).any()
    sums, more = adding(4, 1, 10), adding(9, 1, 10)
    np.testing.assert_array_equal(sums.arrays["sequence"], more.arrays["sequence"][:4])


def test_the_adding_problem_has_a_marker_in_each_half():
    source = adding(2000, 0, 11)
    value, marker = np.moveaxis(source.arrays["sequence"], -1, 0)
    assert set(np.unique(marker)) == {0, 1}
    assert (marker[:, :5].sum(1) == 1).all()
    assert (marker[:, 5:].sum(1) == 1).all()
    np.testing.assert_allclose(source.arrays["target"], (value * marker).sum(1), rtol=1e-6)
    # The variance of the sum of two uniform numbers is 2/12.
    assert np.square(source.arrays["target"] - 1).mean() == pytest.approx(1 / 6, rel=0.1)


def test_symbols_and_what_is_refused():
    assert symbols(3).words == ("a", "b", "c")
    assert symbols(30).words[-1] == "29"
    for kwargs, message in (
        ({"task": "shuffle"}, "task='shuffle': unknown; allowed: copy, reverse, sort"),
        ({"task": "copy", "length": (3, 2)}, "length=3,2: no range; allowed: 1 <= low <= high"),
        ({"task": "copy", "vocabulary": 0}, "vocabulary=0: too small"),
        ({"task": "copy", "seed": -1}, "seed=-1: negative"),
    ):
        with pytest.raises(ValueError, match=message):
            strings(count=3, **kwargs)
    with pytest.raises(ValueError, match="length=1: too short for two markers"):
        adding(3, length=1)

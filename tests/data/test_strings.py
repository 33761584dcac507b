"""String tasks by hand."""

import chex
import numpy as np
import pytest

from dlcore.data.strings import strings, symbols
from dlcore.data.words import END, PAD, START


@pytest.mark.parametrize("task", ["copy", "reverse", "sort"])
def test_targets_are_what_the_task_makes_of_the_sources(task):
    names = symbols(20)
    source = strings(task, 200, 3, length=(2, 7))
    chex.assert_shape(source.arrays["source"], (200, 8))
    chex.assert_shape(source.arrays["target"], (200, 9))
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


def test_symbols_and_what_is_refused():
    assert symbols(3).words == ("a", "b", "c")
    assert symbols(26).words[-1] == "z"
    assert symbols(27).words == tuple(map(str, range(27)))
    assert [strings(task, 1).name for task in ("copy", "sort")] == ["strings to copy", "strings to sort"]
    for kwargs, message in (
        ({"task": "copy", "length": (3, 2)}, "length=3,2: no range; allowed: 1 <= low <= high"),
        ({"task": "copy", "seed": -1}, "seed=-1: too small"),
    ):
        with pytest.raises(ValueError, match=message):
            strings(count=3, **kwargs)

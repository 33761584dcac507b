"""An array that no memory holds is refused by its argument."""

import pytest

from dlcore.cost.host_memory import check_memory, memory_bytes


def test_arrays_larger_than_memory_are_refused():
    """4 numbers of 8 bytes are 32 of 32; a fifth is too many."""
    check_memory("size", 4, 8, memory=32)
    with pytest.raises(ValueError, match=r"^size=5: takes 0.0 GB or more of 0.0 GB of memory; allowed: at most 4$"):
        check_memory("size", 5, 8, memory=32)
    with pytest.raises(ValueError, match=r"^size=3: takes 9.0 GB or more of 8.0 GB of memory; allowed: at most 2$"):
        check_memory("size", 3, 3 * 10**9, memory=8 * 10**9)


def test_this_machine_has_some():
    assert memory_bytes() is None or memory_bytes() > 2**20
    check_memory("size", 1, 1)


@pytest.mark.parametrize("error", [AttributeError, OSError, ValueError])
def test_a_system_that_does_not_say_refuses_nothing(monkeypatch, error):
    def sysconf(name):
        raise error

    monkeypatch.setattr("os.sysconf", sysconf)
    assert memory_bytes() is None
    check_memory("size", 10**18, 10**6)


def test_memory_is_pages_times_their_size(monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 3}.get)
    assert memory_bytes() == 12288

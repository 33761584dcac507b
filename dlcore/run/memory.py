"""Sizes that no memory holds: found before anything is read, made or compiled."""

import os

__all__ = ["check_memory", "memory_bytes"]


def memory_bytes() -> int | None:
    """Read the physical memory of this machine.

    Returns:
      Bytes; None where the system does not say.
    """
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def check_memory(argument: str, value: int, bytes_each: int, memory: int | None = None) -> None:
    """Check that an array whose length is an argument fits into memory.

    Args:
      argument: name of the argument.
      value: value of the argument, a number of entries.
      bytes_each: bytes that an entry takes at least.
      memory: bytes that there are; None takes this machine's.

    Raises:
      ValueError: the entries take more than all of the memory.
    """
    memory = memory_bytes() if memory is None else memory
    if memory is not None and value * bytes_each > memory:
        raise ValueError(
            f"{argument}={value}: takes {value * bytes_each / 1e9:,.1f} GB or more of {memory / 1e9:,.1f} GB of "
            f"memory; allowed: at most {memory // bytes_each}"
        )

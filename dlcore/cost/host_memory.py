"""Check that arrays fit into memory, before they are read, created or compiled."""

import os

__all__ = ["check_memory", "memory_bytes"]


def memory_bytes() -> int | None:
    """Read the physical memory of this machine.

    Returns:
      Bytes; None if the system does not report it.
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
      bytes_each: least number of bytes per entry.
      memory: available bytes; None takes this machine's.
    """
    memory = memory_bytes() if memory is None else memory
    if memory is not None and value * bytes_each > memory:
        raise ValueError(
            f"{argument}={value}: takes {value * bytes_each / 1e9:,.1f} GB or more of {memory / 1e9:,.1f} GB of "
            f"memory; allowed: at most {memory // bytes_each}"
        )

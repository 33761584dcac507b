"""The check of a queue of embeddings against the batch and the memory."""

from typing import Any

from dlcore.cost.host_memory import check_memory
from dlcore.setting import FlagError

__all__ = ["check_queue"]


def check_queue(flags: Any, width: int) -> None:
    """Check that `--queue_size` holds a batch and fits into memory.

    Args:
      width: numbers of an embedding, of 4 bytes each.

    Raises:
      FlagError: the queue is smaller than a batch, or larger than memory.
    """
    size = flags.queue_size
    if size < flags.batch_size:
        raise FlagError(f"--queue_size={size}: smaller than a batch; allowed: at least {flags.batch_size}")
    try:
        check_memory("queue_size", size, 4 * width)
    except ValueError as error:
        raise FlagError(f"--{error}") from None

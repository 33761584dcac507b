"""The check of a queue of embeddings against the batch and the memory."""

from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.run.memory import check_memory

__all__ = ["check_queue"]


def check_queue(flags: Flags, width: int) -> None:
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

"""Quiet orbax: one line of ours instead of the tracebacks that it, asyncio and tensorstore print."""

import contextlib
import functools
import gc
import logging as std_logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator

from absl import logging

__all__ = ["quiet_orbax", "stderr_kept_on_success"]


@contextlib.contextmanager
def stderr_kept_on_success() -> Iterator[None]:
    """Drop the output of asyncio and tensorstore after a failed read; the exception is enough.

    Yields:
      None.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as buffer:
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        except Exception:
            time.sleep(0.2)
            gc.collect()  # the reads of the other arrays report their failures when they are freed
            raise
        else:
            buffer.seek(0)
            os.write(original, buffer.read())
        finally:
            os.dup2(original, 2)
            os.close(original)


@functools.cache
def quiet_orbax() -> None:
    """Drop orbax's warnings about intended behavior, and its tracebacks of failed saves: `Checkpoints` reports them."""
    noise = ("tracked_metric", "read_only=True", "directory is read only", "Metadata file does not exist")
    folder = f"{os.sep}orbax{os.sep}"

    def is_relevant(record: std_logging.LogRecord) -> bool:
        failed = record.levelno >= std_logging.ERROR and folder in record.pathname
        return not failed and not any(text in record.getMessage() for text in noise)

    logging.get_absl_logger().addFilter(is_relevant)
    std_logging.getLogger("asyncio").addFilter(lambda record: "orbax-checkpoint-tmp" not in record.getMessage())

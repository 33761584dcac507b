"""Threads that read and decode image files."""

import functools
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.data.image_folder import ImageFile

__all__ = ["DECODERS", "Workers", "try_each", "unreadable"]

_SHOWN = 10

DECODERS = ("pillow", "opencv")


@dataclass(frozen=True, eq=False)
class Workers:
    """Threads that decode images, shared by the splits of a data set.

    Args:
      count: number of threads; 0 decodes in the calling thread, None takes one for each core.
      decoder: "pillow" or "opencv", see `decode_box`.
    """

    count: int | None = None
    decoder: str = "pillow"

    def __post_init__(self):
        count = len(os.sched_getaffinity(0)) if self.count is None else self.count
        check_whole_number("workers", count)
        if count < 0:
            raise ValueError(f"workers={count}: negative; allowed: 0 or more")
        check_choice("decoder", self.decoder, DECODERS)
        object.__setattr__(self, "count", count)

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.count, "dlcore-decode")

    def fill(self, rows: np.ndarray, decode: Callable[[int], np.ndarray]) -> np.ndarray:
        """Set rows[i] = decode(i) for every i, in the threads.

        An error stops the threads; if there are several until then, that of the lowest i is raised.

        Args:
          rows: [B, ...], changed in place.
          decode: function from i to the row i.

        Returns:
          `rows`.
        """
        waiting, errors = deque(range(len(rows))), []

        def work() -> None:
            while True:
                try:
                    i = waiting.popleft()
                except IndexError:
                    return
                try:
                    rows[i] = decode(i)
                except BaseException as error:
                    errors.append((i, error))
                    waiting.clear()

        count = min(self.count or 0, len(rows))
        if count:
            for future in [self._pool.submit(work) for _ in range(count)]:
                future.result()
        else:
            work()
        if errors:
            raise min(errors, key=lambda numbered: numbered[0])[1]
        return rows


def try_each(function: Callable[[int, ImageFile], Any], files: list[ImageFile], skip_bad: bool) -> list[Any]:
    """Apply a function to every file, in threads.

    Args:
      function: function from (index of the file, file) to a result.
      files: files in the order of the examples.
      skip_bad: whether to return None for a file whose call raises, instead of raising.

    Returns:
      The results, in the order of the files.
    """
    errors: dict[int, Exception] = {}

    def guarded(row: int, file: ImageFile) -> Any:
        try:
            return function(row, file)
        except Exception as error:
            errors[row] = error
            return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = list(pool.map(guarded, range(len(files)), files))
    if errors and not skip_bad:
        raise ValueError(unreadable([(files[row].name, errors[row]) for row in sorted(errors)]))
    return results


def unreadable(bad: list[tuple[str, Exception]], skippable: bool = True) -> str:
    """Write the error message about files that cannot be read as images.

    Args:
      bad: (name, error) of each such file.
      skippable: whether the message may suggest `skip_bad`.

    Returns:
      One line, with the first ten names and the first error.
    """
    names = [f"{name} cannot be read as an image ({error})" for name, error in bad[:1]]
    names += [name for name, _ in bad[1:_SHOWN]]
    or_skip = ", or leave such files out by --skip_bad (skip_bad=True)" if skippable else ""
    if len(bad) == 1:
        return f"{names[0]}; remove it{or_skip}"
    more = f", and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return f"{len(bad)} files are no images: {', '.join(names)}{more}; remove them{or_skip}"

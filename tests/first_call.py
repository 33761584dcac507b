"""What one arm of a study hands to the function that trains it, without the training."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


class Called(Exception):
    """Ends the study where it would train."""


def first_call(module: ModuleType, name: str, function: Callable, *args: Any, **options: Any) -> tuple[tuple, dict]:
    """Arguments of the first call of `module.name` by `function(*args, **options)`, which ends there."""

    def end(*args, **options):
        raise Called(args, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, end)
        with pytest.raises(Called) as error:
            function(*args, **options)
    return error.value.args

"""Keyword arguments of a function whose parameters are records, from values named as flags are."""

import inspect
from collections.abc import Callable
from typing import Any

from dlcore.setting import settings_of


def arguments_of(function: Callable, **values: Any) -> dict[str, Any]:
    """Make keyword arguments of values that are named as flags are.

    Args:
      function: some of whose parameters are records.
      **values: by parameter, or by field of a record.

    Returns:
      {parameter: value}; a record's other fields have the defaults of the function.
    """
    settings, parameters = settings_of(function), inspect.signature(inspect.unwrap(function)).parameters
    arguments = {}
    for name, value in values.items():
        record = settings[name].record if name in settings else None
        if record is None:
            arguments[name] = value
        else:
            parameter = record[0]
            arguments[parameter] = arguments.get(parameter, parameters[parameter].default)._replace(**{name: value})
    return arguments

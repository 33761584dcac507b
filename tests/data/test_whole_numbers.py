"""Every function that draws data names a number that is not whole in the place of an int."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import numpy as np
import pytest

from dlcore import data
from dlcore.data.source import Source
from dlcore.data.vowels import vowels


def integers() -> Iterator[tuple[str, str]]:
    """The int parameters of the functions of `data` that have a seed and draw."""
    for info in pkgutil.iter_modules(data.__path__):
        if info.ispkg or info.name.startswith("_"):
            continue
        module = importlib.import_module(f"dlcore.data.{info.name}")
        for name in module.__all__:
            function = getattr(module, name)
            if not inspect.isfunction(function) or function.__module__ != module.__name__:
                continue
            parameters = inspect.signature(function).parameters
            if "seed" in parameters and re.match(r"(Draw|Render|Generate)", function.__doc__ or ""):
                yield from ((f"{info.name}.{name}", p.name) for p in parameters.values() if p.annotation is int)


INTEGERS = sorted(integers())


@pytest.mark.parametrize(("place", "parameter"), INTEGERS, ids=[".".join(pair) for pair in INTEGERS])
def test_a_number_that_is_not_whole_is_named(place, parameter):
    module, name = place.split(".")
    function = getattr(importlib.import_module(f"dlcore.data.{module}"), name)
    required = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    arguments = {p.name: 1 if p.annotation is int else Source(length=1) for p in required}
    with pytest.raises(ValueError, match=rf"^{parameter}=1.5: no whole number; allowed: integers$"):
        function(**arguments | {parameter: 1.5})


def test_words_are_none_and_numpy_integers_are_whole():
    with pytest.raises(ValueError, match=r"^count='3': no whole number"):
        vowels("3")
    np.testing.assert_array_equal(vowels(np.int64(2)).arrays["waveform"], vowels(2).arrays["waveform"])

"""The fields of every variant of the zoo: what its entry of `MODELS` sets, beside the defaults of its class.

A variant is a row of a table of depths, widths and heads. The tier that runs once a week traces each and compares its
variables with the published ones; the default tier traces the first of each family only, and here notices that a
number of another row has changed. After a change that is meant:
DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/models/test_variants.py -n 0
"""

import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import get_args

from flax import linen as nn

from dlcore.models import create_model, list_models
from dlcore.models.registry import Kind

SNAPSHOT = Path(__file__).parents[1] / "goldens" / "variant_fields.json"


def text_of(value):
    """A value as text that is the same in every process: modules by their fields, functions by their names."""
    if isinstance(value, nn.Module):
        fields = ", ".join(f"{name}={text}" for name, text in fields_of(value).items())
        return f"{type(value).__name__}({fields})"
    if isinstance(value, functools.partial):
        settings = ", ".join(f"{name}={text_of(x)}" for name, x in value.keywords.items())
        return f"{text_of(value.func)}({settings})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(text_of, value))})"
    return getattr(value, "__name__", None) or repr(value)


def fields_of(model):
    """{field: text} of the fields that differ from the defaults of the class."""
    fields = [field for field in dataclasses.fields(model) if field.name not in ("parent", "name")]
    values = {field.name: (getattr(model, field.name), field.default) for field in fields}
    return {name: text_of(value) for name, (value, default) in values.items() if text_of(value) != text_of(default)}


def test_the_fields_of_every_variant_are_those_of_the_snapshot():
    names = [name for kind in get_args(Kind) for name in list_models(kind=kind)]
    found = {name: fields_of(create_model(name)) for name in sorted(names)}
    if os.environ.get("DLCORE_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    assert found == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_fields_are_read_in_parts_of_parts_too():
    class Part(nn.Module):
        depth: int = 2
        norm: type = dict

    class Whole(nn.Module):
        part: nn.Module
        rate: float = 0.1

    assert fields_of(Whole(Part(depth=3))) == {"part": "Part(depth=3)"}
    assert fields_of(Whole(Part(norm=list), 0.2)) == {"part": "Part(norm=list)", "rate": "0.2"}
    assert text_of((functools.partial(round, ndigits=1), abs)) == "(round(ndigits=1), abs)"

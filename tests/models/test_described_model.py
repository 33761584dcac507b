"""The model that flags describe, and the maps that a head reads from it."""

import functools
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from dlcore import models
from dlcore.experiment.flags import Flags
from dlcore.models import described_model
from dlcore.setting import FlagError

GROUPS = {"model": ("model.width",), "head": ("head.stages", "head.depth")}
VALUES = {"model": "tiny", "model.width": 8, "head.stages": ("low", "high"), "head.depth": 3}


def flags_of(*without, given=("model",), **values):
    kept = {name: value for name, value in {**VALUES, **values}.items() if name not in without}
    groups = {name: tuple(x for x in names if x in kept) for name, names in GROUPS.items()}
    return Flags(kept, groups, frozenset(given))


def setup_of(flags, **spec):
    return SimpleNamespace(flags=flags, spec=spec, dtype=jnp.bfloat16)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A zoo whose models are their own descriptions."""
    monkeypatch.setattr(models, "create_model", lambda name, **fields: {"name": name, **fields})
    monkeypatch.setattr(models, "feature_info", lambda model, shape: {"low": 0, "high": 1})


def test_a_model_has_the_flags_the_dtype_and_the_classes_of_the_data():
    facts = {"name": "tiny", "width": 8, "dtype": jnp.bfloat16}
    assert described_model.build(setup_of(flags_of(), num_classes=7)) == {**facts, "num_classes": 7}
    # Data without classes: one output, so that there is a head.
    assert described_model.build(setup_of(flags_of())) == {**facts, "num_classes": 1}
    built = described_model.build(setup_of(flags_of(), num_classes=7), num_classes=2, x=3)
    assert built == {**facts, "num_classes": 2, "x": 3}


class Head:
    map_fields = ("stages",)


def test_a_map_that_the_backbone_lacks_is_refused_by_name():
    message = r"--model=tiny: no map top, which --head.stages names; allowed: --head.stages of low, high, or a model w"
    for stages in ("top", ("low", "top")):
        with pytest.raises(FlagError, match=message):
            described_model.check_stages({"head": Head}, flags_of(**{"head.stages": stages}))
    flags = flags_of(given=["head.depth"], **{"head.stages": "top"})  # a field of the head alone is given
    with pytest.raises(FlagError, match=message):
        described_model.check_stages({"head": functools.partial(Head)}, flags)


def test_maps_that_exist_pass_and_so_do_settings_that_nobody_gave(monkeypatch):
    for stages in ("low", ("low", "high"), None, ()):
        described_model.check_stages({"head": Head}, flags_of(**{"head.stages": stages}))
    wrong = {"head.stages": "top"}
    described_model.check_stages({"head": Head}, flags_of(given=["steps"], **wrong))
    described_model.check_stages({"head": Head}, flags_of("model", **wrong))
    described_model.check_stages({"head": object}, flags_of(**wrong))
    # Fields that the backbone does not take are another check's.
    monkeypatch.setattr(models, "feature_info", lambda model, shape: 1 / 0)
    described_model.check_stages({"head": Head}, flags_of(**wrong))

"""Every simple field of every model is a flag `--model.FIELD` whose help is a line of the class's docstring."""

import pytest

from dlcore.models.network import model_settings
from dlcore.models.registry import MODELS
from dlcore.setting import module_settings

VARIANTS = {getattr(variant, "func", variant): name for name, variant in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_simple_field_has_help(name):
    assert not [field for field, setting in model_settings(name).items() if not setting.help]


@pytest.mark.parametrize("name", VARIANTS.values(), ids=lambda name: name)
def test_help_stands_alone_and_templates_are_filled(name):
    for field, setting in module_settings("model", MODELS[name], frozenset()).items():
        assert setting.help.endswith("."), field
        assert "{" not in setting.help, field
        assert not setting.help.lower().startswith("see "), field

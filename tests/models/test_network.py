"""Networks by name: what the data set in them, and what the technique gets."""

from functools import partial
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from dlcore.data.facts import Facts
from dlcore.experiment.flags import Flags
from dlcore.generative import dcgan, image_to_image, sagan
from dlcore.models import Networks, OnBackbone, Zoo, registry

FACTS = Facts(image_shape=(8, 6, 3), class_names=("a", "b"))


def test_the_data_set_the_shape_and_the_channels_of_networks():
    networks = Networks({"one": partial(dcgan.Generator, width=4), "other": image_to_image.UNetGenerator})
    assert networks.external_fields == ("other.channels",)
    built = networks.build(FACTS, jnp.bfloat16)
    assert built["one"] == dcgan.Generator((8, 6, 3), width=4, dtype=jnp.bfloat16)
    assert built["other"] == image_to_image.UNetGenerator(channels=3, dtype=jnp.bfloat16)
    run = SimpleNamespace(facts=FACTS, dtype=jnp.bfloat16)
    assert networks.arguments(run) == built


@pytest.mark.parametrize("condition", [None, lambda num_classes: f"{num_classes} classes"])
def test_classes_are_given_to_networks_with_a_condition_alone(condition):
    networks = Networks({"player": sagan.Discriminator}, condition)
    arguments = networks.arguments(SimpleNamespace(facts=FACTS, dtype=None))
    given = {} if condition is None else {"condition": "2 classes"}
    assert arguments == {"model": sagan.Discriminator(num_classes=2 if given else 0), **given}


def test_flags_replace_the_fields_of_the_network_of_their_prefix():
    flags = Flags({"a.width": 5, "b.width": 6}, {"a": {"a.width": None}, "b": {"b.width": None}})
    networks = Networks({"a": partial(sagan.Discriminator, width=2, attention=False), "b": sagan.Discriminator})
    built = networks.with_flags(flags).build(Facts())
    assert (built["a"].width, built["a"].attention, built["b"].width) == (5, False, 6)


def test_a_network_stands_on_the_backbone_of_model_for_the_same_classes(monkeypatch):
    monkeypatch.setattr(registry, "create_model", lambda name, **fields: {"name": name, **fields})
    values = {"model": "tiny", "model.width": 8, "head.stages": ("low", "high"), "head.depth": 3}
    flags = Flags(values, {"model": ("model.width",), "head": ("head.stages", "head.depth")})
    network = OnBackbone(dict, Zoo("resnet8_cifar"), prefix="head").with_flags(flags)
    head = {"dtype": jnp.bfloat16, "num_classes": 2, "stages": ("low", "high"), "depth": 3}
    tiny = {"name": "tiny", "width": 8, "dtype": jnp.bfloat16, "num_classes": 2}
    assert network.arguments(SimpleNamespace(facts=FACTS, dtype=jnp.bfloat16)) == {"model": {**head, "backbone": tiny}}
    built = network.build(5, jnp.bfloat16, heads=7)
    five = {"num_classes": 5}
    assert built == {**head, **five, "heads": 7, "backbone": {**tiny, **five}}

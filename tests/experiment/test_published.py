"""Which flags published weights set, on modules of a field or two."""

import functools
import sys
from types import SimpleNamespace

import pytest
from flax import linen as nn

from dlcore.experiment.published import Published, backbone_name, find_published, published_defaults
from dlcore.models import registry
from dlcore.pretrained import door
from dlcore.pretrained.door import About
from dlcore.pretrained.processor import Processor
from dlcore.setting import FlagError


class Body(nn.Module):
    width: int = 4
    depth: int = 1


class Detector(nn.Module):
    backbone: nn.Module = Body()
    queries: int = 3
    num_classes: int = 2


class Narrow(Detector):
    """A special case of the detector."""


NETWORKS = {"detector": functools.partial(Detector, queries=5), "narrow": Narrow, "body": Body}


@pytest.fixture(autouse=True)
def zoo(monkeypatch):
    monkeypatch.setattr(registry, "family_of", lambda name: SimpleNamespace(MODELS=NETWORKS))
    monkeypatch.setattr(registry, "create_model", lambda name, **fields: NETWORKS[name](**fields))


def page_of(model=None, external=(), own=(), **modules):
    facts = {"model": model, "modules": modules, "external_fields": external, "own_fields": own}
    return SimpleNamespace(name="a.page", **facts)


def about(model, preprocess=None, **fields):
    return About(model, fields, None, preprocess)


def test_the_flag_that_names_published_weights_is_model_where_the_page_has_one(monkeypatch):
    monkeypatch.setattr(door, "is_published", lambda source: source.startswith("hf:"))
    monkeypatch.setattr(door, "read_about", lambda source: f"about {source}")
    words = {"model": "hf:m", "init_from": "hf:i"}
    assert find_published(page_of("resnet18"), words.get) == Published("model", "hf:m", "about hf:m")
    assert find_published(page_of(), words.get) == Published("init_from", "hf:i", "about hf:i")
    for words in ({}, {"init_from": "runs/a"}, {"model": "hf:m"}):
        assert find_published(page_of(), words.get) is None


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), ValueError("gone")])
def test_published_weights_that_cannot_be_read_are_named(monkeypatch, error):
    def refuse(source):
        raise error

    monkeypatch.setattr(door, "is_published", lambda source: True)
    monkeypatch.setattr(door, "read_about", refuse)
    with pytest.raises(FlagError, match=r"^--init_from=hf:a/b: gone$"):
        find_published(page_of(), {"init_from": "hf:a/b"}.get)


def test_a_page_without_initial_weights_takes_no_published_ones():
    with pytest.raises(FlagError, match=r"^--model=hf:x: a.page starts from no trained weights; allowed: a name of"):
        published_defaults(page_of(), Published("model", "hf:x", about("body")), {"model"})
    assert published_defaults(page_of(), None, {"model"}) == {}


def test_init_from_sets_the_fields_of_the_network_and_the_size_of_images():
    """Only flags are set; fields that the page takes from the data, or keeps as its own, stay."""
    names = {"init_from", "net.width", "net.depth", "image_size"}
    found = Published("init_from", "w", about("body", Processor(size=(32, 48)), width=8, depth=2))
    assert published_defaults(page_of(net=Body), found, names) == {"net.width": 8, "net.depth": 2, "image_size": 32}
    for words in ({"external": ("net.depth",)}, {"own": ("net.depth",)}):
        assert published_defaults(page_of(net=Body, **words), found, names) == {"net.width": 8, "image_size": 32}
    crop = found._replace(about=about("body", Processor(size=(32, 32), crop=(24, 20))))
    assert published_defaults(page_of(net=Body), crop, names)["image_size"] == 24
    assert "image_size" not in published_defaults(page_of(net=Body), found, names - {"image_size"})
    assert published_defaults(page_of(net=Body), crop, names | {"input_size"})["input_size"] == 24
    plain = found._replace(about=about("body"))
    assert published_defaults(page_of(net=Body), plain, names) == {"net.width": 4, "net.depth": 1}
    assert published_defaults(page_of(other=Detector), found, names) == {}, "the page has no such network"


def test_a_backbone_sets_init_from_its_own_fields_and_the_size_of_its_input():
    names = {"init_from", "model", "model.width", "input_size", "image_size"}
    found = Published("model", "hf:b", about("body", Processor(size=(32, 32)), width=8, hidden=2))
    expected = {"init_from": "hf:b", "model.width": 8, "input_size": 32}
    assert published_defaults(page_of("resnet18"), found, names) == expected
    del expected["input_size"]  # the size of images is the data's
    assert published_defaults(page_of("resnet18"), found, names - {"input_size"}) == expected


def test_a_detector_sets_its_own_fields_and_those_of_its_backbone():
    names = {"init_from", "model", "model.width", "model.depth", "det.queries", "det.num_classes", "image_size"}
    page = page_of("resnet18", external=("det.num_classes",), det=functools.partial(Detector, num_classes=9))
    for network, queries in (("detector", 5), ("narrow", 3)):
        found = Published("model", "hf:d", about(network, Processor(size=(32, 32)), backbone=Body(8)))
        assert published_defaults(page, found, names) == {
            **{"init_from": "hf:d", "det.queries": queries},
            **{"model.width": 8, "model.depth": 1},
        }


def test_a_backbone_is_named_by_the_first_network_of_its_form(monkeypatch):
    """Its type and the fields that are no flags, such as a block, decide; widths are flags."""

    class Net(nn.Module):
        block: type = nn.Dense
        width: int = 4
        num_classes: int = 1

    class Other(Net):
        pass

    variants = {"b_dense": Net, "a_conv": lambda: Net(nn.Conv), "a_dense": Net, "a_other": lambda: Other(nn.Conv)}
    monkeypatch.setattr(sys.modules[__name__], "MODELS", variants, raising=False)

    def named(model, backbone):
        return backbone_name(model, {"backbone": backbone})

    assert named("detector", Net(width=9, num_classes=7)) == "b_dense"
    assert named("detector", Net(nn.Conv)) == "a_conv"
    assert named("detector", Other(nn.Conv)) == "a_other"
    assert named("a_dense", Net()) == "a_dense", "its usual name comes first"
    assert named("detector", Other(nn.Embed)) == "detector"
    assert backbone_name("fasterrcnn_resnet50_fpn", {}) == "resnet50"
    assert backbone_name("body", {"backbone": None}) == "body"

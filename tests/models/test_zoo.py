"""The stored list of models: every model is in it, with the parameters that a trace counts."""

import json

import pytest

from dlcore.models import list_models, stored_counts, zoo
from dlcore.models.registry import FILES, family_of, kind_of
from dlcore.models.stored_counts import stored_models
from dlcore.models.zoo import count_model

SMALL = {
    "alexnet": "alexnet",
    "lenet": "lenet5",
    "mlp": "mlp",
    "resnet_cifar": "resnet8_cifar",
    "squeezenet": "squeezenet1_1",
    "vgg": "vgg11",
    "zfnet": "zfnet",
}
"""Models that trace in a moment."""


@pytest.mark.parametrize("kind", FILES)
def test_the_list_has_every_model_with_its_family(kind):
    stored = stored_models(kind)
    assert sorted(stored) == list_models(kind=kind), "python -m dlcore.models.zoo"
    for name, row in stored.items():
        assert (row["family"], kind) == (family_of(name).__name__.rpartition(".")[2], kind_of(name))


@pytest.mark.parametrize("name", SMALL.values())
def test_a_small_network_has_its_stored_count(name):
    assert count_model(name) == stored_models("image")[name]


def test_a_count_by_hand():
    # LeNet-5 on 32x32x1: 6·25+6, 16·150+16, 400·120+120, 120·84+84, 84·10+10
    assert stored_models("image")["lenet5"]["parameters"] == 156 + 2416 + 48120 + 10164 + 850


@pytest.mark.slow
@pytest.mark.weekly(unless=["video"])
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.weekly if kind == "image" else ()) for kind in FILES]
)
def test_every_network_has_its_stored_count(kind):
    assert {name: count_model(name) for name in list_models(kind=kind)} == stored_models(kind)


def test_a_model_that_is_missing_is_found_and_counted(monkeypatch, tmp_path):
    rows = {"image": {"mlp": stored_models("image")["mlp"]}, "tokens": {}}
    (tmp_path / "zoo.json").write_text(json.dumps(rows))
    for module in (zoo, stored_counts):
        monkeypatch.setattr(module, "STORED", tmp_path / "zoo.json")
    stored_models.cache_clear()
    try:
        assert kind_of("lenet5") == "image", "it is not in the list yet"
        monkeypatch.setattr("dlcore.models.zoo.list_models", lambda kind: {"image": ["lenet5"]}.get(kind, []))
        zoo.write_zoo()
        stored_models.cache_clear()
        assert list(stored_models("image")) == ["lenet5"], "mlp is gone, lenet5 is new"
        with pytest.raises(ValueError, match="kind='text': unknown; allowed: image, tokens"):
            stored_models("text")
        counted = stored_models("image")["lenet5"]
        old = counted | {"parameters": 7}
        rows = {"image": {"lenet5": old}}
        for everything, expected in ((False, old), (True, counted)):
            (tmp_path / "zoo.json").write_text(json.dumps(rows))
            zoo.write_zoo(everything=everything)
            text = (tmp_path / "zoo.json").read_text()
            assert json.loads(text) == {kind: {} for kind in FILES} | {"image": {"lenet5": expected}}
            assert text == json.dumps(json.loads(text), indent=1) + "\n"
    finally:
        stored_models.cache_clear()

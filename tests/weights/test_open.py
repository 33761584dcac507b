"""What trained weights of each source say of themselves, and where their arrays are read from."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from flax import linen as nn

from dlcore.pretrained.door import About
from dlcore.pretrained.processor import Processor
from dlcore.weights import open as module
from dlcore.weights.open import Weights, open_weights
from tests.saved_runs import save_state

FOUND = Weights("init_from", Path("w"))


def test_a_run_gives_its_model_fields_normalization_and_settings_as_its_page_takes_them(tmp_path):
    settings = {"model": "mlp", "model.hidden": [8, 4], "model.depth": 2, "steps": 9, "stages": [1, 2]}
    spec = {"mean": [0, 1], "std": [2, 3], "class_names": ["a", "b"], "dataset": "d"}
    config = {"experiment": "topic.page", "settings": settings, "spec": spec}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "checkpoints" / "7.tmp").mkdir(parents=True)  # a save that was cut
    found = open_weights(str(tmp_path), "teacher")
    assert found == Weights(
        argument="teacher",
        path=tmp_path,
        page="topic.page",
        model="mlp",
        fields={"hidden": (8, 4), "depth": 2},
        mean=(0.0, 1.0),
        std=(2.0, 3.0),
        class_names=("a", "b"),
        spec=spec,
        settings={**settings, "model.hidden": (8, 4), "stages": (1, 2)},
        known={},
        checkpoint=None,
        finished=False,
    )
    assert found.name == f"teacher={str(tmp_path)!r}"
    for step in (9, 10):
        (tmp_path / "checkpoints" / str(step)).mkdir()
    (tmp_path / "result.json").touch()
    assert open_weights(tmp_path, "teacher")[-3:] == (10, True, True)  # as numbers 9 < 10, as words 10 < 9


def test_a_converted_folder_says_its_own_normalization_before_that_of_its_model(tmp_path):
    meta = {"model": "resnet18", "num_classes": 3, "fields": {"widths": [1, 2]}, "std": [2, 2, 2], "file": "f"}
    (tmp_path / "model.json").write_text(json.dumps(meta))
    found = open_weights(tmp_path, "init_from")
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (2.0, 2.0, 2.0))  # the mean of ImageNet
    assert (found.model, found.fields, found.spec) == ("resnet18", {"widths": (1, 2)}, {"num_classes": 3})
    assert (found.page, found.class_names, found.checkpoint, found.finished) == (None, None, None, True)
    (tmp_path / "model.json").write_text(json.dumps({"model": "resnet18", "headless": True, "class_names": ["a"]}))
    found = open_weights(tmp_path, "init_from")
    assert (found.spec, found.class_names) == ({"headless": True}, ("a",))


def test_published_weights_have_the_normalization_of_their_processor(monkeypatch):
    monkeypatch.setattr(module, "is_published", lambda source: True)
    asked = []

    def opened(preprocess, **fields):
        about = About("vit_tiny", fields, ("a", "b"), preprocess)
        monkeypatch.setattr(module, "read_about", lambda source: asked.append(source) or about)
        return open_weights("hf:org/net", "model")

    found = opened(Processor(mean=(0.5,), std=(0.25,)), num_classes=2, depth=1)
    assert (found.mean, found.std, found.class_names) == ((0.5,), (0.25,), ("a", "b"))
    assert (found.model, found.fields) == ("vit_tiny", {"depth": 1})
    assert found.spec == {"num_classes": 2, module.PUBLISHED: True}
    assert asked == ["hf:org/net"]
    assert (found.page, found.finished, found.name) == (None, True, "model='hf:org/net'")
    for preprocess in (None, Processor()):  # pixels in [0, 1], as they are
        assert opened(preprocess, num_classes=0).mean == (0, 0, 0)
        assert opened(preprocess).std == (1, 1, 1)
    assert opened(None).spec == {"num_classes": 0, "headless": True, module.PUBLISHED: True}


def test_the_backbone_of_a_run_is_its_model_and_of_published_networks_that_within(monkeypatch):
    kinds = {"fcos": "detection", "fcn_resnet50": "segmentation", "resnet18": "image"}
    monkeypatch.setattr(module, "kind_of", kinds.get)
    monkeypatch.setattr(module, "backbone_name", lambda model, fields: f"within {model} {sorted(fields)}")
    assert FOUND.backbone is None
    assert FOUND._replace(model="resnet18").backbone == "resnet18"
    assert FOUND._replace(model="fcn_resnet50").backbone == "resnet50"
    assert FOUND._replace(model="fcos").backbone == "within fcos []"
    fields = {"backbone": nn.Dense(1)}
    assert FOUND._replace(model="fcn_resnet50", fields=fields).backbone == "within fcn_resnet50 ['backbone']"
    for model in kinds:
        assert FOUND._replace(model=model, page="a.page").backbone == model


def test_a_field_of_the_model_changes_the_normalization_of_published_weights_alone():
    """Inception v3 takes pixels in [-1, 1]; with `transform_input` it takes ImageNet's mean and does so itself."""
    symmetric = FOUND._replace(model="inception_v3", mean=(0.5,) * 3, std=(0.5,) * 3)
    changed = symmetric.in_model({"transform_input": True})
    assert (changed.mean, changed.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert changed._replace(mean=symmetric.mean, std=symmetric.std) == symmetric
    for one in (
        symmetric._replace(page="a.page"),
        symmetric._replace(model=None),
        symmetric._replace(mean=(0.1,) * 3),  # its own
    ):
        assert one.in_model({"transform_input": True}) is one
    already = symmetric._replace(fields={"transform_input": True}, mean=(0.485, 0.456, 0.406))
    assert already.in_model({}).std == (0.229, 0.224, 0.225)
    assert already.in_model({"transform_input": False}).std == (0.5,) * 3


def test_a_damaged_packed_file_is_named(tmp_path):
    (tmp_path / "w.npz").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"^init_from='.*w.npz': empty, damaged or no .npz; allowed: an .npz that"):
        FOUND._replace(path=tmp_path / "w.npz").variables()


def test_packed_arrays_are_float32_by_their_paths(tmp_path):
    np.savez(tmp_path / "w.npz", meta="{}", **{"params/a/b": np.arange(2, dtype=np.float16), "params/c": np.ones(1)})
    params = Weights("network", tmp_path / "w.npz").variables()["params"]
    np.testing.assert_array_equal(params["a"]["b"], [0, 1])
    assert {params["a"]["b"].dtype, params["c"].dtype} == {np.dtype(np.float32)}


def test_the_adapter_of_a_fine_tuned_run_is_merged_or_the_run_is_refused(monkeypatch):
    variables = {"params": {}, "frozen": {"w": 1}}
    monkeypatch.setattr(Weights, "read", lambda weights: SimpleNamespace(variables=variables))
    run = FOUND._replace(page="p", settings={"adapt": "lora"})
    monkeypatch.setattr(module, "merge_adapter", lambda settings, variables: (settings["adapt"], variables))
    assert run.variables() == ("lora", variables)

    def refuse(settings, variables):
        raise ValueError("no part of the parameters")

    monkeypatch.setattr(module, "merge_adapter", refuse)
    with pytest.raises(ValueError, match=r"^init_from='w': trained with --adapt=lora: no part of the parameters"):
        run.variables()


def test_a_run_of_before_its_mode_was_recorded_is_read_at_the_step_that_it_was_tested_at(tmp_path):
    for step in (2, 3):
        save_state(tmp_path, {"params": {"w": np.full(2, step, np.float32)}}, step)
    run = FOUND._replace(path=tmp_path, page="mine.page", settings={"select": "best"})
    (tmp_path / "result.json").write_text('{"step": 2}')
    assert run.read().params["w"].tolist() == [2, 2]
    assert run._replace(settings={"select": "last"}).read().params["w"].tolist() == [3, 3]
    with pytest.raises(ValueError, match=r"^init_from=.*: unfinished, and its config.json has no monitor_mode"):
        run._replace(finished=False).read()

"""Weight files of every ending, wrapper and number of shards; and values that are no weights."""

import json
import logging
import shutil
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from dlcore.models import torch_weights, vit, weight_files
from dlcore.models.torch_file import TorchTensor, _Storage
from dlcore.models.torch_weights import fill_from_torch, torch_names
from dlcore.models.weight_files import read_npz, read_state_dict, unwrap_state_dict

FILES = Path(__file__).parent / "torch_files"


def tensor(*values: float) -> TorchTensor:
    storage = _Storage("FloatStorage", "0", {"0": np.array(values, np.float32).tobytes()})
    return TorchTensor(storage, 0, (len(values),), (1,))


@pytest.mark.parametrize("name", ["checkpoint_0199.pth.tar", "last.ckpt", "model.bin"])
def test_files_of_torch_have_many_endings(tmp_path, name):
    shutil.copy(FILES / "zip.pth", tmp_path / name)
    expected = read_state_dict(FILES / "zip.pth")
    for path in (tmp_path / name, tmp_path):
        found = read_state_dict(path)
        assert found.keys() == expected.keys()
        np.testing.assert_array_equal(found["weight"], expected["weight"])


@pytest.mark.parametrize(("model", "ema"), [("model", "model_ema"), ("state_dict", "state_dict_ema")])
def test_of_a_model_and_its_average_the_average_is_taken_and_named(tmp_path, monkeypatch, caplog, model, ema):
    content = {"epoch": 3, model: {"w": tensor(1.0)}, ema: {"module.w": tensor(2.0)}}
    monkeypatch.setattr(weight_files, "read_torch_file", lambda path: content)
    path = tmp_path / "weights.pth"
    path.touch()
    with caplog.at_level(logging.WARNING):
        assert read_state_dict(path) == {"w": 2.0}
        assert f"{ema} is taken, and not {model}" in caplog.text
        caplog.clear()
        assert read_state_dict(path, use_ema=False) == {"w": 1.0}
        assert f"{model} is taken, and not {ema}" in caplog.text
        caplog.clear()
        del content[ema]
        assert read_state_dict(path) == {"w": 1.0}
        assert not caplog.text


PAIRS = {
    "moco": (
        ["module.encoder_q.conv1.weight", "module.encoder_q.fc.0.weight", "module.encoder_k.conv1.weight"],
        ["module.queue", "module.queue_ptr"],
    ),
    "moco v3": (
        ["module.base_encoder.conv1.weight", "module.base_encoder.head.0.weight"],
        ["module.momentum_encoder.conv1.weight", "module.predictor.0.weight"],
    ),
    "lightly": (
        ["backbone.conv1.weight", "projection_head.layers.0.weight", "prediction_head.layers.0.weight"],
        ["backbone_momentum.conv1.weight", "projection_head_momentum.layers.0.weight"],
    ),
}


@pytest.mark.parametrize("project", PAIRS)
def test_of_a_self_supervised_pair_the_encoder_is_taken(project):
    keys, others = PAIRS[project]
    entries = {key: np.float32(i) for i, key in enumerate([*keys, *others])}
    assert unwrap_state_dict(entries) == {"conv1.weight": 0}


def test_one_array_beside_an_encoder_makes_a_pair_and_none_makes_an_encoder():
    entries = {"encoder_q.conv1.weight": 0, "encoder_q.fc.weight": 1, "queue": 2, "encoder_q.bn.num_batches_tracked": 3}
    assert unwrap_state_dict(entries) == {"conv1.weight": 0, "bn.num_batches_tracked": 3}
    alone = {"encoder_q.conv1.weight": 0, "encoder_q.fc.weight": 1}
    assert unwrap_state_dict(alone) == alone
    assert unwrap_state_dict({}) == {}


def test_the_only_shard_of_a_model_is_its_file(tmp_path):
    path = tmp_path / "model-00001-of-00001.safetensors"
    save_file({"model.a": np.ones(2, np.float32)}, path)
    for source in (path, tmp_path):
        assert read_state_dict(source)["a"].tolist() == [1, 1]


def test_a_detector_around_a_backbone_keeps_its_names():
    entries = {"backbone.body.conv1.weight": 0, "rpn.head.conv.weight": 1, "roi_heads.box.weight": 2}
    assert unwrap_state_dict(entries) == entries


def test_lightlys_numbered_children_are_the_names_of_a_resnet():
    names = [name for name in torch_names("resnet18").values() if not name.startswith("fc.")]
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    entries = {}
    for name in names:
        child, _, rest = name.partition(".")
        entries[f"backbone.{numbers[child]}.{rest}"] = np.zeros(1)
    entries["projection_head.layers.0.weight"] = np.zeros(1)
    assert torch_weights._read("resnet18", entries)[1].keys() == set(names)


@pytest.fixture
def shards(tmp_path):
    """A folder of two shards and their index."""
    files = {"model-00001-of-00002.safetensors": ["a"], "model-00002-of-00002.safetensors": ["b", "c"]}
    for file, names in files.items():
        save_file({f"model.{name}": np.full(2, ord(name), np.float32) for name in names}, tmp_path / file)
    weight_map = {f"model.{name}": file for file, names in files.items() for name in names}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_shards_are_read_by_their_index_or_their_folder(shards):
    for path in (shards, shards.parent):
        assert {name: value[0] for name, value in read_state_dict(path).items()} == {"a": 97, "b": 98, "c": 99}
    shards.unlink()
    assert read_state_dict(shards.parent).keys() == {"a", "b", "c"}


def test_shards_of_torch(tmp_path):
    shutil.copy(FILES / "zip.pth", tmp_path / "pytorch_model-00001-of-00001.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"module.half": "pytorch_model-00001-of-00001.bin"}}))
    assert read_state_dict(tmp_path).keys() == {"half"}


def test_errors_name_missing_shards_and_tensors(shards):
    first = shards.parent / "model-00001-of-00002.safetensors"
    with pytest.raises(ValueError, match=r"one of 2 shards; allowed: their folder, or their \.index\.json"):
        read_state_dict(first)
    content = json.loads(shards.read_text())
    content["weight_map"]["model.d"] = first.name
    shards.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"1 missing: model\.d; which the index lists"):
        read_state_dict(shards)
    first.unlink()
    with pytest.raises(ValueError, match=r"1 shards missing: model-00001-of-00002\.safetensors; allowed: an index"):
        read_state_dict(shards.parent)
    content["weight_map"]["model.d"] = "../other.safetensors"
    shards.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="allowed: files of its own folder"):
        read_state_dict(shards)
    for text in ("[]", "[" * 100_000):
        shards.write_text(text)
        with pytest.raises(ValueError, match="no index of shards; allowed: a JSON object with weight_map"):
            read_state_dict(shards)
    shards.unlink()
    with pytest.raises(ValueError, match=r"holds model-00002-of-00002\.safetensors; allowed: one file"):
        read_state_dict(shards.parent)


def test_an_npz_of_other_files_and_an_array_are_no_state_dict(tmp_path):
    """A file of torch is a .zip as well; np.load gives its members as bytes."""
    with zipfile.ZipFile(tmp_path / "torch.npz", "w") as file:
        file.writestr("archive/data.pkl", b"x")
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    for name in ("torch.npz", "array.npz"):
        with pytest.raises(ValueError, match=rf"{name}: empty, damaged or no .npz; allowed: a whole file of arrays"):
            read_state_dict(tmp_path / name)
    np.savez(tmp_path / "a.npz", a=np.zeros(3), b=np.ones(2))
    assert list(read_npz(tmp_path / "a.npz", ["b", "c"])) == ["b"]


def test_a_folder_without_weights(tmp_path):
    (tmp_path / "README.md").touch()
    with pytest.raises(ValueError, match="holds no weights; allowed"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [("bn.running_var", [1.0, -0.5], r"bn\.running_var holds -0\.5; allowed: variances of at least 0")],
)
def test_values_that_are_no_weights_are_refused(key, value, problem):
    shapes = {
        "params": {"fc": {"kernel": jax.ShapeDtypeStruct((1, 2), np.float32)}},
        "batch_stats": {"bn": {name: jax.ShapeDtypeStruct((2,), np.float32) for name in ("mean", "var")}},
    }
    entries = {"fc.weight": np.ones((2, 1)), "bn.running_mean": np.zeros(2), "bn.running_var": np.zeros(2)}
    fill_from_torch(shapes, entries, (), what="a net")
    fill_from_torch(shapes, {**entries, "fc.weight": np.full((2, 1), 3e38, np.float32)}, (), what="a net")
    with pytest.raises(ValueError, match=f"^state_dict: {problem}"):
        fill_from_torch(shapes, {**entries, key: np.asarray(value)}, (), what="a net")


@pytest.mark.parametrize("side", [4, 24])
def test_timms_positions_are_resized_as_pillow_resizes(side):
    """timm resizes with antialias: bicubic, a = -0.5, s times as wide where it shrinks. Pillow does so, too."""
    table = np.random.default_rng(0).normal(size=(1, 2 + 14 * 14, 3)).astype(np.float32)
    layout, _ = torch_weights._read(
        "deit_tiny_distilled_patch16_224", {"blocks.0.norm1.weight": table, "pos_embed": table}
    )
    found = layout.convert("params/pos_embed/embedding", table, (1, 2 + side * side, 3))
    np.testing.assert_array_equal(found[:, :2], table[:, :2])
    for channel in range(3):
        image = Image.fromarray(table[0, 2:, channel].reshape(14, 14))
        expected = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(found[0, 2:, channel].reshape(side, side), expected, atol=2e-6)


def test_other_projects_positions_keep_their_own_rule():
    torchvision, _ = torch_weights._read("vit_b_16", {"encoder.pos_embedding": np.zeros(1)})
    transformers, _ = torch_weights._read(
        "vit_b_16", {"vit.embeddings.patch_embeddings.projection.weight": np.zeros(1)}
    )
    assert torchvision.convert is None
    assert transformers.convert is None
    assert torch_weights._read("vit_b_16", {"blocks.0.norm1.weight": np.zeros(1)})[0] is vit.TIMM

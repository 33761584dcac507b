"""Back to the published format: what was read is written bit by bit, with new heads and classes too."""

import json
import pathlib

import chex
import jax
import numpy as np
import pytest

from dlcore.cli import main
from dlcore.main import run
from dlcore.pretrained import from_pretrained
from dlcore.pretrained.publish import entries_of, save_pretrained
from dlcore.pretrained.snapshot import open_snapshot
from dlcore.weights.network import load_network
from experiments.transfer.fine_tuning import experiment

HUB = pathlib.Path(__file__).parents[1] / "goldens" / "hub"
FOLDERS = sorted(folder.name for folder in HUB.iterdir())
QUICK = ["google--vit-tiny", "timm--resnet18.tiny"]


def test_a_loader_that_moves_numbers_is_inverted():
    """x = [q; k; v] side by side, transposed; b is ignored, and c is a copy of a."""
    entries = {"a": np.zeros((2, 3)), "b": np.array([7]), "c": np.zeros((2, 3)), "q": np.zeros(2), "k": np.zeros(2)}

    def load(file):
        chex.assert_trees_all_equal(file["a"], file["c"])
        return {"x": np.concatenate([file["q"], file["k"]]), "y": file["a"].T}

    variables = {"x": np.array([1.0, 2.0, 3.0, 4.0]), "y": np.arange(6.0).reshape(3, 2)}
    written = entries_of(load, entries, variables, tied={"c": "a"})
    np.testing.assert_array_equal(written["a"], [[0, 2, 4], [1, 3, 5]])
    np.testing.assert_array_equal(written["c"], written["a"])
    np.testing.assert_array_equal(written["q"], [1, 2])
    np.testing.assert_array_equal(written["k"], [3, 4])
    np.testing.assert_array_equal(written["b"], [7])


def test_a_large_array_of_half_precision_is_written_in_float32_beside_what_is_checked():
    """70 x 70 places are more than one digit of 4,096 holds; the loader compares a table, which no variable has."""
    table = np.arange(3.0)
    entries = {"w": np.zeros((70, 70), np.float16), "table": table, "count": np.array([7], np.int64)}

    def load(file):
        np.testing.assert_array_equal(file["table"], table)
        return {"x": np.asarray(file["w"]).T}

    variables = {"x": np.random.default_rng(0).normal(size=(70, 70)).astype(np.float32)}
    written = entries_of(load, entries, variables, constants=("table",))
    np.testing.assert_array_equal(written["w"], variables["x"].T)
    assert {key: value.dtype for key, value in written.items()} == {
        "w": np.float32,
        "table": np.float64,
        "count": np.int64,
    }


def test_a_loader_that_computes_is_refused():
    with pytest.raises(ValueError, match=r"^entries: its file cannot hold what was learned"):
        entries_of(lambda file: {"x": np.concatenate([file["q"], np.zeros(1)])}, {"q": np.zeros(1)}, {"x": np.ones(2)})
    with pytest.raises(ValueError, match=r"^entries: variables of other shapes; allowed: those of the network"):
        entries_of(lambda file: {"x": file["q"]}, {"q": np.zeros(1)}, {"x": np.ones(2)})


@pytest.mark.slow(unless=["google--vit-tiny"])
@pytest.mark.covers("PT-03")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_trained_network_goes_back_to_its_library_s_file(name, tmp_path):
    """Trained: every value is another; names, shapes and the configuration are the published ones."""
    net = from_pretrained(HUB / name)
    trained = jax.tree.map(lambda x: np.abs(np.asarray(x)) * 1.5 + 0.25, net.variables)
    folder = tmp_path / "new" / "out"
    save_pretrained(folder, HUB / name, trained)
    again = from_pretrained(folder)
    published, written = open_snapshot(HUB / name), open_snapshot(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    chex.assert_trees_all_equal(again.variables, trained)
    assert {k: tuple(np.shape(v)) for k, v in written.weights.items()} == {
        k: tuple(np.shape(v)) for k, v in published.weights.items()
    }
    assert (written.config, written.processor) == (published.config, published.processor)
    assert again.preprocess == net.preprocess


@pytest.mark.slow(only=["google--vit-tiny"])
@pytest.mark.covers("PT-03")
@pytest.mark.parametrize("name", QUICK)
def test_a_new_head_goes_with_its_classes(name, tmp_path):
    net = from_pretrained(HUB / name, num_classes=3)
    trained = jax.tree.map(lambda x: np.abs(np.asarray(x)) + 0.5, net.variables)
    with pytest.raises(ValueError, match=r"^source='.*: variables of other shapes; allowed: those of the network that"):
        save_pretrained(tmp_path / "two", HUB / name, trained, class_names=("cat", "dog"))
    save_pretrained(tmp_path, HUB / name, trained, class_names=("cat", "dog", "owl"))
    again = from_pretrained(tmp_path)
    chex.assert_trees_all_equal(again.variables, trained)
    assert again.classes == ("cat", "dog", "owl")
    config = json.loads((tmp_path / "config.json").read_text())
    for part in (config, config.get("model_args", {}), config.get("pretrained_cfg", {})):
        assert part.get("num_classes", 3) == 3
    assert config.get("label2id", {"owl": 2})["owl"] == 2


def test_a_full_folder_a_file_and_classes_without_a_head_are_refused(tmp_path):
    (tmp_path / "old").touch()
    for folder in (tmp_path, tmp_path / "old"):
        with pytest.raises(ValueError, match=r"a file, or not empty; allowed: a new or empty folder$"):
            save_pretrained(folder, HUB / QUICK[0], {})
    with pytest.raises(ValueError, match=r"^class_names=\('cat',\): dinov2_base has no head there; allowed: None$"):
        save_pretrained(tmp_path / "new", HUB / "facebook--dinov2-tiny", {}, class_names=("cat",))


@pytest.mark.weekly
@pytest.mark.covers("PT-03")
def test_a_run_goes_back_by_the_command(tmp_path, capsys):
    words = ["--smoke", f"--model=hf:{HUB / QUICK[0]}", "--adapt=lora", f"--run_dir={tmp_path / 'run'}"]
    assert run(experiment, words) == 0
    assert main(["convert", f"{tmp_path / 'run'}", "--to=safetensors", f"--out={tmp_path / 'out'}"]) == 0
    assert "vit_b_16, 10 classes, under the names of " in capsys.readouterr().out
    own, again = load_network(tmp_path / "run"), from_pretrained(tmp_path / "out")
    chex.assert_trees_all_equal(again.variables, jax.tree.map(np.asarray, own.variables))
    assert again.classes == own.class_names

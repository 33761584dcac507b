"""A run knows its data: what is recorded, and what resuming and evaluation say to images that were added or renamed."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.resolve import resolve
from dlcore.experiment.run_data import data_for, known_data, write_data
from dlcore.main import run
from dlcore.setting import Setting
from experiments.classification.supervised import experiment
from experiments.sequence.char_rnn import experiment as char_rnn

SMALL = ["--dataset=folder", "--model=mlp", "--model.hidden=16", "--batch_size=16", "--augment=none", "--steps=40"]
SMALL += ["--log_every=40", "--eval_every=40", "--warmup=0", "--learning_rate=0.01", "--noprogress"]
SHADES = {"cat": 40, "dog": 200, "emu": 120}


def put(root, name, count, first=0):
    """Noise around the shade of a class, no two images alike."""
    rng = np.random.default_rng((SHADES[name], first))
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        pixels = rng.integers(-30, 30, (6, 6, 3)) + SHADES[name]
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Forty cats and forty dogs, and a run that was trained on them."""
    root = tmp_path_factory.mktemp("original")
    put(root / "pets", "cat", 40)
    put(root / "pets", "dog", 40)
    assert run(experiment, [*SMALL, f"--data_dir={root / 'pets'}", f"--run_dir={root / 'run'}"]) == 0
    return root


@pytest.fixture
def trained(original, tmp_path):
    """A copy to change, with `words` for its run: the folder that the data was in has another name now."""
    shutil.copytree(original, tmp_path / "copy")
    root = tmp_path / "copy"
    config = json.loads((root / "run" / "config.json").read_text())
    config["identity"]["data_dir"] = str(root / "pets")
    (root / "run" / "config.json").write_text(json.dumps(config))
    return root


def words(root):
    return [*SMALL, f"--data_dir={root / 'pets'}", f"--run_dir={root / 'run'}"]


def evaluated(capsys, root, *more):
    capsys.readouterr()
    assert run(experiment, ["--mode=evaluate", f"--run={root / 'run'}", "--format=json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def failed(capsys, *argv, of=experiment):
    capsys.readouterr()
    assert run(of, list(argv)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1, lines
    return lines[-1]


@pytest.mark.weekly
def test_config_json_says_what_the_data_was(trained, capsys):
    data = json.loads((trained / "run" / "config.json").read_text())["data"]
    assert list(data) == ["test", "train", "valid"]
    assert {entry["by"] for entry in data.values()} == {"path and size"}
    assert sum(entry["examples"] for entry in data.values()) == 80
    with np.load(trained / "run" / "data.npz") as file:
        assert {name: len(file[name]) for name in file.files} == {name: data[name]["examples"] for name in data}
    got = evaluated(capsys, trained)
    assert (got["data_changes"], got["trained_on"]) == (None, 0)
    assert got["accuracy"] == 1
    assert run(experiment, words(trained)) == 0
    assert "finished before" in capsys.readouterr().out


@pytest.mark.weekly
def test_images_that_are_added_are_said_and_none_that_was_trained_on_is_measured(trained, capsys):
    before = evaluated(capsys, trained)
    put(trained / "pets", "dog", 30, first=40)
    got = evaluated(capsys, trained)
    assert got["examples"] > before["examples"]
    assert got["trained_on"] == 0
    assert got["data_changes"].startswith(f"{got['examples'] - before['examples']} examples more (dog/")
    assert run(experiment, ["--mode=evaluate", f"--run={trained / 'run'}"]) == 0
    assert f"not the run's test split: {got['data_changes']}" in capsys.readouterr().out

    said = failed(capsys, *words(trained))
    assert "its training data has changed:" in said
    assert "--fresh trains again" in said
    assert run(experiment, [*words(trained), "--changed_data"]) == 0
    out = capsys.readouterr().out
    assert "note: the train split has changed" in out
    assert "finished before" in out


@pytest.mark.slow
def test_a_split_that_is_drawn_anew_is_refused(trained, capsys):
    """The seed draws the validation split; the test split is the same for all seeds."""
    argv = ["--mode=evaluate", f"--run={trained / 'run'}", "--seed=1", "--split=valid"]
    said = failed(capsys, *argv)
    assert "--split=valid: the run was trained on" in said
    assert "(same path and size)" in said
    got = evaluated(capsys, trained, "--seed=1", "--split=valid", "--changed_data")
    assert 0 < got["trained_on"] <= got["examples"]
    assert run(experiment, [*argv, "--changed_data"]) == 0
    assert f"  the run was trained on {got['trained_on']} of these examples\n" in capsys.readouterr().out
    assert evaluated(capsys, trained, "--seed=1")["trained_on"] == 0
    assert evaluated(capsys, trained, "--split=train")["trained_on"] == 0


@pytest.mark.slow
def test_a_run_is_resumed_on_its_own_data_only(trained, capsys):
    (trained / "run" / "result.json").unlink()
    gone = next(iter(sorted((trained / "pets" / "cat").iterdir())))
    with np.load(trained / "run" / "data.npz") as file:
        keys = file["train"]
    for path in sorted((trained / "pets" / "cat").iterdir())[:10]:
        path.unlink()
    assert "fewer; allowed: the data of before, --changed_data" in failed(capsys, *words(trained))
    assert not gone.exists()
    # Steps are given, so that the run ends where it had ended.
    assert run(experiment, [*words(trained), "--changed_data"]) == 0
    with np.load(trained / "run" / "data.npz") as file:
        now, earlier = file["train"], file["earlier"]
    assert len(now) < len(keys)
    np.testing.assert_array_equal(np.sort(np.concatenate([now, earlier])), np.sort(keys))


@pytest.mark.slow
def test_classes_that_were_renamed_are_refused(trained, capsys):
    (trained / "run" / "result.json").unlink()
    (trained / "pets" / "cat").rename(trained / "pets" / "elk")
    said = failed(capsys, *words(trained))
    assert "trained on 'cat', 'dog', and the data now has 'dog', 'elk'" in said
    assert "trained on 'cat', 'dog'" in failed(capsys, *words(trained), "--changed_data")


@pytest.mark.slow
def test_classes_are_matched_by_name(trained, capsys):
    put(trained / "others", "dog", 30, first=100)
    got = evaluated(capsys, trained, f"--data_dir={trained / 'others'}")
    # All are dogs, class 1 of the run, though they are class 0 of this folder.
    np.testing.assert_array_equal(np.array(got["details"]["confusion"]).sum(1), [0, got["examples"]])
    assert got["accuracy"] == 1
    assert got["data_changes"].startswith("none of its")
    put(trained / "others", "emu", 30)
    said = failed(capsys, "--mode=evaluate", f"--run={trained / 'run'}", f"--data_dir={trained / 'others'}")
    assert "not trained on 'emu', which the data has; allowed: 'cat', 'dog'" in said


@pytest.mark.slow
def test_images_of_another_size_are_measured_in_the_size_of_the_run(trained, capsys):
    rng = np.random.default_rng(3)
    for name in ("cat", "dog"):
        (trained / "large" / name).mkdir(parents=True)
        for i in range(6):
            pixels = (rng.integers(-30, 30, (20, 20, 3)) + SHADES[name]).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(trained / "large" / name / f"{i}.png")
    assert evaluated(capsys, trained, f"--data_dir={trained / 'large'}")["accuracy"] == 1
    argv = ["--mode=evaluate", f"--run={trained / 'run'}", f"--data_dir={trained / 'large'}", "--image_size=8"]
    assert "trained on images of [6, 6, 3]; allowed: such images, not [8, 8, 3]" in failed(capsys, *argv)


@pytest.mark.parametrize(
    ("kind", "shape", "given"),
    [(int | None, [8, 8, 3], 8), (int | None, [6, 8, 3], (6, 8)), (tuple[int, int] | None, [8, 8, 3], (8, 8))],
)
def test_a_page_gets_the_size_of_the_runs_images_as_its_flag_takes_it(tmp_path, kind, shape, given):
    """A side where the flag is a side: captions of Flickr8k could not be evaluated with a pair."""
    seen = []

    def data(flags):
        seen.append(flags.image_size)
        return Splits(None, None, None, {})

    page = SimpleNamespace(settings={"image_size": Setting(None, "", kind)})
    data_for(
        SimpleNamespace(folder=tmp_path, experiment=page, flags=resolve(experiment, []), load=data),
        {"spec": {"image_shape": shape}},
    )
    assert seen == [given]


def test_boxes_are_renumbered_and_padding_stays(tmp_path):
    arrays = {"labels": np.array([[0, 1, -1]], np.int32), "image": np.zeros((1, 2, 2, 3), np.uint8)}
    source = Source(arrays, class_names=("dog", "emu"))
    splits = Splits({"a": source}, None, source, {"class_names": ["dog", "emu"], "num_classes": 2})
    one = SimpleNamespace(
        folder=tmp_path, experiment=experiment, flags=resolve(experiment, []), load=lambda flags: splits
    )
    found = data_for(one, {"spec": {"class_names": ["cat", "dog", "emu"]}})
    for renumbered in (found.test, found.train["a"]):
        np.testing.assert_array_equal(renumbered.arrays["labels"], [[1, 2, -1]])
        assert renumbered.class_names == ("cat", "dog", "emu")
    assert found.spec == {"class_names": ["cat", "dog", "emu"], "num_classes": 3}


def test_several_sources_and_sources_of_positions_are_recorded(tmp_path):
    labelled = Source({"image": np.zeros((3, 2, 2, 1), np.uint8)})
    splits = Splits({"labelled": labelled, "drawn": Source.indices(5)}, None, Source.indices(5), {})
    data = write_data(tmp_path, splits, {})
    assert {name: (entry["examples"], entry["by"]) for name, entry in data.items()} == {
        "train/labelled": (3, "content"),
        "train/drawn": (5, "number"),
        "test": (5, "number"),
    }
    known = known_data(tmp_path, {"data": data})
    assert known["train/labelled"].digest == labelled.fingerprint.digest
    np.testing.assert_array_equal(known["train/labelled"].keys, labelled.fingerprint.keys)
    assert known["test"].keys is None


@pytest.mark.weekly
def test_another_text_of_equal_vocabulary_is_said(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (tmp_path / name).write_text("The " + "".join(rng.permutation(list("The quick brown fox. " * 200))))
    (tmp_path / "three").write_text("The fox quick " * 300)
    (tmp_path / "four").write_text("The ox #" * 300)
    argv = ["--smoke", "--dataset=file", f"--run_dir={tmp_path / 'run'}", "--noprogress"]
    assert run(char_rnn, [*argv, f"--data_dir={tmp_path / 'one'}"]) == 0
    argv = ["--mode=evaluate", f"--run={tmp_path / 'run'}"]
    for name, said in (("one", None), ("two", "none of its"), ("three", "none of its")):
        capsys.readouterr()
        assert run(char_rnn, [*argv, "--format=json", f"--data_dir={tmp_path / name}"]) == 0
        changes = json.loads(capsys.readouterr().out)["data_changes"]
        assert changes is None if said is None else changes.startswith(said)
    assert "not trained on '#', which the data has" in failed(
        capsys, *argv, f"--data_dir={tmp_path / 'four'}", of=char_rnn
    )

"""The characters of the splits are others, and what cannot be drawn is refused in one line."""

import numpy as np
import pytest

from dlcore.data.omniglot import FILE
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.kits import few_shot

FLAGS = {name: setting.default for name, setting in few_shot.SETTINGS.items()} | {"seed": 0}


def flags(**changes):
    return Flags(FLAGS | {"characters": 12, "image_size": 8, "test_episodes": 50} | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, content = tmp_path_factory.mktemp("omniglot"), {}
    rng = np.random.default_rng(0)
    for part, characters in (("background", 50), ("evaluation", 8)):
        content |= {
            f"{part}_images": rng.integers(0, 256, (20 * characters, 98), np.uint8),
            f"{part}_character": np.repeat(np.arange(characters), 20).astype(np.int16),
            f"{part}_alphabet": np.zeros(20 * characters, np.int8),
            f"{part}_alphabet_names": np.array(["Greek"]),
            f"{part}_character_names": np.array([f"character{i + 1:02}" for i in range(characters)]),
        }
    np.savez(path / FILE, **content)
    return str(path)


def test_splits_share_no_character():
    splits = few_shot.data(flags(shot=0))
    seen = [
        {tuple(row) for row in part[np.arange(10)]["attributes"].reshape(-1, 20)}
        for part in (splits.train, splits.valid, splits.test)
    ]
    assert all(seen)
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert splits.spec["characters"] == [12, 100, 100]
    batch = few_shot.example(splits.spec)
    assert {k: v.shape[1:] for k, v in batch.items()} == {k: v.shape[1:] for k, v in splits.train[[0]].items()}


def test_omniglot_says_that_it_is_partial(folder):
    splits = few_shot.data(flags(dataset="omniglot", data_dir=folder, train_way=60))
    assert splits.spec["characters"] == [45, 5, 8]
    assert splits.train.arrays["query"].shape[1:] == (60, 5, 28, 28, 1), "45 characters, each in four turns"
    assert "50 characters of 12 alphabets, where the original has 964 of 30; 5 of them" in splits.notes[0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dataset": "omniglot"}, FlagError, "--dataset=omniglot: needs --data_dir"),
        ({"dataset": "omniglot", "data_dir": "nowhere"}, FileNotFoundError, "data_dir='nowhere': has no omniglot28"),
        ({"way": 101}, ValueError, "way=101: an episode of .* cannot have so many classes; allowed: 2 to 4[08]"),
        ({"shot": 16}, ValueError, "shot=16, query=5: a class of .* has 20 examples"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        few_shot.data(flags(**changes))


def test_omniglot_describes_no_characters(folder):
    with pytest.raises(ValueError, match="shot=0: omniglot/background describes no classes; allowed: 1 or more"):
        few_shot.data(flags(dataset="omniglot", data_dir=folder, shot=0))

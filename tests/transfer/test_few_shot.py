"""The characters of the splits are others, and what cannot be drawn is refused in one line."""

import numpy as np
import pytest

from dlcore.data.omniglot import FILE
from dlcore.data.splits import batch_facts
from dlcore.experiment.resolve import resolve
from dlcore.setting import FlagError
from experiments.transfer import few_shot


def flags(**changes):
    values = {"train_way": None, "characters": 12, "image_size": 8, "test_episodes": 50}
    return resolve(few_shot.experiment, []).replace(**{**values, **changes})


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
    splits = few_shot.experiment.run(flags(shot=0)).load()
    seen = [
        {tuple(row) for row in part[np.arange(10)]["attributes"].reshape(-1, 20)}
        for part in (splits.train, splits.valid, splits.test)
    ]
    assert all(seen)
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert splits.spec["characters"] == [12, 100, 100]
    assert splits.facts["batch"] == batch_facts(splits.train)


def test_omniglot_says_that_it_is_partial(folder):
    splits = few_shot.experiment.run(flags(dataset="omniglot", data_dir=folder, train_way=60)).load()
    assert splits.spec["characters"] == [45, 5, 8]
    assert splits.train.arrays["query"].shape[1:] == (60, 5, 28, 28, 1), "45 characters, each in four turns"
    assert "50 characters of 12 alphabets, where the original has 964 of 30; 5 of them" in splits.notes[0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dataset": "omniglot"}, FlagError, "--dataset=omniglot: needs --data_dir"),
        ({"dataset": "omniglot", "data_dir": "nowhere"}, FileNotFoundError, "data_dir='nowhere': has no omniglot28"),
        ({"way": 101}, ValueError, "way=101: an episode of .* cannot be; allowed: 2 to 4[08]"),
        ({"also": ("20",)}, FlagError, "--also=20: not understood; allowed: classes x supports"),
        ({"also": ("5x1",)}, FlagError, "--also=5x1: is measured already"),
        ({"also": ("5x5", "5x5")}, FlagError, "--also=5x5: is measured already"),
        ({"also": ("5x5",), "shot": 0}, FlagError, "--also: needs a network that learns from supports"),
        ({"also": ("101x1",)}, ValueError, "way=101: an episode of .* cannot be"),
        ({"shot": 16}, ValueError, "shot=16, query=5: do not fit; .* at most 20"),
    ],
)
def test_impossible_episodes_and_missing_data_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        few_shot.experiment.run(flags(**changes)).load()


def test_omniglot_describes_no_characters(folder):
    with pytest.raises(ValueError, match="shot=0: omniglot/background describes no classes; allowed: 1 or more"):
        few_shot.experiment.run(flags(dataset="omniglot", data_dir=folder, shot=0)).load()


@pytest.mark.covers("TL-09")
def test_the_test_measures_other_episodes_of_the_same_characters():
    """A network that finds the class of all queries but the last of an episode, and one that always says the first."""
    splits = few_shot.experiment.run(flags(also=("5x5", "3x2"), query=2)).load()
    setup = few_shot.experiment.run(flags(also=("5x5", "3x2"), query=2), splits.spec)
    assert setup.evaluators(splits, "valid") == []
    for evaluator, (way, shot) in zip(setup.evaluators(splits, "test"), ((5, 5), (3, 2)), strict=True):
        rows = evaluator.source[np.arange(4)]
        assert rows["support"].shape[1:3] == (way, shot)
        assert rows["query"].shape[1:3] == (way, 2)
        seen = {image.tobytes() for image in splits.test.arrays["query"].episodes.source.arrays["image"]}
        assert {image.tobytes() for image in rows["query"].reshape(-1, 8, 8, 1)} <= seen
        right = np.eye(way)[np.arange(way).repeat(2)]
        almost, first = right.copy(), np.zeros_like(right)
        almost[-1], first[:, 0] = almost[0], 1
        acc = evaluator.add(None, {"logits": np.stack([almost, almost])}, _part(rows, 2))
        numbers = evaluator.finish(evaluator.add(acc, {"logits": np.stack([first, first])}, _part(rows, 2)))
        accuracies = np.array([1 - 1 / (2 * way)] * 2 + [1 / way] * 2)
        assert tuple(numbers) == evaluator.names == (f"accuracy_{way}way{shot}shot", f"interval_{way}way{shot}shot")
        assert numbers[evaluator.names[0]] == pytest.approx(accuracies.mean())
        assert numbers[evaluator.names[1]] == pytest.approx(1.96 * accuracies.std(ddof=1) / 2, rel=1e-4)


def _part(rows, count):
    return {name: value[:count] for name, value in rows.items()}

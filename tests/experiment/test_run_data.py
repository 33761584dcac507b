"""Data of a run, without a run: which weights it has, what a resume and an evaluation say to other examples."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data.fingerprint import Fingerprint
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.experiment.run_data import (
    EARLIER,
    Comparison,
    check_resumed,
    compare_with_run,
    data_for,
    fingerprints,
    known_data,
    write_data,
)
from dlcore.setting import FlagError, Setting
from dlcore.weights.check import inherited_keys, load_data, origins_of
from dlcore.weights.open import Weights

IMAGES = np.arange(8 * 4, dtype=np.uint8).reshape(8, 2, 2, 1)
KEYS = Source({"image": IMAGES}).fingerprint.keys


def source(*rows, **fields):
    return Source({"image": IMAGES[list(rows)]}, **fields)


def a_run(folder, splits=None, settings=None, check=lambda flags: None, **flags):
    """A run of a page whose task gives `splits`, and remembers the flags that it was asked with."""
    asked = []

    flags = Flags({"changed_data": False, "run": None, **flags})

    def load(other=None):
        asked.append(other or flags)
        return splits

    page = SimpleNamespace(settings=settings or {})
    before = SimpleNamespace(check=lambda: check(flags))
    return SimpleNamespace(
        folder=folder, experiment=page, flags=flags, asked=asked, load=load, before_data=lambda: before
    )


@pytest.fixture
def recorded(tmp_path):
    """A run that trained on images 0 to 3, validated on 4 and tested on 5 and 6; and its config.json."""
    splits = Splits(source(0, 1, 2, 3), source(4), source(5, 6), {"class_names": ["a", "b"]})
    return tmp_path, {"spec": splits.spec, "data": write_data(tmp_path, splits, {})}, splits


def test_origins_are_read_in_the_order_of_the_flags_after_the_flags_were_checked(tmp_path):
    first, second = Weights("init_from", tmp_path), Weights("teacher", tmp_path)
    settings = {
        "plain": Setting(1),
        "init_from": Setting(None, origin=lambda flags: first if flags.changed_data is False else None),
        "none": Setting(None, origin=lambda flags: None),
        "teacher": Setting(None, origin=lambda flags: second),
    }
    assert origins_of(a_run(tmp_path, settings=settings)) == [first, second]

    def check(flags):
        raise FlagError("--plain")

    with pytest.raises(FlagError, match="--plain"):
        origins_of(a_run(tmp_path, settings=settings, check=check))
    unsaved = {"teacher": Setting(None, origin=lambda flags: second._replace(page="a.page"))}
    with pytest.raises(FileNotFoundError, match=r"^teacher=.*: there is no checkpoint in it"):
        origins_of(a_run(tmp_path, settings=unsaved))


def test_data_of_a_new_run_have_the_notes_and_the_normalization_of_its_weights(tmp_path):
    origin = Weights("init_from", tmp_path, mean=(0.5,), std=(0.4,), known={"train": source(6).fingerprint})
    spec = {"image_shape": [2, 2, 1], "mean": [0.1], "std": [0.2]}
    splits = Splits(source(0), None, source(5, 6), spec, notes=("said before",))
    settings = {"init_from": Setting(None, origin=lambda flags: origin)}
    with pytest.raises(FlagError, match=r"trained on 1 of the 2 test examples"):
        load_data(a_run(tmp_path, splits, settings))
    run = a_run(tmp_path, splits, settings, changed_data=True)
    data = load_data(run)
    assert (data.spec["mean"], data.spec["std"]) == ([0.5], [0.4])
    assert [note.partition(": ")[2].split(",")[0] for note in data.notes] == [
        "",
        "trained on 1 of the 2 test examples",
        "images are normalized as for these weights",
    ]
    assert data.notes[0] == "said before"
    other = Flags({"changed_data": True, "run": "other"})
    assert load_data(run, other, []).spec == spec
    assert run.asked == [run.flags, other]


def test_inherited_keys_are_those_of_all_initial_weights_each_once(tmp_path):
    def weights(*rows, **fields):
        return Weights("init_from", tmp_path, known={"train": source(*rows).fingerprint}, **fields)

    (name, found), *others = inherited_keys([weights(0, 1), weights(1, 2), weights(5, initializes=False)]).items()
    assert (name, others, found.examples) == (EARLIER, [], 3)
    np.testing.assert_array_equal(found.keys, np.sort(KEYS[:3]))
    assert inherited_keys([]) == inherited_keys([Weights("init_from", tmp_path)]) == {}


def test_splits_are_fingerprinted_under_the_names_of_their_sources():
    splits = Splits({"a": source(0), "b": {"c": source(1)}}, None, source(2), {}, shown=source(3))
    prints = fingerprints(splits)
    assert list(prints) == ["train/a", "train/b/c", "test"]
    np.testing.assert_array_equal([print_.keys[0] for print_ in prints.values()], KEYS[:3])


def test_examples_that_are_no_longer_trained_on_are_kept_as_earlier(tmp_path):
    """Before 0, 1 (and 7 long before), now 1, 2: 0 and 7 are earlier."""
    known = {"train": source(0, 1).fingerprint, EARLIER: source(7).fingerprint, "test": source(5).fingerprint}
    write_data(tmp_path, Splits(source(1, 2), None, source(6), {}), known)
    with np.load(tmp_path / "data.npz") as file:
        assert sorted(file.files) == [EARLIER, "test", "train"]
        np.testing.assert_array_equal(file[EARLIER], np.sort(KEYS[[0, 7]]))
    write_data(tmp_path, Splits(source(0, 1, 7), None, source(6), {}), known)
    assert EARLIER not in known_data(tmp_path, {"data": {}})
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]


def test_a_resume_refuses_other_training_examples_and_says_others(recorded):
    folder, config, splits = recorded
    assert check_resumed(a_run(folder), config, splits) == []
    assert check_resumed(a_run(folder), config, splits._replace(valid=None)) == [], "a split that is gone is no change"
    said = check_resumed(a_run(folder), config, splits._replace(valid=source(4, 7), test=source(5)))
    assert said == [
        "the valid split has changed since the run began: 1 examples more",
        "the test split has changed since the run began: 1 examples fewer",
    ]
    more = splits._replace(train=source(0, 1, 2, 3, 7))
    with pytest.raises(FlagError, match="its training data has changed: 1 examples more; allowed: the data of before"):
        check_resumed(a_run(folder), config, more)
    assert check_resumed(a_run(folder, changed_data=True), config, more) == [
        "the train split has changed since the run began: 1 examples more"
    ]


def test_a_resume_refuses_one_changed_source_of_several(tmp_path):
    splits = Splits({"labeled": source(0), "unlabeled": source(1)}, None, None, {})
    config = {"spec": {}, "data": write_data(tmp_path, splits, {})}
    changed = splits._replace(train={"labeled": source(0), "unlabeled": source(2)})
    with pytest.raises(FlagError, match="its training data has changed: none of its 1 examples"):
        check_resumed(a_run(tmp_path), config, changed)


@pytest.mark.parametrize("fact", ["class_names", "vocabulary"])
def test_a_resume_refuses_other_classes_and_says_the_first_twelve(recorded, fact):
    folder, config, splits = recorded
    before, now = ["a", "b"], [*"abcdefghijklm"]
    config, splits = {**config, "spec": {fact: before}}, splits._replace(spec={fact: now})
    listed = "'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', ... (13)"
    with pytest.raises(FlagError) as raised:
        check_resumed(a_run(folder, changed_data=True), config, splits)
    assert f"trained on 'a', 'b', and the data now has {listed}; allowed: the same classes" in str(raised.value)
    for one, other in (({}, splits.spec), ({fact: before}, {}), ({fact: before}, {fact: ("a", "b")})):
        assert check_resumed(a_run(folder), {**config, "spec": one}, splits._replace(spec=other)) == []


def test_an_evaluation_counts_the_examples_that_the_run_was_trained_on(recorded):
    """Of the images 3, 5, 6 the run was trained on 3; 5 and 6 were its own test split."""
    folder, config, splits = recorded
    assert compare_with_run(a_run(folder), config, splits, "test") == Comparison(None, 0)
    assert compare_with_run(a_run(folder), config, splits._replace(test=source(5, 6, 7)), "test") == Comparison(
        "1 examples more", 0
    )
    seen = splits._replace(test=source(3, 5, 6))
    with pytest.raises(FlagError) as raised:
        compare_with_run(a_run(folder), config, seen, "test")
    assert str(raised.value).startswith(
        "--split=test: the run was trained on 1 of its 3 examples: 1 examples more; allowed: examples that"
    )
    allowed = a_run(folder, changed_data=True)
    assert compare_with_run(allowed, config, seen, "test") == Comparison("1 examples more", 1)
    more = splits._replace(train=source(0, 1, 2, 3, 4))
    assert compare_with_run(a_run(folder), config, more, "train") == Comparison("1 examples more", 0)
    nothing = {**config, "data": {}}
    assert compare_with_run(a_run(folder), nothing, splits, "test") == Comparison("the run did not record its data", 0)


def test_examples_that_have_no_keys_are_not_counted_and_lost_keys_excuse_none(recorded):
    folder, config, splits = recorded
    drawn = splits._replace(test=Source.indices(3))
    assert compare_with_run(a_run(folder), config, drawn, "test").trained_on == 0
    with np.load(folder / "data.npz") as file:
        np.savez(folder / "data.npz", train=np.append(file["train"], file["test"][:1]))  # 0 to 3, and 5
    run = a_run(folder, changed_data=True)
    assert compare_with_run(run, config, splits._replace(test=source(5, 7)), "test").trained_on == 1


def test_files_that_were_trained_on_are_said_to_be_known_by_path_and_size(tmp_path):
    def files(*rows):
        names = np.array([f"{i}.png" for i in rows])
        return source(*rows, names=names, sizes=np.full(len(rows), 9))

    config = {"spec": {}, "data": write_data(tmp_path, Splits(files(0, 1), None, files(5), {}), {})}
    with pytest.raises(FlagError, match=r"trained on 1 of its 2 examples \(same path and size\): 1 examples more"):
        compare_with_run(a_run(tmp_path), config, Splits(files(0, 1), None, files(5, 1), {}), "test")


def test_images_of_the_runs_shape_are_asked_for_only_where_the_flag_gives_no_size(tmp_path):
    splits = Splits(None, None, source(0), {"image_shape": [2, 2, 1]})
    config = {"spec": {"image_shape": [2, 2, 1]}}
    settings = {"image_size": Setting(None, "", int | None)}
    for given, asked in ((None, 2), (5, 5)):
        run = a_run(tmp_path, splits, settings, image_size=given)
        assert data_for(run, config) is splits
        assert [(flags.image_size, flags.run) for flags in run.asked] == [(asked, str(tmp_path))]
    run = a_run(tmp_path, splits)
    assert data_for(run, {"spec": {}}) is splits
    with pytest.raises(FlagError, match=r"trained on images of \[4, 4, 1\]; allowed: such images, not \[2, 2, 1\]"):
        data_for(run, {"spec": {"image_shape": [4, 4, 1]}})


def test_classes_of_the_data_are_renumbered_in_every_split_as_in_the_run(tmp_path):
    """The data's b, c are the run's classes 1 and 0; -1 is no class, and a source without names stays without."""

    def labeled(*labels, names=("b", "c")):
        return Source({"label": np.array(labels, np.int16), "other": np.array(labels)}, class_names=names)

    splits = Splits(labeled(0, 1), labeled(1, -1), labeled(1, 1, 0), {"class_names": ["b", "c"]}, shown=labeled(0))
    splits = splits._replace(valid=labeled(1, -1, names=()))
    found = data_for(a_run(tmp_path, splits), {"spec": {"class_names": ["c", "b", "a"]}})
    expected = {"train": [1, 0], "valid": [0, -1], "test": [0, 0, 1], "shown": [1]}
    for name, labels in expected.items():
        part = getattr(found, name)
        np.testing.assert_array_equal(part.arrays["label"], labels)
        assert part.arrays["label"].dtype == np.int16
        np.testing.assert_array_equal(part.arrays["other"], getattr(splits, name).arrays["other"])
        assert part.class_names == (() if name == "valid" else ("c", "b", "a"))
    assert found.spec == {"class_names": ["c", "b", "a"]}
    with pytest.raises(FlagError, match="not trained on 'c', which the data has; allowed: 'b', 'a'"):
        data_for(a_run(tmp_path, splits), {"spec": {"class_names": ["b", "a"]}})


def test_characters_are_renumbered_in_text_and_prompt(tmp_path):
    """The data's a, b are the run's 1 and 2."""
    text = Source({"text": np.array([[0, 1]]), "prompt": np.array([[1, 1]]), "label": np.array([1])})
    splits = Splits(None, None, text, {"vocabulary": ["a", "b"]})
    found = data_for(a_run(tmp_path, splits), {"spec": {"vocabulary": [" ", "a", "b"]}})
    arrays = {name: array.tolist() for name, array in found.test.arrays.items()}
    assert arrays == {"text": [[1, 2]], "prompt": [[2, 2]], "label": [1]}
    assert found.spec == {"vocabulary": [" ", "a", "b"]}


def test_config_json_records_length_digest_and_kind(tmp_path):
    one = source(0, 1)
    data = write_data(tmp_path, Splits(one, None, None, {}), {"train": Fingerprint(1, "", "number")})
    assert data == {"train": {"examples": 2, "digest": one.fingerprint.digest, "by": "content"}}
    assert json.loads(json.dumps(data)) == data


def test_recorded_examples_have_their_keys_where_the_file_of_keys_can_be_read(tmp_path):
    config = {"data": {"train": {"examples": 2, "digest": "d", "by": "content"}}}
    train = Fingerprint(2, "d", "content")
    assert known_data(tmp_path, config) == {"train": train}
    assert known_data(tmp_path, {}) == {}
    for content in (b"", b"junk", b"PK\x03\x04"):
        (tmp_path / "data.npz").write_bytes(content)
        assert known_data(tmp_path, config) == {"train": train}
    np.savez(tmp_path / "data.npz", train=np.array([3, 4], np.uint64), earlier=np.array([5, 6, 7], np.uint64))
    known = known_data(tmp_path, config)
    np.testing.assert_array_equal(known["train"].keys, [3, 4])
    assert known["train"]._replace(keys=None) == train
    np.testing.assert_array_equal(known[EARLIER].keys, [5, 6, 7])
    assert known[EARLIER].examples == 3

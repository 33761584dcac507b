import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from dlcore.data import tfds_source as module
from dlcore.data.image_classification import load
from dlcore.data.tfds_source import prepared_datasets, tfds_source, tfds_splits

RNG = np.random.default_rng(0)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    file.seek(0)
    return file


def prepare(data_dir, name, splits, shape=(4, 5, 3), version="1.0.0", file_format="array_record"):
    """Write a data set as TFDS prepares it; `splits`: name -> (list of images, labels)."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    folder = data_dir / name / version
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=shape), "label": tfds.features.ClassLabel(names=["ape", "bee"])}
    )
    features.save_config(folder)
    entries = []
    for split, (images, labels) in splits.items():
        writer = ArrayRecordWriter(str(folder / f"{name}-{split}.{file_format}-00000-of-00001"), "group_size:1")
        for image, label in zip(images, labels, strict=True):
            writer.write(features.serialize_example(features.encode_example({"image": png(image), "label": label})))
        writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        entries.append(
            {"name": split, "filepathTemplate": template, "numBytes": "1", "shardLengths": [str(len(images))]}
        )
    pair = {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}}
    info = {"name": name, "version": version, "fileFormat": file_format, "moduleName": "nowhere"}
    (folder / "dataset_info.json").write_text(json.dumps(info | {"splits": entries, "supervisedKeys": pair}))
    return folder


def pictures(count, shape=(4, 5, 3)):
    return RNG.integers(0, 256, (count, *shape), np.uint8)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dlcore"


@pytest.fixture
def tiny(tmp_path):
    images = {"train": pictures(40), "test": pictures(6)}
    prepare(tmp_path / "data", "tiny", {split: (x, np.arange(len(x)) % 2) for split, x in images.items()})
    return tmp_path / "data", images


@pytest.mark.parametrize("chunk", [7, 1000])
def test_records_are_decoded_in_order_whatever_the_chunk(tiny, monkeypatch, chunk):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    data_dir, images = tiny
    source = tfds_source("tiny", "train", data_dir, cache=False)
    np.testing.assert_array_equal(source.arrays["image"], images["train"])
    np.testing.assert_array_equal(source.arrays["label"], np.arange(40) % 2)
    assert (source.arrays["image"].dtype, source.arrays["label"].dtype) == (np.uint8, np.int32)
    assert (source.class_names, source.name) == (("ape", "bee"), "tiny/train")
    assert tfds_splits("tiny", data_dir) == ("train", "test")
    np.testing.assert_array_equal(tfds_source("tiny", "train[:3]", data_dir).arrays["image"], images["train"][:3])
    assert "tensorflow" not in sys.modules


def test_decoded_arrays_are_kept_until_the_files_change(tiny, cache_folder, monkeypatch):
    data_dir, images = tiny
    decoded = []
    decode = module._decode
    monkeypatch.setattr(module, "_decode", lambda *arguments: decoded.append(arguments) or decode(*arguments))
    for _ in range(2):
        source = tfds_source("tiny", "train", data_dir)
        np.testing.assert_array_equal(source.arrays["image"], images["train"])
        assert source.class_names == ("ape", "bee")
    assert len(decoded) == 1
    assert len(tfds_source("tiny", "test", data_dir)) == 6
    assert len(decoded) == 2
    kept = sorted(cache_folder.iterdir())
    assert len(kept) == 2
    for file in kept:
        file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(tfds_source("tiny", "train", data_dir).arrays["image"], images["train"])
    assert len(decoded) == 3
    (data_dir / "tiny" / "1.0.0" / "label.labels.txt").write_text("cat\ndog\n")
    assert tfds_source("tiny", "train", data_dir).class_names == ("cat", "dog")
    tfds_source("tiny", "train", data_dir, cache=False)
    assert len(decoded) == 5


def test_a_cache_that_cannot_be_written_is_no_error(tiny, cache_folder):
    cache_folder.parent.mkdir()
    cache_folder.write_text("in the way")
    assert len(tfds_source("tiny", "train", tiny[0])) == 40


def test_data_that_is_not_prepared_is_an_error_that_says_how(tiny):
    data_dir, _ = tiny
    (data_dir / "other").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        tfds_source("mnist", "train", data_dir)
    message = str(caught.value)
    assert "there: tiny)" in message
    assert f"tfds.builder('mnist', data_dir='{data_dir}', file_format='array_record').download_and_prepare()" in message
    assert sorted(path.name for path in data_dir.iterdir()) == ["other", "tiny"]
    assert prepared_datasets(data_dir) == ("tiny",)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        tfds_source("mnist", "train", data_dir / "missing")


def test_the_newest_readable_version_is_taken(tmp_path):
    for version, count in (("1.9.0", 2), ("1.10.0", 3)):
        prepare(tmp_path, "tiny", {"train": (pictures(count), [0] * count)}, version=version)
    prepare(tmp_path, "tiny", {"train": (pictures(4), [0] * 4)}, version="2.0.0", file_format="tfrecord")
    assert len(tfds_source("tiny", "train", tmp_path)) == 3


def test_records_that_need_tensorflow_are_refused(tmp_path):
    prepare(tmp_path, "tiny", {"train": (pictures(2), [0, 1])}, file_format="tfrecord")
    with pytest.raises(FileNotFoundError, match=r"'tfrecord'.*download_and_prepare"):
        tfds_source("tiny", "train", tmp_path)


def test_bad_splits_sizes_and_limits_are_refused(tiny, tmp_path):
    data_dir, _ = tiny
    with pytest.raises(ValueError, match=r"split is 'valid'; 'tiny' has \['test', 'train'\]"):
        tfds_source("tiny", "valid", data_dir)
    with pytest.raises(ValueError, match="limit_bytes"):
        tfds_source("tiny", "train", data_dir, limit_bytes=40 * 4 * 5 * 3 - 1)
    assert len(tfds_source("tiny", "train", data_dir, limit_bytes=40 * 4 * 5 * 3)) == 40
    ragged = ([*pictures(2), *pictures(1, (3, 3, 3))], [0, 1, 0])
    prepare(tmp_path, "ragged", {"train": ragged}, shape=(None, None, 3))
    with pytest.raises(ValueError, match=r"image 2 is uint8 \(3, 3, 3\), the first is \(4, 5, 3\).*image_size"):
        tfds_source("ragged", "train", tmp_path)


def test_load_carves_validation_from_train(tiny):
    data_dir, images = tiny
    splits = load("tiny", data_dir, valid_fraction=0.25)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (30, 10, 6)
    np.testing.assert_array_equal(splits.test.arrays["image"], images["test"])
    both = np.concatenate([splits.train.arrays["image"], splits.valid.arrays["image"]]).reshape(40, -1)
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(images["train"].reshape(40, -1), axis=0))
    assert (splits.class_names, splits.image_shape, splits.notes) == (("ape", "bee"), (4, 5, 3), ())


def test_load_takes_the_splits_that_are_there(tmp_path):
    def with_splits(name, **counts):
        prepare(tmp_path, name, {split: (pictures(n), np.arange(n) % 2) for split, n in counts.items()})
        splits = load(name, tmp_path, valid_fraction=0.2)
        return [len(splits.train), len(splits.valid), len(splits.test)], splits.notes

    assert with_splits("three", train=10, validation=4, test=6) == ([10, 4, 6], ())
    sizes, notes = with_splits("two", train=10, validation=4)
    assert sizes == [8, 2, 4]
    assert "validation split takes its place" in notes[0]
    for name in ("train", "test", "corpus"):
        sizes, notes = with_splits(f"one_{name}", **{name: 20})
        assert sizes == [13, 3, 4]
        assert "set aside" in notes[0]
    with pytest.raises(ValueError, match=r"no train split, only \['test', 'valid'\]"):
        with_splits("neither", validation=4, test=6)

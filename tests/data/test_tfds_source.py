import importlib
import io
import json
import sys

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data.array_cache import cache_file, read_cache, write_cache
from dlcore.data.image_classification import load
from dlcore.data.streaming import StreamedImages
from dlcore.data.tfds_source import prepared_datasets, tfds_source, tfds_splits
from dlcore.data.workers import Workers

RNG = np.random.default_rng(0)
module = importlib.import_module("dlcore.data.tfds_source")


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    file.seek(0)
    return file


def prepare(
    data_dir,
    name,
    splits,
    shape=(4, 5, 3),
    version="1.0.0",
    file_format="array_record",
    keys=("image", "label"),
    **info,
):
    """Write a data set as TFDS prepares it; `splits`: name -> (list of images, labels)."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    folder = data_dir / name / version
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {keys[0]: tfds.features.Image(shape=shape), keys[1]: tfds.features.ClassLabel(names=["ape", "bee"])}
    )
    features.save_config(folder)
    entries = []
    for split, (images, labels) in splits.items():
        writer = ArrayRecordWriter(str(folder / f"{name}-{split}.{file_format}-00000-of-00001"), "group_size:1")
        for image, label in zip(images, labels, strict=True):
            writer.write(features.serialize_example(features.encode_example({keys[0]: png(image), keys[1]: label})))
        writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        entries.append(
            {"name": split, "filepathTemplate": template, "numBytes": "1", "shardLengths": [str(len(images))]}
        )
    pair = {"tuple": {"items": [{"featureKey": key} for key in keys]}}
    info = {"name": name, "version": version, "supervisedKeys": pair, "moduleName": "nowhere"} | info
    info = {key: value for key, value in info.items() if value is not None}
    (folder / "dataset_info.json").write_text(json.dumps(info | {"splits": entries, "fileFormat": file_format}))
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
    decode = module._decoded
    monkeypatch.setattr(module, "_decoded", lambda *arguments: decoded.append(arguments) or decode(*arguments))
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
    for name in ("owl/1.0.0", "ant/2.0.0", "zoo/small/1.0.0", "ape/1.0.0", "zoo/large/1.0.0", "zoo/large/1.1.0"):
        (data_dir / name).mkdir(parents=True)
        (data_dir / name / "dataset_info.json").write_text("{}")
    assert prepared_datasets(data_dir) == ("ant", "ape", "owl", "tiny", "zoo/large", "zoo/small")
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"dataset_info.json: not JSON \(.*\); allowed: the file that TFDS wrote"),
        ("[]", "dataset_info.json: lists no splits; allowed: the file that TFDS wrote"),
        ('{"fileFormat": "array_record"}', "dataset_info.json: lists no splits"),
    ],
)
def test_a_damaged_description_is_named(tmp_path, content, message):
    folder = tmp_path / "tiny" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        tfds_splits("tiny", tmp_path)


def test_bad_splits_sizes_and_limits_are_refused(tiny, tmp_path):
    data_dir, _ = tiny
    with pytest.raises(ValueError, match=r"split='valid': unknown; allowed for 'tiny': \['test', 'train'\]"):
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


# Streamed


def jpeg(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file


def test_images_of_several_sizes_are_streamed(tmp_path, cache_folder, monkeypatch):
    images = [np.full((20 + i % 3, 24, 3), 10 * i, np.uint8) for i in range(20)]
    monkeypatch.setitem(globals(), "png", lambda pixels: io.BytesIO(jpeg(pixels).getvalue()))
    labels = np.arange(20) // 3 % 2
    prepare(tmp_path, "ragged", {"train": (images, labels)}, shape=(None, None, 3))
    source = tfds_source("ragged", "train", tmp_path, image_size=16, workers=Workers(2))
    assert source.notes == (
        "ragged/train: its images are of several sizes; they are decoded when needed, to (16, 16, 3)",
    )
    found = source[[7, 0, 19]]
    chex.assert_shape(found["image"], (3, 16, 16, 3))
    np.testing.assert_allclose(found["image"].mean((1, 2, 3)), [70, 0, 190], atol=2)
    np.testing.assert_array_equal(source.arrays["label"], labels)
    assert (source.class_names, source.name) == (("ape", "bee"), "ragged/train")
    chex.assert_shape(tfds_source("ragged", "train", tmp_path, workers=Workers(0)).arrays["image"], (20, 224, 224, 3))
    assert len(tfds_source("ragged", "train[:25%]", tmp_path, workers=Workers(0))) == 5
    assert "tensorflow" not in sys.modules
    # The labels were read once and kept, one file a split.
    assert len(list(cache_folder.iterdir())) == 2
    monkeypatch.setattr(module, "write_cache", lambda *arguments: pytest.fail("read again"))
    again = tfds_source("ragged", "train", tmp_path, image_size=16, workers=Workers(2))
    np.testing.assert_array_equal(again.arrays["label"], labels)


def test_a_cache_file_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "a" / "b" / "kept.npz"
    write_cache(path, ("ape", "bee"), {"label": np.arange(3)})
    names, arrays = read_cache(path)
    assert names == ("ape", "bee")
    assert {key: value.tolist() for key, value in arrays.items()} == {"label": [0, 1, 2]}
    assert read_cache(path.parent / "other.npz") is None
    content = path.read_bytes()
    for part in (content[:-9], content[:40], b""):
        path.write_bytes(part)
        assert read_cache(path) is None
    np.savez(path, label=np.arange(3))
    assert read_cache(path) is None
    (path.parent / "folder.npz").mkdir()
    write_cache(path.parent / "folder.npz", (), {"label": np.arange(3)})
    assert sorted(file.name for file in path.parent.iterdir()) == ["folder.npz", "kept.npz"]
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_file(tmp_path, "train").parent == tmp_path / ".cache" / "dlcore"
    assert cache_file(tmp_path, "train") != cache_file(tmp_path, "test")


def test_records_that_do_not_fit_are_streamed_at_their_size(tiny, cache_folder):
    data_dir, images = tiny
    size = 40 * 4 * 5 * 3
    held = tfds_source("tiny", "train", data_dir, limit_bytes=size, workers=Workers(0))
    assert isinstance(held.arrays["image"], np.ndarray)
    for _ in range(2):
        source = tfds_source("tiny", "train", data_dir, limit_bytes=size - 1, workers=Workers(1))
        assert isinstance(source.arrays["image"], StreamedImages)
        np.testing.assert_array_equal(source.arrays["image"][:], images["train"])
        np.testing.assert_array_equal(source.arrays["label"], held.arrays["label"])
    assert "stay on disk" in source.notes[0]
    smaller = tfds_source("tiny", "train", data_dir, limit_bytes=0, image_size=(2, 3), workers=Workers(1))
    chex.assert_shape(smaller.arrays["image"], (40, 2, 3, 3))
    assert load("tiny", data_dir, image_size=3).image_shape == (3, 3, 3), "though they would fit in memory"
    with pytest.raises(ValueError, match="image_size=3: images in memory keep their size"):
        tfds_source("tiny", "train", data_dir, image_size=3)
    splits = load("tiny", data_dir, valid_fraction=0.25, limit_bytes=0)
    assert [len(part) for part in splits[:3]] == [30, 10, 6]
    assert splits.image_shape == (4, 5, 3)
    np.testing.assert_array_equal(splits.test.arrays["image"][:], images["test"])


def test_a_damaged_record_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(
        globals(), "png", lambda pixels: io.BytesIO(jpeg(pixels).getvalue()[: -300 if pixels[0, 0, 0] == 3 else None])
    )
    images = [np.full((40, 40, 3), i, np.uint8) for i in range(6)]
    prepare(tmp_path, "bad", {"train": (images, [0, 1] * 3)}, shape=(40, 40, 3))
    source = tfds_source("bad", "train", tmp_path, limit_bytes=0, workers=Workers(2))
    with pytest.raises(ValueError, match="record 3 of bad/train cannot be read"):
        source[np.arange(6)]


def test_splits_of_several_shapes_are_refused(tmp_path):
    one, other = list(pictures(6)), list(pictures(5, (6, 7, 3)))
    prepare(tmp_path, "mixed", {"train": (one, [0, 1] * 3), "test": (other, [0] * 5)}, shape=(None, None, 3))
    with pytest.raises(
        ValueError, match=r"image_size=None: the splits have several shapes, \{'mixed/train': \(4, 5, 3\),"
    ):
        load("mixed", tmp_path)
    assert load("mixed", tmp_path, image_size=8, valid_fraction=0.2).image_shape == (8, 8, 3)


@pytest.mark.slow
def test_the_classification_page_trains_on_streamed_records(tmp_path, monkeypatch, capsys):
    from dlcore.main import run
    from dlcore.run.metrics_writer import read_metrics
    from experiments.classification.supervised import experiment

    monkeypatch.setitem(globals(), "png", lambda pixels: io.BytesIO(jpeg(pixels).getvalue()))
    images = [np.full((20 + i % 3, 24, 3), 60 if i % 2 else 190, np.uint8) for i in range(64)]
    prepare(tmp_path / "data", "ragged", {"train": (images, np.arange(64) % 2)}, shape=(None, None, 3))
    small = [
        "--dataset=ragged",
        f"--data_dir={tmp_path / 'data'}",
        "--image_size=8",
        "--memory_limit=0",
        "--model=mlp",
        "--model.hidden=8",
        "--batch_size=16",
        "--eval_every=16",
        "--log_every=8",
        "--augment=resized_crop_flip",
        "--learning_rate=0.03",
        "--ema=none",
        f"--runs={tmp_path / 'runs'}",
        "--steps=16",
    ]
    assert run(experiment, [*small, "--workers=2"]) == 0
    assert "they stay on disk and are decoded when needed, in 2 threads" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / "classification.supervised").iterdir()
    assert "waiting for data</dt><dd>" in (folder / "report.html").read_text()
    assert read_metrics(folder)[-1]["accuracy"] == 1.0
    spec = json.loads((folder / "config.json").read_text())["spec"]
    assert (spec["image_shape"], spec["crop_pct"]) == ([8, 8, 3], 0.875)
    assert (
        run(
            experiment, ["--mode=predict", f"--run={folder}", f"--input={write_jpeg(tmp_path / 'dark.jpg', images[1])}"]
        )
        == 0
    )
    assert "dark.jpg: bee" in capsys.readouterr().out


def write_jpeg(path, pixels):
    path.write_bytes(jpeg(pixels).getvalue())
    return path


def test_records_are_not_turned_on_disk_nor_in_memory(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6

    def turned(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", exif=exif)
        file.seek(0)
        return file

    monkeypatch.setitem(globals(), "png", turned)
    prepare(tmp_path, "turned", {"train": (pictures(3, (8, 8, 3)), [0, 1, 0])}, shape=(8, 8, 3))
    held = tfds_source("turned", "train", tmp_path)
    found = tfds_source("turned", "train", tmp_path, limit_bytes=0, workers=Workers(0))
    np.testing.assert_array_equal(found.arrays["image"][:], held.arrays["image"])


def test_the_keys_of_image_and_label_are_those_that_the_data_set_states(tmp_path):
    images = pictures(3)
    prepare(tmp_path, "named", {"train": (images, [1, 0, 1])}, keys=("photo", "kind"))
    prepare(tmp_path, "silent", {"train": (images, [1, 0, 1])}, supervisedKeys=None)
    for name in ("named", "silent"):
        source = tfds_source(name, "train", tmp_path, cache=False)
        np.testing.assert_array_equal(source.arrays["image"], images)
        np.testing.assert_array_equal(source.arrays["label"], [1, 0, 1])
    prepare(tmp_path, "other", {"train": (images, [1, 0, 1])}, keys=("photo", "kind"), supervisedKeys=None)
    problem = r"data set 'other' has no image with a class label; its features are \['kind', 'photo'\]"
    with pytest.raises(ValueError, match=problem):
        tfds_source("other", "train", tmp_path, cache=False)


def test_images_of_four_channels_are_not_streamed(tmp_path):
    prepare(tmp_path, "alpha", {"train": (pictures(3, (4, 5, 4)), [1, 0, 1])}, (4, 5, 4))
    with pytest.raises(ValueError, match="alpha/train: only uint8 images of 1 or 3 channels are streamed, not Image"):
        tfds_source("alpha", "train", tmp_path, cache=False, limit_bytes=0, workers=Workers(0))

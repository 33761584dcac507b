"""WebDataset shards and Parquet files hold the pixels and classes of the same images in class folders."""

import io
import json
import re
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from dlcore.data.image_classification import folder_splits, load, shard_splits
from dlcore.data.parquet_images import list_parquet
from dlcore.data.pipeline import Pipeline
from dlcore.data.shards import Record, sharded_images
from dlcore.data.streaming import random_crops
from dlcore.data.webdataset import list_webdataset
from dlcore.data.workers import Workers
from dlcore.extras import MissingPackage

CLASSES = ("cat", "dog")


def png(seed, size=(8, 8)):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(file, "png")
    return file.getvalue()


IMAGES = {"train": [(png(i), i % 2) for i in range(6)], "test": [(png(10 + i), i % 2) for i in range(3)]}


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            data = data if isinstance(data, bytes) else str(data).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def samples(images, first=0, ending="cls"):
    """The members of a shard, labels before or behind their images."""
    for i, (data, label) in enumerate(images, first):
        pair = [(f"{i:05}.png", data), (f"{i:05}.{ending}", label if ending == "cls" else json.dumps({"label": label}))]
        yield from pair if i % 2 else pair[::-1]


def write_parquet(path, images, *, group=2, names=CLASSES, columns=("image", "label"), **others):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    label = {"names": list(names), "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    features = {columns[0]: {"_type": "Image"}, columns[1]: label}
    arrays = {
        columns[0]: [data if isinstance(data, dict) else {"bytes": data, "path": None} for data, _ in images],
        columns[1]: [label for _, label in images],
        **others,
    }
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays[columns[0]] = pa.array(arrays[columns[0]], kind)
    table = pa.table(arrays)
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=group)
    return path


def write_webdataset(root, ending="cls"):
    write_tar(root / "pets-train-0000.tar", samples(IMAGES["train"][:4], ending=ending))
    write_tar(root / "pets-train-0001.tar", samples(IMAGES["train"][4:], 4, ending))
    write_tar(root / "pets-test-0000.tar", samples(IMAGES["test"], ending=ending))
    (root / "classnames.txt").write_text("cat\ndog\n")
    return root


def write_hub(root):
    write_parquet(root / "data" / "train-00000-of-00002.parquet", IMAGES["train"][:4])
    write_parquet(root / "data" / "train-00001-of-00002.parquet", IMAGES["train"][4:])
    write_parquet(root / "data" / "test-00000-of-00001.parquet", IMAGES["test"])
    return root


def write_folder(root):
    for split, images in IMAGES.items():
        for i, (data, label) in enumerate(images):
            file = root / split / CLASSES[label] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    return root


WRITERS = {"webdataset": write_webdataset, "parquet": write_hub}


@pytest.mark.covers("SY-16")
@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("workers", [None, Workers(2)])
def test_shards_hold_the_images_of_class_folders(tmp_path, kind, workers):
    """In memory, and decoded on demand; the folder lists its images by class, the shards in their own order."""
    limit = {} if workers is None else {"limit_bytes": 0}
    shards = shard_splits(WRITERS[kind](tmp_path / "shards"), kind, workers=workers, **limit)
    folder = folder_splits(write_folder(tmp_path / "folder"))
    assert list(shards) == ["train", "test"]
    for split, images in IMAGES.items():
        labels = np.array([label for _, label in images])
        np.testing.assert_array_equal(shards[split].arrays["label"], labels)
        by_class = np.argsort(labels, kind="stable")
        np.testing.assert_array_equal(shards[split][by_class]["image"], folder[split].arrays["image"])
        assert shards[split].class_names == CLASSES
    assert len(set(shards["train"].names)) == 6


@pytest.mark.parametrize("kind", WRITERS)
def test_batches_of_shards_on_disk_depend_on_the_step_alone(tmp_path, kind):
    root = WRITERS[kind](tmp_path)
    pipelines = [
        Pipeline(random_crops(shard_splits(root, kind, limit_bytes=0, workers=Workers(n))["train"]), 4, seed=5)
        for n in (0, 2)
    ]
    batches = [pipelines[0].batch_at(step)["image"] for step in range(4)]
    for step in (3, 1, 2, 0):
        np.testing.assert_array_equal(pipelines[1].batch_at(step)["image"], batches[step])


@pytest.mark.parametrize("kind", WRITERS)
def test_the_door_carves_validation_and_finds_images_in_two_splits(tmp_path, kind):
    splits = load(kind, WRITERS[kind](tmp_path / "a"), valid_fraction=0.3)
    assert len(splits.train) + len(splits.valid) == 6
    assert (len(splits.test), splits.class_names, splits.image_shape) == (3, CLASSES, (8, 8, 3))
    assert not [note for note in splits.notes if "pixels" in note]


def test_one_file_is_all_of_the_data(tmp_path):
    tar = write_tar(tmp_path / "train.tar", samples(IMAGES["train"]))
    parquet = write_parquet(tmp_path / "train.parquet", IMAGES["train"], names=())
    for kind, file in (("webdataset", tar), ("parquet", parquet)):
        source = shard_splits(file, kind)["all"]
        assert (len(source), source.class_names) == (6, ("0", "1"))


def test_labels_of_a_webdataset(tmp_path):
    """Numbers and names, in .cls and in .json; a number that no image has is a class, too."""
    numbers = write_webdataset(tmp_path / "json", "json")
    assert [file.label for file in list_webdataset(numbers).splits["train"]] == [0, 1, 0, 1, 0, 1]
    names = [(data, ("wolf", "bear", "wolf")[i % 3]) for i, (data, _) in enumerate(IMAGES["train"])]
    for ending in ("cls", "json"):
        listing = list_webdataset(write_tar(tmp_path / f"{ending}.tar", samples(names, ending=ending)))
        assert listing.class_names == ("bear", "wolf")
        assert [file.label for file in listing.splits["all"]] == [1, 0, 1, 1, 0, 1]
    gap = write_tar(tmp_path / "gap.tar", samples([(png(0), 0), (png(1), 3)]))
    assert list_webdataset(gap).class_names == ("0", "1", "2", "3")


def test_images_without_labels(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [("a.png", png(0)), ("b.txt", "a caption"), ("b.png", png(1))])
    parquet = write_parquet(tmp_path / "a.parquet", IMAGES["train"], columns=("image", "text"), names=())
    for kind, file in (("webdataset", tar), ("parquet", parquet)):
        source = shard_splits(file, kind, min_classes=0)["all"]
        assert (source.class_names, set(source.arrays["label"])) == (("unlabeled",), {0})
    # Labels that are there are kept; nothing is left out, and members are read from archives.
    labeled = list_webdataset(write_tar(tmp_path / "b.tar", samples(IMAGES["train"])), min_classes=0)
    assert [file.label for file in labeled.splits["all"]] == [0, 1, 0, 1, 0, 1]
    assert (labeled.class_names, labeled.num_outside, labeled.zipped) == (("0", "1"), 0, True)


def test_columns_of_a_parquet_file(tmp_path):
    """CIFAR-100 on the hub has two columns of labels."""
    file = write_parquet(tmp_path / "a.parquet", IMAGES["train"], columns=("img", "fine"), coarse=[0, 0, 0, 1, 1, 1])
    labels = [f.label for f in list_parquet(file, columns=("img", "coarse")).splits["all"]]
    assert labels == [0, 0, 0, 1, 1, 1]
    assert list_parquet(file).class_names == CLASSES  # the only ClassLabel
    for columns, problem in (
        (("img", "corse"), "columns='corse': is not in a.parquet; allowed: img, fine, coarse"),
        (("image", "fine"), "columns='image': is not in a.parquet; allowed: img, fine, coarse"),
        (("fine", "fine"), "columns='fine': int64 in a.parquet; allowed: images as bytes"),
        (("img", "img"), "columns='img': struct<bytes: binary, path: string> in a.parquet; allowed: integers"),
    ):
        with pytest.raises(ValueError, match=re.escape(problem)):
            list_parquet(file, columns=columns)
    plain = write_parquet(tmp_path / "b.parquet", IMAGES["train"], columns=("image", "text"), names=())
    with pytest.raises(
        ValueError, match=r"columns=None: b\.parquet has no column of labels; allowed: the names of .*text"
    ):
        list_parquet(plain)
    with pytest.raises(ValueError, match=r"columns=\('a', 'b'\): dataset 'webdataset' has none; allowed: None, or"):
        load("webdataset", tmp_path, columns=("a", "b"))


def test_a_broken_image_is_named_or_left_out(tmp_path):
    broken = [*IMAGES["train"][:3], (b"no image", 1)]
    missing = [*IMAGES["train"][:3], ({"bytes": None, "path": "x.jpg"}, 1)]
    tar = write_tar(tmp_path / "a.tar", samples(broken))
    cases = (
        ("webdataset", tar, r"a\.tar:00003\.png cannot be read as an image"),
        ("parquet", write_parquet(tmp_path / "a.parquet", broken), r"a\.parquet:3 cannot be read as an image"),
        ("parquet", write_parquet(tmp_path / "b.parquet", missing), r"b\.parquet:3 .*no bytes, only the path 'x.jpg'"),
    )
    for kind, file, problem in cases:
        with pytest.raises(ValueError, match=problem) as caught:
            shard_splits(file, kind)
        assert "\n" not in str(caught.value)
        assert len(shard_splits(file, kind, skip_bad=True)["all"]) == 3


TARS = {
    "no label": ([("a.png", png(0)), ("a.txt", "x")], "sample a without a label; allowed: a.cls or .json"),
    "no image": ([("a.cls", 0)], "holds no image; allowed: NAME.png"),
    "two images": ([("a.png", png(0)), ("a.jpg", png(0)), ("a.cls", 0)], "sample a holds png, jpg; allowed: one image"),
    "twice": ([*samples(IMAGES["train"][:1])] * 2, "holds 00000.cls twice; allowed: each member once"),
    "no JSON": ([("a.png", png(0)), ("a.json", "{")], "a.json is no JSON"),
    "a truth value": (
        [("a.png", png(0)), ("a.json", '{"label": true}')],
        "a.json has the label True; allowed: a number",
    ),
    "negative": (
        [*samples([(png(0), 0), (png(1), -1)])],
        "the label -1 of a.tar:00001.png is negative; allowed: 0, ...",
    ),
    "both": (
        [*samples([(png(0), 0), (png(1), "b")])],
        "labels are 0 of a.tar:00000.png and 'b' of a.tar:00001.png; allo",
    ),
    "an id in place of a class": (
        [*samples([(png(0), 0), (png(1), 10**9)])],
        "the label 1000000000 of a.tar:00001.png is too large; allowed: 0, ..., 99999",
    ),
    "a label without an image": ([*samples(IMAGES["train"]), ("9.cls", 0)], "sample 9 has a label and no image"),
    "one class": ([*samples([(png(0), 0)])], "has 1 class; allowed: at least 2"),
}


@pytest.mark.parametrize("case", TARS)
def test_bad_shards_are_one_clear_line(tmp_path, case):
    members, problem = TARS[case]
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        list_webdataset(write_tar(tmp_path / "a.tar", members))
    assert "a.tar" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("cat\n\ndog\n", r"classnames.txt': line 2 is empty; allowed: a name a line"),
        ("caf\u00e9\ndog\n".encode("latin-1"), r"classnames.txt': byte 3 is 0xe9; allowed: a text file in UTF-8"),
    ],
)
def test_names_of_classes_that_would_move_are_refused(tmp_path, content, problem):
    write_webdataset(tmp_path)
    (tmp_path / "classnames.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=problem):
        list_webdataset(tmp_path)


def test_numbers_of_classes_may_share_a_name_and_be_as_many_as_the_images(tmp_path):
    """The usual names of ImageNet's classes have two `sunglasses`; data sets of faces have 360,000 classes."""
    write_webdataset(tmp_path / "numbers")
    (tmp_path / "numbers" / "classnames.txt").write_text("cat\ncat\n")
    assert list_webdataset(tmp_path / "numbers").class_names == ("cat", "cat")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "classnames.txt").write_text("cat\ncat\n")
    write_tar(tmp_path / "words" / "a.tar", samples([(data, "cat") for data, _ in IMAGES["train"]]))
    with pytest.raises(ValueError, match="two classes are called 'cat'; allowed: each name once"):
        list_webdataset(tmp_path / "words")
    most = 100_001
    records = [Record(str(i), i, io.BytesIO, str(i), 0) for i in range(most)]
    assert len(sharded_images("a", {"all": records}).class_names) == most


def test_names_of_classes_lose_a_byte_order_mark_and_spaces(tmp_path):
    write_webdataset(tmp_path)
    (tmp_path / "classnames.txt").write_text("\ufeffcat \r\ndog\n\n", encoding="utf-8")
    assert list_webdataset(tmp_path).class_names == CLASSES


@pytest.mark.parametrize(
    ("ending", "labels", "names"),
    [
        ("cls", ("kea", "-1x", "kiwi"), ("-1x", "kea", "kiwi")),
        ("cls", (1, 0, 2), ("0", "1", "2")),
        ("json", ('{"label": "kea"}', '{"label": "emu", "of": 2}', '{"label": "kea"}'), ("emu", "kea")),
    ],
)
def test_labels_lose_a_byte_order_mark_and_spaces(tmp_path, ending, labels, names):
    members = [(f"{i}.png", IMAGES["train"][i][0]) for i in range(3)]
    members += [(f"{i}.{ending}", f"\ufeff {label}\r\n".encode()) for i, label in enumerate(labels)]
    write_tar(tmp_path / "a.tar", members)
    assert list_webdataset(tmp_path).class_names == names


def test_shards_behind_links_in_capitals_or_hidden(tmp_path):
    """A link to a split is followed; .TAR is .tar; what macOS puts beside a file is left out."""
    write_tar(tmp_path / "far" / "0.TAR", samples(IMAGES["test"]))
    root = write_tar(tmp_path / "data" / "train" / "0.tar", samples(IMAGES["train"])).parents[1]
    (root / "test").symlink_to(tmp_path / "far")
    (root / "train" / "._0.tar").write_bytes(b"x")
    assert {split: len(files) for split, files in list_webdataset(root).splits.items()} == {"train": 6, "test": 3}


def test_a_tar_that_was_cut_between_members_and_links_are_refused(tmp_path):
    whole = write_tar(tmp_path / "a.tar", samples(IMAGES["train"])).read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        last = archive.getmembers()[-2]
    (tmp_path / "a.tar").write_bytes(whole[: last.offset])
    with pytest.raises(ValueError, match=r"a.tar': cut off, its end mark is missing; allowed: a whole .tar"):
        list_webdataset(tmp_path)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "b.png"
        archive.addfile(link)
    with pytest.raises(ValueError, match=r"a\.png is a link; allowed: files \(tar --dereference\)"):
        list_webdataset(tmp_path)


def test_members_that_are_no_samples_are_left_out(tmp_path):
    """Without an ending, hidden, or what macOS adds."""
    others = [("README", "x"), (".hidden", "x"), ("__MACOSX/a.png", png(0)), ("__MACOSX/a.cls", 0)]
    listing = list_webdataset(write_tar(tmp_path / "a.tar", [*others, *samples(IMAGES["train"])]))
    assert [file.label for file in listing.splits["all"]] == [0, 1, 0, 1, 0, 1]


def test_an_image_of_a_parquet_file_has_its_share_of_the_bytes_of_its_group(tmp_path):
    images = [(png(i, (40, 40)), i % 2) for i in range(6)]
    files = list_parquet(write_parquet(tmp_path / "a.parquet", images, group=4)).splits["all"]
    assert [file.size for file in files] == [files[0].size] * 4 + [files[4].size] * 2
    for first, last in ((0, 4), (4, 6)):
        encoded = sum(len(data) for data, _ in images[first:last])
        assert encoded / (last - first) <= files[first].size < 1.2 * encoded / (last - first)


def test_parquet_files_that_number_their_classes_differently_are_refused(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", IMAGES["train"])
    write_parquet(tmp_path / "test-0.parquet", IMAGES["test"], names=CLASSES[::-1])
    problem = r"test-0.parquet': its classes are others than in .* of training \('dog' where that has 'cat'\)"
    with pytest.raises(ValueError, match=problem):
        list_parquet(tmp_path)
    write_parquet(tmp_path / "test-0.parquet", IMAGES["test"], names=())  # of a tool that stores no names
    assert [file.label for file in list_parquet(tmp_path).splits["test"]] == [label for _, label in IMAGES["test"]]


def test_damaged_files_are_one_clear_line(tmp_path, monkeypatch):
    whole = write_tar(tmp_path / "whole.tar", samples(IMAGES["train"]))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz"):
        pass
    (tmp_path / "b.tar").write_bytes(b"no archive" * 100)
    for name in ("a.tar.gz", "b.tar"):
        with pytest.raises(ValueError, match=rf"{name}': cannot be read as a \.tar .*allowed: a \.tar without compr"):
            list_webdataset(tmp_path / name)
    pytest.importorskip("pyarrow")
    (tmp_path / "c.parquet").write_bytes(whole.read_bytes())
    with pytest.raises(ValueError, match=r"c\.parquet': cannot be read as a Parquet file"):
        list_parquet(tmp_path / "c.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackage, match=r"a Parquet file needs pyarrow, .*'\.\[parquet\]'"):
        list_parquet(tmp_path / "c.parquet")


def test_splits_of_shards(tmp_path):
    def listed(*names):
        root = tmp_path / "-".join(names).replace("/", "_")
        for i, name in enumerate(names):
            write_tar(root / name, samples([(png(2 * i), 0), (png(2 * i + 1), 1)]))
        return {split: len(files) for split, files in list_webdataset(root).splits.items()}

    assert listed("0.tar", "1.tar") == {"all": 4}
    assert listed("a-train-0.tar", "a-train-1.tar") == {"all": 4}
    assert listed("train/0.tar", "val/0.tar", "val/1.tar") == {"train": 2, "valid": 4}
    assert listed("TRAIN-0.tar", "dev_0.tar", "test.0.tar") == {"train": 2, "valid": 2, "test": 2}
    for names, problem in (
        (("train-0.tar", "test-0.tar", "extra-0.tar"), "extra-0.tar is of no split; allowed: "),
        (("val-0.tar", "dev-0.tar", "train-0.tar"), "'dev' and 'val' are both the valid split"),
        (("train-test-0.tar",), "its name holds the splits train, test; allowed: one of them"),
        (("val-0.tar", "test-0.tar"), "no training split; allowed: 'train', too"),
    ):
        with pytest.raises(ValueError, match=problem):
            listed(*names)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"holds no file whose name ends in \.tar or"):
        list_webdataset(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        list_webdataset(tmp_path / "nowhere")
    write_tar(tmp_path / "new" / "train.tar", samples(IMAGES["train"]))
    write_tar(tmp_path / "new" / "test.tar", samples([(png(0), 7)]))
    with pytest.raises(
        ValueError, match=r"label 7 of test\.tar:00000\.png is no class of the training split; allowed: 0, 1"
    ):
        list_webdataset(tmp_path / "new")

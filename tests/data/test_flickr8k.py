"""Captioned photographs from files: official splits, sizes, and what is missing."""

import gzip
import io
import json
import zipfile

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data.flickr8k import flickr8k


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def written(folder, captions=None, images=("b.png", "a.png")):
    for stem in ("train", "val", "test"):
        entries = {"a.png": ["A dog .", "Dog"], "b.png": ["Grass"]} if captions is None else captions
        (folder / f"captions_{stem}.json.gz").write_bytes(gzip.compress(json.dumps(entries).encode()))
        with zipfile.ZipFile(folder / f"{stem}.zip", "w") as file:
            for k, name in enumerate(images):
                file.writestr(name, png(10 + 100 * k % 245))
    return folder


def test_splits_are_read_in_the_order_of_names(tmp_path):
    splits = flickr8k(written(tmp_path), 4)
    assert set(splits) == {"train", "valid", "test"}
    train = splits["train"]
    assert train.names == ["a.png", "b.png"]
    assert train.texts == [["A dog .", "Dog"], ["Grass"]]
    chex.assert_shape(train.image, (2, 4, 4, 3))
    assert train.image.dtype == np.uint8
    np.testing.assert_array_equal(train.image[:, 0, 0, 0], [110, 10])
    assert splits["valid"].name == "flickr8k (valid)"


def test_images_may_lie_in_a_folder(tmp_path):
    written(tmp_path)
    (tmp_path / "val.zip").unlink()
    (tmp_path / "val").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "val" / name).write_bytes(png(30))
    assert (flickr8k(tmp_path, 4)["valid"].image == 30).all()


def test_splits_may_have_the_names_of_all_readers(tmp_path):
    written(tmp_path)
    for old, new in (("val", "dev"), ("test", "Testing")):
        (tmp_path / f"captions_{old}.json.gz").rename(tmp_path / f"captions_{new}.json.gz")
        (tmp_path / f"{old}.zip").rename(tmp_path / f"{new}.zip")
    splits = flickr8k(tmp_path, 4)
    assert {split: len(images.names) for split, images in splits.items()} == {"train": 2, "valid": 2, "test": 2}
    (tmp_path / "captions_eval.json").write_text("{}")
    with pytest.raises(ValueError, match="Testing' and 'eval' are both the test split; allowed: one"):
        flickr8k(tmp_path, 4)


@pytest.mark.parametrize(
    ("captions", "images", "error", "message"),
    [
        (
            {"a.png": ["A dog"], "b.png": ["A cat", " "]},
            ("a.png", "b.png"),
            ValueError,
            r"\(train\): caption 1 of image b.png is empty; allowed: a word or more",
        ),
        (
            {"b.png": ["A dog"]},
            ("b.png", "e.png", "a.png", "d.png", "c.png"),
            ValueError,
            r"\(train\): image a.png has no caption",
        ),
        (
            {name: ["A dog"] for name in ("b.png", "e.png", "a.png", "d.png", "c.png")},
            ("b.png",),
            FileNotFoundError,
            r"\(train\): image a.png has captions",
        ),
        ({"a.png": "A dog"}, ("a.png",), ValueError, "train.json.gz: no captions; allowed: {file name"),
    ],
)
def test_errors_name_captions_and_images_that_do_not_match(tmp_path, captions, images, error, message):
    with pytest.raises(error, match=message):
        flickr8k(written(tmp_path, captions, images))


def test_an_image_that_stands_there_twice_would_lose_captions(tmp_path):
    written(tmp_path)
    with gzip.open(tmp_path / "captions_train.json.gz", "wt") as file:
        file.write('{"a.png": ["a dog"], "a.png": ["a cat"]}')
    with pytest.raises(ValueError, match=r"train.json.gz: image a.png stands there twice; allowed: all captions of an"):
        flickr8k(tmp_path)


def test_errors_name_missing_and_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder there"):
        flickr8k(tmp_path / "no")
    with pytest.raises(FileNotFoundError, match=r"it has neither captions_train.json.gz nor captions_train.json"):
        flickr8k(tmp_path)
    with pytest.raises(ValueError, match="image_size=0: too small"):
        flickr8k(tmp_path, 0)
    (written(tmp_path) / "train.zip").unlink()
    with pytest.raises(FileNotFoundError, match=r"it has neither train.zip nor a folder train"):
        flickr8k(tmp_path)
    written(tmp_path)
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as file:
        file.writestr("a.png", b"no image")
        file.writestr("b.png", png(1))
    with pytest.raises(ValueError, match=r"image a.png cannot be read"):
        flickr8k(tmp_path)


def test_captions_that_are_no_json_are_named_and_a_byte_order_mark_is_read(tmp_path):
    written(tmp_path)
    (tmp_path / "captions_val.json.gz").unlink()
    entries = json.dumps({"a.png": ["Straße"], "b.png": ["Gras"]}, ensure_ascii=False)
    (tmp_path / "captions_val.json").write_text(entries, encoding="utf-8-sig")
    assert flickr8k(tmp_path, 4)["valid"].texts == [["Straße"], ["Gras"]]
    (tmp_path / "captions_val.json").write_text("[")
    with pytest.raises(ValueError, match=r"captions_val.json: not JSON \(.*\)"):
        flickr8k(tmp_path, 4)

"""Files below a folder and members of a .zip: nothing that cannot be read is left out in silence."""

import os

import pytest

from dlcore.data.flickr8k import flickr8k
from dlcore.data.folders import files_below, is_visible, open_zip
from dlcore.data.image_folder import list_images


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_links_are_followed_once_and_broken_ones_are_listed(tmp_path):
    touch(tmp_path / "far" / "b.png", tmp_path / "root" / "a.png")
    root = tmp_path / "root"
    (root / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(root)
    (root / "gone.png").symlink_to(tmp_path / "nothing")
    assert files_below(root) == [root / "a.png", root / "gone.png", root / "linked" / "b.png"]


@pytest.mark.parametrize("name", ["cat", ".trash", "lost+found"])
def test_a_folder_that_may_not_be_read_is_no_empty_folder(tmp_path, monkeypatch, name):
    touch(tmp_path / "dog" / "a.png", tmp_path / name / "b.png")
    scandir = os.scandir

    def refuse(path):
        if str(path) == str(tmp_path / name):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    if name == "cat":
        with pytest.raises(OSError, match=r"cat': cannot be read \(Permission denied\); allowed"):
            list_images(tmp_path)
    else:  # of the system
        assert list_images(tmp_path) == [tmp_path / "dog" / "a.png"]


def test_hidden_files_and_resource_forks_are_not_visible():
    assert [is_visible(parts) for parts in (("a", "b"), (".a", "b"), ("a", "._b"), ("__MACOSX", "b"))] == [True] + 3 * [
        False
    ]


def test_a_file_that_is_no_zip_is_named(tmp_path):
    (tmp_path / "a.zip").write_text("<html>")
    with pytest.raises(ValueError, match=r"a.zip': no .zip, or damaged \(.*\); allowed: a whole .zip"):
        open_zip(tmp_path / "a.zip")
    (tmp_path / "captions_train.json").write_text('{"a.jpg": ["a cat"]}')
    (tmp_path / "train.zip").write_text("<html>")
    with pytest.raises(ValueError, match=r"train.zip': no .zip, or damaged"):
        flickr8k(tmp_path, 8)

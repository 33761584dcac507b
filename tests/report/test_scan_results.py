"""The task of volumes: folders of scans, one spacing, what is refused, label maps of own scans, measures."""

import json
import re
import sys

import chex
import numpy as np
import pytest

from dlcore.data.facts import Facts
from dlcore.data.volume_files import (
    Volume,
    list_volumes,
    load_volume,
    pad_volumes,
    resample,
    save_labels,
    size_at,
    stem,
    volume_splits,
)
from dlcore.experiment.resolve import resolve
from dlcore.extras import MissingPackage
from dlcore.modes.predict import MODE
from experiments.segmentation.volumes import experiment
from tests.overriding import inputs_of


def flags(*words, settings=None):
    return resolve(experiment, ["--smoke", *words], settings or {})


def scan(path, size=(8, 16, 16), spacing=(2, 1, 1), seed=0, channels=(), **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).normal(size=(*size, *channels))
    np.savez(path, **({"image": image} | ({} if spacing is None else {"spacing": np.array(spacing, float)}) | arrays))


def labels(path, size=(8, 16, 16), spacing=(2, 1, 1), value=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(size)
    values[0, :4], values[-1] = 1, value
    np.savez(path, labels=values, spacing=np.array(spacing, float))


def pair(folder, name, size=(8, 16, 16), spacing=(2, 1, 1), value=2, **fields):
    scan(folder / "images" / name, size, spacing, **fields)
    labels(folder / "labels" / name, size, spacing or (1, 1, 1), value)


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        pair(tmp_path, f"{i}.npz", seed=i)
    return tmp_path


@pytest.mark.covers("SG-19")
def test_planted_organs_need_no_folder():
    data = experiment.run(flags("--num_volumes=10")).load()
    assert [len(part) for part in (data.train, data.valid, data.test)] == [10, 8, 8]
    assert (data.train.arrays["image"][:8] != data.test.arrays["image"]).any()
    assert data.spec["spacing"] == [2, 1, 1]
    assert json.loads(json.dumps(data.spec)) == data.spec | {"trivial": {"dice": [*data.spec["trivial"]["dice"]]}}
    assert 0.2 < data.spec["trivial"]["dice"][0] < 0.5


@pytest.mark.covers("SG-19")
def test_scans_of_a_folder_get_one_spacing_and_one_size(folder):
    """The third has slices of 4 mm in place of 2: 5 become 10, and the two others are padded from 8 by void."""
    pair(folder, "2.npz", (5, 16, 18), (4, 1, 1))
    splits, spacing = volume_splits(folder)
    assert spacing == (2, 1, 1)  # the median
    assert set(splits) == {"train"}
    arrays = splits["train"].arrays
    chex.assert_shape(arrays["image"], (3, 10, 16, 18, 1))
    assert (arrays["semantic"][:2, 8:] == 255).all()
    assert (arrays["semantic"][:2, :, :, 16:] == 255).all()
    assert (arrays["image"][:2, 8:] == 0).all()
    # The last of five slices is the last two of ten.
    np.testing.assert_array_equal((arrays["semantic"][2] == 2).all((1, 2)), [False] * 8 + [True] * 2)
    np.testing.assert_allclose([arrays["image"][0, :8, :, :16].mean(), arrays["image"][2].std()], [0, 1], atol=1e-5)
    assert splits["train"].names.tolist() == ["images/0.npz", "images/1.npz", "images/2.npz"]
    assert splits["train"].class_names == ("0", "1", "2")
    # Voxels of 4, 2 and 2 mm halve each axis.
    coarse, spacing = volume_splits(folder, (4, 2, 2))
    chex.assert_shape(coarse["train"].arrays["image"], (3, 5, 8, 9, 1))
    assert spacing == (4, 2, 2)


@pytest.mark.covers("SG-19")
def test_a_folder_becomes_splits_with_names(folder, tmp_path):
    (folder / "classes.json").write_text('{"classes": ["air", "bone", "heart", "lung"]}')
    data = experiment.run(flags("--dataset=folder", f"--data_dir={folder}", "--valid_fraction=0.4")).load()
    assert len(data.train) + len(data.valid) == 3
    assert data.spec["class_names"] == ["air", "bone", "heart", "lung"]
    assert data.spec["image_shape"] == [8, 16, 16, 1]
    assert any("voxels of 2, 1, 1 mm" in note for note in data.notes)
    for split, name in (("training", "a"), ("val", "b"), ("other", "d")):
        pair(tmp_path / "splits" / split, f"{name}.npz", (1, 16, 16))
    (tmp_path / "splits" / "dev").touch()
    pair(tmp_path / "splits" / "test", "c.npz")
    splits, _ = volume_splits(tmp_path / "splits")
    assert {split: list(source.names) for split, source in splits.items()} == {
        "train": ["training/images/a.npz"],
        "valid": ["val/images/b.npz"],
        "test": ["test/images/c.npz"],
    }


def no_spacing(folder):
    scan(folder / "images" / "1.npz", spacing=None)


def zero_spacing(folder):
    scan(folder / "images" / "1.npz", spacing=(0, 1, 1))


def unknown_label(folder):
    (folder / "classes.json").write_text('{"classes": ["air", "bone", "heart"]}')
    labels(folder / "labels" / "1.npz", value=7)


def broken_label(folder):
    labels(folder / "labels" / "1.npz", value=0.5)


def other_size(folder):
    labels(folder / "labels" / "1.npz", (8, 16, 15))


def other_channels(folder):
    scan(folder / "images" / "1.npz", channels=(2,))


def unlabeled(folder):
    scan(folder / "images" / "9.npz")


def twins(folder):
    (folder / "images" / "1.nii").touch()


def without_scan(folder):
    labels(folder / "labels" / "9.npz")


def small(folder):
    pair(folder, "1.npz", (8, 16, 12))


def without_image(folder):
    np.savez(folder / "images" / "1.npz", spacing=np.ones(3))


def not_finite(folder):
    scan(folder / "images" / "1.npz", image=np.full((8, 16, 16), np.nan))


def five_axes(folder):
    scan(folder / "images" / "1.npz", channels=(1, 1))


def no_slice(folder):
    scan(folder / "images" / "1.npz", (0, 16, 16))


def only_background(folder):
    for i in range(3):
        np.savez(folder / "labels" / f"{i}.npz", labels=np.zeros((8, 16, 16)), spacing=np.array([2.0, 1, 1]))


def two_axes(folder):
    scan(folder / "images" / "1.npz", image=np.zeros((8, 16)))


def no_file(folder):
    (folder / "images" / "1.npz").write_bytes(b"")


def text(folder):
    (folder / "images" / "1.npz").write_text("<html>")


def letters(folder):
    scan(folder / "images" / "1.npz", image=np.full((8, 16, 16), "a"))


def complex_numbers(folder):
    scan(folder / "images" / "1.npz", image=np.ones((8, 16, 16), complex))


def worded_spacing(folder):
    np.savez(folder / "images" / "1.npz", image=np.zeros((8, 16, 16)), spacing=np.array(["a", "b", "c"]))


def classes_in_a_word(folder):
    (folder / "classes.json").write_text('{"classes": "abc"}')


def classes_cut_off(folder):
    (folder / "classes.json").write_text('{"classes": ')


def no_classes(folder):
    (folder / "classes.json").write_text("{}")


def one_class(folder):
    (folder / "classes.json").write_text('{"classes": ["air"]}')


def test_other_arrays_of_a_file_are_not_read(tmp_path):
    """Python objects would not be."""
    scan(tmp_path / "a.npz", patient=np.array([{"age": 60}]))
    chex.assert_shape(load_volume(tmp_path / "a.npz").values, (8, 16, 16))


@pytest.mark.covers("SG-19")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            no_spacing,
            r"images/1.npz: a volume without spacing, its voxels have the sides \(\); allowed: three positive",
        ),
        (
            zero_spacing,
            r"images/1.npz: a volume without spacing, its voxels have the sides \(0.0, 1.0, 1.0\); allowed: ",
        ),
        (unknown_label, r"labels/1.npz: label 7; allowed: 0 to 2, 255"),
        (broken_label, r"labels/1.npz: labels that are no classes; allowed: 0 to 255"),
        (other_size, r"labels/1.npz: labels \(8, 16, 15\); allowed: \(8, 16, 16\)"),
        (other_channels, r"images/1.npz has 2 channels; allowed: 1"),
        (unlabeled, r"images/9.npz: has no file of its name in labels; allowed: one of each"),
        (twins, r"images/1.nii: 1.npz has its name; allowed: each name once"),
        (without_scan, r"labels/9.npz: has no file of its name in images; allowed: one of each"),
        (small, r"window=8,16,16: larger than .*: images/1.npz of 8,16,12 voxels of 2, 1, 1 mm; allowed: sides up to"),
        (without_image, r"images/1.npz: holds no image; allowed: image and spacing"),
        (not_finite, r"images/1.npz: holds NaN or infinity; allowed: finite values"),
        (two_axes, r"images/1.npz: a volume \[8, 16\]; allowed: \[D, H, W\] or \[D, H, W, C\]"),
        (five_axes, r"images/1.npz: a volume \[8, 16, 16, 1, 1\]; allowed: \[D, H, W\] or \[D, H, W, C\]"),
        (no_slice, r"images/1.npz: a volume \[0, 16, 16\]; allowed: \[D, H, W\] or \[D, H, W, C\]"),
        (only_background, r"classes 0; allowed: the background and organs"),
        (no_file, r"images/1.npz: empty, damaged or no .npz; allowed: a whole file of arrays"),
        (text, r"images/1.npz: empty, damaged or no .npz; allowed: a whole file of arrays"),
        (letters, r"images/1.npz: a volume of <U1; allowed: real numbers"),
        (complex_numbers, r"images/1.npz: a volume of complex128; allowed: real numbers"),
        (worded_spacing, r"images/1.npz: a volume without spacing, its voxels have the sides \('a', 'b', 'c'\)"),
        (classes_cut_off, r"classes.json: is no .*JSONDecodeError"),
        (no_classes, r"classes.json: is no .*KeyError"),
        (classes_in_a_word, r"classes.json: is no .* is no list"),
        (one_class, r"classes air; allowed: the background and organs"),
    ],
)
def test_bad_files_are_refused_in_one_line(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ValueError, match=message) as error:
        experiment.run(flags("--dataset=folder", f"--data_dir={folder}")).load()
    assert "\n" not in str(error.value)


def test_folders_that_hold_no_scans_are_refused(tmp_path):
    with pytest.raises(ValueError, match="data_dir=None: missing; allowed: a folder of images/ and labels/"):
        experiment.run(flags("--dataset=folder")).load()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        volume_splits(tmp_path / "none")
    with pytest.raises(ValueError, match=r"holds no training scans; allowed: images/ and labels/"):
        volume_splits(tmp_path)
    scan(tmp_path / "images" / "a.npz")
    with pytest.raises(ValueError, match=r"labels: holds no volume; allowed: files .nii, .nii.gz, .npz"):
        volume_splits(tmp_path)
    with pytest.raises(ValueError, match=r"a.png: no volume; allowed: files .nii, .nii.gz, .npz"):
        load_volume(tmp_path / "a.png")


@pytest.mark.covers("SG-19")
def test_windows_must_fit_and_halve():
    with pytest.raises(
        ValueError, match="window=32,16,16: larger than planted organs of 16,24,24 voxels of 2, 1, 1 mm"
    ):
        experiment.run(flags("--window=32,16,16")).check()
    # Slices of 2 mm are halved by the second level alone: multiples of 2, 4, 4 with three widths.
    with pytest.raises(
        ValueError, match=r"window=8,18,16: cannot be halved as often as unet.widths asks; allowed: multi"
    ):
        experiment.run(flags("--window=8,18,16", "--unet.widths=4,8,8")).check()
    experiment.run(flags("--window=3,18,16", "--unet.widths=4,8")).check()


@pytest.mark.covers("SG-19")
def test_label_maps_of_own_scans_have_their_size(tmp_path):
    """A scan of 4 slices of 4 mm is read as 8 of 2 mm; the labels of every second slice are written."""
    scan(tmp_path / "in" / "a.npz", (4, 16, 16), (4, 1, 1))
    scan(tmp_path / "in" / "b.npz", (9, 16, 16))
    spec = {"spacing": [2, 1, 1], "image_shape": [16, 24, 24, 1], "class_names": ["air", "bone", "heart"]}
    words = flags(f"--input={tmp_path / 'in'}", settings=MODE.settings)
    source, names = inputs_of(experiment, words, spec)
    assert source.arrays["size"].tolist() == [[8, 16, 16], [9, 16, 16]]
    chex.assert_shape(source.arrays["image"], (2, 9, 16, 16, 1))
    classes = np.zeros((2, 9, 16, 16), np.uint8)
    classes[0, 2:4], classes[0, 8] = 2, 1  # slices 2 and 3 are slice 1 of the file; slice 8 is padding
    outputs = {"classes": classes, "size": source.arrays["size"]}
    rows = experiment.use.describe(outputs, Facts.of(spec))
    # 2 * 256 voxels of 2 mm^3.
    assert rows[0] == {"volumes": {"bone": 0, "heart": 1024}, "text": "bone 0 mm³  heart 1024 mm³"}
    files = experiment.use.write(tmp_path / "out", outputs, source, names, Facts.of(spec))
    assert [file.name for file in files] == ["a_labels.npy", "b_labels.npy"]
    expected = np.zeros((4, 16, 16), np.uint8)
    expected[1] = 2
    np.testing.assert_array_equal(np.load(files[0]), expected)
    scan(tmp_path / "in" / "c.npz", (9, 16, 8))
    with pytest.raises(ValueError, match=r"window=8,16,16: larger than .*c.npz of 9,16,8 voxels of 2, 1, 1 mm"):
        inputs_of(experiment, words, spec)
    scan(tmp_path / "in" / "c.npz", image=np.full((9, 16, 16), np.nan))
    with pytest.raises(ValueError, match=r"c.npz: holds NaN or infinity; allowed: finite values"):
        inputs_of(experiment, words, spec)
    scan(tmp_path / "in" / "c.npz", channels=(2,))
    with pytest.raises(ValueError, match=r"c.npz: 2 channels; allowed: 1, as in training"):
        inputs_of(experiment, words, spec)


def test_resampling_by_hand():
    """Voxel centers 0.5 and 1.5 of two become 0.25, 0.75, 1.25 and 1.75 of four, in units of the old voxels."""
    values = np.array([0.0, 4.0]).reshape(2, 1, 1)
    np.testing.assert_allclose(resample(values, (4, 1, 1))[:, 0, 0], [0, 1, 3, 4])
    assert resample(values, (4, 1, 1), nearest=True)[:, 0, 0].tolist() == [0, 0, 4, 4]
    assert (resample(values, (4, 1, 1)).dtype, resample(values, (2, 1, 1)).dtype) == (np.float32, np.float32)
    assert resample(values.astype(np.uint8), (4, 1, 1), nearest=True).dtype == np.uint8
    np.testing.assert_array_equal(pad_volumes([values, values[:1]], 9)[:, :, 0, 0], [[0, 4], [0, 9]])
    assert [stem(name) for name in ("a/b.nii.gz", "b.nii", "b.c.npz")] == ["b", "b", "b.c"]


@pytest.mark.covers("SG-19")
def test_the_size_at_another_spacing_by_hand():
    """Slices of 2.5 mm and pixels of 1 mm; a side has at least one voxel."""
    volume = Volume(np.zeros((4, 10, 7)), (2.5, 1.0, 1.0))
    assert size_at(volume, (1.0, 2.0, 2.0)) == (10, 5, 4)
    assert size_at(volume, (30.0, 1.0, 0.5)) == (1, 10, 14)


def test_the_loss_of_equal_probabilities():
    """Half of the voxels are background: log 2, and Dice 2 * 1/4 / (1/2 + 1/2) = 1/2 of both classes, twice 1/2.

    Of three classes with 1/5, 3/10 and 1/2 the Dice is 2 f / 3 / (1/3 + f): 1/4, 6/19 and 2/5.
    """

    def loss(*fractions):
        flags = resolve(experiment, ["--dice_weight=2"])
        return experiment.sanity.expected_loss(experiment.run(flags, {"class_fractions": list(fractions)}))

    assert loss(0.5, 0.5) == pytest.approx(np.log(2) + 2 * 0.5)
    assert loss(0.2, 0.3, 0.5) == pytest.approx(np.log(3) + 2 * (1 - (0.25 + 6 / 19 + 0.4) / 3))


def test_nibabel_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    needs = "a.nii.gz needs nibabel, which is not installed: pip install -e '.[volumes]' in a checkout of dlcore"
    (tmp_path / "a.nii.gz").write_bytes(b"")
    for call in (load_volume, lambda path: save_labels(tmp_path / "b", np.zeros((1, 1, 1), np.uint8), path)):
        with pytest.raises(MissingPackage, match=re.escape(needs)):
            call(tmp_path / "a.nii.gz")


# NIfTI


def nifti(path, unit="mm", channels=()):
    """Write voxels [x, y, z] whose first axis runs from right to left and whose second runs up; z runs backwards."""
    nibabel = pytest.importorskip("nibabel")
    values = np.arange(2 * 3 * 4 * int(np.prod(channels)), dtype=np.int16).reshape(2, 3, 4, *channels)
    affine = np.array([[-1.0, 0, 0, 5], [0, 0, -3.0, 6], [0, 2.0, 0, 7], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return values


@pytest.mark.covers("SG-19")
def test_nifti_is_read_with_its_axes_and_units(tmp_path):
    values = nifti(tmp_path / "a.nii.gz")
    volume = load_volume(tmp_path / "a.nii.gz")
    # Depth is the second axis (2 mm), height the third reversed (3 mm), width the first reversed (1 mm).
    assert volume.spacing == (2, 3, 1)
    np.testing.assert_array_equal(volume.values, values[::-1, :, ::-1].transpose(1, 2, 0))
    nifti(tmp_path / "b.nii", "micron", (2,))
    volume = load_volume(tmp_path / "b.nii")
    np.testing.assert_allclose(volume.spacing, (0.002, 0.003, 0.001))
    chex.assert_shape(volume.values, (3, 4, 2, 2))
    for unit, millimeters in (("meter", 1000), ("unknown", 1)):
        nifti(tmp_path / "c.nii", unit)
        np.testing.assert_allclose(load_volume(tmp_path / "c.nii").spacing, np.array([2, 3, 1]) * millimeters)


@pytest.mark.covers("SG-19")
def test_labels_are_written_with_the_axes_of_the_scan(tmp_path):
    values = nifti(tmp_path / "a.nii.gz")
    file = save_labels(tmp_path / "a_labels", load_volume(tmp_path / "a.nii.gz").values, tmp_path / "a.nii.gz")
    assert file.name == "a_labels.nii.gz"
    nibabel = pytest.importorskip("nibabel")
    scan, written = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(file)
    np.testing.assert_array_equal(np.asarray(written.dataobj), values)
    np.testing.assert_allclose(written.affine, scan.affine)
    assert written.get_data_dtype() == np.uint8
    assert written.header.get_xyzt_units()[0] == "mm"


@pytest.mark.covers("SG-19")
def test_a_nifti_file_without_spacing_is_refused(tmp_path):
    """pixdim are eight float32 at byte 76 of the header; those of the axes are the second to the fourth."""
    nifti(tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    assert np.frombuffer(data, "<f4", 8, 76)[1:4].tolist() == [1, 2, 3]
    data[84:88] = bytes(4)
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(
        ValueError, match=r"a.nii: a volume without spacing, .* \(3.0, 0.0, 1.0\); allowed: three positive"
    ):
        load_volume(tmp_path / "a.nii")
    (tmp_path / "b.nii").write_bytes(b"no header")
    with pytest.raises(ValueError, match=r"b.nii: cannot be read \(.*\); allowed: a file of NIfTI"):
        load_volume(tmp_path / "b.nii")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_file_that_was_cut_is_named(tmp_path, ending):
    nifti(tmp_path / f"a{ending}")
    data = (tmp_path / f"a{ending}").read_bytes()
    (tmp_path / f"b{ending}").write_bytes(data[: -10 if ending == ".nii" else -20])
    with pytest.raises(ValueError, match=rf"b{ending}: (cut off or damaged|cannot be read) \(.*\); allowed") as error:
        load_volume(tmp_path / f"b{ending}")
    assert "\n" not in str(error.value)


def test_a_nifti_file_with_a_singular_affine_is_named(tmp_path):
    """sform_code is int16 at byte 254, the rows of the affine are twelve float32 at byte 280."""
    nifti(tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[252:256], data[280:328] = bytes([0, 0, 1, 0]), np.diag([1, 1, 0, 1])[:3].astype("<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(ValueError, match=r"a.nii: an affine without an inverse; allowed: one that tells"):
        load_volume(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("affine", "axes"),
    [
        (np.diag([-1.0, -1, 1, 1]), "LPS"),
        (np.eye(4) + 2 * np.eye(4, k=3), "RAS"),
        (np.eye(4), None),
        (np.diag([1.17, 1.17, 1.17, 1]), None),
    ],
)
def test_labels_lie_where_their_scan_lies(tmp_path, affine, axes):
    """Labels that a tool saved without the scan's affine would be turned or moved against it.

    With voxels of 1.17 mm for 1 mm the last one, number (2, 3, 4), lies 0.17 * 5.39 = 0.92 mm off: less than a voxel.
    """
    nibabel = pytest.importorskip("nibabel")
    for kind, matrix in (("images", np.eye(4)), ("labels", affine)):
        (tmp_path / kind).mkdir()
        values = (np.arange(60).reshape(3, 4, 5) % 2).astype(np.int16)
        values = np.stack([values, values], -1) if kind == "images" else values
        nibabel.save(nibabel.Nifti1Image(values, matrix), tmp_path / kind / "a.nii")
    if axes is None:
        assert len(volume_splits(tmp_path)[0]["train"]) == 1
        return
    with pytest.raises(ValueError, match=rf"a.nii: its voxels lie up to .* away from .*\(axes {axes}, the scan's RAS"):
        volume_splits(tmp_path)


def test_hidden_files_are_no_volumes_and_capitals_are(tmp_path):
    for name in ("a.NII.GZ", "._a.nii.gz", "b.NPZ"):
        (tmp_path / name).touch()
    assert [stem(path) for path in list_volumes(tmp_path)] == ["a", "b"]


def test_a_folder_without_volumes_is_refused(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(FileNotFoundError, match=r"holds no volume; allowed: files .nii, .nii.gz, .npz"):
        list_volumes(tmp_path)

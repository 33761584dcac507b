import gc
import io
import json
import threading
import time
import zipfile

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data.augment import channel_statistics
from dlcore.data.bank_and_queries import bank_and_queries
from dlcore.data.carving import split_validation
from dlcore.data.decoding import decode_box, random_box
from dlcore.data.image_classification import folder_splits, load
from dlcore.data.image_headers import default_crop_pct, take_evenly
from dlcore.data.pipeline import Pipeline, padded_batches
from dlcore.data.prefetch import prefetch
from dlcore.data.source import Source, join, shuffle_labels
from dlcore.data.streaming import StreamedImages, random_crops, sample_of, streamed_images, streaming_note
from dlcore.data.workers import Workers

COUNT = 23


def encoded(pixels, form="JPEG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def pictures():
    """JPEGs of several sizes; the mean color of number i is near 10 i."""
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        yield encoded(
            (rng.integers(-30, 31, (*rng.integers(20, 50, 2), 3)) + 10 * i + 15).clip(0, 255).astype(np.uint8)
        )


DATA = list(pictures())


def source(workers=0, crop=None, data=DATA, **fields):
    images = StreamedImages(
        data.__getitem__,
        "picture {}".format,
        np.arange(len(data)),
        (16, 12),
        crop=crop,
        workers=Workers(workers),
        **fields,
    )
    return Source({"image": images, "label": np.arange(len(data), dtype=np.int32) % 3}, name="pictures")


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert a[key].dtype == b[key].dtype
        np.testing.assert_array_equal(a[key], b[key])


# What an array does


def test_it_is_indexed_like_an_array_of_uint8():
    images = source().arrays["image"]
    assert (images.shape, images.dtype, images.ndim, len(images)) == ((COUNT, 16, 12, 3), np.uint8, 4, COUNT)
    everything = images[:]
    assert (everything.shape, everything.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(images[5], everything[5])
    np.testing.assert_array_equal(images[-1], everything[-1])
    np.testing.assert_array_equal(images[[7, 0, 7]], everything[[7, 0, 7]])
    np.testing.assert_array_equal(images[3:9:2], everything[3:9:2])
    np.testing.assert_array_equal(images[np.arange(COUNT) > 19], everything[20:])
    chex.assert_shape(images[np.array([], int)], (0, 16, 12, 3))
    levels = everything.mean((1, 2, 3))
    assert (np.diff(levels) > 5).all()
    with pytest.raises(ValueError, match="23 images stay on disk"):
        np.asarray(images)


def test_sources_split_subset_join_and_shuffle_without_reading():
    def refuse(record):
        raise AssertionError("read")

    images = StreamedImages(refuse, str, np.arange(COUNT), (16, 12), workers=Workers(0))
    data = Source({"image": images, "label": np.arange(COUNT) % 3}, name="pictures")
    train, valid = split_validation(data, 0.3, 0)
    both = join(train, valid)
    assert (len(train), len(valid), len(both)) == (16, 7, COUNT)
    assert len(data.take(5)) == 5
    shuffle_labels(data, 0)
    bank_and_queries(train, valid, 4)
    assert sorted([*train.arrays["image"].records, *valid.arrays["image"].records]) == list(range(COUNT))


def test_parts_hold_the_images_that_belong_to_them():
    data = source()
    whole = data.arrays["image"][:]
    part = data.subset([5, 7, 2]).subset([2, 0])
    np.testing.assert_array_equal(part[[0, 1]]["image"], whole[[2, 5]])
    np.testing.assert_array_equal(part.arrays["label"], [2, 2])
    np.testing.assert_array_equal(part[[0, 1]]["index"], [0, 1])
    joined = join(data.subset([4, 8]), source(data=DATA[::-1]).subset([1, 0, 3]))
    np.testing.assert_array_equal(joined.arrays["image"][:], whole[[4, 8, COUNT - 2, COUNT - 1, COUNT - 4]])
    again = join(joined.subset([3, 0]), joined.subset([1]))
    np.testing.assert_array_equal(again.arrays["image"][:], whole[[COUNT - 1, 4, 8]])
    bank = bank_and_queries(data, data.subset([1, 2]), 3, seed=0)
    np.testing.assert_array_equal(bank[[3, 4]]["image"], whole[[1, 2]])
    chosen = np.sort(np.random.default_rng((0, 3)).permutation(COUNT)[:3])
    assert chosen.tolist() != [0, 1, 2]
    np.testing.assert_array_equal(bank[[0, 1, 2]]["image"], whole[chosen])


# The contract of a pipeline


@pytest.mark.covers("SY-12")
@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_resumed_pipeline_gives_the_batches_of_an_uninterrupted_one(workers, processes):
    crop = (0.2, 1.0)
    whole = Pipeline(source(0, crop), 8, seed=3)
    uninterrupted = [whole.batch_at(step) for step in range(9)]
    parts = [Pipeline(source(workers, crop), 8, 3, True, p, processes) for p in range(processes)]
    first = 4
    with_stop = [prefetch(part.batch_at, first, 9) for part in parts]
    for step in range(first, 9):
        rows = []
        for part in with_stop:
            found, batch = next(part)
            assert found == step
            rows.append(batch)
        same({key: np.concatenate([row[key] for row in rows]) for key in rows[0]}, uninterrupted[step])
    for part in with_stop:
        part.close()
    assert all(part.settings == whole.settings for part in parts)


def test_a_process_decodes_its_rows_alone():
    read = []
    data = [*DATA]
    images = StreamedImages(
        lambda r: read.append(r) or data[r], str, np.arange(COUNT), (16, 12), crop=(0.2, 1.0), workers=Workers(2)
    )
    whole = Pipeline(source(), 8, seed=3).batch_at(1)["index"]
    for process in range(2):
        read.clear()
        Pipeline(Source({"image": images}), 8, 3, True, process, 2).batch_at(1)
        assert sorted(read) == sorted(whole[4 * process : 4 * process + 4])


def test_crops_are_drawn_by_seed_epoch_and_example():
    def drawn(seed=3, batch_size=COUNT, epochs=2):
        pipeline = Pipeline(source(2, (0.1, 0.6)), batch_size, seed)
        batches = [pipeline.batch_at(step) for step in range(epochs * COUNT // batch_size)]
        index = np.concatenate([b["index"] for b in batches]).reshape(epochs, -1)
        images = np.concatenate([b["image"] for b in batches]).reshape(epochs, COUNT, 16, 12, 3)
        return [images[e][np.argsort(index[e])] for e in range(epochs)]

    first, second = drawn()
    one_by_one = drawn(batch_size=1)
    np.testing.assert_array_equal(first, one_by_one[0])
    np.testing.assert_array_equal(second, one_by_one[1])
    other = drawn(seed=4)[0]
    center = source().arrays["image"][:]
    for a, b in ((first, second), (first, other), (first, center)):
        assert ((a != b).any((1, 2, 3))).all()
    # The crops are of the right images: a JPEG's mean color stays that of its number.
    assert np.abs(first.mean((1, 2, 3)) - center.mean((1, 2, 3))).max() < 8


def test_half_of_the_boxes_are_mirrored():
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (40, 1, 3))
    data = Pipeline(source(2, (0.5, 1.0), data=[encoded(ramp)] * 200), 200).batch_at(0)["image"].astype(int)
    falls = data[:, :, -1].mean((1, 2)) < data[:, :, 0].mean((1, 2))
    # 200 fair coins: 100, give or take four standard deviations of sqrt(200) / 2 = 7.1.
    assert 72 <= falls.sum() <= 128


def test_the_share_that_a_center_crop_keeps():
    assert default_crop_pct({(8, 8)}, (8, 8)) == default_crop_pct({(8, 6)}, (8, 8)) == 1.0
    for sizes in ({(9, 8)}, {(8, 8), (8, 7)}, set()):
        assert default_crop_pct(sizes, (8, 8)) == 0.875


def test_measuring_takes_the_center_whatever_training_draws():
    train = source(2, (0.1, 0.6))
    center = source().arrays["image"][:]
    np.testing.assert_array_equal(train.arrays["image"][:], center)
    batches = list(padded_batches(train, 8))
    assert [batch["mask"].sum() for batch in batches] == [8, 8, 7]
    np.testing.assert_array_equal(np.concatenate([b["image"] for b in batches])[:COUNT], center)
    np.testing.assert_array_equal(batches[-1]["image"][-1], center[0])
    plain = Pipeline(source(2), 8, seed=1).batch_at(2)
    np.testing.assert_array_equal(plain["image"], center[plain["index"]])


def test_settings_hold_size_crop_and_decoder():
    def settings(crop=None, **fields):
        return json.loads(json.dumps(Pipeline(source(0, crop, **fields), 4).settings))

    assert settings()["image"] == {"size": [16, 12], "crop_pct": 0.875, "crop": None, "decoder": "pillow"}
    assert settings((0.1, 1.0)) != settings() != settings(crop_pct=1.0)
    assert Pipeline(source(0), 4).settings == Pipeline(source(3), 4).settings


def test_host_transforms_come_after_the_crop_and_draw_other_numbers():
    numbers = []

    def note(example, rng):
        numbers.append(rng.uniform())
        return example

    pipeline = Pipeline(source(0, (0.1, 0.6)), 4, 5, transform=note)
    batch = pipeline.batch_at(0)
    index = int(batch["index"][0])
    assert numbers[0] == np.random.default_rng((5, 0, index)).uniform()
    rng = np.random.default_rng((5, 0, index, 1))

    def find(height, width):
        return random_box(rng, height, width, (0.1, 0.6))._replace(mirrored=bool(rng.random() < 0.5))

    np.testing.assert_array_equal(batch["image"][0], decode_box(DATA[index], find, (16, 12)))


def test_random_crops_and_device_data_are_for_one_kind_each():
    cropped = random_crops(source(), (0.3, 0.9))
    assert streamed_images(cropped).crop == (0.3, 0.9)
    assert streamed_images(source()).crop is None
    in_memory = Source({"image": np.zeros((4, 2, 2, 3), np.uint8)}, name="small")
    assert streamed_images(in_memory) is None


# Workers


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_damaged_image_is_an_error_that_names_it(workers):
    data = [*DATA]
    data[9] = data[9][: len(data[9]) // 2]
    bad = source(workers, data=data)
    with pytest.raises(ValueError, match=r"picture 9 cannot be read as an image \(.*[Tt]runcated"):
        bad.arrays["image"][:]
    chex.assert_shape(bad.arrays["image"][10:12], (2, 16, 12, 3))
    batches = prefetch(Pipeline(bad, 4, shuffle=False).batch_at, 0, None)
    assert [next(batches)[0], next(batches)[0]] == [0, 1]
    with pytest.raises(ValueError, match="picture 9"):
        next(batches)
    assert list(batches) == []


def test_nothing_more_is_read_after_an_error():
    read = []

    def refuse(record):
        read.append(record)
        raise OSError("the disk is gone")

    images = StreamedImages(refuse, str, np.arange(100), (8, 8), workers=Workers(2))
    with pytest.raises(ValueError, match="the disk is gone"):
        images[:]
    assert len(read) <= 2


def test_an_image_that_cannot_be_read_is_named_too(tmp_path):
    def gone(record):
        return (tmp_path / str(record)).read_bytes()

    images = StreamedImages(gone, "file {}".format, np.array([4, 6]), (8, 8), workers=Workers(2))
    with pytest.raises(ValueError, match=r"file [46] cannot be read.*No such file"):
        images[:]


@pytest.mark.slow
def test_workers_work_at_once_and_end_with_their_images():
    together = threading.Barrier(3, timeout=5)

    def read(record):
        together.wait()
        return DATA[record]

    images = StreamedImages(read, str, np.arange(6), (8, 8), workers=Workers(3))
    images[:]
    assert [t for t in threading.enumerate() if t.name.startswith("dlcore-decode")]
    del images
    gc.collect()
    end = time.monotonic() + 5
    while [t for t in threading.enumerate() if t.name.startswith("dlcore-decode")] and time.monotonic() < end:
        time.sleep(0.01)
    assert not [t for t in threading.enumerate() if t.name.startswith("dlcore-decode")]


def test_several_threads_may_ask_at_once():
    data = source(2, (0.2, 1.0))
    pipeline = Pipeline(data, 6, seed=1)
    expected = [Pipeline(source(0, (0.2, 1.0)), 6, seed=1).batch_at(step) for step in range(9)]
    found = {}
    threads = [
        threading.Thread(target=lambda k=k: found.update({s: pipeline.batch_at(s) for s in range(k, 9, 3)}))
        for k in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for step in range(9):
        same(found[step], expected[step])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="workers=-1"):
        Workers(-1)
    assert Workers().count >= 1
    for crop in ((0, 1), (0.5, 1.5)):
        with pytest.raises(ValueError, match=rf"crop=\({crop[0]}, {crop[1]}\)"):
            source(crop=crop)
    with pytest.raises(ValueError, match=r"crop_pct=1\.5"):
        source(crop_pct=1.5)


# Statistics and notes


def test_statistics_are_those_of_examples_at_equal_distances():
    assert take_evenly(range(10), 4) == [0, 3, 6, 9]
    assert take_evenly("abc", 5) == ["a", "b", "c"]
    assert take_evenly([], 3) == []
    data = source(2, (0.1, 0.6))
    part = sample_of(data, 4)
    rows = [0, 7, 14, 22]
    np.testing.assert_array_equal(part.arrays["image"], source().arrays["image"][rows])
    np.testing.assert_array_equal(part.arrays["label"], np.array(rows) % 3)
    mean, std = channel_statistics(sample_of(data))
    pixels = source().arrays["image"][:].reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(std, pixels.std(0), rtol=1e-5)
    note = streaming_note("x", 6 * 2**30, 4 * 2**30, (8, 8, 3), Workers(3))
    assert note.startswith("x: decoded at (8, 8, 3) its images take 6.0 GiB, more than 4")
    assert "in 3 threads" in note
    note = streaming_note("x", 2**30 - 2**19, 3 * 2**18, (8, 8, 3), Workers(0))
    assert (
        "take 1023.5 MiB, more than 0.75; they stay on disk and are decoded when needed, in the calling thread" in note
    )
    assert "take 1.0 GiB, more than 0.5;" in streaming_note("x", 2**30, 2**29, (8, 8, 3), Workers(0))


# Folders


@pytest.fixture
def pets(tmp_path):
    for split, count in (("train", 14), ("val", 6)):
        for i in range(count):
            file = tmp_path / split / ("cat", "dog")[i % 2] / f"{i:02}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(DATA[i])
    return tmp_path


def test_a_folder_that_does_not_fit_is_streamed(pets):
    small = {"seed": 1, "valid_fraction": 0.2, "image_size": 16}
    held = load("folder", pets, **small)
    splits = load("folder", pets, **small, limit_bytes=20 * 16 * 16 * 3 - 1, workers=Workers(2))
    assert streamed_images(held.train) is None
    assert load("folder", pets, **small, limit_bytes=20 * 16 * 16 * 3, workers=Workers(2)).notes == held.notes
    assert any("stay on disk" in note for note in splits.notes)
    assert splits.image_shape == (16, 16, 3)
    for ours, theirs in zip(splits[:3], held[:3], strict=True):
        assert streamed_images(ours) is not None
        assert (ours.name, ours.class_names) == (theirs.name, theirs.class_names)
        np.testing.assert_array_equal(ours.arrays["label"], theirs.arrays["label"])
        colors = ours.arrays["image"][:].mean((1, 2, 3)), theirs.arrays["image"].mean((1, 2, 3))
        np.testing.assert_allclose(*colors, atol=4)


def test_a_zip_that_does_not_fit_is_streamed_alike(pets, tmp_path_factory):
    file = tmp_path_factory.mktemp("zipped") / "pets.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for image in sorted(pets.rglob("*.jpg")):
            archive.write(image, image.relative_to(pets))
    options = {"image_size": 16, "limit_bytes": 0, "workers": Workers(2)}
    for ours, theirs in zip(load("folder", file, **options)[:3], load("folder", pets, **options)[:3], strict=True):
        same(ours[:], theirs[:])


def test_streamed_images_of_one_size_are_not_scaled(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
    for i, image in enumerate(pixels):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[i % 2] / f"{i}.png").write_bytes(encoded(image, "PNG"))
    splits = load("folder", tmp_path, limit_bytes=0, workers=Workers(0))
    images = np.concatenate([part.arrays["image"][:] for part in splits[:3]])
    order = [np.flatnonzero((pixels == image).all((1, 2, 3))).item() for image in images]
    assert sorted(order) == list(range(8))


def test_damaged_files_of_a_streamed_folder_are_named_or_left_out(pets):
    bad = pets / "train" / "cat" / "04.jpg"
    bad.write_bytes(bad.read_bytes()[:-200])
    options = {"image_size": 16, "limit_bytes": 0, "workers": Workers(1)}
    splits = load("folder", pets, **options)
    with pytest.raises(ValueError, match=r"train/cat/04\.jpg cannot be read"):
        join(splits.train, splits.valid).arrays["image"][:]
    splits = load("folder", pets, skip_bad=True, **options)
    assert len(splits.train) + len(splits.valid) == 13
    assert any("1 of 14 files could not be read" in note for note in splits.notes)
    for part in splits[:3]:
        part.arrays["image"][:]


@pytest.mark.parametrize("is_zip", [False, True])
def test_a_streamed_file_that_cannot_be_read_may_be_left_out(tmp_path, is_zip):
    """Its header is whole, its pixels are cut off, which is found when they are decoded."""
    for name in ("cat/0.jpg", "dog/0.jpg", "dog/1.jpg"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(DATA[0] if name != "dog/1.jpg" else DATA[0][:-300])
    path = tmp_path / "pets"
    if is_zip:
        path = tmp_path / "pets.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted((tmp_path / "pets").rglob("*.jpg")):
                archive.write(file, file.relative_to(tmp_path / "pets"))
    for skip_bad, count in ((False, 3), (True, 2)):
        splits = folder_splits(path, 16, limit_bytes=0, skip_bad=skip_bad, workers=Workers(2))
        images = splits["all"].arrays["image"]
        assert isinstance(images, StreamedImages)
        assert len(images) == count
        chex.assert_shape(images[[0, 1]], (2, 16, 16, 3))
        if not skip_bad:
            with pytest.raises(ValueError, match=r"dog/1.jpg cannot be read as an image .*; remove it, or leave such"):
                images[2]

"""Readers of video data sets on small fake trees: classes, splits, times, boxes and sentences, by hand."""

import struct

import chex
import numpy as np
import pytest

from dlcore.data.video_datasets import labeled_videos, read_video_dataset
from dlcore.data.youtube8m import read_youtube8m


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def ucf101(root):
    classes = "".join(f"{i + 1} Class{i:03}\n" for i in range(101))
    return write(
        root,
        {
            "ucfTrainTestlist/classInd.txt": classes,
            "ucfTrainTestlist/trainlist01.txt": "Class000/v_g08_c01.avi 1\nClass100/v_g09_c02.avi 101\n",
            "ucfTrainTestlist/testlist01.txt": "Class100/v_g01_c01.avi\n",
            "UCF-101/Class000/v_g08_c01.avi": "",
            "UCF-101/Class100/v_g09_c02.avi": "",
            "UCF-101/Class100/v_g01_c01.avi": "",
        },
    )


@pytest.mark.covers("VD-15")
def test_ucf101(tmp_path):
    data = read_video_dataset("ucf101", ucf101(tmp_path))
    assert len(data.class_names) == 101
    assert [(a.name, a.labels) for a in data.splits["train"]] == [
        ("Class000/v_g08_c01.avi", (0,)),
        ("Class100/v_g09_c02.avi", (100,)),
    ]
    (test,) = labeled_videos(data)["test"]
    assert (test.label, test.path) == (100, tmp_path / "UCF-101/Class100/v_g01_c01.avi")
    assert data.notes == ()


@pytest.mark.covers("VD-15")
def test_sports1m_leaves_out_and_counts_videos_that_are_gone(tmp_path):
    write(
        tmp_path,
        {
            "labels.txt": "".join(f"sport {i}\n" for i in range(487)),
            "original/train_partition.txt": "http://www.youtube.com/watch?v=abcdefghij0 441,486\n"
            "http://www.youtube.com/watch?v=a-c_efghij1 3\n",
            "original/test_partition.txt": "http://www.youtube.com/watch?v=abcdefghij2 0\n",
            "videos/abcdefghij0.mp4": "",
            "videos/abcdefghij2.mp4": "",
        },
    )
    data = read_video_dataset("sports1m", tmp_path)
    assert len(data.class_names) == 487
    assert [(a.name, a.labels) for a in data.splits["train"]] == [("abcdefghij0", (441, 486))]
    assert data.notes == ("sports1m, train: 1 of 2 videos are not there and are left out",)


@pytest.mark.covers("VD-15")
def test_charades_has_times(tmp_path):
    header = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
    write(
        tmp_path,
        {
            "Charades_v1_classes.txt": "".join(f"c{i:03} Doing thing {i}\n" for i in range(157)),
            "Charades_v1_train.csv": header
            + 'ABC12,S1,Home,6,7,Yes,"a, b",x,d,c092 11.90 21.20;c147 0.00 12.60,24.83\n',
            "Charades_v1_test.csv": header
            + "DEF34,S2,Home,6,7,Yes,a,x,d,c000 1.00 2.00,9\nGHI56,S2,H,6,7,Yes,a,x,d,,9\n",
            "Charades_v1/ABC12.mp4": "",
            "Charades_v1/DEF34.mp4": "",
        },
    )
    data = read_video_dataset("charades", tmp_path)
    assert len(data.class_names) == 157
    assert [(a.labels, a.seconds) for a in data.splits["train"]] == [((92,), (11.9, 21.2)), ((147,), (0.0, 12.6))]
    assert [a.name for a in data.splits["test"]] == ["DEF34"]


@pytest.mark.covers("VD-15")
def test_ava_has_boxes_and_several_actions(tmp_path):
    labels = "".join(
        f'label {{\n  name: "action {i}"\n  label_id: {i}\n  label_type: PERSON_MOVEMENT\n}}\n' for i in range(1, 81)
    )
    box = "0.1,0.2,0.5,0.9"
    write(
        tmp_path,
        {
            "ava_action_list_v2.2.pbtxt": labels,
            "videos/vid1.json": "",
            "ava_train_v2.2.csv": f"vid1,0902,{box},12,0\nvid1,0902,{box},80,0\nvid1,0903,{box},1,0\nvid1,0904,,,,,,\n",
            "ava_val_v2.2.csv": f"vid2,0904,{box},3,1\n",
            "videos/vid1.mkv": "",
            "videos/vid2.mp4": "",
        },
    )
    data = read_video_dataset("ava", tmp_path)
    assert len(data.class_names) == 80
    first, second = data.splits["train"]
    assert (first.labels, first.seconds, first.box) == ((11, 79), (900.5, 903.5), (0.1, 0.2, 0.5, 0.9))
    assert (first.path.name, second.labels) == ("vid1.mkv", (0,))
    assert data.splits["valid"][0].labels == (2,)


@pytest.mark.covers("VD-15")
def test_moments_in_time(tmp_path):
    names = [f"moment+{i}" for i in range(339)]
    write(
        tmp_path,
        {
            "moments_categories.txt": "".join(f"{name},{i}\n" for i, name in enumerate(names)),
            "trainingSet.csv": "moment+5/a.mp4,moment+5,3,0\n",
            "validationSet.csv": "moment+338/b.mp4,moment+338\n",
            "training/moment+5/a.mp4": "",
            "validation/moment+338/b.mp4": "",
        },
    )
    data = read_video_dataset("moments_in_time", tmp_path)
    assert data.class_names == tuple(names)
    assert [data.splits[split][0].labels for split in ("train", "valid")] == [(5,), (338,)]


@pytest.mark.covers("VD-15")
def test_films_have_sentences(tmp_path):
    clips = [f"0001_American_Beauty_00.00.5{i}.926-00.00.54.129" for i in range(3)]
    mpii, lsmdc, mvad = tmp_path / "mpii", tmp_path / "lsmdc", tmp_path / "mvad"
    write(
        mpii,
        {
            "dataSplit.txt": "0001_American_Beauty\ttraining\n",
            "annotations-someone.csv": f"{clips[0]}\tSomeone smiles.\n{clips[1]}\tThey walk, and sit.\n",
            f"jpgAllFrames/0001_American_Beauty/{clips[0]}/0001.jpg": "",
            f"avi/0001_American_Beauty/{clips[1]}.avi": "",
        },
    )
    data = read_video_dataset("mpii_md", mpii)
    assert [a.sentence for a in data.splits["train"]] == ["Someone smiles.", "They walk, and sit."]
    assert data.splits["train"][0].path.is_dir()
    times = "\t".join(["00.00.51.926"] * 4)
    parts = zip(("training", "val", "test"), clips, strict=True)
    write(lsmdc, {f"LSMDC16_annos_{part}.csv": f"{clip}\t{times}\tSOMEONE runs.\n" for part, clip in parts})
    write(lsmdc, {f"0001_American_Beauty/{clip}.avi": "" for clip in clips})
    data = read_video_dataset("lsmdc", lsmdc)
    assert {split: [a.name for a in group] for split, group in data.splits.items()} == {
        "train": clips[:1],
        "valid": clips[1:2],
        "test": clips[2:],
    }
    lists = {
        f"{split}List.txt": f"21_JUMP_DVS{i}.avi\tHe {i} jumps.\n" for i, split in enumerate(("Train", "Valid", "Test"))
    }
    write(mvad, {**lists, **{f"21_JUMP/video/21_JUMP_DVS{i}.avi": "" for i in range(3)}})
    data = read_video_dataset("mvad", mvad)
    assert [group[0].sentence for group in data.splits.values()] == ["He 0 jumps.", "He 1 jumps.", "He 2 jumps."]
    with pytest.raises(ValueError, match="sentences describe its videos"):
        labeled_videos(data)


def tfrecord(*examples):
    return b"".join(struct.pack("<Q", len(e)) + b"\0" * 4 + e + b"\0" * 4 for e in examples)


@pytest.mark.covers("VD-15")
def test_youtube8m_has_features(tmp_path):
    from tensorflow_datasets.proto import tf_example_generated_pb2

    example = tf_example_generated_pb2.Example()
    feature = example.features.feature
    feature["id"].bytes_list.value.append(b"eXbF")
    feature["labels"].int64_list.value.extend([0, 12, 3861])
    feature["mean_rgb"].float_list.value.extend(np.arange(1024) / 4)
    feature["mean_audio"].float_list.value.extend(np.arange(128))
    data = tfrecord(example.SerializeToString(), example.SerializeToString())
    (tmp_path / "train00.tfrecord").write_bytes(data)
    source = read_youtube8m(tmp_path)
    assert (source.names.tolist(), source.name) == (["eXbF", "eXbF"], "YouTube-8M, train")
    assert np.flatnonzero(source.arrays["labels"][1]).tolist() == [0, 12, 3861]
    chex.assert_shape(source.arrays["labels"], (2, 3862))
    np.testing.assert_array_equal(source.arrays["mean_rgb"][1], np.arange(1024) / 4)
    chex.assert_shape(source.arrays["mean_audio"], (2, 128))
    for name in ("c", "a", "e", "b", "d"):
        feature["id"].bytes_list.value[:] = [name.encode()]
        (tmp_path / f"valid_{name}.tfrecord").write_bytes(tfrecord(example.SerializeToString()))
    assert read_youtube8m(tmp_path, "valid").names.tolist() == ["a", "b", "c", "d", "e"]
    (tmp_path / "test00.tfrecord").write_bytes(data[:-7])
    with pytest.raises(ValueError, match=r"cut off at byte 4709; allowed: whole \.tfrecord files"):
        read_youtube8m(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match=r"holds no validate\*.tfrecord"):
        read_youtube8m(tmp_path, "validate")
    for label in (-1, 3862):
        feature["labels"].int64_list.value.append(label)
        (tmp_path / "train00.tfrecord").write_bytes(tfrecord(example.SerializeToString()))
        with pytest.raises(ValueError, match=f"label.*{label}.*; allowed: 0 to 3861"):
            read_youtube8m(tmp_path)
        del feature["labels"].int64_list.value[-1]
    del feature["mean_rgb"].float_list.value[1:]
    for record, message in (
        (example.SerializeToString(), "mean_rgb of d has 1 numbers, or one that is not finite; allowed"),
        (b"\xff\xff", "record 0 is no example with an id; allowed: the video-level files"),
        (tf_example_generated_pb2.Example().SerializeToString(), "record 0 is no example with an id"),
    ):
        (tmp_path / "train00.tfrecord").write_bytes(tfrecord(record))
        with pytest.raises(ValueError, match=message):
            read_youtube8m(tmp_path)
    (tmp_path / "train00.tfrecord").write_bytes(b"")
    with pytest.raises(ValueError, match="the 1 files of train hold no video"):
        read_youtube8m(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "classInd.txt': no such file; allowed: the list as the data set has it"),
        ({"ucfTrainTestlist/classInd.txt": "nonsense"}, "'nonsense' is no such line"),
        ({"ucfTrainTestlist/classInd.txt": "1 A\n2 A"}, "class 'A' stands there twice; allowed: each class once"),
        ({"ucfTrainTestlist/trainlist01.txt": "Other/v.avi 1"}, "class 'Other' is unknown; allowed: the 101"),
        (
            {"ucfTrainTestlist/testlist01.txt": "Class001/v.avi"},
            "none of the 1 videos of test is there, such as UCF-101",
        ),
    ],
)
def test_bad_lists(tmp_path, files, message):
    write(ucf101(tmp_path) if files else tmp_path, files)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_video_dataset("ucf101", tmp_path)


AVA = {"videos/v1.mp4": "", "ava_action_list_v2.2.pbtxt": 'name: "bend" id: 1', "ava_val_v2.2.csv": ""}
CHARADES = {"Charades_v1_classes.txt": "c000 hold\n", "Charades_v1/A.mp4": "", "Charades_v1_test.csv": "id,actions\n"}
MOMENTS = {"training/a/a.mp4": "", "validationSet.csv": "", "moments_categories.txt": "a,0\nb,1\n"}


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("ava", {"ava_train_v2.2.csv": "v1,902,0.1,0.1,0.5,1,0"}, "has 7 columns; allowed: id, second, x1"),
        ("ava", {"ava_train_v2.2.csv": "v1,902,0.1,0.1,1.5,1,1,0"}, "is no such line; allowed: id, second, x1"),
        ("ava", {"ava_train_v2.2.csv": "v1,nan,0.1,0.1,0.5,0.5,1,0"}, "is no such line; allowed: id, second, x1"),
        ("charades", {"Charades_v1_train.csv": "video,labels\nA,c000 1 2\n"}, "a line has no id; allowed: columns id"),
        ("charades", {"Charades_v1_train.csv": "id,actions\nA\n"}, "a line has no actions; allowed: columns id and"),
        ("charades", {"Charades_v1_train.csv": "id,actions\nA,c000 1.0.0 2\n"}, "'c000 1.0.0 2' is no such line"),
        ("moments_in_time", {"trainingSet.csv": "a/a.mp4\n"}, r"a/a\.mp4'; allowed: CLASS/CLIP\.mp4,CLASS,\.\.\."),
        (
            "moments_in_time",
            {"moments_categories.txt": "a,0\nb,7\n"},
            "numbers with gaps or twins; allowed: 0 to 1, each once",
        ),
    ],
)
def test_bad_tables(tmp_path, name, files, message):
    whole = {"ava": AVA, "charades": CHARADES, "moments_in_time": MOMENTS}[name]
    write(tmp_path, whole | files)
    with pytest.raises(ValueError, match=message):
        read_video_dataset(name, tmp_path)


def test_an_action_that_ends_before_it_starts_is_left_out_and_noted(tmp_path):
    write(tmp_path, CHARADES | {"Charades_v1_train.csv": "id,actions\nA,c000 5 2;c000 1 2\n"})
    data = read_video_dataset("charades", tmp_path)
    assert [a.seconds for a in data.splits["train"]] == [(1, 2)]
    assert data.notes == ("charades: 1 actions end before they start and are left out, such as c000 5 2 of A",)


def test_the_fold_of_ucf101_chooses_its_lists(tmp_path):
    root = write(ucf101(tmp_path), {"ucfTrainTestlist/trainlist03.txt": "Class100/v_g01_c01.avi 101\n"})
    write(root, {"ucfTrainTestlist/testlist03.txt": "Class000/v_g08_c01.avi\n"})
    data = read_video_dataset("ucf101", root, 3)
    assert [[a.labels for a in data.splits[split]] for split in ("train", "test")] == [[(100,)], [(0,)]]
    with pytest.raises(ValueError, match="fold=0: out of range"):
        read_video_dataset("ucf101", root, 0)


def test_lists_may_have_a_byte_order_mark_and_letters_of_another_encoding(tmp_path):
    write(tmp_path, {"labels.txt": "", "original/test_partition.txt": "abcdefghij2 0,\n", "videos/abcdefghij2.mp4": ""})
    write(tmp_path, {"original/train_partition.txt": "\ufeffhttp://youtu.be/abcdefghij2 1,0\r\n\r\n"})
    (tmp_path / "labels.txt").write_bytes("\ufeffjudo\r\n".encode() + "vélo\n".encode("latin-1"))
    data = read_video_dataset("sports1m", tmp_path)
    assert data.class_names == ("judo", "v\ufffdlo")
    train, test = (labeled_videos(data)[split][0] for split in ("train", "test"))
    assert (train.label, train.name, train.path, train.seconds) == (1, "abcdefghij2", test.path, None)
    for label, problem in ((2, "label 2 is out of range; allowed: 0 to 1"), (-1, "'abcdefghij2 -1' is no such line")):
        write(tmp_path, {"original/test_partition.txt": f"abcdefghij2 {label}\n"})
        with pytest.raises(ValueError, match=problem):
            read_video_dataset("sports1m", tmp_path)


def test_parts_of_videos_keep_their_times(tmp_path):
    # A key frame of AVA at 1 s has the segment from 0, not from -0.5, to 2.5 s; corners may lie on the frame's edge.
    write(tmp_path / "ava", AVA | {"ava_train_v2.2.csv": "v1,1,0,0,1,1,1,0\nv1,0,0,0,0.5,1,1,3\n"})
    write(tmp_path / "ava", {"ava_val_v2.2.csv": "v1,7,0,0,1,1,1,0\n"})
    train = read_video_dataset("ava", tmp_path / "ava").splits["train"]
    assert [(a.seconds, a.box) for a in train] == [((0, 2.5), (0, 0, 1, 1)), ((0, 1.5), (0, 0, 0.5, 1))]
    write(tmp_path / "charades", CHARADES | {"Charades_v1_train.csv": "id,actions\nA,c000 1.5 2\n"})
    (video,) = labeled_videos(read_video_dataset("charades", tmp_path / "charades"))["train"]
    assert (video.label, video.seconds) == (0, (1.5, 2))


def test_a_clip_of_a_movie_without_a_split_is_refused(tmp_path):
    write(tmp_path, {"dataSplit.txt": "0001_A\ttraining\n0002_B\textra\n"})
    for movie in ("0002_B", "0003_C"):
        write(tmp_path, {"annotations-someone.csv": f"{movie}_00.00\tHe jumps.\n"})
        with pytest.raises(ValueError, match=f"movie '{movie}' has no split in dataSplit.txt; allowed: .'training'"):
            read_video_dataset("mpii_md", tmp_path)


def test_unknown_sets(tmp_path):
    with pytest.raises(ValueError, match="fold=4: out of range; allowed: 1 to 3"):
        read_video_dataset("ucf101", tmp_path, 4)

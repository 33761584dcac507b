"""Own videos: folders of frames, GIFs and video files by their frames; classes; what is refused, in one line."""

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data.video_files import frame_times, open_video, read_frames
from dlcore.data.video_folder import LabeledVideo, labeled_clips, list_classes, list_videos


def gray(value, size=16):
    return np.full((size, size, 3), value, np.uint8)


def write_frames(folder, values=range(0, 120, 10), sizes=None):
    folder.mkdir(parents=True)
    for i, value in enumerate(values):
        Image.fromarray(gray(value, sizes[i] if sizes else 16)).save(folder / f"{i}.png")
    return folder


def write_gif(path, values=range(0, 120, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = (Image.fromarray(gray(value)) for value in values)
    first.save(path, save_all=True, append_images=rest, duration=40)
    return path


def write_mp4(path, values=range(0, 120, 10), rate=10):
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate, options={"g": "4"})  # a key frame every 4
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for value in values:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray(value), format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.covers("VD-15")
@pytest.mark.parametrize(
    ("write", "name", "rate", "close"),
    [(write_frames, "v", None, 0), (write_gif, "v.gif", 25, 0), (write_mp4, "v.mp4", 10, 4)],
)
def test_frames_by_number(tmp_path, write, name, rate, close):
    # Frame i is of value 10 i; 10.png comes after 9.png.
    path = write(tmp_path / name)
    video = open_video(path)
    assert (video.num_frames, video.frame_rate, video.size) == (12, rate, (16, 16))
    frames = read_frames(path, np.array([11, 2, 5, 2]), (8, 12))
    chex.assert_shape(frames, (4, 8, 12, 3))
    np.testing.assert_allclose(frames[:, 4, 6, 0].astype(int), [110, 20, 50, 20], atol=close)


@pytest.mark.covers("VD-15")
def test_other_frames_of_a_folder_are_not_decoded(tmp_path):
    folder = write_frames(tmp_path / "v")
    open_video(folder)
    (folder / "3.png").write_bytes(b"broken")
    assert read_frames(folder, np.array([2, 4]))[:, 0, 0, 0].tolist() == [20, 40]
    with pytest.raises(ValueError, match="cannot be read as a video"):
        read_frames(folder, np.array([3]))


@pytest.mark.covers("VD-15")
def test_classes_are_folders_and_clips_follow_the_frame_rate(tmp_path):
    write_gif(tmp_path / "train" / "run" / "b.gif")
    write_gif(tmp_path / "train" / "jump" / "a.gif", range(0, 40, 10))
    write_gif(tmp_path / "test" / "run" / "deep" / "c.gif")
    videos, names = list_classes(tmp_path)
    assert names == ("jump", "run")
    assert [(v.name, v.label) for v in videos["train"]] == [("train/jump/a.gif", 0), ("train/run/b.gif", 1)]
    assert [(v.name, v.label) for v in videos["test"]] == [("test/run/deep/c.gif", 1)]
    # 25 frames a second, of which 12 a second are asked for: every second frame; 4 frames are looped.
    source = labeled_clips(videos["train"], names, length=4, size=8, frame_rate=12, short="loop")
    assert source.arrays["image"][:][:, :, 0, 0, 0].tolist() == [[0, 20, 0, 20], [20, 40, 60, 80]]
    assert source.notes == ("videos: 1 of 2 videos are shorter than a clip; they begin again",)
    assert source.fingerprint.by == "path and size"


@pytest.mark.covers("VD-15")
def test_a_part_of_a_video_by_its_times(tmp_path):
    # 25 frames a second: from 0.16 s to 0.32 s are frames 4, 5, 6, 7.
    path = write_gif(tmp_path / "v.gif")
    source = labeled_clips([LabeledVideo(path, 0, "v.gif", (0.16, 0.32))], ["x"], length=4, size=16)
    assert source.arrays["image"][0][:, 0, 0, 0].tolist() == [40, 50, 60, 70]


def refused(tmp_path):
    """What is wrong -> (call, message)."""
    text = tmp_path / "notes.txt"
    text.write_text("x")
    for name in ("broken.mp4", "broken.gif"):
        (tmp_path / name).write_bytes(b"no video")
    empty = tmp_path / "empty"
    empty.mkdir()
    sizes = write_frames(tmp_path / "sizes", [0, 1], [16, 18])
    one = write_gif(tmp_path / "one" / "run" / "a.gif").parent.parent
    lacks = write_gif(tmp_path / "lacks" / "run" / "a.gif").parent.parent
    (lacks / "jump").mkdir()
    loose = write_gif(tmp_path / "loose" / "run" / "a.gif").parent.parent
    write_gif(loose / "b.gif")
    clip = LabeledVideo(write_gif(tmp_path / "v.gif"), 0, "v.gif")
    turned = write_frames(tmp_path / "turned", [0, 1], [16, 16])
    frames = LabeledVideo(write_frames(tmp_path / "f"), 0, "f")
    return {
        "no file": (lambda: open_video(tmp_path / "none.mp4"), "no such file or folder"),
        "no video": (lambda: open_video(text), "no video; allowed: a folder, "),
        "broken file": (lambda: open_video(tmp_path / "broken.mp4"), r"broken.mp4': cannot be read as a video"),
        "broken gif": (lambda: open_video(tmp_path / "broken.gif"), r"broken.gif': cannot be read as a video"),
        "before the first": (
            lambda: read_frames(turned, np.array([1, -1])),
            "frames=-1: negative; allowed: the frames of the video, counted from 0",
        ),
        "empty folder": (lambda: open_video(empty), "holds no frame; allowed"),
        "empty list": (lambda: list_videos(empty), "holds no video; allowed"),
        "two sizes": (lambda: open_video(sizes), r"\(18, 18\) pixels; allowed: \(16, 16\), as 0\.png has"),
        "one class": (lambda: list_classes(one), "'run' is the only class"),
        "class without clips": (lambda: list_classes(lacks), "class 'jump' has no clips; allowed: a video a class"),
        "loose": (lambda: list_classes(loose), "'b.gif' lies in no class folder"),
        "frame rate": (
            lambda: labeled_clips([clip], ["x"], length=2, size=8, frame_rate=0.0),
            "frame_rate=0: out of range; allowed: above 0",
        ),
        "no times": (
            lambda: labeled_clips([frames], ["x"], length=2, size=8, frame_rate=5.0),
            "f is a folder, which has no times",
        ),
        "too long": (
            lambda: labeled_clips([clip], ["x"], length=13, size=8),
            r"clip_length=13: with stride 1 longer than v.gif, a video of 12 frames; allowed: at most 12",
        ),
    }


@pytest.mark.covers("VD-15")
def test_invalid_video_folders_are_refused_in_one_line(tmp_path):
    for what, (call, message) in refused(tmp_path).items():
        with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
            call()
        assert "\n" not in str(caught.value), what


def test_a_link_to_a_folder_above_is_not_followed(tmp_path):
    for name in ("run", "jump"):
        write_frames(tmp_path / name / "a")
    (tmp_path / "run" / "again").symlink_to(tmp_path / "run")
    assert [len(videos) for videos in list_classes(tmp_path)[0].values()] == [2]


def test_frames_of_two_sizes_need_a_size(tmp_path):
    """The first frame is turned by its EXIF orientation, and its header is as wide as that of the second."""
    tmp_path.joinpath("f").mkdir()
    for i, orientation in enumerate((6, 1)):
        exif = Image.Exif()
        exif[274] = orientation
        Image.new("RGB", (8, 6)).save(tmp_path / "f" / f"{i}.jpg", exif=exif)
    with pytest.raises(ValueError, match=r"f': frames of the sizes \[\(6, 8\), \(8, 6\)\]; allowed: of one size"):
        read_frames(tmp_path / "f", np.arange(2))
    assert read_frames(tmp_path / "f", np.arange(2), (6, 6)).shape == (2, 6, 6, 3)


def test_a_video_file_of_frame_rate_0(tmp_path, monkeypatch):
    from dlcore.data import video_files

    path = write_mp4(tmp_path / "v.mp4")
    monkeypatch.setattr(video_files, "_open_file", lambda path: video_files.VideoFile(str(path), 12, 0.0, (16, 16)))
    with pytest.raises(ValueError, match=r"v.mp4': frame rate 0; allowed: above 0 frames a second"):
        open_video(path)


def test_lists_of_videos_and_their_splits(tmp_path):
    one = write_gif(tmp_path / "train" / "run" / "a.gif")
    assert list_videos(one) == [one]
    frames = write_frames(tmp_path / "train" / "jump" / "b", [0, 1])
    assert list_videos(frames) == [frames]
    assert list_videos(tmp_path) == [frames, one]
    write_gif(tmp_path / "train" / "run" / ".hidden.gif")
    write_gif(tmp_path / "__MACOSX" / "run" / "c.gif")
    assert list_videos(tmp_path) == [frames, one]
    with pytest.raises(FileNotFoundError, match="none': no such file or folder"):
        list_videos(tmp_path / "none")
    with pytest.raises(ValueError, match="is one video itself; allowed: a folder of class folders"):
        list_classes(frames)
    write_gif(tmp_path / "val" / "swim" / "d.gif")
    with pytest.raises(ValueError, match=r"class 'swim' of valid is not in train; allowed: \('jump', 'run'\)"):
        list_classes(tmp_path)
    (tmp_path / "val" / "swim").rename(tmp_path / "val" / "run")
    assert {split: len(videos) for split, videos in list_classes(tmp_path)[0].items()} == {"train": 2, "valid": 1}
    (tmp_path / "more").mkdir()
    with pytest.raises(ValueError, match="folder 'more' is no split"):
        list_classes(tmp_path)
    (tmp_path / "more").rmdir()
    (tmp_path / "train").rename(tmp_path / "test")
    with pytest.raises(ValueError, match="holds no training split; allowed: a folder 'train', too"):
        list_classes(tmp_path)
    write_frames(tmp_path / "test" / "loose", [0])
    (tmp_path / "val").rename(tmp_path / "train")
    with pytest.raises(ValueError, match="'loose' lies in no class folder"):
        list_classes(tmp_path)


def test_other_files_and_hidden_folders_are_no_videos(tmp_path):
    for name in ("run", "jump"):
        write_gif(tmp_path / name / f"{name}.gif")
        write_gif(tmp_path / name / ".old" / "a.gif")
        (tmp_path / name / "notes.txt").write_text("x")
    write_gif(tmp_path / ".cache" / "b.gif")
    (tmp_path / "notes.txt").write_text("x")
    videos, names = list_classes(tmp_path)
    assert names == ("jump", "run")
    assert [video.name for video in videos["all"]] == ["jump/jump.gif", "run/run.gif"]


def test_a_source_of_clips_describes_each_video(tmp_path):
    gif, frames = write_gif(tmp_path / "v.gif"), write_frames(tmp_path / "f")
    videos = [LabeledVideo(gif, 1, "v.gif"), LabeledVideo(frames, 0, "f")]
    source = labeled_clips(videos, "xy", length=2, size=8, name="own")
    assert (source.name, source.class_names, list(source.names)) == ("own", ("x", "y"), ["v.gif", "f"])
    assert source.arrays["video"].tolist() == [0, 1]
    assert source.sizes.tolist() == [gif.stat().st_size, sum(file.stat().st_size for file in frames.iterdir())]
    # A frame in two seconds, of 25 a second: every 50th.
    slow = labeled_clips(videos[:1], "xy", length=1, size=8, frame_rate=0.5).arrays["image"]
    assert slow.settings["strides"] == [50]


def test_frames_that_are_missing_or_broken_are_named(tmp_path):
    folder, gif = write_frames(tmp_path / "f", [0, 10, 20]), write_gif(tmp_path / "v.gif", [0, 10, 20])
    for path in (folder, gif):
        with pytest.raises(ValueError, match="frame 3 cannot be decoded; allowed: whole videos"):
            read_frames(path, np.array([2, 3]))
    (folder / "1.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"1.png': cannot be read as a frame \(.*\); allowed: images"):
        open_video(folder)


def test_an_animation_without_times_has_ten_frames_a_second(tmp_path):
    first, *rest = (Image.fromarray(gray(value)) for value in (0, 50, 100))
    first.save(tmp_path / "v.gif", save_all=True, append_images=rest)
    assert open_video(tmp_path / "v.gif")[1:] == (3, 10, (16, 16))


def test_a_part_of_a_video_ends_with_it_and_has_a_frame(tmp_path):
    """25 frames a second: from 0.4 s on are frames 10 and 11; a part beyond the end has the last frame alone."""
    path = write_gif(tmp_path / "v.gif")
    for seconds, values in (((0.4, 9.0), [100, 110]), ((8.0, 9.0), [110, 110]), ((0.1, 0.1), [20, 20])):
        source = labeled_clips([LabeledVideo(path, 3, "v", seconds)], "wxyz", length=2, size=(8, 12), short="clamp")
        assert source.arrays["image"][0][:, 4, 6, 0].tolist() == values
        assert (source.arrays["image"].shape, source.arrays["label"].tolist()) == ((1, 2, 8, 12, 3), [3])
        short = values[0] == values[1]
        assert source.notes == (
            ("videos: 1 of 1 videos are shorter than a clip; their last frame is repeated",) * short
        )
        assert list(source.names) == [f"v {seconds}"]
    folder = LabeledVideo(write_frames(tmp_path / "f"), 0, "f", (0.0, 1.0))
    with pytest.raises(ValueError, match="frame_rate=None: f is a folder, which has no times; allowed: a stride"):
        labeled_clips([folder], "x", length=2, size=8)
    # 25 frames a second for 60, 10 and 17 a second: one, two (2.5 to even) and one (1.47) apart.
    for rate, stride in ((60, 1), (10, 2), (17, 1)):
        clips = labeled_clips([LabeledVideo(path, 0, "v")], "x", length=3, size=8, frame_rate=rate).arrays["image"]
        assert clips.settings == {"size": [8, 8], "length": 3, "strides": [stride], "short": "error"}


def test_clips_of_another_frame_rate_have_other_settings(tmp_path):
    """A resumed run compares settings: of a variable rate, the stride is 1 whatever the rate of its clips."""
    first, *rest = (Image.fromarray(gray(value)) for value in (0, 50, 100, 150))
    first.save(tmp_path / "v.gif", save_all=True, append_images=rest, duration=[100, 300, 100, 100])

    def clips(rate):
        return labeled_clips([LabeledVideo(tmp_path / "v.gif", 0, "v")], "x", length=2, size=8, frame_rate=rate)

    ten, five = (clips(rate).arrays["image"] for rate in (10, 5))
    assert ten.settings == {"size": [8, 8], "length": 2, "strides": [1], "short": "error", "frame_rate": 10}
    assert five.concatenate(five).settings == ten.settings | {"frame_rate": 5}


def test_single_frames_without_a_duration_have_a_tenth_of_a_second(tmp_path):
    first, *rest = (Image.fromarray(gray(value)) for value in (0, 50, 100, 150, 200))
    first.save(tmp_path / "v.gif", save_all=True, append_images=rest, duration=[0, 0, 0, 0, 1000])
    np.testing.assert_allclose(frame_times(tmp_path / "v.gif"), [0, 0.1, 0.2, 0.3, 0.4])
    assert open_video(tmp_path / "v.gif").frame_rate == pytest.approx(5 / 1.4)
    videos = [LabeledVideo(tmp_path / "v.gif", 0, "v")]
    source = labeled_clips(videos, "x", length=2, size=8, frame_rate=5)
    assert source.arrays["image"].settings["strides"] == [2]  # 10 frames a second

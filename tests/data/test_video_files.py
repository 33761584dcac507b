"""Video files are read as players show them: each frame alone equals what PyAV decodes in sequence, and its time."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from dlcore.data.video_files import frame_times, open_video, read_frames
from dlcore.data.video_folder import LabeledVideo, labeled_clips

av = pytest.importorskip("av")

NUM_FRAMES = 20


def numbered(k):
    """A frame whose number is the bits of five bright or dark columns."""
    row = np.repeat([20 + 200 * (k >> b & 1) for b in range(5)] + [20], [6, 6, 6, 6, 6, 2])
    return np.broadcast_to(row[None, :, None], (32, 32, 3)).astype(np.uint8)


def number_of(frame):
    return sum(int(frame[16, 6 * b + 3].mean() > 120) << b for b in range(5))


def write_video(path, codec, options=(), b_frames=None, stamps=None, rate=25, images=None, aspect=None):
    """Encode numbered frames; stamps are in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "10", **dict(options)})
        images = [numbered(k) for k in range(NUM_FRAMES)] if images is None else images
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for k, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[k], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def copy(source, path, select):
    """Copy packets without encoding, as editors do: those of `select`, a function to (packet, frames to move it)."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as part:
        stream = whole.streams.video[0]
        copied, period = part.add_stream_from_template(stream), 1 / (25 * stream.time_base)
        for packet, frames in select([packet for packet in whole.demux(stream) if packet.dts is not None], period):
            packet.pts, packet.dts = (stamp + int(frames * period) for stamp in (packet.pts, packet.dts))
            packet.stream = copied
            part.mux(packet)
    return path


def from_frame(k):
    """All from the last key frame before frame k; what is before frame k has stamps below 0."""

    def select(packets, period):
        start = max(i for i, packet in enumerate(packets) if packet.is_keyframe and packet.pts <= k * period)
        return [(packet, -k) for packet in packets[start:]]

    return select


def without_second_group(packets, period):
    _, second, third = (i for i, packet in enumerate(packets) if packet.is_keyframe)
    return [(packet, 0) for packet in packets[:second] + packets[third:]]


def in_sequence(path):
    with av.open(str(path)) as container:
        return np.stack([np.asarray(frame.to_image()) for frame in container.decode(video=0)])


def assert_each_alone_is_right(path, numbers):
    frames = in_sequence(path)
    assert [number_of(frame) for frame in frames] == list(numbers)
    assert open_video(path).num_frames == len(frames)
    np.testing.assert_array_equal(read_frames(path, np.arange(len(frames))), frames)
    for k, frame in enumerate(frames):
        np.testing.assert_array_equal(read_frames(path, np.array([k]))[0], frame)


X264, X265 = {"x264-params": "scenecut=0"}, {"x265-params": "keyint=8:scenecut=0:bframes=3:b-adapt=0:log-level=none"}
OPEN = {"x264-params": "scenecut=0:open-gop=1:keyint=8:b-adapt=0"}


@pytest.mark.covers("VD-15")
@pytest.mark.parametrize(
    ("name", "codec", "options", "b_frames"),
    [
        ("closed.mp4", "libx264", X264, 2),
        ("open.mp4", "libx264", OPEN, 3),
        ("x265.mp4", "libx265", X265, None),
        ("order.avi", "libx264", X264, 2),
        ("x264.flv", "libx264", X264, 2),
        ("mpeg4.avi", "mpeg4", {}, 2),
        ("mpeg2.mpg", "mpeg2video", {}, 2),
        ("hidden.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "9", "cpu-used": "8"}, None),
    ],
)
def test_each_frame_alone_is_that_of_the_sequence(tmp_path, name, codec, options, b_frames):
    path = write_video(tmp_path / name, codec, options, b_frames)
    assert_each_alone_is_right(path, range(NUM_FRAMES))
    np.testing.assert_allclose(frame_times(path), np.arange(NUM_FRAMES) / 25, rtol=1e-12)
    assert open_video(path).frame_rate == 25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec", "options", "b_frames"),
    [
        *((f"closed.{end}", "libx264", X264, 2) for end in ("mov", "mkv", "m4v", "mpg")),
        *((f"open.{end}", "libx264", OPEN, 3) for end in ("mkv", "avi", "flv")),
        ("x265.mkv", "libx265", X265, None),
        ("refresh.mp4", "libx264", {"x264-params": "scenecut=0:intra-refresh=1"}, 0),
        *((f"mpeg4.{end}", "mpeg4", {}, 2) for end in ("mp4", "mkv", "mpg", "wmv")),
        *((f"mpeg2.{end}", "mpeg2video", {}, 2) for end in ("mp4", "mkv", "avi")),
        ("wmv2.wmv", "wmv2", {}, 0),
        ("vp9.webm", "libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "9", "cpu-used": "8"}, None),
    ],
)
def test_each_frame_alone_in_more_files(tmp_path, name, codec, options, b_frames):
    test_each_frame_alone_is_that_of_the_sequence(tmp_path, name, codec, options, b_frames)


@pytest.mark.covers("VD-15")
@pytest.mark.parametrize(
    ("codec", "options", "b_frames"), [("libx264", X264, 2), ("libx264", OPEN, 3), ("libx265", X265, 3)]
)
def test_a_part_cut_without_encoding_is_what_is_shown(tmp_path, codec, options, b_frames):
    """From 0.56 s of 25 frames a second on: frames 14 to 19; those from the key frame on are copied and hidden."""
    whole = write_video(tmp_path / "whole.mp4", codec, options, b_frames)
    path = copy(whole, tmp_path / "part.mp4", from_frame(14))
    assert_each_alone_is_right(path, range(14, NUM_FRAMES))
    np.testing.assert_allclose(frame_times(path), np.arange(6) / 25, rtol=1e-12)
    # .mkv has no such list: what is copied is shown, but for frames whose key frame is gone.
    path = copy(whole, tmp_path / "part.mkv", from_frame(14))
    assert_each_alone_is_right(path, [number_of(frame) for frame in in_sequence(path)])


@pytest.mark.covers("VD-15")
def test_frames_that_lack_the_group_before_them_are_not_counted(tmp_path):
    """Frames 13, 14 and 15 follow the key frame 16 in the file and are predicted from frame 12, too, which is gone."""
    whole = write_video(tmp_path / "whole.mp4", "libx265", X265, 3)
    path = copy(whole, tmp_path / "part.mp4", without_second_group)
    assert_each_alone_is_right(path, [*range(8), 16, 17, 18, 19])


@pytest.mark.covers("VD-15")
@pytest.mark.parametrize("end", ["mp4", "mkv", "avi", "gif"])
def test_parts_by_exact_times(tmp_path, end):
    """4.1 s at 30 frames a second is frame 123, though 4.1 * 30 is 122.99999999999999 in floating point."""
    images = [numbered(k % 32) for k in range(130)]
    if end == "gif":  # 30 frames a second cannot be written: every third frame is 40 ms long
        first, *rest = (Image.fromarray(image) for image in images)
        durations = [40 if k % 3 == 2 else 30 for k in range(130)]
        first.save(tmp_path / "v.gif", save_all=True, append_images=rest, duration=durations)
    else:
        write_video(tmp_path / f"v.{end}", "mpeg4", rate=30, images=images)
    source = labeled_clips([LabeledVideo(tmp_path / f"v.{end}", 0, "v", (4.1, 4.3))], "x", length=6, size=32)
    clips = source.arrays["image"]
    assert [number_of(frame) for frame in clips[0]] == [k % 32 for k in range(123, 129)]
    assert clips.num_frames.tolist() == [6]


@pytest.mark.covers("VD-15")
@pytest.mark.parametrize("end", ["mp4", "mkv"])
def test_a_variable_frame_rate_is_read_by_the_times_of_frames(tmp_path, end):
    """8 frames at 10 a second from 0 s on, then 12 at 50 a second from 0.8 s on."""
    stamps = [*range(0, 800, 100), *range(800, 1040, 20)]
    path = write_video(tmp_path / f"v.{end}", "libx264", X264, 2, stamps)
    np.testing.assert_allclose(frame_times(path), np.array(stamps) / 1000, rtol=1e-12)
    assert open_video(path).frame_rate == pytest.approx(19 / 1.02)

    def numbers(seconds, length, frame_rate=None):
        video = LabeledVideo(path, 0, "v", seconds)
        source = labeled_clips([video], "x", length=length, size=32, frame_rate=frame_rate, short="clamp")
        return [number_of(frame) for frame in source.arrays["image"][0]]

    assert numbers((0.8, 2.0), 12) == [*range(8, 20)]
    assert numbers((0.0, 0.8), 8) == [*range(8)]
    # 5 frames a second: at 0, 0.2, 0.4, 0.6, 0.8 and 1.0 s.
    assert numbers(None, 6, 5.0) == [0, 2, 4, 6, 8, 18]
    # The rate of a part is its own: every fifth frame of 50 a second for 10.
    assert numbers((0.8, 2.0), 3, 10.0)[1] - numbers((0.8, 2.0), 3, 10.0)[0] == 5


def with_matrix(path, a, b, c, d):
    """Patch the display matrix of an .mp4: pixel (x, y) is shown at (a x + c y, b x + d y)."""
    data, one = path.read_bytes(), 2**16
    upright = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 2**30)
    start = data.index(upright, data.index(b"tkhd"))
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 2**30)
    path.write_bytes(data[:start] + matrix + data[start + 36 :])


@pytest.mark.covers("VD-15")
@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((-1, 0, 0, 1), ("GR", "WB")),
        ((1, 0, 0, -1), ("BW", "RG")),
        ((0, 1, 1, 0), ("RB", "GW")),
        ((0, -1, -1, 0), ("WG", "BR")),
        ((0, 1, -1, 0), ("BR", "WG")),
        ((0, -1, 1, 0), ("GW", "RB")),
        ((-1, 0, 0, -1), ("WB", "GR")),
    ],
)
def test_frames_are_turned_and_mirrored_as_the_file_says(tmp_path, matrix, shown):
    """Stored are red and green above blue and white, with pixels twice as wide as high; a turn swaps the sides."""
    colors = {"R": [255, 0, 0], "G": [0, 255, 0], "B": [0, 0, 255], "W": [255, 255, 255]}
    stored = np.array([[colors["R"], colors["G"]], [colors["B"], colors["W"]]], np.uint8).repeat(32, 0).repeat(32, 1)
    path = write_video(tmp_path / "v.mp4", "mpeg4", images=[stored], aspect=Fraction(2, 1))
    with_matrix(path, *matrix)
    size = (64, 128) if matrix[0] else (128, 64)
    assert open_video(path).size == size
    (frame,) = read_frames(path, np.array([0]))
    assert frame.shape == (*size, 3)
    quarters = frame[size[0] // 4 :: size[0] // 2, size[1] // 4 :: size[1] // 2]
    expected = [[colors[name] for name in row] for row in shown]
    assert (np.abs(quarters.astype(int) - expected) < 80).all()


@pytest.mark.covers("VD-15")
def test_frames_of_an_animation_are_shown_for_their_own_times(tmp_path):
    first, *rest = (Image.new("L", (8, 8), 10 * k) for k in range(4))
    first.save(tmp_path / "v.gif", save_all=True, append_images=rest, duration=[100, 300, 100, 100])
    np.testing.assert_allclose(frame_times(tmp_path / "v.gif"), [0, 0.1, 0.4, 0.5])
    (tmp_path / "f").mkdir()
    first.save(tmp_path / "f" / "0.png")
    with pytest.raises(ValueError, match="a folder of frames, which has no times; allowed: a GIF or a video file"):
        frame_times(tmp_path / "f")


def test_a_file_that_is_written_anew_is_read_anew(tmp_path):
    path = write_video(tmp_path / "v.mp4", "mpeg4")
    assert open_video(path).num_frames == NUM_FRAMES
    write_video(path, "mpeg4", images=[numbered(k) for k in (3, 1)])
    assert [number_of(frame) for frame in read_frames(path, np.arange(open_video(path).num_frames))] == [3, 1]

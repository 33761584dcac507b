"""Reading of videos on disk: a folder of frames, a GIF, or a video file, which PyAV decodes.

    folder of frames   image files of one size, in the order of their names; 1.png, 2.png, ..., 10.png by number
    .gif, .apng        Pillow
    .mp4, .avi, ...    PyAV, an extra: pip install -e '.[video]'

Frames and their times are those that a player shows: a part that was cut off without encoding anew is not counted,
and frames are turned, mirrored and stretched as the file says, such as those of a phone held upright. Then each frame
is scaled until it covers the requested size, and its center is cut out.

`read_frames` decodes the requested frames only: it opens no other file of a folder, and starts to decode a video file
at the last key frame before them, where a seek is known to give what decoding from the start gives. Files whose packets
do not tell what is shown, such as .avi, .mpg, .wmv and those of open groups of pictures, are decoded once to list it.
"""

import functools
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_path
from dlcore.data.image_folder import EXTENSIONS as IMAGE_EXTENSIONS
from dlcore.data.image_headers import target_size
from dlcore.data.image_pixels import decode_image, scale_to_cover
from dlcore.extras import require

__all__ = ["ANIMATIONS", "VIDEO_EXTENSIONS", "VideoFile", "frame_files", "frame_times", "open_video", "read_frames"]

VIDEO_EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp")
"""Endings of files that PyAV decodes."""
ANIMATIONS = (".gif", ".apng")
"""Endings of files that Pillow decodes frame by frame."""
# PyAV's formats that hold the time at which each frame is shown, and codecs of which a packet is one frame.
_STAMPED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_ONE_A_PACKET = ("h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg")
# Formats whose stamps may be in another order than the frames, but are the same after a seek.
_NUMBERED = ("avi", "flv", "asf")
_FRAME_EXTENSIONS = tuple(ending for ending in IMAGE_EXTENSIONS if ending not in ANIMATIONS)


class VideoFile(NamedTuple):
    """Number, rate and size of a video's frames, as `open_video` read them.

    Args:
      path: path of a file or of a folder of frames.
      num_frames: number of frames.
      frame_rate: frames per second, on average where the rate varies; None for a folder of frames.
      size: (H, W) of a frame in pixels, as it is shown.
    """

    path: str
    num_frames: int
    frame_rate: float | None
    size: tuple[int, int]


def frame_files(folder: str | Path) -> list[Path]:
    """List the frames of a video that is a folder, in the order of the numbers in their names.

    Args:
      folder: folder of image files.

    Returns:
      The image files directly in the folder; [] if there are none.
    """
    check_path("folder", folder)
    files = [f for f in Path(folder).iterdir() if f.suffix.lower() in _FRAME_EXTENSIONS and not f.name.startswith(".")]
    return sorted(files, key=lambda f: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", f.name)])


def open_video(path: str | Path) -> VideoFile:
    """Find the number, the rate and the size of a video's frames.

    The frames of a GIF are decoded for this, and the first one of most video files.

    Args:
      path: path of a folder of frames, a GIF or a video file.

    Returns:
      The video's properties.

    Raises:
      FileNotFoundError: there is no such file or folder.
    """
    check_path("path", path)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path={str(path)!r}: no such file or folder")
    if path.is_dir():
        return _open_folder(path)
    ending = path.suffix.lower()
    if ending not in VIDEO_EXTENSIONS + ANIMATIONS:
        raise ValueError(f"path={str(path)!r}: no video; allowed: a folder, {', '.join(VIDEO_EXTENSIONS + ANIMATIONS)}")
    if ending in VIDEO_EXTENSIONS:
        require("av", what=f"reading {ending} videos")
    try:
        video = _open_animation(path) if ending in ANIMATIONS else _open_file(path)
    except Exception as error:
        raise ValueError(f"path={str(path)!r}: cannot be read as a video ({error}); allowed: whole videos") from error
    if video.num_frames < 1:
        raise ValueError(f"path={str(path)!r}: has no frame; allowed: at least one")
    if video.frame_rate is not None and not video.frame_rate > 0:
        raise ValueError(f"path={str(path)!r}: frame rate {video.frame_rate:g}; allowed: above 0 frames a second")
    return video


def frame_times(path: str | Path | VideoFile) -> np.ndarray:
    """Find the time at which each frame of a video is shown.

    Args:
      path: path of a GIF or a video file, or what `open_video` read of it.

    Returns:
      [N] float64, seconds from the start; frames of a variable rate are not evenly spaced.

    Raises:
      FileNotFoundError, ValueError, MissingPackage: as `open_video`; or a folder of frames, which has no times.
    """
    video = path if isinstance(path, VideoFile) else open_video(path)
    if video.frame_rate is None:
        raise ValueError(f"path={video.path!r}: a folder of frames, which has no times; allowed: a GIF or a video file")
    path = Path(video.path)
    if path.suffix.lower() in ANIMATIONS:
        return np.cumsum([0, *_durations(*_version(path))[:-1]]) / 1000
    return _index(*_version(path)).times.copy()


def read_frames(path: str | Path, frames: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode frames of a video.

    Args:
      path: path of a folder of frames, a GIF or a video file.
      frames: [T] int, indices of frames in any order, from 0; repeated ones are decoded once.
      size: (H, W) of the result; None keeps the video's own.

    Returns:
      Frames [T, H, W, 3] uint8.
    """
    check_path("path", path)
    size = None if size is None else target_size(size, "size")
    frames = np.asarray(frames)
    if frames.ndim != 1 or not len(frames) or frames.dtype.kind not in "iu":
        raise ValueError(f"frames={frames.dtype}{list(frames.shape)}: no frames; allowed: int [T], one or more")
    path, numbers = Path(path), np.unique(frames)
    if (numbers < 0).any():
        raise ValueError(f"frames={numbers[0]}: negative; allowed: the frames of the video, counted from 0")
    if path.is_dir():
        decoded = _from_folder(path, numbers, size)
    elif path.suffix.lower() in ANIMATIONS:
        decoded = _from_animation(path, numbers, size)
    else:
        require("av", what=f"reading {path.suffix} videos")
        decoded = _from_file(path, numbers, size)
    images: dict[int, np.ndarray] = {}
    try:
        images.update(decoded)
    except Exception as error:
        raise ValueError(f"path={str(path)!r}: cannot be read as a video ({error}); allowed: whole videos") from error
    if missing := [int(i) for i in numbers if int(i) not in images]:
        raise ValueError(f"path={str(path)!r}: frame {missing[0]} cannot be decoded; allowed: whole videos")
    if len(sizes := sorted({image.shape[:2] for image in images.values()})) > 1:
        raise ValueError(f"path={str(path)!r}: frames of the sizes {sizes}; allowed: of one size, or to state a size")
    return np.stack([images[int(i)] for i in frames])


def _open_folder(path: Path) -> VideoFile:
    from PIL import Image

    files = frame_files(path)
    if not files:
        raise ValueError(f"path={str(path)!r}: holds no frame; allowed: {', '.join(IMAGE_EXTENSIONS)}")
    first = None
    for file in files:
        try:
            with Image.open(file) as image:
                size = image.height, image.width
        except Exception as error:
            raise ValueError(f"path={str(file)!r}: cannot be read as a frame ({error}); allowed: images") from error
        first = size if first is None else first
        if size != first:
            raise ValueError(f"path={str(file)!r}: {size} pixels; allowed: {first}, as {files[0].name} has")
    return VideoFile(str(path), len(files), None, first)


def _open_animation(path: Path) -> VideoFile:
    from PIL import Image

    milliseconds = _durations(*_version(path))
    with Image.open(path) as image:
        rate = float(1000 * len(milliseconds) / sum(milliseconds))
        return VideoFile(str(path), len(milliseconds), rate, (image.height, image.width))


@functools.lru_cache(maxsize=2**16)
def _durations(path: str, modified: int, num_bytes: int) -> list[float]:
    """Return the milliseconds for which each frame of an animation is shown."""
    from PIL import Image

    milliseconds = []
    with Image.open(path) as image:
        for i in range(getattr(image, "n_frames", 1)):
            image.seek(i)
            image.load()
            milliseconds.append(image.info.get("duration", 0) or 100)  # as browsers show a frame without a duration
    return milliseconds


def _open_file(path: Path) -> VideoFile:
    import av

    index = _index(*_version(path))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if (first := next(container.decode(stream), None)) is None:
            raise ValueError("no frame can be decoded")
        width, height = _shown(first, stream.sample_aspect_ratio).size
    return VideoFile(str(path), len(index.times), index.rate, (height, width))


class _Index(NamedTuple):
    """Frames of a video file in the order in which they are shown.

    Args:
      times: [N] float64, seconds at which each frame is shown.
      rate: frames per second.
      stamps: [N] int, by which the decoder names each frame after a seek; [0] where a seek cannot be trusted.
      keys: sorted numbers of the key frames.
    """

    times: np.ndarray
    rate: float
    stamps: np.ndarray
    keys: np.ndarray


def _version(path: Path) -> tuple[str, int, int]:
    """Return what tells a file from another one of its name."""
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=2**16)
def _index(path: str, modified: int, num_bytes: int) -> _Index:
    import av

    with av.open(path) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        stream, kind = container.streams.video[0], container.format.name
        tick = stream.time_base
        rates = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate]
        # An .avi has no stamps: PyAV numbers its packets, of which the first may not be shown first.
        start = None if container.start_time is None or kind == "avi" else Fraction(container.start_time, av.time_base)
        is_listed = kind in _STAMPED and stream.codec_context.codec.canonical_name in _ONE_A_PACKET
        frames = _from_packets(container) if is_listed else None
    if frames is None:
        with av.open(path) as container:
            frames = [(frame.pts, frame.key_frame) for frame in container.decode(video=0)]
    stamps, is_key = [pts for pts, _ in frames], np.array([key for _, key in frames], bool)
    if is_named := frames and None not in stamps and len(set(stamps)) == len(stamps):
        times, rate = _times([pts * tick for pts in sorted(stamps)], tick, start, rates)
    else:
        rate = float(rates[0]) if rates else 0.0
        times = [k / (rate or 1.0) for k in range(len(stamps))]
    named = np.array(stamps if is_named and kind in _STAMPED + _NUMBERED else [], int)
    return _Index(np.array(times, float), rate, named, np.flatnonzero(is_key))


def _from_packets(container: Any) -> list[tuple[int, bool]] | None:
    """Return the stamp of each frame and whether it is a key frame; None where packets do not say what is shown."""
    packets = [(p.pts, p.is_keyframe, p.is_discard) for p in container.demux(video=0) if p.size]
    latest, key = -np.inf, np.inf
    for pts, is_key, _ in packets:
        key = pts if is_key else key
        # A decoder may drop what is shown before its key frame: an open group of pictures needs the group before it.
        if pts is None or pts < (latest if is_key else key):
            return None
        latest = max(latest, pts)
    return [(pts, is_key) for pts, is_key, is_discard in sorted(packets) if not is_discard]


def _times(
    stamps: list[Fraction], tick: Fraction, start: Fraction | None, rates: list[Fraction]
) -> tuple[list[Fraction], float]:
    """Return the time of each frame from the file's start in seconds, and the frames per second.

    Files round stamps to their ticks, such as milliseconds; where the rate is constant, it gives the times themselves.
    """
    first = stamps[0] - (stamps[0] if start is None else min(start, stamps[0]))
    for rate in rates:
        away = max(abs(stamp - stamps[0] - k / rate) for k, stamp in enumerate(stamps))
        if away < min(tick, 1 / (4 * rate)):
            return [first + k / rate for k in range(len(stamps))], float(rate)
    rate = (len(stamps) - 1) / (stamps[-1] - stamps[0]) if len(stamps) > 1 else Fraction(0)
    return [first + stamp - stamps[0] for stamp in stamps], float(rate)


def _from_folder(path: Path, numbers: np.ndarray, size: Any) -> Iterator[tuple[int, np.ndarray]]:
    files = frame_files(path)
    for i in numbers:
        if i < len(files):
            yield int(i), decode_image(files[i], size, 3)


def _from_animation(path: Path, numbers: np.ndarray, size: Any) -> Iterator[tuple[int, np.ndarray]]:
    from PIL import Image

    with Image.open(path) as image:
        for i in numbers:
            if i < getattr(image, "n_frames", 1):
                image.seek(int(i))
                yield int(i), _pixels(image.convert("RGB"), size)


def _from_file(path: Path, numbers: np.ndarray, size: Any) -> Iterator[tuple[int, np.ndarray]]:
    import av

    index = _index(*_version(path))
    number, keys = {int(stamp): i for i, stamp in enumerate(index.stamps)}, set(index.keys.tolist())
    asked = {int(i) for i in numbers if i < len(index.times)}
    # From the last key frame before the first frame; where the file is sought too late, from the one before, and at
    # last from the start.
    before = index.keys[index.keys <= numbers[0]][:0:-1][:2] if number else []
    for key in [*before, None]:
        if not asked:
            return
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if key is not None:
                container.seek(int(index.stamps[key]), stream=stream)
            is_whole = key is None  # what is shown before the first key frame may lack frames that it is predicted from
            for count, frame in enumerate(container.decode(stream)):
                i = count if key is None else number.get(frame.pts, -1)
                is_whole = is_whole or i in keys
                if not asked or (is_whole and i > max(asked)):
                    break
                if is_whole and i in asked:
                    asked.remove(i)
                    yield i, _pixels(_shown(frame, stream.sample_aspect_ratio), size)


def _shown(frame: Any, aspect: Fraction | None) -> Any:
    """Return a frame as a Pillow image with square pixels, turned and mirrored as its display matrix says."""
    from PIL.Image import Resampling, Transpose

    image = frame.to_image()
    if aspect and aspect != 1:
        image = image.resize((max(1, round(image.width * aspect)), image.height), Resampling.BILINEAR)
    if (matrix := frame.side_data.get("DISPLAYMATRIX")) is None:
        return image
    # Pixel (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.transpose(Transpose.TRANSPOSE), c, b
    image = image.transpose(Transpose.FLIP_LEFT_RIGHT) if a < 0 else image
    return image.transpose(Transpose.FLIP_TOP_BOTTOM) if d < 0 else image


def _pixels(image: Any, size: tuple[int, int] | None) -> np.ndarray:
    return np.asarray(image if size is None else scale_to_cover(image, size))

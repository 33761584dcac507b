"""Reading of videos on disk: a folder of frames, a GIF, or a video file, which PyAV decodes.

    folder of frames   image files of one size, in the order of their names; 1.png, 2.png, ..., 10.png by number
    .gif, .apng        Pillow
    .mp4, .avi, ...    PyAV, an extra: pip install -e '.[video]'

`read_frames` decodes the requested frames only: it opens no other file of a folder, and starts to decode a video file
at the last key frame before them. Frames are turned as the file says, such as those of a phone held upright. Each frame
is scaled until it covers the requested size, and its center is cut out.
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_path
from dlcore.data.image_folder import EXTENSIONS as IMAGE_EXTENSIONS
from dlcore.data.image_headers import target_size
from dlcore.data.image_pixels import decode_image, scale_to_cover
from dlcore.extras import require

__all__ = ["ANIMATIONS", "VIDEO_EXTENSIONS", "VideoFile", "frame_files", "open_video", "read_frames"]

VIDEO_EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp")
"""Endings of files that PyAV decodes."""
ANIMATIONS = (".gif", ".apng")
"""Endings of files that Pillow decodes frame by frame."""
_FRAME_EXTENSIONS = tuple(ending for ending in IMAGE_EXTENSIONS if ending not in ANIMATIONS)


class VideoFile(NamedTuple):
    """Number, rate and size of a video's frames, as `open_video` read them.

    Args:
      path: path of a file or of a folder of frames.
      num_frames: number of frames.
      frame_rate: frames per second; None for a folder of frames.
      size: (H, W) of a frame in pixels.
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

    Raises:
      ValueError: `folder` is no path.
    """
    check_path("folder", folder)
    files = [f for f in Path(folder).iterdir() if f.suffix.lower() in _FRAME_EXTENSIONS and not f.name.startswith(".")]
    return sorted(files, key=lambda f: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", f.name)])


def open_video(path: str | Path) -> VideoFile:
    """Find the number, the rate and the size of a video's frames.

    The frames of a GIF are decoded for this, and the first one of a video file.

    Args:
      path: path of a folder of frames, a GIF or a video file.

    Returns:
      The video's properties.

    Raises:
      FileNotFoundError: there is no such file or folder.
      ValueError: `path` is no path; it is no video, has no frame, a frame rate of 0, or frames of two sizes.
      MissingPackage: it is a video file, and PyAV is not installed.
    """
    check_path("path", path)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path={str(path)!r}: no such file or folder")
    if path.is_dir():
        return _open_folder(path)
    ending = path.suffix.lower()
    if ending not in VIDEO_EXTENSIONS + ANIMATIONS:
        raise ValueError(
            f"path={str(path)!r}: no video; allowed: {', '.join(VIDEO_EXTENSIONS + ANIMATIONS)}, or a folder of frames"
        )
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


def read_frames(path: str | Path, frames: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode frames of a video.

    Args:
      path: path of a folder of frames, a GIF or a video file.
      frames: [T] int, indices of frames in any order, from 0; repeated ones are decoded once.
      size: (H, W) of the result; None keeps the video's own.

    Returns:
      Frames [T, H, W, 3] uint8.

    Raises:
      ValueError: `path` is no path; `size` is no size, a frame cannot be decoded, an index is out of range, or the
        frames differ in size and `size` is None.
      MissingPackage: it is a video file, and PyAV is not installed.
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
        raise ValueError(
            f"path={str(path)!r}: holds no frame; allowed: a folder of images, {', '.join(IMAGE_EXTENSIONS)}"
        )
    first = None
    for file in files:
        try:
            with Image.open(file) as image:
                size = image.height, image.width
        except Exception as error:
            raise ValueError(f"path={str(file)!r}: cannot be read as a frame ({error}); allowed: images") from error
        first = size if first is None else first
        if size != first:
            raise ValueError(
                f"path={str(file)!r}: {size[0]} by {size[1]} pixels, {files[0].name} {first[0]} by {first[1]}; "
                "allowed: frames of one size in a video"
            )
    return VideoFile(str(path), len(files), None, first)


def _open_animation(path: Path) -> VideoFile:
    from PIL import Image

    with Image.open(path) as image:
        count = getattr(image, "n_frames", 1)
        milliseconds = 0
        for i in range(count):
            image.seek(i)
            image.load()
            milliseconds += image.info.get("duration", 0)
        # Browsers show a frame without a duration for a tenth of a second.
        rate = 1000 * count / milliseconds if milliseconds else 10.0
        return VideoFile(str(path), count, rate, (image.height, image.width))


def _open_file(path: Path) -> VideoFile:
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        stream = container.streams.video[0]
        first = next(container.decode(stream), None)
        if first is None:
            raise ValueError("no frame can be decoded")
        size = (first.height, first.width) if _turn(first) % 180 == 0 else (first.width, first.height)
        rate = float(stream.average_rate or 0)
    return VideoFile(str(path), len(_times(str(path))), rate, size)


@functools.lru_cache(maxsize=4096)
def _times(path: str) -> tuple[int, ...]:
    """Return the sorted timestamps of a video file's frames in the stream's units; no packet is decoded."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        timestamps = [packet.pts for packet in container.demux(stream) if packet.pts is not None and packet.size]
    return tuple(sorted(timestamps))


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

    times = _times(str(path))
    asked = {times[i]: int(i) for i in numbers if i < len(times)}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if asked:
            container.seek(min(asked), stream=stream)  # seeks to the last key frame before this time
        for frame in container.decode(stream):
            if frame.pts in asked:
                image, turn = frame.to_image(), _turn(frame)
                yield asked.pop(frame.pts), _pixels(image.rotate(turn, expand=True) if turn else image, size)
            if not asked:
                return


def _turn(frame: Any) -> int:
    """Return the quarter turns, in degrees counterclockwise, by which a frame is to be shown."""
    return round(frame.rotation / 90) * 90 % 360


def _pixels(image: Any, size: tuple[int, int] | None) -> np.ndarray:
    return np.asarray(image if size is None else scale_to_cover(image, size))

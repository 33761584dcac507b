"""Videos in class folders; a video is a folder of frames, a GIF, or a video file (`dlcore.data.video_files`).

    root/class/video.mp4    root/class/video.gif    root/class/video/0001.png ...

If the root holds two split folders or more (`train`, and `test` or `val`; names as in `split_names`), the class folders
lie in these. Videos are opened once to count their frames and read the frame rate; the frames of a clip are decoded
when the clip is read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.choices import check_choice, check_path, check_whole_number
from dlcore.data.clip_sampling import SampledClips, Short
from dlcore.data.image_headers import target_size
from dlcore.data.source import Source
from dlcore.data.split_names import allowed_names, check_one_name, split_of
from dlcore.data.video_files import (
    ANIMATIONS,
    VIDEO_EXTENSIONS,
    VideoFile,
    frame_files,
    frame_times,
    open_video,
    read_frames,
)
from dlcore.data.workers import Workers
from dlcore.ops.checks import check_finite

__all__ = ["LabeledVideo", "is_video", "labeled_clips", "list_classes", "list_videos"]


class LabeledVideo(NamedTuple):
    """A video, or a part of one, with its class.

    Args:
      path: path of the file or of the folder of frames.
      label: class, an index into the class names.
      name: path below the root of the data, or the name of the video in its data set.
      seconds: (start, end) in seconds of the part that shows the class: from the frame on display at the start to the
        last one that is shown before the end; None for the whole video.
    """

    path: Path
    label: int
    name: str
    seconds: tuple[float, float] | None = None


def is_video(path: Path) -> bool:
    """Return whether a path is a folder of frames or has the ending of a video; no file is opened.

    Args:
      path: path of a file or folder.

    Returns:
      True for a video that is not hidden.
    """
    path = Path(path)
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return bool(frame_files(path))
    return path.suffix.lower() in VIDEO_EXTENSIONS + ANIMATIONS


def list_videos(path: str | Path) -> list[Path]:
    """List the videos below a folder.

    Args:
      path: path of a folder, or of one video (a file or a folder of frames).

    Returns:
      Sorted paths of the videos at any depth, which begin with `path`; [path] if it is one video.

    Raises:
      FileNotFoundError: `path` does not exist.
    """
    check_path("path", path)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path={str(path)!r}: no such file or folder")
    if path.is_file() or frame_files(path):
        return [path]
    paths = _below(path)
    if not paths:
        allowed = f"{', '.join(VIDEO_EXTENSIONS + ANIMATIONS)}, and folders of frames"
        raise ValueError(f"path={str(path)!r}: holds no video; allowed: {allowed}")
    return paths


def list_classes(root: str | Path) -> tuple[dict[str, list[LabeledVideo]], tuple[str, ...]]:
    """List the videos of a folder that holds one folder for each class, or split folders that do.

    Args:
      root: path of the folder.

    Returns:
      ({split: videos}, class names): the splits are "train" with "valid" and/or "test", or "all" alone; the classes are
      those of train.

    Raises:
      FileNotFoundError: the folder does not exist.
    """
    check_path("root", root)
    root = Path(root)
    if list_videos(root) == [root]:
        raise ValueError(f"path={str(root)!r}: is one video itself; allowed: a folder of class folders")
    folders = _folders(root)
    splits = {folder.name: split for folder in folders if (split := split_of(folder.name))}
    if len(set(splits.values())) < 2:
        groups = {"all": root}
    else:
        if unused := sorted(folder.name for folder in folders if folder.name not in splits):
            raise ValueError(f"path={str(root)!r}: folder {unused[0]!r} is no split; allowed: {allowed_names()}")
        check_one_name(splits, f"path={str(root)!r}")
        groups = {split: root / name for name, split in sorted(splits.items())}
        if "train" not in groups:
            raise ValueError(f"path={str(root)!r}: holds no training split; allowed: a folder 'train', too")
    by_class = {split: _by_class(folder) for split, folder in groups.items()}
    names = tuple(sorted(by_class.get("train", by_class.get("all", {}))))
    if len(names) < 2:
        raise ValueError(f"path={str(root)!r}: {names[0]!r} is the only class; allowed: at least two class folders")
    for split, classes in by_class.items():
        if unknown := sorted(set(classes) - set(names)):
            raise ValueError(f"path={str(root)!r}: class {unknown[0]!r} of {split} is not in train; allowed: {names}")
    number = {name: label for label, name in enumerate(names)}
    videos = {
        split: [
            LabeledVideo(path, number[name], path.relative_to(root).as_posix())
            for name, paths in sorted(classes.items())
            for path in paths
        ]
        for split, classes in by_class.items()
    }
    return videos, names


def labeled_clips(
    videos: Sequence[LabeledVideo],
    class_names: Sequence[str],
    *,
    length: int,
    size: int | tuple[int, int],
    stride: int = 1,
    frame_rate: float | None = None,
    short: Short = "error",
    workers: Workers | None = None,
    name: str = "videos",
) -> Source:
    """Open videos and make their clips a source: `image: [N, length, H, W, 3] uint8`, `label: [N]`, `video: [N]`.

    Args:
      videos: N videos or parts of videos.
      class_names: names of the classes, in the order of the labels.
      length: frames of a clip.
      size: side or (H, W) of a frame in pixels: frames are scaled until they cover it, and their center is cut out.
      stride: distance between consecutive frames of a clip, in frames of the video.
      frame_rate: frames per second of a clip, in place of `stride`; None takes the stride. A constant rate is divided
        by the nearest whole number; of a variable one, a clip has the frames on display at its times.
      short: what to do with a video shorter than a clip: "error", "loop" (begin again) or "clamp" (repeat its last
        frame).
      workers: threads that decode; None takes one for each core.
      name: name of the source.

    Returns:
      The source, of one clip per video; a note says how many videos are shorter than a clip, and what is done.
    """
    check_choice("short", short, Short)
    check_whole_number("length", length, 1)
    check_whole_number("stride", stride, 1)
    pair = target_size(size, "size")
    if frame_rate is not None:
        check_finite("frame_rate", frame_rate)
    if frame_rate is not None and not frame_rate > 0:
        raise ValueError(f"frame_rate={frame_rate:g}: out of range; allowed: above 0 frames a second")
    workers = Workers() if workers is None else workers
    paths = sorted({str(video.path) for video in videos})
    files = dict(zip(paths, workers.fill(np.empty(len(paths), object), lambda i: open_video(paths[i])), strict=True))
    opened, frames, strides, is_resampled = [files[str(video.path)] for video in videos], [], [], False
    for video, file in zip(videos, opened, strict=True):
        if file.frame_rate is None and (frame_rate is not None or video.seconds is not None):
            raise ValueError(f"{frame_rate=}: {video.name} is a folder, which has no times; allowed: a stride")
        part, step, by_time = _frames_of(file, video.seconds, frame_rate)
        frames.append(part)
        is_resampled |= by_time
        strides.append(step or stride)

    def read(i: int, indices: np.ndarray) -> np.ndarray:
        return read_frames(opened[i].path, frames[i][indices], pair)

    clips = SampledClips(
        read,
        lambda i: videos[i].name,
        np.array([len(part) for part in frames]),
        np.array(strides),
        np.arange(len(videos)),
        np.zeros(len(videos), int),
        1,
        length,
        pair,
        short,
        workers,
        frame_rate=frame_rate if is_resampled else None,
    )
    num_short = int((clips.spans > clips.num_frames).sum())
    done = {"loop": "they begin again", "clamp": "their last frame is repeated"}
    messages = (
        (f"{name}: {num_short} of {len(videos)} videos are shorter than a clip; {done[short]}",) if num_short else ()
    )
    folders = [Path(file.path) for file in opened]
    sizes = [sum(f.stat().st_size for f in frame_files(p)) if p.is_dir() else p.stat().st_size for p in folders]
    arrays = {
        "image": clips,
        "label": np.array([video.label for video in videos], np.int32),
        "video": np.arange(len(videos), dtype=np.int32),
    }
    names = np.array([video.name if video.seconds is None else f"{video.name} {video.seconds}" for video in videos])
    return Source(
        arrays, len(videos), tuple(class_names), name=name, notes=messages, names=names, sizes=np.array(sizes)
    )


def _frames_of(
    file: VideoFile, seconds: tuple[float, float] | None, frame_rate: float | None
) -> tuple[np.ndarray, int | None, bool]:
    """Return (the numbers of a part's frames, their distance in a clip or None for any, whether they are not even).

    Where frames are not evenly spaced, these are the frames on display at the times of `frame_rate`.
    """
    if seconds is None and frame_rate is None:
        return np.arange(file.num_frames), None, False
    times, close = frame_times(file), 1e-6  # sums of decimals, such as 0.1 + 0.2, differ by less
    start, end = (0.0, np.inf) if seconds is None else seconds
    first = max(0, np.searchsorted(times, start + close, "right") - 1)
    part = np.arange(first, max(first + 1, np.searchsorted(times, end - close)))
    if frame_rate is None:
        return part, None, False
    display_times, periods = times[part] - times[first], np.diff(times[part])
    if len(periods) == 0 or np.ptp(periods) < close:
        rate = round(len(periods) / display_times[-1], 6) if len(periods) else file.frame_rate
        return part, max(1, round(rate / frame_rate)), False
    sample_times = np.arange(int((display_times[-1] + close) * frame_rate) + 1) / frame_rate
    return part[np.searchsorted(display_times, sample_times + close, "right") - 1], 1, True


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith((".", "__MACOSX")))


def _below(folder: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """Return the videos below a folder, sorted; a folder of frames is one video and is not searched.

    A link to one of the folders above is not followed.
    """
    paths, above = [], (*above, folder.resolve())
    for path in sorted(folder.iterdir()):
        if is_video(path):
            paths.append(path)
        elif path.is_dir() and not path.name.startswith((".", "__MACOSX")) and path.resolve() not in above:
            paths += _below(path, above)
    return paths


def _by_class(folder: Path) -> dict[str, list[Path]]:
    loose = [path.name for path in sorted(folder.iterdir()) if is_video(path) and path.is_file()]
    classes: dict[str, list[Path]] = {}
    for path in _folders(folder):
        if frame_files(path):
            loose.append(path.name)
            continue
        classes[path.name] = _below(path)
        if not classes[path.name]:
            raise ValueError(f"path={str(path)!r}: class {path.name!r} has no clips; allowed: a video a class")
    if loose:
        raise ValueError(f"path={str(folder)!r}: {loose[0]!r} lies in no class folder; allowed: one folder a class")
    return classes

"""Readers of the annotations of video data sets: labels or sentences of videos and of parts of them, by split.

    ucf101            ucfTrainTestlist/classInd.txt, trainlist0K.txt, testlist0K.txt; UCF-101/CLASS/CLIP.avi
    sports1m          labels.txt, original/{train,test}_partition.txt ("URL label,label"); videos/ID.mp4
    charades          Charades_v1_classes.txt, Charades_v1_{train,test}.csv ("c092 11.90 21.20;..."); Charades_v1/ID.mp4
    ava               ava_action_list_v2.2.pbtxt, ava_{train,val}_v2.2.csv (id, second, box, action, person); videos/ID
    moments_in_time   moments_categories.txt, trainingSet.csv, validationSet.csv; {training,validation}/CLASS/CLIP.mp4
    mvad              {Train,Valid,Test}List.txt ("MOVIE_DVS1.avi<tab>sentence"); MOVIE/video/MOVIE_DVS1.avi
    mpii_md           annotations-someone.csv ("CLIP<tab>sentence"), dataSplit.txt; jpgAllFrames/MOVIE/CLIP/*.jpg or
                      avi/MOVIE/CLIP.avi
    lsmdc             LSMDC16_annos_{training,val,test}.csv (clip, four times, sentence); MOVIE/CLIP.avi

No video is decoded here. YouTube-8M has features in place of videos, see `dlcore.data.youtube8m`. Soomro et al. 2012
(UCF101); Karpathy et al. 2014 (Sports-1M); Sigurdsson et al. 2016 (Charades); Gu et al. 2018 (AVA); Monfort et al. 2019
(Moments in Time); Torabi et al. 2015 (M-VAD); Rohrbach et al. 2015 (MPII-MD) and 2017 (LSMDC).
"""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.choices import check_choice, check_path, check_whole_number
from dlcore.data.video_folder import LabeledVideo, is_video

__all__ = ["VIDEO_DATASETS", "VideoAnnotation", "VideoDataset", "labeled_videos", "read_video_dataset"]


_AVA_COLUMNS = 8
_AVA_LINE = "allowed: id, second, x1, y1, x2, y2 in [0, 1], action, person"


class VideoAnnotation(NamedTuple):
    """Annotation of a video or of a part of one.

    Args:
      path: path of the video file or of the folder of frames.
      name: name of the video in the data set.
      labels: classes, indices into `VideoDataset.class_names`; () if the annotation is a sentence.
      seconds: (start, end) of the part in seconds; None for the whole video.
      box: (x1, y1, x2, y2) of the person who acts, in [0, 1]; None if the annotation is of the whole frame.
      sentence: description; "" if the annotation is a label.
    """

    path: Path
    name: str
    labels: tuple[int, ...] = ()
    seconds: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None
    sentence: str = ""


class VideoDataset(NamedTuple):
    """Annotations of a data set.

    Args:
      splits: "train", "valid" or "test" -> annotations, in the order of the data set's lists.
      class_names: names of the classes, in the order of the labels; () if the annotations are sentences.
      notes: messages, one for each split, about listed videos that do not exist.
    """

    splits: dict[str, list[VideoAnnotation]]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_video_dataset(name: str, root: str | Path, fold: int = 1) -> VideoDataset:
    """Read the annotations of a data set in its authors' layout, without those of videos that do not exist.

    Args:
      name: name from VIDEO_DATASETS.
      root: folder of the data set.
      fold: 1, 2 or 3, which of UCF101's three pairs of lists to read; other data sets ignore it.

    Returns:
      The annotations; `notes` counts the missing videos.

    Raises:
      FileNotFoundError: a list does not exist.
    """
    check_path("root", root)
    check_choice("dataset", name, VIDEO_DATASETS)
    check_whole_number("fold", fold)
    if not 1 <= fold <= 3:
        raise ValueError(f"fold={fold}: out of range; allowed: 1 to 3")
    dataset = _ucf101(Path(root), fold) if name == "ucf101" else VIDEO_DATASETS[name](Path(root))
    splits, messages = {}, list(dataset.notes)
    for split, annotations in dataset.splits.items():
        exists = {path: path.exists() for path in {annotation.path for annotation in annotations}}
        splits[split] = [annotation for annotation in annotations if exists[annotation.path]]
        if missing := len(exists) - sum(exists.values()):
            if not splits[split]:
                raise ValueError(
                    f"root={str(root)!r}: none of the {len(exists):,} videos of {split} is there, such as "
                    f"{annotations[0].path.relative_to(root)}; allowed: at least one"
                )
            messages.append(f"{name}, {split}: {missing:,} of {len(exists):,} videos are not there and are left out")
    return dataset._replace(splits=splits, notes=tuple(messages))


def labeled_videos(dataset: VideoDataset) -> dict[str, list[LabeledVideo]]:
    """Make each annotation a video of one class, for classification; the class is the first of the labels.

    Args:
      dataset: data set whose annotations have labels.

    Returns:
      Split -> labeled videos, or labeled parts of videos.
    """
    if not dataset.class_names:
        raise ValueError("dataset: sentences describe its videos, which have no classes; allowed: one with classes")
    return {
        split: [LabeledVideo(a.path, a.labels[0], a.name, a.seconds) for a in annotations if a.labels]
        for split, annotations in dataset.splits.items()
    }


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r}: no such file; allowed: the list as the data set has it")
    return [line for line in path.read_text(encoding="utf-8-sig", errors="replace").split("\n") if line.strip()]


def _fields(path: Path, line: str, pattern: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, line.strip())
    if match is None:
        raise ValueError(f"path={str(path)!r}: {line.strip()[:60]!r} is no such line; allowed: {pattern}")
    return match.groups()


def _index(path: Path, number: dict[str, int], name: str) -> int:
    if name not in number:
        raise ValueError(f"path={str(path)!r}: class {name!r} is unknown; allowed: the {len(number)} of the data set")
    return number[name]


def _numbered(path: Path, names: Sequence[str]) -> dict[str, int]:
    """Number names in their order."""
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"path={str(path)!r}: class {twice[0]!r} stands there twice; allowed: each class once")
    return {name: i for i, name in enumerate(names)}


def _label(path: Path, text: str, count: int) -> int:
    if not 0 <= int(text) < count:
        raise ValueError(f"path={str(path)!r}: label {text} is out of range; allowed: 0 to {count - 1}")
    return int(text)


def _ucf101(root: Path, fold: int = 1) -> VideoDataset:
    lists = root / "ucfTrainTestlist"
    classes = [_fields(lists / "classInd.txt", line, r"(\d+) (\S+)")[1] for line in _lines(lists / "classInd.txt")]
    number = _numbered(lists / "classInd.txt", classes)
    splits = {}
    for split in ("train", "test"):
        path = lists / f"{split}list0{fold}.txt"
        files = [_fields(path, line, r"(\S+)(?: \d+)?")[0] for line in _lines(path)]
        splits[split] = [
            VideoAnnotation(root / "UCF-101" / file, file, (_index(path, number, file.split("/")[0]),))
            for file in files
        ]
    return VideoDataset(splits, tuple(classes))


def _sports1m(root: Path) -> VideoDataset:
    classes = tuple(line.strip() for line in _lines(root / "labels.txt"))
    splits = {}
    for split in ("train", "test"):
        path, splits[split] = root / "original" / f"{split}_partition.txt", []
        for line in _lines(path):
            video, labels = _fields(path, line, r"\S*?(?:v=|/|^)([\w-]{11}) ([\d,]+)")
            label_ids = tuple(_label(path, label, len(classes)) for label in labels.split(",") if label)
            splits[split].append(VideoAnnotation(root / "videos" / f"{video}.mp4", video, label_ids))
    return VideoDataset(splits, classes)


def _charades(root: Path) -> VideoDataset:
    listed = [
        _fields(root / "Charades_v1_classes.txt", line, r"(c\d+) (.+)")
        for line in _lines(root / "Charades_v1_classes.txt")
    ]
    number = _numbered(root / "Charades_v1_classes.txt", [code for code, _ in listed])
    splits, reversed_actions = {}, []
    for split in ("train", "test"):
        path, splits[split] = root / f"Charades_v1_{split}.csv", []
        for row in csv.DictReader(_lines(path)):
            if missing := [key for key in ("id", "actions") if row.get(key) is None]:
                raise ValueError(f"path={str(path)!r}: a line has no {missing[0]}; allowed: columns id and actions")
            for action in filter(None, row["actions"].split(";")):
                code, start, end = _fields(path, action, r"(c\d+) (\d+(?:\.\d*)?) (\d+(?:\.\d*)?)")
                seconds, label = (float(start), float(end)), _index(path, number, code)
                if seconds[0] > seconds[1]:
                    reversed_actions.append(f"{action} of {row['id']}")
                    continue
                video = root / "Charades_v1" / f"{row['id']}.mp4"
                splits[split].append(VideoAnnotation(video, row["id"], (label,), seconds))
    messages = ()
    if reversed_actions:
        number_left, first = len(reversed_actions), reversed_actions[0]
        messages = (f"charades: {number_left} actions end before they start and are left out, such as {first}",)
    return VideoDataset(splits, tuple(name for _, name in listed), messages)


def _ava(root: Path) -> VideoDataset:
    text = "\n".join(_lines(root / "ava_action_list_v2.2.pbtxt"))
    listed = re.findall(r'name: "([^"]*)"\s*(?:label_)?id: (\d+)', text)
    number, splits = _numbered(root / "ava_action_list_v2.2.pbtxt", [label for _, label in listed]), {}
    files = {path.stem: path for path in (root / "videos").glob("*") if is_video(path)}
    for split, part in (("train", "train"), ("valid", "val")):
        path, people = root / f"ava_{part}_v2.2.csv", {}
        for row in csv.reader(_lines(path)):
            if len(row) != _AVA_COLUMNS:
                raise ValueError(f"path={str(path)!r}: {','.join(row)[:60]!r} has {len(row)} columns; {_AVA_LINE}")
            video, second, *box, action, person = row
            if not action:  # a frame without any action has a line, too
                continue
            try:
                numbers = float(second), *map(float, box)
            except ValueError:
                numbers = (np.nan,)
            if not 0 <= numbers[0] < np.inf or not all(0 <= value <= 1 for value in numbers[1:]):
                raise ValueError(f"path={str(path)!r}: {','.join(row)[:60]!r} is no such line; {_AVA_LINE}")
            people.setdefault((video, numbers[0], numbers[1:], person), []).append(_index(path, number, action))
        # AVA labels key frames; its own definition of a segment is 1.5 s to each side of the key frame.
        splits[split] = [
            VideoAnnotation(
                files.get(video, root / "videos" / video),
                video,
                tuple(labels),
                (max(0, second - 1.5), second + 1.5),
                box,
            )
            for (video, second, box, _), labels in people.items()
        ]
    return VideoDataset(splits, tuple(name for name, _ in listed))


def _moments_in_time(root: Path) -> VideoDataset:
    path = root / "moments_categories.txt"
    classes = [_fields(path, line, r"(.+),(\d+)") for line in _lines(path)]
    number = {name: int(label) for name, label in classes}
    if sorted(number.values()) != list(range(len(classes))):
        raise ValueError(f"path={str(path)!r}: numbers with gaps or twins; allowed: 0 to {len(classes) - 1}, each once")
    splits = {}
    for split, part in (("train", "training"), ("valid", "validation")):
        path = root / f"{part}Set.csv"
        rows = list(csv.reader(_lines(path)))
        if short := [row for row in rows if len(row) < 2]:
            raise ValueError(f"path={str(path)!r}: {short[0][0][:60]!r}; allowed: CLASS/CLIP.mp4,CLASS,...")
        listed = [row[:2] for row in rows]
        splits[split] = [
            VideoAnnotation(root / part / file, file, (_index(path, number, name),)) for file, name in listed
        ]
    return VideoDataset(splits, tuple(sorted(number, key=number.__getitem__)))


def _mvad(root: Path) -> VideoDataset:
    splits = {}
    for split in ("train", "valid", "test"):
        path, splits[split] = root / f"{split.title()}List.txt", []
        for line in _lines(path):
            file, movie, sentence = _fields(path, line, r"((.+)_DVS\d+\.\w+)\t(.+)")
            splits[split].append(VideoAnnotation(root / movie / "video" / file, file, sentence=sentence))
    return VideoDataset(splits, ())


def _mpii_md(root: Path) -> VideoDataset:
    path = root / "dataSplit.txt"
    names = {"training": "train", "validation": "valid", "test": "test"}
    split_of = dict(_fields(path, line, r"(\S+)\t(\w+)") for line in _lines(path))
    splits: dict[str, list[VideoAnnotation]] = {split: [] for split in names.values()}
    path = root / "annotations-someone.csv"
    for line in _lines(path):
        clip, sentence = _fields(path, line, r"(\S+)\t(.+)")
        movie = clip.rsplit("_", 1)[0]
        if split_of.get(movie) not in names:
            raise ValueError(f"path={str(path)!r}: movie {movie!r} has no split in dataSplit.txt; allowed: {[*names]}")
        frames = root / "jpgAllFrames" / movie / clip
        video = frames if frames.is_dir() else root / "avi" / movie / f"{clip}.avi"
        splits[names[split_of[movie]]].append(VideoAnnotation(video, clip, sentence=sentence))
    return VideoDataset(splits, ())


def _lsmdc(root: Path) -> VideoDataset:
    splits = {}
    for split, part in (("train", "training"), ("valid", "val"), ("test", "test")):
        path, splits[split] = root / f"LSMDC16_annos_{part}.csv", []
        for line in _lines(path):
            clip, sentence = _fields(path, line, r"(\S+)(?:\t\S*){4}\t(.+)")
            splits[split].append(
                VideoAnnotation(root / clip.rsplit("_", 1)[0] / f"{clip}.avi", clip, sentence=sentence)
            )
    return VideoDataset(splits, ())


VIDEO_DATASETS: dict[str, Callable[[Path], VideoDataset]] = {
    "ucf101": _ucf101,
    "sports1m": _sports1m,
    "charades": _charades,
    "ava": _ava,
    "moments_in_time": _moments_in_time,
    "mvad": _mvad,
    "mpii_md": _mpii_md,
    "lsmdc": _lsmdc,
}
"""Name -> its reader."""

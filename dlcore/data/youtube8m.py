"""YouTube-8M: one feature vector per video instead of its frames.

    train0000.tfrecord ...    tf.Example with id, labels, mean_rgb [1024] and mean_audio [128]

Abu-El-Haija et al. 2016, arXiv:1609.08675. The files are read without TensorFlow: a record is its length in 8 bytes,
4 bytes of checksum, the example, and 4 bytes of checksum; checksums are not compared.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dlcore.choices import check_path, check_whole_number
from dlcore.data.source import Source
from dlcore.extras import require

__all__ = ["NUM_CLASSES", "read_youtube8m"]

NUM_CLASSES = 3862
"""Number of classes since the version of 2018."""
_LEVEL = "allowed: the video-level files, with id, labels, mean_rgb [1024] and mean_audio [128]"


def read_youtube8m(root: str | Path, split: str = "train", num_classes: int = NUM_CLASSES) -> Source:
    """Read the video-level features of a split.

    Args:
      root: folder of the .tfrecord files.
      split: "train", "validate" or "test", the prefix of the file names.
      num_classes: number of classes.

    Returns:
      Source of `mean_rgb: [N, 1024] float32`, `mean_audio: [N, 128] float32` and `labels: [N, num_classes] bool`;
      `names` are the ids.

    Raises:
      FileNotFoundError: there is no file of the split.
    """
    check_path("root", root)
    check_whole_number("num_classes", num_classes, 1)
    require("tensorflow_datasets", what="YouTube-8M")
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_generated_pb2

    files = sorted(Path(root).glob(f"{split}*.tfrecord"))
    if not files:
        raise FileNotFoundError(f"root={str(root)!r}: holds no {split}*.tfrecord; allowed: the files of the split")
    names, rgb, audio, labels = [], [], [], []
    for file in files:
        for record in _records(file):
            try:
                feature = tf_example_generated_pb2.Example.FromString(record).features.feature
                names.append(feature["id"].bytes_list.value[0].decode())
            except (DecodeError, IndexError, UnicodeDecodeError):
                raise ValueError(
                    f"path={str(file)!r}: record {len(names)} is no example with an id; {_LEVEL}"
                ) from None
            for feature_name, size, rows in (("mean_rgb", 1024, rgb), ("mean_audio", 128, audio)):
                values = np.array(feature[feature_name].float_list.value, np.float32)
                if len(values) != size or not np.isfinite(values).all():
                    problem = f"{feature_name} of {names[-1]} has {len(values)} numbers, or one that is not finite"
                    raise ValueError(f"path={str(file)!r}: {problem}; {_LEVEL}")
                rows.append(values)
            classes = np.array(feature["labels"].int64_list.value, np.int64)
            if len(classes) and not 0 <= classes.min() <= classes.max() < num_classes:
                raise ValueError(f"labels={classes.tolist()}: out of range; allowed: 0 to {num_classes - 1}")
            labels.append(np.isin(np.arange(num_classes), classes))
    if not names:
        raise ValueError(f"root={str(root)!r}: the {len(files)} files of {split} hold no video; {_LEVEL}")
    arrays = {"mean_rgb": np.stack(rgb), "mean_audio": np.stack(audio), "labels": np.stack(labels)}
    return Source(arrays, len(names), name=f"YouTube-8M, {split}", names=np.array(names))


def _records(path: Path) -> Iterator[bytes]:
    data, position = path.read_bytes(), 0
    while position < len(data):
        (length,) = struct.unpack_from("<Q", data, position) if position + 12 <= len(data) else (len(data),)
        end = position + 12 + length
        if end + 4 > len(data):
            raise ValueError(f"path={str(path)!r}: cut off at byte {position}; allowed: whole .tfrecord files")
        yield data[position + 12 : end]
        position = end + 4

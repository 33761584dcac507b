"""Read the tensors of a file that `torch.save` wrote, without torch and without running any code of the file.

    zip (since torch 1.6)     NAME/data.pkl, a pickle; NAME/data/KEY, the bytes of a storage
    stream (before)           pickles: magic number, protocol, system, content, keys; then length and bytes by key

A pickle names functions and classes. Those that rebuild a tensor are replaced by our own, OrderedDict is itself, and
any other becomes an `Unknown` that takes every argument and does nothing.
"""

import collections
import io
import math
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

__all__ = ["TorchTensor", "Unknown", "read_torch_file"]

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class Unknown:
    """Stands for an object that is no tensor, such as the arguments of a training script.

    Args:
      *args: whatever the file gives.
      **kwargs: whatever the file gives.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def _ignore(self, *args: Any) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = _ignore


class _Storage(NamedTuple):
    kind: str
    key: str
    contents: dict[str, bytes]


class TorchTensor(NamedTuple):
    """A tensor whose numbers lie in a storage.

    Args:
      storage: storage of the file.
      offset: offset of the first number in the storage.
      shape: shape of the tensor.
      strides: between numbers, along each axis.
    """

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """Read the numbers.

        Returns:
          A new array.
        """
        if self.storage.kind not in DTYPES:
            raise ValueError(f"holds a torch.{self.storage.kind}; allowed: {', '.join(DTYPES)}")
        flat = np.frombuffer(self.storage.contents[self.storage.key], DTYPES[self.storage.kind])
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides)) < 0 or (0 not in self.shape and last >= len(flat)):
            raise ValueError("a tensor ends beyond its storage; allowed: a whole file")
        if (count := math.prod(self.shape)) > len(flat):
            raise ValueError(f"a tensor of {count:,} numbers in a storage of {len(flat):,}; allowed: no more")
        strides = [step * flat.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides).copy()


def _tensor(storage: _Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> TorchTensor:
    return TorchTensor(storage, offset, tuple(shape), tuple(strides))


KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
}


class _Unpickler(pickle.Unpickler):
    """Calls nothing that the file names."""

    def __init__(self, file: Any, storages: dict[str, _Storage], contents: dict[str, bytes]):
        super().__init__(file)
        self.storages, self.contents = storages, contents

    def find_class(self, module: str, name: str) -> Any:
        return KNOWN.get((module, name)) or type(name, (Unknown,), {})

    def persistent_load(self, pid: tuple) -> Any:
        if pid[0] != "storage":
            return Unknown()
        return self.storages.setdefault(pid[2], _Storage(pid[1].__name__, pid[2], self.contents))


def read_torch_file(path: str | Path) -> Any:
    """Read what `torch.save` wrote.

    Args:
      path: path of the file.

    Returns:
      The content, with a `TorchTensor` for each tensor and an `Unknown` for each object of another class.
    """
    try:
        with open(path, "rb") as file:
            return _from_zip(file) if zipfile.is_zipfile(path) else _from_stream(file)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        text = f"{type(error).__name__}: {error}"
        raise ValueError(f"path={path}: no file of torch.save, or damaged ({text}); allowed: a whole one") from None


def _from_zip(opened: BinaryIO) -> Any:
    with zipfile.ZipFile(opened) as file:
        names = file.namelist()
        root = next(name for name in names if name.endswith("data.pkl")).removesuffix("data.pkl")
        if root + "byteorder" in names and file.read(root + "byteorder") != b"little":
            raise ValueError("written on a machine of the other byte order")
        storages, contents = {}, {}
        content = _Unpickler(io.BytesIO(file.read(root + "data.pkl")), storages, contents).load()
        contents |= {key: file.read(f"{root}data/{key}") for key in storages}
    return content


def _from_stream(file: BinaryIO) -> Any:
    storages, contents = {}, {}
    magic, _, _, content, keys = (_Unpickler(file, storages, contents).load() for _ in range(5))
    if magic != MAGIC:
        raise ValueError("another magic number")
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        contents[key] = file.read(count * np.dtype(DTYPES[storages[key].kind]).itemsize)
    return content

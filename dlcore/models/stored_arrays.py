"""Snapshots of published networks: a hub's repository, a local folder of its files, or one file of weights.

A snapshot has a configuration, a processor's configuration and weights; the arrays are read one at a time, when they
are used. Only a hub id touches the network, by `huggingface_hub`, whose cache, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE
hold.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.extras import require
from dlcore.json_content import parse_json

__all__ = ["StoredArray", "read_config", "read_safetensors"]


class StoredArray:
    """An array in a .safetensors file, which `np.asarray` reads.

    Args:
      file: path of the file.
      name: name of the array.
      shape: shape of the array.
      dtype: safetensors' name of its dtype, such as BF16.
    """

    def __init__(self, file: Path, name: str, shape: tuple[int, ...], dtype: str):
        self.file, self.name, self.shape, self.dtype = file, name, tuple(shape), dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        from safetensors import safe_open

        with safe_open(self.file, "numpy") as file:
            array = file.get_tensor(self.name)
        return array if dtype is None else array.astype(dtype)

    def __getitem__(self, idx: Any) -> np.ndarray:
        return np.asarray(self)[idx]


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON file of a published network.

    Args:
      path: path of the file.

    Returns:
      The object that it holds.
    """
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); allowed: the file as it was published") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}; allowed: a JSON object")
    return content


def read_safetensors(path: Path) -> dict[str, StoredArray]:
    """List the arrays of a .safetensors file by its header.

    Args:
      path: path of the file.

    Returns:
      Name -> array that is read when it is used.

    Raises:
      ValueError: the file is no .safetensors, or shorter than its header says.
      MissingPackage: safetensors is not installed.
    """
    require("safetensors", what=str(path))
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else size
        header = file.read(length) if 8 + length <= size else b""
    try:
        entries = {name: entry for name, entry in parse_json(header).items() if name != "__metadata__"}
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        arrays = {name: StoredArray(path, name, entry["shape"], entry["dtype"]) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{path}: {size:,} bytes without a whole header; allowed: a whole .safetensors file") from None
    if size != end:
        raise ValueError(f"{path}: {size:,} bytes, where its header says {end:,}; allowed: the whole file")
    return arrays

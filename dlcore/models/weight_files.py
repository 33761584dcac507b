"""Read a state dict from any file, index or folder that torch, safetensors or NumPy wrote, without torch.

    .pth .pt .bin .tar .ckpt           torch.save, told by the content
    .safetensors  .npz                 safetensors, NumPy
    NAME.index.json, or a folder       shards: {"weight_map": {name: file}}, as transformers writes them

Training scripts wrap a model. Dicts around it (`state_dict`, `model`, ...) are opened; of a model and its moving
average the average is taken, as timm does. Names in front of all keys (`module.`, `model.`) are left out. Of
self-supervised pairs the encoder is taken that the projects themselves transfer, without its projection head:
`encoder_q` of MoCo, `base_encoder` of MoCo v3, `backbone` of lightly.
"""

import os
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging

from dlcore.extras import require
from dlcore.json_content import parse_json
from dlcore.models.torch_file import TorchTensor, read_torch_file

__all__ = ["IGNORED", "listed", "read_npz", "read_state_dict", "unwrap_state_dict"]

IGNORED = r"(^|\.)num_batches_tracked$|^n_averaged$"
"""Entries that are no weights."""

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "_orig_mod", "net", "network", "backbone")
"""Names under which training scripts, data parallelism and compilation put a model."""

AVERAGES = ("state_dict_ema", "model_ema")
"""Names under which timm and torchvision put a moving average of the weights."""

ENCODERS = (
    ("encoder_q.", r"(encoder_k\.|queue)", r"fc\."),
    ("base_encoder.", r"(momentum_encoder\.|predictor\.)", r"(fc|head)\."),
    ("backbone.", r"(\w*projection_head\w*\.|prediction_head\w*\.|backbone_momentum\.)", "(?!)"),
)
"""Self-supervised pairs: prefix of the encoder, pattern of what stands beside it, pattern of its projection head."""

TORCH_ENDINGS = (".pth", ".pt", ".bin", ".tar", ".ckpt")
INDEX = ".index.json"
NAMED = 5
"""Entries that an error names; it counts the others."""
SHARD = r"-(\d+)-of-(\d+)$"


def read_state_dict(path: str | Path, *, use_ema: bool = True) -> dict[str, np.ndarray]:
    """Read a state dict from a file, from the index of its shards, or from a folder of either.

    Args:
      path: a .safetensors or .npz file, a .pth, .pt, .bin, .tar or .ckpt file of `torch.save`, the .index.json of
        shards, or a folder that holds an index, shards or one file.
      use_ema: of a model and its moving average take the average.

    Returns:
      {name: array}, without the names in front that training scripts add (`state_dict`, `model`, `module.` of data
      parallelism, `_orig_mod.` of compilation), and of a self-supervised pair the encoder alone.

    Raises:
      ValueError: the ending is another, the file is damaged, an entry is no tensor, or a shard is missing.
      FileNotFoundError: there is no such file.
      MissingPackage: safetensors is not installed.
    """
    _check_path(path)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path={path}: does not exist; allowed: a file with a state dict")
    source = _weights_of_folder(path) if path.is_dir() else path
    if isinstance(source, Path) and not source.name.endswith(INDEX):
        if (shard := re.search(SHARD, source.stem)) and int(shard[2]) > 1:
            raise ValueError(f"path={source}: one of {int(shard[2])} shards; allowed: their folder, or their {INDEX}")
        return unwrap_state_dict(_read_file(source, use_ema))
    files = _files_of_index(source) if isinstance(source, Path) else source
    entries: dict[str, np.ndarray] = {}
    for file, names in files.items():
        content = _read_file(file, use_ema)
        if missing := [name for name in names or () if name not in content]:
            raise ValueError(f"path={file}: {listed('missing', missing)}which the index lists; allowed: whole shards")
        entries |= content if names is None else {name: content[name] for name in names}
    return unwrap_state_dict(entries)


def _check_path(path: Any) -> None:
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path={path!r}: a {type(path).__name__}; allowed: paths")


def _weights_of_folder(folder: Path) -> Path | dict[Path, None]:
    """Find the index, the shards ({file: None}) or the only file of a folder; safetensors come before torch's."""
    for pattern in (
        f"*.safetensors{INDEX}",
        f"*{INDEX}",
        "*.safetensors",
        "*.bin",
        "*.pt*",
        "*.ckpt",
        "*.tar",
        "*.npz",
    ):
        files = sorted(folder.glob(pattern))
        if len(files) == 1 and not re.search(SHARD, files[0].stem):
            return files[0]
        if not files:
            continue
        counts = {int(m[2]) if (m := re.search(SHARD, file.stem)) else None for file in files}
        if counts == {len(files)}:
            return dict.fromkeys(files)
        names = ", ".join(file.name for file in files)
        raise ValueError(f"path={folder}: holds {names}; allowed: one file, one {INDEX}, or all shards of one model")
    raise ValueError(f"path={folder}: holds no weights; allowed: .safetensors, .npz, {', '.join(TORCH_ENDINGS)}")


def _files_of_index(index: Path) -> dict[Path, list[str]]:
    """Read an index: {file: names}."""
    try:
        weight_map = parse_json(index.read_bytes())["weight_map"]
        files: dict[Path, list[str]] = {}
        for name, file in weight_map.items():
            files.setdefault(index.parent / file, []).append(name)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(f"path={index}: no index of shards; allowed: a JSON object with weight_map") from None
    if outside := [file for file in files if file.parent != index.parent]:
        raise ValueError(f"path={index}: lists {outside[0]}; allowed: files of its own folder")
    if missing := [file.name for file in files if not file.exists()]:
        raise ValueError(f"path={index}: {listed('shards missing', missing)}allowed: an index beside all its shards")
    return files


def _read_file(path: Path, use_ema: bool) -> dict[str, np.ndarray]:
    """Read one file; floats become float32."""
    if path.suffix == ".npz":
        return read_npz(path)
    if path.suffix == ".safetensors":
        require("safetensors", what=f"path={path}")
        from safetensors.numpy import load_file

        try:
            return load_file(path)
        except Exception as error:  # safetensors raises types of its own
            raise ValueError(f"path={path}: damaged, or no .safetensors ({error}); allowed: a whole file") from None
    if path.suffix not in TORCH_ENDINGS:
        endings = ", ".join((".safetensors", ".npz", *TORCH_ENDINGS, INDEX))
        raise ValueError(f"path={path}: unknown format; allowed: {endings}, or a folder")
    content = _model_of(read_torch_file(path), path, use_ema)
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(f"path={path}: holds a {kind}; allowed: a state dict, torch.save(model.state_dict(), PATH)")
    if non_tensors := [key for key, value in content.items() if not isinstance(value, TorchTensor)]:
        raise ValueError(f"{path=}: no dict of tensors; {listed('other entries', non_tensors)}allowed: a state dict")
    arrays = {key: tensor.array() for key, tensor in content.items()}
    floats = {
        key: value.astype(np.float32) for key, value in arrays.items() if jnp.issubdtype(value.dtype, jnp.floating)
    }
    return {**arrays, **floats}


def _model_of(content: Any, path: Path, use_ema: bool) -> Any:
    """Open the dicts around a state dict; of a model and its moving average take one, and say so."""
    while isinstance(content, dict):
        averages = [key for key in AVERAGES if isinstance(content.get(key), dict)]
        models = [key for key in WRAPPERS if isinstance(content.get(key), dict)]
        order = [*averages, *models] if use_ema else [*models, *averages]
        if not order:
            break
        if averages and models:
            rest = ", ".join(order[1:])
            logging.warning("%s: %s is taken, and not %s (use_ema=%s)", path, order[0], rest, use_ema)
        content = content[order[0]]
    return content


def unwrap_state_dict(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what training scripts, data parallelism and compilation write before every name.

    Args:
      state_dict: {name: array}.

    Returns:
      The entries; while all names begin with the same one of `WRAPPERS` ("model.", "module."), without it. Of a
      self-supervised pair (`ENCODERS`) those of the encoder, without its projection head.
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(key, str) for key in state_dict):
        raise ValueError(f"state_dict: a {type(state_dict).__name__}; allowed: {{name: array}}")
    entries = dict(state_dict)
    while entries:
        first = {key.partition(".")[0] for key in entries if not re.search(IGNORED, key)}
        if len(first) == 1 and first & {*WRAPPERS}:
            entries = {key.removeprefix(f"{min(first)}."): value for key, value in entries.items()}
            continue
        encoder = _encoder(entries)
        if encoder is None:
            break
        entries = encoder
    return entries


def _encoder(entries: dict[str, Any]) -> dict[str, Any] | None:
    """Return the encoder of a self-supervised pair; None where the entries are none."""
    for prefix, beside, head in ENCODERS:
        companions = [key for key in entries if not key.startswith(prefix) and not re.search(IGNORED, key)]
        if 0 < len(companions) < len(entries) and all(re.match(beside, key) for key in companions):
            encoder = {k.removeprefix(prefix): value for k, value in entries.items() if k.startswith(prefix)}
            return {key: value for key, value in encoder.items() if not re.match(head, key)}
    return None


def read_npz(path: str | Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read arrays of an .npz file.

    Args:
      path: path of the file.
      names: arrays to read, of those that the file has; None reads all.

    Returns:
      {name: array}.

    Raises:
      ValueError: the file is empty, damaged or no .npz, or holds Python objects or files that are no arrays.
      FileNotFoundError: there is no such file.
    """
    _check_path(path)
    if not Path(path).exists():
        raise FileNotFoundError(f"path={path}: does not exist; allowed: an .npz file")
    try:
        with zipfile.ZipFile(path), np.load(path) as file:
            arrays = {name: file[name] for name in file.files if names is None or name in names}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        arrays = None
    if arrays is None or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ValueError(f"path={path}: empty, damaged or no .npz; allowed: a whole file of arrays")
    return arrays


def listed(what: str, items: Sequence[str]) -> str:
    """Name the first few of many items.

    Args:
      what: what they are, such as "missing".
      items: names.

    Returns:
      "7 missing: a, b, c, d, e and 2 more; ", or "" for no item.
    """
    if not items:
        return ""
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return f"{len(items)} {what}: {', '.join(map(str, items[:NAMED]))}{more}; "

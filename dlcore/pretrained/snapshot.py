"""Snapshots of published networks: a hub's repository, a local folder of its files, or one file of weights.

A snapshot has a configuration, a processor's configuration and weights; the arrays are read one at a time, when they
are used. Only a hub id touches the network, by `huggingface_hub`, whose cache, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE
hold.
"""

import hashlib
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from dlcore.extras import require
from dlcore.models.stored_arrays import read_config, read_safetensors
from dlcore.models.stored_counts import all_stored_models
from dlcore.models.weight_files import read_state_dict

__all__ = ["Snapshot", "open_snapshot", "text_folder"]

CONFIGS = ("config.json", "open_clip_config.json")


PROCESSORS = ("preprocessor_config.json", "processor_config.json")


WEIGHTS = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)
"""Files of weights in the order in which they are taken."""


TOKENIZERS = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
"""Files of a tokenizer; a repository may lack some."""
TEXT_FILES = (*TOKENIZERS, "chat_template.jinja", "chat_template.json", "generation_config.json")
"""Files of a language model beside its weights; a repository may lack some."""


FILES = tuple(file for name in WEIGHTS for file in (name, f"{name}.index.json"))
"""With the index of several files behind each."""


HUB_ID = re.compile(r"(?:hf:|hf-hub:)?([\w.-]+/[\w.-]+)$")


SHA256 = re.compile(r"[0-9a-f]{64}$")


class Snapshot(NamedTuple):
    """A published network on disk.

    Args:
      source: what the caller named, for errors.
      config: content of the network's configuration; {} for a file of weights alone.
      processor: content of the processor's configuration; {} without one.
      weights: name -> array.
      folder: folder of its files; None for a file of weights alone.
    """

    source: str
    config: dict[str, Any]
    processor: dict[str, Any]
    weights: Mapping[str, Any]
    folder: Path | None = None


def open_snapshot(
    source: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    offline: bool = False,
    subfolder: str = "",
) -> Snapshot:
    """Open a snapshot, and download it where it is a hub's and not in the cache.

    Args:
      source: a hub id ("facebook/dinov2-base", also "hf:facebook/dinov2-base"), a local folder, or a file of weights.
      revision: branch, tag or commit of a hub's repository; None for its main branch.
      token: access token of the hub; None takes HF_TOKEN or the stored one.
      cache_dir: folder of the hub's cache; None for huggingface_hub's own.
      offline: read the cache alone.
      subfolder: folder within the repository or the folder, such as "unet" of a pipeline.

    Returns:
      The snapshot; its arrays are read when they are used.

    Raises:
      FileNotFoundError: there is no such folder, file or repository, or a snapshot lacks its files.
      ValueError: a file is damaged, or an argument of another type.
      PermissionError: the repository wants a token.
      ConnectionError: the hub does not answer, and the cache has no such snapshot.
      MissingPackage: huggingface_hub or safetensors is not installed.
    """
    for name, value, kinds in (
        ("source", source, str | Path),
        ("revision", revision, str | None),
        ("token", token, str | None),
        ("cache_dir", cache_dir, str | Path | None),
        ("offline", offline, bool),
        ("subfolder", subfolder, str),
    ):
        if not isinstance(value, kinds):
            raise ValueError(f"{name}: a {type(value).__name__}; allowed: {getattr(kinds, '__name__', kinds)}")
    path = Path(str(source).removeprefix("hf:"))
    if path.is_file():
        return Snapshot(str(source), {}, {}, _read_weights(path, str(source)))
    if path.is_dir():
        return _open_folder(path / subfolder, str(path / subfolder) if subfolder else str(source))
    match = HUB_ID.match(str(source))
    if match is None or str(source).startswith((".", "/", "~")):
        raise FileNotFoundError(
            f"source={str(source)!r}: no such folder or file; allowed: a hub id such as {_hub_id(source)}, a folder "
            "with config.json and weights, or a file of weights"
        )
    folder = _download(match[1], revision, token, cache_dir, offline, subfolder)
    return _open_folder(folder, f"{source}/{subfolder}" if subfolder else str(source), verify=True)


def text_folder(source: str | Path) -> Path:
    """Find the folder of a language model's files, with its tokenizer where the repository has one.

    Args:
      source: a hub id or a local folder, see `open_snapshot`, of which the network is already there.

    Returns:
      The folder.
    """
    path = Path(str(source).removeprefix("hf:"))
    match = HUB_ID.match(str(source))
    if path.is_dir() or match is None:
        return path
    return _download(match[1], None, None, None, False, more=TEXT_FILES)


def _hub_id(source: str | Path) -> str:
    """Return an example of a hub id, for errors: that of trained weights of the network that a name stands for."""
    models = {name for rows in all_stored_models().values() for name in rows}
    if near := get_close_matches(str(source), models, 1, 0.8):
        return f"timm/{near[0]}.* (create_model({near[0]!r}) builds it untrained)"
    return "facebook/dinov2-base"


def _open_folder(folder: Path, source: str, verify: bool = False) -> Snapshot:
    config = next((read_config(folder / name) for name in CONFIGS if (folder / name).exists()), None)
    if config is None:
        raise FileNotFoundError(f"source={source!r}: holds no config.json; allowed: a folder as a hub serves it")
    processor = next((read_config(folder / name) for name in PROCESSORS if (folder / name).exists()), {})
    weights = next((folder / name for name in FILES if (folder / name).exists()), None)
    if weights is None:
        raise FileNotFoundError(f"source={source!r}: holds no weights; allowed: one of {', '.join(WEIGHTS)}")
    files = [weights]
    if weights.name.endswith(".index.json"):
        shards = read_config(weights).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise ValueError(f"{weights}: weight_map is no table of files; allowed: the file as it was published")
        files = [folder / name for name in sorted(set(shards.values()))]
    if missing := [file.name for file in files if not file.exists()]:
        raise FileNotFoundError(f"source={source!r}: lacks {', '.join(missing)} of its index; allowed: all files of it")
    if verify:
        for file in files:
            _check_hash(file)
    entries: dict[str, Any] = {}
    for file in files:
        entries |= _read_weights(file, source)
    return Snapshot(source, config, processor, entries, folder)


def _read_weights(path: Path, source: str) -> Mapping[str, Any]:
    return read_safetensors(path) if path.suffix == ".safetensors" else read_state_dict(path)


def _check_hash(path: Path, is_new: bool = False) -> None:
    """Compare a large file of the hub's cache with the hash that names its blob; a new one that differs is removed."""
    expected = path.resolve().name
    if not SHA256.match(expected):
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    if digest.hexdigest() != expected:
        blob, advice = path.resolve(), f"delete {path.resolve()} to download it again"
        if is_new:
            blob.unlink()
            path.unlink()
            advice = "the cache does not keep it, try again"
        raise ValueError(
            f"{path}: its SHA-256 is {digest.hexdigest()[:12]}..., the hub's {expected[:12]}...; allowed: the file as "
            f"published; {advice}"
        )


def _download(
    name: str,
    revision: str | None,
    token: str | None,
    cache_dir: str | Path | None,
    offline: bool,
    subfolder: str = "",
    more: tuple[str, ...] = (),
) -> Path:
    """Return the folder of a repository's files in the hub's cache; what the cache lacks is downloaded."""
    require("huggingface_hub", what=f"source={name!r}")
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

    def fetch(files: tuple[str, ...]) -> Path | None:
        """Return the first of the files that there is."""
        absent: Exception | None = None
        for file in (f"{subfolder}/{file}" if subfolder else file for file in files):
            options = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": offline}
            try:
                cached = try_to_load_from_cache(name, file, cache_dir=cache_dir, revision=revision)
                path = Path(hf_hub_download(name, file, **options))
                if not isinstance(cached, str):
                    _check_hash(path, is_new=True)
                return path
            except errors.LocalEntryNotFoundError as error:  # no hub answers
                absent = error
            except errors.EntryNotFoundError:
                pass
        if absent is not None and files is not PROCESSORS and files[0] not in TEXT_FILES:
            raise absent
        return None

    allowed = "allowed: an id of the hub, with token=... or HF_TOKEN where it is private"
    try:
        config = fetch(CONFIGS)
        weights = None if config is None else fetch(FILES)
        if config is None or weights is None:
            lacks = "config.json" if config is None else "weights of a known name"
            where = f"folder {subfolder} of the repository" if subfolder else "repository"
            raise FileNotFoundError(f"source={name!r}: the {where} lacks {lacks}; allowed: {', '.join(WEIGHTS)}")
        fetch(PROCESSORS)
        is_text = "text_config" in read_config(config) or "vocab_size" in read_config(config)
        for file in dict.fromkeys((*(TOKENIZERS if is_text else ()), *more)):
            fetch((file,))
        if weights.name.endswith(".index.json"):
            for shard in sorted(set(read_config(weights)["weight_map"].values())):
                fetch((shard,))
        return config.parent
    except errors.GatedRepoError:
        raise PermissionError(
            f"source={name!r}: its owner wants you to ask for access; allowed: ask on its page, then pass token=... or "
            "set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise FileNotFoundError(
            f"source={name!r}, revision={revision!r}: no such revision; allowed: a branch, tag or commit of it"
        ) from None
    except errors.RepositoryNotFoundError:
        close = get_close_matches(name, _cached_names(cache_dir))
        near = f" (the cache has {', '.join(close)})" if close else ""
        raise FileNotFoundError(
            f"source={name!r}: the hub has no such repository, or it is private{near}; {allowed}"
        ) from None
    except errors.LocalEntryNotFoundError:
        names = _cached_names(cache_dir)
        has = f"the cache has {', '.join(names)}" if names else "the cache is empty"
        raise ConnectionError(
            f"source={name!r}: not in the cache, and no hub answers; allowed offline: {has}"
        ) from None
    except errors.HfHubHTTPError as error:
        raise ConnectionError(f"source={name!r}: {str(error).splitlines()[0]}; {allowed}") from None
    except (OSError, ValueError):
        raise
    except Exception as error:  # of the HTTP client, whose types depend on the version of huggingface_hub
        reason = str(error).splitlines()[0]
        raise ConnectionError(f"source={name!r}: the download broke off ({reason}); allowed: another try") from None


def _cached_names(cache_dir: str | Path | None) -> list[str]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return sorted(repo.repo_id for repo in scan_cache_dir(cache_dir).repos if repo.repo_type == "model")
    except CacheNotFound:
        return []

"""LoRA in files of peft: what was trained, all of it, and what was not understood is refused by its name.

    base_model.model.LAYER.lora_A.weight [r, in]   .lora_B.weight [out, r]   .lora_B.bias [out]
                          .lora_magnitude_vector [out]    DoRA
                          .lora_embedding_A [r, words]   .lora_embedding_B [features, r]
    base_model.model.LAYER.weight, .bias, .base_layer.bias: a head or another layer of `modules_to_save`, biases

A and B are transposed, as torch holds its kernels. `READ` has the keys of adapter_config.json that are read, `ONLY` the
values of those that would change what an adapter computes, and `IGNORED` why the others change nothing.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from dlcore.extras import require
from dlcore.models.backbone import HEADS
from dlcore.models.stored_arrays import read_config, read_safetensors
from dlcore.models.torch_weights import JOIN
from dlcore.transfer.adapters import Target
from dlcore.transfer.lora import LoRA

__all__ = ["LoRA", "Names", "read_peft", "scale_of", "write_peft"]

PREFIX = "base_model.model."
"""Before every name of peft's files."""
READ = ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "init_lora_weights", "rank_pattern", "alpha_pattern")
STARTS = {"true": "noise", "false": "noise", "gaussian": "noise", "eva": "noise", "orthogonal": "noise"}
STARTS |= {"mica": "noise", "pissa": "pissa", "olora": "olora"}
"""How A and B start; the kernel of the others (pissa_niter_N, corda, loftq, lora_ga) is less of what no file holds."""
ONLY = {
    "trainable_token_indices": None,
    "megatron_config": None,
    "alora_invocation_tokens": None,
    "use_qalora": False,
    "layer_replication": None,
    "use_bdlora": None,
    "arrow_config": None,
    "kasa_config": None,
    "monteclora_config": None,
    "velora_config": None,
    "ensure_weight_tying": False,
}
ENTRIES = "the entries of the file say so"
IGNORED = {
    "bias": ENTRIES,
    "modules_to_save": ENTRIES,
    "lora_bias": ENTRIES,
    "target_modules": ENTRIES,
    "target_parameters": ENTRIES,
    "exclude_modules": ENTRIES,
    "layers_to_transform": ENTRIES,
    "layers_pattern": ENTRIES,
    "fan_in_fan_out": "how torch holds the base's kernel; A and B are the same",
    "lora_dropout": "of training",
    "loftq_config": "of the start; loftq is refused",
    "eva_config": "of the start",
    "corda_config": "of the start; corda is refused",
    "lora_ga_config": "of the start; lora_ga is refused",
    "qalora_group_size": "of use_qalora, which is refused",
    "megatron_core": "of megatron_config, which is refused",
    "runtime_config": "where peft computes",
    "inference_mode": "whether peft goes on training",
    "auto_mapping": "the class of the base",
    "base_model_name_or_path": "the base; its layers are named by `names`",
    "revision": "of the base",
    "task_type": "the class that peft wraps the base in",
    "peft_version": "who wrote the file",
}
_ENTRY = re.compile(r"^(.*)\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)(?:\.(weight|bias))?$")


class Names:
    """Published names of a network's parameters, by which entries of files find them.

    Args:
      names: path of a parameter -> its published name, or "q + k + v" of a layer that gives all three; those of
        `dlcore.models.torch_weights.published_names` know the older names of files on hubs, too.
    """

    def __init__(self, names: Mapping[str, str]):
        self.older = getattr(names, "older", ())
        self.targets = {
            name: Target(path.removeprefix("params/"), part)
            for path, joined in names.items()
            for name, part in zip(joined.split(JOIN), "qkv" if JOIN in joined else (None,), strict=True)
        }
        self.names = {target: name for name, target in self.targets.items()}

    def find(self, entry: str) -> Target | None:
        """Find a parameter.

        Args:
          entry: its published name, of today or an older one, such as layers.0.mlp.fc1.weight, perhaps behind the name
            of a module that the network is in.

        Returns:
          The parameter; None where the network has none of this name.
        """
        renamed = entry
        for pattern, replacement in self.older:
            renamed = re.sub(pattern, replacement, renamed)
        for name in dict.fromkeys((entry, renamed)):
            parts = name.split(".")
            for k in range(len(parts)):  # the longest name first
                if (target := self.targets.get(".".join(parts[k:]))) is not None:
                    return target
        return None

    def entries_of(self, name: str) -> list[str]:
        """Find the entries of a parameter.

        Args:
          name: path of the parameter, or path:part.

        Returns:
          Its published name; three of them where it joins three.
        """
        path, _, part = name.partition(":")
        targets = [Target(path, part)] if part else [Target(path), *(Target(path, part) for part in "qkv")]
        if not (matched := [self.names[target] for target in targets if target in self.names]):
            raise ValueError(f"names: lacks {name}, which was trained; allowed: names of all that was trained")
        return matched


def read_peft(folder: str | Path, names: Mapping[str, str]) -> tuple[LoRA, dict[str, Any]]:
    """Read an adapter that peft saved.

    Args:
      folder: folder with adapter_config.json and adapter_model.safetensors.
      names: see `Names`.

    Returns:
      (the method, its parameters); `method.merge(params, parameters)` is the adapted network, with the head and the
      biases that were trained beside the adapter.

    Raises:
      ValueError: it is no LoRA, has a key or an entry that is not understood, or of a layer that the network lacks.
      FileNotFoundError: a file is missing.
    """
    require("safetensors", what=f"folder={str(folder)!r}")
    folder = Path(folder)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).exists():
            raise FileNotFoundError(f"folder={str(folder)!r}: lacks {file}; allowed: a folder that peft saved")
    config = {"peft_type": None} | read_config(folder / "adapter_config.json")
    return from_peft(config, read_safetensors(folder / "adapter_model.safetensors"), names)


def from_peft(
    config: Mapping[str, Any], entries: Mapping[str, Any], names: Mapping[str, str]
) -> tuple[LoRA, dict[str, Any]]:
    """Convert the entries of an adapter of peft.

    Args:
      config: content of adapter_config.json.
      entries: name -> array.
      names: see `Names`.

    Returns:
      (the method, its parameters).
    """
    method = _method(config)
    published, new, adapted = Names(names), {}, {}
    for entry, value in entries.items():
        name = entry.removeprefix(PREFIX).replace(".base_layer.", ".").replace(".modules_to_save.", ".")
        if ".original_module." in name or name.endswith(".num_batches_tracked"):
            continue  # the base's own, which a module of modules_to_save replaces; torch's count of updates
        match = _ENTRY.match(name)
        target = published.find(f"{match[1]}.weight" if match else name)
        if target is None:
            layers = ", ".join(name.removesuffix(".weight") for name in list(published.targets)[:5])
            raise ValueError(f"{entry}: the network has no layer {match[1] if match else name}; allowed: {layers}, ...")
        if target.path.startswith("batch_stats/"):
            raise ValueError(f"{entry}: a running statistic; allowed: parameters")
        array, kind = jnp.asarray(np.asarray(value, np.float32)), "value"
        if match is None:
            array = _transposed(array) if target.path.endswith("kernel") else array
        else:
            if method.start != "noise" and array.ndim > 2:
                raise ValueError(f"init_lora_weights={method.start!r}: beside {entry}, a convolution; allowed: true")
            adapted[target.name] = match[1]
            kind = "bias" if match[3] == "bias" else match[2].removeprefix("embedding_")[0].lower()
            array = _transposed(array) if kind in "ab" else array.reshape(-1)
            array = array.reshape(-1, array.shape[-1]) if kind == "b" else array
        # peft writes the bias of a module of modules_to_save twice.
        first = new.setdefault(target.name, {}).setdefault(kind, array)
        if first is not array and not np.array_equal(first, array):
            raise ValueError(f"{entry}: a second {kind} of {target.name}; allowed: one")
    for name, layer in adapted.items():
        matrices = new[name]
        if not {"a", "b"} <= matrices.keys():
            raise ValueError(f"{layer}: lacks lora_A or lora_B; allowed: both")
        if ("m" in matrices) != method.dora:
            raise ValueError(f"use_dora={method.dora}: beside {layer}, with {', '.join(matrices)}; allowed: m of DoRA")
        rank = _of_pattern(config.get("rank_pattern"), layer, config["r"])
        if matrices["a"].shape[-1] != rank:
            raise ValueError(f"{layer}: of rank {matrices['a'].shape[-1]}; allowed: {rank}, of r and rank_pattern")
        if (scale := scale_of(config, layer)) != method.scale:
            factor = scale / method.scale
            new[name] = matrices | {kind: factor * matrices[kind] for kind in ("b", "bias") if kind in matrices}
    return method._replace(targets=tuple(name.replace("/kernel", "") for name in adapted)), new


def _method(config: Mapping[str, Any]) -> LoRA:
    """Read adapter_config.json."""
    if config.get("peft_type", "LORA") != "LORA":
        raise ValueError(f"peft_type={config['peft_type']!r}: no LoRA; allowed: LORA")
    if missing := [key for key in ("r", "lora_alpha") if key not in config]:
        raise ValueError(f"config: adapter_config.json has no {missing[0]}; allowed: the file of peft")
    for key, value in config.items():
        if key in ONLY and value != ONLY[key]:
            raise ValueError(f"{key}={value!r}: not in dlcore's LoRA; allowed: {ONLY[key]!r}")
        if key not in READ and key not in ONLY and key not in IGNORED:
            raise ValueError(f"{key}={value!r}: no key of a LoRA; allowed: {', '.join((*READ, *ONLY, *IGNORED))}")
    start = str(config.get("init_lora_weights", True)).lower()
    if start not in STARTS:
        raise ValueError(
            f"init_lora_weights={config['init_lora_weights']!r}: changes the base by what no file holds; allowed: "
            f"{', '.join(STARTS)}, or an adapter that peft converted (path_initial_model_for_weight_conversion)"
        )
    patterns = [key for key in ("rank_pattern", "alpha_pattern", "fan_in_fan_out") if config.get(key)]
    if STARTS[start] == "olora" and patterns:
        raise ValueError(f"{patterns[0]}={config[patterns[0]]!r}: beside init_lora_weights='olora'; allowed: none")
    method = LoRA(config["r"], config["lora_alpha"], (), bool(config.get("use_rslora")), bool(config.get("use_dora")))
    if config.get("alpha_pattern") and method.scale == 0:
        raise ValueError("alpha_pattern: beside lora_alpha=0; allowed: lora_alpha above 0")
    return method._replace(start=STARTS[start])


def scale_of(config: Mapping[str, Any], layer: str) -> float:
    """Compute the factor of a layer's product.

    Args:
      config: content of adapter_config.json.
      layer: its name in the file.

    Returns:
      alpha / r, or alpha / sqrt(r), with the alpha and the rank of the layer.
    """
    rank = _of_pattern(config.get("rank_pattern"), layer, config["r"])
    alpha = _of_pattern(config.get("alpha_pattern"), layer, config["lora_alpha"])
    return _method(config)._replace(rank=rank, alpha=alpha).scale


def _of_pattern(patterns: Mapping[str, Any] | None, layer: str, default: Any) -> Any:
    """What the first pattern of a layer gives, as peft matches them: at the end of the layer's name."""
    matched = (value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", layer))
    return next(matched, default)


def _transposed(array: Any) -> Any:
    """[out, in, h, w] -> [h, w, in, out], and [out, in] -> [in, out]; one axis stays."""
    return array.transpose(*range(2, array.ndim), 1, 0) if array.ndim > 1 else array


def write_peft(
    folder: str | Path, method: LoRA, new: Mapping[str, Any], names: Mapping[str, str], inside: str = ""
) -> None:
    """Write an adapter as peft saves it.

    Args:
      folder: a new or empty folder.
      method: the method.
      new: all that learned, {"adapter", "trained"}, which is `variables["params"]` of an `Adapted`, so that peft gets
        the head, too; or the adapter's parameters alone.
      names: see `Names`.
      inside: what the library writes before the names of the network, such as "vit." of a classifier; its heads stand
        beside the network.
    """
    require("safetensors", what=f"folder={str(folder)!r}")
    from safetensors.numpy import save_file

    folder, published = Path(folder), Names(names)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder={str(folder)!r}: a file, or not empty; allowed: a new or empty folder")
    if new.keys() == {"adapter", "trained"}:
        trained = {"/".join(path): {"value": leaf} for path, leaf in flatten_dict(new["trained"]).items()}
        new = trained | {name: trained.get(name, {}) | matrices for name, matrices in new["adapter"].items()}

    def entries_of(name: str) -> list[str]:
        is_head = HEADS & {*name.partition(":")[0].split("/")}
        return [("" if is_head else inside) + entry for entry in published.entries_of(name)]

    layers = {name: [entry.removesuffix(".weight") for entry in entries_of(name)] for name in new if "a" in new[name]}
    ranks = {layer: new[name]["a"].shape[-1] for name, joined in layers.items() for layer in joined}
    entries: dict[str, np.ndarray] = {}
    for name, matrices in new.items():
        if "value" in matrices:
            matched = entries_of(name)
            for entry, part in zip(matched, np.split(np.asarray(matrices["value"]), len(matched), -1), strict=True):
                layer, _, leaf = entry.rpartition(".")
                if layer in ranks:
                    entry = f"{layer}.base_layer.{leaf}"
                entries[entry] = _back(part) if name.partition(":")[0].endswith("kernel") else part
        if "a" not in matrices:
            continue
        more = [1] * (matrices["a"].ndim - 2)  # B of a convolution is one of a pixel
        is_embedding = name.partition(":")[0].endswith("embedding")
        if method.start != "noise" and len(layers[name]) > 1:
            raise ValueError(f"start={method.start!r}: of {name}, which the file cuts; allowed: {name}:q, :k, :v")
        # Layers that are one here have A in common, and their own outputs of the rest.
        kinds = matrices.keys() & {"b", "m", "bias"}
        cut = {kind: np.split(np.asarray(matrices[kind]), len(layers[name]), -1) for kind in kinds}
        for k, layer in enumerate(layers[name]):
            b = _back(cut["b"][k])
            entries[f"{layer}.lora_{'embedding_A' if is_embedding else 'A.weight'}"] = _back(np.asarray(matrices["a"]))
            entries[f"{layer}.lora_{'embedding_B' if is_embedding else 'B.weight'}"] = b.reshape(*b.shape, *more)
            if "m" in matrices:
                entries[f"{layer}.lora_magnitude_vector"] = cut["m"][k].reshape(1, -1, *more) if more else cut["m"][k]
            if "bias" in matrices:
                entries[f"{layer}.lora_B.bias"] = cut["bias"][k]
    # peft takes whole modules, with the modules in them, and any biases.
    modules: dict[str, list[str]] = {}
    for target, entry in published.names.items():
        prefix = "" if HEADS & {*target.path.split("/")} else inside
        modules.setdefault((prefix + entry).rpartition(".")[0], []).append(prefix + entry)
    outer = {layer[:k] for layer in modules for k, letter in enumerate(layer) if letter == "."} | {""}
    whole = sorted(layer for layer, parts in modules.items() if layer not in outer and {*parts} <= entries.keys())
    biases = [entry for entry in entries if entry.endswith(".bias") and entry.rpartition(".")[0] not in whole]
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"{PREFIX}{entry}": np.ascontiguousarray(array) for entry, array in entries.items()}
    save_file(arrays, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": method.rank,
        "lora_alpha": method.alpha,
        "target_modules": sorted({layer.rpartition(".")[2] for layer in ranks}),
        "use_rslora": method.rank_stabilized,
        "use_dora": method.dora,
        "init_lora_weights": True if method.start == "noise" else method.start,
        "lora_bias": any("bias" in matrices for matrices in new.values()),
        "modules_to_save": whole or None,
        "bias": "all" if any(".lora_" not in entry for entry in biases) else "none",
        "task_type": None,
    }
    if other := {layer: rank for layer, rank in ranks.items() if rank != method.rank}:
        power = 0.5 if method.rank_stabilized else 1
        config["rank_pattern"] = other
        config["alpha_pattern"] = {layer: method.scale * rank**power for layer, rank in other.items()}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def _back(array: np.ndarray) -> np.ndarray:
    """[h, w, in, out] -> [out, in, h, w], and [in, out] -> [out, in]; one axis stays."""
    return array.transpose(array.ndim - 1, array.ndim - 2, *range(array.ndim - 2)) if array.ndim > 1 else array

"""LoRA (low-rank adaptation) and DoRA: a frozen kernel and the product of two thin matrices.

    W' = W + (alpha / r) A B          A: [in, r], normal at the start; B: [r, out], zero, so that W' = W     LoRA
    W' = W + (alpha / sqrt(r)) A B                                                                    rank-stabilized
    W' = m (W + s A B) / |W + s A B|  m: the norm of each output's weights; the norm is a constant for the gradient
                                                                                                               DoRA

Hu et al. 2021, arXiv:2106.09685; Kalajdzievski 2023, arXiv:2312.03732 (rsLoRA); Liu et al. 2024, arXiv:2402.09353
(DoRA). The kernel has our layout, [in, out]; peft's files hold A and B transposed, as torch holds its kernels.
`dlcore.transfer.adapters.Adapted` trains it, and `merge` writes the product into W, which costs nothing in use.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.extras import require
from dlcore.learner import Range
from dlcore.models.pretrained.snapshot import read_config, read_safetensors
from dlcore.ops.checks import check_shapes
from dlcore.transfer.adapters import Target, find_targets

__all__ = ["LoRA", "read_peft", "write_peft"]

PREFIX = "base_model.model."
"""Before every name of peft's files."""


class LoRA(NamedTuple):
    """Low-rank adaptation of layers.

    Args:
      rank: r, columns of A and rows of B.
      alpha: the product's factor is alpha / r.
      targets: patterns of layers, such as "*attn/qkv:q" (its queries) or "*mlp/fc1".
      rank_stabilized: take alpha / sqrt(r) (rsLoRA).
      dora: learn the norm of each output's weights apart from their direction (DoRA).
    """

    rank: Annotated[int, Range(1)] = 8
    alpha: Annotated[float, Range(0)] = 16.0
    targets: tuple[str, ...] = ("*attn/qkv:q", "*attn/qkv:v")
    rank_stabilized: bool = False
    dora: bool = False

    @property
    def scale(self) -> float:
        """Factor of the product."""
        return self.alpha / (self.rank**0.5 if self.rank_stabilized else self.rank)

    def init(self, rng: jax.Array, model: nn.Module, variables: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Make the matrices.

        Args:
          rng: PRNG key.
          model: the network.
          variables: its variables.
          *args: arguments of a call of the model.
          **kwargs: keyword arguments of it.

        Returns:
          {name of a target: {"a": [..., in, r], "b": [r, out], with `dora` also "m": [out]}}.

        Raises:
          ValueError: a pattern names no layer, `rank` is no whole number from 1, or `alpha` is negative.
        """
        check_shapes(rank=(self.rank, "int >= 1"), alpha=(self.alpha, ">= 0"))
        flat, new = flatten_dict(variables["params"]), {}
        for i, target in enumerate(find_targets(variables["params"], self.targets)):
            kernel = flat[tuple(target.path.split("/"))]
            kernel = kernel[..., target.columns(kernel.shape[-1])]
            a_shape = (*kernel.shape[:-1], self.rank)
            bound = 1 / np.prod(kernel.shape[:-1]) ** 0.5  # peft's: uniform, of variance 1 / (3 in)
            a = jax.random.uniform(jax.random.fold_in(rng, i), a_shape, minval=-bound, maxval=bound)
            new[target.name] = {"a": a, "b": jnp.zeros((self.rank, kernel.shape[-1]))}
            if self.dora:
                new[target.name]["m"] = _column_norms(kernel)
        return new

    def rebase(self, params: Any, new: dict[str, Any]) -> dict[str, Any]:
        """Start from other parameters of the network: the norms of DoRA are theirs.

        Args:
          params: parameters of the network.
          new: the matrices.

        Returns:
          The matrices.
        """
        flat = flatten_dict(params)

        def norms(name: str) -> jax.Array:
            path, _, part = name.partition(":")
            kernel = flat[tuple(path.split("/"))]
            return _column_norms(kernel[..., Target(path, part or None).columns(kernel.shape[-1])])

        return {name: {**old, "m": norms(name)} if "m" in old else old for name, old in new.items()}

    def merge(self, params: Any, new: dict[str, Any]) -> Any:
        """Add the products to the kernels.

        Args:
          params: parameters of the network.
          new: the matrices.

        Returns:
          Parameters with W' in place of W.
        """
        flat = dict(flatten_dict(params))
        for name, matrices in new.items():
            path, _, part = name.partition(":")
            kernel_path = tuple(path.split("/"))
            kernel = flat[kernel_path]
            columns = Target(path, part or None).columns(kernel.shape[-1])
            adapted = kernel[..., columns] + self.scale * (matrices["a"] @ matrices["b"])  # [..., in, out]
            if "m" in matrices:
                adapted = adapted * (matrices["m"] / jax.lax.stop_gradient(_column_norms(adapted)))
            flat[kernel_path] = kernel.at[..., columns].set(adapted)
        return unflatten_dict(flat)


def _column_norms(kernel: jax.Array) -> jax.Array:
    """[..., out] -> the norm of each output's weights, [out]."""
    return jnp.sqrt(jnp.square(kernel).sum(tuple(range(kernel.ndim - 1))))


def read_peft(folder: str | Path, names: Mapping[str, str]) -> tuple[LoRA, dict[str, Any]]:
    """Read an adapter that peft saved.

    Args:
      folder: folder with adapter_config.json and adapter_model.safetensors.
      names: path of a kernel -> its published name, or "q + k + v" of a layer that gives all three, see
        `dlcore.models.torch_weights.published_names`.

    Returns:
      (the method, its parameters).

    Raises:
      ValueError: it is no LoRA, or has an entry of a layer that the network lacks.
      FileNotFoundError: a file is missing.
    """
    require("safetensors", what=f"folder={str(folder)!r}")
    folder = Path(folder)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).exists():
            raise FileNotFoundError(f"folder={str(folder)!r}: lacks {file}; allowed: a folder that peft saved")
    config = read_config(folder / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise ValueError(f"peft_type={config.get('peft_type')!r}: no LoRA; allowed: LORA")
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        raise ValueError("rank_pattern, alpha_pattern: ranks by layer; allowed: one rank and one alpha")
    if missing := [key for key in ("r", "lora_alpha") if key not in config]:
        raise ValueError(f"folder={str(folder)!r}: adapter_config.json has no {missing[0]}; allowed: the file of peft")
    return from_peft(config, read_safetensors(folder / "adapter_model.safetensors"), names)


def from_peft(
    config: Mapping[str, Any], entries: Mapping[str, Any], names: Mapping[str, str]
) -> tuple[LoRA, dict[str, Any]]:
    """Convert the entries of an adapter of peft.

    Args:
      config: `r`, `lora_alpha`, `use_rslora` and `use_dora`.
      entries: name -> array, [r, in] of A and [out, r] of B.
      names: see `read_peft`.

    Returns:
      (the method, its parameters).

    Raises:
      ValueError: an entry is of a layer that the network lacks.
    """
    target_of = _targets_by_name(names)
    new: dict[str, dict[str, Any]] = {}
    for name, value in entries.items():
        layer, separator, rest = name.removeprefix(PREFIX).partition(".lora_")
        if not separator:
            continue
        layer_name = next((key for key in target_of if layer == key or layer.endswith(f".{key}")), None)
        if layer_name is None:
            raise ValueError(
                f"{name}: the network has no layer {layer}; allowed: {', '.join(list(target_of)[:5])}, ..."
            )
        kind = {"A": "a", "B": "b", "m": "m"}[rest[0]]
        array = np.asarray(value, np.float32)
        if kind != "m":
            array = np.transpose(array, (*range(2, array.ndim), 1, 0))
        new.setdefault(target_of[layer_name].name, {})[kind] = jnp.asarray(array.reshape(-1) if kind == "m" else array)
    targets = tuple(name.replace("/kernel", "") for name in new)
    method = LoRA(
        config["r"], config["lora_alpha"], targets, bool(config.get("use_rslora")), bool(config.get("use_dora"))
    )
    return method, new


def write_peft(
    folder: str | Path, method: LoRA, new: Mapping[str, Any], names: Mapping[str, str], inside: str = ""
) -> None:
    """Write an adapter as peft saves it.

    Args:
      folder: a new or empty folder.
      method: the method.
      new: its parameters.
      names: see `read_peft`.
      inside: what the library writes before the names of the network, such as "vit." of a classifier.

    Raises:
      ValueError: the folder is not empty.
    """
    require("safetensors", what=f"folder={str(folder)!r}")
    from safetensors.numpy import save_file

    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder={str(folder)!r}: a file, or not empty; allowed: a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    layer_of = {target.name: layer for layer, target in _targets_by_name(names).items()}
    entries = {}
    for name, matrices in new.items():
        for kind, value in matrices.items():
            array = np.asarray(value)
            if kind != "m":
                array = np.transpose(array, (array.ndim - 1, array.ndim - 2, *range(array.ndim - 2)))
            suffix = {"a": "lora_A.weight", "b": "lora_B.weight", "m": "lora_magnitude_vector"}[kind]
            entries[f"{PREFIX}{inside}{layer_of[name]}.{suffix}"] = np.ascontiguousarray(array)
    save_file(entries, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": method.rank,
        "lora_alpha": method.alpha,
        "target_modules": sorted({layer_of[name].rpartition(".")[2] for name in new}),
        "use_rslora": method.rank_stabilized,
        "use_dora": method.dora,
        "bias": "none",
        "task_type": None,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def _targets_by_name(names: Mapping[str, str]) -> dict[str, Target]:
    """Published layer -> target: "layers.0.attention.q_proj" -> the queries of blocks_0/attn/qkv."""
    targets = {}
    for path, joined in names.items():
        path = path.removeprefix("params/")
        layers = [name.removesuffix(".weight") for name in joined.split(" + ")]
        for layer, part in zip(layers, "qkv" if len(layers) == 3 else (None,), strict=True):
            targets[layer] = Target(path, part)
    return targets

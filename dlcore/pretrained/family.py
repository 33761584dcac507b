"""Families of published networks: how a library's configuration names a network of dlcore, and its outputs."""

import fnmatch
import functools
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
from flax import linen as nn

from dlcore.pretrained.defaults import fill_defaults

__all__ = [
    "Family",
    "all_families",
    "by_name",
    "check_config",
    "classifier",
    "find_family",
    "library_of",
    "map_encoder",
    "num_classes_of",
    "read_as",
    "read_network",
    "square_side",
    "timm_arguments",
    "token_encoder",
    "without_head",
]


def classifier(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run a classifier.

    Args:
      model: the flax module.
      variables: its variables.
      inputs: the image batch under any name.

    Returns:
      {"logits": [B, num_classes]}; with num_classes=0 {"pooler_output": [B, width]}, what a head would see.
    """
    (images,) = inputs.values()
    return {"pooler_output" if model.num_classes == 0 else "logits": model.apply(variables, images)}


def map_encoder(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run a network of stages without a head.

    Args:
      model: the flax module, with a method `features`.
      variables: its variables.
      inputs: the image batch under any name.

    Returns:
      {"last_hidden_state": [B, h, w, C], the map of the last stage, "pooler_output": [B, C], what a head would see};
      with a new head "logits", [B, num_classes], in place of the latter.
    """
    (images,) = inputs.values()
    maps = model.apply(variables, images, method="features")
    return {"last_hidden_state": list(maps.values())[-1]} | classifier(model, variables, inputs)


def token_encoder(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run a network of stages whose last map transformers gives as tokens.

    Args:
      model: the flax module, with a method `features`.
      variables: its variables.
      inputs: the image batch under any name.

    Returns:
      {"last_hidden_state": [B, h w, C], "pooler_output": [B, C], their mean}.
    """
    (images,) = inputs.values()
    last = list(model.apply(variables, images, method="features").values())[-1]
    tokens = last.reshape(len(last), -1, last.shape[-1])
    return {"last_hidden_state": tokens, "pooler_output": tokens.mean(1)}


Read = Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]


def without_head(read: Read) -> Read:
    """Read the configuration of a base model as a classifier's, without its classes.

    Args:
      read: configuration with classes -> (name of `dlcore.models.create_model`, its fields).

    Returns:
      The function for configurations of base models, which may list classes too; they do not matter there.
    """
    return lambda config: read({**config, "id2label": {}})


Library = Literal["transformers", "timm", "diffusers", "open_clip", "torchvision"]


class Family(NamedTuple):
    """Published networks of one form.

    Args:
      library: library whose configurations it reads.
      architectures: shell patterns of the library's names: of a class (`architectures`, `_class_name`), or of timm's
        `architecture`.
      model: configuration -> (name of `dlcore.models.create_model`, its fields).
      outputs: (model, variables, inputs by name) -> outputs by the library's names; images and maps have channels last.
      inputs: names of the inputs, the image's first; another library's word for one may follow it, behind a "|".
      kind: what the network is for, as `dlcore.models.list_models` names kinds.
      load: (model, configuration, name -> array) -> variables; None takes `dlcore.models.load_torch`.
      call: (compiled `outputs` of inputs by name, the inputs, the processor) -> outputs, for what is not compiled:
        checks of values, and outputs whose size depends on the photograph; None calls the compiled function alone.
      constants: names of arrays of the file that the network computes itself, such as a table of positions.
      prepare: (configuration, inputs by name) -> what `outputs` takes, on concrete arrays, such as where tiles of an
        image of this size belong; None takes the inputs.
    """

    library: Library
    architectures: tuple[str, ...]
    model: Read
    outputs: Callable[[nn.Module, Any, dict[str, jax.Array]], dict[str, jax.Array]]
    inputs: tuple[str, ...] = ("pixel_values",)
    kind: str = "image"
    load: Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any] | None = None
    call: Callable[[Callable[[dict[str, jax.Array]], dict[str, jax.Array]], dict[str, jax.Array], Any], Any] | None = (
        None
    )
    constants: tuple[str, ...] = ()
    prepare: Callable[[Mapping[str, Any], dict[str, jax.Array]], dict[str, Any]] | None = None


def check_config(config: Mapping[str, Any], allowed: Mapping[str, Any], where: str) -> None:
    """Check that a configuration says what a network of dlcore has.

    Args:
      config: content of its configuration.
      allowed: {name: the only value that dlcore's network has, also where the configuration leaves it out}.
      where: dlcore, or dlcore's network, for the error.
    """
    for name, value in allowed.items():
        actual = config.get(name, value)
        if (list(actual) if isinstance(actual, tuple) else actual) != value:
            raise ValueError(f"{name}={actual!r}: not in {where}; allowed: {value!r}")


def timm_arguments(
    config: Mapping[str, Any], read: tuple[str, ...], fixed: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """Read `model_args` of a configuration of timm: arguments in place of those that the architecture's name says.

    Args:
      config: content of config.json.
      read: names of the arguments that the caller reads, beside `num_classes`.
      fixed: {name: the only value that dlcore's network has}, of arguments, and of `global_pool` beside them.

    Returns:
      The arguments.
    """
    arguments, architecture, fixed = config.get("model_args") or {}, config["architecture"], fixed or {}
    allowed = ("num_classes", *read)
    if unknown := sorted(arguments.keys() - {*allowed, *fixed}):
        names = ", ".join(allowed)
        raise ValueError(f"model_args: {', '.join(unknown)} not in dlcore's {architecture}; allowed: {names}")
    for values in (arguments, config):
        check_config(values, fixed, f"dlcore's {architecture}")
    return arguments


def num_classes_of(config: Mapping[str, Any]) -> int:
    """Read the number of classes of a configuration of timm.

    Args:
      config: content of config.json.

    Returns:
      The number.
    """
    return config.get("num_classes", (config.get("model_args") or {}).get("num_classes", 1000))


def by_name(config: Mapping[str, Any], fixed: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Read a network of timm that has the same name here.

    Args:
      config: content of config.json.
      fixed: see `timm_arguments`.

    Returns:
      (its name, the number of classes).
    """
    timm_arguments(config, (), fixed)
    return config["architecture"], {"num_classes": num_classes_of(config)}


def square_side(size: int | list[int] | tuple[int, ...]) -> int:
    """Read the side of square images.

    Args:
      size: pixels, or [height, width].

    Returns:
      The side in pixels.
    """
    sides = size if isinstance(size, list | tuple) else [size]
    if len(set(sides)) != 1:
        raise ValueError(f"image_size={size}: not square; allowed: one number, or two that are equal")
    return sides[0]


def read_network(family: Family, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Read which network a configuration describes.

    Args:
      family: its family.
      config: content of config.json.

    Returns:
      (name of `dlcore.models.create_model`, its fields).
    """
    try:
        return family.model(fill_defaults(config))
    except KeyError as error:
        raise ValueError(f"config.json: {error} is missing; allowed: files as {family.library} writes them") from error
    except (TypeError, AttributeError, IndexError, ZeroDivisionError) as error:
        architecture = library_of(config)[1]
        raise ValueError(f"config.json: no {architecture} has its values ({error}); allowed: numbers") from error


def all_families() -> list[Family]:
    """Collect the families of all files.

    Returns:
      The families.
    """
    return [family for file in _files() for family in _families(file)]


def family_index() -> dict[str, dict[str, str]]:
    """List which file has the family of an architecture, as families/index.json stores it.

    Returns:
      {library: {pattern of its architectures: name of the file}}; of two files the first counts.
    """
    index: dict[str, dict[str, str]] = {}
    for file in _files():
        for family in _families(file):
            for pattern in family.architectures:
                index.setdefault(family.library, {}).setdefault(pattern, file)
    return index


def _files() -> list[str]:
    from dlcore.pretrained import families

    return sorted(module.name for module in pkgutil.iter_modules(families.__path__))


def _families(file: str) -> tuple[Family, ...]:
    return importlib.import_module(f"dlcore.pretrained.families.{file}").FAMILIES


@functools.cache
def _stored_index() -> dict[str, dict[str, str]]:
    return json.loads(Path(__file__).with_name("families").joinpath("index.json").read_text(encoding="utf-8"))


def library_of(config: Mapping[str, Any]) -> tuple[Library, str]:
    """Find out which library wrote a configuration, and the architecture that it names.

    Args:
      config: content of config.json.

    Returns:
      (library, architecture).
    """
    if config.get("architectures"):
        architecture = config["architectures"][0]
        if not isinstance(architecture, str):
            raise ValueError(f"architectures={config['architectures']!r}: no names; allowed: names of classes")
        return "transformers", architecture
    if "architecture" in config:
        return "timm", config["architecture"]
    if "_class_name" in config:
        return "diffusers", config["_class_name"]
    if "model_cfg" in config:
        return "open_clip", "CLIP"
    keys = ", ".join(list(config)[:5])
    raise ValueError(
        f"config.json: names no network (it has {keys}); allowed: architectures (transformers), architecture (timm), "
        "_class_name (diffusers) or model_cfg (OpenCLIP)"
    )


def read_as(architecture: str) -> Read:
    """Read the configuration of one of transformers' classes as that of another.

    Args:
      architecture: name of the class that has a family, such as SwinModel.

    Returns:
      configuration -> (name of the network, its fields), as that family reads it.
    """
    names = {"architectures": [architecture]}
    return lambda config: find_family(names).model({**config, **names})


def find_family(config: Mapping[str, Any], source: str = "config.json") -> Family:
    """Find the family of a configuration.

    Args:
      config: content of config.json.
      source: name of the snapshot, for the error.

    Returns:
      The family.
    """
    library, architecture = library_of(config)
    files = (file for pattern, file in _stored_index()[library].items() if fnmatch.fnmatchcase(architecture, pattern))
    if (file := next(files, None)) is not None and (family := _fitting(_families(file), library, architecture)):
        return family
    candidates = [family for family in all_families() if family.library == library]
    if family := _fitting(candidates, library, architecture):  # of a file that is newer than the index
        return family
    patterns = sorted(pattern for family in candidates for pattern in family.architectures)
    close = get_close_matches(architecture, patterns, cutoff=0.5)
    near = f" (close: {', '.join(close)})" if close else ""
    raise ValueError(
        f"source={source!r}: {library}'s {architecture} is not in dlcore{near}; allowed: {', '.join(patterns)}"
    )


def _fitting(families: Iterable[Family], library: Library, architecture: str) -> Family | None:
    """Return the first family whose patterns fit an architecture."""
    for family in families:
        if family.library == library and any(fnmatch.fnmatchcase(architecture, p) for p in family.architectures):
            return family
    return None

"""Published weights on a command line: what `--model=hf:ORG/NAME` and `--init_from=hf:ORG/NAME` say of other flags.

    page with                        flag           sets
    a backbone                       --model        the backbone's name and fields, --init_from, the size of images
    a detector, a segmenter          --model        that of its backbone, and the fields of the network
    a network without a backbone     --init_from    the fields of the network, the size of images

A folder as a hub serves it stands for the same. What a command line says itself has precedence.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import linen as nn

from dlcore.experiment.experiment import Experiment
from dlcore.setting import FlagError, module_settings

__all__ = ["Published", "backbone_name", "find_published", "published_defaults"]


class Published(NamedTuple):
    """Published weights that a command line names.

    Args:
      flag: model or init_from, the flag that names them.
      source: value of the flag.
      about: what they say of their network, a `dlcore.pretrained.door.About`.
    """

    flag: str
    source: str
    about: Any


def find_published(experiment: Experiment, value_of: Callable[[str], str | None]) -> Published | None:
    """Find the published weights that a command line names.

    Args:
      experiment: the experiment.
      value_of: name of a flag -> its value on the command line; None without one.

    Returns:
      The weights; None where it names none.

    Raises:
      FlagError: they cannot be read.
    """
    from dlcore.pretrained.door import is_published, read_about

    flag = "init_from" if experiment.model is None else "model"
    source = value_of(flag)
    if source is None or not is_published(source):
        return None
    try:
        return Published(flag, source, read_about(source))
    except (OSError, ValueError) as error:
        raise FlagError(f"--{flag}={source}: {error}") from None


def published_defaults(experiment: Experiment, published: Published | None, names: set[str]) -> dict[str, Any]:
    """Compute the values that published weights give to other flags.

    Args:
      experiment: the experiment.
      published: the weights; None without any.
      names: names of all flags.

    Returns:
      {flag: value}.

    Raises:
      FlagError: the experiment starts from no trained weights.
    """
    if published is None:
        return {}
    flag, source, about = published
    if "init_from" not in names:
        raise FlagError(
            f"--{flag}={source}: {experiment.name} starts from no trained weights; allowed: a name of `dlcore models`"
        )
    settable = names - set(experiment.external_fields) - set(experiment.own_fields)
    prefix = _prefix(experiment, about.model)
    size = None if about.preprocess is None else about.preprocess.crop or about.preprocess.size
    flag_of_size = "input_size" if "input_size" in names else "image_size"
    sizes = {} if size is None else {flag_of_size: size[0]}
    if flag == "init_from":
        return {} if prefix is None else _fields(prefix, _network(about), settable) | _only(sizes, names)
    if prefix is not None:
        network = _network(about)
        fields = _fields(prefix, network, settable) | _fields("model", network.backbone, settable)
    else:
        fields = {f"model.{field}": value for field, value in about.fields.items() if f"model.{field}" in names}
    return {"init_from": source, **fields, **({} if flag_of_size == "image_size" else sizes)}


def backbone_name(model: str, fields: Mapping[str, Any]) -> str:
    """Name the backbone of a published network as `--model` of a page does.

    Args:
      model: name of the network.
      fields: its fields; the `backbone` of a detector or a segmenter is a flax module.

    Returns:
      The name of a network of the zoo that has the backbone's form, up to simple fields; `model` of a network without a
      backbone.
    """
    from dlcore.detection.torch_detectors import BACKBONES

    usual, backbone = BACKBONES.get(model, model), fields.get("backbone")
    if backbone is None:
        return usual
    simple = {name.partition(".")[2] for name in module_settings("model", type(backbone))}
    fixed = [f.name for f in dataclasses.fields(backbone) if f.name not in {*simple, "num_classes", "parent", "name"}]
    # Of the backbone's class, or of one that it derives from with other maps.
    for kind in type(backbone).__mro__:
        variants = getattr(sys.modules[kind.__module__], "MODELS", {}) if issubclass(kind, nn.Module) else {}
        for name in sorted(variants, key=lambda name: name != usual):
            network = variants[name]()
            if type(network) is kind and all(getattr(network, f) == getattr(backbone, f) for f in fixed):
                return name
    return usual


def _network(about: Any) -> nn.Module:
    from dlcore.models.registry import create_model

    return create_model(about.model, **about.fields)


def _prefix(experiment: Experiment, model: str) -> str | None:
    """Return the prefix of the experiment's module that has the form of a published network; None without one."""
    from dlcore.models.registry import family_of

    kind = _class_of(family_of(model).MODELS[model])
    return next((prefix for prefix, module in experiment.modules.items() if issubclass(kind, _class_of(module))), None)


def _class_of(module: Any) -> Any:
    return module.func if isinstance(module, functools.partial) else module


def _fields(prefix: str, network: nn.Module, names: set[str]) -> dict[str, Any]:
    values = {f"{prefix}.{f.name}": getattr(network, f.name) for f in dataclasses.fields(network)}
    return _only(values, names)


def _only(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}

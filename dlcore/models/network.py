"""Networks as parts of an experiment: one of the zoo, a flax module, one on a backbone of the zoo, or several by name.

network=Zoo("resnet8_cifar", {"width": 16})
network=Network(partial(VoxNet, features=16), of_data=("num_classes",))
network=OnBackbone(partial(FasterRCNN, channels=48), backbone=Zoo("resnet8_cifar"))
network=Networks({"generator": partial(Generator, width=24), "discriminator": partial(Discriminator, width=48)})
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from flax import linen as nn

from dlcore.setting import FlagError, Setting, did_you_mean, flag_prefix, module_settings

__all__ = ["Network", "NetworkFields", "Networks", "OnBackbone", "OnImages", "WithHeads", "Zoo", "model_settings"]


def model_settings(name: str) -> dict[str, Setting]:
    """Collect the simple fields of a model of the zoo as flags `--model.FIELD`.

    Args:
      name: name from `dlcore.models.list_models()`.

    Returns:
      {"model.FIELD": setting}.

    Raises:
      FlagError: there is no such model; close names are listed.
    """
    from dlcore.models.registry import family_of, kind_of, list_models

    try:
        variant = family_of(name).MODELS[name]
        is_image_model = kind_of(name) == "image" or hasattr(getattr(variant, "func", variant), "features")
        is_image_model &= kind_of(name) in ("image", "encoder")
    except ValueError:
        is_image_model = False
    if not is_image_model:
        names = list_models()
        suggestion = did_you_mean(name, names)
        raise FlagError(f"--model={name}: unknown{suggestion}; allowed: the {len(names)} names of `dlcore models`")
    return module_settings("model", family_of(name).MODELS[name])


@dataclasses.dataclass(frozen=True)
class OnImages:
    """A network for the shape of the images; its flags are `--NETWORK.FIELD`.

    Args:
      network: class of the network with the fields `shape` and `dtype`, or a `functools.partial`.
      fields: `Run` -> further fields; None for none.
    """

    network: Callable[..., nn.Module]
    fields: Callable[[Any], Mapping[str, Any]] | None = None

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The network by the prefix of its flags."""
        return {flag_prefix(self.network): self.network}

    def with_flags(self, flags: Any) -> "OnImages":
        """Return the network with the values of its flags in its fields."""
        return dataclasses.replace(self, network=partial(self.network, **flags.group(flag_prefix(self.network))))

    def build(self, run: Any) -> nn.Module:
        """Build the network."""
        fields = {} if self.fields is None else self.fields(run)
        return self.network(tuple(run.facts.image_shape), dtype=run.dtype, **fields)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": self.build(run)}


@dataclasses.dataclass(frozen=True)
class NetworkFields:
    """Base of parts of several networks: a field is the class of a network, or a `functools.partial` of one.

    The simple fields of the network are the flags `--FIELD.NAME`; fields of the part that are no functions are flags
    of their own.
    """

    @property
    def modules(self) -> dict[str, Callable[..., Any]]:
        """The networks by the prefix of their flags."""
        return {name: value for name, value in vars(self).items() if callable(value)}


@dataclasses.dataclass(frozen=True)
class Zoo:
    """A network of the zoo, by name; the flags are `--model` and `--model.FIELD`.

    Args:
      zoo_name: a name of `dlcore models`.
      fields: fields of the model.
    """

    zoo_name: Annotated[str, "no flag"]
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Any]:
        """Default values of the flags."""
        return {f"model.{name}": value for name, value in self.fields.items()}

    def with_flags(self, flags: Any) -> "Zoo":
        """Return the network that `--model` and `--model.FIELD` name."""
        return Zoo(flags.model, flags.group("model"))

    def build(self, num_classes: int, dtype: Any = None, **fields: Any) -> nn.Module:
        """Build the network.

        Args:
          num_classes: number of logits.
          dtype: dtype of the computation.
          **fields: other fields, before those of the record.
        """
        from dlcore.models.registry import create_model

        return create_model(self.zoo_name, dtype=dtype, **{"num_classes": num_classes, **fields}, **self.fields)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`, for the classes of the data."""
        return {"model": self.build(run.facts.num_classes or 1, run.dtype)}


@dataclasses.dataclass(frozen=True)
class Network:
    """A flax module of which the data decide fields, or whose flags `--PREFIX.FIELD` have a prefix of their own.

    Args:
      network: class of the module, or a `functools.partial` of one.
      of_data: fields of the module that are facts of the data, such as num_classes; they are no flags.
      prefix: prefix of the flags; by default the name of the class.
      of_run: run -> fields of the module that other parts decide.
      external: those of these fields that have a default: they are no flags either.
    """

    network: Callable[..., nn.Module]
    of_data: Annotated[tuple[str, ...], "no flag"] = ()
    prefix: Annotated[str | None, "no flag"] = None
    of_run: Callable[[Any], dict[str, Any]] | None = None
    external: Annotated[tuple[str, ...], "no flag"] = ()

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The module by the prefix of its flags."""
        return {self.prefix or flag_prefix(self.network): self.network}

    @property
    def external_fields(self) -> tuple[str, ...]:
        """The fields with a default that the data or other parts decide."""
        (prefix,) = self.modules
        fields: Any = dataclasses.fields(getattr(self.network, "func", self.network))
        optional = {field.name for field in fields if field.default is not dataclasses.MISSING}
        return tuple(f"{prefix}.{name}" for name in (*self.of_data, *self.external) if name in optional)

    def with_flags(self, flags: Any) -> "Network":
        """Return the network with the values of its flags in its fields."""
        (prefix,) = self.modules
        return dataclasses.replace(self, network=partial(self.network, **flags.group(prefix)))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        fields = {name: getattr(run.facts, name) for name in self.of_data}
        fields |= {} if self.of_run is None else self.of_run(run)
        dtype = {"dtype": run.dtype} if "dtype" in _field_names(self.network) else {}
        return {"model": self.network(**{**fields, **dtype})}


@dataclasses.dataclass(frozen=True)
class OnBackbone:
    """A network on a backbone of the zoo, such as a detector; its flags are `--NETWORK.FIELD` beside `--model`.

    Args:
      network: class of the network with the fields `backbone`, `num_classes` and `dtype`, or a `functools.partial`.
      backbone: the backbone.
      adaptation: part whose `adapt(module, run)` freezes the backbone and adds an adapter; None trains all.
      prefix: prefix of the network's flags; None takes that of its class.
      backbone_class: subclass of the backbone's class with the same fields, whose maps the network reads; None for the
        backbone's own.
    """

    network: Callable[..., nn.Module]
    backbone: Zoo
    adaptation: Any = None
    prefix: Annotated[str | None, "no flag"] = None
    backbone_class: type[nn.Module] | None = None

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The network by the prefix of its flags."""
        return {self.prefix or flag_prefix(self.network): self.network}

    @property
    def settings(self) -> dict[str, Any]:
        """The flags of the adaptation."""
        return getattr(self.adaptation, "settings", {})

    def with_flags(self, flags: Any) -> "OnBackbone":
        """Return the network with the values of its flags in its fields."""
        fields = flags.group(self.prefix or flag_prefix(self.network))
        return dataclasses.replace(
            self, network=partial(self.network, **fields), backbone=self.backbone.with_flags(flags)
        )

    def build(self, num_classes: int, dtype: Any = None, **fields: Any) -> nn.Module:
        """Build the network.

        Args:
          num_classes: number of classes.
          dtype: dtype of the computation.
          **fields: other fields, such as heads.
        """
        backbone = self.backbone.build(num_classes, dtype)
        if self.backbone_class is not None:
            names = _field_names(backbone) - {"parent", "name"}
            backbone = self.backbone_class(**{name: getattr(backbone, name) for name in names})
        network = getattr(self.network, "func", self.network)
        takes_classes = "num_classes" in getattr(network, "__dataclass_fields__", {"num_classes": None})
        values = {"num_classes": num_classes} if num_classes and takes_classes else {}  # a depth has no classes
        return self.network(dtype=dtype, **{**values, "backbone": backbone, **fields})

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        model = self.build(run.facts.num_classes, run.dtype)
        return {"model": model if self.adaptation is None else self.adaptation.adapt(model, run)}

    def check(self, run: Any) -> None:
        """Check that the backbone has the maps that the network reads."""
        if self.adaptation is not None:
            self.adaptation.check(run)


@dataclasses.dataclass(frozen=True)
class Networks:
    """Networks by the prefix of their flags, such as the two of a GAN.

    A network's fields `shape`, `channels` and `dtype` are those of the data and of the run, and with a condition also
    `num_classes`.

    Args:
      modules: {prefix of the flags: class of the network, or a `functools.partial` of one}.
      condition: number of classes -> condition of the networks, such as `class_condition`; None for none.
    """

    modules: Mapping[str, Callable[..., nn.Module]]
    condition: Callable[[int], Any] | None = None

    @property
    def external_fields(self) -> tuple[str, ...]:
        """Fields that the data set, which are no flags."""
        return tuple(f"{name}.channels" for name, module in self.modules.items() if "channels" in _field_names(module))

    def with_flags(self, flags: Any) -> "Networks":
        """Return the networks with the values of their flags in their fields."""
        modules = {name: partial(module, **flags.group(name)) for name, module in self.modules.items()}
        return dataclasses.replace(self, modules=modules)

    def build(self, facts: Any, dtype: Any = None) -> dict[str, nn.Module]:
        """Build the networks.

        Args:
          facts: facts of the data.
          dtype: dtype of the computation.

        Returns:
          {prefix: network}.
        """
        values = {"dtype": dtype}
        if facts.image_shape:
            values |= {"shape": facts.image_shape, "channels": facts.image_shape[-1]}
        if self.condition is not None:
            values["num_classes"] = facts.num_classes
        return {
            name: module(**{field: value for field, value in values.items() if field in _field_names(module)})
            for name, module in self.modules.items()
        }

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique a single network as `model`, several by their prefixes, and the `condition`."""
        networks = self.build(run.facts, run.dtype)
        values = networks if len(networks) > 1 else {"model": next(iter(networks.values()))}
        return values if self.condition is None else {**values, "condition": self.condition(run.facts.num_classes)}


def _field_names(module: Any) -> set[str]:
    """Name the fields of a flax module, of its class or of a `functools.partial` of it."""
    return {field.name for field in dataclasses.fields(getattr(module, "func", module))}


@dataclasses.dataclass(frozen=True)
class WithHeads:
    """A detector whose boxes get masks or keypoints; the flags are those of the detector and `--HEAD.FIELD`.

    Args:
      detector: the detector on its backbone.
      heads: {mask_head or keypoint_head: class of the head, or a `functools.partial`}, fields of the detector.
    """

    detector: OnBackbone
    heads: Mapping[str, Callable[..., nn.Module]]

    @property
    def backbone(self) -> Zoo:
        """The backbone."""
        return self.detector.backbone

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The detector and its heads by the prefixes of their flags."""
        return {**self.detector.modules, **self.heads}

    def with_flags(self, flags: Any) -> "WithHeads":
        """Return the network with the values of its flags in its fields."""
        heads = {name: partial(head, **flags.group(name)) for name, head in self.heads.items()}
        return WithHeads(self.detector.with_flags(flags), heads)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the detector as `model`, with heads for the classes or the keypoints of the data."""
        sizes = {"mask_head": run.facts.num_classes, "keypoint_head": len(run.facts.keypoint_names)}
        heads = {name: head(sizes[name], dtype=run.dtype) for name, head in self.heads.items()}
        network = partial(self.detector.network, **heads)
        return dataclasses.replace(self.detector, network=network).arguments(run)

    def check(self, run: Any) -> None:
        """Check that the backbone has the maps that the detector reads."""
        self.detector.check(run)

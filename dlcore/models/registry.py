"""Models by name: the variants of every family in one dict."""

import dataclasses
import difflib
import fnmatch
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.learner import root_key
from dlcore.models.fields import check_fields
from dlcore.models.stored_counts import all_stored_models

__all__ = [
    "FAMILIES",
    "MODELS",
    "TOKEN_FAMILIES",
    "TOKEN_MODELS",
    "create_model",
    "feature_info",
    "input_shape",
    "list_models",
]

Kind = Literal[
    "image", "tokens", "pairs", "encoder", "video", "detection", "segmentation", "depth", "generative", "chat"
]

FILES = {
    "image": (
        *("aimv2", "alexnet", "all_cnn", "beit", "byobnet", "cait", "convnext", "convnextv2", "crossvit", "cspnet"),
        *("cvt", "deit", "densenet", "dinov3", "efficientnet", "eva02", "fastvit", "focalnet", "general_vit"),
        *("googlenet", "hgnet", "hiera", "hrnet", "ijepa", "inception_v3", "lenet", "levit", "mambaout", "maxvit"),
        *("maxxvit", "metaformer", "mit", "mixer", "mlcd", "mlp", "mnasnet", "mobile_variants", "mobilenet_v1"),
        *("mobilenet_v2", "mobilenet_v3", "mobilenet_v3_variants", "mobilenet_v4", "mobilevit", "mobilevit_v2"),
        *("nextvit", "nf_resnet", "nin", "pit", "pp_lcnet", "pvt", "pvt_v2", "regnet", "relpos_vit", "repvgg"),
        *("res2net", "res_mlp", "resnest", "resnet", "resnet_cifar", "resnet_v2", "rope_vit", "shufflenet_v2"),
        *("small_cnn", "squeezenet", "swiftformer", "swin", "swin_v2", "textnet", "vgg", "vit", "vitdet", "xception"),
        *("xception_aligned", "xcit", "zfnet"),
    ),
    "tokens": ("bart", "bert", "gpt2", "llama", "t5", "vision_encoder_decoder"),
    "pairs": ("align", "blip", "clip", "clip_resnet", "siglip2", "tips", "two_towers", "vilt"),
    "encoder": (
        *("dinov2", "feature_maps", "image_gpt", "image_tower", "llama4_tower", "mae", "mllama_tower", "perceiver"),
        *("simmim", "vjepa2"),
    ),
    "video": ("mvit", "s3d", "swin3d", "video_resnet", "video_transformer", "videoprism", "vjepa2_classifier"),
    "detection": ("dlcore.detection.torch_detectors", "dlcore.vision3d.published_keypoints"),
    "segmentation": ("dlcore.segmentation.torch_segmenters", "dlcore.segmentation.published_segmenters"),
    "depth": ("dlcore.vision3d.depth_pro", "dlcore.vision3d.published_depth"),
    "generative": ("dlcore.generative.torch_networks", "dlcore.generative.swin2sr"),
    "chat": ("vision_language", "image_to_text", "qwen_vl", "florence2", "git", "blip_answers", "blip2"),
}
"""One file a family, by what its models read. Each has MODELS, {name: variant}, and may have

INPUT_SHAPES: {name: (H, W, C)} where it is not 224x224x3. TORCH_NAMES, TORCH_OLD_NAMES, TORCH_IGNORED, TORCH_OPTIONAL,
TORCH_TIED, from_torch: see `dlcore.models.torch_weights`. Families that read tokens also have INPUTS, the names of what
a call takes: arrays [B, T] int, or image. Kinds after tokens are networks whose form is published: their families have
`example_inputs` and `from_torch_names`, see `_Family`. `python -m dlcore.models.zoo` counts the parameters of a new
model for `dlcore models`.
"""


class _Family(Protocol):
    """Functions that a family's file may have."""

    def example_inputs(self, model: nn.Module) -> tuple[Any, ...]:
        """Build the inputs that initialize a model.

        Args:
          model: model of `MODELS`.

        Returns:
          What a call takes.
        """
        ...

    def from_torch_names(self, model: nn.Module, state_dict: Mapping[str, Any]) -> Any:
        """Convert a published state dict.

        Args:
          model: model of the same form.
          state_dict: {name: array}.

        Returns:
          The variables, {"params": ...}, and "batch_stats" where the model has them.
        """
        ...

    def from_torch(self, path: str, value: Any, shape: tuple[int, ...]) -> Any:
        """Convert an entry of a state dict.

        Args:
          path: path of the leaf, such as "params/head/kernel".
          value: the entry.
          shape: shape of the leaf.

        Returns:
          The leaf; None where the rule of `dlcore.models.torch_weights` applies.
        """
        ...


FAMILIES: tuple[ModuleType, ...]
"""The families of image models; they are imported when this or MODELS is first used."""

TOKEN_FAMILIES: tuple[ModuleType, ...]
"""The families of models of tokens."""

MODELS: dict[str, Callable[..., nn.Module]]
"""The image models: the backbones of every experiment's `--model`."""

TOKEN_MODELS: dict[str, Callable[..., nn.Module]]
"""The models of tokens."""

OF_KIND = {"image": ("FAMILIES", "MODELS"), "tokens": ("TOKEN_FAMILIES", "TOKEN_MODELS")}


def __getattr__(name: str) -> Any:
    """Import every family where one of the four names above is first asked for; one model needs its own family only."""
    kind = next((kind for kind, names in OF_KIND.items() if name in names), None)
    if kind is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    families = tuple(import_module(f"dlcore.models.{file}") for file in FILES[kind])
    models = {model: variant for family in families for model, variant in family.MODELS.items()}
    globals().update(zip(OF_KIND[kind], (families, models), strict=True))
    return globals()[name]


def _family(file: str) -> ModuleType:
    return import_module(file if "." in file else f"dlcore.models.{file}")


def _models(kind: str) -> dict[str, Callable[..., nn.Module]]:
    if kind not in OF_KIND:
        return {model: variant for file in FILES[kind] for model, variant in _family(file).MODELS.items()}
    return globals().get(OF_KIND[kind][1]) or __getattr__(OF_KIND[kind][1])


def create_model(name: str, **fields: Any) -> nn.Module:
    """Build a model by name.

    Args:
      name: a name of `list_models()`, of either kind.
      fields: values in place of the variant's own fields, such as num_classes.

    Returns:
      The flax module.
    """
    variant = family_of(name).MODELS[name]
    module = getattr(variant, "func", variant)
    allowed = [f.name for f in dataclasses.fields(module) if f.name != "parent"]
    for field, value in fields.items():
        if field not in allowed:
            raise ValueError(f"{field}={value!r}: not a field{_nearest(field, allowed)}; allowed: {', '.join(allowed)}")
    check_fields(module, fields)
    return variant(**fields)


def list_models(pattern: str = "*", kind: Kind = "image") -> list[str]:
    """List the models whose names match a shell pattern.

    Args:
      pattern: such as "resnet*_cifar"; "*" matches all.
      kind: what the models read or give: image (classifiers and backbones), tokens, pairs (images and their texts),
        encoder (of images or clips), video (classifiers of clips), detection, segmentation, depth, generative or chat
        (words about images).

    Returns:
      The names, sorted.
    """
    check_choice("kind", kind, FILES)
    if not isinstance(pattern, str):
        raise ValueError(f"pattern={pattern!r}: no text; allowed: a shell pattern such as 'resnet*'")
    return sorted(fnmatch.filter(_models(kind), pattern))


def input_shape(name: str) -> tuple[int, int, int]:
    """Return the shape of the images that a model was published for.

    Args:
      name: a name of `list_models()`.

    Returns:
      (H, W, C).
    """
    family = family_of(name)
    if (kind := kind_of(name)) not in ("image", "encoder"):
        what = "reads tokens" if kind == "tokens" else f"is a network of {kind}"
        raise ValueError(f"name={name!r}: it {what}; allowed: models of images, those of list_models()")
    return getattr(family, "INPUT_SHAPES", {}).get(name, (224, 224, 3))


def example_inputs(name: str, fields: Mapping[str, Any]) -> tuple[jax.Array, ...]:
    """Return zeros of the smallest inputs that initialize `create_model(name, **fields)`: one image, or one token."""
    family = family_of(name)
    if hasattr(family, "example_inputs"):
        return family.example_inputs(create_model(name, **fields))
    inputs = getattr(family, "INPUTS", ("image",))
    height, width, channels = (224, 224, 3) if kind_of(name) == "tokens" else input_shape(name)
    if fields.get("image_size") is not None:
        height = width = fields["image_size"]
    shapes = [(1, height, width, channels) if kind == "image" else (1, 1) for kind in inputs]
    return tuple(jnp.zeros(shape, jnp.float32 if len(shape) == 4 else jnp.int32) for shape in shapes)


def feature_info(model: nn.Module, shape: tuple[int, int, int] = (224, 224, 3)) -> dict[str, dict[str, int]]:
    """Describe the maps of `method="features"`; nothing is computed.

    Args:
      model: a model of `create_model`.
      shape: (H, W, C) of an image.

    Returns:
      {stage: {"stride": pixels of the image to one of the map, "channels": C}}, in the model's order.
    """
    if not isinstance(shape, tuple | list) or len(shape) != 3:
        raise ValueError(f"shape={shape!r}: not of an image; allowed: (H, W, C)")
    for side in shape:
        check_whole_number("shape", side, 1)
    is_built = not isinstance(model, type)
    if not (is_built and callable(getattr(model, "features", None))):  # many layers have a field `features`, a number
        raise ValueError(f"model={type(model).__name__}: it has no feature maps; allowed: with a method `features`")
    info: dict[str, dict[str, int]] = {}  # filled while tracing: eval_shape would sort its keys

    def run() -> None:
        maps, _ = model.init_with_output(root_key(0), jnp.zeros((1, *shape)), method="features")
        info.update({n: {"stride": round(shape[0] / m.shape[1]), "channels": m.shape[-1]} for n, m in maps.items()})

    jax.eval_shape(run)
    return info


def family_of(name: str) -> ModuleType:
    """Return the module that defines the model `name`; ValueError where there is none."""
    return _find(name)[0]


def kind_of(name: str) -> str:
    """Return what the model `name` reads, "image" or "tokens"; ValueError where there is no such model."""
    return _find(name)[1]


def _find(name: str) -> tuple[ModuleType, str]:
    """(the family, its kind). The stored list names the family to import first, mostly the only one."""
    if not isinstance(name, str):
        raise ValueError(f"name={name!r}: no name; allowed: those of list_models()")
    stored = all_stored_models()
    likely = next((rows[name]["family"] for rows in stored.values() if name in rows), None)
    files = [(file, kind) for kind in FILES for file in FILES[kind]]
    for file, kind in sorted(files, key=lambda pair: pair[0].rpartition(".")[2] != likely):
        family = _family(file)
        if name in family.MODELS:
            return family, kind
    near = _nearest(name, [model for kind in FILES for model in _models(kind)])
    raise ValueError(f"name={name!r}: unknown{near}; allowed: those of list_models()")


def _nearest(word: str, words: Any) -> str:
    close = difflib.get_close_matches(word, list(words))
    return f" (did you mean {' or '.join(close)}?)" if close else ""

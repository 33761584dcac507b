"""from_pretrained: any published network by its name.

    net = from_pretrained("facebook/dinov2-base")           # a hub id, a local folder, or a file
    out = net(photograph)                                   # {"last_hidden_state": ...}, names of its library

The snapshot's configuration (`dlcore.pretrained.snapshot`) names a family (`dlcore.pretrained.families`),
which says the network of the zoo and its fields; `dlcore.models.load_torch` reads its arrays, and
`dlcore.pretrained.processor` prepares photographs as published.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Sharding

from dlcore.json_content import parse_json
from dlcore.learner import root_key
from dlcore.models.backbone import HEADS
from dlcore.models.registry import create_model, example_inputs, family_of, kind_of
from dlcore.models.torch_weights import load_torch, put_variables
from dlcore.nn.precision import check_float_dtype
from dlcore.pretrained.family import Family, classifier, find_family, library_of, read_network
from dlcore.pretrained.network import Pretrained
from dlcore.pretrained.packing import PatchProcessor, patch_processor_of_transformers
from dlcore.pretrained.processor import Processor, has_processor, processor_of_timm, processor_of_transformers
from dlcore.pretrained.snapshot import Snapshot, open_snapshot
from dlcore.pretrained.torchvision_names import TorchvisionWeights, torchvision_weights

__all__ = ["About", "from_pretrained", "is_published", "read_about"]

CLASSES = {"image": 1000, "video": 400}
"""Classes of torchvision's weights, of ImageNet and of Kinetics, by what the network reads."""


CONFIG_KEYS = ("architectures", "architecture", "_class_name", "model_cfg")
"""Keys by which a library's config.json names its network."""


class About(NamedTuple):
    """What a snapshot says of its network, without its arrays.

    Args:
      model: name of the network in `dlcore.models.list_models`.
      fields: fields of `create_model`.
      classes: names of its classes; None without classes.
      preprocess: its processor; None where none was published.
    """

    model: str
    fields: dict[str, Any]
    classes: tuple[str, ...] | None
    preprocess: Processor | PatchProcessor | None


def is_published(source: str | Path) -> bool:
    """Find out whether a flag's value names published weights: `hf:ORG/NAME`, or a folder as a hub serves it.

    Args:
      source: value of the flag.

    Returns:
      Whether it does; the folder of a run, which has a config.json of its own, does not.
    """
    if str(source).startswith("hf:"):
        return True
    path = Path(source) / "config.json"
    if not path.is_file():
        return False
    try:
        content = parse_json(path.read_bytes())
    except ValueError:
        return False
    return isinstance(content, dict) and "experiment" not in content and any(key in content for key in CONFIG_KEYS)


def read_about(source: str | Path) -> About:
    """Read what a snapshot says of its network; no array of it is read.

    Args:
      source: see `from_pretrained`.

    Returns:
      The name, fields, classes and processor.

    Raises:
      FileNotFoundError, PermissionError, ConnectionError, ValueError: see `from_pretrained`.
    """
    snapshot = open_snapshot(source)
    family = find_family(snapshot.config, str(source))
    name, fields = read_network(family, snapshot.config)
    return About(name, fields, _classes(snapshot.config), _processor(snapshot))


def from_pretrained(
    source: str | Path,
    *,
    file: str | Path | None = None,
    num_classes: int | None = None,
    dtype: Any = None,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    offline: bool = False,
    subfolder: str = "",
    sharding: Sharding | Callable[[str, tuple[int, ...]], Sharding] | None = None,
    param_dtype: Any = None,
    **fields: Any,
) -> Pretrained:
    """Load a published network.

    Args:
      source: a hub id such as "facebook/dinov2-base" or "timm/resnet18.a1_in1k", a local folder as a hub serves it
        (config.json, weights, preprocessor_config.json), or a name of torchvision's weights such as
        "ResNet50_Weights.IMAGENET1K_V2", whose file is `file`.
      file: file of the weights that a name of torchvision's names.
      num_classes: number of classes of a new head, with initial weights; 0 leaves the head out, so that the output is
        `pooler_output`, what a head would see; None keeps the published head.
      dtype: dtype of the computation, such as jnp.bfloat16; None takes the parameters', float32.
      revision: branch, tag or commit of a hub's repository; None for its main branch.
      token: access token of the hub; None takes HF_TOKEN or the stored one.
      cache_dir: folder of the hub's cache; None for huggingface_hub's own.
      offline: read the cache alone.
      subfolder: folder of the source that holds the network, such as "unet" of a pipeline of diffusers.
      sharding: sharding of all arrays, or (path such as "params/stem/kernel", shape) -> the array's, such as
        `dlcore.run.sharding.sharding_of(mesh, "fsdp")`; each array goes to its shards before the next one is read. None
        keeps all on the default device.
      param_dtype: dtype in which arrays of floats are stored, such as jnp.bfloat16; None for float32.
      **fields: fields of the model in place of the configuration's, such as image_size=384 or drop_path=0.1.

    Returns:
      The network; `net(photograph)` runs it.

    Raises:
      FileNotFoundError: there is no such snapshot, or it lacks a file.
      PermissionError: the repository wants a token.
      ConnectionError: the hub does not answer, and the cache has no such snapshot.
      ValueError: a file is damaged, dlcore lacks the architecture, or arrays are missing, left over or of a wrong
        shape.
      MissingPackage: huggingface_hub or safetensors is not installed.
    """
    put = _placement(sharding, param_dtype)
    if (published := torchvision_weights(str(source))) is not None:
        return _of_torchvision(str(source), published, file, num_classes, {"dtype": dtype, **fields}, put)
    if file is not None:
        raise ValueError(f"file={str(file)!r}: of no use beside {str(source)!r}; allowed: with a name of torchvision's")
    snapshot = open_snapshot(
        source, revision=revision, token=token, cache_dir=cache_dir, offline=offline, subfolder=subfolder
    )
    if not snapshot.config:
        raise ValueError(
            f"source={str(source)!r}: weights without a configuration; allowed: a folder with config.json, or "
            "`dlcore.models.load_torch(NAME, arrays)`, which takes the network's name"
        )
    family = find_family(snapshot.config, str(source))
    name, published = read_network(family, snapshot.config)
    new_head = num_classes is not None and num_classes != published.get("num_classes")
    fields = published | ({} if num_classes is None else {"num_classes": num_classes}) | fields
    model = create_model(name, **fields, **({} if dtype is None else {"dtype": dtype}))
    try:
        if family.load is not None:
            variables = put_variables(family.load(model, snapshot.config, snapshot.weights), put)
        elif new_head and kind_of(name) in ("encoder", "video"):
            variables = _with_new_head(name, snapshot.weights, fields, published["num_classes"], put)
        else:
            variables = load_torch(name, snapshot.weights, replace_head=new_head, put=put, **fields)
    except ValueError as error:
        raise ValueError(f"source={str(source)!r}: {error}") from None
    except (TypeError, ZeroDivisionError) as error:
        raise ValueError(
            f"source={str(source)!r}: no {name} has the sizes of its config.json ({error}); allowed: positive integers"
        ) from error
    classes = None if new_head else _classes(snapshot.config)
    processor, side = _processor(snapshot), fields.get("image_size")
    if isinstance(processor, Processor) and side is not None and side != published.get("image_size"):
        processor = processor.at_size(*((side, side) if isinstance(side, int) else side))
    folder = snapshot.folder
    return Pretrained(name, fields, model, variables, family, snapshot.config, processor, classes, folder)


def _with_new_head(
    name: str,
    weights: Mapping[str, Any],
    fields: dict[str, Any],
    num_classes: int,
    put: Callable[[str, np.ndarray], Any] | None,
) -> dict[str, Any]:
    """Load a network with its published number of classes, and replace its head by an initial one or by none."""
    trained = load_torch(name, weights, put=put, **{**fields, "num_classes": num_classes})
    heads = HEADS | {"fc"}  # of `dlcore.models.video_resnet`
    leaves = {path: leaf for path, leaf in flatten_dict(trained).items() if not heads & {*path}}
    if fields["num_classes"]:
        model, inputs = create_model(name, **fields), example_inputs(name, fields)

        @jax.jit
        def draw(key: jax.Array) -> dict[Any, Any]:
            return {path: leaf for path, leaf in flatten_dict(model.init(key, *inputs)).items() if heads & {*path}}

        head = {path: np.asarray(leaf) for path, leaf in draw(root_key(0)).items()}
        leaves |= {path: jnp.asarray(leaf) if put is None else put("/".join(path), leaf) for path, leaf in head.items()}
    return unflatten_dict(leaves)


def _placement(
    sharding: Sharding | Callable[[str, tuple[int, ...]], Sharding] | None, param_dtype: Any
) -> Callable[[str, np.ndarray], jax.Array] | None:
    """(path, array) -> the array in its dtype on its shards; None where neither is asked for."""
    if sharding is None and param_dtype is None:
        return None
    check_float_dtype("param_dtype", param_dtype)

    def put(path: str, array: np.ndarray) -> jax.Array:
        if param_dtype is not None and jnp.issubdtype(array.dtype, jnp.floating):
            array = array.astype(param_dtype)
        where = sharding if sharding is None or isinstance(sharding, Sharding) else sharding(path, array.shape)
        if not (where is sharding or isinstance(where, Sharding)):
            raise ValueError(f"sharding({path!r})={where!r}: no sharding; allowed: a jax.sharding.Sharding")
        return jax.device_put(array, where, may_alias=False)

    return put


def _of_torchvision(
    source: str,
    published: TorchvisionWeights,
    file: str | Path | None,
    num_classes: int | None,
    fields: dict[str, Any],
    put: Callable[[str, np.ndarray], Any] | None,
) -> Pretrained:
    if file is None:
        raise ValueError(f"{source=}: file is missing; allowed: file=PATH of its .pth, of torchvision")
    weights = open_snapshot(file).weights
    fields = {key: value for key, value in fields.items() if value is not None}
    variant = family_of(published.model).MODELS[published.model]
    if hasattr(getattr(variant, "func", variant), "image_size"):
        fields = {"image_size": published.image_size, **fields}
    kind = kind_of(published.model)
    new_head = num_classes is not None and num_classes != CLASSES.get(kind)
    fields |= {"num_classes": num_classes} if new_head else {}
    try:
        if new_head and kind == "video":
            variables = _with_new_head(published.model, weights, fields, CLASSES[kind], put)
        else:
            variables = load_torch(published.model, weights, replace_head=new_head, put=put, **fields)
    except ValueError as error:
        raise ValueError(f"source={source!r}, file={str(file)!r}: {error}") from None
    model = create_model(published.model, **fields)
    family = Family("torchvision", (source,), lambda config: (published.model, fields), classifier, ("x",))
    return Pretrained(published.model, fields, model, variables, family, {}, published.processor, None)


def _processor(snapshot: Snapshot) -> Processor | PatchProcessor | None:
    if snapshot.processor:
        about = snapshot.processor.get("image_processor", snapshot.processor)
        kind = str(about.get("image_processor_type", ""))
        if kind.startswith("Siglip2ImageProcessor"):
            return patch_processor_of_transformers(about)
        if not has_processor(about):
            return None  # such as Owlv2's, which pads to a square and smooths, or ViTPose's, which cuts persons out
        return processor_of_transformers(snapshot.processor)
    if library_of(snapshot.config)[0] == "timm" and "pretrained_cfg" in snapshot.config:
        return processor_of_timm(snapshot.config["pretrained_cfg"])
    return None


def _classes(config: dict[str, Any]) -> tuple[str, ...] | None:
    if config.get("id2label"):
        return tuple(config["id2label"][key] for key in sorted(config["id2label"], key=int))
    return tuple(config["label_names"]) if config.get("label_names") else None

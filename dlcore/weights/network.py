"""A trained network of images to start from, to learn from or to measure with.

`--init_from`, `--network` and the teacher of distillation all take the same:

    runs/classification.supervised/HASH     the folder of a run of any classification experiment
    weights/resnet50                        a folder that `dlcore convert` wrote
    network.npz                             a file that `pack` wrote

The packed file holds `{"params/conv1_1/kernel": float16 array, ...}` and `meta`, a JSON text: model, fields, statistics
of the pixels, class names, and the command and accuracy of the run that it was packed from. dlcore ships with one, a
small VGG trained on CIFAR-10.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from dlcore.data.facts import Facts
from dlcore.data.images import Resizing
from dlcore.data.normalization import normalizer
from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import read_config
from dlcore.models import create_model, input_shape
from dlcore.models.backbone import add_mlp_head
from dlcore.models.registry import kind_of
from dlcore.pretrained.door import is_published, read_about
from dlcore.run.json_files import read_json
from dlcore.run.progress import say
from dlcore.setting import Setting
from dlcore.weights.check import check_origins, check_saved
from dlcore.weights.fit import backbone_of
from dlcore.weights.open import PUBLISHED, Weights, open_weights

__all__ = [
    "NETWORK",
    "PACKED",
    "Extract",
    "TrainedNetwork",
    "check_fits",
    "check_studied",
    "classifier_variables",
    "feature_extractor",
    "load_network",
    "model_of",
    "num_classes",
    "open_classifier",
    "pack",
    "published_source",
    "require_classifier",
]

PACKED = Path(__file__).parents[1] / "interpretability" / "vgg9_cifar10.npz"

NETWORK = Setting(
    None,
    "a run's folder, a folder of `dlcore convert` or a packed .npz; by default a small network is trained",
    str | None,
    essential=True,
    origin=lambda flags: measuring_network(flags),
)
"""`--network`, of a network that measures."""

Extract = Callable[[np.ndarray], tuple[np.ndarray, Any]]
"""Images [B, H, W, C], uint8 or in [0, 1] -> (features [B, D], class probabilities [B, K] or None)."""

_BACKBONE_TOPICS = {"self_supervised", "detection", "segmentation"}
"""Topics whose networks have a backbone, and no head of classes for whole images."""


class TrainedNetwork(NamedTuple):
    """A classifier with its variables.

    Args:
      name: name of the model, as `dlcore models` lists it.
      fields: fields of the model that differ from the defaults.
      model: the flax module.
      variables: variables of the module, numpy arrays.
      mean: [C], of the pixels in [0, 1] that it was trained on.
      std: [C], of the pixels in [0, 1] that it was trained on.
      class_names: class names of its logits.
      side: side of the images that it was trained on, in pixels; (H, W) where they are not square.
      input_size: side, or (H, W), that images are resized to first; None does not resize.
      named: whether the names of the classes were recorded; otherwise they are numbers.
    """

    name: str
    fields: dict[str, Any]
    model: nn.Module
    variables: Any
    mean: np.ndarray
    std: np.ndarray
    class_names: tuple[str, ...]
    side: int | tuple[int, int]
    input_size: int | tuple[int, int] | None = None
    named: bool = True


def measuring_network(flags: Flags) -> Weights | None:
    """Open the network of `--network`, which measures; None without the flag."""
    return None if flags.network is None else open_classifier(flags.network, "network")._replace(initializes=False)


def open_classifier(source: str | Path | None, argument: str, headless: bool = False) -> Weights:
    """Read where a classifier comes from; no array of it is read.

    Args:
      source: a run's folder, a folder of `dlcore convert`, or a packed .npz; None: the VGG that dlcore ships.
      argument: argument that `source` was given as.
      headless: whether the backbone of a pretext, a detector or a segmenter will do.
    """
    weights = open_weights(PACKED if source is None else source, argument)
    require_classifier(weights, headless)
    return weights


def require_classifier(weights: Weights, headless: bool = False) -> None:
    """Check that weights are those of a classifier; no array is read.

    Args:
      weights: the weights.
      headless: whether the backbone of a pretext, a detector or a segmenter will do.
    """
    if weights.page is not None:
        if weights.class_names is None or not _reads_images(weights.model):
            more = ", or of a page with a backbone of the zoo" if headless else ""
            raise ValueError(f"{weights.name}: a run of {weights.page}; allowed: runs of a classifier{more}")
        if not headless and weights.topics & _BACKBONE_TOPICS:
            raise ValueError(f"{weights.name}: a run of {weights.page}, without a head; allowed: runs of a classifier")
    if not headless and weights.spec.get("headless"):
        raise ValueError(f"{weights.name}: converted from a file without a head; allowed: weights of a classifier")


def _reads_images(model: str | None) -> bool:
    try:
        return kind_of(model or "") == "image"
    except ValueError:  # a page's own --model
        return False


def published_source(run: str | Path, argument: str) -> str:
    """Find the published network that a run started from.

    Args:
      run: the run's folder.
      argument: argument that `run` was given as, for errors.

    Returns:
      Its hub id or folder.
    """
    found = open_classifier(run, argument)
    source = found.settings.get("init_from") if found.page is not None else None
    if source is None or not is_published(source):
        raise ValueError(
            f"{found.name}: started from {source or 'no published weights'}; allowed: the folder of a run with "
            "--model=hf:ORG/NAME, or with its folder"
        )
    return str(source).removeprefix("hf:")


def check_studied(found: Weights, splits: Splits | None = None, changed_data: bool = False) -> Weights:
    """Check the network that a study measures, and print what is to be said of it.

    Args:
      found: where it comes from, of `open_classifier`.
      splits: what it is measured on; None where it is measured on none.
      changed_data: allow a network that was trained on test examples.

    Returns:
      The origin, of a network that measures.
    """
    check_saved(found)
    found = found._replace(initializes=False)
    for line in check_origins([found], splits or Splits(None, None, None, {}), changed_data):
        say(f"note: {line}")
    return found


def check_fits(
    found: Weights, *, channels: int | None = None, class_names: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Check that a network takes the images and tells the classes apart.

    Args:
      found: where it comes from.
      channels: number of channels that its images must have; None allows any.
      class_names: names of the classes, see `load_network`.

    Returns:
      The names of its classes; their numbers where they were not recorded.
    """
    mean = found.mean or ()
    if channels not in (None, len(mean)):
        raise ValueError(f"{found.name}: trained on images of {len(mean)} channels; allowed: {channels}")
    own = list(found.class_names or map(str, range(num_classes(found))))
    if class_names is not None and len(own) != len(class_names):
        raise ValueError(f"{found.name}: has {len(own)} classes; allowed: {len(class_names)}")
    if class_names is not None and set(own) & set(class_names) and own != list(class_names):
        place = next(i for i, (a, b) in enumerate(zip(own, class_names, strict=True)) if a != b)
        wanted = class_names[place]
        raise ValueError(f"{found.name}: its class {place} is {own[place]!r}; allowed: {wanted!r}, as in the data")
    return tuple(own)


def num_classes(found: Weights) -> int:
    """Count the classes of a classifier.

    Args:
      found: weights of a classifier.

    Returns:
      Their number.
    """
    return found.spec.get("num_classes") or create_model(found.model).num_classes


def model_of(found: Weights, **fields: Any) -> nn.Module:
    """Build the model of a network; no array of it is read.

    Args:
      found: where it comes from.
      **fields: fields of the model that differ.
    """
    model = create_model(found.model, **({"num_classes": num_classes(found)} | found.fields | fields))
    # A run of transfer.fine_tuning may have another head.
    return add_mlp_head(model, found.settings["head_units"]) if found.settings.get("head") == "mlp" else model


def load_network(
    source: str | Path | None = None,
    argument: str = "network",
    *,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    headless: bool = False,
) -> TrainedNetwork:
    """Load a trained network.

    Args:
      source: a run's folder, a folder of `dlcore convert`, or a packed .npz; None loads the VGG that dlcore ships.
      argument: argument that `source` was given as, for errors.
      channels: number of channels that its images must have; None allows any.
      class_names: names of the classes that it must tell apart, in this order; None allows any. Names of another kind
        (numbers, other languages), of which none is the same, are only counted.
      headless: whether the backbone of a pretext, a detector or a segmenter will do, whose variables have no head.

    Returns:
      The network, with averaged parameters where the run keeps an average.
    """
    found = open_classifier(source, argument, headless)
    own = check_fits(found, channels=channels, class_names=class_names)
    variables = found.variables()
    if found.page is not None and "backbone" in variables["params"]:
        if not headless:
            raise ValueError(f"{found.name}: a run of {found.page}, without a head; allowed: runs of a classifier")
        variables = backbone_of(variables)
    side, resized = _sizes(found)
    return TrainedNetwork(
        found.model,
        found.fields,
        model_of(found),
        variables,
        np.asarray(found.mean, np.float32),
        np.asarray(found.std, np.float32),
        own,
        side,
        resized,
        found.class_names is not None,
    )


def classifier_variables(found: Weights) -> dict[str, Any]:
    """Read the arrays of a classifier.

    Args:
      found: weights of a classifier, or of a network on a backbone.

    Returns:
      Variables of the classifier; of a run with a backbone those of the backbone, without a head.
    """
    variables = found.variables()
    return backbone_of(variables) if found.page is not None and "backbone" in variables["params"] else variables


def _resized(found: Weights) -> Any:
    if "input_size" not in found.settings:
        return None
    return Resizing(found.settings["input_size"]).size(Facts.of(found.spec))


def _sizes(found: Weights) -> tuple[Any, Any]:
    """(Side of the images that a network was trained on, size that they are resized to), (H, W) where not square."""
    if found.page is not None:
        height, width = found.spec["image_shape"][:2]
        return height if height == width else (height, width), _resized(found)
    side, resized = found.spec.get("side"), found.spec.get("input_size")
    if found.spec.get(PUBLISHED):
        side, processor = found.fields.get("image_size"), read_about(str(found.path)).preprocess
        if processor is not None and (size := processor.crop or processor.size):
            side = size[0]
    side, resized = (tuple(size) if isinstance(size, list) else size for size in (side, resized))  # of JSON
    return side or input_shape(found.model)[0], resized


def pack(run: str | Path, path: str | Path) -> None:
    """Write the classifier of a finished run to one small file, in float16.

    Args:
      run: the run's folder.
      path: path of the .npz to write.
    """
    found = open_classifier(Path(run), "run")
    if found.settings.get("head") == "mlp":
        raise ValueError(f"run={run}: its head is no linear layer; allowed: a run with --head=linear")
    spec, (side, resized) = found.spec, _sizes(found)
    result, config = found.path / "result.json", read_config(found.path)
    result = read_json(result) if result.exists() else {}
    meta = {
        "model": found.model,
        "fields": found.fields,
        "side": side,
        "input_size": resized,
        "mean": spec["mean"],
        "std": spec["std"],
        "class_names": spec["class_names"],
        "dataset": spec["dataset"],
        "command": _portable(result.get("command")),
        "test_accuracy": result.get("value"),
        "commit": config.get("commit"),
    }
    leaves = flatten_dict(found.variables())
    arrays = {"/".join(name): leaf.astype(np.float16) for name, leaf in leaves.items()}
    np.savez_compressed(path, meta=json.dumps(meta), **arrays)


def _portable(command: str | None) -> str | None:
    """Return a command without the paths of one machine."""
    words = [w for w in (command or "").split() if not w.startswith(("--runs=", "--run_dir="))]
    return " ".join("--data_dir=$DATA_DIR" if w.startswith("--data_dir=") else w for w in words) or None


def feature_extractor(network: TrainedNetwork) -> Extract:
    """Build a feature extractor of a trained network.

    Args:
      network: network whose last feature map is averaged over the image.

    Returns:
      Images [B, H, W, C], uint8 or float in [0, 1] -> (features [B, D], class probabilities [B, K], None of a network
      without a head), computed in batches of 256 images, or of 32 where the network's side is above 64 pixels, so that
      one shape is compiled; fewer images are padded to a power of two.
    """
    size = 256 if np.max(network.input_size or network.side) <= 64 else 32
    model, normalize = network.model, normalizer(network.mean, network.std, size=network.input_size)

    @jax.jit
    def apply(variables, images):
        x = normalize(images)
        maps = model.apply(variables, x, train=False, method="features")
        last = maps[list(maps)[-1]]
        features = last.reshape(last.shape[0], -1, last.shape[-1]).mean(1)
        if getattr(model, "num_classes", None) == 0:
            return (features,)
        return features, jax.nn.softmax(model.apply(variables, x))

    def extract(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts, count = [], min(size, 1 << (len(images) - 1).bit_length())
        for first in range(0, len(images), count):
            piece = np.asarray(images[first : first + count])
            rows = len(piece)
            piece = np.concatenate([piece, np.zeros((count - rows, *piece.shape[1:]), piece.dtype)])
            parts.append([np.asarray(x)[:rows] for x in apply(network.variables, piece)])
        features, *probabilities = (np.concatenate(column) for column in zip(*parts, strict=True))
        return features, *(probabilities or [None])

    return extract

"""What experiments that start from a trained network share: few labels, parts that learn, panels."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.data.few_labels import few_labels
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.origin import Origin, Start, normalized_as
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.images import labeled_images
from dlcore.kits.training import backbone, optimizer, pretrained_network
from dlcore.learner import Range
from dlcore.models import create_model, input_shape
from dlcore.models.backbone import with_mlp_head
from dlcore.modes.report_context import ReportContext
from dlcore.optim import create_optimizer
from dlcore.optim.partial import Part, parse_part, part_labels, partial_optimizer, scale_by_layer

__all__ = [
    "SETTINGS",
    "build_optimizer",
    "check",
    "data",
    "notes",
    "origin",
    "panels",
    "parts_of",
    "source_network",
    "start",
    "with_head",
]

SETTINGS = {
    **labeled_images.SETTINGS,
    **{k: v for k, v in optimizer.SETTINGS.items() if k not in ("ema", "accumulate", "l1", "max_norm")},
    "init_from": Setting(
        "cifar10",
        "weights to start from: a run's folder, a folder of `dlcore convert` or a packed .npz; none starts from random "
        "ones; cifar10 is the small VGG that dlcore ships",
        str | None,
        essential=True,
        origin=lambda flags: origin(flags),
    ),
    "parts": Setting(
        ("head:10", "*4_*@0.2", "*:0.3@0.4"),
        "what learns: PATTERN:RATE@START of parameters, a factor of the learning rate and a share of the run; the "
        "first that matches counts, and what none names is frozen",
        tuple[str, ...],
        essential=True,
    ),
    "head": Setting(
        "linear",
        "new head of the network: one linear layer, or a multi-layer perceptron (mlp) with a hidden layer",
        Literal["linear", "mlp"],
        identity="if changed",
    ),
    "head_units": Setting(128, "--head=mlp: units of its hidden layer", limits=Range(1), identity="if changed"),
    "layer_decay": Setting(
        None, "transformers: factor of the rate from each block to the one before it", float | None, Range(0.01, 1)
    ),
    "labels_per_class": Setting(
        10, "labeled training images of each class; none takes all", int | None, Range(1), essential=True
    ),
}


def origin(flags: Flags) -> Origin | None:
    """Read where the weights of `--init_from` come from.

    Args:
      flags: of SETTINGS.

    Returns:
      The origin; None from random weights.

    Raises:
      FlagError: the network is another than `--model`.
      ValueError: there is no such network.
    """
    if flags.init_from is None:
        return None
    source = None if flags.init_from == "cifar10" else flags.init_from
    found = pretrained_network.classifier_origin(source, "init_from", headless=True)
    if found.model != flags.model:
        raise FlagError(f"--init_from={flags.init_from}: a {found.model}; allowed: of --model={flags.model}")
    return backbone.normalized_for(found, flags.group("model"))


def source_network(flags: Flags, channels: int | None = None) -> pretrained_network.TrainedNetwork | None:
    """Load the network that `--init_from` names.

    Args:
      flags: of SETTINGS.
      channels: of the images; None allows any, and gray images are given to each channel of a network of colors.

    Returns:
      The network; None from random weights.

    Raises:
      FlagError: the network is another than `--model`.
      ValueError: there is no such network, or it takes other images.
    """
    if origin(flags) is None:
        return None
    source = None if flags.init_from == "cifar10" else flags.init_from
    channels = None if channels == 1 else channels
    return pretrained_network.load_network(source, "init_from", channels=channels, headless=True)


def data(flags: Flags) -> Splits:
    """Load the splits: few training images of each class, normalized as the source network knows it.

    Args:
      flags: of SETTINGS.

    Returns:
      The splits; validation and test have all images.

    Raises:
      ValueError: as `labeled_images.data`; a class has too few images, or the source network takes others.
      FlagError: as `origin`.
    """
    splits = labeled_images.data(flags)
    if flags.labels_per_class is not None:
        splits = splits._replace(train=few_labels(splits.train, flags.labels_per_class, flags.seed))
    found = origin(flags)
    return splits if found is None else normalized_as(splits, [found])


def check(flags: Flags) -> None:
    """Check that the parts and the layer-wise decay name parameters of the model.

    Args:
      flags: of SETTINGS.

    Raises:
      FlagError: a pattern names none, nothing learns, or the model has no numbered blocks.
      ValueError: the model's fields do not fit each other.
    """
    model = with_head(create_model(flags.model, **flags.group("model")), flags)
    height, width, channels = input_shape(flags.model)
    side = flags.group("model").get("image_size")
    image = jnp.zeros((1, side or height, side or width, channels))  # paths depend on neither size nor classes
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))["params"]
    parts = parts_of(flags)
    try:
        part_labels(params, parts)
    except ValueError as error:
        raise FlagError(f"--parts: {error}") from None
    if flags.layer_decay is not None:
        try:
            scale_by_layer(flags.layer_decay).init(params)
        except ValueError as error:
            raise FlagError(f"--{error}") from None


def with_head(model: nn.Module, flags: Flags) -> nn.Module:
    """Give a network the head that `--head` names.

    Args:
      model: with a linear head.
      flags: of SETTINGS.

    Returns:
      The network.

    Raises:
      FlagError: the network has no linear head that can be replaced.
    """
    if flags.head == "linear":
        return model
    try:
        return with_mlp_head(model, flags.head_units)
    except ValueError as error:
        raise FlagError(f"--head=mlp: {error}") from None


def parts_of(flags: Flags) -> tuple[Part, ...]:
    """Read the parts that learn.

    Args:
      flags: `parts`.

    Returns:
      The parts, in their order.

    Raises:
      FlagError: one is malformed.
    """
    try:
        return tuple(parse_part(text) for text in flags.parts)
    except ValueError as error:
        raise FlagError(f"--parts: {error}") from None


def build_optimizer(setup: Setup) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer of the parts, each on the run's schedule from its start on.

    Args:
      setup: with the flags of SETTINGS.

    Returns:
      The transformation.
    """
    flags = setup.flags

    def make(rate: float, begin: int) -> optax.GradientTransformation:
        schedule = optimizer.learning_rate_schedule(setup, flags.learning_rate * rate)
        return create_optimizer(
            flags.optimizer,
            lambda count: schedule(count + begin),
            momentum=flags.momentum,
            second_momentum=flags.second_momentum,
            weight_decay=flags.weight_decay,
            clip_value=flags.clip_value,
        )

    tx = partial_optimizer(parts_of(flags), make, setup.steps, flags.clip_norm)
    return tx if flags.layer_decay is None else optax.chain(tx, scale_by_layer(flags.layer_decay))


def start(setup: Setup) -> Start | None:
    """Start from the source network's weights, with a new head where the classes are others.

    Args:
      setup: with the flags of SETTINGS.

    Returns:
      State -> State; None from random weights.
    """
    if setup.flags.init_from is None:
        return None
    return backbone.start_from(
        lambda: source_network(setup.flags),
        setup,
        lambda: build_optimizer(setup),
        keep_unnamed=False,
        new_head=setup.flags.head == "mlp",
    )


def notes(setup: Setup, splits: Splits) -> list[str]:
    """Say which of the four cells this is, by linear classifiers on the features of every stage.

    Args:
      setup: with the flags of SETTINGS.
      splits: the data.

    Returns:
      Lines; none from random weights, or of images on disk.
    """
    from dlcore.data.streaming import streamed
    from dlcore.transfer.advice import FEW, advice
    from dlcore.transfer.stages import probe_stages, stage_features

    network = source_network(setup.flags)
    if network is None or streamed(splits.train) is not None:
        return []
    per_class = np.bincount(splits.train.arrays["label"], minlength=setup.spec["num_classes"]).min()
    bank, queries = splits.train.take(1000).arrays, splits.valid.take(1000).arrays
    preprocess = labeled_images.preprocess(setup)
    variables = _with_missing_layers(network.model, network.variables, preprocess(bank["image"][:1]))
    features = [stage_features(network.model, variables, x["image"], preprocess) for x in (bank, queries)]
    accuracies = probe_stages(features[0], bank["label"], features[1], queries["label"])
    best = max(accuracies, key=accuracies.get)
    similarity = "similar" if best == list(accuracies)[-1] else "different"
    cell = "little" if per_class < FEW else "much"
    shown = ", ".join(f"{name} {value:.3f}" for name, value in accuracies.items())
    images_of = f"{per_class} labeled images of a class"
    return [
        f"linear classifiers on each stage of the source, accuracy on validation images: {shown}",
        f"{cell} data ({images_of}), {similarity} (best: {best}). {advice(cell, similarity).text}",
    ]


def _with_missing_layers(model: nn.Module, variables: Any, image: jax.Array) -> Any:
    """The variables with zeros for layers that they lack, such as the head of a pretext's backbone."""
    shapes = jax.eval_shape(lambda x: dict(model.init(jax.random.key(0), x)), image)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return unflatten_dict(flatten_dict(zeros) | flatten_dict(dict(variables)))


def panels(context: ReportContext) -> list:
    """Show what each part's learning bought, and the panels of a classifier.

    Args:
      context: the ReportContext.

    Returns:
      Report panels.
    """
    from dlcore.kits.images import classifier_panels
    from dlcore.report.transfer import bought

    parts = parts_of(context.flags)
    return [bought(context.history, parts), *classifier_panels.panels(context)]

"""Few labeled images, and a network that was trained on others: which of its parts learn, from when on.

network=FineTunedNetwork(Zoo("vgg9_cifar"), head="linear"), optimizer=FineTuningAdamW(parts=("head:10", "*:0.3@0.4")),
start=SourceWeights("cifar10")
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.data.few_labels import few_labels
from dlcore.data.images import MadeOfImages
from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError, Setting, field_settings
from dlcore.kits.images import classifier_panels
from dlcore.kits.training import adapters, parts
from dlcore.learner import Range, check_record
from dlcore.models import create_model, input_shape
from dlcore.models.backbone import add_mlp_head
from dlcore.models.network import Zoo
from dlcore.optim.partial import PartsAdamW
from dlcore.report.context import ReportContext
from dlcore.transfer.adapters import Adapted
from dlcore.weights.check import take_normalization
from dlcore.weights.network import PACKED, TrainedNetwork, load_network
from dlcore.weights.open import Weights
from dlcore.weights.start import Start, open_classifier_of_model, start_classifier

__all__ = ["FewImages", "FineTunedNetwork", "FineTuningAdamW", "PhaseGains", "SourceWeights"]


@dataclasses.dataclass(frozen=True)
class FewImages(MadeOfImages):
    """Images of which few of each class train.

    Args:
      images: the images by name
      labels_per_class: labeled training images of each class; none takes all
    """

    labels_per_class: Annotated[int | None, Range(1), "essential"] = 10

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, with few training images.

        Args:
          seed: seed of the splits, and of the choice of the training images.
          min_classes: least number of classes.
        """
        splits = self.images.load(seed, min_classes)
        if self.labels_per_class is None:
            return splits
        return splits._replace(train=few_labels(splits.train, self.labels_per_class, seed))

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique its `preprocess` and `augment`."""
        return self.images.arguments(run)


@dataclasses.dataclass(frozen=True)
class FineTunedNetwork:
    """A network with a new head, of which parts or an adapter learn.

    Args:
      backbone: the network
      head: new head of the network: one linear layer, or a multi-layer perceptron (mlp) with a hidden layer
      head_units: --head=mlp: units of its hidden layer
    """

    backbone: Zoo
    head: Annotated[Literal["linear", "mlp"], "if changed"] = "linear"
    head_units: Annotated[int, Range(1), "if changed"] = 128

    settings: ClassVar[dict[str, Setting]] = adapters.SETTINGS

    def __post_init__(self):
        check_record(self)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`, of which what does not learn is frozen."""
        flags = run.flags.replace(parts=run.parts.optimizer.parts)
        model = self._with_head(self.backbone.build(run.facts.num_classes, run.dtype))
        return {"model": adapters.trained_model(model, flags)}

    def check(self, run: Run) -> None:
        """Check that the parts, the layer-wise decay and the adapter fit the network."""
        flags = run.flags
        adapters.check_adapter(flags, *self.example())
        if not adapters.is_adapter(flags):
            params = jax.eval_shape(self.init)["params"]
            parts.check_parts(flags.replace(parts=run.parts.optimizer.parts), params)

    def example(self) -> tuple[nn.Module, jax.Array]:
        """Build the network and an image for it; the paths of parameters depend on neither size nor classes.

        Returns:
          (the network, [1, H, W, C]).
        """
        height, width, channels = input_shape(self.backbone.zoo_name)
        side = self.backbone.fields.get("image_size")
        model = self._with_head(create_model(self.backbone.zoo_name, **self.backbone.fields))
        return model, jnp.zeros((1, side or height, side or width, channels))

    def init(self) -> Any:
        """Initialize the network of `example`.

        Returns:
          Its variables.
        """
        model, image = self.example()
        return model.init(jax.random.key(0), image, train=False)

    def _with_head(self, model: nn.Module) -> nn.Module:
        if self.head == "linear":
            return model
        try:
            return add_mlp_head(model, self.head_units)
        except ValueError as error:
            raise FlagError(f"--head=mlp: {error}") from None


@dataclasses.dataclass(frozen=True)
class FineTuningAdamW(PartsAdamW):
    """AdamW of what `--adapt` lets learn, or of one layer after the other."""

    def with_flags(self, flags: Flags) -> "FineTuningAdamW":
        """Return the record with the values of the flags, and a part for each layer in place of `gradual`."""
        values = {name: flags[name] for name in field_settings(self) if name in flags}
        network = FineTunedNetwork(Zoo(flags.model, flags.group("model")), flags.head, flags.head_units)
        values["parts"] = parts.unfold_gradual(adapters.trained_parts(flags), network.init).parts
        return dataclasses.replace(self, **values)


@dataclasses.dataclass(frozen=True)
class SourceWeights:
    """Weights of the network that was trained on other images.

    Args:
      init_from: weights to start from: a run's folder, a folder of `dlcore convert` or a packed .npz; none starts from
        random ones; cifar10 is the small VGG that dlcore ships
    """

    init_from: Annotated[str | None, "essential"] = "cifar10"

    @property
    def settings(self) -> dict[str, Setting]:
        """The flag, with where its weights come from."""
        return {"init_from": field_settings(self)["init_from"]._replace(origin=_origin)}

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Normalize images as the source network knows them."""
        source = _origin(run.flags)
        return splits if source is None else take_normalization(splits, [source])

    def start(self, run: Run) -> Start | None:
        """Start from the source network's weights, with a new head where the classes are others."""
        model = run.parts.network.arguments(run)["model"]
        return start_classifier(
            run,
            _origin,
            keep_unnamed=False,
            new_head=run.parts.network.head == "mlp",
            adapted=model if isinstance(model, Adapted) else None,
        )

    def messages(self, run: Run, splits: Splits) -> list[str]:
        """Say which of the four cells this is, by linear classifiers on the features of every stage."""
        from dlcore.data.streaming import streamed_images
        from dlcore.transfer.advice import FEW, advice
        from dlcore.transfer.stages import probe_stages, stage_features

        network = source_network(run.flags)
        if network is None or streamed_images(splits.train) is not None:
            return []
        per_class = np.bincount(splits.train.arrays["label"], minlength=run.facts.num_classes).min()
        bank, queries = splits.train.take(1000).arrays, splits.valid.take(1000).arrays
        preprocess = run.parts.data.images.preprocess(run.facts, run.dtype)
        variables = with_missing_layers(network.model, network.variables, preprocess(bank["image"][:1]))
        features = [stage_features(network.model, variables, x["image"], preprocess) for x in (bank, queries)]
        accuracies = probe_stages(features[0], bank["label"], features[1], queries["label"])
        best = max(accuracies, key=accuracies.__getitem__)
        similarity = "similar" if best == list(accuracies)[-1] else "different"
        cell = "little" if per_class < FEW else "much"
        summary = ", ".join(f"{name} {value:.3f}" for name, value in accuracies.items())
        images_of = f"{per_class} labeled images of a class"
        return [
            f"linear classifiers on each stage of the source, accuracy on validation images: {summary}",
            f"{cell} data ({images_of}), {similarity} (best: {best}). {advice(cell, similarity).text}",
        ]


class PhaseGains:
    """What each phase of the fine-tuning brought, and the panels of a classifier."""

    def panels(self, context: ReportContext, run: Run) -> list:
        """Show the gain of each phase, and the panels of a classifier."""
        from dlcore.report.transfer import phase_gains

        phases = parts.parts_of(run.parts.optimizer)
        return [*phase_gains(context.history, phases), *classifier_panels.panels(context)]

    def pictures(self, context: ReportContext) -> dict[str, Any]:
        """Show filters and mistakes in TensorBoard."""
        return classifier_panels.pictures(context)


def _origin(flags: Flags) -> Weights | None:
    """Open the weights of `--init_from`."""
    if flags.init_from == "cifar10":
        flags = flags.replace(init_from=str(PACKED))
    return open_classifier_of_model(flags)


def source_network(flags: Flags) -> TrainedNetwork | None:
    """Load the network that `--init_from` names.

    Returns:
      The network, without a head where its run has none; None without weights.
    """
    source = _origin(flags)
    return None if source is None else load_network(source.path, "init_from", headless=True)


def with_missing_layers(model: nn.Module, variables: Any, image: jax.Array) -> Any:
    """Give a network zeros for layers that its variables lack, such as the head of a pretext's backbone.

    Args:
      model: the network.
      variables: its variables.
      image: [1, H, W, C].

    Returns:
      The variables of all layers.
    """
    shapes = jax.eval_shape(lambda x: dict(model.init(jax.random.key(0), x)), image)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return unflatten_dict(flatten_dict(zeros) | flatten_dict(dict(variables)))

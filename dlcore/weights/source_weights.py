"""The weights of a network that was trained on other images, for a head of other classes."""

import dataclasses
from typing import Annotated, Any

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.setting import Setting, field_settings
from dlcore.transfer.adapters import Adapted
from dlcore.weights.check import take_normalization
from dlcore.weights.network import PACKED, TrainedNetwork, load_network
from dlcore.weights.open import Weights
from dlcore.weights.start import Start, open_classifier_of_model, start_classifier

__all__ = ["SourceWeights"]


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

"""Reconstruction: a pretext takes something from an image, and the technique gives it back.

network=FillingNetwork(Zoo("resnet8_cifar"), lambda: colorization.remove_colors)
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import jax
import numpy as np

from dlcore.data.augment import channel_statistics, to_float
from dlcore.data.images import Images
from dlcore.data.photographs import photo_crops
from dlcore.data.source import Source
from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.splits import Splits
from dlcore.kits.images import labeled_images
from dlcore.kits.self_supervised import encoders
from dlcore.learner import example_keys
from dlcore.models.network import Zoo
from dlcore.modes.report_context import ReportContext
from dlcore.self_supervised.fill_in import Filler, FillIn, Present

__all__ = ["FillingNetwork", "ImagesOrCrops", "MeanImage"]

CROPS = {"train": 4000, "valid": 480, "test": 960}
SHOWN = 10


@dataclasses.dataclass(frozen=True)
class ImagesOrCrops(Images):
    """Images by name, or crops of two photographs (`photographs`)."""

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, see `Images.load`."""
        return _photographs(seed) if self.dataset == "photographs" else super().load(seed, min_classes)


@dataclasses.dataclass(frozen=True)
class MeanImage:
    """The error of the training split's mean image, a baseline of reconstructions of images.

    Args:
      shown: number of test images that the report shows; None for those of the page.
    """

    shown: Annotated[int | None, "no flag"] = None

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Note the mean squared error of the mean image on the test split."""
        train, test = (np.asarray(to_float(split.arrays["image"][:10_000])) for split in (splits.train, splits.test))
        error = float(np.square(test - train.mean(0)).mean())
        splits = splits._replace(notes=(*splits.notes, f"mse of the mean image on the test split: {error:.4f}"))
        return splits if self.shown is None else splits._replace(shown=Source({"image": test[: self.shown]}))


@dataclasses.dataclass(frozen=True)
class FillingNetwork:
    """A backbone of the zoo with a decoder that fills images in; flags are `--model`, its fields and `--decoder.FIELD`.

    Args:
      backbone: the backbone.
      pretext: flags of the technique -> `(key, image) -> input, trivial answer, target and weight`.
      present: flags of the technique -> image as the encoder has learned to see it; None for the image.
      channels: number of output channels; None takes that of the images.
      decoder: fields of the decoder, of `Filler`
    """

    backbone: Zoo
    pretext: Callable[..., Callable[[jax.Array, jax.Array], FillIn]]
    present: Callable[..., Present] | None = None
    channels: Annotated[int | None, "no flag"] = None
    decoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modules(self) -> dict[str, Callable]:
        """The module by the prefix of its flags."""
        return {"decoder": partial(Filler, **self.decoder)}

    def with_flags(self, flags: Flags) -> "FillingNetwork":
        """Return the network with the values of its flags in its fields."""
        return dataclasses.replace(self, backbone=self.backbone.with_flags(flags), decoder=flags.group("decoder"))

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        channels = self.channels or run.facts.image_shape[-1]
        return {"model": Filler(self.backbone.build(1, run.dtype), channels, **self.decoder)}

    def encoder(self, run: Run) -> Encoder:
        """Describe the encoder of images as it has learned to see them."""
        if self.present is None:
            return encoders.encoder(run.setup)
        transform, preprocess = self.present(**run.parts.technique.keywords), run.parts.data.arguments(run)

        def prepare(batch: jax.Array) -> jax.Array:
            return preprocess["normalize"](jax.vmap(transform)(preprocess["prepare"](batch)))

        return encoders.encoder(run.setup, prepare=prepare)

    def pretext_panels(self, context: ReportContext, run: Run) -> list:
        """Show inputs, trivial answers, predictions and targets."""
        from dlcore.report.generative import sample_rows

        rows, pretext = context.data.test[:SHOWN], self.pretext(**run.parts.technique.keywords)
        images = run.parts.data.arguments(run)["prepare"](rows["image"])
        filled = jax.jit(jax.vmap(pretext))(example_keys(context.state.rng, rows), images)
        weight = np.asarray(filled.weight)[..., None]
        targets, trivial = np.asarray(filled.target), np.clip(filled.trivial, 0, 1)
        predicted = weight * context.outputs["answer"][: len(targets)] + (1 - weight) * targets
        pictures = {
            "input": np.clip(filled.input, 0, 1),
            "baseline": weight * trivial + (1 - weight) * targets,
            "prediction": predicted,
            "target": targets,
        }
        return [sample_rows(pictures, "Filled in", "Test images, the first ones.")]


def _photographs(seed: int) -> Splits:
    splits = {name: photo_crops(name, count, seed) for name, count in CROPS.items()}
    train = splits["train"]
    mean, std = channel_statistics(train)
    spec = {
        "dataset": "photographs",
        "class_names": list(train.class_names),
        "num_classes": len(train.class_names),
        "image_shape": list(train.arrays["image"].shape[1:]),
        "mean": [float(m) for m in mean],
        "std": [float(s) for s in std],
        "batch": labeled_images.labeled_batch(train.arrays["image"].shape[1:]),
    }
    return Splits(**splits, spec=spec)

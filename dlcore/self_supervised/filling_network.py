"""Reconstruction: a pretext takes something from an image, and the technique gives it back.

network=FillingNetwork(Zoo("resnet8_cifar"), lambda: colorization.remove_colors)
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import jax
import numpy as np

from dlcore.learner import example_keys
from dlcore.models.encoder import Encoder
from dlcore.models.network import Zoo
from dlcore.report.context import ReportContext
from dlcore.self_supervised import encoders
from dlcore.self_supervised.fill_in import Filler, FillIn, Present

__all__ = ["FillingNetwork"]

SHOWN = 10


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

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        channels = self.channels or run.facts.image_shape[-1]
        return {"model": Filler(self.backbone.build(1, run.dtype), channels, **self.decoder)}

    def encoder(self, run: Any) -> Encoder:
        """Describe the encoder of images as it has learned to see them."""
        if self.present is None:
            return encoders.encoder(run)
        transform, preprocess = self.present(**run.parts.technique.keywords), run.parts.data.arguments(run)

        def prepare(batch: jax.Array) -> jax.Array:
            return preprocess["normalize"](jax.vmap(transform)(preprocess["prepare"](batch)))

        return encoders.encoder(run, prepare=prepare)

    def pretext_panels(self, context: ReportContext, run: Any) -> list:
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

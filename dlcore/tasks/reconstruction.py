"""Reconstruction: a pretext takes something from an image, and the technique gives it back.

class GrayImages(Reconstruction):
    def pretext(self, flags):
        return colorization.remove_colors

experiment = Experiment(
    __file__, __doc__, colorization.learner, task=GrayImages(dataset="photographs"), optimizer=AdamW(weight_decay=1e-4)
)
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np

from dlcore.data.augment import channel_statistics, to_float
from dlcore.data.normalization import normalizer
from dlcore.data.photographs import photo_crops
from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.kits.images import labeled_images
from dlcore.kits.self_supervised import encoders
from dlcore.kits.training import backbone
from dlcore.learner import example_keys
from dlcore.modes.report_context import ReportContext
from dlcore.self_supervised.fill_in import Filler, FillIn, Present
from dlcore.tasks.pretext import enlarge
from dlcore.tasks.unlabeled_images import UnlabeledImages

__all__ = ["Reconstruction"]

CROPS = {"train": 4000, "valid": 480, "test": 960}
SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Reconstruction(UnlabeledImages):
    """Images by name or crops of two photographs (`--dataset=photographs`), of which a pretext takes something."""

    modules: ClassVar[dict[str, Callable]] = {"decoder": Filler}
    defaults: ClassVar[dict[str, Any]] = {
        **UnlabeledImages.defaults,
        "eval_every": 200,
        "steps": 1000,
        "batch_size": 64,
    }
    channels: ClassVar[int | None] = None
    """Number of output channels; None takes that of the images."""
    mean_image: ClassVar[bool] = False
    """Whether the notes say the error of the mean image, the baseline of pretexts that hide most of an image."""

    def pretext(self, flags: Flags) -> Callable[[jax.Array, jax.Array], FillIn]:
        """Build the function that takes something from an image, for the report.

        Returns:
          (key, image) -> input, trivial answer, target and weight.

        Raises:
          TypeError: the task does not say it.
        """
        raise TypeError(f"{type(self).__name__} does not say its pretext")

    def present(self, flags: Flags) -> Present | None:
        """Build the transform of images as the encoder has learned to see them.

        Returns:
          Image -> image; None shows images unchanged.
        """
        return None

    def data(self, flags: Flags) -> Splits:
        """Load images by name, or crops of photographs.

        Returns:
          The splits; with `mean_image` a note gives the mean squared error of the training split's mean image on the
          test split.
        """
        splits = _photographs(flags.seed) if flags.dataset == "photographs" else super().data(flags)
        if not self.mean_image:
            return splits
        train, test = (np.asarray(to_float(split.arrays["image"][:10_000])) for split in (splits.train, splits.test))
        error = float(np.square(test - train.mean(0)).mean())
        return splits._replace(notes=(*splits.notes, f"mse of the mean image on the test split: {error:.4f}"))

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network and the preprocessing."""
        flags, spec = setup.flags, setup.spec
        channels = self.channels or spec["image_shape"][-1]
        return {
            "model": Filler(backbone.build(setup, num_classes=1), channels, **flags.group("decoder")),
            "prepare": enlarge(flags, spec),
            "normalize": normalizer(spec["mean"], spec["std"], dtype=setup.dtype),
        }

    def encoder(self, setup: Setup) -> Encoder:
        """Describe the encoder of images as it has learned to see them."""
        transform, spec = self.present(setup.flags), setup.spec
        if transform is None:
            return super().encoder(setup)
        normalize = normalizer(spec["mean"], spec["std"], dtype=setup.dtype)

        def prepare(batch: jax.Array) -> jax.Array:
            return normalize(jax.vmap(transform)(enlarge(setup.flags, spec)(batch)))

        return encoders.encoder(setup, prepare=prepare)

    def pretext_panels(self, context: ReportContext) -> list:
        """Show inputs, trivial answers, predictions and targets."""
        from dlcore.report.generative import sample_rows

        rows = context.data.test[:SHOWN]
        filled = jax.jit(jax.vmap(self.pretext(context.flags)))(
            example_keys(context.state.rng, rows), enlarge(context.flags, context.spec)(rows["image"])
        )
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

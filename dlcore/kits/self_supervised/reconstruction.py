"""Shared by experiments whose pretext task is reconstruction: photo crops, the network, and pictures in the report.

experiment = Experiment(
    file=__file__, doc=__doc__, learner=colorization.learner, build=build, evaluators=evaluators,
    panels=partial(reconstruction.panels, task=task), **reconstruction.SHARED
)
"""

from collections.abc import Callable
from functools import partial

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
from dlcore.kits.self_supervised.pretext_classifiers import enlarge
from dlcore.kits.training import backbone, optimizer
from dlcore.learner import Evaluator, Learner, example_keys
from dlcore.modes.report_context import ReportContext
from dlcore.self_supervised.fill_in import Filler, FillIn, Present

__all__ = ["DEFAULTS", "SHARED", "build", "data", "data_with_mean_image", "encoder", "evaluators", "panels"]

DEFAULTS = {
    "dataset": "photographs",
    "eval_every": 200,
    "weight_decay": 1e-4,
    "select": "last",
    "steps": 1000,
    "batch_size": 64,
}

CROPS = {"train": 4000, "valid": 480, "test": 960}
SHOWN = 10


def data(flags: Flags) -> Splits:
    """Load images by name, or crops of photographs.

    Args:
      flags: resolved settings; must contain `encoders.SETTINGS`; `--dataset=photographs` names the crops.

    Returns:
      The splits.
    """
    if flags.dataset != "photographs":
        return encoders.data(flags)
    splits = {name: photo_crops(name, count, flags.seed) for name, count in CROPS.items()}
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


def data_with_mean_image(flags: Flags) -> Splits:
    """Load what `data` loads, and report the error of the mean image, the baseline of tasks that hide most of an image.

    Args:
      flags: resolved settings; must contain `encoders.SETTINGS`.

    Returns:
      The splits; a message gives the mean squared error of the training split's mean image on the test split.
    """
    splits = data(flags)
    train, test = (np.asarray(to_float(split.arrays["image"][:10_000])) for split in (splits.train, splits.test))
    error = float(np.square(test - train.mean(0)).mean())
    return splits._replace(notes=(*splits.notes, f"mse of the mean image on the test split: {error:.4f}"))


def build(make_learner: Callable[..., Learner], setup: Setup, channels: int | None = None) -> Learner:
    """Build the learner of a reconstruction task from the flags.

    Args:
      make_learner: the technique's factory.
      setup: facts of the run; its flags must contain SHARED.
      channels: number of output channels; None takes that of the images.

    Returns:
      The learner, without labels.
    """
    flags, spec = setup.flags, setup.spec
    channels = channels or spec["image_shape"][-1]
    learner = make_learner(
        model=Filler(backbone.build(setup, num_classes=1), channels, **flags.group("decoder")),
        optimizer=optimizer.build(setup),
        prepare=enlarge(flags, spec),
        normalize=normalizer(spec["mean"], spec["std"], dtype=setup.dtype),
        **flags.group("learner"),
    )
    return encoders.remove_labels(learner)


def evaluators(
    setup: Setup, splits: Splits, split: str, present: Callable[[Flags], Present] | None = None
) -> list[Evaluator]:
    """Build the protocol's evaluators, on images transformed as in the pretext task.

    Args:
      setup: facts of the run; its flags must contain SHARED.
      splits: the data.
      split: "valid" or "test".
      present: flags -> transform of the shown images; None shows images unchanged.

    Returns:
      The evaluators, see `encoders.evaluators`.
    """
    if present is None:
        return encoders.evaluators(setup, splits, split)
    return encoders.evaluators(setup, splits, split, encoder=partial(encoder, present=present))


def encoder(setup: Setup, present: Callable[[Flags], Present]) -> Encoder:
    """Describe the encoder of images as it has learned to see them.

    Args:
      setup: with the flags of SHARED.
      present: of the run's flags, image -> what the encoder is shown.

    Returns:
      As `encoders.encoder`.
    """
    transform, spec = present(setup.flags), setup.spec
    normalize = normalizer(spec["mean"], spec["std"], dtype=setup.dtype)

    def prepare(batch: jax.Array) -> jax.Array:
        return normalize(jax.vmap(transform)(enlarge(setup.flags, spec)(batch)))

    return encoders.encoder(setup, prepare=prepare)


def panels(context: ReportContext, task: Callable[[Flags], Callable[[jax.Array, jax.Array], FillIn]]) -> list:
    """Show the panels of `encoders.panels`, and inputs, baselines, predictions and targets.

    Args:
      context: the ReportContext.
      task: flags -> pretext task.

    Returns:
      Report panels.
    """
    from dlcore.report.generative import sample_rows

    rows = context.data.test[:SHOWN]
    filled = jax.jit(jax.vmap(task(context.flags)))(
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
    return encoders.panels(context, [sample_rows(pictures, "Filled in", "Test images, the first ones.")])


SHARED = {
    **{name: value for name, value in encoders.SHARED.items() if name != "panels"},
    "modules": {"decoder": Filler},
    "smoke": encoders.SMOKE,
    "data": data,
    "evaluators": evaluators,
}
"""Arguments of `Experiment` that all of them share."""

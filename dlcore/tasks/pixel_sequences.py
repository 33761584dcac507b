"""PixelSequences: learn the exact likelihood of images pixel by pixel, sample them, and complete upper halves."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import numpy as np

from dlcore.data.shards import SHARDS
from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.generative import autoregressive, likelihood
from dlcore.kits.generative import sample_panels, samples
from dlcore.kits.generative.image_generation import NUM_SHOWN
from dlcore.kits.generative.sample_panels import FilmedSamples
from dlcore.kits.generative.samples import Samples
from dlcore.kits.images import labeled_images, prediction
from dlcore.kits.images.labeled_images import NamedImages
from dlcore.learner import Range, root_key
from dlcore.report.context import ReportContext

__all__ = ["NUM_COMPLETIONS", "PixelSequences", "color_fields", "independent_nats", "network_arguments"]

NUM_COMPLETIONS = 4
"""Number of lower halves sampled for each upper half."""

FOLDER_SIZE = 28
"""Default side of a folder's images: small, because sampling takes one network pass per value."""


@dataclasses.dataclass(frozen=True)
class PixelSequences(FilmedSamples, NamedImages, Samples):
    """Images as sequences of pixels, each of several levels; beside it a page has the flag `samples.SAMPLE_CLASS`.

    Args:
      image_size: side of the images of a tfds data set, by default their own; of a folder, by default 28
      levels: values of a pixel: 2 binarizes it, 256 keeps the data's own
      conditional: give the network the class of an image
    """

    levels: Annotated[int, Range(2, 256), "essential"] = 2
    conditional: Annotated[bool, "essential"] = False

    monitor = "loss"
    monitor_mode = "min"
    headline = "nll_nats_dynamic"
    plain: ClassVar[dict[str, Any]] = {"ema": None, "weight_decay": 0.0}

    pictures = staticmethod(sample_panels.pictures)

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name; the report shows the first NUM_SHOWN samples."""
        if flags.dataset in ("folder", *SHARDS) and flags.image_size is None:
            flags = flags.replace(image_size=FOLDER_SIZE)
        splits = labeled_images.data(flags, labels=False)
        for name in ("train", "valid", "test"):
            likelihood.check_intensities(getattr(splits, name).arrays["image"], f"{name} images")
        observed = f"binarized: {flags.binarization}" if flags.levels == 2 else f"{flags.levels} levels"
        nats, pixels = independent_nats(flags, splits), np.prod(splits.spec["image_shape"])
        bits = float(likelihood.nats_to_bits(nats, pixels))
        numbers = f"{nats:.2f} nats an image on the test split, {bits:.3f} bits a dimension"
        message = f"independent pixels ({observed}) have {numbers}"
        name, rule = autoregressive.likelihood_name(flags.binarization, flags.levels), "independent pixels"
        trivial = {f"nll_nats_{name}": (nats, rule), f"bits_per_dim_{name}": (bits, rule)}
        return splits._replace(
            shown=Source.indices(NUM_SHOWN, "samples"),
            spec={**splits.spec, "independent_nats": nats, "trivial": trivial},
            notes=(*splits.notes, message),
        )

    def expected_loss(self, setup: Setup) -> float:
        """Compute the initial loss of a value: that of equal probabilities of its levels."""
        return float(np.log(setup.flags.levels))

    def inputs(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        """Read the images under `--input`, each NUM_COMPLETIONS times; their upper halves are completed."""
        label = _class(flags, spec)
        source, names = prediction.inputs(flags, spec)
        labels = None if label is None else np.full(len(names), label, np.int32)
        return Source(_repeated(source.arrays["image"], labels)), list(np.repeat(names, NUM_COMPLETIONS))

    def drawn(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        """Number the samples that `--mode=predict` draws."""
        n, label = flags.num_drawn, _class(flags, spec)
        arrays = {} if label is None else {"label": np.full(n, label, np.int32)}
        return Source(arrays, n, name="samples"), samples.number_samples(flags, spec)[1]

    def describe(self, outputs: dict, spec: dict) -> list[dict]:
        """Describe each sample or completion by `nats: [N]`, -log p of the whole image."""
        return [{"nats": float(n), "text": f"-log p = {n:.2f} nats"} for n in outputs["nats"]]

    def write(self, folder: Path, outputs: dict, source: Source, names: list[str], spec: dict) -> list[Path]:
        """Write samples as other pages do, or NAME_completions.png of each image.

        The latter shows the image, its upper half, and the completions.
        """
        from dlcore.report.generative import picture_grid, save_picture

        if "image" not in source.arrays:
            return super().write(folder, outputs, source, names, spec)
        files = []
        for i, stem in enumerate(prediction.unique_stems(names[::NUM_COMPLETIONS])):
            rows = slice(i * NUM_COMPLETIONS, (i + 1) * NUM_COMPLETIONS)
            image = source.arrays["image"][rows.start]
            image = image / 255 if image.dtype == np.uint8 else image
            pictures = np.stack([image, image * source.arrays["known"][rows.start], *outputs["sample"][rows]])
            files.append(save_picture(folder / f"{stem}_completions.png", picture_grid(pictures, len(pictures))))
        return files

    def panels(self, context: ReportContext) -> list:
        """Show samples, completions of test images, the training images nearest to samples, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.generative import sample_grid, sample_rows

        flags, test = context.flags, context.data.test
        name = autoregressive.likelihood_name(flags.binarization, flags.levels)
        caption = (
            f"The first {len(context.outputs['sample'])}, unselected. "
            f"Test images: {context.numbers[f'nll_nats_{name}']:.2f} nats, "
            f"{context.numbers[f'bits_per_dim_{name}']:.3f} bits a dimension ({name}); independent pixels: "
            f"{context.spec['independent_nats']:.2f} nats."
        )
        first_examples = test[: min(8, len(test))]
        batch = _repeated(first_examples["image"], first_examples["label"] if flags.conditional else None)
        batch["index"] = np.arange(len(batch["image"]), dtype=np.int32)
        completions = np.asarray(jax.jit(context.learner.predict)(context.state, batch)["sample"])
        images = batch["image"] / 255 if batch["image"].dtype == np.uint8 else batch["image"]
        rows = {"test images": images[::NUM_COMPLETIONS], "what is given": (images * batch["known"])[::NUM_COMPLETIONS]}
        rows |= {f"completion {k + 1}": completions[k::NUM_COMPLETIONS] for k in range(NUM_COMPLETIONS)}
        return [
            sample_grid(context.outputs["sample"], "Samples", caption),
            sample_rows(rows, "Completions", "The upper half is given, the lower half drawn."),
            sample_panels.nearest_training(context),
            curves(context.history),
            sample_grid(test.arrays["image"][:NUM_SHOWN], "Real images"),
        ]


def network_arguments(setup: Setup, network: Any, **fields: Any) -> dict[str, Any]:
    """Build what `autoregressive.learner` takes besides its optimizer.

    Args:
      network: network class with the fields `levels`, `num_classes` and `dtype`.
      **fields: other fields of the network.

    Returns:
      `model` and `shape`.
    """
    num_classes = setup.spec["num_classes"] if setup.flags.conditional else 0
    model = network(levels=setup.flags.levels, num_classes=num_classes, dtype=setup.dtype, **fields)
    return {"model": model, "shape": tuple(setup.spec["image_shape"])}


def color_fields(setup: Setup, prefix: str) -> dict[str, Any]:
    """Read the fields of a network whose features split into equal blocks, one per color.

    Args:
      prefix: prefix of the network's flags.

    Returns:
      {field: value}, with the number of `colors`; default `features` and `head_features` are rounded up to multiples
      of it.
    """
    values, colors = setup.flags.group(prefix), setup.spec["image_shape"][-1]
    for name in {"features", "head_features"} - {
        name_given.removeprefix(f"{prefix}.") for name_given in setup.flags.given
    }:
        values[name] = -(-values[name] // colors) * colors
    return values | {"colors": colors}


def independent_nats(flags: Flags, splits: Splits) -> float:
    """Compute the test likelihood of independent pixels, the baseline of a network.

    Args:
      flags: `levels`, and `binarization` of two levels.

    Returns:
      Mean nats an image.
    """

    def levels_of(name: str) -> jax.Array:
        image = getattr(splits, name).arrays["image"]
        if flags.levels > 2:
            return likelihood.quantize(image, flags.levels)
        binary = likelihood.binarize(root_key(0), image, flags.binarization, np.arange(len(image)))
        return binary.astype(np.int32)

    return -float(likelihood.independent_log_likelihood(levels_of("train"), levels_of("test"), flags.levels).mean())


def _upper_half(shape: tuple[int, int, int]) -> np.ndarray:
    """Build the mask of the pixels above the middle.

    Args:
      shape: (H, W, C).

    Returns:
      [H, W, C] float32, 1 in the first H // 2 rows.
    """
    mask = np.zeros(shape, np.float32)
    mask[: shape[0] // 2] = 1
    return mask


def _repeated(pixels: np.ndarray, labels: np.ndarray | None) -> dict[str, np.ndarray]:
    """Repeat each image NUM_COMPLETIONS times, with a mask of its upper half."""
    pixels = np.repeat(pixels, NUM_COMPLETIONS, 0)
    mask = np.broadcast_to(_upper_half(pixels.shape[1:]), pixels.shape)
    arrays = {"image": pixels, "known": np.ascontiguousarray(mask)}
    return arrays if labels is None else arrays | {"label": np.repeat(labels, NUM_COMPLETIONS)}


def _class(flags: Flags, spec: dict) -> int | None:
    if flags.sample_class is None:
        return None
    if not flags.conditional:
        raise FlagError(f"--sample_class={flags.sample_class}: the run has no classes; allowed: of --conditional runs")
    return samples.class_index("sample_class", flags.sample_class, spec)

"""The exact likelihood of images pixel by pixel: networks, samples, and completions of upper halves.

data=PixelImages("digits", levels=2), network=PixelNetwork(partial(PixelCNN, num_layers=4), conditional=False)
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jax
import numpy as np
from flax import linen as nn

from dlcore.data.facts import Facts
from dlcore.data.images import NUM_SHOWN, Images
from dlcore.data.shards import SHARDS
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.generative import autoregressive, likelihood, sample_panels
from dlcore.generative.fvbn import FVBN, MADE, NADE
from dlcore.learner import Range, check_record, root_key
from dlcore.models.network import NetworkFields
from dlcore.report import prediction, samples
from dlcore.report.context import ReportContext
from dlcore.report.samples import DrawSamples
from dlcore.setting import FlagError, flag_prefix

__all__ = [
    "NUM_COMPLETIONS",
    "BeliefNetworks",
    "CompleteOrDraw",
    "PixelImages",
    "PixelLikelihood",
    "PixelNetwork",
    "SamplesAndCompletions",
    "independent_nats",
    "uniform_levels",
]

NUM_COMPLETIONS = 4
"""Number of lower halves sampled for each upper half."""


FOLDER_SIZE = 28
"""Default side of a folder's images: small, because sampling takes one network pass per value."""


@dataclasses.dataclass(frozen=True)
class PixelImages(Images):
    """Images by name, each of whose pixels has one of several levels.

    Args:
      image_size: side of the images of a tfds data set, by default their own; of a folder, by default 28
      levels: values of a pixel: 2 binarizes it, 256 keeps the data's own
    """

    levels: Annotated[int, Range(2, 256), "essential"] = 2

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, see `Images.load`; images of a folder are small by default."""
        is_folder = self.dataset in ("folder", *SHARDS) and self.image_size is None
        images = dataclasses.replace(self, image_size=FOLDER_SIZE) if is_folder else self
        splits = super(PixelImages, images).load(seed, min_classes)
        for name in ("train", "valid", "test"):
            likelihood.check_intensities(getattr(splits, name).arrays["image"], f"{name} images")
        return splits


@dataclasses.dataclass(frozen=True)
class PixelNetwork:
    """A network of each pixel given those before it; its flags are `--NETWORK.FIELD`.

    Args:
      network: class of the network with the fields `levels`, `colors`, `num_classes` and `dtype`, or a
        `functools.partial`.
      conditional: give the network the class of an image
      blocks: fields that are rounded up to equal blocks, one per color; flags that are given are not.
    """

    network: Callable[..., nn.Module]
    conditional: Annotated[bool, "essential"] = False
    blocks: Annotated[tuple[str, ...], "no flag"] = ("features", "head_features")

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The network by the prefix of its flags."""
        return {flag_prefix(self.network): self.network}

    def with_flags(self, flags: Any) -> "PixelNetwork":
        """Return the network with the values of its flags in its fields."""
        prefix = flag_prefix(self.network)
        blocks = tuple(name for name in self.blocks if f"{prefix}.{name}" not in flags.given)
        return PixelNetwork(partial(self.network, **flags.group(prefix)), flags.conditional, blocks)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`, for the levels, colors and classes of the images."""
        colors, network = run.facts.image_shape[-1], partial(self.network)
        values = {name: network.keywords.get(name, getattr(network.func, name)) for name in self.blocks}
        rounded = {name: -(-value // colors) * colors for name, value in values.items()}
        return {"model": network(colors=colors, **_observed(self, run), **rounded)}


@dataclasses.dataclass(frozen=True)
class BeliefNetworks(NetworkFields):
    """Fully visible belief networks, of which `--model` names one.

    Args:
      made: masked autoencoder.
      nade: neural autoregressive distribution estimator.
      fvbn: chain of logistic regressions.
      model: made, nade, or fvbn: the chain of logistic regressions
      conditional: give the network the class of an image
    """

    made: Callable[..., nn.Module] = MADE
    nade: Callable[..., nn.Module] = NADE
    fvbn: Callable[..., nn.Module] = FVBN
    model: Annotated[Literal["made", "nade", "fvbn"], "essential"] = "made"
    conditional: Annotated[bool, "essential"] = False

    def __post_init__(self):
        check_record(self)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network that `--model` names as `model`."""
        return {"model": self.modules[self.model](**_observed(self, run))}


def _observed(network: Any, run: Any) -> dict[str, Any]:
    """List the fields of a network that the data and the run set."""
    num_classes = run.facts.num_classes if network.conditional else 0
    return {"levels": run.parts.data.levels, "num_classes": num_classes, "dtype": run.dtype}


class PixelLikelihood:
    """The exact likelihood of test images, beside that of independent pixels."""

    metric: ClassVar[str] = "loss"
    mode: ClassVar[str] = "min"
    headline: ClassVar[str] = "nll_nats_dynamic"

    def finish_data(self, splits: Splits, run: Any) -> Splits:
        """Note the likelihood of independent pixels; the report shows the first NUM_SHOWN samples."""
        levels, binarization = run.parts.data.levels, run.parts.technique.keywords["binarization"]
        observed = f"binarized: {binarization}" if levels == 2 else f"{levels} levels"
        nats, pixels = independent_nats(run.flags, splits), np.prod(splits.spec["image_shape"])
        bits = float(likelihood.nats_to_bits(nats, pixels))
        numbers = f"{nats:.2f} nats an image on the test split, {bits:.3f} bits a dimension"
        message = f"independent pixels ({observed}) have {numbers}"
        name, rule = autoregressive.likelihood_name(binarization, levels), "independent pixels"
        trivial = {f"nll_nats_{name}": (nats, rule), f"bits_per_dim_{name}": (bits, rule)}
        return splits._replace(
            shown=Source.indices(NUM_SHOWN, "samples"),
            spec={**splits.spec, "independent_nats": nats, "trivial": trivial},
            notes=(*splits.notes, message),
        )


def uniform_levels(run: Any) -> float:
    """Compute the initial loss of a value: that of equal probabilities of its levels.

    Returns:
      Nats.
    """
    return float(np.log(run.parts.data.levels))


@dataclasses.dataclass(frozen=True)
class CompleteOrDraw(DrawSamples):
    """Use of a network of pixels: `--mode=predict` draws samples, or completes the upper halves of images.

    Args:
      sample_class: class that --mode=predict draws, by name or number; by default all in turn
    """

    sample_class: Annotated[str | None, "no identity"] = None

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
        """Read the images under a path, each NUM_COMPLETIONS times; their upper halves are completed."""
        label = self._label(run)
        source, names = prediction.images_under(path, run.facts, run.parts.data.skip_bad)
        labels = None if label is None else np.full(len(names), label, np.int32)
        return Source(_repeated(source.arrays["image"], labels)), list(np.repeat(names, NUM_COMPLETIONS))

    def samples(self, run: Any) -> tuple[Source, list[str]]:
        """Number the samples."""
        n, label = self.num_drawn, self._label(run)
        arrays = {} if label is None else {"label": np.full(n, label, np.int32)}
        return Source(arrays, n, name="samples"), super().samples(run)[1]

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe each sample or completion by `nats: [N]`, -log p of the whole image."""
        return [{"nats": float(n), "text": f"-log p = {n:.2f} nats"} for n in outputs["nats"]]

    def write(self, folder: Path, outputs: dict, source: Source, names: list[str], facts: Facts) -> list[Path]:
        """Write samples as other pages do, or NAME_completions.png of each image.

        The latter shows the image, its upper half, and the completions.
        """
        from dlcore.report.generative import picture_grid, save_picture

        if "image" not in source.arrays:
            return super().write(folder, outputs, source, names, facts)
        files = []
        for i, stem in enumerate(prediction.unique_stems(names[::NUM_COMPLETIONS])):
            rows = slice(i * NUM_COMPLETIONS, (i + 1) * NUM_COMPLETIONS)
            image = source.arrays["image"][rows.start]
            image = image / 255 if image.dtype == np.uint8 else image
            pictures = np.stack([image, image * source.arrays["known"][rows.start], *outputs["sample"][rows]])
            files.append(save_picture(folder / f"{stem}_completions.png", picture_grid(pictures, len(pictures))))
        return files

    def _label(self, run: Any) -> int | None:
        if self.sample_class is None:
            return None
        if not run.parts.network.conditional:
            raise FlagError(
                f"--sample_class={self.sample_class}: the run has no classes; allowed: of --conditional runs"
            )
        return samples.class_index("sample_class", self.sample_class, {"class_names": run.facts.class_names})


class SamplesAndCompletions:
    """Report of a network of pixels."""

    def panels(self, context: ReportContext, run: Any) -> list:
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

    def pictures(self, context: ReportContext) -> dict[str, np.ndarray]:
        """Show the first samples in TensorBoard."""
        return sample_panels.pictures(context)


def independent_nats(flags: Any, splits: Splits) -> float:
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
    """Return the mask [H, W, C] of the pixels above the middle."""
    mask = np.zeros(shape, np.float32)
    mask[: shape[0] // 2] = 1
    return mask


def _repeated(pixels: np.ndarray, labels: np.ndarray | None) -> dict[str, np.ndarray]:
    """Repeat each image NUM_COMPLETIONS times, with a mask of its upper half."""
    pixels = np.repeat(pixels, NUM_COMPLETIONS, 0)
    mask = np.broadcast_to(_upper_half(pixels.shape[1:]), pixels.shape)
    arrays = {"image": pixels, "known": np.ascontiguousarray(mask)}
    return arrays if labels is None else arrays | {"label": np.repeat(labels, NUM_COMPLETIONS)}

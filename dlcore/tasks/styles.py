"""Parts of pages of styles and textures: pairs of images, samples of a texture, networks that render photographs."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.sample_images import SAMPLE_IMAGES, fit_to, sample_image
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.style_patterns import STYLE_PATTERNS, style_pattern
from dlcore.experiment.parts import Run
from dlcore.interpretability import texture_synthesis
from dlcore.interpretability.fast_style import StyleNet
from dlcore.interpretability.style_transfer import noise_image
from dlcore.kits.generative import samples
from dlcore.kits.generative.image_pairs import SmallPhotographs
from dlcore.kits.images import prediction
from dlcore.learner import Evaluator, Range, check_record, root_key
from dlcore.report.context import ReportContext
from dlcore.tasks.optimized_images import FrozenNetwork, average_pooling, image_panels
from dlcore.weights.network import load_network

__all__ = [
    "ContentAndStyle",
    "ContentPhotographs",
    "RenderPhotographs",
    "StyleNetwork",
    "StyledPhotographs",
    "TextureMeasures",
    "TextureSample",
    "content_and_style_panels",
    "texture_panels",
]

SMOKE_IMAGES, NUM_SHOWN = 8, 4
"""Photographs of each split under --smoke, and in the report."""

BASELINES = ("gram_loss_noise", "gram_loss_tiled", "repetition")


@dataclasses.dataclass(frozen=True)
class ContentAndStyle:
    """A photograph, and an image whose style it takes.

    Args:
      content: photograph: china, flower or an image file
      style: painting or photograph: china, flower or an image file
      height: height of the images in pixels
    """

    content: str = "china"
    style: str = "flower"
    height: Annotated[int, Range(16)] = 160

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Read both images; the style is cut to the shape of the content."""
        content = sample_image(self.content, self.height)
        style = fit_to(sample_image(self.style, self.height), content.shape[:2])
        source = Source({"content": content[None], "style": style[None]}, name="a pair of images")
        spec = {"dataset": f"{self.content} in the style of {self.style}", "shape": list(content.shape)}
        return Splits(source, source, source, spec)


def content_and_style_panels(context: ReportContext) -> list:
    """Show the content, the style and the result, and the curves.

    Returns:
      The panels.
    """
    images = {name: context.data.test.arrays[name][0] for name in ("content", "style")}
    return image_panels(context, images | {"result": context.outputs["image"][0]}, "Content, style and result")


@dataclasses.dataclass(frozen=True)
class TextureSample:
    """A sample of a texture: a drawn pattern, a photograph or a file.

    Args:
      image: texture: mosaic, waves, strokes, china, flower or an image file
      height: height of the sample in pixels
      scale: times that the image is as high and wide as the sample
      size: height and width of the image in pixels, in place of --scale
    """

    image: Annotated[str, "essential"] = "mosaic"
    height: Annotated[int, Range(16)] = 96
    scale: Annotated[int, Range(1), "essential"] = 2
    size: Annotated[tuple[int, int] | None, Range(16)] = None

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Draw or read the sample."""
        draw = style_pattern if self.image in STYLE_PATTERNS else sample_image
        sample = draw(self.image, self.height)
        source = Source({"sample": sample[None]}, name="a sample")
        size = self.size or tuple(self.scale * side for side in sample.shape[:2])
        return Splits(source, source, source, {"dataset": self.image, "size": list(size), "shape": list(sample.shape)})

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the size of the image."""
        return {"size": run.facts.size}


class TextureMeasures:
    """The Gram loss of the image, and at the end of the noise and of the repeated sample, and the repetition."""

    metric = "loss"
    mode = "min"
    headline = "gram_loss"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure at the end the Gram loss of the noise and of the repeated sample, and the repetition."""
        if split != "test":
            return []

        def finish(images):
            image, sample = images
            network, size = load_network(run.parts.network.network), run.facts.size
            model, layers = average_pooling(network.model), run.parts.technique.keywords["style_layers"]
            loss = jax.jit(texture_synthesis.texture_loss(model, network.mean, network.std, layers))
            noise = noise_image(root_key(run.seed), image.shape)
            baselines = {"noise": noise, "tiled": texture_synthesis.tile_sample(sample, size)}
            numbers = {f"gram_loss_{name}": float(loss(network.variables, x, sample)) for name, x in baselines.items()}
            sides = zip(size, sample.shape, strict=False)  # the sample also has channels
            is_larger = any(side > part for side, part in sides)
            period = sample.shape[:2]
            return numbers | ({"repetition": texture_synthesis.repetition(image, period)} if is_larger else {})

        return [Evaluator(lambda acc, outputs, rows: (outputs["image"][0], rows["sample"][0]), finish, names=BASELINES)]


def texture_panels(context: ReportContext) -> list:
    """Show the sample, the synthesis and the tiled sample at one scale of pixels, and the curves.

    Returns:
      The panels.
    """
    sample, image = context.data.test.arrays["sample"][0], context.outputs["image"][0]
    canvas = np.full(image.shape, 255, np.uint8)
    height, width = (min(a, b) for a, b in zip(sample.shape[:2], image.shape[:2], strict=True))
    canvas[:height, :width] = sample[:height, :width]
    images = {
        "sample": canvas,
        "synthesis": image,
        "sample, tiled": texture_synthesis.tile_sample(sample, image.shape[:2]),
    }
    numbers = {name: context.numbers[name] for name in ("gram_loss", "gram_loss_noise", "gram_loss_tiled")}
    caption = "Gram loss {gram_loss:.3g}, of the noise {gram_loss_noise:.3g}, of the tiles {gram_loss_tiled:.3g}."
    return image_panels(context, images, "Sample and synthesis", caption.format(**numbers))


@dataclasses.dataclass(frozen=True)
class ContentPhotographs:
    """Photographs as the `content` that a network renders.

    Args:
      photographs: the photographs.
    """

    photographs: SmallPhotographs

    reads_files: ClassVar[bool] = True

    def load(self, seed: int = 0) -> Splits:
        """Load the photographs.

        Args:
          seed: seed of the splits of a folder.

        Returns:
          Splits of `content`.
        """
        splits = self.photographs.load(seed)
        train, valid, test = (
            Source({"content": part.arrays["image"]}, len(part), name=part.name)
            for part in (splits.train, splits.valid, splits.test)
        )
        shape = splits.spec["image_shape"]
        spec = {"dataset": splits.spec["dataset"], "image_shape": shape, "batch": {"content": [shape, "float32"]}}
        return Splits(train, valid, test, spec, splits.notes)

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Choose the photographs of the report; a smoke run has few."""
        if run.flags.smoke:
            parts = {name: getattr(splits, name).take(SMOKE_IMAGES) for name in ("train", "valid", "test")}
            splits = splits._replace(**parts)
        test = splits.test
        # Evenly over the split, as neighbors are pieces of one part of a photograph.
        rows = np.linspace(0, len(test) - 1, NUM_SHOWN + 2)[1:-1].round().astype(int)
        return splits._replace(shown=Source({"content": test.arrays["content"][rows]}, NUM_SHOWN, name=test.name))


@dataclasses.dataclass(frozen=True)
class StyleNetwork:
    """A network that renders photographs in several styles, and the frozen network that compares them.

    Args:
      stylenet: `StyleNet`, or a `functools.partial`; its flags are `--stylenet.FIELD`.
      frozen: the frozen network.
      styles: names of patterns (mosaic, waves, strokes), of photographs (china, flower), or image files
      style_size: height of the style images, pixels
    """

    stylenet: Callable[..., StyleNet]
    frozen: FrozenNetwork
    styles: Annotated[tuple[str, ...], "essential"] = ("mosaic", "waves", "strokes", "flower")
    style_size: Annotated[int, Range(1)] = 96

    @property
    def modules(self) -> dict[str, Callable[..., StyleNet]]:
        """The network by the prefix of its flags."""
        return {"stylenet": self.stylenet}

    @property
    def settings(self) -> dict[str, Any]:
        """The flag of the frozen network."""
        return self.frozen.settings

    def with_flags(self, flags: Any) -> "StyleNetwork":
        """Return the network with the values of its flags in its fields."""
        frozen = dataclasses.replace(self.frozen, network=flags.network)
        return StyleNetwork(partial(self.stylenet, **flags.group("stylenet")), frozen, flags.styles, flags.style_size)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique both networks, and the images of the styles."""
        frozen, styles = self.frozen.arguments(run), self.images()
        model = self.stylenet(len(styles), dtype=run.dtype)
        return {**frozen, "network": frozen["model"], "model": model, "styles": styles}

    def images(self) -> list[np.ndarray]:
        """Draw or read the images [h, w, 3] uint8 of the styles."""
        for style in self.styles:
            if style not in (*STYLE_PATTERNS, *SAMPLE_IMAGES) and not Path(style).is_file():
                style_names = ", ".join((*STYLE_PATTERNS, *SAMPLE_IMAGES))
                raise ValueError(
                    f"styles={style!r}: neither a file nor a known style; allowed: {style_names}, or an image file"
                )
        side = self.style_size
        return [style_pattern(s, side) if s in STYLE_PATTERNS else sample_image(s, side) for s in self.styles]


class RenderPhotographs:
    """Use of a network of styles: `--mode=predict --input=FILE_OR_FOLDER` renders images in all styles."""

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
        """Read the images under a path at the size of the training images."""
        source, names = prediction.images_under(path, run.facts, None)
        return Source({"content": source.arrays["image"]}, len(names)), names

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe the renderings of each photograph by their number and shape."""
        count, *shape = outputs["images"].shape[1:]
        text = f"{count} styles, {shape[0]} x {shape[1]} pixels"
        return [{"styles": count, "shape": shape, "text": text} for _ in outputs["images"]]

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write each photograph in all styles, side by side, as NAME.png."""
        from dlcore.report.generative import picture_grid

        stems = prediction.unique_stems(names)
        return [
            samples.save(folder / f"{stem}.png", picture_grid(images, len(images)), 1)
            for stem, images in zip(stems, outputs["images"], strict=True)
        ]


class StyledPhotographs:
    """Report of a network of styles: photographs beside their renderings."""

    def panels(self, context: ReportContext, run: Run) -> list:
        """Show the styles, and photographs in each, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.pictures import examples, to_uint8

        content, rendered = context.data.shown.arrays["content"], np.asarray(context.outputs["images"])
        side, network = content.shape[1:3], run.parts.network
        patterns = [np.asarray(jax.image.resize(image, (*side, 3), "nearest")) for image in network.images()]
        tiles, titles = [np.full_like(content[0], 255), *patterns], ["", *network.styles]
        for photograph, images in zip(content, rendered, strict=True):
            tiles += [photograph, *to_uint8(images)]
            titles += ["photograph", *network.styles]
        tiles = np.stack([np.asarray(image, np.uint8) for image in tiles])
        return [examples(tiles, titles, "Styles, and photographs in each"), curves(context.history)]

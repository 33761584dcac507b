"""Fast style transfer: one feed-forward network that renders photographs in several styles.

python -m experiments.interpretability.fast_style                             (pieces of a photograph; four minutes)
python -m experiments.interpretability.fast_style --data_dir=FOLDER_OF_PHOTOS --styles=PAINTING,PAINTING
python -m experiments.interpretability.fast_style --styles=mosaic             (one style, as in Johnson et al.)
python -m experiments.interpretability.fast_style --mode=predict --run=RUN --input=FILE_OR_FOLDER --output=images

A style is a pattern that a program draws (mosaic, waves, strokes), a photograph that comes with scikit-learn (flower,
china) or an image file. `loss` is that of `experiments.interpretability.style_transfer`, averaged over the styles; the
photograph itself as the result is the baseline. `experiments.studies.fast_style` compares it with optimized images.
"""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
import numpy as np

from dlcore.data.sample_images import SAMPLE_IMAGES, sample_image
from dlcore.data.source import Source
from dlcore.data.style_patterns import STYLE_PATTERNS, style_pattern
from dlcore.experiment import Experiment, Flags, PositiveInt, Run, Setting, Splits
from dlcore.interpretability import fast_style
from dlcore.interpretability.fast_style import StyleNet
from dlcore.kits.generative import image_pairs
from dlcore.kits.images import prediction
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.optimized_images import FrozenNetwork
from experiments.smoke import few_steps

SMOKE_IMAGES, NUM_SHOWN = 8, 4
"""Photographs of each split under --smoke, and in the report."""


def style_images(flags: Flags) -> list[np.ndarray]:
    """The images [h, w, 3] uint8 of `--styles`."""
    side = flags.style_size
    for style in flags.styles:
        if style not in (*STYLE_PATTERNS, *SAMPLE_IMAGES) and not Path(style).is_file():
            style_names = ", ".join((*STYLE_PATTERNS, *SAMPLE_IMAGES))
            raise ValueError(
                f"styles={style!r}: neither a file nor a known style; allowed: {style_names}, or an image file"
            )
    return [style_pattern(s, side) if s in STYLE_PATTERNS else sample_image(s, side) for s in flags.styles]


@dataclasses.dataclass(frozen=True)
class StyledPhotographs(FrozenNetwork):
    """Photographs that are rendered in the styles of `--styles`."""

    monitor = headline = "loss"
    monitor_mode: ClassVar[Literal["max", "min"]] = "min"
    averages: ClassVar[bool] = True

    def settings(self) -> dict[str, Setting]:
        return {**image_pairs.SMALL, **super().settings()}

    def data(self, flags: Flags) -> Splits:
        splits = image_pairs.small_images(flags, 1)
        train, valid, test = (
            Source({"content": s.arrays["image"]}, len(s), name=s.name).take(SMOKE_IMAGES if flags.smoke else len(s))
            for s in (splits.train, splits.valid, splits.test)
        )
        shape = splits.spec["image_shape"]
        batch = {"content": [shape, "float32"]}
        spec = {"dataset": splits.spec["dataset"], "image_shape": shape, "batch": batch}
        # Evenly over the split, as neighbors are pieces of one part of a photograph.
        rows = np.linspace(0, len(test) - 1, NUM_SHOWN + 2)[1:-1].round().astype(int)
        shown_photos = Source({"content": test.arrays["content"][rows]}, NUM_SHOWN, name=test.name)
        return Splits(train, valid, test, spec, splits.notes, shown=shown_photos)

    def arguments(self, run: Run) -> dict[str, Any]:
        frozen, styles = super().arguments(run), style_images(run.flags)
        model = StyleNet(len(styles), dtype=run.dtype, **run.flags.group("stylenet"))
        return {**frozen, "network": frozen["model"], "model": model, "styles": styles}

    def inputs(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        source, names = prediction.inputs(flags, spec)
        return Source({"content": source.arrays["image"]}, len(names)), names

    def describe(self, outputs: dict, spec: dict) -> list[dict]:
        return [{"styles": len(images), "shape": list(images.shape[1:])} for images in outputs["images"]]

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
        """Write each photograph in all styles, side by side, as NAME.png."""
        from dlcore.kits.generative import samples
        from dlcore.report.generative import picture_grid

        stems = prediction.unique_stems(names)
        return [
            samples.save(folder / f"{stem}.png", picture_grid(images, len(images)), 1)
            for stem, images in zip(stems, outputs["images"], strict=True)
        ]

    def panels(self, context: Any) -> list:
        from dlcore.report.curves import curves
        from dlcore.report.pictures import examples, to_uint8

        content, rendered = context.data.shown.arrays["content"], np.asarray(context.outputs["images"])
        side = content.shape[1:3]
        patterns = [np.asarray(jax.image.resize(s, (*side, 3), "nearest")) for s in style_images(context.flags)]
        tiles, titles = [np.full_like(content[0], 255), *patterns], ["", *context.flags.styles]
        for photograph, images in zip(content, rendered, strict=True):
            tiles += [photograph, *to_uint8(images)]
            titles += ["photograph", *context.flags.styles]
        tiles = np.stack([np.asarray(image, np.uint8) for image in tiles])
        return [examples(tiles, titles, "Styles, and photographs in each"), curves(context.history)]


experiment = Experiment(
    __file__,
    __doc__,
    fast_style.learner,
    task=StyledPhotographs(),
    optimizer=AveragedAdamW(optimizer="adam", learning_rate=3e-3, weight_decay=0.0, clip_norm=1.0),
    modules={"stylenet": StyleNet},
    settings={
        "styles": Setting(
            ("mosaic", "waves", "strokes", "flower"),
            "names of patterns (mosaic, waves, strokes), of photographs (china, flower), or image files",
            tuple[str, ...],
            essential=True,
        ),
        "style_size": Setting(96, "height of the style images, pixels", PositiveInt),
    },
    defaults={"steps": 1500, "batch_size": 4, "eval_every": 500, "select": "last"},
    smoke={
        **few_steps(2, 2),
        "image_size": 16,
        "style_size": 24,
        "styles": ("mosaic", "waves"),
        "stylenet.width": 4,
        "stylenet.num_blocks": 1,
    },
)

if __name__ == "__main__":
    main(experiment)

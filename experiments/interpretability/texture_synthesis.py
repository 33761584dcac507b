"""Texture synthesis: an image larger than its sample, by descent from noise to the Gram matrices of the sample.

python -m experiments.interpretability.texture_synthesis                      (mosaic, twice as high and wide; 40 s)
python -m experiments.interpretability.texture_synthesis --image=waves --scale=3                        (not run)
python -m experiments.interpretability.texture_synthesis --image=FILE --height=128 --size=256,384       (not run)

The Gram loss falls from 0.036, of the noise, to 1.2e-6, below the 1.7e-5 of the sample repeated side by side, which
has seams. Nor does the synthesis copy: its correlation with itself one sample further on is 0.06, that of tiles is 1.
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.data.source import Source
from dlcore.data.style_patterns import STYLE_PATTERNS, style_pattern
from dlcore.experiment import Experiment, Flags, PositiveInt, Range, Run, Splits
from dlcore.interpretability import texture_synthesis
from dlcore.interpretability.style_transfer import noise_image
from dlcore.learner import Evaluator
from dlcore.main import main
from dlcore.tasks.optimized_images import OptimizedImages, average_pooling, image_panels
from dlcore.weights.network import load_network

NUMBERS = ("gram_loss_noise", "gram_loss_tiled", "repetition")


@dataclasses.dataclass(frozen=True)
class TextureSample(OptimizedImages):
    """A sample of a texture: a drawn pattern, a photograph or a file.

    Args:
      image: texture: mosaic, waves, strokes, china, flower or an image file
      height: height of the sample in pixels
      scale: times that the image is as high and wide as the sample
      size: height and width of the image in pixels, in place of --scale
    """

    image: Annotated[str, "essential"] = "mosaic"
    height: Annotated[int, Range(16)] = 96
    scale: Annotated[PositiveInt, "essential"] = 2
    size: Annotated[tuple[int, int] | None, Range(16)] = None

    headline: ClassVar[str] = "gram_loss"
    averages: ClassVar[bool] = True

    def data(self, flags: Flags) -> Splits:
        draw = style_pattern if flags.image in STYLE_PATTERNS else sample_image
        sample = draw(flags.image, flags.height)
        source = Source({"sample": sample[None]}, name="a sample")
        size = flags.size or tuple(flags.scale * side for side in sample.shape[:2])
        return Splits(source, source, source, {"dataset": flags.image, "size": list(size), "shape": list(sample.shape)})

    def arguments(self, run: Run) -> dict[str, Any]:
        return {**super().arguments(run), "size": tuple(run.spec["size"])}

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure at the end the Gram loss of the noise and of the repeated sample, and the repetition."""
        if split != "test":
            return []

        def finish(images):
            image, sample = images
            network, size = load_network(run.flags.network), tuple(run.spec["size"])
            model, layers = average_pooling(network.model), run.flags.group("learner")["style_layers"]
            loss = jax.jit(texture_synthesis.texture_loss(model, network.mean, network.std, layers))
            noise = noise_image(jax.random.key(run.flags.seed), image.shape)
            baselines = {"noise": noise, "tiled": texture_synthesis.tile_sample(sample, size)}
            numbers = {f"gram_loss_{name}": float(loss(network.variables, x, sample)) for name, x in baselines.items()}
            is_larger = any(side > part for side, part in zip(size, sample.shape, strict=False))
            period = sample.shape[:2]
            return numbers | ({"repetition": texture_synthesis.repetition(image, period)} if is_larger else {})

        return [Evaluator(lambda acc, outputs, rows: (outputs["image"][0], rows["sample"][0]), finish, names=NUMBERS)]

    def panels(self, context: Any) -> list:
        """Show the sample, the synthesis and the tiled sample at one scale of pixels, and the curves."""
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


experiment = Experiment(
    __file__,
    __doc__,
    texture_synthesis.learner,
    task=TextureSample(),
    smoke={"steps": 2, "height": 16, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)

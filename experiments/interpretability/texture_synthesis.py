"""Texture synthesis: an image larger than its sample, by descent from noise to the Gram matrices of the sample.

python -m experiments.interpretability.texture_synthesis                      (mosaic, twice as high and wide; 40 s)
python -m experiments.interpretability.texture_synthesis --image=waves --scale=3                        (not run)
python -m experiments.interpretability.texture_synthesis --image=FILE --height=128 --size=256,384       (not run)

The Gram loss falls from 0.036, of the noise, to 1.2e-6, below the 1.7e-5 of the sample repeated side by side, which
has seams. Nor does the synthesis copy: its correlation with itself one sample further on is 0.06, that of tiles is 1.
"""

import functools

import jax
import numpy as np

from dlcore.data.sample_images import SAMPLE_IMAGES, sample_image
from dlcore.data.source import Source
from dlcore.data.style_patterns import STYLE_PATTERNS, style_pattern
from dlcore.experiment import Experiment, Flags, Setting, Setup, Splits
from dlcore.interpretability import texture_synthesis
from dlcore.interpretability.style_transfer import noise_image
from dlcore.kits.interpretability import pixel_optimization
from dlcore.kits.training.pretrained_network import load_network
from dlcore.learner import Evaluator, Range
from dlcore.main import main

NUMBERS = ("gram_loss_noise", "gram_loss_tiled", "repetition")


def data(flags: Flags) -> Splits:
    """Load the sample: a drawn pattern, a photograph or a file."""
    if flags.image in STYLE_PATTERNS:
        sample = style_pattern(flags.image, flags.height)
    else:
        sample = sample_image(flags.image, flags.height)
    source = Source({"sample": sample[None]}, name="a sample")
    size = flags.size or tuple(flags.scale * side for side in sample.shape[:2])
    return Splits(source, source, source, {"dataset": flags.image, "size": list(size), "shape": list(sample.shape)})


def build(setup: Setup):
    make = functools.partial(texture_synthesis.learner, size=tuple(setup.spec["size"]))
    return pixel_optimization.build(make, setup, pooling="avg")


def evaluators(setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
    """Measure at the end the Gram loss of two other images, the noise and the repeated sample, and the repetition."""
    if split != "test":
        return []

    def finish(images):
        image, sample = images
        network, size = load_network(setup.flags.network), tuple(setup.spec["size"])
        model = network.model.clone(pooling="avg") if hasattr(network.model, "pooling") else network.model
        loss = jax.jit(
            texture_synthesis.texture_loss(
                model, network.mean, network.std, setup.flags.group("learner")["style_layers"]
            )
        )
        noise = noise_image(jax.random.key(setup.flags.seed), image.shape)
        others = {"noise": noise, "tiled": texture_synthesis.tile_sample(sample, size)}
        numbers = {f"gram_loss_{name}": float(loss(network.variables, x, sample)) for name, x in others.items()}
        is_larger = any(side > part for side, part in zip(size, sample.shape, strict=False))
        period = sample.shape[:2]
        return numbers | ({"repetition": texture_synthesis.repetition(image, period)} if is_larger else {})

    return [Evaluator(lambda acc, outputs, rows: (outputs["image"][0], rows["sample"][0]), finish, names=NUMBERS)]


def panels(context):
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
    note = "Gram loss {gram_loss:.3g}, of the noise {gram_loss_noise:.3g}, of the tiles {gram_loss_tiled:.3g}."
    return pixel_optimization.panels(context, images, "Sample and synthesis", note.format(**numbers))


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=texture_synthesis.learner,
    data=data,
    build=build,
    settings={
        **pixel_optimization.SETTINGS,
        "image": Setting(
            "mosaic",
            f"texture: {', '.join((*STYLE_PATTERNS, *SAMPLE_IMAGES))} or an image file",
            essential=True,
        ),
        "height": Setting(96, "height of the sample in pixels", limits=Range(16)),
        "scale": Setting(2, "times that the image is as high and wide as the sample", limits=Range(1), essential=True),
        "size": Setting(
            None, "height and width of the image in pixels, in place of --scale", tuple[int, int] | None, Range(16)
        ),
    },
    defaults={"steps": 200, "batch_size": 1, "eval_every": 20, "select": "last"},
    smoke={"steps": 2, "height": 16, "eval_every": 2},
    monitor="loss",
    monitor_mode="min",
    headline="gram_loss",
    report_hooks=lambda setup: pixel_optimization.film_of_images(build, setup),
    evaluators=evaluators,
    panels=panels,
)

if __name__ == "__main__":
    main(experiment)

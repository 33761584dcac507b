"""Feature inversion: reconstruct a photograph from the features of one layer.

python -m experiments.interpretability.feature_inversion
python -m experiments.interpretability.feature_inversion --layer=relu1_1       (or relu2_2, relu4_2)
"""

from dlcore.data.sample_images import sample_image
from dlcore.data.source import Source
from dlcore.experiment import Experiment, Flags, Setting, Setup, Splits
from dlcore.interpretability import feature_inversion
from dlcore.kits.interpretability import pixel_optimization
from dlcore.learner import Range
from dlcore.main import main


def data(flags: Flags) -> Splits:
    image = sample_image(flags.image, flags.height)
    source = Source({"image": image[None]}, name="an image")
    return Splits(source, source, source, {"dataset": flags.image, "shape": list(image.shape)})


def build(setup: Setup):
    return pixel_optimization.build(feature_inversion.learner, setup)


def panels(context):
    layer = context.flags.layer
    images = {"image": context.data.test.arrays["image"][0], f"from {layer}": context.outputs["image"][0]}
    return pixel_optimization.panels(context, images, "An image and its inversion")


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=feature_inversion.learner,
    data=data,
    build=build,
    settings={
        **pixel_optimization.SETTINGS,
        "image": Setting("flower", "china, flower or an image file"),
        "height": Setting(96, "height of the image in pixels", limits=Range(16)),
    },
    defaults={"steps": 200, "batch_size": 1, "eval_every": 20, "select": "last"},
    smoke={"steps": 2, "height": 24, "eval_every": 2},
    monitor="loss",
    monitor_mode="min",
    headline="pixels",
    report_hooks=lambda setup: pixel_optimization.film_of_images(build, setup),
    panels=panels,
)

if __name__ == "__main__":
    main(experiment)

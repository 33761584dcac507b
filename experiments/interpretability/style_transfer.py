"""Neural style transfer: render a photograph in the style of another, by optimizing its pixels.

python -m experiments.interpretability.style_transfer        (a minute beside other jobs)
python -m experiments.interpretability.style_transfer --content=PHOTO --style=PAINTING --height=256
python -m experiments.interpretability.style_transfer --content_weight=0       (a texture; texture_synthesis: any size)
"""

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.data.source import Source
from dlcore.experiment import Experiment, Flags, Setting, Setup, Splits
from dlcore.interpretability import style_transfer
from dlcore.kits.interpretability import pixel_optimization
from dlcore.learner import Range
from dlcore.main import main


def data(flags: Flags) -> Splits:
    content = sample_image(flags.content, flags.height)
    style = fit_to(sample_image(flags.style, flags.height), content.shape[:2])
    source = Source({"content": content[None], "style": style[None]}, name="a pair of images")
    spec = {"dataset": f"{flags.content} in the style of {flags.style}", "shape": list(content.shape)}
    return Splits(source, source, source, spec)


def build(setup: Setup):
    return pixel_optimization.build(style_transfer.learner, setup, pooling="avg")


def panels(context):
    inputs = context.data.test.arrays
    images = {"content": inputs["content"][0], "style": inputs["style"][0], "result": context.outputs["image"][0]}
    return pixel_optimization.panels(context, images, "Content, style and result")


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=style_transfer.learner,
    data=data,
    build=build,
    settings={
        **pixel_optimization.SETTINGS,
        "content": Setting("china", "photograph: china, flower or an image file"),
        "style": Setting("flower", "painting or photograph: china, flower or an image file"),
        "height": Setting(160, "height of the images in pixels", limits=Range(16)),
    },
    defaults={
        "steps": 200,
        "batch_size": 1,
        "content_layer": "relu2_2",
        "style_weight": 20.0,
        "variation_weight": 0.2,
        "eval_every": 20,
        "select": "last",
    },
    smoke={"steps": 2, "height": 24, "eval_every": 2},
    monitor="loss",
    monitor_mode="min",
    headline="loss",
    report_hooks=lambda setup: pixel_optimization.film_of_images(build, setup),
    panels=panels,
)

if __name__ == "__main__":
    main(experiment)

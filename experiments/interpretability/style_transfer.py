"""Neural style transfer: render a photograph in the style of another, by optimizing its pixels.

python -m experiments.interpretability.style_transfer        (a minute beside other jobs)
python -m experiments.interpretability.style_transfer --content=PHOTO --style=PAINTING --height=256
python -m experiments.interpretability.style_transfer --content_weight=0       (a texture; texture_synthesis: any size)
"""

import dataclasses
from typing import Annotated, Any, ClassVar

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.data.source import Source
from dlcore.experiment import Experiment, Flags, Range, Splits
from dlcore.interpretability import style_transfer
from dlcore.main import main
from dlcore.tasks.optimized_images import OptimizedImages, image_panels


@dataclasses.dataclass(frozen=True)
class ContentAndStyle(OptimizedImages):
    """A photograph, and an image whose style it takes.

    Args:
      content: photograph: china, flower or an image file
      style: painting or photograph: china, flower or an image file
      height: height of the images in pixels
    """

    content: str = "china"
    style: str = "flower"
    height: Annotated[int, Range(16)] = 160

    headline: ClassVar[str] = "loss"
    averages: ClassVar[bool] = True

    def data(self, flags: Flags) -> Splits:
        content = sample_image(flags.content, flags.height)
        style = fit_to(sample_image(flags.style, flags.height), content.shape[:2])
        source = Source({"content": content[None], "style": style[None]}, name="a pair of images")
        spec = {"dataset": f"{flags.content} in the style of {flags.style}", "shape": list(content.shape)}
        return Splits(source, source, source, spec)

    def panels(self, context: Any) -> list:
        images = {name: context.data.test.arrays[name][0] for name in ("content", "style")}
        return image_panels(context, images | {"result": context.outputs["image"][0]}, "Content, style and result")


experiment = Experiment(
    __file__,
    __doc__,
    style_transfer.learner,
    task=ContentAndStyle(),
    defaults={"content_layer": "relu2_2", "style_weight": 20.0, "variation_weight": 0.2},
    smoke={"steps": 2, "height": 24, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)

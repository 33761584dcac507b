"""Feature inversion: reconstruct a photograph from the features of one layer.

python -m experiments.interpretability.feature_inversion
python -m experiments.interpretability.feature_inversion --layer=relu1_1       (or relu2_2, relu4_2)
"""

import dataclasses
from typing import Annotated, Any, ClassVar

from dlcore.data.sample_images import sample_image
from dlcore.data.source import Source
from dlcore.experiment import Experiment, Flags, Range, Splits
from dlcore.interpretability import feature_inversion
from dlcore.main import main
from dlcore.tasks.optimized_images import OptimizedImages, image_panels


@dataclasses.dataclass(frozen=True)
class Photograph(OptimizedImages):
    """A photograph that is reconstructed.

    Args:
      image: china, flower or an image file
      height: height of the image in pixels
    """

    image: str = "flower"
    height: Annotated[int, Range(16)] = 96

    headline: ClassVar[str] = "pixels"

    def data(self, flags: Flags) -> Splits:
        image = sample_image(flags.image, flags.height)
        source = Source({"image": image[None]}, name="an image")
        return Splits(source, source, source, {"dataset": flags.image, "shape": list(image.shape)})

    def panels(self, context: Any) -> list:
        layer = context.flags.layer
        images = {"image": context.data.test.arrays["image"][0], f"from {layer}": context.outputs["image"][0]}
        return image_panels(context, images, "An image and its inversion")


experiment = Experiment(
    __file__, __doc__, feature_inversion.learner, task=Photograph(), smoke={"steps": 2, "height": 24, "eval_every": 2}
)

if __name__ == "__main__":
    main(experiment)

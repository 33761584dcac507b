"""Object localization: classify the single object of an image and regress its box, with one network and two heads.

python -m experiments.detection.localization        (mean IoU 0.893, accuracy 0.995 on test scenes of 64 x 64)

Scenes of one colored shape. The box of the mean size in the middle of the image, which a network that sees nothing
would draw, stands in the report beside the network's.
"""

import dataclasses

import numpy as np

from dlcore.detection import localization
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import SMOKE, StretchedBoxes


def blind_iou(train: dict[str, np.ndarray], test: dict[str, np.ndarray]) -> float:
    """Measure the mean IoU of the box of the mean size, in the middle of the image."""
    from dlcore.ops.boxes import box_iou

    (train_boxes, boxes), size = (a["boxes"][a["box_mask"]] for a in (train, test)), test["image"].shape[1:3]
    return float(box_iou(boxes, localization.mean_size_boxes(train_boxes, size)[None]).mean())


@dataclasses.dataclass(frozen=True)
class OneBox(StretchedBoxes):
    """The box of the single object of an image."""

    monitor = headline = "iou"

    def panels(self, context):
        from dlcore.report.tables import table

        row = {name: f"{context.numbers[name]:.3f}" for name in ("accuracy", "iou")}
        blind = {"accuracy": "–", "iou": f"{blind_iou(context.data.train.arrays, context.data.test.arrays):.3f}"}
        rows = [{"": "the network", **row}, {"": "mean box in the middle", **blind}]
        return [table(rows, "Localization", "Mean IoU over the test split."), *super().panels(context)]


experiment = Experiment(
    __file__,
    __doc__,
    localization.learner,
    task=OneBox(modules={"localizer": localization.Localizer}, max_boxes=1, image_size=(64, 64)),
    optimizer=AveragedAdamW(),
    defaults={"epochs": 16.0},
    smoke={**SMOKE, "localizer.channels": 8},
)

if __name__ == "__main__":
    main(experiment)

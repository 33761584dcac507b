"""Object localization: classify the single object of an image and regress its box, with one network and two heads.

python -m experiments.detection.localization        (mean IoU 0.893, accuracy 0.995 on test scenes of 64 x 64)

Scenes of one colored shape. The box of the mean size in the middle of the image, which a network that sees nothing
would draw, stands in the report beside the network's.
"""

import numpy as np

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import localization
from dlcore.evaluators import box_results
from dlcore.evaluators.box_measures import BoxMAP, MeanIoU
from dlcore.evaluators.box_results import DetectObjects
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.optim import AveragedAdamW
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.smoke import BOXES


def blind_iou(train: dict[str, np.ndarray], test: dict[str, np.ndarray]) -> float:
    """Measure the mean IoU of the box of the mean size, in the middle of the image."""
    from dlcore.ops.boxes import box_iou

    (train_boxes, boxes), size = (a["boxes"][a["box_mask"]] for a in (train, test)), test["image"].shape[1:3]
    return float(box_iou(boxes, localization.mean_size_boxes(train_boxes, size)[None]).mean())


def beside_the_mean_box(context):
    """Show accuracy and IoU, beside those of a network that sees nothing."""
    from dlcore.report.tables import table

    row = {name: f"{context.numbers[name]:.3f}" for name in ("accuracy", "iou")}
    blind = {"accuracy": "–", "iou": f"{blind_iou(context.data.train.arrays, context.data.test.arrays):.3f}"}
    rows = [{"": "the network", **row}, {"": "mean box in the middle", **blind}]
    return [table(rows, "Localization", "Mean IoU over the test split.")]


experiment = Experiment(
    __file__,
    __doc__,
    technique=localization.learner,
    data=BoxImages(
        "scenes", image_size=(64, 64), max_boxes=1, num_scenes=4000, flip="both", resizing=None, mixing=None
    ),
    network=OnBackbone(
        localization.Localizer,
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(16, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[MeanIoU(), BoxMAP()],
    report=[beside_the_mean_box, box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={**BOXES, "localizer.channels": 8},
)

if __name__ == "__main__":
    main(experiment)

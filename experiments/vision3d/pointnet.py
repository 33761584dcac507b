"""Classify point clouds with PointNet: solids that a program draws, or ModelNet10.

python -m experiments.vision3d.pointnet        (solids: 100 %)
python -m experiments.vision3d.pointnet --data_dir=D --steps=2400 --ema=0.99        (ModelNet10: 88.2 %)

The solids are eight kinds with random proportions and turns about the z axis. D holds modelnet10_train.npz and
modelnet10_test.npz, or the original tree of .off files. The number to beat is a nearest-neighbor vote on 40 numbers:
histograms of x, y, z and of the distance from the center, ten bins each (ModelNet10: 82.9 %). The paper's network is
`--pointnet.widths=64,64 --pointnet.features=64,128,1024 --pointnet.hidden=512,256
--pointnet.transform_features=64,128,1024 --pointnet.transform_hidden=512,256`. The report shows the critical points of
each cloud: the logits would be the same without all the others, but for the transforms.
"""

import dataclasses
import math
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.data.carving import split_validation
from dlcore.data.shapes3d import modelnet
from dlcore.data.solid_meshes import solid_clouds
from dlcore.experiment import Experiment, Range, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.training.optimizer import EMAAdamW
from dlcore.main import main
from dlcore.vision3d import pointnet
from experiments.smoke import few_steps

SHOWN = 12


def histogram_vote(train: dict, test: dict, bins: int = 10, neighbors: int = 3) -> float:
    """Accuracy of the nearest neighbors by histograms of x, y, z and the radius."""

    def histograms(points):
        points = np.asarray(points, np.float32)
        values = np.concatenate([points, np.linalg.norm(points, axis=-1, keepdims=True)], -1)
        low = np.array([-1, -1, -1, 0], np.float32)
        index = ((values - low) / (1 - low) * bins).astype(int).clip(0, bins - 1)
        return (index[..., None] == np.arange(bins)).mean(1).reshape(len(points), -1)

    gallery, asked = histograms(train["points"]), histograms(test["points"])
    correct = 0
    for row, label in zip(asked, test["label"], strict=True):
        near = np.argsort(np.square(gallery - row).sum(1), kind="stable")[:neighbors]
        correct += np.bincount(train["label"][near]).argmax() == label
    return float(correct / len(asked))


@dataclasses.dataclass(frozen=True)
class PointClouds(Task):
    """Point clouds with one class each: solids that a program draws, or ModelNet.

    Args:
      data_dir: folder of ModelNet; by default solids are drawn
      num_clouds: solids to train on, and a quarter as many to test on
      valid_fraction: share of the training clouds held out for validation
    """

    data_dir: Annotated[str | None, "essential"] = None
    num_clouds: Annotated[int, Range(32)] = 1600
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1

    loss_tolerance: ClassVar[float] = 0.3
    plain: ClassVar[dict[str, Any]] = {
        "rotation": 0.0,
        "jitter": 0.0,
        "label_smoothing": 0.0,
        "weight_decay": 0.0,
        "pointnet.dropout": 0.0,
    }

    def data(self, flags: Flags) -> Splits:
        """Draw solids or read ModelNet, and measure the histograms' vote on the test split."""
        if flags.data_dir is None:
            points = flags["num_points"] or 256
            counts = flags.num_clouds, flags.num_clouds // 4
            train, test = (solid_clouds(count, seed, points) for seed, count in enumerate(counts))
        else:
            train, test = (modelnet(flags.data_dir, split) for split in ("train", "test"))
        train, valid = split_validation(train, flags.valid_fraction, flags.seed)
        vote = histogram_vote(train.arrays, test.arrays)
        spec = {
            "dataset": train.name.partition("/")[0],
            "class_names": list(train.class_names),
            "points_shape": list(train.arrays["points"].shape[1:]),
            "trivial": {"accuracy": (vote, "3 nearest neighbors by 40 histogram numbers")},
        }
        return Splits(train, valid, test, spec, (f"3 nearest neighbors by 40 histogram numbers: accuracy {vote:.4f}",))

    def arguments(self, setup: Setup) -> dict[str, Any]:
        num_classes, fields = len(setup.spec["class_names"]), setup.flags.group("pointnet")
        return {"model": pointnet.PointNet(num_classes, dtype=setup.dtype, **fields)}

    def expected_loss(self, setup: Setup) -> float:
        return math.log(len(setup.spec["class_names"]))

    def panels(self, context: Any) -> list:
        """Show clouds from two views with their critical points, the confusions and the curves."""
        from dlcore.report.classification import confusion_matrix
        from dlcore.report.curves import curves
        from dlcore.report.shapes import shape_panel, two_views
        from dlcore.report.triage import triage_panels

        test, names, outputs = context.data.test.arrays, context.spec["class_names"], context.outputs
        predicted = outputs["probabilities"].argmax(-1)
        errors = np.flatnonzero(predicted != test["label"])

        def cloud_panel(indices, title, caption):
            images, titles = [], []
            for i in indices:
                count = context.flags["num_points"] or len(test["points"][i])
                points = np.asarray(test["points"][i][:count], np.float32)
                critical = np.isin(np.arange(len(points)), outputs["critical"][i])
                images.append(two_views(points, highlighted=critical))
                titles.append(f"{names[test['label'][i]]}, classified as {names[predicted[i]]}")
            return [shape_panel(images, titles, title, caption)] if images else []

        first = [int(np.flatnonzero(test["label"] == k)[0]) for k in np.unique(test["label"])]
        caption = "two views of each cloud; orange: the critical points, which attain the maxima"
        return [
            *cloud_panel(first[:SHOWN], "Clouds", caption),
            *cloud_panel(errors[:SHOWN], "Mistakes", caption),
            confusion_matrix(context.arrays["confusion"], names),
            *triage_panels(context.history, floor=None),
            curves(context.history),
        ]


experiment = Experiment(
    __file__,
    __doc__,
    pointnet.learner,
    task=PointClouds(),
    optimizer=EMAAdamW(learning_rate=2e-3, weight_decay=0.01),
    modules={"pointnet": pointnet.PointNet},
    defaults={
        "steps": 800,
        "batch_size": 32,
        "eval_every": 200,
        "num_points": 256,
        "pointnet.widths": (32, 32),
        "pointnet.features": (64, 256),
        "pointnet.hidden": (128, 64),
        "pointnet.transform_features": (32, 128),
        "pointnet.transform_hidden": (64, 32),
    },
    smoke={
        **few_steps(3),
        "eval_batch_size": 8,
        "num_clouds": 64,
        "num_points": 16,
        "pointnet.widths": (4,),
        "pointnet.features": (8,),
        "pointnet.hidden": (8,),
        "pointnet.transform_features": (4,),
        "pointnet.transform_hidden": (4,),
    },
)

if __name__ == "__main__":
    main(experiment)

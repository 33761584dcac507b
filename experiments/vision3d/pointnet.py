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

from functools import partial
from typing import Any

import numpy as np

from dlcore.data.point_clouds import PointClouds
from dlcore.evaluators.accuracy import log_classes
from dlcore.experiment import Experiment, Measure, Sanity, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import EMAAdamW
from dlcore.vision3d import pointnet
from dlcore.vision3d.pointnet import PointNet
from experiments.smoke import few_steps

SHOWN = 12


def cloud_panels(context: Any) -> list:
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
    technique=partial(pointnet.learner, num_points=256),
    data=PointClouds(num_clouds=1600, valid_fraction=0.1),
    network=Network(
        partial(
            PointNet,
            widths=(32, 32),
            features=(64, 256),
            hidden=(128, 64),
            transform_features=(32, 128),
            transform_hidden=(64, 32),
        ),
        of_data=("num_classes",),
        prefix="pointnet",
    ),
    optimizer=EMAAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.01),
    length=Steps(800, batch_size=32, eval_every=200),
    measures=[Measure("accuracy")],
    report=[cloud_panels],
    sanity=Sanity(
        expected_loss=log_classes,
        tolerance=0.3,
        plain={"rotation": 0.0, "jitter": 0.0, "label_smoothing": 0.0, "weight_decay": 0.0, "pointnet.dropout": 0.0},
    ),
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

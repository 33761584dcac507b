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

import math
from typing import Any

import numpy as np

from dlcore.data.carving import split_validation
from dlcore.data.shapes3d import modelnet
from dlcore.data.solid_meshes import solid_clouds
from dlcore.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.training import optimizer
from dlcore.learner import Range
from dlcore.main import main
from dlcore.vision3d import pointnet

SETTINGS = {
    "data_dir": Setting(None, "folder of ModelNet; by default solids are drawn", str | None, essential=True),
    "num_clouds": Setting(1600, "solids to train on, and a quarter as many to test on", limits=Range(32)),
    "valid_fraction": Setting(0.1, "share of the training clouds held out for validation", limits=Range(0.001, 0.9)),
}
SHOWN = 12


def data(flags: Flags) -> Splits:
    """Draw solids or read ModelNet, and measure the histograms' vote on the test split."""
    if flags.data_dir is None:
        points = flags["num_points"] or 256
        train, test = (
            solid_clouds(count, seed, points) for seed, count in enumerate((flags.num_clouds, flags.num_clouds // 4))
        )
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


def histogram_vote(train: dict, test: dict, bins: int = 10, neighbors: int = 3) -> float:
    """Accuracy of the nearest neighbors by histograms of x, y, z and the radius."""

    def histograms(points):
        points = np.asarray(points, np.float32)
        values = np.concatenate([points, np.linalg.norm(points, axis=-1, keepdims=True)], -1)
        low = np.array([-1, -1, -1, 0], np.float32)
        index = ((values - low) / (1 - low) * bins).astype(int).clip(0, bins - 1)
        return (index[..., None] == np.arange(bins)).mean(1).reshape(len(points), -1)

    known, asked = histograms(train["points"]), histograms(test["points"])
    correct = 0
    for row, label in zip(asked, test["label"], strict=True):
        near = np.argsort(np.square(known - row).sum(1), kind="stable")[:neighbors]
        correct += np.bincount(train["label"][near]).argmax() == label
    return float(correct / len(asked))


def build(setup: Setup):
    flags, names = setup.flags, setup.spec["class_names"]
    learner = pointnet.learner(
        model=pointnet.PointNet(len(names), dtype=setup.dtype, **flags.group("pointnet")),
        optimizer=optimizer.build(setup),
        **flags.group("learner"),
    )
    return optimizer.evaluate_ema(learner, setup)


def panels(context: Any) -> list:
    """Show clouds from two views with their critical points, the confusions and the curves."""
    from dlcore.report.classification import confusion_matrix
    from dlcore.report.curves import curves
    from dlcore.report.shapes import shape_panel, two_views
    from dlcore.report.triage import triage_panels

    test, names, outputs = context.data.test.arrays, context.spec["class_names"], context.outputs
    predicted = outputs["probabilities"].argmax(-1)
    wrong = np.flatnonzero(predicted != test["label"])

    def shown(indices, title, note):
        images, titles = [], []
        for i in indices:
            count = context.flags["num_points"] or len(test["points"][i])
            points = np.asarray(test["points"][i][:count], np.float32)
            critical = np.isin(np.arange(len(points)), outputs["critical"][i])
            images.append(two_views(points, highlighted=critical))
            titles.append(f"{names[test['label'][i]]}, classified as {names[predicted[i]]}")
        return [shape_panel(images, titles, title, note)] if images else []

    first = [int(np.flatnonzero(test["label"] == k)[0]) for k in np.unique(test["label"])]
    note = "two views of each cloud; orange: the critical points, which attain the maxima"
    return [
        *shown(first[:SHOWN], "Clouds", note),
        *shown(wrong[:SHOWN], "Mistakes", note),
        confusion_matrix(context.arrays["confusion"], names),
        *triage_panels(context.history, floor=None),
        curves(context.history),
    ]


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=pointnet.learner,
    data=data,
    build=build,
    modules={"pointnet": pointnet.PointNet},
    settings={**SETTINGS, **{k: v for k, v in optimizer.SETTINGS.items() if k != "accumulate"}},
    defaults={
        "steps": 800,
        "batch_size": 32,
        "eval_every": 200,
        "learning_rate": 2e-3,
        "weight_decay": 0.01,
        "num_points": 256,
        "pointnet.widths": (32, 32),
        "pointnet.features": (64, 256),
        "pointnet.hidden": (128, 64),
        "pointnet.transform_features": (32, 128),
        "pointnet.transform_hidden": (64, 32),
    },
    smoke={
        "steps": 3,
        "batch_size": 8,
        "eval_every": 3,
        "eval_batch_size": 8,
        "num_clouds": 64,
        "num_points": 16,
        "pointnet.widths": (4,),
        "pointnet.features": (8,),
        "pointnet.hidden": (8,),
        "pointnet.transform_features": (4,),
        "pointnet.transform_hidden": (4,),
    },
    expected_loss=lambda setup: math.log(len(setup.spec["class_names"])),
    loss_tolerance=0.3,
    plain={"rotation": 0.0, "jitter": 0.0, "label_smoothing": 0.0, "weight_decay": 0.0, "pointnet.dropout": 0.0},
    schedule=optimizer.schedule,
    panels=panels,
)

if __name__ == "__main__":
    main(experiment)

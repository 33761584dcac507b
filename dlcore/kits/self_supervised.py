"""What experiments of contrastive learning share: data and views, an encoder, k-NN and a linear probe, panels.

experiment = Experiment(
    file=__file__, doc=__doc__, learner=simclr.learner, build=build, modules={"embedder": Embedder},
    defaults={**self_supervised.DEFAULTS, "steps": 400}, smoke=self_supervised.SMOKE, **self_supervised.SHARED
)
"""

from collections.abc import Callable
from typing import Any, Literal

import jax

from dlcore.data.augment.recipes import VIEWS, contrastive_augmentation
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.kits import backbone, images, optimizer
from dlcore.learner import Evaluator, Learner, Range
from dlcore.self_supervised.networks import Embedder

__all__ = ["DEFAULTS", "SETTINGS", "SHARED", "SMOKE", "augmentation", "build", "evaluators", "panels"]

SETTINGS = {
    **{name: setting for name, setting in images.SETTINGS.items() if name != "augment"},
    **{name: setting for name, setting in optimizer.SETTINGS.items() if name not in ("ema", "accumulate")},
    "views": Setting("auto", "kind of image that views are drawn for", Literal["auto", *VIEWS]),
    "bank_size": Setting(5000, "labeled training images for k-NN and the probe", limits=Range(1)),
    "knn_k": Setting(20, "neighbors of k-NN", limits=Range(1)),
}

DEFAULTS = {"embedder.proj_dim": 64, "eval_every": 100, "weight_decay": 1e-4, "select": "last"}

SMOKE = {
    "model.stages": (1,),
    "model.width": 4,
    "steps": 2,
    "batch_size": 32,
    "eval_every": 2,
    "eval_batch_size": 500,
    "bank_size": 100,
    "knn_k": 5,
}

AUTO_VIEWS = {"digits": "digit", "mnist": "digit", "fashion_mnist": "gray"}
"""What `--views=auto` stands for; color for other names."""


def augmentation(flags: Flags) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Build the random view that `--views` names.

    Args:
      flags: `views` and `dataset`.

    Returns:
      `(key, image [H, W, C] in [0, 1]) -> image`.
    """
    return contrastive_augmentation(AUTO_VIEWS.get(flags.dataset, "color") if flags.views == "auto" else flags.views)


def build(make_learner: Callable[..., Learner], setup: Setup, sync_batch_norm: bool = True) -> Learner:
    """Build a learner of two views from the flags.

    Args:
      make_learner: the technique's factory.
      setup: with the flags of SETTINGS, of a model and of an `Embedder`.
      sync_batch_norm: average batch statistics over the replicas under pmap.

    Returns:
      The learner.
    """
    flags, axis_name = setup.flags, setup.axis if sync_batch_norm else None
    encoder = backbone.build(setup, num_classes=1, axis_name=axis_name)
    return make_learner(
        model=Embedder(encoder, **flags.group("embedder"), axis_name=axis_name),
        optimizer=optimizer.build(setup),
        augment=augmentation(flags),
        preprocess=images.preprocess(setup),
        axis=setup.axis,
        **flags.group("learner"),
    )


def evaluators(setup: Setup, data: Splits, split: str) -> list[Evaluator]:
    """Measure features by k-NN, before and after training; at the end also by linear probes, and the head's output.

    Args:
      setup: with the flags of SETTINGS.
      data: the splits.
      split: "valid" or "test".

    Returns:
      `uniformity`, and the accuracies `knn` and `knn_untrained`; of "test" also `probe`, `probe_untrained` and
      `probe_head`.
    """
    from dlcore.data.bank_and_queries import bank_and_queries
    from dlcore.evaluators.knn import knn
    from dlcore.evaluators.linear_probe import linear_probe
    from dlcore.evaluators.uniformity import uniformity

    flags = setup.flags
    source = bank_and_queries(data.train, getattr(data, split), flags.bank_size, flags.seed)
    measures = [
        knn(source, k=flags.knn_k),
        knn(source, k=flags.knn_k, key="untrained", name="knn_untrained"),
        uniformity(source),
    ]
    if split == "valid":
        return measures
    return [
        *measures,
        linear_probe(source),
        linear_probe(source, key="untrained", name="probe_untrained"),
        linear_probe(source, key="embeddings", name="probe_head"),
    ]


def panels(context: Any) -> list:
    """Show accuracies before and after training, nearest neighbors, views, the plane of the features, and the curves.

    Args:
      context: the ReportContext.

    Returns:
      Report panels.
    """
    from dlcore.data.augment import to_float
    from dlcore.report import self_supervised as report
    from dlcore.report.curves import curves
    from dlcore.report.triage import triage_panels
    from dlcore.self_supervised.views import two_views

    flags, names, features = context.flags, context.spec["class_names"], context.outputs["features"]
    test, labels = context.data.test.arrays["image"], context.data.test.arrays["label"]
    shown = to_float(test[:12])
    keys = jax.random.split(jax.random.key(flags.seed), len(shown))
    views = jax.jit(lambda: two_views(augmentation(flags), lambda x: x, keys, shown))()
    note = (
        f"Accuracy on the test split, with the labels of {min(flags.bank_size, len(context.data.train)):,} training "
        "images. Training saw no label; the untrained encoder is the same one before its first step."
    )
    return [
        report.accuracy_table(context.numbers, note),
        report.view_pairs(shown, *views),
        report.nearest_neighbors(test, labels, features, names),
        report.feature_plane(features, labels, names),
        *triage_panels([{k: v for k, v in row.items() if k != "accuracy"} for row in context.history], floor=None),
        curves(context.history),
    ]


SHARED = {
    "data": images.data,
    "model": "resnet8_cifar",
    "settings": SETTINGS,
    "monitor": "knn",
    "headline": "knn",
    "example": images.example,
    "schedule": optimizer.schedule,
    "evaluators": evaluators,
    "panels": panels,
}
"""Arguments of `Experiment` that are the same for all."""

"""What experiments of contrastive learning share: views by kind of image, an encoder, k-NN and a linear probe, panels."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from dlcore.data.augment.recipes import VIEWS, contrastive_augmentation
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags, Setting
from dlcore.experiment.splits import Splits
from dlcore.kits import backbone, images, optimizer
from dlcore.learner import Evaluator, Range
from dlcore.self_supervised.networks import Embedder

__all__ = ["SETTINGS", "augmentation", "embedder", "evaluators", "panels"]

SETTINGS = {
    **{name: setting for name, setting in images.SETTINGS.items() if name != "augment"},
    **{name: optimizer.SETTINGS[name] for name in ("optimizer", "learning_rate", "schedule", "warmup",
                                                           "momentum", "weight_decay", "clip_norm")},
    "views": Setting("auto", "kind of image that views are drawn for", Literal["auto", *VIEWS]),
    "embedding": Setting(64, "width of the head's output", limits=Range(1)),
    "bank": Setting(5000, "training images with labels, for k-NN and the probe", limits=Range(1)),
    "neighbors": Setting(20, "of k-NN", limits=Range(1)),
}  # fmt: skip

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


def embedder(setup: Setup, head: str, axis: str | None) -> Embedder:
    """Build the encoder that the flags name, with its head.

    Args:
      setup: with `--model` and `--embedding`.
      head: of `dlcore.self_supervised.networks.Embedder`.
      axis: the mapped axis over which batch statistics are averaged.

    Returns:
      The flax module.
    """
    return Embedder(backbone.build(setup, num_classes=1, axis_name=axis), head, setup.flags.embedding, axis)


def evaluators(setup: Setup, data: Splits, split: str) -> list[Evaluator]:
    """k-NN of the trained and of the untrained net; at the end linear probes of both, and of the head's output."""
    from dlcore.data.bank_and_queries import bank_and_queries
    from dlcore.evaluators.knn import knn
    from dlcore.evaluators.linear_probe import linear_probe

    flags = setup.flags
    source = bank_and_queries(data.train, getattr(data, split), flags.bank, flags.seed)
    found = [
        knn(source, k=flags.neighbors),
        knn(source, k=flags.neighbors, key="untrained", name="knn_untrained"),
    ]
    if split == "valid":
        return found
    return [
        *found,
        linear_probe(source),
        linear_probe(source, key="untrained", name="probe_untrained"),
        linear_probe(source, key="embeddings", name="probe_head"),
    ]


def panels(context: Any) -> list:
    """What was gained, nearest neighbours, two views of each image, the plane of the features, curves."""
    from dlcore.report.curves import curves
    from dlcore.report.tables import table

    numbers = context.numbers
    rows = [
        {"": name, "untrained": _percent(numbers.get(f"{key}_untrained")), "trained": _percent(numbers.get(key)),
         "on the head's output": _percent(numbers.get(f"{key}_head"))}
        for name, key in (("k nearest neighbours", "knn"), ("linear probe", "probe"))
    ]  # fmt: skip
    note = (
        f"Accuracy on the test split, with the labels of {min(context.flags.bank, len(context.data.train)):,} training "
        "images. Training saw no label; the untrained net is the same one before its first step."
    )
    source = context.data.test
    images, names = source.arrays["image"], context.spec["class_names"]
    return [
        table(rows, "What the features are worth", note),
        _neighbours(images, source.arrays["label"], context.outputs["features"], names),
        _views(images, context.flags),
        _plane(context.outputs["features"], source.arrays["label"], names),
        curves(context.history),
    ]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _neighbours(images: np.ndarray, labels: np.ndarray, features: np.ndarray, names: list, rows: int = 10) -> Any:
    from html import escape

    from dlcore.report.html import Panel
    from dlcore.report.pictures import to_uint8

    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    html = []
    for i in np.linspace(0, len(images) - 1, min(rows, len(images))).astype(int):
        similarity = unit @ unit[i]
        similarity[i] = -np.inf
        near = np.argsort(-similarity, kind="stable")[:8]
        strip = _strip(to_uint8(images[np.r_[i, near]]))
        right = int((labels[near] == labels[i]).sum())
        caption = f"{escape(str(names[labels[i]]))}: {right} of {len(near)} of its class"
        html.append(f'<figure><img alt="" src="{strip}"><figcaption>{caption}</figcaption></figure>')
    return Panel(
        "Nearest neighbours", f'<div class="images">{"".join(html)}</div>',
        "Left the image asked about, then the test images whose features are most like its own.",
    )  # fmt: skip


def _strip(images: np.ndarray) -> str:
    """Images [N, H, W, C] uint8 side by side, the first one apart."""
    from dlcore.report.pictures import data_uri

    scale = max(1, 40 // images.shape[1])
    gap = np.full((images.shape[1], 1, images.shape[3]), 128, np.uint8)
    parts = [p for image in images for p in (image, gap)]
    return data_uri(np.concatenate([parts[0], gap, gap, gap, *parts[2:-1]], axis=1), scale)


def _views(images: np.ndarray, flags: Flags, count: int = 12) -> Any:
    from dlcore.data.augment import to_float
    from dlcore.report.html import Panel
    from dlcore.report.pictures import to_uint8
    from dlcore.self_supervised.views import two_views

    chosen = to_float(images[:count])
    keys = jax.random.split(jax.random.key(flags.seed), len(chosen))
    first, second = two_views(augmentation(flags), lambda x: x, keys, chosen)
    strips = [
        _strip(to_uint8(np.clip(np.stack([image, a, b]), 0, 1)))
        for image, a, b in zip(*map(np.asarray, (chosen, first, second)), strict=True)
    ]
    html = "".join(f'<figure><img alt="" src="{strip}"></figure>' for strip in strips)
    return Panel(
        "Two views", f'<div class="images">{html}</div>', "Left the image, then two views as training sees them."
    )


def _plane(features: np.ndarray, labels: np.ndarray, names: list, count: int = 1500) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from dlcore.report.html import Panel
    from dlcore.report.pictures import data_uri

    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    centred = unit[:count] - unit[:count].mean(0)
    _, s, axes = np.linalg.svd(centred, full_matrices=False)
    points = centred @ axes[:2].T
    figure = Figure((7, 5), dpi=110, layout="constrained")
    ax = figure.subplots()
    for c in np.unique(labels[:count]):
        own = points[labels[:count] == c]
        ax.scatter(own[:, 0], own[:, 1], s=7, color=f"C{c % 10}", label=str(names[c]), alpha=0.8)
    ax.set(xticks=[], yticks=[])
    ax.legend(markerscale=2, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
    share = 100 * np.square(s[:2]).sum() / max(np.square(s).sum(), 1e-12)
    return Panel(
        "The plane of the features", f'<img alt="test images by class" src="{data_uri(picture)}">',
        f"Unit features of {len(centred):,} test images on their first two principal axes ({share:.0f} % of the "
        "variance); colours are classes, which training never saw.",
    )  # fmt: skip

"""Report panels of self-supervised encoders."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.metrics.spectrum import COLLAPSE_RATIO, is_collapsed
from dlcore.ops.checks import check_class_ids, check_counts, check_finite, check_shapes
from dlcore.ops.l2_normalize import unit_rows
from dlcore.report.figure import GRAY, LIGHT_GRAY, PALETTE, YELLOW, figure_panel, new_figure
from dlcore.report.panel import Panel
from dlcore.report.pictures import data_uri, strip
from dlcore.report.tables import table

__all__ = [
    "accuracy_table",
    "attention_maps",
    "cluster_sheets",
    "domain_plane",
    "feature_plane",
    "nearest_neighbors",
    "rank_table",
    "reconstructions",
    "task_sheet",
    "view_pairs",
]

COLORS = (*PALETTE, YELLOW, GRAY, LIGHT_GRAY)
MARKERS = "o^sDv"
"""Markers of the first ten classes, of the next ten, and so on."""


def accuracy_table(numbers: Mapping[str, float | None], subtitle: str = "") -> Panel:
    """Show the protocol's accuracies of the untrained, the trained and the supervised encoder.

    Args:
      numbers: accuracies in [0, 1] called `knn`, `probe` and `fine_tune_N`, with the suffixes `_untrained`,
        `_supervised` and `_head`, and `supervised`; missing ones are blank.
      subtitle: a line under the title.

    Returns:
      The panel.
    """

    def percent(name):
        value = numbers.get(name)
        return "" if value is None else f"{100 * value:.1f} %"

    endings = {"untrained": "_untrained", "trained": "", "supervised": "_supervised", "on the head's output": "_head"}
    named = {"k nearest neighbors": "knn", "linear probe": "probe"}
    tuned = [name for name in numbers if name.startswith("fine_tune_") and not name.endswith("_untrained")]
    named |= {f"fine-tuned with {int(name.removeprefix('fine_tune_')):,} labels": name for name in tuned}
    rows = [{"": title, **{c: percent(name + end) for c, end in endings.items()}} for title, name in named.items()]
    if numbers.get("supervised") is not None:
        rows.append({"": "its own head", "supervised": percent("supervised")})
    filled = [column for column in ("", *endings) if column == "" or any(row.get(column) for row in rows)]
    rows = [{column: row.get(column, "") for column in filled} for row in rows]
    return table(rows, "Accuracy on the features", subtitle)._replace(half=True)


def rank_table(numbers: Mapping[str, float | None]) -> Panel:
    """Show the spectrum of the untrained and the trained encoder's features, and say whether they have collapsed.

    Args:
      numbers: `rank` (RankMe) and `alpha` (alpha-ReQ), with the suffixes `_untrained` and `_head`; missing ones are
        blank.

    Returns:
      The panel; its subtitle begins with "Collapsed" where the rule of `dlcore.evaluators.feature_rank` says so.
    """
    endings = {"untrained": "_untrained", "trained": "", "on the head's output": "_head"}
    named = {"effective rank (RankMe)": "rank", "slope of the spectrum (alpha-ReQ)": "alpha"}
    columns = {c: end for c, end in endings.items() if numbers.get(f"rank{end}") is not None}
    rows = [
        {"": title, **{c: "" if (v := numbers.get(name + end)) is None else f"{v:.2f}" for c, end in columns.items()}}
        for title, name in named.items()
    ]
    untrained, subtitle = numbers.get("rank_untrained"), ""
    outputs = {"features": numbers.get("rank"), "head's output": numbers.get("rank_head")}
    ranks = {name: rank for name, rank in outputs.items() if rank is not None}
    if ranks and untrained is not None:
        limit = f"{100 * COLLAPSE_RATIO:.0f} % of that of the untrained features"
        low = [name for name, rank in ranks.items() if is_collapsed(rank, untrained)]
        subtitle = (
            f"Collapsed: the rank of the {' and of the '.join(low)} is below {limit}."
            if low
            else f"Not collapsed: the rank of the {' and of the '.join(ranks)} is at least {limit}."
        )
    return table(rows, "Rank of the features", subtitle)._replace(half=True)


def nearest_neighbors(
    images: np.ndarray, labels: np.ndarray, features: np.ndarray, class_names: Sequence[str], num_queries: int = 10
) -> Panel:
    """Show the nearest neighbors, in feature space, of a few query images.

    Args:
      images: [N, H, W, C], as `to_uint8` takes them.
      labels: [N] int.
      features: [N, D].
      class_names: names of the classes, in the order of the labels.
      num_queries: number of queries, evenly spaced over the images.

    Returns:
      The panel.
    """
    check_whole_number("num_queries", num_queries, 1)
    labels, features = np.asarray(labels), np.asarray(features)
    check_shapes(labels=(labels, f"int {len(images)}"), features=(features, f"{len(images)} D"))
    check_finite("features", features)
    check_class_ids("labels", labels, len(class_names))
    unit = unit_rows(features)
    html = []
    for i in np.linspace(0, len(images) - 1, min(num_queries, len(images))).astype(int):
        similarity = unit @ unit[i]
        similarity[i] = -np.inf
        near = np.argsort(-similarity, kind="stable")[: min(4 if _are_film_strips(images) else 8, len(images) - 1)]
        correct = int((labels[near] == labels[i]).sum())
        of_class = f"{escape(str(class_names[labels[i]]))}: {correct} of {len(near)} of its class"
        caption = of_class if len(class_names) > 1 else ""
        html.append(_figure(images[np.r_[i, near]], caption))
    sides = ("Top", "below") if _are_film_strips(images) else ("Left", "right")
    subtitle = f"{sides[0]}: the query; {sides[1]}: the test images with the most similar features."
    return Panel("Nearest neighbors", f'<div class="images strips">{"".join(html)}</div>', subtitle)


def cluster_sheets(
    images: np.ndarray, clusters: np.ndarray, labels: np.ndarray, class_names: Sequence[str], count: int = 16
) -> Panel:
    """Show the first images of the largest clusters, and each cluster's most frequent class.

    Args:
      images: [N, H, W, C], as `to_uint8` takes them.
      clusters: [N] int.
      labels: [N] int.
      class_names: names of the classes, in the order of the labels.
      count: number of clusters.

    Returns:
      The panel.
    """
    check_whole_number("count", count, 1)
    clusters, labels = np.asarray(clusters), np.asarray(labels)
    check_shapes(clusters=(clusters, f"int {len(images)}"), labels=(labels, f"int {len(images)}"))
    check_counts("clusters", clusters)
    check_class_ids("labels", labels, len(class_names))
    sizes, html = np.bincount(clusters), []
    for cluster in np.argsort(-sizes, kind="stable")[:count]:
        if sizes[cluster] == 0:
            break
        members = np.flatnonzero(clusters == cluster)
        counts = np.bincount(labels[members])
        label = f"{100 * counts.max() / len(members):.0f} % {escape(str(class_names[counts.argmax()]))}"
        html.append(_figure(images[members[:8]], f"{len(members)} images, {label}", apart=0))
    subtitle = f"Test images by cluster, the largest of {(sizes > 0).sum()} clusters first."
    return Panel("Clusters", f'<div class="images strips">{"".join(html)}</div>', subtitle)


def task_sheet(pieces: np.ndarray, target: np.ndarray, predictions: np.ndarray, names: Sequence[str] = ()) -> Panel:
    """Show inputs and predictions of a pretext task.

    Args:
      pieces: [N, P, h, w, C] in [0, 1], the network's inputs in order.
      target: [N] int, the labels; negative for none.
      predictions: [N] int, the predicted classes.
      names: names of the classes; by default their numbers.

    Returns:
      The panel.
    """
    target, predictions = np.asarray(target), np.asarray(predictions)
    check_shapes(pieces=(pieces, "N P h w C"), target=(target, f"int {len(pieces)}"))
    check_shapes(predictions=(predictions, f"int {len(pieces)}"))
    if len(names):
        check_class_ids("predictions", predictions, len(names))
        check_class_ids("target", target[target >= 0], len(names))

    def name_of(label: int) -> str:
        return escape(str(names[label])) if len(names) else str(label)

    html, num_correct, count = [], 0, 0
    for row, label_true, label in zip(pieces, target, predictions, strict=True):
        caption = name_of(int(label))
        if label_true >= 0:
            num_correct, count = num_correct + int(label_true == label), count + 1
            caption += "" if label_true == label else f", is {name_of(int(label_true))}"
        html.append(_figure(np.clip(row, 0, 1), caption, apart=0))
    subtitle = f"Inputs of test images, and predictions: {num_correct} of {count} correct." if count else ""
    kind = "strips narrow" if pieces.shape[1] < 3 else "strips"
    return Panel("Pretext task", f'<div class="images {kind}">{"".join(html)}</div>', subtitle)


def view_pairs(images: np.ndarray, first: np.ndarray, second: np.ndarray) -> Panel:
    """Show images beside two views of each.

    Args:
      images: [N, H, W, C] in [0, 1].
      first: [N, H, W, C], clipped to [0, 1].
      second: [N, H, W, C], clipped to [0, 1].

    Returns:
      The panel.
    """
    check_shapes(images=(images, "N H W C"), first=(first, "N H W C"), second=(second, "N H W C"))
    html = "".join(_figure(np.clip(np.stack(row), 0, 1)) for row in zip(images, first, second, strict=True))
    subtitle = "Left: the image; right: two views as in training."
    return Panel("Two views", f'<div class="images strips narrow">{html}</div>', subtitle, half=True)


def reconstructions(images: np.ndarray, masked: np.ndarray, filled: np.ndarray, subtitle: str) -> Panel:
    """Show images, masked images and reconstructions.

    Args:
      images: [N, H, W, C] in [0, 1].
      masked: [N, H, W, 1], 1 at hidden pixels.
      filled: [N, H, W, C], the network's pixels; visible pixels are taken from the image.
      subtitle: a line under the title.

    Returns:
      The panel.
    """
    check_shapes(images=(images, "N H W C"), masked=(masked, "N H W 1"), filled=(filled, "N H W C"))
    visible = np.where(masked > 0, 0.5, images)
    completed = np.clip(np.where(masked > 0, filled, images), 0, 1)
    html = "".join(_figure(np.stack(row)) for row in zip(images, visible, completed, strict=True))
    return Panel("Filled in", f'<div class="images strips narrow">{html}</div>', subtitle, half=True)


def attention_maps(images: np.ndarray, weights: np.ndarray) -> Panel:
    """Show the attention of the class token, by head.

    Args:
      images: [N, H, W, C] in [0, 1].
      weights: [N, heads, h, w], attention to the patches; each map is scaled by its maximum.

    Returns:
      The panel.
    """
    check_shapes(images=(images, "N H W C"), weights=(weights, "N heads h w"))
    if any(side % patches for side, patches in zip(images.shape[1:3], weights.shape[2:], strict=True)):
        raise ValueError(
            f"weights={weights.shape}: do not tile {images.shape}; allowed: maps whose sides divide H and W"
        )
    html = []
    for image, heads in zip(images, weights, strict=True):
        times = [side // patches for side, patches in zip(image.shape[:2], heads.shape[1:], strict=True)]
        maps = heads / np.maximum(heads.max((1, 2), keepdims=True), 1e-12)
        maps = np.kron(maps, np.ones((1, *times)))[..., None]
        html.append(_figure(np.concatenate([image[None], np.repeat(maps, image.shape[-1], -1)])))
    subtitle = "Left: the image; right: the class token's attention to the patches, for each head of the last block."
    return Panel("Attention", f'<div class="images strips narrow">{"".join(html)}</div>', subtitle, half=True)


def domain_plane(first: np.ndarray, second: np.ndarray, names: tuple[str, str], max_points: int = 500) -> Panel:
    """Show the features of two domains on their joint first two principal axes.

    Args:
      first: [N, D].
      second: [M, D].
      names: names of the domains.
      max_points: largest number of points per domain.

    Returns:
      The panel.
    """
    check_whole_number("max_points", max_points, 1)
    check_shapes(first=(first, "N D"))
    check_shapes(second=(second, f"M {np.shape(first)[1]}"))
    check_finite("first", first)
    check_finite("second", second)
    if len(names) != 2 or np.shape(first)[1] < 2 or not (len(first) and len(second)):
        raise ValueError(
            f"names={names}, first={np.shape(first)}: no plane; allowed: two names, features of width 2 or more"
        )
    parts = [np.asarray(x, np.float64)[:max_points] for x in (first, second)]
    features = np.concatenate(parts)
    axes = np.linalg.svd(features - features.mean(0), full_matrices=False)[2]
    figure, ax = new_figure((7, 5))
    for part, name, color in zip(parts, names, COLORS[:2], strict=True):
        ax.scatter(*((part - features.mean(0)) @ axes[:2].T).T, s=7, color=color, label=name, alpha=0.6)
    ax.set(xticks=[], yticks=[])
    ax.legend(markerscale=2, fontsize=8, frameon=False)
    subtitle = "Features of the test split on their first two principal axes; similar domains overlap."
    return figure_panel("Two domains", figure, subtitle)._replace(half=True)


def feature_plane(
    features: np.ndarray, labels: np.ndarray, class_names: Sequence[str], max_points: int = 1500
) -> Panel:
    """Show normalized features on their first two principal axes.

    Args:
      features: [N, D].
      labels: [N] int.
      class_names: names of the classes, in the order of the labels.
      max_points: largest number of points.

    Returns:
      The panel.
    """
    check_whole_number("max_points", max_points, 1)
    check_shapes(features=(features, "N D"), labels=(labels, "int N"))
    check_finite("features", features)
    check_class_ids("labels", labels, len(class_names))
    if np.shape(features)[1] < 2 or not len(features):
        raise ValueError(f"features={np.shape(features)}: no plane; allowed: [N, D] with D at least 2")
    unit, labels = unit_rows(features)[:max_points], np.asarray(labels)[:max_points]
    centered = unit - unit.mean(0)
    _, s, axes = np.linalg.svd(centered, full_matrices=False)
    points = centered @ axes[:2].T
    figure, ax = new_figure((7, 5))
    for c in np.unique(labels):
        style = {"color": COLORS[c % len(COLORS)], "marker": MARKERS[c // len(COLORS) % len(MARKERS)]}
        ax.scatter(*points[labels == c].T, s=7, label=str(class_names[c]), alpha=0.8, **style)
    ax.set(xticks=[], yticks=[])
    labeled = len(class_names) > 1
    if labeled:
        ax.legend(markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    explained = 100 * np.square(s[:2]).sum() / max(np.square(s).sum(), 1e-12)
    subtitle = (
        f"Normalized features of {len(centered):,} test images on their first two principal axes ({explained:.0f} % of "
        f"the variance){'; colors are classes, which training did not use' if labeled else ''}."
    )
    return figure_panel("Plane of the features", figure, subtitle)._replace(half=True)


def _are_film_strips(images: np.ndarray) -> bool:
    """Find out whether images are so wide that several beside each other would be a thin line."""
    return images.shape[2] > 2 * images.shape[1]


def _figure(images: np.ndarray, caption: str = "", apart: int = 1) -> str:
    """Build an HTML figure of images side by side, or of film strips one below the other, with a gap after `apart`."""
    if _are_film_strips(images):
        picture = strip(images.swapaxes(1, 2), apart, height=160).swapaxes(0, 1)
    else:
        picture = strip(images, apart)
    html = f'<img class="smooth" alt="" src="{data_uri(picture)}">'
    return f"<figure>{html}{f'<figcaption>{caption}</figcaption>' if caption else ''}</figure>"

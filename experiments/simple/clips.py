"""Simple methods on clips: correlation of what moves, and counts of colors."""

import numpy as np

from dlcore.classical_vision.color_histogram import color_histogram
from dlcore.diagnostics.simple_images import centered, motion_correlogram
from dlcore.diagnostics.simple_methods import best_classifier
from experiments.simple.method import SimpleMethod, page_splits

__all__ = ["METHODS"]


def _rows(part, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Describe the clips of a split: (features [N, D], labels [N], numbers of their videos [N])."""
    clips = np.asarray(part.arrays["image"][np.arange(len(part))])
    if kind == "motion":
        features = motion_correlogram(clips)
    else:
        features = np.array(color_histogram(clips.reshape(len(clips), -1, *clips.shape[3:]), 4))
    return features, part.arrays["label"], part.arrays["video"]


def _accuracy_by_video(words: tuple[str, ...], kind: str) -> float:
    """Classify the test videos by the mean probability of their clips, as video.classification does."""
    train, valid, (features, labels, videos) = (
        _rows(part, kind) for part in page_splits("video.classification", words)[:3]
    )
    _, model = best_classifier(train[:2], valid[:2], kinds=("knn", "logistic"))
    names, first, video = np.unique(videos, return_index=True, return_inverse=True)
    votes = np.zeros((len(names), labels.max() + 1))
    np.add.at(votes, video, model.predict_proba(features))
    return float((votes.argmax(1) == labels[first]).mean())


def _neighbors(page: str, kind: str) -> float:
    train, valid, test = (_rows(part, kind)[:2] for part in page_splits(page)[:3])
    return best_classifier(train, valid, kinds=("knn",))[1].score(*test)


def clips_motion(seed: int) -> float:
    """Tell the direction by the shifts at which what moves in a frame is found in the next."""
    return _accuracy_by_video((), "motion")


def clips_order(seed: int) -> float:
    """Tell right from left by the shifts at which what moves in a frame is found in the next."""
    return _accuracy_by_video(("--task=order",), "motion")


def clips_colors(seed: int) -> float:
    """Tell the color by counts of colors."""
    return _accuracy_by_video(("--task=appearance",), "colors")


def vjepa_motion(seed: int) -> float:
    """Tell the direction by neighbors in the correlation of what moves."""
    return _neighbors("self_supervised.vjepa", "motion")


def video_mae_colors(seed: int) -> float:
    """Tell the color by neighbors in the counts of colors."""
    return _neighbors("self_supervised.video_mae", "colors")


def frames_saturation(seed: int) -> float:
    """Tell color and shape of a frame by neighbors of its saturation, moved to the middle, and of its colors."""

    def rows(part):
        images = np.asarray(part.arrays["image"], np.float32) / 255
        saturation = images.max(-1) - images.min(-1)
        weights = np.maximum(saturation - 0.25, 0)
        middle = centered(images, weights)[:, 6:26, 6:26]
        colors = (images * weights[..., None]).sum((1, 2)) / np.maximum(weights.sum((1, 2)), 1e-6)[:, None]
        shape = (middle.max(-1) - middle.min(-1)).reshape(len(images), -1)
        shape /= np.linalg.norm(shape, axis=1, keepdims=True)
        return np.concatenate([shape, 2 * colors], 1), part.arrays["label"]

    train, valid, test = (rows(part) for part in page_splits("self_supervised.frame_order")[:3])
    return best_classifier(train, valid, kinds=("knn",))[1].score(*test)


METHODS = [
    SimpleMethod(
        "clips-motion",
        (
            "video.classification-clips, motion",
            *(f"video.classification-motion-{name}" for name in ("single", "r3d_18", "slowfast", "two_stream")),
        ),
        "test accuracy_by_video",
        "higher",
        "correlogram of what moves, k-NN or logistic regression",
        clips_motion,
    ),
    SimpleMethod(
        "clips-order",
        ("video.classification-order-lstm", "video.classification-order-late_pool"),
        "test accuracy_by_video",
        "higher",
        "correlogram of what moves, k-NN or logistic regression",
        clips_order,
    ),
    SimpleMethod(
        "clips-colors",
        ("video.classification-appearance-single",),
        "test accuracy_by_video",
        "higher",
        "color histogram, k-NN or logistic regression",
        clips_colors,
    ),
    SimpleMethod(
        "clips-motion-knn",
        ("self_supervised.vjepa-clips",),
        "test knn",
        "higher",
        "k-NN on the correlogram of what moves",
        vjepa_motion,
    ),
    SimpleMethod(
        "clips-colors-knn",
        ("self_supervised.video_mae-clips",),
        "test knn",
        "higher",
        "k-NN on the color histogram",
        video_mae_colors,
    ),
    SimpleMethod(
        "clip-frames-knn",
        ("clips-frame-order",),
        "test knn",
        "higher",
        "k-NN on the centered saturation and the mean color",
        frames_saturation,
        knows="shapes are colored, grounds are gray and wrap around",
    ),
]

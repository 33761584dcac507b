"""Simple methods on images: neighbors and kernels on pixels, gradients and colors."""

from dlcore.diagnostics.simple_methods import best_classifier, flat
from experiments.simple.method import SimpleMethod, page_splits

__all__ = ["METHODS"]

SELF_SUPERVISED = (
    "digits-rotation",
    "digits-relative-patch",
    "digits-mae",
    "digits-jigsaw",
    "digits-dino",
    "digits-exemplar",
    "digits-deep-cluster",
    "digits-inpainting",
    *(f"self_supervised.{name}-digits" for name in ("outpainting", "unrotation", "moco", "vicreg", "nnclr", "supcon")),
    *(f"self_supervised.{name}-digits" for name in ("barlow_twins", "simsiam", "byol", "ibot", "dinov2_objective")),
    *(f"self_supervised.{name}-digits" for name in ("swav", "beit", "simmim", "data2vec", "moco_v3", "ijepa")),
)
"""Rows of encoders of digits, measured by k-NN."""


def digits_knn(seed: int) -> float:
    """Classify the test digits by their neighbors among the labeled training digits."""
    splits = page_splits("self_supervised.byol", seed=seed)
    train, valid, test = ((flat(part.arrays["image"]), part.arrays["label"]) for part in splits[:3])
    return best_classifier(train, valid, kinds=("knn",))[1].score(*test)


METHODS = [
    SimpleMethod(
        "digits-knn", SELF_SUPERVISED, "test knn", "higher", "k-NN on raw pixels", digits_knn, seeds=(0, 1, 2)
    ),
]

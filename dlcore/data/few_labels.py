"""Few-label subsets of a data set: the same number of labeled examples of each class, drawn by a seed.

With four labels per class, accuracy varies by several percent with the draw (Sohn et al. 2020, arXiv:2001.07685,
table 2), so report the seed with a result.
"""

from dataclasses import replace

import numpy as np

from dlcore.data.source import Source, check_source, whole_numbers
from dlcore.data.stratified import stratified_sample

__all__ = ["few_labels", "two_streams"]


@whole_numbers
def few_labels(source: Source, per_class: int, seed: int) -> Source:
    """Draw the same number of examples of each class.

    Args:
      source: source with `label`, [N] int.
      per_class: number of examples of each class.
      seed: random seed.

    Returns:
      A new source of the drawn examples, in which the classes alternate.
    """
    check_source("source", source)
    if "label" not in source.arrays:
        raise ValueError(f"source={source.name!r}: holds no label, only {sorted(source.arrays)}; allowed: one with it")
    if per_class < 1:
        raise ValueError(f"labels_per_class={per_class}: too few; allowed: 1 or more")
    classes, counts = np.unique(np.asarray(source.arrays["label"]), return_counts=True)
    least = int(np.argmin(counts))
    if counts[least] < per_class:
        label = int(classes[least])
        name = source.class_names[label] if label < len(source.class_names) else str(label)
        raise ValueError(
            f"labels_per_class={per_class}: class {name!r} has {counts[least]} examples; allowed: at most as many"
        )
    return stratified_sample(source, per_class * len(classes), seed)


def two_streams(labeled: Source, unlabeled: Source) -> dict[str, Source]:
    """Build the two training streams of semi-supervised learning: few labeled and many unlabeled images.

    Args:
      labeled: source with `image` and `label`.
      unlabeled: source with `image`; its `label`, if any, becomes `hidden_label`, for metrics only.

    Returns:
      {"labeled": source, "unlabeled": source without `label`}.
    """
    for part, source, needed in (("labeled", labeled, {"image", "label"}), ("unlabeled", unlabeled, {"image"})):
        if missing := sorted(needed - set(source.arrays)):
            raise ValueError(f"{part}={source.name!r}: holds no {', '.join(missing)}; allowed: a source with it")
    shapes = [source.arrays["image"].shape[1:] for source in (labeled, unlabeled)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"unlabeled: images of {shapes[1]}; allowed: of {shapes[0]}, as the labeled ones")
    dtypes = [source.arrays["image"].dtype for source in (labeled, unlabeled)]
    if dtypes[0] != dtypes[1]:
        raise ValueError(f"unlabeled: images of {dtypes[1]}; allowed: {dtypes[0]}, as the labeled ones")
    arrays = {"image": unlabeled.arrays["image"]}
    if "label" in unlabeled.arrays:
        arrays["hidden_label"] = unlabeled.arrays["label"]
        missing = np.setdiff1d(labeled.arrays["label"], arrays["hidden_label"])
        if len(missing):
            label = int(missing[0])
            name = labeled.class_names[label] if label < len(labeled.class_names) else str(label)
            raise ValueError(
                f"unlabeled: has no image of class {name!r}, which is labeled; allowed: all labeled classes"
            )
    return {"labeled": labeled, "unlabeled": replace(unlabeled, arrays=arrays)}

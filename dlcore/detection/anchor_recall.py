"""Best possible recall of anchors on a data set's boxes, printed before a detector trains on them.

measures=[BoxMAP(), AnchorRecall()]
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from dlcore.data.splits import Splits
from dlcore.learner import root_key

__all__ = ["AnchorRecall", "anchors_of", "recall_note"]


class AnchorRecall:
    """The best possible recall of the detector's anchors, printed before training."""

    def messages(self, run: Any, splits: Splits) -> list[str]:
        """Describe the best possible recall on the training boxes."""
        model = run.parts.network.arguments(run)["model"]
        return [recall_note("anchors", anchors_of(model, run.facts.image_shape), splits)]


def anchors_of(model: nn.Module, image_shape: Sequence[int]) -> np.ndarray:
    """Read the anchors off a detector, which is not run.

    Args:
      model: the detector; its outputs contain `Anchors`.
      image_shape: (H, W, C) of an image.

    Returns:
      [L, 4] corners in pixels.
    """
    import jax
    import jax.numpy as jnp

    from dlcore.detection.anchors import Anchors

    anchors = []

    def run(images):
        outputs, _ = model.init_with_output(root_key(0), images)
        parts = jax.tree.leaves(outputs, is_leaf=lambda part: isinstance(part, Anchors))
        anchors.extend(part for part in parts if isinstance(part, Anchors))

    jax.eval_shape(run, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    return anchors[0].boxes


def recall_note(what: str, boxes: np.ndarray, splits: Splits) -> str:
    """Describe the best possible recall of fixed boxes on the training boxes.

    Args:
      what: noun for the boxes in the message, such as "anchors".
      boxes: [L, 4] corners in pixels.
      splits: splits whose training split has `boxes` and `box_mask`.
    """
    from dlcore.detection.anchors import best_possible_recall

    targets = splits.train.arrays
    recall, mean = best_possible_recall(boxes, targets["boxes"], targets["box_mask"])
    recalled = f"{100 * recall:.1f} % of the training boxes"
    text = f"{len(boxes)} {what} find at best {recalled} at IoU 0.5; mean of each box's best IoU {mean:.2f}"
    return text if recall >= 0.95 else f"{text}; choose other scales or aspect ratios"

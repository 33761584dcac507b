"""Cascade R-CNN: three heads in a row, each trained on the boxes of the one before, and each stricter about overlap.

Cai & Vasconcelos, "Cascade R-CNN: delving into high quality object detection" (2018), arXiv:1712.00726.

    b_0 = proposals,   (s_t, b_{t+1}) = head_t(b_t)
    L   = L_rpn + sum_t [ 1/R sum_r CE(s_tr, c_tr) + 1/R sum_{r on an object} smoothL1(delta_tr, delta*_tr; 1/9) ]
    c_t = 0 (background) where no box overlaps b_t by u_t,   u = 0.5, 0.6, 0.7
    in use   scores: the mean over t of softmax(s_t),   boxes: b_3

A detector that is trained with a low overlap gives sloppy boxes, and one with a high overlap finds few examples among
the proposals; the boxes of the head before are better and supply them. Head t scales its deltas by t times the weights
of the first. Each head samples anew, with the true boxes added. The paper's deltas are shared by all classes; here each
class has its own, as in `dlcore.detection.faster_rcnn`, and a box moves by those of its likeliest class.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.detection.faster_rcnn import WEIGHTS, BoxHead, BoxOutputs, FasterRCNN
from dlcore.detection.padding import ImageSize
from dlcore.learner import Range
from dlcore.ops.boxes import clip_boxes, decode_boxes
from dlcore.ops.checks import check_shapes

__all__ = ["CascadeRCNN", "mean_outputs", "refine_boxes", "stage_weights"]


class CascadeRCNN(FasterRCNN):
    """Backbone, pyramid, region proposal network and several box heads; other fields are those of `FasterRCNN`.

    Args:
      num_stages: number of box heads.
    """

    num_stages: Annotated[int, Range(2)] = 3

    def setup(self) -> None:
        """Build the parts that every call shares."""
        super().setup()
        self.later_heads = [
            BoxHead(self.num_classes, self.box_channels, self.dtype) for _ in range(self.num_stages - 1)
        ]

    def classify(self, levels: list[jax.Array], boxes: jax.Array, size: tuple[int, int], stage: int = 0) -> BoxOutputs:
        """Predict class and box of every region by the head of a stage.

        Args:
          levels: levels from `pyramid`.
          boxes: [B, R, 4] pixels.
          size: (height, width) of the images.
          stage: index of the head.
        """
        head = self.later_heads[stage - 1] if stage else self.box_head
        return head(self._crops(levels, boxes, size, 7))

    def __call__(self, x: jax.Array, boxes: jax.Array | None = None, train: bool = False) -> dict[str, Any]:
        """Run every part on given regions.

        x [B, H, W, C], sides multiples of the finest stride; boxes [B, R, 4] pixels (None: the whole image) -> as
        `FasterRCNN`, and "later_boxes": outputs of the later heads on the same regions.
        """
        outputs = super().__call__(x, boxes, train)
        height, width = x.shape[1:3]
        if boxes is None:
            boxes = jnp.broadcast_to(jnp.array([0, 0, width, height], jnp.float32), (len(x), 1, 4))
        stages = range(1, self.num_stages)
        outputs["later_boxes"] = [self.classify(outputs["levels"], boxes, (height, width), stage) for stage in stages]
        return outputs


def stage_weights(stage: int) -> tuple[float, float, float, float]:
    """Scale the deltas of a stage: better boxes have smaller errors.

    Args:
      stage: index of the head, 0 for the first.

    Returns:
      The weights of `dlcore.ops.boxes.encode_boxes`.
    """
    check_whole_number("stage", stage, 0)
    x, y, width, height = ((1 + stage) * weight for weight in WEIGHTS)
    return x, y, width, height


def refine_boxes(outputs: BoxOutputs, boxes: jax.Array, size: ImageSize, stage: int) -> jax.Array:
    """Move the regions of one image by the deltas of their likeliest class.

    Args:
      outputs: outputs of one image, without the leading axis.
      boxes: [R, 4] pixels, what the outputs are of.
      size: (height, width) that boxes are clipped to.
      stage: index of the head that gave the outputs.

    Returns:
      [R, 4] pixels; no gradient goes through them.
    """
    check_shapes(logits=(outputs.logits, "R C"), deltas=(outputs.deltas, "R C 4"), boxes=(boxes, "R 4"))
    labels = 1 + outputs.logits[:, 1:].argmax(-1)
    deltas = jnp.take_along_axis(outputs.deltas, labels[:, None, None], 1).squeeze(1)
    return jax.lax.stop_gradient(clip_boxes(decode_boxes(deltas, boxes, stage_weights(stage)), size))


def mean_outputs(outputs: list[BoxOutputs]) -> BoxOutputs:
    """Average the class probabilities of all heads, and take the deltas of the last.

    Args:
      outputs: outputs of each head, [B, R, ...], first to last.

    Returns:
      Outputs whose softmax is the mean.
    """
    if not outputs:
        raise ValueError("outputs: there are none; allowed: those of at least one head")
    check_shapes(**{f"outputs[{i}].logits": (part.logits, "... R C") for i, part in enumerate(outputs)})
    if len(outputs) == 1:
        return outputs[0]
    probs = sum(jax.nn.softmax(part.logits) for part in outputs) / len(outputs)
    return outputs[-1]._replace(logits=jnp.log(probs))

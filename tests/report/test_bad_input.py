"""Labels without a name and numbers that are none are refused, which would be drawn as others."""

import numpy as np
import pytest

from dlcore.report import classification, detection, flow, generative, panoptic, segmentation, self_supervised, shapes

NAN = float("nan")
IMAGES, PIXELS = np.zeros((2, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8)
LABELS, SURE = np.array([0, 1]), np.full((2, 2), 0.5)
MAP, NAMES, COLORS = np.zeros((4, 4), int), ("a", "b"), np.zeros((2, 3), np.uint8)
BOXES, POINTS = np.array([[0, 0, 2, 2.0]]), np.eye(3)


def boxes_on(image=PIXELS, labels=(0,), **options):
    return detection.draw_boxes(image, BOXES, np.array(labels), NAMES, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: classification.worst_mistakes(IMAGES, LABELS - 1, SURE), r"labels\[0\]=-1: out of range"),
        (lambda: boxes_on(PIXELS.astype(float)), "image=float64: no bytes; allowed: uint8"),
        (lambda: boxes_on(labels=(-1,)), r"labels\[0\]=-1: out of range; allowed: 0 to 1"),
        (lambda: boxes_on(scores=np.array([50.0])), r"scores\[0\]=50: out of range; allowed: 0 to 1"),
        (lambda: detection.precision_recall(np.full((3, 2), 90.0), NAMES), "precision.*=90: out of range"),
        (lambda: flow.flow_panel([PIXELS], [np.zeros((2, 2, 2))], "a"), r"flows: \(2, 2, 2\) for a"),
        (lambda: generative.nearest_images(NAN * IMAGES, IMAGES), r"images\[0, 0, 0, 0\]=nan: not finite"),
        (lambda: panoptic.draw_segments(PIXELS, MAP + 1, LABELS[:1], 1), r"segments\[0, 0\]=1: out of range"),
        (lambda: segmentation.color_classes(MAP - 1, COLORS), r"classes\[0, 0\]=-1: out of range"),
        (lambda: self_supervised.cluster_sheets(IMAGES, LABELS - 1, LABELS, NAMES), r"clusters\[0\]=-1: no count"),
        (lambda: shapes.render_mesh(POINTS, np.array([[0, 1, 3]])), r"faces\[0, 2\]=3: out of range; allowed: 0 to 2"),
    ],
)
def test_arrays_that_would_be_drawn_as_something_else_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

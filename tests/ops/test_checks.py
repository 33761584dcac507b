"""One check of classes, indices and finite numbers, and what goes through it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.evaluators.frechet import frechet_distance
from dlcore.evaluators.groups import wilson_interval
from dlcore.evaluators.knn import knn_predict
from dlcore.evaluators.mode_coverage import mode_coverage
from dlcore.interpretability.cam import class_activation_map
from dlcore.interpretability.occlusion import occlusion_grid
from dlcore.interpretability.saliency import gradient_saliency
from dlcore.interpretability.scores import deletion_insertion
from dlcore.losses import (
    binary_cross_entropy_loss,
    cross_entropy,
    dice_loss,
    entropy,
    forward_corrected_loss,
    kl_divergence,
    kl_divergence_loss,
    sigmoid_focal_loss,
    softmax_cross_entropy_loss,
)
from dlcore.metrics import (
    BoundaryIoU,
    MeanIoU,
    PanopticQuality,
    cohen_kappa,
    multilabel_average_precision,
    recall_at_k,
    verification,
)
from dlcore.metrics.detection_errors import detection_errors
from dlcore.ops import (
    check_boxes,
    check_class_ids,
    check_counts,
    check_finite,
    check_indices,
    check_mask,
    check_probabilities,
    check_range,
    check_shapes,
    check_spacing,
    check_spread,
    check_values,
    describe_array,
)
from dlcore.ops.checks import check_size

IMAGES, LABEL = jnp.ones((1, 4, 4, 1)), jnp.array([3])
NANS = np.full((2, 2), np.nan)
OF_THREE = r"labels\[0\]=3: out of range; allowed: 0 to 2, of 3 classes"


def scores(x):
    """Three classes."""
    return x.reshape(len(x), -1)[:, :3]


def detections(label=0, score=0.9, edge=9.0):
    box = np.array([[[0, 0, 9, edge]]])
    ones = np.ones((1, 1))
    return {"boxes": box, "scores": score * ones, "labels": label * ones.astype(int), "valid": ones, "box_mask": ones}


def test_the_first_wrong_one_is_named():
    check_class_ids("labels", np.array([[0, 255], [2, 1]]), 3, 255)
    with pytest.raises(ValueError, match=r"labels\[1, 0\]=3: out of range; allowed: 0 to 2, of 3 classes, or 255"):
        check_class_ids("labels", np.array([[0, 255], [3, 7]]), 3, 255)
    with pytest.raises(ValueError, match=r"image\[0\]=0.5: out of range; allowed: 0 to 1, of 2 images"):
        check_indices("image", [0.5], 2, "images")
    with pytest.raises(ValueError, match=r"image\[0\]=nan"):
        check_indices("image", [np.nan], 2, "images")
    with pytest.raises(ValueError, match=r"box\[1\]=inf: not finite; allowed: finite numbers"):
        check_finite("box", [1.0, np.inf])
    with pytest.raises(ValueError, match=r"labels=-1: out of range; allowed: 0 to 2, of 3 classes$"):
        check_class_ids("labels", -1, 3)
    check_indices("image", [[-1, 0], [255, 1]], 2, "images", (255, -1))  # several stand for none
    with pytest.raises(ValueError, match=r"image\[1\]=2: out of range; allowed: 0 to 1, of 2 images, or 255, -1$"):
        check_indices("image", [-1, 2], 2, "images", (255, -1))
    with pytest.raises(ValueError, match=r"score=-inf: not finite"):
        check_finite("score", -np.inf)
    jax.jit(lambda label: check_class_ids("label", label, 3))(7)  # traced labels pass


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: class_activation_map(jnp.ones((1, 2, 2, 4)), jnp.ones((4, 3)), LABEL), OF_THREE),
        (lambda: gradient_saliency(scores, IMAGES, LABEL), OF_THREE),
        (lambda: occlusion_grid(scores, IMAGES, LABEL, window=2, stride=2), OF_THREE),
        (lambda: deletion_insertion(scores, IMAGES, IMAGES[..., 0], LABEL, steps=2), OF_THREE),
        (lambda: detection_errors(detections(3), detections(), 3), r"outputs: labels\[0\]=3: out of range"),
        (lambda: detection_errors(detections(), detections(3), 3), r"truth: labels\[0\]=3: out of range"),
        (lambda: detection_errors(detections(0, np.nan), detections(), 3), r"outputs: scores\[0\]=nan: not finite"),
        (lambda: detection_errors(detections(0, 1, np.nan), detections(), 3), r"outputs: boxes\[0, 3\]=nan"),
        (lambda: knn_predict(np.ones((2, 2)), np.array([0, 1]), np.full((1, 2), np.nan), 1), r"queries\[0, 0\]=nan"),
        (lambda: knn_predict(np.full((1, 2), np.nan), np.array([0]), np.ones((1, 2)), 1), r"bank\[0, 0\]=nan"),
        (lambda: knn_predict(np.ones((2, 2)), np.array([0, -1]), np.ones((1, 2)), 1), "labels=-1: no class"),
        (
            lambda: knn_predict(np.ones((2, 2)), np.array([0, 1]), np.ones((1, 3)), 1),
            r"queries=\(1, 3\): another width",
        ),
        (lambda: frechet_distance(np.zeros(2), NANS, np.zeros(2), np.eye(2)), r"cov_f\[0, 0\]=nan: not finite"),
        (lambda: frechet_distance(np.zeros(2), np.tri(2), np.zeros(2), np.eye(2)), r"cov_f=\(2, 2\): not symmetric"),
        (lambda: recall_at_k(NANS, np.array([0, 0])), r"queries\[0, 0\]=nan: not finite"),
        (lambda: verification(NANS[0], np.array([1, 0])), r"scores\[0\]=nan: not finite"),
        (lambda: multilabel_average_precision(np.eye(2), NANS), r"scores\[0, 0\]=nan: not finite"),
        (lambda: multilabel_average_precision(2 * np.eye(2), np.eye(2)), "targets=2: neither 0 nor 1"),
        (lambda: mode_coverage(NANS, np.eye(2), 0.1), r"samples\[0, 0\]=nan: not finite"),
        (lambda: mode_coverage(np.eye(2), np.eye(2), 0), "deviation=0: out of range; allowed: above 0"),
        (lambda: cohen_kappa(-np.eye(2)), r"confusion\[0, 0\]=-1: no count; allowed: finite"),
        (lambda: wilson_interval(5, 3), "right=5: of count=3; allowed: 0 to count"),
        (lambda: MeanIoU.of(jnp.asarray(NANS), jnp.array([0, 1])).compute(), "outside=2: classes out of range"),
    ],
)
def test_invalid_classes_and_numbers_are_refused(call, problem):
    with pytest.raises(ValueError, match=problem):
        call()


def panoptic(segment, label, true_segment=0, true_label=0):
    whole = [jnp.full((1, 2, 2), segment), jnp.array([[label]]), jnp.full((1, 2, 2), true_segment)]
    return PanopticQuality.of(*whole, jnp.array([[true_label]]), 2)


@pytest.mark.weekly
def test_segments_and_pixels_of_no_class_are_no_better_score():
    assert panoptic(0, 0).compute()["pq"] == 1
    for wrong in (panoptic(0, 2), panoptic(0, 0, 0, 2), panoptic(1, 0), panoptic(0, -2)):
        with pytest.raises(ValueError, match="outside=1: classes out of range; allowed: 0 to 1"):
            wrong.compute()
    assert panoptic(-1, 5).compute()["pq"] == 0  # a class out of range of a segment that is not used
    zeros, twos = jnp.zeros((1, 4, 4), int), jnp.full((1, 4, 4), 2)
    for pair in ((twos, zeros), (zeros, twos)):
        with pytest.raises(ValueError, match="outside=16: classes out of range; allowed: 0 to 1"):
            BoundaryIoU.of(*pair, 2).compute()
    assert BoundaryIoU.of(zeros, twos, 2, void_label=2).compute() is None


P = np.array([[0.2, 0.8], [0.5, 0.9]], np.float32)
LOGITS = np.zeros((2, 2), np.float32)
NO_SUM = r"\[1\]=.*: sums to 1.4; allowed: probabilities that sum to 1"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kl_divergence_loss(LOGITS, P), "targets" + NO_SUM),
        (lambda: softmax_cross_entropy_loss(LOGITS, P), "labels" + NO_SUM),
        (lambda: forward_corrected_loss(LOGITS, np.array([0, 1]), P), "transition" + NO_SUM),
        (lambda: entropy(P), "p" + NO_SUM),
        (lambda: cross_entropy(P[:1], 1 - 2 * P[:1]), r"q\[0\]=.*: a negative number; allowed: probabilities"),
        (lambda: kl_divergence(P, P[:, ::-1]), "p" + NO_SUM),
        (lambda: binary_cross_entropy_loss(LOGITS, 3 * P), r"targets\[0, 1\]=2.4: out of range; allowed: 0 to 1"),
        (lambda: sigmoid_focal_loss(LOGITS, -P), r"targets\[0, 0\]=-0.2: out of range; allowed: 0 to 1"),
        (lambda: dice_loss(LOGITS, 255 * np.eye(2)), r"targets\[0, 0\]=255: out of range; allowed: 0 to 1"),
    ],
)
def test_targets_that_are_no_probabilities_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_probabilities_may_be_rounded_and_unknown():
    check_probabilities("p", jnp.array([0.3, 0.3, 0.4], jnp.bfloat16))
    check_range("p", np.float32(1) + np.finfo(np.float32).eps, 0, 1)
    with pytest.raises(ValueError, match=r"p=nan: out of range; allowed: 0 to 1"):
        check_range("p", np.nan, 0, 1)
    # Traced values pass: targets that sum to 1.4 cost sum p log p - p log q, with q = 1/2.
    expected = 0.5 * np.log(0.5) + 0.9 * np.log(0.9) + 1.4 * np.log(2)
    np.testing.assert_allclose(jax.jit(kl_divergence_loss)(LOGITS, P)[1], expected, rtol=1e-5)


def test_the_range_of_every_number_of_an_array():
    check_shapes(share=(np.array([[0.0, 0.5], [1.0, 0.2]]), "... 0 to 1"))
    check_shapes(share=(0.5, "... 0 to 1"))
    with pytest.raises(ValueError, match=r"share=1\.5: out of range; allowed: 0 to 1"):
        check_shapes(share=(np.array([0.5, 1.5]), "... 0 to 1"))
    jax.jit(lambda x: check_shapes(share=(x, "... 0 to 1")))(jnp.array([2.0]))
    with pytest.raises(ValueError, match=r"share=.*wrong shape"):
        check_shapes(share=(np.array([0.5]), "0 to 1"))


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (2.5, "steps=2.5: no whole number; allowed: whole numbers"),
        (True, "steps=True: no whole number"),
        ("2", "steps='?2'?: no whole number"),
        (jnp.ones(2, int), r"steps=int32\[2\]: no whole number"),
        (np.float32(2), r"steps=2\.0: no whole number"),
        (0, "steps=0: out of range; allowed: at least 1"),
    ],
)
def test_a_whole_number_has_a_range(number, problem):
    with pytest.raises(ValueError, match=f"^{problem}"):
        check_shapes(steps=(number, "int >= 1"))
    for allowed in (3, np.int32(3), jnp.int32(3), np.array(3)):
        check_shapes(steps=(allowed, "int >= 1"))
    jax.jit(lambda n: check_shapes(steps=(n, "int >= 1")))(0)  # traced numbers pass


def test_boxes_of_several_axes_and_their_padding():
    """The first flipped box is named, in either direction; a point is none, and padding is not looked at."""
    boxes = np.array([[[0, 0, 4, 4], [3, 3, 3, 3]], [[0, 5, 4, 2], [6, 0, 4, 2]]], np.float32)
    with pytest.raises(ValueError, match=r"b\[1, 0\]=\[0.0, 5.0, 4.0, 2.0\]: flipped; allowed: x0 <= x1 and y0 <= y1"):
        check_boxes("b", boxes)
    with pytest.raises(ValueError, match=r"b\[1, 1\]=\[6.0, 0.0, 4.0, 2.0\]: flipped"):
        check_boxes("b", boxes, np.array([[1, 1], [0, 1]]))
    check_boxes("b", boxes, np.array([[1, 1], [0, 0]]))
    boxes[0, 1, 2] = np.inf
    with pytest.raises(ValueError, match=r"b\[0, 1, 2\]=inf: not finite"):
        check_boxes("b", boxes)
    check_boxes("b", boxes, np.array([[1, 0], [0, 0]]))
    jax.jit(lambda b: check_boxes("b", b))(boxes)
    jax.jit(lambda valid: check_boxes("b", boxes, valid))(np.ones((2, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_counts("n", [[0, 2.5], [-1, np.nan]]), r"n\[1, 0\]=-1: no count; allowed: finite numbers, at l"),
        (lambda: check_counts("n", np.inf), "n=inf: no count"),
        (lambda: check_values("v", [0.5, 2, 3], (0.5, 2)), r"v\[2\]=3: unknown; allowed: 0.5, 2$"),
        (lambda: check_values("v", [np.nan], (0, 1)), r"v\[0\]=nan: unknown; allowed: 0, 1$"),
        (lambda: check_mask("m", [[0, 2], [1, -0.5]]), r"m\[1, 1\]=-0.5: no mask; allowed: 0 for what does not count"),
        (lambda: check_mask("m", [np.nan]), r"m\[0\]=nan: no mask"),
        (lambda: check_range("r", [2, 1.9], 2), r"r\[1\]=1.9: out of range; allowed: at least 2$"),
        (lambda: check_range("r", [[2, 4.1]], 2, 4), r"r\[0, 1\]=4.1: out of range; allowed: 2 to 4$"),
        (lambda: check_range("r", -4.1, -4, 2), "r=-4.1: out of range; allowed: -4 to 2$"),
        (lambda: check_range("r", 100.0002, 0, 100), "r=100: out of range"),
        (
            lambda: check_size("size", (0, 4)),
            r"size=\(0, 4\): no size; allowed: \(height, width\), whole numbers from 1",
        ),
        (lambda: check_size("size", (4, 4, 4)), r"size=\(4, 4, 4\): no size"),
        (lambda: check_range("r", None, 0), "r=None: no number; allowed: numbers"),
        (lambda: check_finite("r", "12"), "r='12': no number; allowed: numbers"),
        (lambda: check_mask("m", [[1], [1, 0]]), "m: rows of unequal lengths; allowed: numbers in rows of one length"),
        (lambda: check_size("size", 4), "size=4: no size"),
        (lambda: check_size("size", (4.0, 4)), r"size=\(4.0, 4\): no size"),
        (lambda: check_size("cells", (4, 4), "depth, height, width"), r"cells=\(4, 4\): no size; allowed: \(depth, h"),
        (lambda: check_spacing((1, 2)), r"spacing=\(1, 2\): not the sides of a voxel; allowed: three positive numbers"),
        (lambda: check_spacing((1, 2, 0)), "spacing=.*: not the sides"),
        (lambda: check_spacing((1, -2, 3)), "spacing=.*: not the sides"),
        (lambda: check_spacing((1, np.inf, 3)), "spacing=.*: not the sides"),
        (lambda: check_probabilities("p", [[0.5, 0.489]]), r"p\[0\]=.*: sums to 0.989; allowed: probabilities"),
        (lambda: check_probabilities("p", [0.5, np.nan]), "p=.*: sums to nan"),
        (lambda: check_probabilities("p", [1.5, -0.5]), "p=.*: a negative number"),
        (lambda: check_class_ids("c", [0, 3], 3), r"c\[1\]=3: out of range; allowed: 0 to 2, of 3 classes$"),
        (lambda: check_indices("i", np.inf, 3, "rows"), "i=inf: out of range; allowed: 0 to 2, of 3 rows$"),
    ],
)
def test_the_first_number_that_is_none_is_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_numbers_at_the_limits_pass():
    check_counts("n", [[0, 2.5]])
    check_values("v", [True, 0, 1], (0, 1))
    check_mask("m", [[0, 2], [True, np.inf]])
    check_mask("m", None)
    check_range("r", [2, 4, np.inf], 2)
    check_range("r", [99.99995, 100.00005, -0.00005], 0, 100)  # 1e-6 of the larger limit
    check_range("r", [-4.000003, 2], -4, 2)
    np.testing.assert_array_equal(check_spacing([1, 0.5, 2]), [1, 0.5, 2])
    check_probabilities("p", [[0.5, 0.491], [0.5, 0.509], [1, 0]])
    for check in (check_counts, check_finite, check_mask, check_probabilities):
        jax.jit(lambda x, check=check: check("x", x))(-np.ones(2))
    jax.jit(lambda x: (check_values("x", x, (0,)), check_range("x", x, 0), check_spread("x", x, 1, "")))(-np.ones(2))


@pytest.mark.parametrize(
    ("points", "spans"),
    [
        ([[1, 2, 3]] * 4, 0),
        ([[0, 0, 0], [1, 2, 3], [2, 4, 6]], 1),
        ([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]], 2),
        ([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1.01]], 3),
        ([[0, 0], [1, 0], [0, 2e-6]], 2),
        ([[0, 0], [1, 0], [0, 1e-7]], 1),
    ],
)
def test_points_span_so_many_dimensions(points, spans):
    for dimensions, where in ((1, "in one place"), (2, "on one line"), (3, "on one plane")):
        if dimensions <= spans:
            check_spread("p", points, dimensions, "more")
        else:
            with pytest.raises(ValueError, match=f"^p: {len(points)} points {where}; allowed: more$"):
                check_spread("p", points, dimensions, "more")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a": (np.ones((2, 3)), "N 3"), "b": (np.ones((4, 5)), "N M")}, r"b=float32\[4, 5\]: .* allowed: \[2, M\]"),
        ({"a": (np.ones((2, 7, 3)), "... 3"), "b": (np.ones((2, 6)), "...")}, r"b=float32\[2, 6\]: .*: \[2, 7\]"),
        ({"a": (np.ones((2, 3)), "N")}, r"a=float32\[2, 3\]: .*: \[N\]"),
        ({"a": (np.ones(3), "N M")}, r"a=float32\[3\]: .*: \[N, M\]"),
        ({"a": (np.ones(3), "... N M")}, r"a=float32\[3\]: .*: \[\.\.\., N, M\]"),
        ({"a": (np.ones((2, 3)), "N N")}, r"a=float32\[2, 3\]: .*: \[N, N\]"),
        ({"a": (np.ones(3), "int N")}, r"a=float32\[3\]: .*: int\[N\]"),
        ({"a": (np.ones(3), "")}, r"a=float32\[3\]: .*: \[\]"),
        ({"a": (np.array([1.0, -2]), "mask N")}, r"a\[1\]=-2: no mask"),
        ({"a": (np.ones((2, 2)), "mask N")}, r"a=float32\[2, 2\]: .*: \[N\]"),
        ({"a": (np.array([1.0, np.inf]), "N finite")}, r"a\[1\]=inf: not finite"),
        ({"a": (np.nan, "finite")}, "a=nan: not finite"),
        ({"a": (np.ones(2), "finite")}, r"a=float32\[2\]: wrong shape"),
        ({"a": (0.0, "> 0")}, "a=0: out of range; allowed: above 0$"),
        ({"a": (-0.5, ">= 0")}, "a=-0.5: out of range; allowed: at least 0$"),
        ({"a": (np.nan, ">= 0")}, "a=nan: out of range"),
        ({"a": (1.0, "0 to <1")}, "a=1: out of range; allowed: 0 to below 1$"),
        ({"a": (1.5, "-1 to 1")}, "a=1.5: out of range; allowed: -1 to 1$"),
        ({"a": (-1.5, "-1 to 1")}, "a=-1.5: out of range; allowed: -1 to 1$"),
        ({"a": (np.array([0.5, 0]), "... > 0")}, "a=0: out of range; allowed: above 0$"),
        ({"a": ("0.5", "0 to 1")}, "a='0.5': no number; allowed: numbers$"),
        ({"a": (0, "int 1 to 3")}, "a=0: out of range; allowed: 1 to 3$"),
        ({"a": (True, "int >= 0")}, "a=True: no whole number"),
    ],
)
def test_axes_and_ranges_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"^(?:{message})"):
        check_shapes(**arguments)


def test_axes_and_ranges_that_fit_pass():
    check_shapes(
        a=(np.ones((2, 7, 3)), "... T 3"), b=(None, "T or None"), c=(np.ones((2, 5)), "... M"), d=(np.ones(7), "T")
    )
    check_shapes(a=(np.ones(3), "... N"), b=(np.ones((3, 3)), "N N"), c=(np.ones((1, 1), int), "int K K"))
    check_shapes(a=(np.array([0.0, 2]), "mask N"), b=(np.array([1.0, -2]), "N finite"), c=(-3.0, "finite"), d=(1, ""))
    for value, limits in (
        (0.0, "0 to <1"),
        (0.99, "0 to <1"),
        (1, "0 to 1"),
        (-1, "-1 to 1"),
        (0, ">= 0"),
        (1e-9, "> 0"),
    ):
        check_shapes(a=(value, limits))
    check_shapes(a=(np.array([[1e-9, 5]]), "... > 0"), b=(np.array([[0.0, 1]]), "... 0 to 1"), c=(3, "int 1 to 3"))
    jax.jit(lambda x: check_shapes(a=(x, "0 to 1"), b=(x, "finite")))(7.0)
    assert describe_array(2) == "int32[]"
    assert describe_array(np.ones((2, 3))) == "float32[2, 3]"


@pytest.mark.parametrize(
    "check",
    [
        lambda values: check_counts("x", values),
        lambda values: check_finite("x", values),
        lambda values: check_indices("x", values, 3, "rows"),
        lambda values: check_mask("x", values),
        lambda values: check_probabilities("x", values),
        lambda values: check_range("x", values, 0, 1),
        lambda values: check_values("x", values, (0, 1)),
    ],
)
def test_words_and_rows_of_several_lengths_are_no_numbers(check):
    with pytest.raises(ValueError, match=r"^x='one': no number; allowed: numbers$"):
        check("one")
    with pytest.raises(ValueError, match=r"^x: rows of unequal lengths; allowed: numbers in rows of one length$"):
        check([[0.5, 0.5], [1.0]])


@pytest.mark.parametrize("axes", ["N", "", "> 0", "finite", "... 0 to 1", "mask N"])
def test_an_array_is_left_out_only_where_its_axes_say_so(axes):
    check_shapes(a=(None, f"{axes} or None"))
    with pytest.raises(ValueError, match=r"^a=None: no number; allowed: numbers$"):
        check_shapes(a=(None, axes))


def test_a_whole_number_is_not_left_out():
    check_shapes(a=(None, "int >= 1 or None"))
    with pytest.raises(ValueError, match=r"^a=None: no whole number; allowed: whole numbers$"):
        check_shapes(a=(None, "int >= 1"))
    with pytest.raises(ValueError, match=r"^a=0: out of range; allowed: at least 1$"):
        check_shapes(a=(0, "int >= 1 or None"))

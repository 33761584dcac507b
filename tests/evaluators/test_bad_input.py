"""What an evaluator is given is checked: settings when it is built, outputs and rows when it is used."""

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.evaluators import latent_distances, mean_shape, text
from dlcore.evaluators.captions import best_constant
from dlcore.evaluators.chrf import chrf
from dlcore.evaluators.class_consistency import class_consistency
from dlcore.evaluators.coco import coco_map, coco_rows, pasted_masks
from dlcore.evaluators.detection_errors import detection_errors
from dlcore.evaluators.ensemble import ensemble
from dlcore.evaluators.fine_tuning import Encoder, Recipe, Tuning, fine_tuning, label_counts
from dlcore.evaluators.frechet import frechet_distance, frechet_evaluator, kid_of_subsets
from dlcore.evaluators.groups import audit_groups, wilson_interval
from dlcore.evaluators.keypoints import pck_evaluator
from dlcore.evaluators.knn import knn, knn_predict
from dlcore.evaluators.linear_probe import linear_probe, probe_predict
from dlcore.evaluators.manifold import half_interval, neighborhoods
from dlcore.evaluators.mode_coverage import mode_coverage, mode_coverage_evaluator
from dlcore.evaluators.pitch import pitch_evaluator, semitones, spectral_pitch
from dlcore.evaluators.surfaces import surface_evaluator
from dlcore.evaluators.test_time_augmentation import test_time_augmentation as augmented
from dlcore.evaluators.test_time_augmentation import views
from dlcore.evaluators.uniformity import uniformity_of
from dlcore.evaluators.videos import average_by_video
from dlcore.evaluators.zero_shot import zero_shot

NAN = float("nan")
POINTS, TEXTS = np.arange(12.0).reshape(6, 2), (["a b"], [["a b"]])
LABELS = np.array([0, 1, 0, 1, 0, 1])
IMAGES = Source({"image": np.zeros((4, 2, 2, 1), np.uint8), "label": np.arange(4)})
ENCODER = Encoder(*[lambda *arguments: arguments] * 3)
OUTPUTS = {
    "boxes": np.zeros((1, 2, 4)),
    "scores": np.zeros((1, 2)),
    "labels": np.zeros((1, 2), int),
    "valid": np.ones((1, 2)),
}
TRUTH = {"boxes": np.zeros((1, 1, 4)), "labels": np.zeros((1, 1), int), "box_mask": np.ones((1, 1))}
OBJECTS = {"image": np.zeros((1, 8, 8, 3)), "boxes": np.zeros((1, 1, 4)), "labels": np.array([[3]])}
OBJECTS |= {"box_mask": np.ones((1, 1)), "keypoints": np.zeros((1, 1, 2, 3)), "masks": np.zeros((1, 1, 8, 1), np.uint8)}


def used(evaluator, outputs, **rows):
    """Give an evaluator one batch, and read its measures."""
    acc = None if evaluator.start is None else evaluator.start(None)
    return evaluator.finish(evaluator.add(acc, outputs, rows))


def consistency(probabilities, label):
    evaluator = class_consistency(lambda images: np.asarray(probabilities), IMAGES)
    return used(evaluator, {"sample": np.zeros(2)}, label=np.asarray(label))


def tuned(**options):
    return fine_tuning(IMAGES, IMAGES, IMAGES, encoder=ENCODER, **{"counts": (2,), "num_classes": 2, **options})


def paths(count):
    return used(latent_distances.path_length(lambda x: x, IMAGES, 0.1), {"decoded": np.ones((count, 2))})


CASES = {
    "longest n-gram": (lambda: chrf(*TEXTS, max_n=1.5), "max_n=1.5: no whole number"),
    "weight of recall": (lambda: chrf(*TEXTS, beta=-1.0), "beta=-1: out of range; allowed: at least 0"),
    "endless weight": (lambda: chrf(*TEXTS, beta=np.inf), "beta=inf: not finite"),
    "n-gram of a sentence": (lambda: text.sentence_bleu("a", ["a"], max_n=0), "max_n=0: out of range"),
    "smoothing": (lambda: text.sentence_bleu("a", ["b"], epsilon=NAN), "epsilon=nan: out of range"),
    "n-gram of a corpus": (lambda: text.bleu(*TEXTS, 4.5), "max_n=4.5: no whole number"),
    "recall of a subsequence": (lambda: text.rouge_l(*TEXTS, NAN), "beta=nan: out of range"),
    "n-gram of captions": (lambda: text.cider(*TEXTS, max_n=0), "max_n=0: out of range"),
    "width of captions": (lambda: text.cider(*TEXTS, sigma=0.0), "sigma=0: out of range; allowed: above 0"),
    "one text": (lambda: text.word_error_rate("a b", "a b"), "hypotheses=str: no texts; allowed: a list of texts"),
    "no text": (lambda: text.edit_distance(None, "a"), "text=None: no text; allowed: a string"),
    "no texts": (lambda: text.bleu(None, None), "hypotheses=NoneType: no texts; allowed: a list"),
    "one caption": (lambda: best_constant("a b", [["a"]]), "captions=str: one string; allowed: a list of captions"),
    "limits of sizes": (lambda: coco_map([], [], 1, 1, size_limits=None), "size_limits=None: no limits"),
    "missing output": (lambda: coco_rows({}, {}), "outputs: holds nothing, no 'boxes'; allowed: boxes, scores"),
    "missing truth": (lambda: detection_errors(OUTPUTS, {}, 2), "truth: holds nothing, no 'boxes'"),
    "missing row": (lambda: mean_shape.mean_keypoints({"boxes": 0}, 2), "rows: holds boxes, no 'keypoints'"),
    "no array": (
        lambda: audit_groups(None, LABELS, LABELS),
        r"predicted=object\[\]: wrong shape or kind; allowed: \[N\]",
    ),
    "covariance": (
        lambda: frechet_distance(np.zeros(1), -np.eye(1), np.zeros(1), np.eye(1)),
        "cov_f: has the eigenvalue -1; allowed: a covariance, none negative",
    ),
    "no source": (lambda: frechet_evaluator(np.sum, POINTS, None), "source=NoneType: no source; allowed: Source"),
    "no sound": (lambda: spectral_pitch(1.0, 8), "waveform has 0 samples; allowed: at least 3"),
    "view of two axes": (lambda: views(np.ones((4, 4)), "flip"), r"image=.*\[4, 4\]: wrong shape"),
    "member": (lambda: ensemble([5], {}), r"learners\[0\]=int: no learner"),
    "words for classes": (lambda: probe_predict(POINTS, np.array(["a"] * 6), POINTS), "labels=<U1.*: no classes"),
    "one probability": (lambda: consistency([[0.5, 0.5]], [0, 1]), r"label=.*\[2\]: wrong shape"),
    "requested class": (lambda: consistency([[0.5, 0.5]] * 2, [0, 2]), r"label\[1\]=2: out of range; allowed: 0 to 1"),
    "output": (lambda: used(knn(IMAGES, key="z"), {"features": POINTS}), "key='z': unknown; allowed: features"),
    "sample": (
        lambda: used(mode_coverage_evaluator(POINTS, 1.0, IMAGES), {"x": POINTS}),
        "name='sample': unknown; allowed: x",
    ),
    "vector": (lambda: used(zero_shot(IMAGES, lambda s: POINTS), {"x": POINTS}), "key='clip': unknown; allowed: x"),
    "class of an image": (
        lambda: used(zero_shot(IMAGES, lambda s: POINTS), {"clip": POINTS}, label=np.arange(1, 7)),
        r"label\[5\]=6: out of range; allowed: 0 to 5",
    ),
    "generated image": (
        lambda: used(frechet_evaluator(lambda x: (x, None), POINTS, IMAGES), {}),
        "name='sample': unknown",
    ),
    "subsets": (lambda: kid_of_subsets(POINTS, POINTS, 0, 2), "num_subsets=0: out of range"),
    "size of a subset": (lambda: kid_of_subsets(POINTS, POINTS, 1, 2.5), "subset_size=2.5: no whole number"),
    "seed of subsets": (lambda: kid_of_subsets(POINTS, POINTS, 1, 2, -1), "seed=-1: out of range"),
    "neighbor": (lambda: neighborhoods(POINTS, POINTS, 1.5), "k=1.5: no whole number"),
    "one number": (lambda: half_interval(np.ones(1)), "values=1 numbers: too few for an interval; allowed: at least 2"),
    "neighbors": (lambda: knn_predict(POINTS, LABELS, POINTS, 1.5), "k=1.5: no whole number"),
    "no query": (lambda: knn_predict(POINTS, LABELS, POINTS[:0], 1), r"queries=\[0\]: none; allowed: at least 1"),
    "neighbors of an evaluator": (lambda: knn(IMAGES, k=0), "k=0: out of range"),
    "temperature": (lambda: knn(IMAGES, temperature=NAN), "temperature=nan: out of range"),
    "penalty": (lambda: linear_probe(IMAGES, c=0.0), "c=0: out of range; allowed: above 0"),
    "iterations": (lambda: probe_predict(POINTS, LABELS, POINTS, 1.0, 2.5), "max_iterations=2.5: no whole number"),
    "decay": (lambda: uniformity_of(POINTS, 0.0), "t=0: out of range; allowed: above 0"),
    "embedding": (lambda: uniformity_of(POINTS[..., None]), "embeddings=.*: wrong shape"),
    "video": (lambda: average_by_video(POINTS, np.arange(6) / 2), r"videos=float64\[6\]: no ids; allowed: int \[N\]"),
    "successes": (lambda: wilson_interval(1.5, 2), "right=1.5: no whole number"),
    "quantile": (lambda: wilson_interval(1, 2, NAN), "z=nan: out of range; allowed: above 0"),
    "members": (lambda: audit_groups(LABELS, LABELS, LABELS, 0), "least=0: out of range; allowed: at least 1"),
    "group": (lambda: audit_groups(LABELS, LABELS, np.full(6, NAN), 1), r"group\[0\]=nan: not finite"),
    "tolerance of a keypoint": (lambda: pck_evaluator(["x"], alpha=NAN), "alpha=nan: out of range"),
    "overlap of a keypoint": (lambda: pck_evaluator(["x"], min_iou=1.5), "min_iou=1.5: out of range; allowed: 0 to 1"),
    "classes of masks": (lambda: mean_shape.mean_masks(OBJECTS, 0), "num_classes=0: out of range"),
    "side of a mask": (lambda: mean_shape.mean_masks(OBJECTS, 4, 0), "side=0: out of range"),
    "class of a mask": (lambda: mean_shape.mean_masks(OBJECTS, 3), r"labels\[0\]=3: out of range; allowed: 0 to 2"),
    "class of keypoints": (lambda: mean_shape.mean_keypoints(OBJECTS, 3), r"labels\[0\]=3: out of range"),
    "center": (lambda: mode_coverage(POINTS, np.full((1, 2), NAN), 1.0), r"centers\[0, 0\]=nan: not finite"),
    "no center": (lambda: mode_coverage(POINTS, POINTS[:0], 1.0), r"centers=\[0\]: none; allowed: at least 1"),
    "share of a mode": (lambda: mode_coverage(POINTS, POINTS, 1.0, 2.0), "least=2: out of range; allowed: 0 to 1"),
    "spread of a mode": (lambda: mode_coverage_evaluator(POINTS, NAN, IMAGES), "deviation=nan: out of range"),
    "frequency": (lambda: semitones(np.array([-1.0]), np.ones(1)), "frequency=-1: out of range; allowed: at least 0"),
    "reference": (lambda: semitones(np.ones(1), np.zeros(1)), "reference=0: out of range; allowed: above 0"),
    "two references": (lambda: semitones(np.ones(1), np.ones(2)), r"reference=.*\[2\]: wrong shape"),
    "rate": (lambda: pitch_evaluator(np.ones(2), NAN, IMAGES), "sample_rate=nan: out of range"),
    "tolerance": (lambda: pitch_evaluator(np.ones(2), 8, IMAGES, -1.0), "tolerance=-1: out of range"),
    "tone": (
        lambda: used(pitch_evaluator(np.ones(2), 8, IMAGES), {"waveform": np.ones((1, 4))}, label=np.array([2])),
        r"label\[0\]=2: out of range; allowed: 0 to 1",
    ),
    "organs": (lambda: surface_evaluator(1, (1, 1, 1)), "num_classes=1: out of range; allowed: at least 2"),
    "void": (lambda: surface_evaluator(2, (1, 1, 1), -1), "void_label=-1: out of range; allowed: at least 0"),
    "organ": (
        lambda: used(
            surface_evaluator(2, (1, 1, 1)),
            {"classes": np.zeros((1, 1, 1, 2), int)},
            semantic=np.array([[[[0, 2]]]]),
        ),
        r"semantic\[0, 0, 0, 1\]=2: out of range; allowed: 0 to 1, of 2 classes, or 255",
    ),
    "views": (lambda: augmented(None, "turn", {}), "kind='turn': unknown; allowed: none, flip"),
    "step of a path": (lambda: latent_distances.path_length(np.sum, IMAGES, 0.0), "step=0: out of range"),
    "latents": (lambda: paths(3), "source=3 latents: no groups of 2; allowed: multiples of 2"),
    "size of an image": (
        lambda: pasted_masks(np.zeros((1, 2, 2)), np.zeros((1, 4)), (8,)),
        r"size=.*\[1\]: wrong shape",
    ),
    "score of a pixel": (
        lambda: pasted_masks(np.full((1, 1, 1), -3.0), np.zeros((1, 4)), (8, 8)),
        r"masks\[0, 0, 0\]=-3: out of range; allowed: 0 to 1",
    ),
    "box of a mask": (
        lambda: pasted_masks(np.zeros((1, 1, 1)), np.full((1, 4), NAN), (8, 8)),
        r"boxes\[0, 0\]=nan: not finite",
    ),
    "masks of fewer boxes": (
        lambda: pasted_masks(np.zeros((1, 2, 2)), np.zeros((2, 4)), (8, 8)),
        "boxes=.*wrong shape",
    ),
    "first image": (lambda: coco_rows(OUTPUTS, TRUTH, 0.5), "first_image=0.5: no whole number"),
    "classes of boxes": (lambda: detection_errors(OUTPUTS, TRUTH, 1.5), "num_classes=1.5: no whole number"),
    "scores of fewer boxes": (
        lambda: detection_errors(OUTPUTS | {"scores": np.zeros((1, 1))}, TRUTH, 1),
        r"outputs: scores=.*\[1, 1\]: wrong shape",
    ),
    "targets of more images": (
        lambda: detection_errors(OUTPUTS, {name: np.repeat(x, 2, 0) for name, x in TRUTH.items()}, 1),
        "truth=2 images: of 1 outputs; allowed: as many",
    ),
    "share of labels": (lambda: label_counts((NAN,), 10, 2), "fine_tune=nan: no number of labels"),
    "training examples": (lambda: label_counts((2,), 10.5, 2), "size=10.5: no whole number"),
    "number of labels": (lambda: tuned(counts=(5,)), "counts=5|counts.0.=5: out of range; allowed: 1 to 4"),
    "half a label": (lambda: tuned(counts=(1.5,)), "counts=float.*: wrong shape or dtype"),
    "neighbors of features": (lambda: tuned(k=0), "k=0: out of range"),
    "supervised labels": (lambda: tuned(supervised=-1), "supervised=-1: out of range"),
    "seed of labels": (lambda: tuned(seed=NAN), "seed=nan: no whole number"),
    "steps of tuning": (lambda: Tuning(ENCODER, Recipe(steps=0), 2), "steps=0: out of range"),
    "rate of tuning": (lambda: Tuning(ENCODER, Recipe(learning_rate=-1.0), 2), "learning_rate=-1: out of range"),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=f"^({message})"):
        call()

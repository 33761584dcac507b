"""Arguments of parts of semi-supervised learning that do not fit: each is named before anything is computed."""

import jax
import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.semi_supervised.class_balance import align_distribution, class_thresholds, running_mean
from dlcore.semi_supervised.gan_classifier import area_of_low_density, density_excess, feature_distance, pull_away
from dlcore.semi_supervised.label_propagation import propagate
from dlcore.semi_supervised.mixmatch import sharpen
from dlcore.semi_supervised.noisy_labels import corrupt_labels, smallest, transition_matrix
from dlcore.semi_supervised.temporal_ensembling import correct_startup_bias, remember
from dlcore.semi_supervised.two_streams import (
    mean_squared,
    ramp_up,
    ramp_up_schedule,
    streams,
    supervised_terms,
    two_stream_learner,
)
from dlcore.semi_supervised.vat import adversarial_direction

KEY = jax.random.key(0)
TWO, THREE, PAIRS, ROWS = (np.ones(shape, np.float32) for shape in (2, 3, (3, 2), (4, 2)))
INDEX = np.arange(3)
MEMORY = {"ensemble": ROWS, "visits": np.ones(4, np.int32)}
LABELED = Source({"label": np.array([0, 2])}, name="toy")
EVEN = np.full((2, 2), 0.5)


def kept(index=INDEX, predictions=PAIRS, mask=THREE, alpha=0.6):
    return remember(MEMORY, index, predictions, mask, alpha)


CASES = {
    "mean of classes": (lambda: running_mean(THREE, PAIRS, THREE), r"values=float32\[3, 2\]: wrong shape"),
    "mask of a mean": (lambda: running_mean(TWO, PAIRS, THREE[:1]), r"mask=float32\[1\]: wrong shape"),
    "distribution": (lambda: align_distribution(PAIRS, THREE[:1]), r"mean=float32\[1\]: wrong shape"),
    "logits": (lambda: align_distribution(3 * PAIRS, TWO), r"probabilities\[0, 0\]=3: out of range"),
    "fractions": (lambda: class_thresholds(0.5, -TWO), r"confident\[0\]=-1: out of range"),
    "features": (lambda: feature_distance(PAIRS, PAIRS[:, :1], THREE), r"made=float32\[3, 1\]: wrong shape"),
    "mask of features": (lambda: pull_away(PAIRS, -THREE), r"mask\[0\]=-1: no mask"),
    "quantile": (lambda: density_excess(PAIRS, PAIRS, THREE, 1.5), "quantile=1.5: out of range; allowed: 0 to 1"),
    "too few features": (lambda: area_of_low_density(PAIRS, PAIRS), "rows=3: out of range; allowed: at least 4"),
    "no made feature": (lambda: area_of_low_density(ROWS, ROWS[:0]), "rows=0: out of range"),
    "made feature": (lambda: area_of_low_density(ROWS, ROWS * np.nan), r"made\[0, 0\]=nan: not finite"),
    "steps of a graph": (lambda: propagate(PAIRS, INDEX, max_steps=0), "max_steps=0: out of range"),
    "tolerance of a graph": (lambda: propagate(PAIRS, INDEX, tolerance=np.nan), "tolerance=nan: out of range"),
    "kernel": (lambda: propagate(PAIRS, INDEX, gamma="wide"), "gamma='wide': no number"),
    "rate": (lambda: transition_matrix(3, "high", "symmetric"), "noise_rate='high': no number"),
    "probabilities of two": (lambda: sharpen(np.ones((2, 2)), 0.5), r"p\[0\]=.*: sums to 2; allowed: probabilities"),
    "whole probabilities": (lambda: sharpen(np.eye(2, dtype=int), 0.5), "p=int32.*: no probabilities; allowed: floats"),
    "batch without labels": (lambda: supervised_terms(PAIRS, {"image": PAIRS}), r"labeled=\['image'\]: has no label"),
    "no steps": (lambda: ramp_up(1, None), "steps=None: no whole number"),
    "half a class": (lambda: transition_matrix(2.5, 0.1, "symmetric"), "num_classes=2.5: no whole number"),
    "label": (lambda: corrupt_labels(LABELED, EVEN, 0), r"label\[1\]=2: out of range; allowed: 0 to 1, of 2 classes"),
    "transition": (lambda: corrupt_labels(LABELED, 2 * EVEN, 0), r"transition\[0\]=.*: sums to 2"),
    "no label": (
        lambda: corrupt_labels(Source({"image": EVEN}, name="toy"), EVEN, 0),
        "source='toy': has no label",
    ),
    "share of examples": (lambda: smallest(THREE, THREE, 1.5), "share=1.5: out of range; allowed: 0 to 1"),
    "mask of examples": (lambda: smallest(THREE, TWO, 0.5), r"mask=float32\[2\]: wrong shape"),
    "predictions of fewer classes": (lambda: kept(predictions=PAIRS[:, :1]), r"predictions=float32\[3, 1\]: wrong"),
    "predictions of fewer rows": (lambda: kept(index=INDEX[:1]), r"index=int32\[1\]: wrong shape"),
    "share of the old": (lambda: kept(alpha=1.5), "alpha=1.5: out of range; allowed: 0 to 1"),
    "bias": (lambda: correct_startup_bias(MEMORY, INDEX, -0.5), "alpha=-0.5: out of range"),
    "step": (lambda: ramp_up(-1, 3), "step=-1: out of range; allowed: at least 0"),
    "steps": (lambda: ramp_up(1, 2.5), "steps=2.5: no whole number"),
    "weight": (lambda: ramp_up_schedule(-1.0), "weight=-1: out of range"),
    "one answer": (lambda: mean_squared(PAIRS, PAIRS[:1]), r"q=float32\[1, 2\]: wrong shape"),
    "class": (lambda: supervised_terms(PAIRS, {"label": INDEX}), r"label\[2\]=2: out of range"),
    "soft label": (lambda: supervised_terms(PAIRS, {"label": PAIRS}), r"label=float32\[3, 2\]: wrong shape"),
    "one stream": (lambda: streams({"labeled": {}}), r"batch=\['labeled'\]: no unlabeled stream"),
    "rows of a memory": (lambda: two_stream_learner(None, None, None, num_unlabeled=0), "num_unlabeled=0: out of"),
    "difference": (lambda: adversarial_direction(None, PAIRS, KEY, 0.0), "xi=0: out of range; allowed: above 0"),
    "iterations": (lambda: adversarial_direction(None, PAIRS, KEY, 0.1, 1.5), "iterations=1.5: no whole number"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_named(case):
    call, message = CASES[case]
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

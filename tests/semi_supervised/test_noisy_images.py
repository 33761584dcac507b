"""Wrong labels by their transition matrix, and what the techniques lose before they learn."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data.facts import Facts
from dlcore.data.images import Augmentation, Images, Resizing
from dlcore.data.splits import Splits
from dlcore.evaluators.accuracy_beside_cross_entropy import log_classes_of_networks
from dlcore.semi_supervised.noisy_images import NoisyImages


@pytest.fixture(scope="module")
def splits() -> Splits:
    images = Images("digits", resizing=Resizing(), augmentation=Augmentation("none"))
    return NoisyImages(images, noise="asymmetric", noise_rate=0.25).load(seed=1)


def test_a_share_of_the_training_labels_is_wrong(splits):
    """Asymmetric noise takes the next class."""
    label, hidden = (splits.train.arrays[name] for name in ("label", "hidden_label"))
    wrong = label != hidden
    assert 0.2 < wrong.mean() < 0.3
    np.testing.assert_array_equal(label[wrong], (hidden[wrong] + 1) % 10)
    assert "hidden_label" not in splits.test.arrays
    assert splits.notes[-1].startswith(f"{wrong.mean():.1%} of the {len(label):,} training labels are wrong (asymm")


def test_the_technique_knows_the_transition_of_its_data(splits):
    data = NoisyImages(Images("digits"), noise="asymmetric", noise_rate=0.25)
    transition = data.arguments(SimpleNamespace(facts=Facts.of(splits.spec), dtype=None))["transition"]
    np.testing.assert_array_equal(transition, splits.spec["transition"])
    np.testing.assert_allclose(np.diag(transition), 0.75)


@pytest.mark.parametrize(
    ("technique", "q", "expected"),
    [
        ("forward", 0.7, 2 * math.log(4)),
        ("co_teaching", 0.7, 3 * math.log(4)),
        ("generalized", 0.0, 2 * math.log(4)),
        ("generalized", 0.5, math.log(4) + 1.0),  # (1 - 4^-0.5) / 0.5
    ],
)
def test_equal_scores_lose_log_c_by_each_network(technique, q, expected):
    values = SimpleNamespace(keywords={"technique": technique, "q": q})
    run = SimpleNamespace(parts=SimpleNamespace(technique=values), facts=SimpleNamespace(num_classes=4))
    assert log_classes_of_networks(run) == pytest.approx(expected)

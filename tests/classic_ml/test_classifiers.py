"""One interface: every classifier learns, answers new images with labels it has seen, and says what it cannot take."""

import inspect

import chex
import numpy as np
import pytest

from dlcore.classic_ml.classifiers import CLASSIFIERS
from dlcore.data.digits import digits


@pytest.mark.slow(unless=["nearest neighbor, L1", "nearest neighbor, L2", "Gaussian naive Bayes"])
@pytest.mark.covers("DD-01")
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_collect_train_and_evaluate_on_new_images(name):
    """Labels are 10 and 17, types and shapes those of the data; zeros and ones are told apart."""
    classifier = CLASSIFIERS[name]
    train, test = (digits(split).arrays for split in ("train", "test"))
    two, new = train["label"] < 2, test["label"] < 2
    images, labels = train["image"][two], 10 + 7 * train["label"][two]
    names = inspect.signature(classifier.train).parameters
    model = classifier.train(images, labels, **({"steps": 200} if "batch_size" in names else {}))
    answers = classifier.predict(model, test["image"][new])
    chex.assert_shape(answers, (new.sum(),))
    assert answers.dtype == labels.dtype
    assert set(answers) == {10, 17}
    assert (answers == 10 + 7 * test["label"][new]).mean() > 0.85
    np.testing.assert_array_equal(classifier.predict(model, test["image"][new][:3]), answers[:3])
    with pytest.raises(ValueError, match="4 numbers per example; allowed: 64, as in training"):
        classifier.predict(model, np.zeros((1, 2, 2, 1)))
    with pytest.raises(ValueError, match="labels="):
        classifier.train(images, labels[:-1])


def test_classifiers_have_the_settings_of_their_names():
    assert {name: classifier.train.keywords for name, classifier in CLASSIFIERS.items()} == {
        "nearest neighbor, L1": {"metric": "l1"},
        "nearest neighbor, L2": {"metric": "l2"},
        "nearest neighbor, cosine": {"metric": "cosine"},
        "Gaussian naive Bayes": {"smoothing": 0.01},
        "perceptron": {},
        "softmax": {"loss": "softmax"},
        "logistic, one against rest": {"loss": "logistic"},
        "logistic, by Newton": {},
        "hinge": {"loss": "hinge", "learning_rate": 0.02},
        "squared hinge, one against rest": {"loss": "squared_hinge", "learning_rate": 0.01},
        "support vectors, RBF kernel": {},
        "two layers": {"hidden": (100,)},
        "three layers": {"hidden": (100, 100)},
    }

"""Outliers by density: the threshold, the area under the ROC, and noise among digits."""

import numpy as np
import pytest

from dlcore.classic_ml.density import Prior, gaussian_log_density, gaussian_map, kernel_log_density
from dlcore.classic_ml.outlier import auroc, is_outlier, rejection_threshold
from dlcore.data.digits import digits


@pytest.mark.slow
@pytest.mark.covers("DD-29")
def test_digits_against_noise():
    train, test = (digits(s).arrays["image"].reshape(-1, 64) for s in ("train", "test"))
    noise = np.random.default_rng(0).uniform(size=(300, 64)).astype(np.float32)
    fit, held_out = train[:1000], train[1000:]
    found = {"kernels": lambda x: kernel_log_density(x, fit, 0.3)}
    prior = Prior(fit.mean(0), 0.0, 0.01 * len(fit) * np.eye(64), 64.0)  # some pixels never change
    gaussian = gaussian_map(fit, prior)
    found["Gaussian"] = lambda x: gaussian_log_density(x, gaussian)
    for name, density in found.items():
        usual, strange = np.asarray(density(test)), np.asarray(density(noise))
        assert auroc(usual, strange) > 0.9, name
        threshold = rejection_threshold(density(held_out), 0.05)
        assert is_outlier(density(held_out), threshold).mean() <= 0.05
        assert is_outlier(usual, threshold).mean() < 0.3  # other writers
    assert is_outlier(found["kernels"](noise), rejection_threshold(found["kernels"](held_out))).mean() > 0.9


@pytest.mark.covers("DD-29")
def test_auroc_by_hand_and_as_scikit_learn():
    from sklearn.metrics import roc_auc_score

    # 3 > 1, 3 > 2, 2 > 1, 2 = 2: 3.5 of 4
    assert auroc([3, 2], [1, 2]) == 3.5 / 4
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 40), rng.integers(2, 12, 30)
    assert auroc(a, b) == pytest.approx(roc_auc_score([1] * 40 + [0] * 30, np.concatenate([a, b])))


@pytest.mark.covers("DD-29")
def test_the_threshold_by_hand():
    scores = np.arange(100.0)
    assert rejection_threshold(scores, 0.05) == 4  # 4 of 100 lie below, 5 would be 5 %
    assert is_outlier(scores, 4).sum() == 4
    assert rejection_threshold(scores, 0.0) == 0


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"outliers.shape=\(0,\)"):
        auroc([1.0], [])

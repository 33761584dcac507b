"""The Parzen-window estimate of one sample, and of a mixture, by hand."""

import numpy as np
from scipy.stats import norm

from experiments.papers.parzen import BANDWIDTHS, parzen_nats


def test_one_sample_is_a_gaussian_of_the_bandwidth_that_fits_the_validation_points():
    sample, valid = np.zeros((1, 4), np.float32), np.full((2, 4), 0.3, np.float32)
    test = np.array([[0.1, 0.0, -0.2, 0.3]], np.float32)
    width = max(BANDWIDTHS, key=lambda width: norm.logpdf(0.3, 0, width))
    assert width not in BANDWIDTHS[[0, -1]]
    np.testing.assert_allclose(parzen_nats(sample, valid, test), norm.logpdf(test, 0, width).sum(), rtol=1e-5)


def test_samples_count_alike():
    samples = np.array([[0.0], [1.0]], np.float32)
    density = np.mean([norm.pdf(0.25, center, BANDWIDTHS[0]) for center in (0.0, 1.0)])
    np.testing.assert_allclose(
        parzen_nats(samples, samples, np.array([[0.25]], np.float32)), np.log(density), rtol=1e-5
    )

"""Code lengths by hand, PCA's error against its eigenvalues, JPEG's segment, and prototypes that vote."""

import io

import numpy as np
import pytest

from dlcore.classic_ml.compression import dropped_variance, jpeg_code, level_bits, pca_code, prototype_accuracy
from dlcore.classic_ml.pca import fit_svd


def test_a_level_costs_the_logarithm_of_its_share():
    """Training levels 0 0 1 count 2 and 1, and level 2 of the test 0; plus one each, of 6: 3/6, 2/6, 1/6."""
    bits = level_bits(np.array([[0], [1], [2]]), np.array([[0], [0], [1]]))
    np.testing.assert_allclose(bits, np.log2([2, 3, 6]))
    # Columns add up: 1 bit of the first, log2 2 of the second, where 5 and 6 are as frequent.
    np.testing.assert_allclose(level_bits(np.array([[0, 5]]), np.array([[0, 5], [-1, 6]])), [2.0])


@pytest.mark.covers("DD-33")
def test_the_error_of_pca_falls_and_is_the_sum_of_the_dropped_eigenvalues():
    x = np.random.default_rng(0).normal(size=(40, 6)) @ np.diag([5.0, 3, 2, 1, 0.5, 0.1])
    pca = fit_svd(x)
    left = dropped_variance(pca.variance, x.var(0).sum())
    assert (np.diff(left) < 0).all()
    for k in range(1, 7):
        decoded, _ = pca_code(pca, x, x, k, 1e-3)
        assert np.square(decoded - x).sum(1).mean() == pytest.approx(left[k], rel=1e-3, abs=1e-6)
    # Rounding by 0.1 adds 0.1^2 / 12 a coefficient, within sampling error.
    decoded, bits = pca_code(pca, x, x, 6, 0.1)
    assert np.square(decoded - x).sum(1).mean() == pytest.approx(6 * 0.01 / 12, rel=0.2)
    assert (pca_code(pca, x, x, 6, 1.0)[1] < bits).all()


@pytest.mark.covers("DD-33")
def test_the_bits_of_jpeg_are_those_of_its_segment():
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    decoded, bits = jpeg_code(image, 50)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=50)
    tail = buffer.getvalue().split(b"\xff\xda")[1]
    assert bits == 8 * (len(tail) - tail[1] - 2)  # after the scan's header, whose length it says; the end marker is 2
    np.testing.assert_array_equal(decoded, np.asarray(Image.open(buffer)))
    assert jpeg_code(image, 10)[1] < bits
    flat = jpeg_code(np.full((16, 16, 3), 77, np.uint8), 50)
    assert flat[1] < 100
    assert np.abs(flat[0].astype(int) - 77).max() <= 2
    gray, best = jpeg_code(np.full((8, 16), 77, np.uint8), 95)
    assert gray.shape == (8, 16)
    assert np.abs(gray.astype(int) - 77).max() <= 1
    assert best > 0
    assert jpeg_code(image, 1)[1] < jpeg_code(image, 10)[1]


@pytest.mark.covers("DD-33")
def test_prototypes_classify_by_the_majority_of_their_examples():
    """The prototype at 0 has labels 0 0 1, that at 10 label 1, and that at 100 none: it is never asked."""
    prototypes = np.array([[0.0], [10], [100]])
    train, labels = np.array([[0.0], [1], [2], [9]]), np.array([0, 0, 1, 1])
    test, truth = np.array([[1.0], [3], [11], [99]]), np.array([0, 1, 1, 1])
    assert prototype_accuracy(prototypes, train, labels, test, truth) == 0.75  # 3 is read as 0


def test_bad_input_is_refused():
    x = np.random.default_rng(0).normal(size=(5, 3))
    with pytest.raises(ValueError, match=r"num_components=4: out of range; allowed: 1..3"):
        pca_code(fit_svd(x), x, x, 4, 0.1)


def test_prototypes_of_two_far_groups_keep_their_own():
    """Corners of unit squares at -1e4 and 1e4: each corner is a label."""
    corners = np.array([[far + i, j] for far in (-1e4, 1e4) for i in (0, 1) for j in (0, 1)])
    x = (corners[:, None] + np.random.default_rng(0).normal(0, 0.1, (8, 10, 2))).reshape(-1, 2).astype(np.float32)
    label = np.repeat(np.arange(8), 10)
    assert prototype_accuracy(corners.astype(np.float32), x, label, x, label) == 1.0

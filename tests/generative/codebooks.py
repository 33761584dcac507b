"""What tests of quantized autoencoders ask of a new codebook."""

import numpy as np


def assert_codes_are_encodings(vectors, encodings):
    """The three codes, of one number each, are outputs of the encoder without a repetition."""
    assert vectors.shape == (3, 1)
    assert np.abs(vectors - np.ravel(encodings)).min(1).max() < 1e-6
    assert len(set(vectors[:, 0])) == 3


def assert_codes_average_and_restart(book, z, sums, counts, restart_below):
    """Codes are means of their outputs; below a share of the mean count they are one of z [N] with that count."""
    is_dead = counts < restart_below * counts.mean()
    assert is_dead.any()
    assert not is_dead.all()
    np.testing.assert_allclose(book.counts, np.where(is_dead, counts.mean(), counts), rtol=1e-5)
    np.testing.assert_allclose(book.vectors[~is_dead, 0], (sums / counts)[~is_dead], rtol=1e-5, atol=1e-6)
    assert np.isclose(book.vectors[is_dead], np.ravel(z), rtol=1e-5).any(1).all()

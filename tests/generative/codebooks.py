"""What tests of quantized autoencoders ask of a new codebook."""

import numpy as np


def assert_codes_are_encodings(vectors, encodings):
    """The three codes, of one number each, are outputs of the encoder without a repetition."""
    assert vectors.shape == (3, 1)
    assert np.abs(vectors - np.ravel(encodings)).min(1).max() < 1e-6
    assert len(set(vectors[:, 0])) == 3

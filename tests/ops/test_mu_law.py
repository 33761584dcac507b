"""Mu-law codes by hand, and their error."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops import mu_law_decode, mu_law_encode


@pytest.mark.covers("GE-31")
def test_codes_by_hand():
    """Four levels, mu = 3: f(x) = log(1 + 3 |x|) / log 4. f(1/3) = 1/2, so that (f + 1) / 2 * 3 = 2.25 and the code is
    2; f(-1/3) = -1/2 gives 0.75, code 1; the ends are 0 and 3. Codes 1 and 2 stand for f = -1/3 and 1/3, which is
    (4^(1/3) - 1) / 3 = 0.1958."""
    np.testing.assert_array_equal(mu_law_encode(jnp.array([-1.0, -1 / 3, 1 / 3, 1.0, 7.0]), 4), [0, 1, 2, 3, 3])
    quiet = (4 ** (1 / 3) - 1) / 3
    np.testing.assert_allclose(mu_law_decode(jnp.arange(4), 4), [-1, -quiet, quiet, 1], rtol=1e-6)


@pytest.mark.covers("GE-31")
def test_encoding_undoes_decoding_and_steps_grow_with_loudness():
    codes = jnp.arange(256)
    waveform = np.asarray(mu_law_decode(codes))
    np.testing.assert_array_equal(mu_law_encode(waveform), codes)
    steps = np.diff(waveform)[128:]
    assert (np.diff(steps) > 0).all()
    # From code to code 1 + mu |x| grows by 256^(2 / 255): the last step is (256 - 256^(253 / 255)) / 255.
    assert steps[-1] == pytest.approx((256 - 256 ** (253 / 255)) / 255, rel=1e-4)


def test_waveforms_and_codes_that_are_none_are_refused():
    for wrong, message in (
        (np.ones(2, np.int32), r"waveform.dtype=int32: not in \[-1, 1\]; allowed: floating dtypes"),
    ):
        with pytest.raises(ValueError, match=message):
            mu_law_encode(wrong)

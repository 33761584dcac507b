"""Tones: their pitch, their harmonics, and that a tone does not depend on how many are drawn."""

import numpy as np
import pytest

from dlcore.data.tones import PITCHES, pitch_frequency, tones


@pytest.mark.covers("GE-31")
def test_the_pitches_are_an_octave_in_equal_temperament():
    """A4 is 440 Hz, twelve semitones above A3; C4, three above A3, is middle C, 261.626 Hz."""
    np.testing.assert_allclose(pitch_frequency([0, 3, 12]), [220, 261.626, 440], atol=1e-3)
    assert PITCHES[3] == "C4"


@pytest.mark.covers("GE-31")
def test_the_energy_of_a_tone_lies_at_multiples_of_its_pitch():
    source = tones(12, seed=3, length=4000, noise=0.0, detune=0.0)
    spectra = np.square(np.abs(np.fft.rfft(source.arrays["waveform"] * np.hanning(4000))))  # a bin a Hz
    for label, spectrum in zip(source.arrays["label"], spectra, strict=True):
        partials = np.rint(pitch_frequency(label) * np.arange(1, 5)).astype(int)
        near = np.unique(partials[:, None] + np.arange(-15, 16))
        assert spectrum[near].sum() > 0.98 * spectrum.sum()
        assert abs(spectrum.argmax() - partials[0]) <= 1


def test_a_tone_is_the_same_whatever_the_number_and_differs_by_seed():
    few, many, other = tones(2, 5).arrays["waveform"], tones(4, 5).arrays["waveform"], tones(2, 6).arrays["waveform"]
    np.testing.assert_array_equal(few, many[:2])
    assert np.abs(few - other).max() > 0.1
    assert np.abs(many).max() <= 1
    np.testing.assert_array_equal(tones(14, 0).arrays["label"][[0, 11, 12]], [0, 11, 0])


@pytest.mark.parametrize(("wrong", "message"), [({"count": 0}, "count=0")])
def test_bad_numbers_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        tones(**wrong)

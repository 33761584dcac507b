"""Vowels: the resonator by its transfer function, the pulses by their period, and formants by the spectrum."""

import numpy as np
import pytest
from scipy.linalg import solve_toeplitz

from dlcore.data.vowels import BANDWIDTHS, FORMANTS, VOWELS, glottal_pulses, resonate, vowels

RATE = 8000


def formants_of(waveform, order=10):
    """Frequencies of the roots of a linear prediction, [order / 2], the lowest first; the oracle of formants."""
    x = np.append(waveform[0], np.diff(waveform)) * np.hanning(len(waveform))
    correlation = np.correlate(x, x, "full")[len(x) - 1 :][: order + 1]
    roots = np.roots([1, *-solve_toeplitz(correlation[:-1], correlation[1:])])
    narrow = roots[(roots.imag > 0) & (-np.log(np.abs(roots)) * RATE / np.pi < 400)]
    return np.sort(np.angle(narrow) * RATE / (2 * np.pi))


@pytest.mark.covers("GE-31")
def test_a_formant_has_its_frequency_bandwidth_and_gain():
    """1,000 Hz, 60 Hz wide: the peak of the impulse's spectrum, half its power 30 Hz beside it, and gain 1 at 0 Hz."""
    impulse = np.zeros(RATE)
    impulse[0] = 1
    power = np.square(np.abs(np.fft.rfft(resonate(impulse, 1000, 60, RATE))))  # a bin a Hz
    assert abs(power.argmax() - 1000) <= 1
    np.testing.assert_allclose(power[[970, 1030]] / power[1000], 0.5, rtol=0.04)
    np.testing.assert_allclose(power[0], 1, rtol=1e-6)


def test_a_resonance_may_be_narrow_and_at_0_hz():
    """A pole at 0 Hz of radius r: y = (1 - r)^2 x + 2 r y' - r^2 y'', 1/2 Hz wide."""
    radius = np.exp(-np.pi * 0.5 / RATE)
    found = resonate(np.array([1.0, 0, 0]), 0, 0.5, RATE)
    np.testing.assert_allclose(found, (1 - radius) ** 2 * np.array([1, 2 * radius, 3 * radius**2]), rtol=1e-6)


def test_pulses_repeat_at_the_pitch_and_end_in_their_sharpest_edge():
    """100 Hz at 8,000 samples: 80 samples a period, which sum to zero; the flow falls fastest at 0.56 of a period.

    That is 44.8 samples, so that sample 43 is the last one that the flow falls through."""
    pulses = glottal_pulses(np.full(800, 100.0), RATE)
    np.testing.assert_allclose(pulses[:80], pulses[80:160], atol=1e-9)
    np.testing.assert_allclose(pulses[:80].sum(), 0, atol=1e-9)
    assert pulses[:80].argmin() == 43
    assert not pulses[45:80].any(), "the folds are closed"


@pytest.mark.covers("GE-31")
@pytest.mark.parametrize("vowel", VOWELS)
def test_the_spectrum_of_a_vowel_has_its_formants(vowel):
    pulses = glottal_pulses(np.full(RATE, 100.0), RATE)
    for frequency, bandwidth in zip(FORMANTS[vowel], BANDWIDTHS, strict=True):
        pulses = resonate(pulses, frequency, bandwidth, RATE)
    # Without the resonances, the source's own slope is the rest.
    found = formants_of(pulses)
    for frequency in FORMANTS[vowel]:
        assert np.abs(found - frequency).min() < max(0.08 * frequency, 40), (vowel, found)


@pytest.mark.covers("GE-31")
def test_the_class_is_the_first_two_formants_whatever_the_pitch():
    """The nearest class by the logarithms of two formants: 8 % of the vocal tract confuses neighbors, others not."""
    source = vowels(100, seed=1, length=2048)
    table = np.log([FORMANTS[name][:2] for name in VOWELS])
    right = 0
    for waveform, label in zip(source.arrays["waveform"], source.arrays["label"], strict=True):
        found = formants_of(waveform.astype(np.float64))
        found = found[found > 150][:2]
        right += len(found) == 2 and np.square(table - np.log(found)).sum(1).argmin() == label
    assert right > 50, "10 would be chance"


def test_a_vowel_is_the_same_whatever_the_number_and_differs_by_seed():
    few, many, other = (vowels(n, s).arrays["waveform"] for n, s in ((2, 5), (4, 5), (2, 6)))
    np.testing.assert_array_equal(few, many[:2])
    assert np.abs(few - other).max() > 0.1
    assert np.abs(many).max() <= 0.9
    np.testing.assert_array_equal(vowels(12, 0, length=8).arrays["label"][[0, 9, 10, 11]], [0, 9, 0, 1])


@pytest.mark.parametrize(("function", "message"), [(lambda: vowels(0), "count=0")])
def test_bad_numbers_are_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()

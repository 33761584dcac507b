"""The pitch of sines, known exactly, and the share of tones that have theirs."""

import numpy as np
import pytest

from dlcore.data.tones import pitch_frequency, tones
from dlcore.evaluators.pitch import pitch_evaluator, semitones, spectral_pitch

RATE = 4000


@pytest.mark.covers("GE-31")
def test_the_pitch_of_a_sine_is_found_between_the_bins_of_its_spectrum():
    """512 samples have bins of 7.8 Hz; a semitone at 220 Hz is 13 Hz."""
    frequencies = np.linspace(200, 800, 61) + 0.37
    time = np.arange(512) / RATE
    sines = np.sin(2 * np.pi * frequencies[:, None] * time + 1.0)
    np.testing.assert_allclose(spectral_pitch(sines, RATE), frequencies, atol=0.05)  # a tenth of a padded bin
    np.testing.assert_array_equal(spectral_pitch(np.zeros((2, 512)), RATE), 0)
    assert spectral_pitch(0.9 + sines, RATE) == pytest.approx(spectral_pitch(sines, RATE)), "a constant has no pitch"


def test_semitones_by_hand():
    """An octave is 12, a fifth of 3 / 2 is 12 log2(1.5) = 7.01955."""
    np.testing.assert_allclose(semitones([440, 330, 0], [220, 220, 220]), [12, 7.01955, -np.inf], rtol=1e-5)


@pytest.mark.covers("GE-31")
def test_real_tones_have_their_pitch_and_no_other():
    source = tones(48, seed=1, detune=0.3)
    rows, frequencies = {"label": source.arrays["label"]}, pitch_frequency(np.arange(12))

    def measured(labels):
        evaluator = pitch_evaluator(frequencies, RATE, source)
        outputs = {"waveform": source.arrays["waveform"]}
        halves = [
            ({"waveform": outputs["waveform"][part]}, {"label": labels[part]}) for part in (slice(24), slice(24, 48))
        ]
        acc = None
        for out, row in halves:
            acc = evaluator.add(acc, out, row)
        return evaluator.finish(acc)

    right, next_one = measured(rows["label"]), measured((rows["label"] + 1) % 12)
    assert right["pitch_accuracy"] == 1
    assert right["pitch_error"] < 0.3
    assert next_one["pitch_accuracy"] == 0, "labels moved by a semitone"


def test_two_samples_are_no_sound():
    with pytest.raises(ValueError, match="waveform has 2 samples; allowed: at least 3"):
        spectral_pitch(np.zeros(2), RATE)
    assert spectral_pitch(np.zeros(3), RATE) == 0


def test_a_tone_within_the_tolerance_is_right_and_the_middle_deviation_is_reported():
    """Sines 0.2, 1.2 and 3 semitones above the tones of their labels, 400 and 500 Hz: two of three are within 2."""
    label, above = np.array([1, 0, 1]), np.array([0.2, 1.2, 3.0])
    hertz = np.array([400.0, 500.0])[label] * 2 ** (above / 12)
    sines = np.sin(2 * np.pi * hertz[:, None] * np.arange(512) / RATE)
    for tolerance, share in ((2.0, 2 / 3), (0.5, 1 / 3), (0.1, 0)):
        evaluator = pitch_evaluator([400.0, 500.0], RATE, "source", tolerance, "sound")
        found = evaluator.finish(evaluator.add(None, {"sound": sines}, {"label": label}))
        assert tuple(found) == evaluator.names
        assert found["pitch_accuracy"] == pytest.approx(share)
        assert found["pitch_error"] == pytest.approx(1.2, abs=0.05)
    assert evaluator.source == "source"

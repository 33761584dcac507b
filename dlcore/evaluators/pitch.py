"""The pitch of sounds by their spectrum, and the accuracy of the pitch of generated tones."""

import numpy as np

from dlcore.choices import check_choice
from dlcore.learner import Evaluator
from dlcore.ops.checks import check_class_ids, check_finite, check_shapes

__all__ = ["pitch_evaluator", "semitones", "spectral_pitch"]

_PADDING = 16
"""Factor of zero-padding before the Fourier transform."""


def spectral_pitch(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Compute the frequency of the highest spectral peak, with a Hann window.

    This is the pitch of sounds whose fundamental is their strongest partial. The spectrum of the zero-padded sound is
    interpolated by a parabola through the peak and its neighbors, in decibels.

    Args:
      waveform: [..., T].
      sample_rate: samples per second.

    Returns:
      [...] Hz; 0 for silence.
    """
    waveform = np.asarray(waveform, np.float64)
    length = waveform.shape[-1] if waveform.ndim else 0
    if length < 3:
        raise ValueError(f"waveform has {length} samples; allowed: at least 3")
    check_finite("waveform", waveform)
    check_shapes(sample_rate=(sample_rate, "> 0"))
    centered = waveform - waveform.mean(-1, keepdims=True)
    size = _PADDING * length
    magnitude = np.abs(np.fft.rfft(centered * np.hanning(length), size))
    peak = magnitude[..., 1:-1].argmax(-1) + 1
    neighbors = np.take_along_axis(magnitude, peak[..., None] + np.array([-1, 0, 1]), -1)
    left, middle, right = np.moveaxis(np.log(np.maximum(neighbors, 1e-300)), -1, 0)
    bend = left - 2 * middle + right
    offset = np.where(bend < 0, (left - right) / (2 * np.where(bend < 0, bend, -1)), 0)
    return np.where(magnitude.max(-1) > 0, (peak + np.clip(offset, -0.5, 0.5)) * sample_rate / size, 0)


def semitones(frequency: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Compute the interval between two frequencies.

    Args:
      frequency: [...] Hz; 0 stands for no pitch.
      reference: [...] Hz, positive.

    Returns:
      [...] semitones, 12 per octave, positive above the reference; -inf for no pitch.
    """
    check_shapes(frequency=(frequency, "... >= 0"), reference=(reference, "... > 0"))
    with np.errstate(divide="ignore"):
        return 12 * np.log2(np.asarray(frequency) / reference)


def pitch_evaluator(
    frequencies: np.ndarray, sample_rate: int, source: object, tolerance: float = 0.5, name: str = "waveform"
) -> Evaluator:
    """Build the evaluator of the fraction of generated tones with the requested pitch.

    Args:
      frequencies: [K] Hz, frequency of each class.
      sample_rate: samples per second.
      source: inputs of `predict`, with the requested `label: [N]`.
      tolerance: largest deviation, in semitones.
      name: name of the waveforms [B, T] among the outputs of `predict`.

    Returns:
      The evaluator of `pitch_accuracy`, and of `pitch_error`, the median absolute deviation in semitones.
    """
    check_shapes(frequencies=(frequencies, "... > 0"), sample_rate=(sample_rate, "> 0"), tolerance=(tolerance, ">= 0"))
    frequencies = np.asarray(frequencies)

    def add(acc, outputs, rows):
        check_choice("name", name, outputs)
        check_class_ids("label", rows["label"], len(frequencies))
        pitch = spectral_pitch(outputs[name], sample_rate)
        return [*(acc or []), np.abs(semitones(pitch, frequencies[np.asarray(rows["label"])]))]

    def finish(acc):
        error = np.concatenate(acc)
        return {"pitch_accuracy": float((error <= tolerance).mean()), "pitch_error": float(np.median(error))}

    return Evaluator(add, finish, source, ("pitch_accuracy", "pitch_error"))

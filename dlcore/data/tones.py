"""Short synthetic tones of the twelve semitones of an octave.

    x(t) = a min(1, t / attack) exp(-t / decay) sum_h b_h sin(2 pi h f t + phase_h) + noise,   h = 1, ..., 4

The pitch f is the class, from A3 (220 Hz) to G#4 (415 Hz). The loudness a, the decay, the overtones' amplitudes b_h,
the phases and a detuning of up to a tenth of a semitone are drawn for each tone; the attack lasts 10 ms.
"""

import numpy as np

from dlcore.data.source import Source, whole_numbers
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["PITCHES", "pitch_frequency", "tones"]

PITCHES = ("A3", "A#3", "B3", "C4", "C#4", "D4", "D#4", "E4", "F4", "F#4", "G4", "G#4")
"""Names of the classes."""

_A3 = 220.0
_HARMONICS = np.arange(1, 5)


def pitch_frequency(label: np.ndarray | int) -> np.ndarray:
    """Compute the frequency of a class, in equal temperament.

    Args:
      label: [...] int, index into PITCHES.

    Returns:
      Frequency [...] in Hz.
    """
    return _A3 * 2.0 ** (np.asarray(label) / 12)


@whole_numbers
def tones(
    count: int, seed: int = 0, *, length: int = 512, sample_rate: int = 4000, noise: float = 0.004, detune: float = 0.1
) -> Source:
    """Draw tones; tone i has the class i % 12.

    Args:
      count: N, number of tones.
      seed: tone i of a seed is the same whatever `count`.
      length: T, samples of a tone.
      sample_rate: samples per second (Hz), at least twice the highest frequency of the fourth harmonic (Nyquist).
      noise: standard deviation of the noise.
      detune: largest deviation from the class's pitch, in semitones.

    Returns:
      A source of `waveform: [N, T] float32 in [-1, 1]` and `label: [N] int32`, an index into PITCHES.
    """
    check_shapes(count=(count, ">= 1"), length=(length, ">= 1"))
    highest = 2 * _HARMONICS[-1] * float(pitch_frequency(len(PITCHES)))
    if sample_rate < highest:
        raise ValueError(f"sample_rate={sample_rate}: too low; allowed: at least {highest:.0f}")
    check_finite("noise, detune", (noise, detune))
    check_shapes(noise=(noise, ">= 0"), detune=(detune, ">= 0"))
    label = (np.arange(count) % len(PITCHES)).astype(np.int32)
    time = np.arange(length) / sample_rate
    waveform = np.zeros((count, length), np.float32)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        frequency = pitch_frequency(label[i]) * 2.0 ** (detune * rng.uniform(-1, 1) / 12)
        loudness, decay = rng.uniform(0.3, 0.9), rng.uniform(0.05, 0.3)
        amplitudes = np.append(1.0, rng.uniform(0, 0.5, 3)) / _HARMONICS
        phases = rng.uniform(0, 2 * np.pi, len(_HARMONICS))
        partials = np.sin(2 * np.pi * frequency * time[:, None] * _HARMONICS + phases) @ amplitudes
        envelope = loudness * np.minimum(1, time / 0.01) * np.exp(-time / decay)
        waveform[i] = envelope * partials / amplitudes.sum() + noise * rng.normal(size=length)
    return Source({"waveform": np.clip(waveform, -1, 1), "label": label}, count, class_names=PITCHES, name="tones")

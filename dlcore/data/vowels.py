"""Short synthetic vowels of speech: pulses of the vocal folds through the resonances of the vocal tract.

    pulses      glottal flow of each period, 3 (t / T_o)^2 - 2 (t / T_o)^3 while it opens, 1 - (t / T_c)^2 while it
                closes, its derivative the source (Rosenberg 1971, doi:10.1121/1.1912389)
    formant     y(t) = (1 - b - c) x(t) + b y(t - 1) + c y(t - 2),   b = 2 e^(-pi B / r) cos(2 pi F / r),
                c = -e^(-2 pi B / r), for a formant of frequency F and bandwidth B at r samples per second
                (Klatt 1980, doi:10.1121/1.383940); three in cascade, which are the vowel

Formants are the averages of 33 men of Peterson & Barney 1952, doi:10.1121/1.1906875. The pitch, 90 to 220 Hz, its glide
by up to a tenth, the length of the vocal tract, which scales all formants by up to 8 %, the loudness and the breath are
drawn for each vowel. So the class is in the shape of the spectrum, and neither in the pitch nor in any one partial.
"""

import numpy as np

from dlcore.data.source import Source, whole_numbers
from dlcore.ops.checks import check_shapes

__all__ = ["BANDWIDTHS", "FORMANTS", "VOWELS", "glottal_pulses", "resonate", "vowels"]

FORMANTS = {
    "heed": (270, 2290, 3010),
    "hid": (390, 1990, 2550),
    "head": (530, 1840, 2480),
    "had": (660, 1720, 2410),
    "hod": (730, 1090, 2440),
    "hawed": (570, 840, 2410),
    "hood": (440, 1020, 2240),
    "who'd": (300, 870, 2240),
    "hud": (640, 1190, 2390),
    "heard": (490, 1350, 1690),
}
"""Word with the vowel -> its first three formants in Hz."""
VOWELS = tuple(FORMANTS)
"""Names of the classes."""
BANDWIDTHS = (60.0, 90.0, 150.0)
"""Bandwidths of the formants, in Hz."""

_OPENING, _CLOSING = 0.4, 0.16
"""Shares of a period in which the glottis opens and closes."""
_TRACT = 0.08
_PITCH = (90.0, 220.0)
_ATTACK = 0.01


@whole_numbers
def glottal_pulses(pitch: np.ndarray, sample_rate: int, phase: float = 0.0) -> np.ndarray:
    """Compute the derivative of the flow through the vocal folds.

    Args:
      pitch: [T] Hz, at each sample.
      sample_rate: samples per second.
      phase: of the first sample, in periods.

    Returns:
      [T], of mean zero over a period.
    """
    check_shapes(pitch=(pitch, "T"), phase=(phase, "finite"))
    pitch = np.asarray(pitch, np.float64)
    if not ((pitch > 0) & (pitch < sample_rate / 2)).all():
        raise ValueError(f"pitch={pitch.min():g} to {pitch.max():g}: out of range; allowed: 0 to {sample_rate / 2:g}")
    # Position within a period before each sample and after it: the flow's difference has no alias of its edges' height.
    edges = phase + np.append(0, np.cumsum(pitch)) / sample_rate

    def flow(position: np.ndarray) -> np.ndarray:
        u = position % 1
        opening, closing = u / _OPENING, (u - _OPENING) / _CLOSING
        return np.where(u < _OPENING, opening**2 * (3 - 2 * opening), np.maximum(0, 1 - closing**2))

    return np.diff(flow(edges)) * sample_rate / pitch


@whole_numbers
def resonate(waveform: np.ndarray, frequency: float, bandwidth: float, sample_rate: int) -> np.ndarray:
    """Filter a sound by one formant, a resonance of gain 1 at 0 Hz.

    Args:
      waveform: [..., T].
      frequency: of the resonance in Hz, below half the sample rate.
      bandwidth: of the resonance in Hz, positive.
      sample_rate: samples per second.

    Returns:
      [..., T].
    """
    if not 0 <= frequency < sample_rate / 2:
        raise ValueError(f"{frequency=}: out of range; allowed: 0 to {sample_rate / 2:g}, half the sample rate")
    if not 0 < bandwidth < np.inf:
        raise ValueError(f"bandwidth={bandwidth}: out of range; allowed: above 0")
    from scipy.signal import lfilter

    radius = np.exp(-np.pi * bandwidth / sample_rate)
    b, c = 2 * radius * np.cos(2 * np.pi * frequency / sample_rate), -(radius**2)
    return np.asarray(lfilter([1 - b - c], [1, -b, -c], waveform))


@whole_numbers
def vowels(count: int, seed: int = 0, *, length: int = 1024, sample_rate: int = 8000, breath: float = 0.02) -> Source:
    """Draw vowels; vowel i has the class i % 10.

    Args:
      count: N, number of vowels.
      seed: vowel i of a seed is the same whatever `count`.
      length: T, samples of a vowel.
      sample_rate: samples per second (Hz), more than twice the highest formant of the shortest vocal tract.
      breath: standard deviation of the noise among the pulses, whose largest is 1.

    Returns:
      A source of `waveform: [N, T] float32 in [-1, 1]` and `label: [N] int32`, an index into VOWELS.
    """
    check_shapes(count=(count, ">= 1"), length=(length, ">= 1"))
    lowest = 2 * (1 + _TRACT) * max(map(max, FORMANTS.values()))
    if not lowest < sample_rate < np.inf:
        raise ValueError(f"sample_rate={sample_rate}: too low; allowed: above {lowest:.0f}")
    if not 0 <= breath < np.inf:
        raise ValueError(f"breath={breath}: out of range; allowed: at least 0")
    label = (np.arange(count) % len(VOWELS)).astype(np.int32)
    time = np.arange(length) / sample_rate
    waveform = np.zeros((count, length), np.float32)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        glide = 1 + rng.uniform(-0.1, 0.1) * np.linspace(0, 1, length)
        pulses = glottal_pulses(np.exp(rng.uniform(*np.log(_PITCH))) * glide, sample_rate, rng.random())
        tract, loudness = 1 + rng.uniform(-_TRACT, _TRACT), rng.uniform(0.3, 0.9)
        sound = pulses / max(np.abs(pulses).max(), 1e-9) + breath * rng.normal(size=length)
        for frequency, bandwidth in zip(FORMANTS[VOWELS[label[i]]], BANDWIDTHS, strict=True):
            sound = resonate(sound, tract * frequency, bandwidth, sample_rate)
        sound *= np.minimum(1, time / _ATTACK)
        waveform[i] = loudness * sound / max(np.abs(sound).max(), 1e-9)
    return Source({"waveform": waveform, "label": label}, count, class_names=VOWELS, name="vowels")

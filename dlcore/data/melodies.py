"""Random melodies in a text notation, and their waveforms.

    CDEF|G2E2|CDEF|G2E2|FEDC|D2G2|CDEF|G2C2.

A letter is a note of the C major scale (c is an octave above C), and a number after it is its length in beats. The mark
| ends a bar of four beats, and a full stop ends the melody. The form is A A B A: two bars, the same two again, two
other bars, and the first bar again with an ending on C. Notes move by small steps of the scale.
"""

import re

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.source import whole_numbers

__all__ = ["NOTES", "melodies", "melody_waveform"]

NOTES = "CDEFGABc"
"""The notes, from C4, 261.6 Hz, to C5."""

_SEMITONES = (0, 2, 4, 5, 7, 9, 11, 12)
_C4 = 261.6256
_RHYTHMS = ((1, 1, 1, 1), (2, 1, 1), (1, 1, 2), (2, 2))
_MOVES = (-2, -1, -1, 0, 1, 1, 2)
_FIRST = (0, 2, 4)
_ENDING = "G2C2"


@whole_numbers
def melodies(count: int, seed: int = 0) -> str:
    """Draw melodies.

    Args:
      count: number of melodies.
      seed: random seed; melody i depends on (seed, i) and not on `count`.

    Returns:
      The text of the melodies, one per line.
    """
    check_whole_number("count", count, 1)
    lines = []
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        first, second = _two_bars(rng), _two_bars(rng)
        bars = [*first, *first, *second, first[0], _ENDING]
        lines.append("|".join(bars) + ".")
    return "\n".join(lines) + "\n"


def _two_bars(rng: np.random.Generator) -> list[str]:
    pitch, measures = int(rng.choice(_FIRST)), []
    for _ in range(2):
        measure = ""
        for length in _RHYTHMS[rng.integers(len(_RHYTHMS))]:
            measure += NOTES[pitch] + ("" if length == 1 else str(length))
            pitch = int(np.clip(pitch + rng.choice(_MOVES), 0, len(NOTES) - 1))
        measures.append(measure)
    return measures


@whole_numbers
def melody_waveform(text: str, *, sample_rate: int = 4000, beat: float = 0.2) -> np.ndarray:
    """Synthesize the waveform of a melody; characters that are not notes are skipped.

    Args:
      text: melody in the notation; a number without a note before it is skipped.
      sample_rate: number of samples per second.
      beat: length of a beat in seconds.

    Returns:
      [T] float32 in [-1, 1]; a single zero where `text` has no note.
    """
    if sample_rate < 1 or not 0 < beat < np.inf:
        raise ValueError(f"sample_rate={sample_rate}, beat={beat}: out of range; allowed: at least 1, above 0")
    parts = [np.zeros(0)]
    for letter, number in re.findall(rf"([{NOTES}])(\d?)", text):
        length = int(number or 1) or 1
        time = np.arange(round(length * beat * sample_rate)) / sample_rate
        frequency = _C4 * 2 ** (_SEMITONES[NOTES.index(letter)] / 12)
        envelope = np.minimum(1, time / 0.01) * np.exp(-time / (0.4 * length * beat))
        parts.append(0.6 * envelope * sum(np.sin(2 * np.pi * h * frequency * time) / h**2 for h in (1, 2, 3)))
    sound = np.concatenate(parts).astype(np.float32)
    return sound if len(sound) else np.zeros(1, np.float32)

"""The form of melodies, and that a note sounds as it is written."""

import re

import numpy as np
import pytest

from dlcore.data.melodies import NOTES, melodies, melody_waveform
from dlcore.data.text import load_text
from dlcore.evaluators.pitch import spectral_pitch


@pytest.mark.covers("SQ-16")
def test_a_melody_has_four_parts_of_two_bars_and_ends_on_its_key():
    lines = melodies(40, seed=3).splitlines()
    assert len(set(lines)) > 35
    for line in lines:
        assert line.endswith("|G2C2.")
        bars = line[:-1].split("|")
        assert len(bars) == 8
        assert bars[0:2] == bars[2:4]
        assert bars[6] == bars[0]
        for bar in bars:
            assert re.fullmatch(rf"([{NOTES}]2?)+", bar)
            assert sum(int(number or 1) for _, number in re.findall(r"(\w)(\d?)", bar)) == 4, bar


@pytest.mark.covers("SQ-16")
def test_notes_move_by_small_steps_and_every_rhythm_is_there():
    """Over 300 melodies: first notes C, E and G; moves of at most two notes; the four rhythms about equally often."""
    firsts, others, moves, rhythms = set(), set(), [], []
    for line in melodies(300, seed=1).splitlines():
        bars = line[:-1].split("|")
        for part in (bars[0:2], bars[4:6]):
            notes = [NOTES.index(note) for note in re.findall(rf"[{NOTES}]", "".join(part))]
            firsts.add(NOTES[notes[0]])
            moves += np.diff(notes).tolist()
            rhythms += [re.sub(rf"[{NOTES}]", "n", bar) for bar in part]
            others |= {NOTES[i] for i in notes[1:]}
    assert firsts == {"C", "E", "G"}
    assert others == set(NOTES)
    assert set(moves) == {-2, -1, 0, 1, 2}
    counts = {rhythm: rhythms.count(rhythm) for rhythm in set(rhythms)}
    assert set(counts) == {"nnnn", "n2nn", "nnn2", "n2n2"}
    assert 0.2 < min(counts.values()) / 1200 < max(counts.values()) / 1200 < 0.3


def test_sound_stays_in_range_and_a_beat_is_a_fifth_of_a_second_by_default():
    sound = melody_waveform("CDc9")
    assert len(sound) == 11 * 0.2 * 4000
    assert 0.1 < np.abs(sound).max() <= 1


@pytest.mark.covers("SQ-16")
def test_notes_sound_as_they_are_written():
    """A is 440 Hz, nine semitones above C4; two beats last twice as long as one."""
    rate = 4000
    sound = melody_waveform("A2", sample_rate=rate, beat=0.25)
    assert len(sound) == 2 * 0.25 * rate
    assert spectral_pitch(sound, rate) == pytest.approx(440, abs=1)
    both = melody_waveform("|C3c.", sample_rate=rate, beat=0.25)
    assert len(both) == 4 * 0.25 * rate
    assert spectral_pitch(both[:3000], rate) == pytest.approx(261.6, abs=1)
    assert spectral_pitch(both[3000:], rate) == pytest.approx(523.3, abs=2)
    np.testing.assert_array_equal(melody_waveform("2|."), [0])


def test_a_melody_is_the_same_whatever_the_number_and_the_text_is_known_by_name():
    assert melodies(5, 1).startswith(melodies(2, 1))
    assert melodies(2, 1) != melodies(2, 2)
    assert melodies(1).endswith("|G2C2.\n")
    assert load_text("melodies").startswith(melodies(3))
    with pytest.raises(ValueError, match="count=0: too small; allowed: at least 1"):
        melodies(0)


def test_a_note_has_three_partials_an_attack_of_10_ms_and_a_decay():
    """A at 440 Hz, a beat of half a second: the decay lasts 0.4 of it; amplitudes 1, 1/4, 1/9, times 0.6."""
    sound = melody_waveform("A", sample_rate=1000, beat=0.5)
    for i, attack in ((3, 0.3), (40, 1.0), (400, 1.0)):
        angle = 2 * np.pi * 440 * i / 1000
        partials = np.sin(angle) + np.sin(2 * angle) / 4 + np.sin(3 * angle) / 9
        assert sound[i] == pytest.approx(0.6 * attack * np.exp(-i / 1000 / 0.2) * partials, abs=1e-4)
    with pytest.raises(ValueError, match=r"sample_rate=4000, beat=0: out of range; allowed: at least 1, above 0"):
        melody_waveform("A", beat=0)

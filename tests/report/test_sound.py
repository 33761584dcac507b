"""WAV files that Python's reader takes back, and panels with one player a sound."""

import io
import wave

import numpy as np
import pytest

from dlcore.report.sound import save_wav, sound_panel, spectrum_panel, wav_bytes


@pytest.mark.covers("GE-31")
def test_a_wav_file_holds_the_sound(tmp_path):
    """16 bits: 1 is 32767, 0.5 is 16383.5 and rounds to 16384; what is beyond is clipped."""
    path = save_wav(tmp_path / "new" / "a.wav", np.array([0, 0.5, -1, 3]), 4000)
    assert path.read_bytes() == wav_bytes([0, 0.5, -1, 3], 4000)
    with wave.open(io.BytesIO(path.read_bytes())) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, 4000)
        np.testing.assert_array_equal(np.frombuffer(file.readframes(4), "<i2"), [0, 16384, -32767, 32767])


def test_waveforms_with_two_axes_or_nan_are_refused():
    for wrong in (np.zeros((2, 3)), np.array([0.0, np.nan])):
        with pytest.raises(ValueError, match=r"waveform\.shape="):
            wav_bytes(wrong, 4000)


@pytest.mark.slow
def test_panels_show_each_sound():
    waves = np.sin(np.outer([0.3, 0.5, 0.7, 0.9], np.arange(64)))
    panel = sound_panel(waves, ["a & b", "c", "d", "e"], 4000, "Tones")
    assert panel.html.count("<audio") == 4
    assert "a &amp; b" in panel.html
    spectra = spectrum_panel(waves, ["a: 200 Hz", "b", "c", "d"], [200.0, 300.0, 400.0, 500.0], 4000)
    assert "a: 200 Hz" in spectra.html
    assert "<svg" in spectra.html

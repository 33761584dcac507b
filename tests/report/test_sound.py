"""WAV files that Python's reader takes back, and panels with one player a sound."""

import io
import wave

import numpy as np
import pytest

from dlcore.report import sound
from dlcore.report.sound import save_wav, sound_panel, spectrum_panel, wav_bytes


@pytest.mark.covers("GE-31")
def test_a_wav_file_holds_the_sound(tmp_path):
    """16 bits: 1 is 32767, 0.5 is 16383.5 and rounds to 16384; what is beyond is clipped."""
    path = save_wav(tmp_path / "new" / "a.wav", np.array([0, 0.5, -1, 3]), 4000)
    assert path.read_bytes() == wav_bytes([0, 0.5, -1, 3], 4000)
    with wave.open(io.BytesIO(path.read_bytes())) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, 4000)
        np.testing.assert_array_equal(np.frombuffer(file.readframes(4), "<i2"), [0, 16384, -32767, 32767])


@pytest.mark.slow
def test_panels_show_each_sound():
    waves = np.sin(np.outer([0.3, 0.5, 0.7, 0.9], np.arange(64)))
    panel = sound_panel(waves, ["a & b", "c", "d", "e"], 4000, "Tones")
    assert panel.html.count("<audio") == 4
    assert "a &amp; b" in panel.html
    spectra = spectrum_panel(waves, ["a: 200 Hz", "b", "c", "d"], [200.0, 300.0, 400.0, 500.0], 4000)
    assert "a: 200 Hz" in spectra.html
    assert "<svg" in spectra.html


def test_waveforms_and_spectra_by_hand(monkeypatch):
    """Four sounds of 64 samples at 640 Hz: 100 ms, in two rows of three; a tone of 80 Hz has its peak there."""
    figures = []
    monkeypatch.setattr(sound, "figure_svg", lambda figure, title: figures.append(figure) or "<svg>")
    time = np.arange(64) / 640
    waves = np.sin(2 * np.pi * np.outer([80.0, 40.0, 160.0, 240.0], time))
    panel = sound_panel(waves, ["a & b", "c", "d", "e"], 640, "Tones", "of four")
    spectra = spectrum_panel(waves, ["a", "b", "c", "d"], [80.0, 40.0, 160.0, 240.0], 640)
    assert panel.html.count("<audio") == 4
    assert "<svg><div>" in panel.html
    assert (panel.title, panel.subtitle, spectra.title) == ("Tones", "of four", "Spectra")
    for figure, label, unit in ((figures[0], "a & b", "ms"), (figures[1], "a", "Hz")):
        assert [ax.get_visible() for ax in figure.axes] == [True] * 4 + [False] * 2
        assert [ax.get_xlabel() for ax in figure.axes] == [""] * 3 + [unit] * 3
        assert figure.axes[0].get_title(loc="left") == label
    (line,) = figures[0].axes[1].lines
    np.testing.assert_allclose(line.get_xdata(), 1000 * time)
    np.testing.assert_array_equal(line.get_ydata(), waves[1])
    target, curve = figures[1].axes[2].lines
    assert list(target.get_xdata()) == [160.0, 160.0]
    frequency, decibels = curve.get_xdata(), curve.get_ydata()
    # Four times as many points as samples: 2.5 Hz apart. Hann's window falls to half, -6 dB, one bin of 10 Hz aside.
    assert (frequency[1], frequency[decibels.argmax()], decibels.max()) == (2.5, 160.0, 0)
    assert decibels[frequency == 170.0] == pytest.approx(20 * np.log10(0.5), abs=0.3)
    assert decibels.min() >= -80
    assert figures[1].axes[0].get_ylabel() == "dB"
    assert figures[1].axes[0].get_ylim() == (-60, 3)


def test_two_sounds_stand_in_a_row_of_three_charts_of_the_same_axes(monkeypatch):
    figures = []
    monkeypatch.setattr(sound, "figure_svg", lambda figure, title: figures.append(figure) or "<svg>")
    waves = np.outer([1.0, 0.1], np.sin(np.arange(64)))
    sound_panel(waves, ["loud", "quiet"], 640)
    spectrum_panel(waves, ["loud", "quiet"], [80.0, 500.0], 640)
    for figure in figures:
        assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
        assert len(figure.axes) == 3
    with pytest.raises(ValueError, match="names=3 names: for 2 sounds"):
        sound_panel(waves, ["loud"] * 2 + ["no sound"], 640)

"""Sounds in a report: audio players, waveforms and spectra."""

import base64
import io
import wave
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.report.figure import GRAY, PALETTE, figure_svg, new_figure
from dlcore.report.panel import Panel

__all__ = ["save_wav", "sound_panel", "spectrum_panel", "wav_bytes"]


def wav_bytes(waveform: np.ndarray, sample_rate: int) -> bytes:
    """Encode a sound as a WAV file of 16 bits, one channel.

    Args:
      waveform: [T], clipped to [-1, 1].
      sample_rate: samples per second.

    Returns:
      The file's content.
    """
    check_whole_number("sample_rate", sample_rate, 1)
    waveform = np.asarray(waveform, np.float64)
    if waveform.ndim != 1 or not np.isfinite(waveform).all():
        raise ValueError(f"waveform.shape={waveform.shape}: no sound; allowed: [T], finite numbers")
    samples = np.rint(32767 * np.clip(waveform, -1, 1)).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def save_wav(path: Path, waveform: np.ndarray, sample_rate: int) -> Path:
    """Write a sound to a WAV file.

    Args:
      path: path of the file; its folder is created if it is missing.
      waveform: [T] in [-1, 1].
      sample_rate: samples per second.

    Returns:
      The path.

    Raises:
      ValueError: see `wav_bytes`.
    """
    content, path = wav_bytes(waveform, sample_rate), Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def sound_panel(
    waveforms: np.ndarray, names: Sequence[str], sample_rate: int, title: str = "Sounds", subtitle: str = ""
) -> Panel:
    """Show waveforms and an audio player for each sound.

    Args:
      waveforms: [N, T] in [-1, 1].
      names: N names.
      sample_rate: samples per second.
      title: title of the panel.
      subtitle: a line under the title.

    Returns:
      The panel.
    """
    _check(waveforms, names, sample_rate)
    columns = 3
    rows = -(-len(waveforms) // columns)
    figure, axes = new_figure((10.5, 1.1 * rows + 0.4), rows, columns, sharex=True, sharey=True, squeeze=False)
    time = 1000 * np.arange(waveforms.shape[1]) / sample_rate
    for i, ax in enumerate(axes.ravel()):
        ax.set_visible(i < len(waveforms))
        if i < len(waveforms):
            ax.plot(time, waveforms[i], color=PALETTE[0], linewidth=0.8)
            ax.set_title(names[i], loc="left")
            ax.set_yticks([])
    for ax in axes[-1]:
        ax.set_xlabel("ms")
    players = "".join(
        f'<figure style="display: inline-block; margin: 0.5em"><figcaption>{escape(name)}</figcaption>'
        f'<audio controls style="width: 16em" src="data:audio/wav;base64,{_encoded(sound, sample_rate)}"></audio>'
        "</figure>"
        for name, sound in zip(names, waveforms, strict=True)
    )
    return Panel(title, figure_svg(figure, title) + f"<div>{players}</div>", subtitle)


def spectrum_panel(
    waveforms: np.ndarray,
    names: Sequence[str],
    frequencies: Sequence[float],
    sample_rate: int,
    title: str = "Spectra",
    subtitle: str = "",
) -> Panel:
    """Plot the spectrum of each sound, with a line at the target frequency.

    Args:
      waveforms: [N, T].
      names: N names.
      frequencies: N, in Hz.
      sample_rate: samples per second.
      title: title of the panel.
      subtitle: a line under the title.

    Returns:
      The panel.
    """
    _check(waveforms, names, sample_rate)
    check_shapes(frequencies=(frequencies, f"{len(waveforms)}"))
    check_finite("frequencies", frequencies)
    length, columns = waveforms.shape[1], 3
    rows = -(-len(waveforms) // columns)
    spectra = np.abs(np.fft.rfft(waveforms * np.hanning(length), 4 * length))
    decibels = 20 * np.log10(np.maximum(spectra / np.maximum(spectra.max(-1, keepdims=True), 1e-12), 1e-4))
    figure, axes = new_figure((10.5, 1.2 * rows + 0.4), rows, columns, sharex=True, sharey=True, squeeze=False)
    axis = np.fft.rfftfreq(4 * length, 1 / sample_rate)
    for i, ax in enumerate(axes.ravel()):
        ax.set_visible(i < len(waveforms))
        if i < len(waveforms):
            ax.axvline(frequencies[i], color=GRAY, linewidth=2, alpha=0.6)
            ax.plot(axis, decibels[i], color=PALETTE[1], linewidth=0.8)
            ax.set_title(names[i], loc="left")
            ax.set_ylim(-60, 3)
    for ax in axes[-1]:
        ax.set_xlabel("Hz")
    axes[0, 0].set_ylabel("dB")
    return Panel(title, figure_svg(figure, title), subtitle)


def _check(waveforms: np.ndarray, names: Sequence[str], sample_rate: int) -> None:
    check_shapes(waveforms=(waveforms, "N T"))
    check_finite("waveforms", waveforms)
    check_whole_number("sample_rate", sample_rate, 1)
    if len(names) != len(waveforms) or not len(waveforms):
        raise ValueError(f"names={len(names)} names: for {len(waveforms)} sounds; allowed: one each, at least one")


def _encoded(waveform: np.ndarray, sample_rate: int) -> str:
    return base64.b64encode(wav_bytes(waveform, sample_rate)).decode()

"""The likelihood of sounds beside that of n-grams, and the pitch of samples."""

import numpy as np

from dlcore.data.splits import Splits
from dlcore.data.tones import PITCHES, pitch_frequency
from dlcore.evaluators.pitch import pitch_evaluator, semitones, spectral_pitch
from dlcore.experiment.parts import Run
from dlcore.generative.sounds import NUM_SAMPLES, asked_sounds
from dlcore.learner import Evaluator
from dlcore.ops import mu_law_decode
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["SoundLikelihood", "panels"]


class SoundLikelihood:
    """Bits of a sample, whose loss selects the checkpoint, and whether generated tones have their pitch."""

    metric = "bits_per_dim_64_codes"
    monitor = "loss"
    mode = "min"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the pitch, of tones that are asked for."""
        if not run.parts.network.conditional or run.facts.dataset != "tones":
            return []
        frequencies = pitch_frequency(np.arange(len(PITCHES)))
        count = len(PITCHES) if run.flags.smoke else NUM_SAMPLES
        return [pitch_evaluator(frequencies, run.parts.data.sample_rate, asked_sounds(count))]


def panels(context: ReportContext) -> list[Panel]:
    """Show likelihoods, the spectra of generated tones, generated and test sounds, and the curves."""
    from dlcore.report.curves import curves
    from dlcore.report.sound import sound_panel, spectrum_panel
    from dlcore.report.tables import table

    spec, numbers, rate = context.spec, context.numbers, context.spec["sample_rate"]
    bits = {**spec["baselines"], "WaveNet": numbers[spec["headline"]]}
    rows = [{"model": name, "bits a sample": round(value, 3)} for name, value in bits.items()]
    waveforms, frequencies = context.outputs["waveform"], pitch_frequency(np.arange(len(PITCHES)))
    dataset, classes = context.flags.dataset, spec["class_names"]
    panels = [table(rows, f"Likelihood of test {dataset}", "The fewer bits, the better.")]
    if context.flags.conditional and dataset == "tones":
        pitch = spectral_pitch(waveforms, rate)
        off = semitones(pitch, frequencies)
        names = [f"{PITCHES[i]}, {frequencies[i]:.0f} Hz: {off[i]:+.2f}" for i in range(len(PITCHES))]
        caption = (
            f"One tone of each pitch, unselected. {100 * numbers['pitch_accuracy']:.1f} % of {NUM_SAMPLES} tones "
            "are within half a semitone of the pitch that was asked for (the gray line); 8.3 % would be by chance. "
            "The numbers are semitones off."
        )
        panels.append(spectrum_panel(waveforms, names, frequencies, rate, "Spectra of generated tones", caption))
    real = context.data.test.arrays["codes"][: len(classes)]
    names = classes if context.flags.conditional else [f"{dataset} {i + 1}" for i in range(len(classes))]
    decoded = np.asarray(mu_law_decode(real, context.flags.levels))
    return [
        *panels,
        sound_panel(waveforms, names, rate, f"Generated {dataset}", "Unselected."),
        sound_panel(decoded, classes, rate, f"Test {dataset}", "Decoded."),
        curves(context.history),
    ]

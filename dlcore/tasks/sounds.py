"""Sounds as mu-law codes: synthetic tones or vowels, likelihoods without a network, pitch, and .wav files."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from flax import linen as nn

from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.tones import PITCHES, pitch_frequency, tones
from dlcore.data.vowels import VOWELS, vowels
from dlcore.evaluators.pitch import pitch_evaluator, semitones, spectral_pitch
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError, PositiveInt, Seed
from dlcore.learner import Evaluator, Learner, Range, check_record
from dlcore.models.network import flag_prefix
from dlcore.modes.report_context import ReportContext
from dlcore.ops import mu_law_decode, mu_law_encode
from dlcore.report.panel import Panel
from dlcore.sequence.ngram import ngram_loss

__all__ = [
    "CodeNetwork",
    "DrawSounds",
    "SoundLikelihood",
    "Sounds",
    "asked_sounds",
    "baselines",
    "log_levels",
    "panels",
]

ORDERS = (1, 2, 3)
"""Orders of the n-gram that is the best on validation."""
NUM_SAMPLES = 8 * len(PITCHES)
"""Tones that are drawn at an evaluation."""
SOUNDS = {"tones": (tones, PITCHES), "vowels": (vowels, VOWELS)}
"""Data set -> (function that draws it, names of its classes)."""


@dataclasses.dataclass(frozen=True)
class Sounds:
    """Tones of the semitones of an octave, or vowels, as mu-law codes.

    Args:
      dataset: tones of twelve pitches, or vowels of synthetic speech
      levels: mu-law codes of a sample
      length: samples of a sound
      sample_rate: samples a second
      train_size: training sounds
      test_size: sounds of validation, and as many of test
    """

    dataset: Annotated[Literal["tones", "vowels"], "essential", "if changed"] = "tones"
    levels: Annotated[int, Range(2, 256), "essential"] = 64
    length: Annotated[int, Range(64), "essential"] = 512
    sample_rate: Annotated[int, Range(3500)] = 4000
    train_size: Annotated[int, Range(len(PITCHES))] = 3000
    test_size: Annotated[int, Range(len(PITCHES))] = 300

    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def load(self, seed: int = 0) -> Splits:
        """Draw the sounds of each split, and measure models without a network on them.

        Args:
          seed: seed of the sounds.
        """
        sizes = (self.train_size, self.test_size, self.test_size)
        synthesize, names = SOUNDS[self.dataset]

        def codes_of(part: int, size: int) -> Source:
            sounds = synthesize(size, 3 * seed + part, length=self.length, sample_rate=self.sample_rate)
            codes = np.asarray(mu_law_encode(sounds.arrays["waveform"], self.levels))
            arrays = {"codes": codes, "label": sounds.arrays["label"]}
            return Source(arrays, len(sounds), class_names=sounds.class_names, name=sounds.name)

        train, valid, test = (codes_of(part, size) for part, size in enumerate(sizes))
        bits = baselines(train.arrays["codes"], valid.arrays["codes"], test.arrays["codes"], self.levels)
        best, metric = min(bits, key=bits.__getitem__), f"bits_per_dim_{self.levels}_codes"
        spec = {
            "dataset": self.dataset,
            "class_names": list(names),
            "num_classes": len(names),
            "sample_rate": self.sample_rate,
            "length": self.length,
            "baselines": bits,
            "trivial": {metric: (bits[best], best)},
            "headline": metric,
        }
        message = "bits a sample without a network: " + ", ".join(f"{name} {value:.3f}" for name, value in bits.items())
        return Splits(train, valid, test, spec, (message,), shown=asked_sounds(len(names), dataset=self.dataset))

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the `shape` of a sound."""
        return {"shape": (1, self.length, 1)}

    def wrap(self, learner: Learner, run: Run) -> Learner:
        """Decode the codes of `predict` to waveforms."""

        def predict(state, batch):
            outputs = learner.predict(state, batch)
            waveform = mu_law_decode(outputs["levels"][:, 0, :, 0], self.levels)
            return {"waveform": waveform, "nats": outputs["nats"]}

        return learner._replace(predict=predict)


@dataclasses.dataclass(frozen=True)
class CodeNetwork:
    """A network of the codes of a sound, such as WaveNet.

    Args:
      network: class of the network with the fields `levels`, `num_classes` and `dtype`, or a `functools.partial`
      conditional: give the network the pitch of a tone or the name of a vowel
    """

    network: Callable[..., nn.Module]
    conditional: Annotated[bool, "essential"] = True

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The network by the prefix of its flags."""
        return {flag_prefix(self.network): self.network}

    def with_flags(self, flags: Any) -> "CodeNetwork":
        """Return the network with the values of its flags in its fields."""
        return CodeNetwork(partial(self.network, **flags.group(flag_prefix(self.network))), flags.conditional)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        num_classes = run.facts.num_classes if self.conditional else 0
        return {"model": self.network(levels=run.parts.data.levels, num_classes=num_classes, dtype=run.dtype)}


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
        count = len(PITCHES) if run.setup.flags.smoke else NUM_SAMPLES
        return [pitch_evaluator(frequencies, run.parts.data.sample_rate, asked_sounds(count))]


@dataclasses.dataclass(frozen=True)
class DrawSounds:
    """Use of a generator of sounds: `--mode=predict` samples them and writes .wav files.

    Args:
      num_drawn: sounds that --mode=predict draws
      sample_seed: seed of the samples that --mode=predict draws; by default that of the run
      sample_pitch: pitch or vowel that --mode=predict draws, of A3, A#3, B3, C4, C#4, D4, D#4, E4, F4, F#4, G4, G#4 or
        heed, hid, head, had, hod, hawed, hood, who'd, hud, heard; by default all in turn
    """

    num_drawn: Annotated[PositiveInt, "no identity"] = 12
    sample_seed: Annotated[Seed | None, "no identity"] = None
    sample_pitch: Annotated[str | None, "no identity"] = None

    def samples(self, run: Run) -> tuple[Source, list[str]]:
        """Choose the classes of the sounds."""
        label, names, dataset = None, run.facts.class_names, run.facts.dataset
        if self.sample_pitch is not None:
            conditional = run.parts.network.conditional
            if self.sample_pitch not in names or not conditional:
                allowed = ", ".join(names) if conditional else "of --conditional runs"
                raise FlagError(f"--sample_pitch={self.sample_pitch}: no class of the run; allowed: {allowed}")
            label = names.index(self.sample_pitch)
        source = asked_sounds(self.num_drawn, label, dataset)
        return source, [f"{dataset.removesuffix('s')}_{i:03}" for i in range(self.num_drawn)]

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe each sound by its likelihood."""
        return [{"nats": float(n), "text": f"-log p = {n:.2f} nats"} for n in outputs["nats"]]

    def write(self, folder: Path, outputs: dict, source: Source, names: list[str], facts: Facts) -> list[Path]:
        """Write each sound as NAME.wav."""
        from dlcore.report.sound import save_wav

        assert facts.sample_rate is not None
        return [
            save_wav(folder / f"{name}.wav", waveform, facts.sample_rate)
            for name, waveform in zip(names, outputs["waveform"], strict=True)
        ]


def baselines(train: np.ndarray, valid: np.ndarray, test: np.ndarray, levels: int) -> dict[str, float]:
    """Compute the bits a sample of models without a network; the n-gram's order is the best on validation.

    Args:
      train: [N, T] codes of the training sounds.
      valid: [M, T] codes of the validation sounds.
      test: [M, T] codes of the test sounds, which are measured.
      levels: number of codes.

    Returns:
      {model: bits}.
    """

    def bits(other: np.ndarray, order: int) -> float:
        return ngram_loss(train.ravel(), other.ravel(), order, levels) / math.log(2)

    order = min(ORDERS, key=lambda order: bits(valid, order))
    return {"uniform": math.log2(levels), "frequencies of codes": bits(test, 0), f"{order + 1}-gram": bits(test, order)}


def asked_sounds(count: int, label: int | None = None, dataset: str = "tones") -> Source:
    """Build a source of the classes of sounds to sample.

    Args:
      count: number of sounds.
      label: class of all; None for all classes in turn.
      dataset: a key of SOUNDS.

    Returns:
      A source with `label`.
    """
    names = SOUNDS[dataset][1]
    labels = np.arange(count) % len(names) if label is None else np.full(count, label)
    return Source({"label": labels.astype(np.int32)}, count, class_names=names, name=dataset)


def log_levels(run: Run) -> float:
    """Compute the loss of equal probabilities of all codes, for `--mode=sanity`.

    Returns:
      Nats a sample.
    """
    return math.log(run.parts.data.levels)


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

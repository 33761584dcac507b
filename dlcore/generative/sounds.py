"""Sounds as mu-law codes: synthetic tones or vowels, likelihoods without a network, and .wav files."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.tones import PITCHES, tones
from dlcore.data.vowels import VOWELS, vowels
from dlcore.learner import Learner, Range, check_record
from dlcore.ops import mu_law_decode, mu_law_encode
from dlcore.sequence.ngram import ngram_loss
from dlcore.setting import FlagError, PositiveInt, Seed

__all__ = ["DrawSounds", "Sounds", "asked_sounds", "baselines", "log_levels"]

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

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the `shape` of a sound."""
        return {"shape": (1, self.length, 1)}

    def wrap(self, learner: Learner, run: Any) -> Learner:
        """Decode the codes of `predict` to waveforms."""

        def predict(state, batch):
            outputs = learner.predict(state, batch)
            waveform = mu_law_decode(outputs["levels"][:, 0, :, 0], self.levels)
            return {"waveform": waveform, "nats": outputs["nats"]}

        return learner._replace(predict=predict)


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

    def samples(self, run: Any) -> tuple[Source, list[str]]:
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


def log_levels(run: Any) -> float:
    """Compute the loss of equal probabilities of all codes, for `--mode=sanity`.

    Returns:
      Nats a sample.
    """
    return math.log(run.parts.data.levels)

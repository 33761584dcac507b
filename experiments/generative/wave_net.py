"""WaveNet: generate short tones or vowels sample by sample by dilated causal convolutions, with exact likelihood.

python -m experiments.generative.wave_net
python -m experiments.generative.wave_net --noconditional
python -m experiments.generative.wave_net --levels=256 --length=1024 --wave_net.num_layers=10
python -m experiments.generative.wave_net --dataset=vowels --length=1024 --sample_rate=8000 --wave_net.num_layers=10
python -m experiments.generative.wave_net --mode=predict --run=RUN --output=FOLDER --num_drawn=12
python -m experiments.generative.wave_net --mode=predict --run=RUN --output=FOLDER --sample_pitch=C4

The data are tones of the twelve semitones of an octave, as mu-law codes. `bits_per_dim_64_codes` is -log2 p of a sample
of a test tone; the report has it beside a uniform guess, the frequencies of codes, and the best n-gram.
`pitch_accuracy` is the share of generated tones whose spectrum peaks within half a semitone of the pitch that was asked
for; by chance it is 1/12. Vowels are synthetic speech (`dlcore.data.vowels`); they have the likelihood alone. The first
command reaches 2.22 bits a sample, where a 3-gram needs 3.43, and 96 % of generated tones have their pitch; one seed.
The other commands were not run. The last two write .wav files.
"""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.data.source import Source
from dlcore.data.tones import PITCHES, pitch_frequency, tones
from dlcore.data.vowels import VOWELS, vowels
from dlcore.evaluators.pitch import pitch_evaluator, semitones, spectral_pitch
from dlcore.experiment import Experiment, Flags, PositiveInt, Range, Setting, Setup, Splits
from dlcore.experiment.setting import FlagError
from dlcore.generative import autoregressive
from dlcore.generative.wave_net import WaveNet
from dlcore.kits.generative.samples import Samples
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.learner import Learner
from dlcore.main import main
from dlcore.ops import mu_law_decode, mu_law_encode
from dlcore.sequence.ngram import ngram_loss
from experiments.smoke import few_steps

ORDERS = (1, 2, 3)
NUM_SAMPLES = 8 * len(PITCHES)
"""Tones that are drawn at an evaluation."""
SAMPLE_PITCH = Setting(
    None,
    f"pitch or vowel that --mode=predict draws, of {', '.join(PITCHES)} or {', '.join(VOWELS)}; by default all in turn",
    str | None,
    identity=False,
)


def coded(source: Source, levels: int) -> Source:
    codes = np.asarray(mu_law_encode(source.arrays["waveform"], levels))
    arrays = {"codes": codes, "label": source.arrays["label"]}
    return Source(arrays, len(source), class_names=source.class_names, name=source.name)


def baselines(train: np.ndarray, valid: np.ndarray, test: np.ndarray, levels: int) -> dict[str, float]:
    """Bits a sample of models without a network on the test tones; the n-gram's order is the best on validation."""

    def bits(other: np.ndarray, order: int) -> float:
        return ngram_loss(train.ravel(), other.ravel(), order, levels) / math.log(2)

    order = min(ORDERS, key=lambda order: bits(valid, order))
    return {"uniform": math.log2(levels), "frequencies of codes": bits(test, 0), f"{order + 1}-gram": bits(test, order)}


SOUNDS = {"tones": (tones, PITCHES), "vowels": (vowels, VOWELS)}
"""Data set -> (function that draws it, names of its classes)."""


def asked_sounds(count: int, label: int | None = None, dataset: str = "tones") -> Source:
    names = SOUNDS[dataset][1]
    labels = np.arange(count) % len(names) if label is None else np.full(count, label)
    return Source({"label": labels.astype(np.int32)}, count, class_names=names, name=dataset)


@dataclasses.dataclass(frozen=True)
class Tones(Samples):
    """Tones of the semitones of an octave, or vowels, as mu-law codes.

    Args:
      dataset: tones of twelve pitches, or vowels of synthetic speech
      levels: mu-law codes of a sample
      length: samples of a sound
      sample_rate: samples a second
      train_size: training sounds
      test_size: sounds of validation, and as many of test
      conditional: give the network the pitch of a tone or the name of a vowel
      num_drawn: sounds that --mode=predict draws
    """

    dataset: Annotated[Literal["tones", "vowels"], "essential", "if changed"] = "tones"
    levels: Annotated[int, Range(2, 256), "essential"] = 64
    length: Annotated[int, Range(64), "essential"] = 512
    sample_rate: Annotated[int, Range(3500)] = 4000
    train_size: Annotated[int, Range(len(PITCHES))] = 3000
    test_size: Annotated[int, Range(len(PITCHES))] = 300
    conditional: Annotated[bool, "essential"] = True
    num_drawn: Annotated[PositiveInt, "no identity"] = 12

    monitor = "loss"
    monitor_mode = "min"
    headline = "bits_per_dim_64_codes"
    plain: ClassVar[dict[str, Any]] = {"ema": None, "weight_decay": 0.0}

    def settings(self) -> dict[str, Setting]:
        return {**super().settings(), "sample_pitch": SAMPLE_PITCH}

    def data(self, flags: Flags) -> Splits:
        sizes = (flags.train_size, flags.test_size, flags.test_size)
        synthesize, names = SOUNDS[flags.dataset]
        parts = [
            coded(
                synthesize(size, 3 * flags.seed + i, length=flags.length, sample_rate=flags.sample_rate), flags.levels
            )
            for i, size in enumerate(sizes)
        ]
        bits = baselines(*(part.arrays["codes"] for part in parts), flags.levels)
        best = min(bits, key=bits.get)
        spec = {
            "dataset": flags.dataset,
            "class_names": list(names),
            "num_classes": len(names),
            "sample_rate": flags.sample_rate,
            "length": flags.length,
            "baselines": bits,
            "trivial": {f"bits_per_dim_{flags.levels}_codes": (bits[best], best)},
            "headline": f"bits_per_dim_{flags.levels}_codes",
        }
        message = "bits a sample without a network: " + ", ".join(f"{name} {value:.3f}" for name, value in bits.items())
        return Splits(*parts, spec, (message,), shown=asked_sounds(len(names), dataset=flags.dataset))

    def arguments(self, setup: Setup) -> dict[str, Any]:
        flags = setup.flags
        fields = flags.group("wave_net")
        num_classes = len(SOUNDS[flags.dataset][1])
        model = WaveNet(flags.levels, num_classes if flags.conditional else 0, **fields, dtype=setup.dtype)
        return {"model": model, "shape": (1, flags.length, 1)}

    def wrap(self, learner: Learner, setup: Setup) -> Learner:
        """Decode the codes of `predict` to waveforms."""

        def predict(state, batch):
            outputs = learner.predict(state, batch)
            waveform = mu_law_decode(outputs["levels"][:, 0, :, 0], setup.flags.levels)
            return {"waveform": waveform, "nats": outputs["nats"]}

        return learner._replace(predict=predict)

    def expected_loss(self, setup: Setup) -> float:
        return math.log(setup.flags.levels)

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list:
        if not setup.flags.conditional or setup.flags.dataset != "tones":
            return []
        frequencies = pitch_frequency(np.arange(len(PITCHES)))
        count = len(PITCHES) if setup.flags.smoke else NUM_SAMPLES
        return [pitch_evaluator(frequencies, setup.flags.sample_rate, asked_sounds(count))]

    def drawn(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        label, names = None, spec["class_names"]
        if flags.sample_pitch is not None:
            if flags.sample_pitch not in names or not flags.conditional:
                allowed = ", ".join(names) if flags.conditional else "of --conditional runs"
                raise FlagError(f"--sample_pitch={flags.sample_pitch}: no class of the run; allowed: {allowed}")
            label = names.index(flags.sample_pitch)
        source = asked_sounds(flags.num_drawn, label, flags.dataset)
        return source, [f"{flags.dataset.removesuffix('s')}_{i:03}" for i in range(flags.num_drawn)]

    def describe(self, outputs: dict, spec: dict) -> list[dict]:
        return [{"nats": float(n), "text": f"-log p = {n:.2f} nats"} for n in outputs["nats"]]

    def write(self, folder: Path, outputs: dict, source: Source, names: list[str], spec: dict) -> list[Path]:
        from dlcore.report.sound import save_wav

        return [
            save_wav(folder / f"{name}.wav", waveform, spec["sample_rate"])
            for name, waveform in zip(names, outputs["waveform"], strict=True)
        ]

    def panels(self, context: Any) -> list:
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


experiment = Experiment(
    __file__,
    __doc__,
    autoregressive.learner,
    task=Tones(),
    optimizer=AveragedAdamW(weight_decay=0.01, clip_norm=1.0),
    modules={"wave_net": WaveNet},
    defaults={"steps": 600, "batch_size": 16, "eval_every": 200},
    smoke={
        **few_steps(3, 4),
        "train_size": 24,
        "test_size": 12,
        "length": 64,
        "wave_net.features": 4,
        "wave_net.skip_features": 8,
        "wave_net.num_layers": 3,
        "eval_batch_size": 12,
    },
)

if __name__ == "__main__":
    main(experiment)

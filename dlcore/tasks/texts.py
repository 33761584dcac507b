"""Texts: a text by name, in streams or windows, and samples that continue a prompt.

experiment = Experiment(
    __file__, __doc__, char_rnn.learner, task=TextStreams(network=network), optimizer=AdamW(), modules={"rnn": CharRNN}
)
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.data.text import Vocabulary, load_text, split_text, streams, training_windows, windows
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.sequence.given_texts import given_texts
from dlcore.learner import Range
from dlcore.modes.report_context import ReportContext
from dlcore.sequence.ngram import ngram_loss

__all__ = ["TextSamples", "TextStreams", "TextWindows", "Texts"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Texts(Task):
    """A text whose end is held out.

    Args:
      dataset: a text: pages, melodies, topics, shakespeare, file
      data_dir: shakespeare: the folder of tinyshakespeare.txt; file: the text file
      valid_fraction: fraction of the text held out for validation
      test_fraction: fraction held out for test, the end of the text; by default --valid_fraction
    """

    dataset: Annotated[str, "essential"] = "pages"
    data_dir: Annotated[str | None, "essential"] = None
    valid_fraction: Annotated[float, Range(0.001, 0.4)] = 0.1
    test_fraction: Annotated[float | None, Range(0.001, 0.4)] = None

    monitor: ClassVar[str] = "loss"
    monitor_mode: ClassVar[str] = "min"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSamples(Texts):
    """A text, and samples that continue a prompt.

    Args:
      network: facts of the run -> the language model
      prompt: text that samples continue; in a text without its characters, that text's beginning
      temperatures: temperatures of the samples in the report; 0 is greedy
      num_samples: samples at each temperature; one at temperature 0
      stop: a character that ends a sample
    """

    network: Callable[[Setup], nn.Module]
    prompt: str = "The "
    temperatures: Annotated[tuple[float, ...], Range(0)] = (0.0, 0.5, 1.0)
    num_samples: Annotated[int, Range(1)] = 2
    stop: str | None = None

    headline: ClassVar[str] = "loss"

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the model, and look up the token of `--stop`."""
        return {"model": self.network(setup), "stop_token": _stop_token(setup.flags, setup.spec)}

    def expected_loss(self, setup: Setup) -> float:
        """Compute the loss of equal probabilities."""
        return math.log(len(setup.spec["vocabulary"]))

    def panels(self, context: ReportContext) -> list:
        """Show samples at each temperature, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.sequence import text_samples
        from dlcore.report.triage import triage_panels

        vocabulary, prompts = Vocabulary(context.spec["vocabulary"]), context.data.shown.arrays
        outputs = zip(context.outputs["tokens"], context.outputs["length"], strict=True)
        caption = (
            f"After the prompt in bold. The test text has {context.spec['characters']['test']:,} characters, "
            f"{len(vocabulary.characters)} different ones."
        )
        samples = text_samples(
            [vocabulary.decode(prompt) for prompt in prompts["prompt"]],
            [vocabulary.decode(tokens[:length]) for tokens, length in outputs],
            prompts["temperature"],
            caption,
        )
        losses = [{k: v for k, v in row.items() if k != "accuracy"} for row in context.history]
        sounds = [_sounds(context, vocabulary)] if context.flags.dataset == "melodies" else []
        return [samples._replace(half=True), *sounds, *triage_panels(losses, floor=None), curves(context.history)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextStreams(TextSamples):
    """A text that is read in streams, with a carry from step to step.

    Args:
      eval_streams: streams that validation and test are cut into, each read from a zero carry
    """

    eval_streams: Annotated[int, Range(1)] = 16

    def data(self, flags: Flags) -> Splits:
        """Load a text, split into `--batch_size` streams for training; validation and test lose no character.

        The report shows continuations of the prompt.
        """
        vocabulary, train, valid, test = _text(flags)
        return Splits(
            _streams("batch_size", flags, train, "train"),
            _streams("eval_streams", flags, valid, "validation", whole=True),
            _streams("eval_streams", flags, test, "test", whole=True),
            _spec(flags, vocabulary, train, valid, test),
            shown=_prompts([_prompt(flags, vocabulary, train)], vocabulary, flags)[0],
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextWindows(TextSamples):
    """A text that is read in windows.

    Args:
      window: characters that the model reads at once
      eval_stride: targets from one measured window to the next; fewer than the window give each target more context
    """

    window: Annotated[int, Range(2), "essential"] = 64
    eval_stride: Annotated[int | None, Range(1)] = None

    input_kind: ClassVar[str] = "PROMPT_OR_FILE"

    def data(self, flags: Flags) -> Splits:
        """Load a text, split into windows; the report shows continuations of the prompt."""
        vocabulary, train, valid, test = _text(flags)
        if len(train) <= flags.window:
            allowed = f"fewer than the {len(train)} characters of the text for training"
            raise FlagError(f"--window={flags.window}: longer than the text; allowed: {allowed}")
        return Splits(
            training_windows(train, flags.window, f"{flags.dataset} (train)"),
            windows(valid, flags.window, flags.eval_stride, f"{flags.dataset} (validation)"),
            windows(test, flags.window, flags.eval_stride, f"{flags.dataset} (test)"),
            _spec(flags, vocabulary, train, valid, test),
            shown=_prompts([_prompt(flags, vocabulary, train)], vocabulary, flags)[0],
        )

    def inputs(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        """Read the prompts of `--input`, a prompt or a UTF-8 file of one a line: each at each of `--temperatures`."""
        prompts = [line for line in given_texts(flags) if line]
        if not prompts:
            raise FlagError(f"--input={flags.input!r}: empty; allowed: a prompt, or a file of prompts, one a line")
        return _prompts(prompts, Vocabulary(spec["vocabulary"]), flags, "input")

    def describe(self, outputs: dict, spec: dict) -> list[dict]:
        """Describe continuations, `tokens: [N, L]` of `length: [N]`, as `text`."""
        vocabulary = Vocabulary(spec["vocabulary"])
        pairs = zip(outputs["tokens"], outputs["length"], strict=True)
        return [{"text": vocabulary.decode(tokens[:length])} for tokens, length in pairs]

    def panels(self, context: ReportContext) -> list:
        """Show the test loss beside that of n-gram models, samples, and the curves."""
        from dlcore.report.tables import table

        vocabulary, train, _, test = _text(context.flags)
        size = len(vocabulary.characters)
        rows = [{"model": "uniform", "nats a character": float(np.log(size))}]
        rows += [
            {"model": f"order-{n} n-gram", "nats a character": ngram_loss(train, test, n, size)}
            for n in range(5)
            if len(test) > n
        ]
        rows.append({"model": "this model", "nats a character": context.numbers["loss"]})
        caption = "Test loss; n-grams add 0.05 to each count of the training text."
        return [table(rows, "Beside n-gram models", caption), *super().panels(context)]


def _text(flags: Flags) -> tuple[Vocabulary, np.ndarray, np.ndarray, np.ndarray]:
    text = load_text(flags.dataset, flags.data_dir)
    vocabulary = Vocabulary.of(text)
    if flags.stop and flags.stop not in text:
        raise FlagError(f"--stop={flags.stop!r}: is not in the text; allowed: its characters")
    return vocabulary, *split_text(vocabulary.encode(text), flags.valid_fraction, flags.test_fraction)


def _streams(flag: str, flags: Flags, tokens: np.ndarray, part: str, whole: bool = False) -> Source:
    """Split a part of the text into the number of streams of a flag."""
    try:
        return streams(tokens, flags[flag], f"{flags.dataset} ({part})", whole=whole)
    except ValueError as error:
        raise FlagError(f"--{flag}={flags[flag]}: {str(error).partition(': ')[2]}") from None


def _prompt(flags: Flags, vocabulary: Vocabulary, train: np.ndarray) -> str:
    """Return `--prompt`; the first characters of the text if the default has characters that the text lacks."""
    if "prompt" in flags.given or set(flags.prompt) <= set(vocabulary.characters):
        return flags.prompt
    return vocabulary.decode(train[: min(len(flags.prompt), flags.get("window") or len(flags.prompt))])


def _spec(flags: Flags, vocabulary: Vocabulary, train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> dict:
    return {
        "dataset": flags.dataset,
        "vocabulary": vocabulary.characters,
        "characters": {"train": len(train), "valid": len(valid), "test": len(test)},
    }


def _prompts(
    prompts: list[str], vocabulary: Vocabulary, flags: Flags, flag: str = "prompt"
) -> tuple[Source, list[str]]:
    """Build a source and names of each prompt at each temperature."""
    window = flags.get("window")
    for prompt in prompts:
        if not prompt:
            raise FlagError(f"--{flag}='': empty; allowed: at least one character")
        if window is not None and len(prompt) > window:
            raise FlagError(f"--{flag}={prompt!r}: {len(prompt)} characters; allowed: at most --window={window}")
        for position, character in enumerate(prompt):
            if character not in vocabulary.characters:
                unknown = f"{character!r} at position {position} is not in the text"
                raise FlagError(f"--{flag}={prompt!r}: {unknown}; allowed: its characters")
    temperatures = [t for t in flags.temperatures for _ in range(flags.num_samples if t > 0 else 1)]
    size = max(map(len, prompts))
    rows = np.stack([np.pad(vocabulary.encode(prompt), (0, size - len(prompt))) for prompt in prompts])
    arrays = {
        "prompt": np.repeat(rows, len(temperatures), 0),
        "temperature": np.tile(np.array(temperatures, np.float32), len(prompts)),
    }
    if window is not None:
        arrays["prompt_length"] = np.repeat(np.array([len(p) for p in prompts], np.int32), len(temperatures))
    names = [f"{prompt!r} at temperature {t:g}" for prompt in prompts for t in temperatures]
    return Source(arrays, name="prompts"), names


def _stop_token(flags: Flags, spec: dict) -> int | None:
    """Look up the token of `--stop`; None if samples have their full length."""
    if flags.stop is not None and len(flags.stop) != 1:
        raise FlagError(f"--stop={flags.stop!r}: {len(flags.stop)} characters; allowed: one character")
    return None if flags.stop is None else spec["vocabulary"].index(flags.stop)


def _sounds(context: ReportContext, vocabulary: Vocabulary) -> Any:
    """Show each sampled melody with an audio player."""
    from dlcore.data.melodies import melody_waveform
    from dlcore.report.sound import sound_panel

    arrays = context.data.shown.arrays
    lengths, prompts = context.outputs["length"], arrays["prompt"]
    texts = [
        vocabulary.decode([*prompt, *tokens[:length]])
        for prompt, tokens, length in zip(prompts, context.outputs["tokens"], lengths, strict=True)
    ]
    sounds = [melody_waveform(text) for text in texts]
    padded = np.zeros((len(sounds), max(map(len, sounds))), np.float32)
    for row, sound in zip(padded, sounds, strict=True):
        row[: len(sound)] = sound
    names = [f"sample {i + 1}, temperature {t:g}" for i, t in enumerate(arrays["temperature"])]
    return sound_panel(padded, names, 4000, "Sampled melodies", "Each letter is a note, a number its beats.")

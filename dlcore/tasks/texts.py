"""Texts: a text by name, in streams or windows, and samples that continue a prompt.

data=TextWindows(Text("pages", valid_fraction=0.1), window=64), measures=[LossBesideNgrams()], use=ContinuePrompts()
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.text import Vocabulary, load_text, split_text, streams, training_windows, windows
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError
from dlcore.kits.sequence.given_texts import given_texts
from dlcore.learner import Range, check_record
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.sequence.ngram import ngram_loss

__all__ = [
    "ContinuePrompts",
    "LossBesideNgrams",
    "Text",
    "TextSamples",
    "TextStreams",
    "TextTokens",
    "TextWindows",
    "characters_and_window",
    "log_characters",
    "num_characters",
]


class TextTokens(NamedTuple):
    """A text as tokens.

    Args:
      vocabulary: its characters.
      train: [N] tokens to train on.
      valid: [N] tokens to validate on.
      test: [N] tokens to test on, the end of the text.
    """

    vocabulary: Vocabulary
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


@dataclasses.dataclass(frozen=True)
class Text:
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

    def __post_init__(self):
        check_record(self)

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset not in ("pages", "melodies", "topics")

    def tokens(self) -> TextTokens:
        """Load the text and split it.

        Returns:
          The three parts as tokens.
        """
        text = load_text(self.dataset, self.data_dir)
        vocabulary = Vocabulary.of(text)
        return TextTokens(vocabulary, *split_text(vocabulary.encode(text), self.valid_fraction, self.test_fraction))

    def spec(self, tokens: TextTokens) -> dict[str, Any]:
        """List the facts of the text, for `Splits.spec`.

        Args:
          tokens: of `tokens`.

        Returns:
          Facts by name.
        """
        return {
            "dataset": self.dataset,
            "vocabulary": tokens.vocabulary.characters,
            "characters": {"train": len(tokens.train), "valid": len(tokens.valid), "test": len(tokens.test)},
        }


@dataclasses.dataclass(frozen=True)
class TextStreams:
    """A text that is read in streams, with a carry from step to step.

    Args:
      text: the text.
      eval_streams: streams that validation and test are cut into, each read from a zero carry
    """

    text: Text
    eval_streams: Annotated[int, Range(1)] = 16

    def __post_init__(self):
        check_record(self)

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.text.reads_files

    def load(self, batch_size: int) -> Splits:
        """Load the text, split into streams; validation and test lose no character.

        Args:
          batch_size: streams to train on.
        """
        tokens, name = self.text.tokens(), self.text.dataset
        return Splits(
            _streams("batch_size", batch_size, tokens.train, f"{name} (train)"),
            _streams("eval_streams", self.eval_streams, tokens.valid, f"{name} (validation)", whole=True),
            _streams("eval_streams", self.eval_streams, tokens.test, f"{name} (test)", whole=True),
            self.text.spec(tokens),
        )


@dataclasses.dataclass(frozen=True)
class TextWindows:
    """A text that is read in windows.

    Args:
      text: the text.
      window: characters that the model reads at once
      eval_stride: targets from one measured window to the next; fewer than the window give each target more context
    """

    text: Text
    window: Annotated[int, Range(2), "essential"] = 64
    eval_stride: Annotated[int | None, Range(1)] = None

    def __post_init__(self):
        check_record(self)

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.text.reads_files

    def load(self) -> Splits:
        """Load the text, split into windows."""
        tokens, name = self.text.tokens(), self.text.dataset
        if len(tokens.train) <= self.window:
            allowed = f"fewer than the {len(tokens.train)} characters of the text for training"
            raise FlagError(f"--window={self.window}: longer than the text; allowed: {allowed}")
        return Splits(
            training_windows(tokens.train, self.window, f"{name} (train)"),
            windows(tokens.valid, self.window, self.eval_stride, f"{name} (validation)"),
            windows(tokens.test, self.window, self.eval_stride, f"{name} (test)"),
            self.text.spec(tokens),
        )


class LossBesideNgrams:
    """Loss of the next token, in nats; the report shows it beside that of n-gram models."""

    metric = "loss"
    mode = "min"

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show the test loss beside that of n-gram models."""
        from dlcore.report.tables import table

        vocabulary, train, _, test = run.parts.data.text.tokens()
        size = len(vocabulary.characters)
        rows = [{"model": "uniform", "nats a character": float(np.log(size))}]
        rows += [
            {"model": f"order-{n} n-gram", "nats a character": ngram_loss(train, test, n, size)}
            for n in range(5)
            if len(test) > n
        ]
        rows.append({"model": "this model", "nats a character": context.numbers["loss"]})
        caption = "Test loss; n-grams add 0.05 to each count of the training text."
        return [table(rows, "Beside n-gram models", caption)]


@dataclasses.dataclass(frozen=True)
class TextSamples:
    """Samples that continue a prompt, in the report.

    Args:
      prompt: text that samples continue; in a text without its characters, that text's beginning
      temperatures: temperatures of the samples in the report; 0 is greedy
      num_samples: samples at each temperature; one at temperature 0
      stop: a character that ends a sample
    """

    prompt: str = "The "
    temperatures: Annotated[tuple[float, ...], Range(0)] = (0.0, 0.5, 1.0)
    num_samples: Annotated[int, Range(1)] = 2
    stop: str | None = None

    def __post_init__(self):
        check_record(self)

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Let the report continue the prompt; of a text without its characters, unless it was given, the beginning."""
        vocabulary, prompt = Vocabulary(splits.spec["vocabulary"]), self.prompt
        if self.stop and self.stop not in vocabulary.characters and len(self.stop) == 1:
            raise FlagError(f"--stop={self.stop!r}: is not in the text; allowed: its characters")
        window = getattr(run.parts.data, "window", None)
        if "prompt" not in run.flags.given and not set(prompt) <= set(vocabulary.characters):
            prompt = vocabulary.decode(run.parts.data.text.tokens().train[: min(len(prompt), window or len(prompt))])
        return splits._replace(shown=self.continuations([prompt], vocabulary, window)[0])

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the `stop_token`; None if samples have their full length."""
        if self.stop is not None and len(self.stop) != 1:
            raise FlagError(f"--stop={self.stop!r}: {len(self.stop)} characters; allowed: one character")
        return {"stop_token": None if self.stop is None else run.facts.vocabulary.index(self.stop)}

    def continuations(
        self, prompts: Sequence[str], vocabulary: Vocabulary, window: int | None = None, flag: str = "prompt"
    ) -> tuple[Source, list[str]]:
        """Build what is continued: each prompt at each temperature.

        Args:
          prompts: the prompts.
          vocabulary: the characters that the model knows.
          window: the most characters that it reads; None for any number of one length.
          flag: the flag that names the prompts, for errors.

        Returns:
          (source of `prompt`, `temperature` and, with a window, `prompt_length`; names).

        Raises:
          FlagError: a prompt is empty, longer than the window, or has unknown characters.
        """
        for prompt in prompts:
            if not prompt:
                raise FlagError(f"--{flag}='': empty; allowed: at least one character")
            if window is not None and len(prompt) > window:
                raise FlagError(f"--{flag}={prompt!r}: {len(prompt)} characters; allowed: at most --window={window}")
            for position, character in enumerate(prompt):
                if character not in vocabulary.characters:
                    unknown = f"{character!r} at position {position} is not in the text"
                    raise FlagError(f"--{flag}={prompt!r}: {unknown}; allowed: its characters")
        temperatures = [t for t in self.temperatures for _ in range(self.num_samples if t > 0 else 1)]
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

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show samples at each temperature, of melodies with their sound, and the curves."""
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
        sounds = [_sounds(context, vocabulary)] if context.spec["dataset"] == "melodies" else []
        return [samples._replace(half=True), *sounds, *triage_panels(losses, floor=None), curves(context.history)]


@dataclasses.dataclass(frozen=True)
class ContinuePrompts(TextSamples):
    """Use of a language model: `--mode=predict --input=PROMPT_OR_FILE` continues prompts, as the report does."""

    input_kind: ClassVar[str] = "PROMPT_OR_FILE"

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
        """Read a prompt, or a UTF-8 file of prompts, one a line: each is continued at each of the temperatures."""
        prompts = [line for line in given_texts(path) if line]
        if not prompts:
            raise FlagError(f"--input={path!r}: empty; allowed: a prompt, or a file of prompts, one a line")
        return self.continuations(prompts, Vocabulary(run.facts.vocabulary), run.parts.data.window, "input")

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe continuations, `tokens: [N, L]` of `length: [N]`, as `text`."""
        vocabulary = Vocabulary(facts.vocabulary)
        pairs = zip(outputs["tokens"], outputs["length"], strict=True)
        return [{"text": vocabulary.decode(tokens[:length])} for tokens, length in pairs]


def num_characters(run: Run) -> dict[str, int]:
    """Read the field `vocab_size` of a network from the data.

    Returns:
      `vocab_size`.
    """
    return {"vocab_size": len(run.facts.vocabulary)}


def characters_and_window(run: Run) -> dict[str, int]:
    """Read the fields of a network that reads windows from the data.

    Returns:
      `vocab_size` and `window`.
    """
    return {**num_characters(run), "window": run.parts.data.window}


def log_characters(run: Run) -> float:
    """Compute the initial loss of equally probable characters.

    Returns:
      Nats.
    """
    return math.log(len(run.facts.vocabulary))


def _streams(flag: str, count: int, tokens: np.ndarray, name: str, whole: bool = False) -> Source:
    """Split a part of the text into the number of streams of a flag."""
    try:
        return streams(tokens, count, name, whole=whole)
    except ValueError as error:
        raise FlagError(f"--{flag}={count}: {str(error).partition(': ')[2]}") from None


def _sounds(context: ReportContext, vocabulary: Vocabulary) -> Panel:
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

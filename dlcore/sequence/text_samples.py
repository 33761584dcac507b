"""Samples that continue a prompt, the loss beside that of n-grams, and how long the lines of a text are."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.given_texts import given_texts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.text import Vocabulary
from dlcore.learner import Range, check_record
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.sequence.ngram import ngram_loss
from dlcore.setting import FlagError

__all__ = [
    "ContinuePrompts",
    "LossBesideNgrams",
    "TextSamples",
    "characters_and_window",
    "log_characters",
    "num_characters",
]


class LossBesideNgrams:
    """Loss of the next token, in nats; the report shows it beside that of n-gram models."""

    metric = "loss"
    mode = "min"

    def panels(self, context: ReportContext, run: Any) -> list[Panel]:
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

    def finish_data(self, splits: Splits, run: Any) -> Splits:
        """Let the report continue the prompt; of a text without its characters, unless it was given, the beginning."""
        vocabulary, prompt = Vocabulary(splits.spec["vocabulary"]), self.prompt
        if self.stop and self.stop not in vocabulary.characters and len(self.stop) == 1:
            raise FlagError(f"--stop={self.stop!r}: is not in the text; allowed: its characters")
        window = getattr(run.parts.data, "window", None)
        if "prompt" not in run.flags.given and not set(prompt) <= set(vocabulary.characters):
            prompt = vocabulary.decode(run.parts.data.text.tokens().train[: min(len(prompt), window or len(prompt))])
        return splits._replace(shown=self.continuations([prompt], vocabulary, window)[0])

    def arguments(self, run: Any) -> dict[str, Any]:
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

    def panels(self, context: ReportContext, run: Any) -> list[Panel]:
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

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
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


def num_characters(run: Any) -> dict[str, int]:
    """Read the field `vocab_size` of a network from the data.

    Returns:
      `vocab_size`.
    """
    return {"vocab_size": len(run.facts.vocabulary)}


def characters_and_window(run: Any) -> dict[str, int]:
    """Read the fields of a network that reads windows from the data.

    Returns:
      `vocab_size` and `window`.
    """
    return {**num_characters(run), "window": run.parts.data.window}


def log_characters(run: Any) -> float:
    """Compute the initial loss of equally probable characters.

    Returns:
      Nats.
    """
    return math.log(len(run.facts.vocabulary))


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

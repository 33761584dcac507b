"""MaskedTexts: a text in windows, whose characters are hidden at random, and what fills them in."""

import dataclasses
import math
from typing import Annotated, Any

import numpy as np

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.text import Vocabulary, training_windows
from dlcore.data.texts import Text
from dlcore.learner import Range, check_record
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.sequence import masked_language_model
from dlcore.setting import FlagError

__all__ = ["HiddenCharacters", "MaskedTexts", "log_tokens", "masked_sizes"]

SHOWN = 12


@dataclasses.dataclass(frozen=True)
class MaskedTexts:
    """A text in windows, whose characters are hidden at random.

    Args:
      text: the text.
      window: characters of a text that the model reads at once
    """

    text: Text
    window: Annotated[int, Range(2), "essential"] = 16

    def __post_init__(self):
        check_record(self)

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.text.reads_files

    def load(self) -> Splits:
        """Load the text; training rows are two windows long, one every window, and those of the other parts a window.

        The accuracy of tables without a network is measured, too.
        """
        vocabulary, *parts = self.text.tokens()
        window, dataset = self.window, self.text.dataset
        shortest = min(map(len, parts))
        if window > shortest:
            raise FlagError(f"--window={window}: longer than a part of the text; allowed: at most {shortest}")
        names = [f"{dataset} ({part})" for part in ("train", "validation", "test")]
        train = training_windows(parts[0], window, names[0])
        valid, test = (
            Source({"text": np.lib.stride_tricks.sliding_window_view(part, window)[::window]}, name=name)
            for part, name in zip(parts[1:], names[1:], strict=True)
        )
        baselines = masked_language_model.two_sided_table_accuracy(parts[0], parts[2], len(vocabulary.characters))
        batch = {"text": [[window], "int32"]}  # training crops its rows of two windows
        spec = {"dataset": dataset, "vocabulary": vocabulary.characters, "baselines": baselines, "batch": batch}
        message = "test accuracy without a network: " + ", ".join(f"{name} {v:.3f}" for name, v in baselines.items())
        return Splits(
            train, valid, test, spec, (message,), shown=Source({"text": test.arrays["text"][:SHOWN]}, name="shown")
        )

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the `mask_token`, which follows the characters."""
        return {"mask_token": len(run.facts.vocabulary)}


class HiddenCharacters:
    """Accuracy of the hidden characters, and their loss, which selects the checkpoint."""

    metric = "loss"
    mode = "min"
    headline = "accuracy"

    def panels(self, context: ReportContext, run: Any) -> list[Panel]:
        """Show texts with filled-in characters, the accuracy beside those of tables, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.sequence import filled_text
        from dlcore.report.tables import table
        from dlcore.report.triage import triage_panels

        spec, outputs = context.spec, context.outputs
        vocabulary, mask_token = Vocabulary(spec["vocabulary"]), len(spec["vocabulary"])
        rows = zip(context.data.shown.arrays["text"], outputs["shown"], outputs["filled"], strict=True)
        texts = [
            (vocabulary.decode(text), vocabulary.decode(filled), masked == mask_token) for text, masked, filled in rows
        ]
        accuracies = {"this model": context.numbers["accuracy"], **spec["baselines"]}
        losses = [{k: v for k, v in row.items() if k != "accuracy"} for row in context.history]
        return [
            filled_text(texts),
            table(
                [{"": name, "accuracy, %": round(100 * value, 1)} for name, value in accuracies.items()],
                "Accuracy on hidden characters of the test text",
            ),
            *triage_panels(losses, floor=None),
            curves(context.history),
        ]


def masked_sizes(run: Any) -> dict[str, Any]:
    """Read the fields of a network that fills in characters from the data.

    Returns:
      `vocab_size`, of the characters and the mask token, `window` and `head`.
    """
    return {"vocab_size": len(run.facts.vocabulary) + 1, "window": run.parts.data.window, "head": "tokens"}


def log_tokens(run: Any) -> float:
    """Compute the initial loss of equally probable characters and mask tokens.

    Returns:
      Nats.
    """
    return math.log(len(run.facts.vocabulary) + 1)

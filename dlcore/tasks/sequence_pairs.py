"""Pairs of a source and a target sequence: the networks that read one and write the other, and what is shown of them.

network=EncoderDecoder("transformer", transformer={"features": 64}, rnn={"hidden_size": 128}), use=WriteSequences()
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.words import UNKNOWN, BytePairs, Words, pad_sequences, vocabulary_from_dict
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError
from dlcore.kits.sequence.given_texts import given_texts
from dlcore.learner import check_record
from dlcore.models.transformer import Transformer
from dlcore.modes.report_context import ReportContext
from dlcore.sequence.recurrent_encoder_decoder import RecurrentEncoderDecoder

__all__ = [
    "PLAIN",
    "SHORTEST",
    "SMOKE",
    "EncoderDecoder",
    "WriteSequences",
    "attention_panel",
    "log_vocabulary",
    "outputs_panel",
    "vocabularies",
]

PLAIN = {"transformer.dropout_rate": 0.0, "rnn.dropout_rate": 0.0, "label_smoothing": 0.0, "weight_decay": 0.0}
"""Values that switch the regularization off."""
SHORTEST = {"source": [[2], "int32"], "target": [[3], "int32"]}
"""`batch` of `Splits.spec`: a pair of one word each with special tokens; no parameter depends on the length."""

SMOKE = {
    "transformer.features": 16,
    "transformer.hidden_features": 16,
    "transformer.encoder_layers": 1,
    "transformer.decoder_layers": 1,
    "rnn.hidden_size": 16,
    "train_size": 200,
    "test_size": 16,
    "batch_size": 16,
    "eval_batch_size": 16,
    "steps": 4,
    "eval_every": 4,
}
"""Settings of --smoke."""


@dataclasses.dataclass(frozen=True)
class EncoderDecoder:
    """A network that reads the source and writes the target.

    Args:
      model: rnn: all passes through one vector; attention: the same with attention to the source; transformer
      transformer: fields of `Transformer`, the flags `--transformer.FIELD`.
      rnn: fields of `RecurrentEncoderDecoder`, the flags `--rnn.FIELD`, with attention or without.
    """

    model: Annotated[Literal["rnn", "attention", "transformer"], "essential"] = "transformer"
    transformer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rnn: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_record(self)

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The networks by the prefix of their flags."""
        return {
            "rnn": partial(RecurrentEncoderDecoder, **self.rnn),
            "transformer": partial(Transformer, **self.transformer),
        }

    def with_flags(self, flags: Any) -> "EncoderDecoder":
        """Return the networks with the values of their flags in their fields."""
        return EncoderDecoder(flags.model, flags.group("transformer"), flags.group("rnn"))

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        source, target = vocabularies(run.facts)
        sizes = len(target), None if source is target else len(source)
        if self.model == "transformer":
            return {"model": Transformer(*sizes, **self.transformer, dtype=run.dtype)}
        attention = "additive" if self.model == "attention" else "none"
        return {"model": RecurrentEncoderDecoder(*sizes, attention, **self.rnn, dtype=run.dtype)}


class WriteSequences:
    """Use of an encoder-decoder: `--mode=predict --input=TEXT_OR_FILE` writes the target of each sequence."""

    input_kind: ClassVar[str] = "TEXT_OR_FILE"

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
        """Read a text file of a sequence a line, or one sequence, each of at most `window` tokens."""
        vocabulary, lines, window = vocabularies(run.facts)[0], given_texts(path), run.facts.window
        assert window is not None
        rows = []
        for number, line in enumerate(lines, 1):
            row, where = vocabulary.encode(line), f"--input={path}: line {number}"
            if not len(row):
                raise FlagError(f"{where}: empty; allowed: a sequence a line")
            if len(row) > window:
                raise FlagError(f"{where}: {len(row)} tokens; allowed: at most {window}, the longest trained on")
            if (row == UNKNOWN).all():
                raise FlagError(f"{where}: {line!r} has no known token; allowed: those of the run's vocabulary")
            rows.append(row)
        if not rows:
            raise FlagError(f"--input={path}: empty; allowed: a sequence a line")
        return Source({"source": pad_sequences(rows, window + 1, start=False)}, name=path), lines

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe outputs.

        Returns:
          One dict per sequence: its `text`, its `tokens` and, of models with attention, `alignment`: for each token
          (END included) the attention weights over the source tokens.
        """
        target, rows = vocabularies(facts)[1], []
        for i, (tokens, length) in enumerate(zip(outputs["tokens"], outputs["length"], strict=True)):
            row = {"text": target.decode(tokens) or "(nothing)", "tokens": target.pieces(tokens)}
            if "alignment" in outputs:
                weights = np.asarray(outputs["alignment"][i, :length], float).round(3)
                row["alignment"] = weights[:, : 1 + np.flatnonzero(weights.any(0)).max()].tolist()
            rows.append(row)
        return rows


def log_vocabulary(run: Run) -> float:
    """Compute the initial loss of equally probable tokens.

    Returns:
      Nats.
    """
    return math.log(len(vocabularies(run.facts)[1]))


def vocabularies(facts: Facts) -> tuple[Words | BytePairs, Words | BytePairs]:
    """Read the vocabularies of a run.

    Args:
      facts: facts of the data, with `vocabulary`, and `source_vocabulary` if the source has its own.

    Returns:
      (source vocabulary, target vocabulary); the same object if they share it.
    """
    target = vocabulary_from_dict(facts.vocabulary)
    return target if facts.source_vocabulary is None else vocabulary_from_dict(facts.source_vocabulary), target


def outputs_panel(context: ReportContext, count: int = 12) -> Any:
    """Show sources, targets and outputs.

    Args:
      count: number of pairs.

    Returns:
      The panel.
    """
    check_whole_number("count", count, 1)
    from dlcore.report.tables import table
    from dlcore.sequence.seq2seq import matches

    (source, target), arrays = vocabularies(Facts.of(context.spec)), context.data.test.arrays
    tokens = context.outputs["tokens"]
    is_match = matches(tokens, arrays["target"])
    rows = [
        {
            "source": source.decode(arrays["source"][i]),
            "target": target.decode(arrays["target"][i]),
            "output": "the same" if is_match[i] else target.decode(tokens[i]),
        }
        for i in range(min(count, len(tokens)))
    ]
    return table(
        rows, "Outputs", f"The first {len(rows)} of the test split; {100 * is_match.mean():.1f} % of all are the same."
    )


def attention_panel(context: ReportContext, count: int = 3, choose: Callable[[int], bool] = lambda i: True) -> Any:
    """Show the attention from outputs to sources.

    Args:
      count: number of pairs.
      choose: index of a test pair -> whether to show it.

    Returns:
      The panel; None for a model without attention.
    """
    check_whole_number("count", count, 1)
    from dlcore.report.sequence import alignments

    if "alignment" not in context.outputs:
        return None
    (source, target), arrays = vocabularies(Facts.of(context.spec)), context.data.test.arrays
    idx = [i for i in range(len(arrays["source"])) if choose(i)][:count]
    kind = "additive attention" if context.flags.model == "attention" else "mean over heads of the last block"
    return alignments(
        [context.outputs["alignment"][i] for i in idx],
        [_named(source, arrays["source"][i]) for i in idx],
        [_named(target, context.outputs["tokens"][i]) for i in idx],
        subtitle=f"Columns: source tokens; rows: output tokens ({kind}); darker is more attention.",
    )


def _named(vocabulary: Words | BytePairs, tokens: Sequence[int]) -> list[str]:
    return [*vocabulary.pieces(tokens), "</s>"]

"""SequencePairs: pairs of a source and a target sequence, for sequence-to-sequence models."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.source import Source
from dlcore.data.words import UNKNOWN, BytePairs, Words, pad_sequences, vocabulary_from_dict
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.task import Task
from dlcore.kits.sequence.given_texts import given_texts
from dlcore.models.transformer import Transformer
from dlcore.modes.report_context import ReportContext
from dlcore.sequence.recurrent_encoder_decoder import RecurrentEncoderDecoder

__all__ = ["SHORTEST", "SMOKE", "SequencePairs", "attention_panel", "outputs_panel", "vocabularies"]

MODEL = Setting(
    "transformer",
    "rnn: all passes through one vector; attention: the same with attention to the source; transformer",
    Literal["rnn", "attention", "transformer"],
    essential=True,
)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequencePairs(Task):
    """Pairs of sequences, and the networks that `--model` names: a subclass has the data."""

    modules: ClassVar[dict[str, Callable]] = {"rnn": RecurrentEncoderDecoder, "transformer": Transformer}
    defaults: ClassVar[dict[str, Any]] = {
        "transformer.num_heads": 4,
        "transformer.encoder_layers": 2,
        "transformer.decoder_layers": 2,
        "transformer.dropout_rate": 0.0,
        "transformer.pre_norm": True,
        "rnn.hidden_size": 128,
        "rnn.embedding_dim": 64,
    }
    plain: ClassVar[dict[str, Any]] = {
        "transformer.dropout_rate": 0.0,
        "rnn.dropout_rate": 0.0,
        "label_smoothing": 0.0,
        "weight_decay": 0.0,
    }
    overfit: ClassVar[float] = 1e-2
    input_kind: ClassVar[str] = "TEXT_OR_FILE"

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task, and `--model`."""
        return {"model": MODEL, **super().settings()}

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network."""
        return {"model": self.network(setup)}

    def network(self, setup: Setup) -> Any:
        """Build the network that `--model` names.

        Returns:
          A model of `dlcore.sequence.seq2seq`.
        """
        source, target = vocabularies(setup.spec)
        sizes = len(target), None if source is target else len(source)
        if setup.flags.model == "transformer":
            return Transformer(*sizes, **setup.flags.group("transformer"), dtype=setup.dtype)
        attention = "additive" if setup.flags.model == "attention" else "none"
        return RecurrentEncoderDecoder(*sizes, attention, **setup.flags.group("rnn"), dtype=setup.dtype)

    def inputs(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        """Read the sequences of `--input`: a text file of one a line, or one sequence, of at most `window` tokens."""
        vocabulary, lines = vocabularies(spec)[0], given_texts(flags.input)
        rows = []
        for number, line in enumerate(lines, 1):
            row, where = vocabulary.encode(line), f"--input={flags.input}: line {number}"
            if not len(row):
                raise FlagError(f"{where}: empty; allowed: a sequence a line")
            if len(row) > spec["window"]:
                raise FlagError(
                    f"{where}: {len(row)} tokens; allowed: at most {spec['window']}, the longest trained on"
                )
            if (row == UNKNOWN).all():
                raise FlagError(f"{where}: {line!r} has no known token; allowed: those of the run's vocabulary")
            rows.append(row)
        if not rows:
            raise FlagError(f"--input={flags.input}: empty; allowed: a sequence a line")
        return Source({"source": pad_sequences(rows, spec["window"] + 1, start=False)}, name=flags.input), lines

    def describe(self, outputs: dict, spec: dict) -> list[dict]:
        """Describe outputs for `--mode=predict`.

        Returns:
          One dict per sequence: its `text`, its `tokens` and, of models with attention, `alignment`: for each token
          (END included) the attention weights over the source tokens.
        """
        target, rows = vocabularies(spec)[1], []
        for i, (tokens, length) in enumerate(zip(outputs["tokens"], outputs["length"], strict=True)):
            row = {"text": target.decode(tokens) or "(nothing)", "tokens": target.pieces(tokens)}
            if "alignment" in outputs:
                weights = np.asarray(outputs["alignment"][i, :length], float).round(3)
                row["alignment"] = weights[:, : 1 + np.flatnonzero(weights.any(0)).max()].tolist()
            rows.append(row)
        return rows


def vocabularies(spec: dict) -> tuple[Words | BytePairs, Words | BytePairs]:
    """Read the vocabularies of a run.

    Args:
      spec: facts of the data, with `vocabulary`, and `source_vocabulary` if the source has its own.

    Returns:
      (source vocabulary, target vocabulary); the same object if they share it.
    """
    target = vocabulary_from_dict(spec["vocabulary"])
    return vocabulary_from_dict(spec["source_vocabulary"]) if "source_vocabulary" in spec else target, target


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

    (source, target), arrays = vocabularies(context.spec), context.data.test.arrays
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
    (source, target), arrays = vocabularies(context.spec), context.data.test.arrays
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

"""Written sequences of `--mode=predict`, and panels of outputs and of attention."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.facts import Facts
from dlcore.data.given_texts import given_texts
from dlcore.data.sentence_pairs import vocabularies
from dlcore.data.source import Source
from dlcore.data.words import UNKNOWN, BytePairs, Words, pad_sequences
from dlcore.report.context import ReportContext
from dlcore.setting import FlagError

__all__ = ["WriteSequences", "attention_panel", "outputs_panel"]


class WriteSequences:
    """Use of an encoder-decoder: `--mode=predict --input=TEXT_OR_FILE` writes the target of each sequence."""

    input_kind: ClassVar[str] = "TEXT_OR_FILE"

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
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

"""BLEU of translations, and panels of some."""

from collections import Counter

import numpy as np

from dlcore.data.sentence_pairs import vocabularies
from dlcore.data.splits import Splits
from dlcore.data.words import tokenize
from dlcore.evaluators.text import bleu, text_evaluator
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.sequence import seq2seq
from dlcore.sequence.sequence_pairs import attention_panel, outputs_panel

__all__ = ["Bleu"]


class Bleu:
    """BLEU-4 of translations, on the words of the text whatever the vocabulary, and exact matches."""

    metric = "bleu4"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure BLEU and its kin, and exact matches."""
        references = [tokenize(sentence) for sentence in run.parts.data.sentences()[split].target]
        vocabulary = vocabularies(run.facts)[1]
        return [
            text_evaluator(
                lambda outputs, rows: [vocabulary.decode(tokens).split() for tokens in outputs["tokens"]],
                lambda rows: [[references[i]] for i in rows["index"]],
            ),
            seq2seq.exact_match(),
        ]

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show translations, attention, what trivial outputs score, and curves."""
        from dlcore.report.curves import curves
        from dlcore.report.tables import table

        splits = run.parts.data.sentences()
        source, references = ([tokenize(sentence) for sentence in side] for side in splits["test"][:2])
        common = tokenize(Counter(splits["train"].target).most_common(1)[0][0])
        trivial = {"a copy of the source": source, "the most frequent sentence": [common] * len(references)}
        rows = [
            {
                "output": name,
                "BLEU-4": 100 * bleu(texts, [[t] for t in references]),
                "exact": float(np.mean([a == b for a, b in zip(texts, references, strict=True)])),
            }
            for name, texts in trivial.items()
        ]
        numbers = context.numbers
        rows.append({"output": "this model", "BLEU-4": 100 * numbers["bleu4"], "exact": numbers["exact_match"]})
        length = (context.data.test.arrays["source"] > 0).sum(1)
        attention = attention_panel(context, choose=lambda i: 7 <= length[i] <= 16)
        return [
            outputs_panel(context),
            *([] if attention is None else [attention]),
            table(rows, "Scores", context.spec["signature"]),
            curves(context.history),
        ]

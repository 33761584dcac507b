"""LabeledTexts: texts with labels, the network that reads them, and the weights that it starts from.

encoder = TextEncoder("gpt2", width=64)
data=LabeledTexts(encoder, "topics"), network=ClassifyingEncoder(encoder), start=EncoderWeights(pages)
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.given_texts import given_texts
from dlcore.data.labeled_lines import labeled_texts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.text import load_text
from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.learner import CheckedRecord, Range, root_key
from dlcore.optim import trained_parts
from dlcore.optim.partial import PartsAdamW
from dlcore.report import prediction
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.sequence.text_classification import PADDING, TextClassifier
from dlcore.setting import FlagError, field_settings
from dlcore.transfer.frozen import PartlyFrozen
from dlcore.weights import pretrained_text_encoders
from dlcore.weights.pretrained_text_encoders import TextEncoder
from dlcore.weights.start import Start

__all__ = ["ClassifyTexts", "ClassifyingEncoder", "EncoderWeights", "LabeledTexts", "LayersAdamW", "TextPanels"]

NUM_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class LabeledTexts(CheckedRecord):
    """Texts with labels.

    Args:
      encoder: the network that reads them, whose tokens they become.
      dataset: texts with labels: topics, pages, file
      data_dir: file: a UTF-8 file of lines `label TAB text`
      length: words or characters of a line; texts of a file have their own
      num_labels: labeled training texts; none takes all
      valid_fraction: share of the texts held out for validation
      test_fraction: share of the texts held out for test
    """

    encoder: TextEncoder
    dataset: Annotated[str, "essential"] = "topics"
    data_dir: Annotated[str | None, "essential"] = None
    length: Annotated[int, Range(2)] = 8
    num_labels: Annotated[int | None, Range(2), "essential"] = 200
    valid_fraction: Annotated[float, Range(0.001, 0.4)] = 0.2
    test_fraction: Annotated[float, Range(0.001, 0.5)] = 0.4

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset not in ("topics", "pages")

    def load(self, seed: int = 0) -> Splits:
        """Load texts with labels as tokens: `num_labels` for training, others for validation and test.

        Args:
          seed: seed of the training and of the validation texts.
        """
        labeled = labeled_texts(self.dataset, self.length, self.data_dir)
        whole = "".join(labeled.texts) if self.dataset == "file" else load_text(self.dataset)
        tokens, spec = pretrained_text_encoders.facts(self.encoder, self.dataset, labeled.texts, whole)
        if spec["longest"] < 1 or not all(map(len, tokens)):
            raise FlagError(
                f"--dataset={self.dataset}: a text without a token; allowed: one at least, within the window"
            )
        rows = _rows_of(tokens, spec["longest"])
        num_cut = sum(len(text) > rows.shape[1] for text in tokens)
        # The test split is the same for every seed.
        order = np.random.default_rng(0).permutation(len(rows))
        num_test, num_valid = (max(1, round(f * len(rows))) for f in (self.test_fraction, self.valid_fraction))
        most = len(rows) - num_test - num_valid
        if not 1 <= (self.num_labels or 1) <= most:
            raise FlagError(f"--num_labels={self.num_labels}: more than are left for training; allowed: at most {most}")
        rest = np.random.default_rng(seed).permutation(order[num_test:])

        def source(indices: np.ndarray) -> Source:
            arrays = {"text": rows[indices], "label": labeled.labels[indices]}
            return Source(arrays, class_names=labeled.class_names, name=self.dataset)

        index = (rest[num_valid:][: self.num_labels], rest[:num_valid], order[:num_test])
        spec |= {"dataset": self.dataset, "class_names": list(labeled.class_names)}
        spec["num_classes"] = len(labeled.class_names)
        messages = (f"{num_cut} of {len(rows)} texts are cut after {rows.shape[1]} tokens",) if num_cut else ()
        return Splits(*map(source, index), spec, (*labeled.notes, *messages))


@dataclasses.dataclass(frozen=True)
class ClassifyingEncoder(CheckedRecord):
    """A text encoder with a linear classifier; parameters that no part names are frozen.

    Args:
      encoder: the encoder.
      pooling: whose features the classifier reads: those of the first token, of the last, or their mean; by default the
        last of GPT, and the first of BERT
    """

    encoder: TextEncoder
    pooling: Literal["first", "last", "mean"] | None = None

    def check(self, run: Run) -> None:
        """Check that flags fit together, and that the parts name parameters."""
        init = _initializer(self.encoder, run.parts.data.dataset)
        trained_parts.check_parts(run.parts.optimizer, jax.eval_shape(init)["params"])

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`, of which what does not learn is frozen."""
        model = TextClassifier(
            pretrained_text_encoders.build(run),
            run.facts.num_classes,
            self.pooling or ("last" if self.encoder.model == "gpt2" else "first"),
            run.spec["cls_token"],
            self.encoder.dropout,
            run.dtype,
        )
        return {"model": PartlyFrozen(model, trained_parts.parts_of(run.parts.optimizer))}


@dataclasses.dataclass(frozen=True)
class LayersAdamW(PartsAdamW):
    """AdamW of the parts that learn, or of one layer after the other."""

    def with_flags(self, flags: Flags) -> "LayersAdamW":
        """Return the record with the values of the flags, and a part for each layer in place of `gradual`."""
        values = {name: flags[name] for name in field_settings(self) if name in flags}
        unfolded = trained_parts.unfold_gradual(flags, lambda: _initializer(flags, flags.dataset)())
        return dataclasses.replace(self, **{**values, "parts": unfolded.parts})


@dataclasses.dataclass(frozen=True)
class EncoderWeights:
    """Weights of the encoder; the classifier starts anew.

    Args:
      pages: model -> page that trains it for `--init_from=pretraining`.
    """

    pages: Mapping[str, Experiment]

    def start(self, run: Run) -> Start | None:
        """Start from the weights of `--init_from`."""
        return pretrained_text_encoders.start(run, self.pages)


class ClassifyTexts:
    """Use of a classifier of texts: `--mode=predict --input=TEXT_OR_FILE` says their classes."""

    input_kind: ClassVar[str] = "TEXT_OR_FILE"

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
        """Read a text, or a UTF-8 file of texts, one a line."""
        texts = [text for text in given_texts(path) if text.strip()]
        if not texts:
            raise FlagError(f"--input={path!r}: empty; allowed: a text, or a file of texts, one a line")
        encode = pretrained_text_encoders.text_encoder(run.parts.network.encoder, run.spec, f"--input={path!r}")
        tokens = [encode(text) for text in texts]
        if empty := [text for text, row in zip(texts, tokens, strict=True) if not len(row)]:
            raise FlagError(f"--input={path!r}: {empty[0]!r} has no token; allowed: texts with one at least")
        rows = _rows_of(tokens, run.spec["longest"])
        return Source({"text": rows, "label": np.zeros(len(rows), np.int32)}, name="texts"), texts

    def describe(self, outputs: Any, facts: Facts) -> list[dict]:
        """Describe each text by its class and the probabilities of all."""
        return prediction.describe(outputs, {"class_names": list(facts.class_names)})


class TextPanels:
    """Report of a classifier of texts."""

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show the curves, texts of the test split, what is confused, and calibration."""
        from dlcore.report.classification import confusion_matrix, reliability_diagram
        from dlcore.report.curves import curves
        from dlcore.report.tables import table
        from dlcore.report.transfer import phase_gains
        from dlcore.report.triage import triage_panels

        spec, names = context.spec, context.spec["class_names"]
        test, probabilities = context.data.test.arrays, context.outputs["probabilities"]
        measures = {**context.numbers, **context.arrays}
        calibration = {k.removeprefix("calibration/"): v for k, v in measures.items() if k.startswith("calibration/")}
        rows = [
            {
                "text": pretrained_text_encoders.decode(run.parts.network.encoder, spec, text[text != PADDING]),
                "label": names[label],
                "predicted": names[p.argmax()],
                "probability, %": round(100 * float(p.max()), 1),
            }
            for text, label, p in zip(
                *(x[:NUM_SHOWN] for x in (test["text"], test["label"], probabilities)), strict=True
            )
        ]
        caption = "The first texts, unselected." + (" Each character is a word." if spec["dataset"] == "topics" else "")
        return [
            *phase_gains(context.history, trained_parts.parts_of(run.parts.optimizer)),
            table(rows, "Texts of the test split", caption),
            confusion_matrix(context.arrays["confusion"], names),
            reliability_diagram(calibration),
            *triage_panels(context.history),
            curves(context.history),
        ]


def _rows_of(tokens: list[np.ndarray], longest: int) -> np.ndarray:
    """[N, T] int32: texts cut after `longest` tokens, with PADDING behind shorter ones."""
    length = min(longest, max(map(len, tokens)))
    rows = np.full((len(tokens), length), PADDING, np.int32)
    for row, text in zip(rows, tokens, strict=True):
        row[: len(text)] = text[:length]
    return rows


def _initializer(encoder: Any, dataset: str) -> Callable[[], Any]:
    """Build what initializes the network; paths depend on neither length nor classes."""
    model = TextClassifier(pretrained_text_encoders.check(encoder, dataset), 2)
    return lambda: model.init(root_key(0), jnp.zeros((1, 1), jnp.int32))

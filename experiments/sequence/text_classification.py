"""Text classification by a GPT or BERT that first learned to continue or fill in a text without labels.

python -m experiments.sequence.text_classification                                   (fine-tuned: 98.8 %)
python -m experiments.sequence.text_classification --parts=head              (the network stays as it is: 98.8 %)
python -m experiments.sequence.text_classification --init_from=none                  (from random weights: 55.6 %)
python -m experiments.sequence.text_classification --model=bert             (BERT: 93.8 %; from random weights 52.8 %)
python -m experiments.sequence.text_classification --init_from=RUN --dataset=pages --length=32              (not run)
python -m experiments.sequence.text_classification --init_from=FOLDER --tokenizer=tokenizer.json --dataset=file \\
    --data_dir=labels.tsv --num_labels=none --learning_rate=5e-5 --layer_decay=0.9                           (not run)

By default the data are lines of 8 words, labeled by their topic, in a drawn language in which each character is a
word; 1.7 % of the lines have no word of their topic. There are 200 labels; the weights come from a run of
sequence.language_model, or with `--model=bert` of sequence.masked_language_model, on a text of that language without
labels, which is found or trained first. RUN is such a run of your own, whose vocabulary the texts must have. FOLDER
holds published weights (`dlcore convert`) of GPT-2 or BERT, and tokenizer.json is the file beside them, by the package
`tokenizers`. A network from weights has their form.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.labeled_lines import labeled_texts
from dlcore.data.source import Source
from dlcore.data.text import load_text
from dlcore.experiment import Experiment, Flags, Range, Setting, Setup
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.images import prediction
from dlcore.kits.sequence import text_encoders
from dlcore.kits.sequence.given_texts import given_texts
from dlcore.kits.training import parts
from dlcore.kits.training.parts import PartsAdamW
from dlcore.main import main
from dlcore.modes.report_context import ReportContext
from dlcore.sequence import text_classification
from dlcore.sequence.text_classification import PADDING, TextClassifier
from dlcore.transfer.frozen import PartlyFrozen
from dlcore.weights.start import Start
from experiments.sequence.language_model import experiment as gpt2
from experiments.sequence.masked_language_model import experiment as bert

NUM_SHOWN = 12


def rows_of(tokens: list[np.ndarray], longest: int) -> np.ndarray:
    """[N, T] int32: texts cut after `longest` tokens, with PADDING behind shorter ones."""
    length = min(longest, max(map(len, tokens)))
    rows = np.full((len(tokens), length), PADDING, np.int32)
    for row, text in zip(rows, tokens, strict=True):
        row[: len(text)] = text[:length]
    return rows


def initializer(flags: Flags) -> Callable[[], Any]:
    """A function that initializes the network; paths depend on neither length nor classes."""
    model = TextClassifier(text_encoders.check(flags), 2)
    return lambda: model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))


def unfolded(flags: Flags) -> Flags:
    """Replace `--parts=gradual` by a part for each layer."""
    return parts.unfold_gradual(flags, initializer(flags))


@dataclasses.dataclass(frozen=True)
class LayersAdamW(PartsAdamW):
    """AdamW of the parts that learn, or of one layer after the other."""

    def build(self, setup: Setup) -> optax.GradientTransformationExtraArgs:
        return super().build(setup._replace(flags=unfolded(setup.flags)))


@dataclasses.dataclass(frozen=True)
class LabeledTexts(Task):
    """Texts with labels, and a network that reads them.

    Args:
      dataset: texts with labels: topics, pages, file
      data_dir: file: a UTF-8 file of lines `label TAB text`
      length: words or characters of a line; texts of a file have their own
      num_labels: labeled training texts; none takes all
      valid_fraction: share of the texts held out for validation
      test_fraction: share of the texts held out for test
      pooling: whose features the classifier reads: those of the first token, of the last, or their mean; by default the
        last of GPT, and the first of BERT
    """

    dataset: Annotated[str, "essential"] = "topics"
    data_dir: Annotated[str | None, "essential"] = None
    length: Annotated[int, Range(2)] = 8
    num_labels: Annotated[int | None, Range(2), "essential"] = 200
    valid_fraction: Annotated[float, Range(0.001, 0.4)] = 0.2
    test_fraction: Annotated[float, Range(0.001, 0.5)] = 0.4
    pooling: Literal["first", "last", "mean"] | None = None

    plain: ClassVar[dict[str, Any]] = {"dropout": 0.0, "label_smoothing": 0.0, "l2": 0.0, "weight_decay": 0.0}
    regularizer = "l2"
    overfit = 1e-2
    input_kind = "TEXT_OR_FILE"

    def settings(self) -> dict[str, Setting]:
        return {**super().settings(), **text_encoders.SETTINGS, **parts.SETTINGS}

    def check(self, flags: Flags) -> None:
        """Check that flags fit together, and that the parts name parameters."""
        parts.check_parts(unfolded(flags), jax.eval_shape(initializer(flags))["params"])

    def data(self, flags: Flags) -> Splits:
        """Load texts with labels as tokens: `--num_labels` for training, others for validation and test."""
        labeled = labeled_texts(flags.dataset, flags.length, flags.data_dir)
        whole = "".join(labeled.texts) if flags.dataset == "file" else load_text(flags.dataset)
        tokens, spec = text_encoders.facts(flags, labeled.texts, whole)
        if spec["longest"] < 1 or not all(map(len, tokens)):
            raise FlagError(
                f"--dataset={flags.dataset}: a text without a token; allowed: one at least, within the window"
            )
        rows = rows_of(tokens, spec["longest"])
        num_cut = sum(len(text) > rows.shape[1] for text in tokens)
        # The test split is the same for every seed.
        order = np.random.default_rng(0).permutation(len(rows))
        num_test, num_valid = (max(1, round(f * len(rows))) for f in (flags.test_fraction, flags.valid_fraction))
        most = len(rows) - num_test - num_valid
        if not 1 <= (flags.num_labels or 1) <= most:
            raise FlagError(
                f"--num_labels={flags.num_labels}: more than are left for training; allowed: at most {most}"
            )
        rest = np.random.default_rng(flags.seed).permutation(order[num_test:])

        def source(indices: np.ndarray) -> Source:
            arrays = {"text": rows[indices], "label": labeled.labels[indices]}
            return Source(arrays, class_names=labeled.class_names, name=flags.dataset)

        index = (rest[num_valid:][: flags.num_labels], rest[:num_valid], order[:num_test])
        spec |= {"dataset": flags.dataset, "class_names": list(labeled.class_names)}
        spec["num_classes"] = len(labeled.class_names)
        messages = (f"{num_cut} of {len(rows)} texts are cut after {rows.shape[1]} tokens",) if num_cut else ()
        return Splits(*map(source, index), spec, (*labeled.notes, *messages))

    def arguments(self, setup: Setup) -> dict[str, Any]:
        flags, spec = setup.flags, setup.spec
        model = TextClassifier(
            text_encoders.build(setup),
            spec["num_classes"],
            flags.pooling or ("last" if flags.model == "gpt2" else "first"),
            spec["cls_token"],
            flags.dropout,
            setup.dtype,
        )
        return {"model": PartlyFrozen(model, parts.parts_of(unfolded(flags)))}

    def start(self, setup: Setup) -> Start | None:
        return text_encoders.start(setup, {"gpt2": gpt2, "bert": bert})

    def expected_loss(self, setup: Setup) -> float:
        return math.log(setup.spec["num_classes"])

    def inputs(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        """Read the texts of `--mode=predict`: `--input` is a text, or a UTF-8 file of texts, one a line."""
        texts = [text for text in given_texts(flags.input) if text.strip()]
        if not texts:
            raise FlagError(f"--input={flags.input!r}: empty; allowed: a text, or a file of texts, one a line")
        encode = text_encoders.text_encoder(flags, spec, f"--input={flags.input!r}")
        tokens = [encode(text) for text in texts]
        if empty := [text for text, row in zip(texts, tokens, strict=True) if not len(row)]:
            raise FlagError(f"--input={flags.input!r}: {empty[0]!r} has no token; allowed: texts with one at least")
        rows = rows_of(tokens, spec["longest"])
        return Source({"text": rows, "label": np.zeros(len(rows), np.int32)}, name="texts"), texts

    def describe(self, outputs: Any, spec: dict) -> list[dict]:
        return prediction.describe(outputs, spec)

    def panels(self, context: ReportContext) -> list:
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
                "text": text_encoders.decode(context.flags, spec, text[text != PADDING]),
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
            *phase_gains(context.history, parts.parts_of(unfolded(context.flags))),
            table(rows, "Texts of the test split", caption),
            confusion_matrix(context.arrays["confusion"], names),
            reliability_diagram(calibration),
            *triage_panels(context.history),
            curves(context.history),
        ]


experiment = Experiment(
    __file__,
    __doc__,
    text_classification.learner,
    task=LabeledTexts(),
    optimizer=LayersAdamW(learning_rate=2e-3, weight_decay=0.01, clip_norm=1.0),
    defaults={"steps": 200, "batch_size": 32, "eval_every": 50},
    smoke={"num_layers": 1, "num_heads": 2, "width": 8, "steps": 4, "batch_size": 8, "eval_every": 2},
)

if __name__ == "__main__":
    main(experiment)

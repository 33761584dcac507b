"""Text classification by a GPT or BERT that first learned to continue or fill in a text without labels.

python -m experiments.sequence.text_classification                                          (fine-tuned)
python -m experiments.sequence.text_classification --parts=head                             (the network stays as it is)
python -m experiments.sequence.text_classification --init_from=none                         (from random weights)
python -m experiments.sequence.text_classification --model=bert                             (BERT, by its first token)
python -m experiments.sequence.text_classification --init_from=RUN --dataset=pages --length=32              (not run)
python -m experiments.sequence.text_classification --init_from=FOLDER --tokenizer=tokenizer.json --dataset=file \\
    --data_dir=labels.tsv --num_labels=none --learning_rate=5e-5 --layer_decay=0.9                           (not run)

By default the data are lines of 16 words, labeled by their topic, in a drawn language in which each character is a
word. There are 200 labels; the weights come from a run of sequence.language_model, or with `--model=bert` of
sequence.masked_language_model, on a text of that language without labels, which is found or trained first. RUN is such
a run of your own, whose vocabulary the texts must have. FOLDER holds published weights (`dlcore convert`) of GPT-2 or
BERT, and tokenizer.json is the file beside them, by the package `tokenizers`. A network from weights has their form.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.labeled_lines import LABELED_TEXTS, labeled_texts
from dlcore.data.source import Source
from dlcore.data.text import Vocabulary, load_text, read_utf8
from dlcore.experiment import Experiment, Flags, Setting, Setup
from dlcore.experiment.origin import Origin, Start, read_origin
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.extras import require
from dlcore.kits.images import prediction
from dlcore.kits.training import earlier_run, optimizer, parts
from dlcore.learner import Range
from dlcore.main import main
from dlcore.models import bert, create_model, gpt2
from dlcore.modes.report_context import ReportContext
from dlcore.sequence import text_classification
from dlcore.sequence.text_classification import PADDING, TextClassifier
from dlcore.transfer.frozen import PartlyFrozen

PRETRAINING = "pretraining"
PAGES = {"gpt2": "sequence.language_model", "bert": "sequence.masked_language_model"}
FAMILIES = {"gpt2": gpt2, "bert": bert}
FORM = ("num_layers", "num_heads", "width")
NUM_SHOWN = 12

SETTINGS = {
    "dataset": Setting("topics", f"texts with labels: {', '.join(LABELED_TEXTS)}", essential=True),
    "data_dir": Setting(None, "file: a UTF-8 file of lines `label TAB text`", str | None, essential=True),
    "length": Setting(16, "words or characters of a line; texts of a file have their own", limits=Range(2)),
    "num_labels": Setting(200, "labeled training texts; none takes all", int | None, Range(2), essential=True),
    "valid_fraction": Setting(0.2, "share of the texts held out for validation", limits=Range(0.001, 0.4)),
    "test_fraction": Setting(0.4, "share of the texts held out for test", limits=Range(0.001, 0.5)),
    "model": Setting("gpt2", "network that reads a text", Literal["gpt2", "bert"], essential=True),
    "pooling": Setting(
        None,
        "whose features the classifier reads: those of the first token, of the last, or their mean; by default the "
        "last of GPT, and the first of BERT",
        Literal["first", "last", "mean"] | None,
    ),
    "num_layers": Setting(2, "blocks of a network that is not from weights", limits=Range(1)),
    "num_heads": Setting(4, "attention heads of a network that is not from weights", limits=Range(1)),
    "width": Setting(64, "features of a token in a network that is not from weights", limits=Range(1)),
    "dropout": Setting(0.1, "probability to drop a feature in training", limits=Range(0, 0.99), regularizes=True),
    "init_from": Setting(
        PRETRAINING,
        "weights to start from: a run of sequence.language_model (GPT) or sequence.masked_language_model (BERT), or a "
        "folder of `dlcore convert`; pretraining finds or trains such a run on the text of --dataset; none starts from "
        "random ones",
        str | None,
        essential=True,
        origin=lambda flags: origin(flags),
    ),
    "pretraining_steps": Setting(1000, "training steps of --init_from=pretraining", limits=Range(1)),
    "tokenizer": Setting(
        None, "tokenizer.json of published weights; by default tokens are characters", str | None, essential=True
    ),
    **parts.SETTINGS,
    **{k: v for k, v in optimizer.SETTINGS.items() if k not in ("ema", "accumulate", "l1", "max_norm")},
}


def origin(flags: Flags) -> Origin | None:
    """Read where the weights of `--init_from` come from, and check that they are of such a network."""
    if flags.init_from in (None, PRETRAINING):
        return None
    found = read_origin(flags.init_from, "init_from")
    page, names = PAGES[flags.model], FAMILIES[flags.model].MODELS
    if found.page != page and not (found.page is None and found.model in names):
        given = f"weights of {found.model}" if found.page is None else f"a run of {found.page}"
        allowed = (
            f"a run of {page}, or a folder of `dlcore convert` with {' or '.join(names)}, as --model={flags.model}"
        )
        raise FlagError(f"--{found.name}: {given}; allowed: {allowed}")
    if found.page is None and flags.tokenizer is None:
        raise FlagError(f"--{found.name}: reads tokens of its own; allowed: beside --tokenizer, its tokenizer.json")
    network = network_of(flags, found)
    for name in FORM:
        if name in flags.given and flags[name] != getattr(network, name):
            raise FlagError(f"--{name}={flags[name]}: not of the weights; allowed: {getattr(network, name)}")
    return found


def network_of(flags: Flags, found: Origin | None, vocab_size: int = 2, window: int = 2) -> nn.Module:
    """Build the network, in the form of its weights; without some, in that of the flags, vocabulary and window."""
    extra = {"head": "pooled"} if flags.model == "bert" else {}  # without the head that fills in tokens
    if found is not None and found.page is None:
        return create_model(found.model, **(found.fields | extra | {"dropout": flags.dropout}))
    if found is not None:
        fields = {k: v for k, v in found.fields.items() if k != "head"} | {"window": found.settings["window"]}
        vocab_size = len(found.spec["vocabulary"])
    else:
        fields = {name: flags[name] for name in FORM} | {"window": window}
        fields |= {"mlp_features": 4 * flags.width} if flags.model == "bert" else {}
    if flags.model == "bert" and flags.tokenizer is None:
        vocab_size += 1  # the mask token
    module = gpt2.GPT2 if flags.model == "gpt2" else bert.BERT
    return module(**(fields | extra | {"vocab_size": vocab_size, "dropout": flags.dropout}))


def check(flags: Flags) -> None:
    """Check that flags fit together, and that the parts name parameters."""
    if flags.tokenizer is not None:
        require("tokenizers", what="--tokenizer")
        if not Path(flags.tokenizer).is_file():
            raise FlagError(f"--tokenizer={flags.tokenizer}: no such file; allowed: a tokenizer.json")
    found = origin(flags)
    if flags.tokenizer is not None and (flags.init_from == PRETRAINING or (found and found.page)):
        problem = f"--tokenizer={flags.tokenizer}: --init_from={flags.init_from} reads characters"
        raise FlagError(f"{problem}; allowed: beside a folder of `dlcore convert`, or --init_from=none")
    if flags.init_from == PRETRAINING and flags.dataset == "file":
        raise FlagError("--init_from=pretraining: of the embedded texts; allowed with --dataset=file: weights or none")
    if found is None and flags.width % flags.num_heads:
        raise FlagError(f"--num_heads={flags.num_heads}: does not divide --width={flags.width}; allowed: a divisor")
    model = TextClassifier(network_of(flags, found), 2)
    tokens = jnp.zeros((1, 1), jnp.int32)
    parts.check_parts(flags, jax.eval_shape(lambda: model.init(jax.random.key(0), tokens))["params"])


def tokenizer_of(path: str) -> Any:
    """Read a tokenizer.json."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(path)
    except Exception as error:  # the package raises no other class
        raise FlagError(f"--tokenizer={path}: {error}; allowed: a tokenizer.json") from None


def encoder(flags: Flags, vocabulary: str | None, what: str) -> tuple[Callable[[str], np.ndarray], int]:
    """(text -> tokens [n], different tokens), by the characters or by `--tokenizer`."""
    if vocabulary is None:
        tokenizer = tokenizer_of(flags.tokenizer)
        return lambda text: np.array(tokenizer.encode(text).ids, np.int32), tokenizer.get_vocab_size()
    table = Vocabulary(vocabulary)

    def encode(text: str) -> np.ndarray:
        if unknown := sorted(set(text) - set(vocabulary)):
            missing = ", ".join(map(repr, unknown[:5]))
            raise FlagError(f"{what}: a text has {missing}, which is not in the vocabulary; allowed: its characters")
        return table.encode(text).astype(np.int32)

    return encode, len(vocabulary)


def rows_of(tokens: list[np.ndarray], longest: int) -> np.ndarray:
    """[N, T] int32: texts cut after `longest` tokens, with PADDING behind shorter ones."""
    length = min(longest, max(map(len, tokens)))
    rows = np.full((len(tokens), length), PADDING, np.int32)
    for row, text in zip(rows, tokens, strict=True):
        row[: len(text)] = text[:length]
    return rows


def data(flags: Flags) -> Splits:
    """Load texts with labels as tokens: `--num_labels` for training, others for validation and test."""
    labeled, found, vocabulary = labeled_texts(flags.dataset, flags.length, flags.data_dir), origin(flags), None
    if flags.tokenizer is None and found is not None:
        vocabulary = found.spec["vocabulary"]
    elif flags.tokenizer is None:
        whole = "".join(labeled.texts) if flags.dataset == "file" else load_text(flags.dataset)
        vocabulary = Vocabulary.of(whole).characters
    what = f"--dataset={flags.dataset}" if found is None else f"--{found.name}"
    encode, size = encoder(flags, vocabulary, what)
    tokens = [encode(text) for text in labeled.texts]
    cls_token = size if flags.model == "bert" and vocabulary is not None else None
    extra = 0 if cls_token is None else 1
    network = network_of(flags, found, size, max(map(len, tokens)) + extra)
    if vocabulary is None and size != network.vocab_size:
        problem = f"--tokenizer={flags.tokenizer}: {size} tokens"
        raise FlagError(f"{problem}; allowed: the tokenizer of the weights, {network.vocab_size}")
    if network.window <= extra or not all(map(len, tokens)):
        raise FlagError(f"{what}: no token is left of a text; allowed: texts of one at least, and a window for it")
    rows = rows_of(tokens, network.window - extra)
    num_cut = sum(len(text) > rows.shape[1] for text in tokens)
    # The test split is the same for every seed, as a run's weights may come from another.
    order = np.random.default_rng(0).permutation(len(rows))
    num_test, num_valid = (max(1, round(f * len(rows))) for f in (flags.test_fraction, flags.valid_fraction))
    rest = np.random.default_rng(flags.seed).permutation(order[num_test:])
    if not len(rest) > num_valid:
        raise FlagError(f"--dataset={flags.dataset}: {len(rows)} texts; allowed: enough for three splits")
    most = len(rest) - num_valid
    if flags.num_labels is not None and flags.num_labels > most:
        raise FlagError(f"--num_labels={flags.num_labels}: more than there are; allowed: at most {most}, or none")
    index = (rest[num_valid:][: flags.num_labels], rest[:num_valid], order[:num_test])

    def source(chosen: np.ndarray) -> Source:
        arrays = {"text": rows[chosen], "label": labeled.labels[chosen]}
        return Source(arrays, class_names=labeled.class_names, name=flags.dataset)

    fields = {f.name: getattr(network, f.name) for f in dataclasses.fields(network) if f.name not in ("parent", "name")}
    spec = {
        "dataset": flags.dataset,
        "class_names": list(labeled.class_names),
        "num_classes": len(labeled.class_names),
        "network": {name: value for name, value in fields.items() if name != "dtype"},
        "cls_token": cls_token,
        **({} if vocabulary is None else {"vocabulary": vocabulary}),
    }
    notes = (f"{num_cut} of {len(rows)} texts are cut after {rows.shape[1]} tokens",) if num_cut else ()
    return Splits(*map(source, index), spec, notes)


def build(setup: Setup):
    flags, spec = setup.flags, setup.spec
    module = gpt2.GPT2 if flags.model == "gpt2" else bert.BERT
    model = TextClassifier(
        module(**spec["network"], dtype=setup.dtype),
        spec["num_classes"],
        flags.pooling or ("last" if flags.model == "gpt2" else "first"),
        spec["cls_token"],
        flags.dropout,
        setup.dtype,
    )
    return text_classification.learner(
        model=PartlyFrozen(model, parts.parts_of(flags)),
        optimizer=parts.build_optimizer(setup),
        **flags.group("learner"),
    )


def pretrained(setup: Setup) -> dict:
    """Load the parameters of the network that `--init_from` names, or of a run on the text without labels."""
    flags, network = setup.flags, setup.spec["network"]
    found = origin(flags)
    if found is not None and found.page is None:
        from dlcore.run.weights import load_weights

        return load_weights(found.path)[1]["params"]
    if found is not None:
        return earlier_run.load(found.path).params
    words = [f"--{name}={flags.get(name)}" for name in ("dataset",)]
    words += [f"--window={network['window']}", "--learning_rate=2e-3"]
    words += [f"--model.{name}={network[name]}" for name in (*FORM, "mlp_features") if name in network]
    if not flags.smoke:
        words += [f"--steps={flags.pretraining_steps}", "--batch_size=64", "--eval_every=500"]
    page = PAGES[flags.model]
    folder = earlier_run.find_or_train(flags.replace(init_from=None), "init_from", page, words)
    phase = earlier_run.load(folder)
    earlier_run.check_facts(f"init_from={str(folder)!r}", phase.spec, setup.spec, "vocabulary")
    return phase.params


def start(setup: Setup) -> Start | None:
    """Start the network from weights, and its head anew."""
    flags = setup.flags
    if flags.init_from is None:
        return None
    load = functools.cache(lambda: pretrained(setup))

    def fitted(state):
        from dlcore.run.weights import fit_weights

        # Heads of the pretraining (BERT's transform and pooler) serve nothing here.
        network = {name: leaves for name, leaves in load().items() if name in state.params["network"]}
        weights = {"params": {"network": network}}
        return fit_weights(weights, {"params": state.params}, f"init_from={flags.init_from!r}")[0]["params"]

    def replace(state):
        params = jax.tree.map(jnp.asarray, fitted(state))
        return state.replace(params=params, opt_state=jax.jit(parts.build_optimizer(setup).init)(params))

    return Start(replace, lambda state: None if flags.init_from == PRETRAINING else fitted(state) and None)


def inputs(flags: Flags, spec: dict) -> tuple[Source, list[str]]:
    """Read the texts of `--mode=predict`: `--input` is a text, or a UTF-8 file of texts, one a line."""
    path = Path(flags.input)
    try:
        texts = read_utf8(path, "input").splitlines() if path.is_file() else [flags.input]
    except OSError:  # a long text is no path
        texts = [flags.input]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise FlagError(f"--input={flags.input!r}: empty; allowed: a text, or a file of texts, one a line")
    encode, _ = encoder(flags, spec.get("vocabulary"), "--input")
    longest = spec["network"]["window"] - (0 if spec["cls_token"] is None else 1)
    rows = rows_of([encode(text) for text in texts], longest)
    return Source({"text": rows, "label": np.zeros(len(rows), np.int32)}, name="texts"), texts


def readable(flags: Flags, spec: dict, tokens: np.ndarray) -> str:
    """The text of a row of tokens."""
    tokens = tokens[tokens != PADDING]
    if "vocabulary" in spec:
        return Vocabulary(spec["vocabulary"]).decode(tokens)
    return tokenizer_of(flags.tokenizer).decode(tokens.tolist())


def panels(context: ReportContext) -> list:
    """Show the curves, what is confused, calibration, and texts of the test split."""
    from dlcore.report.classification import confusion_matrix, reliability_diagram
    from dlcore.report.curves import curves
    from dlcore.report.tables import table
    from dlcore.report.transfer import bought
    from dlcore.report.triage import triage_panels

    spec, names = context.spec, context.spec["class_names"]
    test, probabilities = context.data.test.arrays, context.outputs["probabilities"]
    measures = {**context.numbers, **context.arrays}
    calibration = {k.removeprefix("calibration/"): v for k, v in measures.items() if k.startswith("calibration/")}
    rows = [
        {
            "text": readable(context.flags, spec, text),
            "label": names[label],
            "predicted": names[p.argmax()],
            "probability, %": round(100 * float(p.max()), 1),
        }
        for text, label, p in zip(*(x[:NUM_SHOWN] for x in (test["text"], test["label"], probabilities)), strict=True)
    ]
    note = "The first texts, unselected." + (" Each character is a word." if spec["dataset"] == "topics" else "")
    return [
        bought(context.history, parts.parts_of(context.flags)),
        table(rows, "Texts of the test split", note),
        confusion_matrix(context.arrays["confusion"], names),
        reliability_diagram(calibration),
        *triage_panels(context.history),
        curves(context.history),
    ]


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=text_classification.learner,
    data=data,
    build=build,
    settings=SETTINGS,
    defaults={
        "steps": 200,
        "batch_size": 32,
        "learning_rate": 2e-3,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "eval_every": 50,
    },
    smoke={"num_layers": 1, "num_heads": 2, "width": 8, "steps": 4, "batch_size": 8, "eval_every": 2},
    expected_loss=lambda setup: math.log(setup.spec["num_classes"]),
    plain={"dropout": 0.0, "label_smoothing": 0.0, "l2": 0.0, "weight_decay": 0.0},
    regularizer="l2",
    inputs=inputs,
    describe=prediction.describe,
    check=check,
    start=start,
    schedule=optimizer.schedule,
    panels=panels,
)

if __name__ == "__main__":
    main(experiment)

"""The pages of strings and of translation: their data, what --input takes, BLEU by hand, and a grammar to learn."""

import gzip
import types
from typing import NamedTuple

import chex
import jax
import numpy as np
import optax
import pytest

from dlcore.data.facts import Facts
from dlcore.data.sentence_pairs import vocabularies
from dlcore.data.strings import STRING_TASKS
from dlcore.data.words import END, PAD, START, UNKNOWN, Words, pad_sequences
from dlcore.evaluators.string_matches import mirrored
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.models.transformer import Transformer
from dlcore.modes import predict
from dlcore.sequence import seq2seq, sequence_pairs
from dlcore.setting import FlagError
from experiments.sequence import seq2seq as strings_page
from experiments.vision_language import translation as page
from tests.overriding import inputs_of

LINES = {
    "de": ["Ein Hund rennt.", "Die Katze schläft.", "Ein Hund schläft heute lange.", "Die Katze rennt."],
    "en": ["A dog runs.", "The cat sleeps.", "A dog sleeps long today.", "The cat runs."],
}
HELD_OUT = {"de": ["Ein Hund rennt lange.", "Die Maus schläft."], "en": ["A dog runs long.", "The mouse sleeps."]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("multi30k")
    for language in LINES:
        for stem, lines in (("train", LINES), ("val", HELD_OUT), ("test_2016_flickr", HELD_OUT)):
            with gzip.open(root / f"{stem}.{language}.gz", "wt", encoding="utf-8") as file:
                file.write("\n".join(lines[language]) + "\n")
    return root


def flags(experiment, *words):
    return resolve(experiment, list(words), predict.MODE.settings)


def of(folder, *words):
    return flags(page.experiment, "--dataset=multi30k", f"--data_dir={folder}", "--min_count=1", *words)


# Strings


def test_the_help_names_all_tasks_of_strings():
    setting = strings_page.experiment.settings["task"]
    assert setting.help == f"what to make of a string: {', '.join(STRING_TASKS)}"


@pytest.mark.weekly
def test_strings_held_out_are_not_trained_on():
    sizes = ("--train_size=300", "--valid_size=10", "--test_size=40")
    settings = flags(strings_page.experiment, "--lengths=2,3", "--vocabulary=4", *sizes)
    data = strings_page.experiment.run(settings).load()
    rows = [{row.tobytes() for row in split.arrays["source"]} for split in (data.train, data.valid, data.test)]
    assert not rows[0] & (rows[1] | rows[2])
    assert 0 < len(data.train) < 300
    assert len(data.test) == 40
    with pytest.raises(FlagError, match="--lengths=1,1: all strings are held out; allowed: longer"):
        strings_page.experiment.run(flags(strings_page.experiment, "--lengths=1,1", "--vocabulary=2")).load()
    with pytest.raises(FlagError, match="--lengths=5,4: no range"):
        strings_page.experiment.run(flags(strings_page.experiment, "--lengths=5,4")).load()
    with pytest.raises(FlagError, match="--task=turn: unknown; allowed: copy, reverse, sort"):
        strings_page.experiment.run(flags(strings_page.experiment, "--task=turn")).load()


@pytest.mark.covers("SQ-13")
@pytest.mark.parametrize("task", ["copy", "reverse"])
def test_a_symbol_is_aligned_where_its_step_looks_at_the_symbol_that_it_repeats(task):
    """Two strings of 3 and 2: four of the five symbols look right; END's row does not count."""
    source = pad_sequences([[4, 5, 6], [7, 8]], start=False)
    alignment = np.zeros((2, 6, 4))
    places = [[2, 1, 0, 3], [1, 1, 2]] if task == "reverse" else [[0, 1, 2, 3], [1, 1, 2]]
    for row, steps in enumerate(places):
        alignment[row, np.arange(len(steps)), steps] = 1
    evaluator = mirrored(task)
    acc = evaluator.add(None, {"alignment": alignment}, {"source": source})
    assert evaluator.finish(acc) == {"aligned": 0.8}
    assert evaluator.finish(evaluator.add(None, {"tokens": source}, {"source": source})) == {}


# What --input names


class Case(NamedTuple):
    text: str
    message: str


@pytest.mark.parametrize(
    "case",
    [
        Case("a b\n\nc\n", "line 2: empty; allowed: a sequence a line"),
        Case("a b c d e\n", "line 1: 5 tokens; allowed: at most 4"),
        Case("a b\nx y\n", "line 2: 'x y' has no known token"),
        Case("", "empty; allowed: a sequence a line"),
    ],
)
def test_bad_input_is_named_with_its_line(case, tmp_path):
    data = strings_page.experiment.run(
        flags(strings_page.experiment, "--smoke", "--vocabulary=4", "--lengths=2,4")
    ).load()
    path = tmp_path / "strings.txt"
    path.write_text(case.text)
    with pytest.raises(FlagError, match=case.message):
        inputs_of(strings_page.experiment, flags(strings_page.experiment, f"--input={path}"), data.spec)


def test_input_is_a_file_or_a_sequence(tmp_path):
    spec = (
        strings_page.experiment.run(flags(strings_page.experiment, "--smoke", "--vocabulary=4", "--lengths=2,4"))
        .load()
        .spec
    )
    path = tmp_path / "strings.txt"
    path.write_text("\ufeffa b\nd\u2028x\n", encoding="utf-8")  # no token, and no line's end
    source, names = inputs_of(strings_page.experiment, flags(strings_page.experiment, f"--input={path}"), spec)
    np.testing.assert_array_equal(source.arrays["source"], [[4, 5, END, PAD, PAD], [7, UNKNOWN, END, PAD, PAD]])
    assert names == ["a b", "d\u2028x"]
    source, names = inputs_of(strings_page.experiment, flags(strings_page.experiment, "--input=c c"), spec)
    assert source.arrays["source"][0].tolist() == [6, 6, END, PAD, PAD]
    with pytest.raises(FlagError, match=r"^--input=.none.txt.: no such file; allowed: a text file"):
        inputs_of(strings_page.experiment, flags(strings_page.experiment, "--input=none.txt"), spec)
    outputs = {
        "tokens": np.array([[5, 4, END, PAD], [END, PAD, PAD, PAD]]),
        "length": np.array([3, 1]),
        "alignment": np.full((2, 4, 5), [0.2004, 0.8, 0, 0, 0]),
    }
    rows = strings_page.experiment.use.describe(outputs, Facts.of(spec))
    assert [row["text"] for row in rows] == ["b a", "(nothing)"]
    assert rows[0]["tokens"] == ["b", "a"]
    assert rows[0]["alignment"] == [[0.2, 0.8]] * 3  # b, a and END, of `w END`


# Translation


@pytest.mark.covers("CP-07")
def test_pairs_become_tokens_and_the_vocabulary_is_saved(folder):
    data = page.experiment.run(of(folder)).load()
    source, target = vocabularies(Facts.of(data.spec))
    assert source.decode(data.train.arrays["source"][0]) == "ein hund rennt ."
    assert target.decode(data.train.arrays["target"][0]) == "a dog runs ."
    assert (data.train.arrays["target"][:, 0] == START).all()
    assert source.unknown("die maus schläft") == ["maus"]
    assert data.spec["window"] == 32
    assert "lower case" in data.spec["signature"]
    assert "test" in data.spec["signature"]
    turned = page.experiment.run(of(folder, "--source=en", "--target=de")).load()
    assert vocabularies(Facts.of(turned.spec))[1].decode(turned.train.arrays["target"][1]) == "die katze schläft ."


@pytest.mark.covers("CP-07")
def test_byte_pairs_are_shared_and_every_word_can_be_written(folder):
    pytest.importorskip("tokenizers")
    data = page.experiment.run(of(folder, "--vocabulary=byte_pairs", "--vocabulary_size=60")).load()
    source, target = vocabularies(Facts.of(data.spec))
    assert source is target
    assert target.decode(data.train.arrays["source"][1]) == "die katze schläft ."
    setup = ResolvedRun(page.experiment, of(folder, "--vocabulary=byte_pairs", "--vocabulary_size=60")).training_of(
        data
    )
    network = setup.arguments()["model"]
    assert network.source_vocab_size is None
    assert network.vocab_size == len(target) <= 60


def test_buckets_hold_all_pairs_with_little_padding(folder):
    data = page.experiment.run(of(folder, "--buckets=2")).load()
    assert {name: len(group) for name, group in data.train.items()} == {"length0": 2, "length1": 2}
    chex.assert_shape(data.train["length0"].arrays["source"], (2, 5))  # ein hund rennt . END
    chex.assert_shape(data.train["length1"].arrays["target"], (2, 8))  # START a dog sleeps long today . END
    assert sorted(int(n) for group in data.train.values() for n in group.names) == [1, 2, 3, 4]
    with pytest.raises(FlagError, match="--buckets=9: more than the 4 pairs"):
        page.experiment.run(of(folder, "--buckets=9")).load()


@pytest.mark.weekly
@pytest.mark.covers("CP-07")
def test_the_loss_of_buckets_is_that_of_all_their_tokens(folder):
    whole, parts = page.experiment.run(of(folder)).load(), page.experiment.run(of(folder, "--buckets=2")).load()
    resolved = ResolvedRun(page.experiment, of(folder, "--smoke", "--model=rnn", "--batch_size=2"))
    learner = resolved.training_of(whole).build()
    one = whole.train[np.arange(4)]
    two = {name: group[np.arange(2)] for name, group in parts.train.items()}
    state = jax.jit(learner.init)(jax.random.key(0), one)
    assert jax.tree.map(np.shape, state.params) == jax.tree.map(np.shape, learner.init(jax.random.key(0), two).params)
    (a, metrics), (b, merged) = (learner.loss(state.params, state, batch) for batch in (one, two))
    assert float(a) == pytest.approx(float(b), rel=1e-5)
    assert metrics["loss"].compute() == pytest.approx(merged["loss"].compute(), rel=1e-5)
    assert int(merged["loss"].count) == 5 + 5 + 7 + 5


@pytest.mark.covers("CP-07")
def test_bleu_is_of_the_words_of_the_text_and_unknown_ones_never_match(folder):
    """`a dog runs .` against `a dog runs long .`: 4 of 4, 2 of 3 (a dog, dog runs), 1 of 2 and 0 of 1 n-grams."""
    settings = of(folder)
    data = page.experiment.run(settings).load()
    setup = ResolvedRun(page.experiment, settings).training_of(data)
    texts, exact = setup.evaluators(data, "test")
    target, rows = vocabularies(Facts.of(data.spec))[1], data.test[np.arange(2)]
    right = pad_sequences([target.encode(text) for text in HELD_OUT["en"]], 9)[:, 1:]
    acc = texts.add(None, {"tokens": right}, rows)
    numbers = texts.finish(acc)
    # long, mouse: unknown to the vocabulary of the second sentence alone; 8 of its 9 words match
    assert numbers["bleu1"] == pytest.approx(8 / 9)
    assert exact.finish(exact.add(None, {"tokens": right}, rows)) == {"exact_match": 1.0}
    short = pad_sequences([target.encode("a dog runs ."), []], 9)[:, 1:]
    numbers = texts.finish(texts.add(None, {"tokens": short}, rows))
    assert numbers["bleu1"] == pytest.approx(np.exp(1 - 9 / 4))
    # 4 of 4, 2 of 3, 1 of 2 and, smoothed as the COCO caption tools do, 1e-15 of 1; 4 words for 9.
    assert numbers["bleu4"] == pytest.approx(np.exp(1 - 9 / 4) * (2 / 3 * 1 / 2 * 1e-15) ** 0.25, rel=1e-4)
    nothing = np.full((2, 4), UNKNOWN)
    assert texts.finish(texts.add(None, {"tokens": nothing}, rows))["bleu4"] < 1e-12


def test_bad_data_is_one_line(folder, tmp_path):
    with pytest.raises(FlagError, match="--data_dir: missing"):
        page.experiment.run(flags(page.experiment, "--dataset=multi30k")).load()
    with pytest.raises(ValueError, match="target='de': the language of the source"):
        page.experiment.run(of(folder, "--target=de")).load()
    for name in folder.iterdir():
        (tmp_path / name.name).write_bytes(name.read_bytes())
    with gzip.open(tmp_path / "val.en.gz", "wt") as file:
        file.write("One line.\n")
    with pytest.raises(ValueError, match="2 and 1 lines; allowed: as many of each"):
        page.experiment.run(of(tmp_path)).load()


@pytest.mark.weekly
@pytest.mark.covers("CP-07")
def test_a_grammar_is_translated_without_a_mistake_that_bleu_would_see():
    """Short sentences of the grammar: 400 steps, then sentences that were not among those trained on."""
    words = ["--train_size=12000", "--test_size=1500", "--min_count=1"]
    resolved = ResolvedRun(page.experiment, flags(page.experiment, *words))
    data = page.experiment.run(resolved.flags).load()

    def short(source):
        """Sources of at most 7 words and END; `wants to` makes a target one longer, with START and END."""
        rows = np.flatnonzero((source.arrays["source"] > 0).sum(1) <= 8)
        return {side: source.arrays[side][rows, : 8 + 2 * k] for k, side in enumerate(("source", "target"))}, rows

    (train, _), (test, rows) = short(data.train), short(data.test)
    source, target = vocabularies(Facts.of(data.spec))
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(4e-3, 400)))
    model = Transformer(len(target), len(source), 64, 4, 128, 1, 1, dropout_rate=0.0, pre_norm=True)
    learner = seq2seq.learner(model=model, optimizer=tx, max_length=10)
    init, update, guess = (jax.jit(f) for f in (learner.init, learner.update, learner.predict))
    draw = np.random.default_rng(0)

    def batch(arrays, idx):
        return {side: rows[idx] for side, rows in arrays.items()} | {"index": np.arange(len(idx), dtype=np.int32)}

    state = init(jax.random.key(0), batch(train, np.arange(64)))
    for _ in range(400):
        state, _ = update(state, batch(train, draw.integers(0, len(train["source"]), 64)))
    held_out = batch(test, np.arange(len(rows)))
    outputs = guess(state, held_out)
    texts, exact = resolved.training_of(data).evaluators(data, "test")
    assert texts.finish(texts.add(None, outputs, {"index": rows}))["bleu4"] > 0.97
    assert exact.finish(exact.add(None, outputs, held_out))["exact_match"] > 0.9


def shown_pairs(**outputs):
    """The words 4 to 6 are a, b and c; the first output is its target, the second is not."""
    vocabulary = Words(("a", "b", "c"))
    arrays = {"source": np.array([[4, 5, END], [6, END, PAD]]), "target": np.array([[START, 4, END], [START, 5, END]])}
    return types.SimpleNamespace(
        spec={"vocabulary": vocabulary.to_dict()},
        data=types.SimpleNamespace(test=types.SimpleNamespace(arrays=arrays)),
        outputs={"tokens": np.array([[4, END], [6, END]]), **outputs},
        flags=types.SimpleNamespace(model="attention"),
    )


def test_outputs_stand_beside_their_targets(monkeypatch):
    monkeypatch.setattr("dlcore.report.tables.table", lambda *rest: rest)
    rows, _, subtitle = sequence_pairs.outputs_panel(shown_pairs())
    assert rows == [
        {"source": "a b", "target": "a", "output": "the same"},
        {"source": "c", "target": "b", "output": "c"},
    ]
    assert subtitle == "The first 2 of the test split; 50.0 % of all are the same."
    rows, _, subtitle = sequence_pairs.outputs_panel(shown_pairs(), count=1)
    assert (len(rows), subtitle) == (1, "The first 1 of the test split; 50.0 % of all are the same.")


def test_attention_is_shown_of_chosen_pairs(monkeypatch):
    monkeypatch.setattr("dlcore.report.sequence.alignments", lambda *rest, **more: (*rest, more["subtitle"]))
    assert sequence_pairs.attention_panel(shown_pairs()) is None
    context = shown_pairs(alignment=np.array([1.0, 2.0]))
    weights, sources, outputs, subtitle = sequence_pairs.attention_panel(context, choose=lambda i: i == 1)
    assert (weights, sources, outputs) == ([2.0], [["c", "</s>"]], [["c", "</s>"]])
    assert "(additive attention)" in subtitle
    context.flags.model = "transformer"
    weights, *_, subtitle = sequence_pairs.attention_panel(context, count=1)
    assert weights == [1.0]
    assert "(mean over heads of the last block)" in subtitle

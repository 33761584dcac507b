"""What pages of text say of texts that are too short, and which prompt they continue."""

import types

import numpy as np
import pytest

from dlcore.data.facts import Facts
from dlcore.data.openwebtext import TokenFiles
from dlcore.data.text import TEXTS, Vocabulary
from dlcore.data.texts import Text, TextTokens
from dlcore.experiment.resolve import resolve
from dlcore.report.panel import Panel
from dlcore.sequence import text_samples
from dlcore.sequence.text_samples import ContinuePrompts, LossBesideNgrams, TextSamples
from dlcore.setting import FlagError, field_settings
from experiments.sequence.char_rnn import experiment as char_rnn
from experiments.sequence.language_model import experiment as language_model


def splits(page, path, *words):
    return page.run(resolve(page, ["--smoke", "--dataset=file", f"--data_dir={path}", *words])).load()


@pytest.mark.parametrize("page", [char_rnn, language_model])
def test_a_text_without_the_prompts_letters_is_continued_from_its_beginning(tmp_path, page):
    """The default prompt is 'The '; given on the command line, it must be of the text."""
    (tmp_path / "low.txt").write_text("an own text, in small letters. " * 40)
    found = splits(page, tmp_path / "low.txt", "--eval_streams=2" if page is char_rnn else "--window=16")
    vocabulary = Vocabulary(found.spec["vocabulary"])
    assert {vocabulary.decode(row) for row in found.shown.arrays["prompt"]} == {"an o"}
    if page is language_model:
        narrow = splits(page, tmp_path / "low.txt", "--window=2")
        assert {vocabulary.decode(row) for row in narrow.shown.arrays["prompt"]} == {"an"}, "no longer than the window"
    with pytest.raises(FlagError, match=r"--prompt='The ': 'T' at position 0 is not in the text; allowed: its char"):
        splits(page, tmp_path / "low.txt", "--prompt=The ")


def test_streams_that_a_text_does_not_fill_are_named_by_their_flag(tmp_path):
    """100 characters: 80, 10 and 10; nine transitions in rows of two fill five streams."""
    (tmp_path / "x.txt").write_text("The " * 25)
    with pytest.raises(FlagError, match=r"--batch_size=90: file \(train\) has 80 characters, too few; allowed: 79 str"):
        splits(char_rnn, tmp_path / "x.txt", "--batch_size=90")
    message = r"--eval_streams=7: file \(validation\) has 10 characters, too few; allowed: 5 streams"
    with pytest.raises(FlagError, match=message):
        splits(char_rnn, tmp_path / "x.txt", "--batch_size=4", "--eval_streams=7")


def test_a_file_of_prompts_has_a_prompt_a_line(tmp_path):
    """U+FEFF in front is no character, and U+2028 is one and ends no line."""
    (tmp_path / "prompts.txt").write_text("\ufeffa\u2028b\n\nb\n", encoding="utf-8")
    run = types.SimpleNamespace(
        facts=Facts(vocabulary="ab\u2028"), parts=types.SimpleNamespace(data=types.SimpleNamespace(window=64))
    )
    source, names = ContinuePrompts(temperatures=(0.0,), num_samples=1).inputs(str(tmp_path / "prompts.txt"), run)
    assert source.arrays["prompt"].tolist() == [[0, 2, 1], [1, 0, 0]]
    assert len(names) == 2


def test_the_tokens_of_all_files_are_checked_by_the_vocabulary(tmp_path):
    """100 and 20 tokens in windows of 4: training has 90 in rows of 8; the last token of val.bin is 50."""
    np.arange(100, dtype=np.uint16).clip(0, 49).tofile(tmp_path / "train.bin")
    np.full(20, 50, np.uint16).tofile(tmp_path / "val.bin")
    words = {"data_dir": str(tmp_path), "window": 4, "valid_fraction": 0.1}
    with pytest.raises(ValueError, match=r"val.bin': token 0 is 50; allowed: 0 to 49, those of the vocabulary"):
        TokenFiles(**words, num_tokens=50).load()
    splits = TokenFiles(**words, num_tokens=51).load()
    assert [len(split) for split in (splits.train, splits.valid, splits.test)] == [21, 2, 4]
    assert splits.train[:1]["text"].shape == (1, 8)
    assert splits.test[:1]["text"].shape == (1, 5)


def test_a_plan_of_files_of_tokens_needs_no_file():
    """OpenWebText has 9,035,582,198 tokens, which are 2,258,895,549 windows of 4 and two more."""
    spec, batch = TokenFiles(window=4).planned()
    assert spec == {"dataset": "tokens", "train_size": 2_258_895_549}
    assert {name: (x.shape, x.dtype.name) for name, x in batch.items()} == {
        "text": ((1, 8), "uint16"), "index": ((1,), "int32"),
    }  # fmt: skip
    assert TokenFiles(window=4, token_dtype="uint32").planned()[1]["text"].dtype == np.int32
    with pytest.raises(ValueError, match=r"data_dir=None: missing; allowed: a folder with train.bin and val.bin"):
        TokenFiles(window=4).load()


def test_the_help_names_all_texts():
    assert field_settings(Text())["dataset"].help == f"a text: {', '.join(TEXTS)}"


def test_each_prompt_is_continued_at_each_temperature():
    """Greedily once, and twice at each other temperature."""
    vocabulary = Vocabulary("abc")
    samples = TextSamples()
    source, names = samples.continuations(["ab", "c"], vocabulary, 4)
    np.testing.assert_array_equal(source.arrays["temperature"], [0, 0.5, 0.5, 1, 1] * 2)
    assert source.arrays["prompt"].tolist() == [[0, 1]] * 5 + [[2, 0]] * 5
    assert source.arrays["prompt_length"].tolist() == [2] * 5 + [1] * 5
    assert (names[0], names[9]) == ("'ab' at temperature 0", "'c' at temperature 1")
    assert "prompt_length" not in samples.continuations(["ab"], vocabulary)[0].arrays
    samples.continuations(["abca"], vocabulary, 4)
    with pytest.raises(FlagError, match="--prompt='abcab': 5 characters; allowed: at most --window=4"):
        samples.continuations(["abcab"], vocabulary, 4)
    with pytest.raises(FlagError, match="--input='': empty; allowed: at least one character"):
        samples.continuations([""], vocabulary, flag="input")


def test_a_sample_ends_at_one_character():
    run = types.SimpleNamespace(facts=Facts(vocabulary="abc"))
    assert TextSamples(stop="c").arguments(run) == {"stop_token": 2}
    assert TextSamples().arguments(run) == {"stop_token": None}
    with pytest.raises(FlagError, match="--stop='ab': 2 characters; allowed: one character"):
        TextSamples(stop="ab").arguments(run)


def test_samples_follow_their_prompts(monkeypatch, bare_panels):
    calls = []
    monkeypatch.setattr("dlcore.report.sequence.text_samples", lambda *rest: calls.append(rest) or Panel("t", "", ""))
    monkeypatch.setattr("dlcore.report.sound.sound_panel", lambda *rest: rest)
    monkeypatch.setattr("dlcore.data.melodies.melody_waveform", lambda text: np.ones(len(text)))
    shown = types.SimpleNamespace(arrays={"prompt": np.array([[0], [1]]), "temperature": np.array([0.0, 0.5])})
    context = types.SimpleNamespace(
        spec={"dataset": "melodies", "vocabulary": "abc", "characters": {"test": 1200}},
        data=types.SimpleNamespace(shown=shown),
        outputs={"tokens": np.array([[1, 2, 0], [2, 2, 2]]), "length": np.array([2, 3])},
        history=[{"step": 1, "accuracy": 0.5, "loss": 2.0}],
    )
    samples, sounds, triage, history = TextSamples().panels(context, None)
    prompts, continuations, temperatures, caption = calls[0]
    assert (prompts, continuations, temperatures.tolist()) == (["a", "b"], ["bc", "ccc"], [0, 0.5])
    assert caption == "After the prompt in bold. The test text has 1,200 characters, 3 different ones."
    assert samples.half
    assert triage == ([{"step": 1, "loss": 2.0}], None)
    assert history == context.history
    assert sounds[0].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert sounds[1:3] == (["sample 1, temperature 0", "sample 2, temperature 0.5"], 4000)
    context.spec["dataset"] = "file"
    assert len(TextSamples().panels(context, None)) == 3


def test_a_model_stands_beside_n_grams(monkeypatch):
    monkeypatch.setattr("dlcore.report.tables.table", lambda rows, *rest: rows)
    monkeypatch.setattr(
        text_samples, "ngram_loss", lambda train, test, n, size: float(len(train) * 100 + 10 * n + size)
    )

    def panels(num_test):
        tokens = TextTokens(Vocabulary("abc"), np.zeros(9), np.zeros(2), np.zeros(num_test))
        data = types.SimpleNamespace(text=types.SimpleNamespace(tokens=lambda: tokens))
        run = types.SimpleNamespace(parts=types.SimpleNamespace(data=data))
        return LossBesideNgrams().panels(types.SimpleNamespace(numbers={"loss": 0.5}), run)

    (rows,) = panels(3)
    # Of orders 0 to 4 those with more test characters than their order.
    assert [tuple(row.values()) for row in rows] == [
        ("uniform", float(np.log(3))),
        ("order-0 n-gram", 903.0),
        ("order-1 n-gram", 913.0),
        ("order-2 n-gram", 923.0),
        ("this model", 0.5),
    ]
    (rows,) = panels(9)
    assert [row["model"] for row in rows[1:-1]] == [f"order-{n} n-gram" for n in range(5)]


def test_continuations_end_at_their_length():
    outputs = {"tokens": np.array([[0, 1, 2], [2, 2, 0]]), "length": np.array([3, 1])}
    assert ContinuePrompts().describe(outputs, Facts(vocabulary="abc")) == [{"text": "abc"}, {"text": "c"}]
    assert text_samples.log_characters(types.SimpleNamespace(facts=Facts(vocabulary="abc"))) == pytest.approx(np.log(3))

"""What pages of text say of texts that are too short, and which prompt they continue."""

import numpy as np
import pytest

from dlcore.data.text import TEXTS, Vocabulary
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.experiment.setting import FlagError
from dlcore.kits.sequence import token_files
from dlcore.tasks.texts import Texts
from experiments.sequence.char_rnn import experiment as char_rnn
from experiments.sequence.language_model import experiment as language_model


def splits(page, path, *words):
    return page.task.data(resolve(page, ["--smoke", "--dataset=file", f"--data_dir={path}", *words]))


@pytest.mark.parametrize("page", [char_rnn, language_model])
def test_a_text_without_the_prompts_letters_is_continued_from_its_beginning(tmp_path, page):
    """The default prompt is 'The '; given on the command line, it must be of the text."""
    (tmp_path / "low.txt").write_text("an own text, in small letters. " * 40)
    found = splits(page, tmp_path / "low.txt", "--eval_streams=2" if page is char_rnn else "--window=16")
    vocabulary = Vocabulary(found.spec["vocabulary"])
    assert {vocabulary.decode(row) for row in found.shown.arrays["prompt"]} == {"an o"}
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
    flags = Flags({"input": str(tmp_path / "prompts.txt"), "temperatures": (0.0,), "num_samples": 1})
    source, names = language_model.task.inputs(flags, {"vocabulary": "ab\u2028"})
    assert source.arrays["prompt"].tolist() == [[0, 2, 1], [1, 0, 0]]
    assert len(names) == 2


def test_the_tokens_of_all_files_are_checked_by_the_vocabulary(tmp_path):
    """100 and 20 tokens in windows of 4: training has 90 in rows of 8; the last token of val.bin is 50."""
    np.arange(100, dtype=np.uint16).clip(0, 49).tofile(tmp_path / "train.bin")
    np.full(20, 50, np.uint16).tofile(tmp_path / "val.bin")
    words = {"data_dir": str(tmp_path), "window": 4, "valid_fraction": 0.1, "token_dtype": "uint16", "batch_size": 2}
    flags = Flags(words)
    with pytest.raises(ValueError, match=r"val.bin': token 0 is 50; allowed: 0 to 49, those of the vocabulary"):
        token_files.data(flags, 50)
    splits = token_files.data(flags, 51)
    assert [len(split) for split in (splits.train, splits.valid, splits.test)] == [21, 2, 4]


def test_the_help_names_all_texts():
    assert Texts().settings()["dataset"].help == f"a text: {', '.join(TEXTS)}"

"""Lines have the labels of what they are from, files of texts are read, and bad lines are named."""

import numpy as np
import pytest

from dlcore.data.labeled_lines import PAGE_TEXTS, labeled_texts, page_lines
from dlcore.data.text import Vocabulary, embedded_pages
from dlcore.data.topics import as_characters, topic_lines


def test_lines_have_the_labels_of_their_texts():
    lines, names = page_lines(32), list(PAGE_TEXTS)
    characters = Vocabulary.of(embedded_pages()).characters
    read = ["".join(characters[t] for t in row) for row in lines.tokens]
    assert "".join(read) == embedded_pages()[: 32 * len(read)]
    found = {
        words: names[label]
        for text, label in zip(read, lines.labels, strict=True)
        for words in ("Jabberwock,", "Ozymandias", "nation, ", "shepherd", "good fortune,")
        if words in text
    }
    assert found == {
        "Jabberwock,": "Carroll's verse",
        "Ozymandias": "romantic verse",
        "nation, ": "Gettysburg",
        "shepherd": "Bible",
        "good fortune,": "novels",
    }
    texts = labeled_texts("pages", 32)
    assert (texts.texts, texts.class_names) == (read, tuple(names))
    np.testing.assert_array_equal(texts.labels, lines.labels)


def test_a_line_that_begins_with_a_text_has_its_label():
    label, words = next((k, each[0]) for k, each in enumerate(PAGE_TEXTS.values()) if embedded_pages().index(each[0]))
    assert page_lines(embedded_pages().index(words)).labels[1] == label


def test_topics_are_lines_of_characters():
    texts, lines = labeled_texts("topics", 5), topic_lines(5, 1500)
    assert texts.texts[7] == as_characters(lines.tokens[7])
    assert (len(texts.texts), texts.class_names[3]) == (1500, "topic 3")
    np.testing.assert_array_equal(texts.labels, lines.labels)


def test_a_file_of_labels_and_texts(tmp_path):
    path = tmp_path / "texts.tsv"
    path.write_text("good\tfine film\nbad\tdull, and\tlong\n\n good \tbrave\n", encoding="utf-8")
    texts = labeled_texts("file", 4, path)
    assert texts.texts == ["fine film", "dull, and\tlong", "brave"]
    assert texts.class_names == ("bad", "good")
    assert texts.labels.tolist() == [1, 0, 1]


LINES = "good\tfine film\nbad\tdull\ngood\tbrave\nbad\tlong\n"


@pytest.mark.parametrize(
    ("content", "texts", "note"),
    [
        ("\ufeff" + LINES, ["fine film", "dull", "brave", "long"], ""),
        ("\ufeff" + LINES.replace("\n", "\r\n"), ["fine film", "dull", "brave", "long"], ""),
        ("Label\tText\n" + LINES, ["fine film", "dull", "brave", "long"], "label TAB text, was left out as a header"),
        # As csv writers do where a text has a quote, a tab or a newline of its own; what is not quoted stays.
        (
            LINES.replace("dull", '"say ""no"""'),
            ["fine film", 'say "no"', "brave", "long"],
            "read without them, as csv",
        ),
        (LINES.replace("dull", '"one\nand two"'), ["fine film", "one\nand two", "brave", "long"], "as csv has it"),
        (LINES.replace("dull", '"No," he said'), ["fine film", '"No," he said', "brave", "long"], ""),
        # Other line breaks of Unicode end no line.
        (LINES.replace("dull", "one\u2028two\x0cthree"), ["fine film", "one\u2028two\x0cthree", "brave", "long"], ""),
        (LINES + "odd\tx\n", ["fine film", "dull", "brave", "long", "x"], "1 of 3 classes have one text alone"),
    ],
)
def test_byte_order_marks_line_ends_and_headers_are_left_out(tmp_path, content, texts, note):
    path = tmp_path / "texts.tsv"
    path.write_text(content, encoding="utf-8", newline="")
    found = labeled_texts("file", 4, path)
    assert found.texts == texts
    assert found.class_names == (("bad", "good", "odd") if "odd" in content else ("bad", "good"))
    assert found.labels.tolist()[:4] == [1, 0, 1, 0]
    assert [note.lower() in message.lower() for message in found.notes] == ([True] if note else [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sentence\tlabel\nfine\t1\ndull\t0\n", "its columns are sentence, label; allowed: lines `label TAB text`"),
        ("fine\t1\ndull\t0\nbrave\t1\n", "3 labels and 2 texts in 3 lines; allowed: .* the label first"),
        ("fine\t1\ndull\t2\n", "2 labels and 2 texts in 2 lines; allowed: .* several texts a label"),
        ("a\tb\nno label\n", "line 2 has no label or no text; allowed: lines `label TAB text`"),
        ('a\t"No," he said\nno label\n', "line 2 has no label or no text"),  # no quotes of csv
        ("a\tb\na\t \n", "line 2 has no label or no text"),
        ("a\tb\na\tc\n", "1 classes; allowed: texts of at least 2"),
        ("", "0 classes; allowed: texts of at least 2"),
    ],
)
def test_files_that_hold_no_labeled_texts(tmp_path, content, message):
    path = tmp_path / "texts.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        labeled_texts("file", 4, path)


def test_lines_that_repeat_and_texts_of_several_labels_are_noted(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a\tx\na\tx\nb\tx\nb\ty\n", encoding="utf-8")
    assert labeled_texts("file", 8, path).notes == (
        "a.tsv: 1 of 4 lines repeat another and may be trained on and tested",
        "a.tsv: 1 texts have several labels",
    )


def test_unknown_data_sets_and_missing_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="data_dir=None: missing; allowed: a file of lines"):
        labeled_texts("file", 4)
    with pytest.raises(FileNotFoundError, match="no such file; allowed: a file of lines"):
        labeled_texts("file", 4, tmp_path / "no.tsv")
    with pytest.raises(ValueError, match="length=0: out of range; allowed: 1 to"):
        page_lines(0)


@pytest.mark.parametrize("first", ["text\tfine film", "good\tlabel", "label\tfine film", "good\ttext"])
def test_a_line_with_one_word_of_a_header_is_a_text(tmp_path, first):
    path, (label, text) = tmp_path / "texts.tsv", first.split("\t")
    path.write_text(f"{first}\nbad\tdull\n{label}\tbrave\n", encoding="utf-8")
    found = labeled_texts("file", 4, path)
    assert (found.texts, found.class_names) == ([text, "dull", "brave"], ("bad", label))
    assert len(found.notes) == 1, "that one class has one text alone"

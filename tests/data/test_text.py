"""A vocabulary there and back, contiguous parts, and streams that hold every transition once."""

import numpy as np
import pytest

from dlcore.data.melodies import melodies
from dlcore.data.text import (
    Vocabulary,
    embedded_pages,
    load_text,
    read_lines,
    read_texts,
    split_text,
    streams,
    training_windows,
    windows,
)
from dlcore.data.topics import as_characters, topic_lines


def test_vocabulary_there_and_back():
    vocabulary = Vocabulary.of("hello")
    assert vocabulary.characters == "ehlo"
    np.testing.assert_array_equal(vocabulary.encode("hello"), [1, 0, 2, 2, 3])
    assert vocabulary.encode("hello").dtype == np.uint8
    assert vocabulary.decode(vocabulary.encode("hole")) == "hole"
    for count, dtype in ((256, np.uint8), (257, np.int32)):
        wide = "".join(map(chr, range(count)))
        tokens = Vocabulary.of(wide).encode(wide)
        assert tokens.dtype == dtype
        assert tokens.tolist() == list(range(count))
    with pytest.raises(ValueError, match=r"text: 'x' at position 2: unknown; allowed: 4 others"):
        vocabulary.encode("hex")


def test_the_embedded_pages():
    pages = embedded_pages()
    assert 10_000 < len(pages) < 20_000
    assert pages.isascii()
    assert "the slithy toves" in pages


def test_texts_by_name(tmp_path):
    (tmp_path / "tinyshakespeare.txt").write_text("First Citizen:", encoding="utf-8")
    assert load_text("shakespeare", tmp_path) == "First Citizen:"
    assert load_text("file", tmp_path / "tinyshakespeare.txt") == "First Citizen:"
    tunes = load_text("melodies").splitlines()
    assert (len(tunes), tunes[:2]) == (1000, melodies(2).splitlines())
    assert load_text("topics") == as_characters(topic_lines(1, 1).text)
    with pytest.raises(ValueError, match="data_dir=None: missing; allowed: the folder of tinyshakespeare"):
        load_text("shakespeare")
    with pytest.raises(FileNotFoundError, match="no text file at"):
        load_text("file", tmp_path / "no.txt")


def test_parts_are_contiguous_and_the_last_is_the_test():
    train, valid, test = split_text(np.arange(100), 0.1)
    np.testing.assert_array_equal(train, np.arange(80))
    np.testing.assert_array_equal(valid, np.arange(80, 90))
    np.testing.assert_array_equal(test, np.arange(90, 100))
    train, valid, test = split_text(np.arange(100), 0.02, 0.1)
    assert (len(train), valid.tolist(), test.tolist()) == (88, [88, 89], list(range(90, 100)))


def pairs(source):
    rows = source.arrays["text"]
    lengths = source.arrays.get("length", [rows.shape[1] - 1] * len(rows))
    return [(int(r[t]), int(r[t + 1])) for r, n in zip(rows, lengths, strict=True) for t in range(n)]


def test_streams_hold_each_transition_once():
    tokens = np.arange(24)  # 23 transitions
    assert pairs(streams(tokens, 4, whole=True)) == [(t, t + 1) for t in range(23)]
    assert list(streams(tokens, 4, whole=True).arrays["length"]) == [6, 6, 6, 5]
    assert pairs(streams(tokens, 4)) == [(t, t + 1) for t in range(20)]  # five a row; three are left out
    assert (streams(tokens, 4, "x").name, windows(tokens, 4, None, "y").name) == ("x", "y")
    assert len(streams(tokens, 8, whole=True)) == 8


@pytest.mark.parametrize("stride", [None, 5, 1])
@pytest.mark.parametrize("size", [2, 5, 24, 26])
def test_each_transition_is_the_target_of_one_window(size, stride):
    arrays = windows(np.arange(size), 5, stride).arrays
    counted = [
        (int(row[t]), int(row[t + 1]))
        for row, first, length in zip(arrays["text"], arrays["first"], arrays["length"], strict=True)
        for t in range(first, length)
    ]
    assert counted == [(t, t + 1) for t in range(size - 1)]
    assert arrays["text"].shape[1] == 6
    assert (arrays["length"] > arrays["first"]).all()  # no window is without a target


def test_a_smaller_stride_gives_each_target_more_context():
    arrays = windows(np.arange(30), 6, 2).arrays
    assert list(arrays["first"]) == [0] + [4] * (len(arrays["first"]) - 1)


def test_rows_for_training_hold_every_window():
    for size in (5, 6, 8, 9, 15, 17):
        rows = training_windows(np.arange(size), 4).arrays["text"]
        found = {tuple(map(int, row[i : i + 5])) for row in rows for i in range(rows.shape[1] - 4)}
        assert found == {tuple(range(i, i + 5)) for i in range(size - 4)}, size
    pairs_of_5 = training_windows(np.arange(5), 1, "x")
    assert (pairs_of_5.arrays["text"].tolist(), pairs_of_5.name) == ([[0, 1], [1, 2], [2, 3], [3, 4]], "x")


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "x.txt").touch()
    with pytest.raises(ValueError, match=r"data_dir=.*x.txt': x.txt is empty; allowed: at least a few sentences"):
        load_text("file", tmp_path / "x.txt")


def test_a_binary_file_is_named(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match=r"data_dir='.*x\.bin': byte 2 is 0xff; allowed: a text file in UTF-8"):
        load_text("file", tmp_path / "x.bin")


def test_utf16_of_ascii_is_no_utf8(tmp_path):
    (tmp_path / "text.txt").write_bytes("hello".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"text.txt': holds NUL, as UTF-16 does; allowed: a text file in UTF-8"):
        load_text("file", tmp_path / "text.txt")


def test_a_text_is_the_lines_of_a_file_or_itself(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n", encoding="utf-8")
    assert read_texts(str(tmp_path / "a.txt"), "input") == ["one", "two"]
    for text in ("a prompt", "I opened a.txt", ".", "x" * 9999):
        assert read_texts(text, "input") == [text]
    for path in (tmp_path / "b.txt", f"{tmp_path}/"):
        with pytest.raises(ValueError, match=r"no such file; allowed: a text file, one text a line, or a text"):
            read_texts(str(path), "input")


def test_a_byte_order_mark_is_no_character_and_lines_end_as_in_files(tmp_path):
    """U+FEFF in front is the editor's; U+2028, form feed and the like are characters of a line."""
    path = tmp_path / "x.txt"
    path.write_bytes("\ufeffone\u2028still\x0cone\r\ntwo\rthree\n\nfive\n".encode())
    assert load_text("file", path)[:3] == "one"
    assert read_lines(path, "input") == ["one\u2028still\x0cone", "two", "three", "", "five"]


def test_a_token_outside_the_vocabulary_is_no_character():
    """-1 would be the last one."""
    for token in (-1, 3):
        with pytest.raises(ValueError, match=rf"tokens\[1\]={token}: out of range; allowed: 0 to 2, of 3 characters"):
            Vocabulary("abc").decode([0, token])
    assert Vocabulary("abc").decode([]) == ""


@pytest.mark.usefixtures("ascii_locale")
def test_texts_are_utf8_in_any_locale(tmp_path):
    (tmp_path / "x.txt").write_bytes("\ufeffMädchen\n鳥\n".encode())
    assert load_text("file", tmp_path / "x.txt") == "Mädchen\n鳥\n"
    assert read_lines(tmp_path / "x.txt", "input") == ["Mädchen", "鳥"]


def test_composed_and_decomposed_texts_have_the_same_characters():
    composed, apart = "\u00e9t\u00e9 q\u0308", "e\u0301te\u0301 q\u0308"
    vocabulary = Vocabulary.of(apart)
    assert vocabulary == Vocabulary.of(composed)
    np.testing.assert_array_equal(vocabulary.encode(apart), vocabulary.encode(composed))
    assert vocabulary.decode(vocabulary.encode(apart)) == composed

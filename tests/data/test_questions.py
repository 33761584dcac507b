"""Questions whose answers are right, and that neither the words nor the image alone give away."""

import chex
import numpy as np
import pytest

from dlcore.data.questions import (
    ANSWERS,
    KINDS,
    _ask,
    _counted,
    _paired,
    answer_number,
    question_tokens,
    question_words,
    questions,
)
from dlcore.data.shape_grid import COLORS
from dlcore.data.words import UNKNOWN

WORDS = question_words()


def drawn(count=4000, seed=0):
    """(kind, question, answer, shapes) without the images."""
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        kind = KINDS[rng.integers(len(KINDS))]
        placed = _counted(rng, 3) if kind == "count" else _paired(rng, 3)
        yield kind, *_ask(rng, kind, placed, 3), placed


def answered(text, placed):
    """The answer, found in another way: by distances in the plane."""
    words = text.split()
    singular = {"circles": "circle", "squares": "square", "triangles": "triangle", "crosses": "cross"}
    if words[0] == "how":
        return str(sum(singular.get(words[2], words[2]) in (p.color, p.shape) for p in placed))
    (named,) = (p for p in placed if {p.color, p.shape} & set(words[2:]))
    if "nearest" in words:
        at = {p: complex(*divmod(p.cell, 3)) for p in placed}
        others = sorted((p for p in placed if p != named), key=lambda p: abs(at[p] - at[named]))
        assert abs(at[others[0]] - at[named]) < abs(at[others[1]] - at[named]) - 0.2
        named = others[0]
    return named.color if words[1] == "color" else named.shape


def test_answers_are_right_and_balanced_whatever_the_question():
    table = {}
    for kind, text, answer, placed in drawn():
        assert answer == answered(text, placed)
        table.setdefault(kind, {}).setdefault(text, []).append(answer)
    assert set(table) == set(KINDS)
    for kind, by_question in table.items():
        assert len(by_question) == {"color": 4, "shape": 4, "count": 8, "relation": 8}[kind]
        for answers in by_question.values():  # 4000 / 4 / 8 = 125 of each: 4 standard deviations are 0.155
            shares = [answers.count(a) / len(answers) for a in set(answers)]
            assert len(shares) == 4
            assert max(shares) < 0.25 + 0.16
        everything = [a for answers in by_question.values() for a in answers]
        assert max(everything.count(a) for a in set(everything)) / len(everything) < 0.30


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_every_answer(kind):
    """All questions of a kind about one image: four different answers, equally often."""
    named = {*COLORS, "circle", "square", "triangle", "cross", "circles", "squares", "triangles", "crosses"}
    rng = np.random.default_rng(3)
    for _ in range(10):
        placed = _counted(rng, 3) if kind == "count" else _paired(rng, 3)
        asked = {}
        for _ in range(200):
            text, answer = _ask(rng, kind, placed, 3)
            asked.setdefault(" ".join(w for w in text.split() if w not in named), {})[text] = answer
        assert len(asked) == {"color": 1, "shape": 1, "count": 2, "relation": 2}[kind]
        for answers in asked.values():
            assert len(answers) == 4
            assert len(set(answers.values())) == 4


def test_arrays_and_what_depends_on_what():
    few, many = questions(5, 2), questions(12, 2)
    for name, array in few.arrays.items():
        np.testing.assert_array_equal(array, many.arrays[name][:5])
    chex.assert_shape(few.arrays["image"], (5, 32, 32, 3))
    chex.assert_shape(many.arrays["question"], (12, 8))
    assert UNKNOWN not in many.arrays["question"]
    for i, (kind, text, answer, _) in enumerate(drawn(12, 2)):
        assert WORDS.decode(many.arrays["question"][i]) == text
        assert ANSWERS[many.arrays["answer"][i]] == answer
        assert KINDS[many.arrays["kind"][i]] == kind


def test_bad_questions_and_answers_are_named():
    for text, message in (
        ("what color is the zebra", "question='what color is the zebra': 'zebra' is unknown; allowed: are, blue,"),
        ("", "question='': 0 words; allowed: 1 to 8"),
        ("the the the the the the the the the", "9 words; allowed: 1 to 8"),
    ):
        with pytest.raises(ValueError, match=message):
            question_tokens([text], WORDS)
    assert answer_number("circle") == 4
    with pytest.raises(ValueError, match="grid=2: out of range; allowed: at least 3"):
        questions(1, grid=2)

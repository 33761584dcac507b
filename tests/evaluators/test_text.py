"""BLEU, ROUGE-L, CIDEr-D and word error rate against the goldens and by hand."""

import json

import numpy as np
import pytest

from dlcore.evaluators.chrf import chrf
from dlcore.evaluators.text import bleu, cider, edit_distance, rouge_l, sentence_bleu, text_evaluator, word_error_rate

GOLDEN = "tests/goldens/metrics_text.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as data:
        meta = json.loads(str(data["meta"]))
        return meta["hypotheses"], meta["references"], {k: data[k] for k in data.files if k.startswith("out.")}


@pytest.mark.covers("ME-14")
def test_bleu_equals_nltk_and_the_coco_tools(golden):
    said, true, want = golden
    for n in range(1, 5):
        assert bleu(said, true, n) == pytest.approx(float(want[f"out.nltk.corpus_bleu.{n}"]), abs=1e-6)
        assert bleu(said, true, n) == pytest.approx(float(want["out.coco_bleu"][n - 1]), abs=1e-6)
    assert 100 * bleu(said, true) == pytest.approx(float(want["out.sacrebleu.bleu"]), abs=1e-4)
    for epsilon, name in ((0.0, "plain"), (0.1, "method1")):
        each = [sentence_bleu(h, r, epsilon=epsilon) for h, r in zip(said, true, strict=True)]
        np.testing.assert_allclose(each, want[f"out.nltk.sentence_bleu4.{name}"], atol=1e-6)


@pytest.mark.covers("ME-14")
def test_cider_and_rouge_equal_the_coco_tools(golden):
    said, true, want = golden
    np.testing.assert_allclose(cider(said, true), want["out.cider.each"], atol=1e-6)
    np.testing.assert_allclose(rouge_l(said, true), want["out.rouge_l.each"], atol=1e-6)
    assert cider(said, true).mean() == pytest.approx(float(want["out.cider"]), abs=1e-6)
    assert rouge_l(said, true).mean() == pytest.approx(float(want["out.rouge_l"]), abs=1e-6)


@pytest.mark.covers("ME-14")
def test_word_error_rate_equals_the_golden(golden):
    said, true, want = golden
    first = [several[0] for several in true]
    assert [edit_distance(h, r) for h, r in zip(said, first, strict=True)] == want["out.edit_distance"].tolist()
    assert word_error_rate(said, first) == pytest.approx(float(want["out.wer"]), abs=1e-6)


@pytest.mark.covers("ME-14")
def test_by_hand():
    # "the" seven times against two of them: clipped to 2 / 7 (Papineni's example).
    assert bleu(["the " * 7], [["the cat is on the mat", "there is a cat on the mat"]], 1) == pytest.approx(2 / 7)
    # Half as long and all right: e^(1 - 4 / 2).
    assert bleu(["a b"], [["a b c d"]], 2) == pytest.approx(np.exp(-1))
    # Kitten to sitting: k -> s, e -> i, and a g: 3.
    assert edit_distance(list("kitten"), list("sitting")) == 3
    assert word_error_rate(["a x c", ""], ["a b c", "d"]) == pytest.approx(2 / 4)
    # Of a b c d the text a c e has a c: P = 2/3, R = 2/4.
    p, r, b = 2 / 3, 2 / 4, 1.2
    assert rouge_l(["a c e"], [["a b c d"]])[0] == pytest.approx((1 + b * b) * p * r / (r + b * b * p))
    assert cider(["a b c d", "e f g h"], [["a b c d"], ["e f g h"]]).tolist() == pytest.approx([10, 10])
    # One word is a whole text; and an n-gram of the only text tells it from no other: log(1 / 1) = 0.
    assert rouge_l(["a"], [["a"]]).tolist() == [1]
    assert cider(["a b"], [["a b"]]).tolist() == [0]


def test_empty_texts_are_finite():
    assert bleu([""], [["a b"]]) == 0
    assert sentence_bleu("", ["a b"], epsilon=0.1) == 0
    assert rouge_l([""], [["a"]]).tolist() == [0]
    assert cider([""], [["a"]]).tolist() == [0]
    assert edit_distance("", "") == 0


@pytest.mark.covers("ME-14")
def test_the_evaluator_joins_batches(golden):
    said, true, _ = golden
    measure = text_evaluator(lambda outputs, rows: outputs, lambda rows: rows, "texts")
    acc = None
    for s in (slice(0, 7), slice(7, 20)):
        acc = measure.add(acc, said[s], true[s])
    numbers = measure.finish(acc)
    assert numbers["bleu4"] == bleu(said, true)
    assert numbers["cider"] == pytest.approx(cider(said, true).mean())
    assert numbers["rouge_l"] == pytest.approx(rouge_l(said, true).mean())
    assert numbers["word_error_rate"] == word_error_rate(said, [several[0] for several in true])
    assert (
        tuple(numbers) == measure.names == ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider", "word_error_rate")
    )
    assert measure.source == "texts"


def test_errors():
    with pytest.raises(ValueError, match="allowed: a list of texts"):
        bleu("a", [["a"]])


@pytest.mark.covers("ME-14")
def test_a_text_shorter_than_n_has_no_n_gram():
    # The first text has 4 + 3 + 2 + 1 n-grams and the second 2 + 1 + 0 + 0, all of them right but "x": 5/6, 3/4, 2/2,
    # 1/1. nltk counts one trigram and one 4-gram in "a x": 2/3 and 1/2.
    said, true = ["a b c d", "a x"], [["a b c d"], ["a b"]]
    assert bleu(said, true) == pytest.approx((5 / 6 * 3 / 4) ** (1 / 4))
    assert bleu(said, true, 3) == pytest.approx((5 / 6 * 3 / 4) ** (1 / 3))
    assert sentence_bleu("a b", ["a b"], epsilon=0.1) == pytest.approx(0.1 ** (2 / 4))


@pytest.mark.covers("ME-14")
def test_where_nothing_matches_bleu_is_tiny_as_in_the_coco_tools():
    """p_n = (matched + 1e-15) / (n-grams + 1e-9)."""
    # No text of three words: p_3 = p_4 = 1e-15 / 1e-9 = 1e-6, and BLEU-4 = (1 * 1 * 1e-6 * 1e-6)^(1/4) = 1e-3.
    assert bleu(["a dog"], [["a dog"]]) == pytest.approx(1e-3, rel=1e-6)
    assert bleu(["a dog"], [["a dog"]], 3) == pytest.approx(1e-2, rel=1e-6)
    # 3 of 4 words, 1 of 3 pairs, none of 2 triples, none of 1: (3/4 * 1/3 * 5e-16 * 1e-15)^(1/4).
    assert bleu(["a b x d"], [["a b c d"]]) == pytest.approx((1 / 4 * 5e-31) ** (1 / 4), rel=1e-6)
    assert bleu(["x"], [["a"]], 1) == pytest.approx(1e-15)
    assert sentence_bleu("a dog", ["a dog"]) == 0


def test_chrf_equals_sacrebleu_and_by_hand(golden):
    said, true, want = golden
    assert 100 * chrf(said, true) == pytest.approx(float(want["out.sacrebleu.chrf"]), abs=1e-4)
    # "ab c" and "abd": 2 of 3 characters and 1 of 2 pairs on both sides, no triple: P = R = (2/3 + 1/2 + 0) / 3.
    assert chrf(["ab c"], [["abd"]]) == pytest.approx((2 / 3 + 1 / 2) / 3)
    # "abcd" of "ab": P = (2/4 + 1/3) / 2, R = 1; recall counts more.
    p = (2 / 4 + 1 / 3) / 2
    assert chrf(["abcd"], [["zz", "ab"]]) == pytest.approx(5 * p / (4 * p + 1))
    assert chrf([""], [["a"]]) == 0
    for hypotheses, references, message in (
        ("a", [["a"]], "strings; allowed: a list of texts"),
        (["a"], ["a"], "strings; allowed: a list of texts"),
        (["a"], [[]], "references=1 lists for 1 texts, or one is empty"),
        (["a", "b"], [["a"]], "references=1 lists for 2 texts"),
    ):
        with pytest.raises(ValueError, match=message):
            chrf(hypotheses, references)


def test_composed_and_decomposed_texts_are_equal():
    """Unicode's canonical equivalence (UAX #15); other numbers are those of the composed texts."""
    composed, apart = "un caf\u00e9 no\u00efr", "un cafe\u0301 noi\u0308r"
    other = "un cafe\u0301 creme"
    for one, two in ((composed, apart), (apart, composed), (composed.split(), apart.split())):
        assert word_error_rate([one], [two]) == 0
        assert edit_distance(one, two) == 0
        assert bleu([one], [[two]], 2) == pytest.approx(1)
        np.testing.assert_allclose(rouge_l([one], [[two]]), 1)
    assert chrf([composed], [[apart]]) == 1
    assert chrf([other], [[apart]]) == chrf(["un caf\u00e9 creme"], [[composed]])
    assert word_error_rate([other], [composed]) == pytest.approx(1 / 3)

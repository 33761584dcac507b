"""Baselines of captions."""

import pytest

from dlcore.evaluators import captions
from dlcore.evaluators.captions import baselines_evaluator, best_constant, text_scores
from dlcore.evaluators.text import bleu, cider

REFERENCES = [
    ["a red dog runs on the grass", "a dog runs on grass", "the red dog runs"],
    ["a black cat sits on the mat", "a cat sits on a mat", "the cat is on the mat"],
]


def test_scores_are_those_of_the_text_measures():
    texts = ["a red dog runs on the mat", "a cat sits on the mat"]
    numbers = text_scores(texts, REFERENCES)
    assert numbers["bleu4"] == bleu(texts, REFERENCES, 4) > 0
    assert numbers["bleu1"] == pytest.approx(12 / 13)  # all words but one "mat"
    assert numbers["cider"] == pytest.approx(cider(texts, REFERENCES).mean())


def test_the_constant_is_the_caption_that_fits_all_images_best():
    common = "a man walks on the grass"
    captions = [common] * 3 + ["a man walks on the road", "two cats sleep in the sun", "a man", "grass"]
    references = [["a man walks on the grass today"], ["a man walks on the grass"], ["a man runs on the grass"]]
    assert best_constant(captions, references) == common
    with pytest.raises(ValueError, match="captions=0, references=3: empty"):
        best_constant([], references)


def test_candidates_are_the_captions_of_frequent_n_grams_and_of_at_least_the_median_length(monkeypatch):
    """A caption's rank is the mean log count of its n-grams of one to four words; each caption counts once.

    The median of the lengths is 2, and q is shorter. Counts and means:
    a, e 2, b, c, d 3; n-grams of b c d 3, others of a b c d e 2: (4 log 2 + 6 log 3) / 10 = 0.936 for both four words,
    (8 log 2 + 6 log 3) / 14 = 0.867 for all five. x 3, y 2, x y 2: (log 3 + 2 log 2) / 3 = 0.828. z 3 in z z, which is
    in no other: 2 log 3 / 3 = 0.732. x y z x: (3 log 3 + 2 log 2) / 10 = 0.468.
    """
    texts = ["q", "z z", "z z", "z z", "z z", "x y z x", "x y", "a b c d e", "a b c d", "b c d e"]
    ordered, tried = ["a b c d", "b c d e", "a b c d e", "x y", "z z", "x y z x"], []
    monkeypatch.setattr(captions, "bleu", lambda said, references: tried.append(said[0]) or len(tried))
    assert best_constant(texts, [["a"]]) == "x y z x"  # the last one that is tried scores best here
    assert tried == ordered
    monkeypatch.setattr(captions, "_CANDIDATES", 2)
    assert best_constant(texts, [["a"]]) == "b c d e"
    assert tried[6:] == ordered[:2]


def test_baselines_are_one_text_for_all_and_people_against_each_other():
    rows = [{"texts": REFERENCES[:1]}, {"texts": REFERENCES[1:]}]
    evaluator = baselines_evaluator(lambda row: row["texts"], {"constant": "a dog sits on the grass"})
    acc = None
    for row in rows:
        acc = evaluator.add(acc, None, row)
    numbers = evaluator.finish(acc)
    assert set(numbers) <= set(evaluator.names)
    assert numbers["constant/bleu2"] == bleu(["a dog sits on the grass"] * 2, REFERENCES, 2)
    assert numbers["human/bleu1"] == bleu([r[0] for r in REFERENCES], [r[1:] for r in REFERENCES], 1)
    pairs = [["a dog", "a cat"], ["a cat", "a cat"]]
    assert evaluator.finish(pairs)["human/bleu1"] == pytest.approx(3 / 4)  # "dog" alone is wrong
    alone = evaluator.finish(baselines_evaluator(lambda row: [["a dog"]], {}).add(acc, None, {}))
    assert not [name for name in alone if name.startswith("human/")]  # not all images have a second person's caption

"""What an episode is drawn from, and that it depends on its seed and number alone."""

import chex
import numpy as np
import pytest

from dlcore.data.episodes import Episodes, episodes
from dlcore.data.source import Source
from dlcore.data.stroke_characters import LINES, STROKES, stroke_characters
from dlcore.evaluators.episodes import episode_accuracy


def numbered(classes=6, each=5, side=2):
    """Images whose upper left pixel is their own row, and the lower right one their class."""
    label = np.repeat(np.arange(classes, dtype=np.int32), each)
    image = np.zeros((len(label), side, side, 1), np.float32)
    image[:, 0, 0, 0], image[:, -1, -1, 0] = np.arange(len(label)), label
    attributes = np.eye(classes, dtype=np.float32)[label]
    return Source({"image": image, "label": label, "attributes": attributes}, name="numbered")


@pytest.mark.covers("TL-09")
def test_an_episode_has_other_classes_and_no_query_among_its_supports():
    draws = Episodes(numbered(), way=4, shot=2, query=3, seed=0)
    for index in range(50):
        rows, _ = draws.rows(index)
        assert len(np.unique(rows)) == rows.size == 4 * 5, "all five examples of a class, none of them twice"
        assert all(len(np.unique(row // 5)) == 1 for row in rows), "each line is of one class"
        assert len(np.unique(rows[:, 0] // 5)) == 4, "no class twice"


@pytest.mark.covers("TL-09")
def test_an_episode_depends_on_seed_and_number_alone():
    one, two = (episodes(numbered(), 20, way=3, shot=1, query=2, seed=seed) for seed in (0, 1))
    again = episodes(numbered(), 9, way=3, shot=1, query=2, seed=0)
    np.testing.assert_array_equal(one[[7, 2]]["query"], again[[7, 2]]["query"])
    np.testing.assert_array_equal(one[[7, 2]]["query"][1], one[[2]]["query"][0])
    assert (one[:9]["query"] != two[:9]["query"]).any()
    assert (one[[3]]["query"] != one[[4]]["query"]).any()
    batch = one[[5]]
    assert (batch["support"].shape, batch["query"].shape) == ((1, 3, 1, 2, 2, 1), (1, 3, 2, 2, 2, 1))
    kinds = batch["support"][0, :, 0, -1, -1, 0]
    np.testing.assert_array_equal(batch["query"][0, :, :, -1, -1, 0], kinds[:, None].repeat(2, 1))
    assert one.fingerprint.digest == episodes(numbered(), 20, way=3, shot=1, query=2, seed=0).fingerprint.digest
    assert one.fingerprint.digest != two.fingerprint.digest


def test_turned_characters_are_classes_of_their_own():
    source = numbered(classes=2)
    draws = Episodes(source, way=8, shot=1, query=1, seed=0, turned=True)
    rows, turns = draws.rows(0)
    assert sorted(zip(rows[:, 0] // 5, turns, strict=True)) == [(c, k) for c in range(2) for k in range(4)]
    images = draws.images(0)
    for k in range(8):
        np.testing.assert_array_equal(images[k, 1], np.rot90(source.arrays["image"][rows[k, 1]], turns[k]))
    with pytest.raises(ValueError, match="way=9: an episode of numbered cannot be; allowed: 2 to 8"):
        Episodes(source, way=9, shot=1, query=1, seed=0, turned=True)


def test_a_described_class_comes_with_its_own_attributes():
    batch = episodes(numbered(), 10, way=3, shot=0, query=2)[:10]
    kinds = batch["query"][..., 0, -1, -1, 0]
    np.testing.assert_array_equal(batch["attributes"].argmax(-1), kinds)
    assert "support" not in batch
    alone = episodes(numbered(), 2, way=3, shot=0, query=1)[:1]
    np.testing.assert_array_equal(alone["attributes"].argmax(-1), alone["query"][..., 0, -1, -1, 0])


@pytest.mark.slow
def test_characters_are_drawn_from_their_strokes():
    some, more = stroke_characters(range(3), 4, 12), stroke_characters(range(1, 5), 4, 12)
    np.testing.assert_array_equal(some.arrays["image"][4:12], more.arrays["image"][:8])
    assert some.arrays["attributes"].shape == (12, 20) == (12, len(LINES))
    assert (some.arrays["attributes"].sum(1) == STROKES).all()
    assert len(np.unique(stroke_characters(range(40), 1, 8).arrays["attributes"], axis=0)) == 40
    images = some.arrays["image"]
    assert 0 <= images.min() < 0.05
    assert 0.5 < images.max() <= 1
    assert np.abs(images[0] - images[1]).max() > 0.2, "no two drawings are alike"


def test_images_that_are_not_square_are_not_turned():
    source = numbered()
    wide = Source({**source.arrays, "image": np.zeros((30, 2, 3, 1), np.float32)}, name="wide")
    with pytest.raises(ValueError, match=r"turned=True: the images of wide are 2x3; allowed: square images"):
        episodes(wide, 2, way=2, shot=1, query=1, turned=True)
    chex.assert_shape(episodes(wide, 2, way=2, shot=1, query=1).arrays["query"], (2, 2, 1, 2, 3, 1))


def test_the_accuracy_of_episodes_is_the_mean_of_their_queries():
    """Three ways of two shots and two queries: 4 of 6 are right, then 6, then 5; deviations of 1/6 from 5/6.

    Half of the interval is 1.96 s / sqrt(3), s = 1/6.
    """
    source = Source({"support": np.zeros((3, 3, 2, 1)), "query": np.zeros((3, 3, 2, 1))})
    evaluator = episode_accuracy(source)
    assert (evaluator.source, evaluator.names) == (source, ("accuracy_3way2shot", "interval_3way2shot"))
    right = np.array([0, 0, 1, 1, 2, 2])
    predicted = np.stack([right, right, right])
    predicted[0, [0, 5]], predicted[2, 3] = 1, 0
    acc = None
    for rows in (slice(0, 2), slice(2, 3)):
        acc = evaluator.add(acc, {"logits": np.eye(3)[predicted[rows]]}, source[rows])
    found = evaluator.finish(acc)
    assert found["accuracy_3way2shot"] == pytest.approx(5 / 6)
    assert found["interval_3way2shot"] == pytest.approx(1.96 / 6 / np.sqrt(3), rel=1e-5)


def test_an_episode_may_be_read_alone():
    source = episodes(numbered(), 7, way=3, shot=2, query=1)
    query, support = (source.arrays[name] for name in ("query", "support"))
    np.testing.assert_array_equal(query[4], query[:][4])
    np.testing.assert_array_equal(support[-1], support[[6]][0])
    chex.assert_shape([query[4], support[:0]], [(3, 1, 2, 2, 1), (0, 3, 2, 2, 2, 1)])
    assert len(support) == 7

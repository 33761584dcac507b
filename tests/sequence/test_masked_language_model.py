"""What is hidden and how, the loss on it alone, the baselines by hand, and a text that only both sides explain."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.learner import State
from dlcore.models.bert import BERT
from dlcore.sequence import masked_language_model
from dlcore.sequence.masked_language_model import hide_tokens, two_sided_table_accuracy

MASK = 6


class Table(nn.Module):
    """A model that sees its own token alone: logits [B, T, 7] out of a table."""

    window: int = 20

    @nn.compact
    def __call__(self, tokens, train=False):
        return nn.Embed(7, 7, embedding_init=nn.initializers.normal(1.0))(tokens)


def batch(text, **more):
    return {"text": np.asarray(text), "index": np.arange(len(text), dtype=np.int32), **more}


def texts(rows, length=20, seed=0):
    return np.random.default_rng(seed).integers(0, MASK, (rows, length)).astype(np.uint8)


def toy(model=None, tx=None, **settings):
    learner = masked_language_model.learner(
        model=model or Table(), optimizer=tx or optax.sgd(0.5), mask_token=MASK, **settings
    )
    return learner._replace(**{n: jax.jit(getattr(learner, n)) for n in ("init", "update", "evaluate", "predict")})


@pytest.mark.slow
@pytest.mark.covers("AT-17")
def test_of_the_chosen_tokens_eighty_ten_ten():
    tokens = jnp.asarray(texts(1, 200)[0])
    keys = jax.random.split(jax.random.key(0), 500)
    shown, chosen = jax.jit(jax.vmap(lambda key: hide_tokens(key, tokens, MASK)))(keys)
    assert (chosen.sum(1) == 30).all()  # 15 % of 200
    np.testing.assert_array_equal(np.asarray(shown)[~np.asarray(chosen)], np.tile(tokens, (500, 1))[~chosen])
    masked = np.asarray(shown == MASK)
    assert not masked[~np.asarray(chosen)].any()
    hidden, same = masked[chosen].mean(), np.asarray(shown == tokens)[chosen].mean()
    # 15,000 draws: a deviation of .003. Of the random tenth a sixth is the token itself.
    assert hidden == pytest.approx(0.8, abs=0.01)
    assert same == pytest.approx(0.1 + 0.1 / 6, abs=0.01)
    assert np.asarray(chosen).mean(0) == pytest.approx(0.15, abs=0.08)  # every place
    np.testing.assert_array_equal(hide_tokens(keys[3], tokens, MASK)[0], shown[3])
    assert hide_tokens(keys[0], tokens[:2], MASK)[1].sum() == 1


@pytest.mark.covers("AT-17", "SS-09")
def test_the_loss_is_that_of_the_hidden_tokens_alone():
    learner, text = toy(), texts(3)
    state = learner.init(jax.random.key(0), batch(text))
    rows = batch(text, mask=np.array([1, 1, 0], np.float32))
    shown = np.asarray(learner.predict(state, rows)["shown"])
    assert ((shown == MASK).sum(1) == 3).all()  # 15 % of 20
    table = np.asarray(state.params["Embed_0"]["embedding"], np.float64)[MASK]
    logits = table - np.log(np.exp(table).sum())
    hidden = text[:2][shown[:2] == MASK]
    metrics = learner.evaluate(state, rows)
    assert metrics["loss"].compute() == pytest.approx(-logits[hidden].mean(), rel=1e-5)
    assert int(metrics["loss"].count) == 6
    assert metrics["accuracy"].compute() == pytest.approx((hidden == logits.argmax()).mean())
    assert metrics["perplexity"].compute() == pytest.approx(np.exp(-logits[hidden].mean()), rel=1e-5)
    alone = learner.predict(state, {k: v[1:2] for k, v in rows.items()})["shown"]
    np.testing.assert_array_equal(alone[0], shown[1])


def test_only_masked_tokens_are_filled_in_and_never_by_the_mask():
    learner, text = toy(), texts(4)
    state = learner.init(jax.random.key(0), batch(text))
    table = state.params["Embed_0"]["embedding"].at[MASK].set(jnp.arange(7.0))  # the mask token would win, then 5
    out = learner.predict(state.replace(params={"Embed_0": {"embedding": table}}), batch(text))
    np.testing.assert_array_equal(out["filled"], np.where(out["shown"] == MASK, 5, text))


@pytest.mark.slow
def test_training_moves_its_windows_and_sees_other_tokens_each_time():
    """Rows are two windows long: those of token 5 lie behind the first window, and are reached all the same."""
    text = np.concatenate([texts(8) % 5, np.full((8, 20), 5)], 1).astype(np.uint8)
    learner = toy(tx=optax.sgd(1.0))
    state = learner.init(jax.random.key(0), batch(text))
    before = float(jax.nn.softmax(state.params["Embed_0"]["embedding"][MASK])[5])
    for _ in range(20):
        state, _ = learner.update(state, batch(text))
    assert float(jax.nn.softmax(state.params["Embed_0"]["embedding"][MASK])[5]) > before + 0.1
    first = {k: v[:, :20] if k == "text" else v for k, v in batch(text).items()}
    assert learner.evaluate(state, batch(text))["loss"].compute() == learner.evaluate(state, first)["loss"].compute()


def test_baselines_by_hand():
    """Counted: 0 1 0 2 0 1: between 0 and 0 stood 1 and 2, the first wins; between 1 and 0 nothing: 0, the most."""
    train, test = np.array([0, 1, 0, 2, 0, 1]), np.array([0, 1, 0, 0, 2, 1])
    accuracies = two_sided_table_accuracy(train, test, 3)
    # inner tokens 1 0 0 2: most frequent 0 -> 2 / 4. Neighbors (0,0) (1,0) (0,2) (0,1) -> 1 0 0 0.
    assert accuracies == {"most frequent token": 0.5, "table of both neighbors": 0.75}


def test_a_table_of_both_neighbors_equals_one_of_dictionaries():
    """Of equally frequent tokens between two neighbors the smallest counts; of unknown neighbors the most frequent."""
    rng = np.random.default_rng(1)
    for size in (3, 5):
        train, test = rng.integers(0, size - 1, 40), np.append(rng.integers(0, size, 30), [size - 1] * 3)
        most_frequent, seen, right = np.bincount(train).argmax(), {}, []
        for left, middle, after in zip(train[:-2], train[1:-1], train[2:], strict=True):
            seen.setdefault((left, after), []).append(middle)
        for left, middle, after in zip(test[:-2], test[1:-1], test[2:], strict=True):
            right.append(np.bincount(seen.get((left, after), [most_frequent])).argmax() == middle)
        found = two_sided_table_accuracy(train, test, size)
        assert found["most frequent token"] == pytest.approx((test[1:-1] == most_frequent).mean())
        assert found["table of both neighbors"] == pytest.approx(np.mean(right))


def test_one_token_at_least_is_hidden():
    hide = jax.jit(jax.vmap(lambda key: hide_tokens(key, np.arange(3), MASK)[1].sum()))
    np.testing.assert_array_equal(hide(jax.random.split(jax.random.key(0), 4)), np.ones(4))


@pytest.mark.weekly
@pytest.mark.covers("AT-17", "SS-09")
def test_bert_fills_in_what_both_sides_say():
    """Of a text a, 2 + 2 a + b, b each side tells half of what stands in the middle: .5 by one of them."""
    rng = np.random.default_rng(0)

    def draw(rows):
        a, b = rng.integers(0, 2, (2, rows))
        return np.stack([a, 2 + 2 * a + b, b], 1).astype(np.uint8)

    model = BERT(7, 3, 1, 2, 32, 64, dropout=0.0)
    learner = toy(model, optax.adam(3e-3), mask_rate=0.34)
    state = learner.init(jax.random.key(0), batch(draw(2)))
    for _ in range(200):
        state, _ = learner.update(state, batch(draw(64)))
    test = batch(draw(300))
    out = learner.predict(state, test)
    middle = np.asarray(out["shown"])[:, 1] == MASK
    assert 60 < middle.sum() < 140
    truth, filled = test["text"][middle, 1], np.asarray(out["filled"])[middle, 1]
    assert (filled == truth).mean() > 0.98
    assert np.bincount(truth).max() < 0.4 * len(truth)  # what the most frequent word alone would reach


def test_tokens_and_shares_that_cannot_be_hidden_are_named():
    with pytest.raises(ValueError, match=r"rate=1.5: out of range; allowed: 0 to 1"):
        hide_tokens(key=jax.random.key(0), tokens=np.zeros(3, np.int32), mask_token=9, rate=1.5)


class TrainedTable(nn.Module):
    """Logits out of a table, twice as large in training."""

    window: int = 10

    @nn.compact
    def __call__(self, tokens, train=False):
        return (2.0 if train else 1.0) * self.param("rows", nn.initializers.zeros, (7, 7))[tokens]


@pytest.mark.covers("AT-17", "SS-09")
def test_one_update_by_hand():
    """Windows at places of their own, 5 of 10 tokens chosen in each: half hidden, a quarter random; row 3 is masked."""
    rate, draws = 0.5, np.random.default_rng(0)
    learner = masked_language_model.learner(
        model=TrainedTable(), optimizer=optax.sgd(rate), mask_token=MASK, mask_rate=0.5, masked_share=0.5,
        random_share=0.25,
    )  # fmt: skip
    table, text = draws.normal(size=(7, 7)).astype(np.float32), texts(3, 14, seed=1)
    state = State(np.int32(2), jax.random.key(3), {"rows": table}, optax.sgd(rate).init({"rows": table}))
    rows = {"text": text, "index": np.array([4, 7, 9], np.int32), "mask": np.float32([1, 1, 0])}

    @jax.jit
    def step(state):
        moves, hides, _ = jax.random.split(jax.random.fold_in(jax.random.key(3), 2), 3)

        def one(index):
            order, kind, other = jax.random.split(jax.random.fold_in(hides, index), 3)
            start = jax.random.randint(jax.random.fold_in(moves, index), (), 0, 5)
            return (
                start, jax.random.permutation(order, 10) < 5, jax.random.uniform(kind, (10,)),
                jax.random.randint(other, (10,), 0, MASK),
            )  # fmt: skip

        return learner.update(state, rows), jax.vmap(one)(jnp.array([4, 7]))

    (after, metrics), views = step(state)
    start, chosen, share, other = map(np.asarray, views)
    tokens = np.stack([row[s : s + 10] for row, s in zip(text, start, strict=False)]).astype(int)
    shown = np.where(share < 0.5, MASK, np.where(share < 0.75, other, tokens))
    shown, target = shown[chosen], tokens[chosen]
    assert len(set(start)) > 1
    assert {True, False} == set(shown == MASK)
    assert (shown == target).any()
    p = np.exp(2 * table) / np.exp(2 * table).sum(-1, keepdims=True)  # of training
    gradient = np.zeros((7, 7))
    np.add.at(gradient, shown, 2 * (p[shown] - np.eye(7)[target]) / 10)
    np.testing.assert_allclose(after.params["rows"], table - rate * gradient, rtol=1e-4, atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx(-np.log(p[shown, target]).mean(), rel=1e-5)
    assert int(metrics["loss"].count) == 10
    assert learner.classes(state, rows) == {"text": MASK}

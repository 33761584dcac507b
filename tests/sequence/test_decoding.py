"""Greedy and drawn tokens, the stop token and the greatest length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.words import END, PAD, START, UNKNOWN
from dlcore.sequence import decoding
from dlcore.sequence.decoding import (
    beam_search,
    filter_logits,
    forbid_special,
    generate,
    generate_sentences,
    sample_token,
)


def counting(carry, tokens):
    """The next token is one more than the last, modulo 5, beyond doubt."""
    return carry, 50.0 * jax.nn.one_hot((tokens + 1) % 5, 5)


def keys(n):
    return jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(n))


@pytest.mark.covers("SQ-07")
def test_temperature_zero_is_the_largest_logit_and_one_follows_the_softmax():
    logits = jnp.log(jnp.array([0.2, 0.5, 0.3]))
    draws = {t: np.asarray(jax.vmap(lambda k, t=t: sample_token(k, logits, t))(keys(2000))) for t in (0.0, 0.5, 1.0)}
    assert (draws[0.0] == 1).all()
    np.testing.assert_allclose(np.bincount(draws[1.0], minlength=3) / 2000, [0.2, 0.5, 0.3], atol=0.04)
    # At 1/2 probabilities are squared: 4, 25 and 9 of 38.
    np.testing.assert_allclose(np.bincount(draws[0.5], minlength=3) / 2000, np.array([4, 25, 9]) / 38, atol=0.04)


@pytest.mark.slow(unless=["1.0"])
@pytest.mark.covers("SQ-14")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_each_sequence_ends_with_its_stop_token_or_at_the_greatest_length(temperature):
    first = 50 * np.eye(5, dtype=np.float32)[[2, 4, 0]]

    @jax.jit
    def run(keys):
        return (
            generate(counting, (), first, keys, 4, temperature, stop_token=4),
            generate(counting, (), first, keys, 6, temperature),
        )

    (tokens, length), (more, all_of_it) = run(jax.random.split(jax.random.key(0), 3))
    np.testing.assert_array_equal(tokens, [[2, 3, 4, 4], [4, 4, 4, 4], [0, 1, 2, 3]])
    np.testing.assert_array_equal(length, [3, 1, 4])
    np.testing.assert_array_equal(more[0], [2, 3, 4, 0, 1, 2])
    np.testing.assert_array_equal(all_of_it, [6, 6, 6])


@pytest.mark.covers("SQ-14")
def test_decoding_stops_once_all_have():
    def counted(carry, tokens):
        return carry + 1, counting((), tokens)[1]

    with jax.checking_leaks():
        seen = []

        def spy(carry, tokens):
            jax.debug.callback(lambda n: seen.append(int(n)), carry)
            return counted(carry, tokens)

        generate(spy, jnp.int32(0), 50.0 * jax.nn.one_hot(jnp.array([3, 4]), 5), keys(2), 100, 0.0, stop_token=4)
        jax.effects_barrier()
    assert seen == [0]


@pytest.mark.slow
def test_a_sequence_does_not_depend_on_its_neighbors():
    def step(carry, tokens):
        return carry, jnp.ones((len(tokens), 5))

    start = jnp.ones((4, 5))
    together, _ = generate(step, (), start, keys(4), 8, jnp.array([1.0, 0.0, 2.0, 1.0]))
    alone, _ = generate(step, (), start[2:3], keys(4)[2:3], 8, 2.0)
    np.testing.assert_array_equal(together[2], alone[0])
    np.testing.assert_array_equal(together[1], 0)
    with pytest.raises(ValueError, match="max_length=0: out of range"):
        generate(step, (), start, keys(4), 0)


@pytest.mark.slow
def test_top_k_and_top_p_rule_out_improbable_tokens():
    logits = jnp.log(jnp.array([0.1, 0.4, 0.2, 0.3]))
    kept = lambda **limits: np.flatnonzero(np.isfinite(filter_logits(logits, **limits))).tolist()  # noqa: E731
    assert kept() == kept(top_k=4) == [0, 1, 2, 3]
    assert kept(top_k=2) == [1, 3]
    assert kept(top_p=0.69) == [1, 3]  # 0.4 + 0.3 reaches 0.69; 0.4 does not
    assert kept(top_p=0.71) == [1, 2, 3]
    assert kept(top_p=0.0) == kept(top_k=1) == [1]
    # Among the three most probable, shares are 4/9, 3/9 and 2/9: the first two reach 0.7.
    assert kept(top_k=3, top_p=0.7) == [1, 3]
    draws = np.asarray(jax.vmap(lambda k: sample_token(k, logits, 1.0, top_k=2))(keys(1000)))
    np.testing.assert_allclose(np.bincount(draws, minlength=4) / 1000, [0, 4 / 7, 0, 3 / 7], atol=0.05)
    with pytest.raises(ValueError, match=r"top_k=5: out of range; allowed: 0 \(all\) to the 4 tokens"):
        filter_logits(logits, top_k=5)


def markov(seed, size=4):
    """A decoder whose logits depend on the last token and the number of tokens; its carry is that number, by row."""
    table = jnp.asarray(np.random.default_rng(seed).normal(0, 2, (6, size, size)), jnp.float32)

    def step(count, tokens):
        return count + 1, table[count, tokens]

    return step, table


def all_sequences(table, first, length, stop):
    """Every sequence that ends with `stop` or at `length`: {tokens: log p}."""
    found = {}

    def grow(tokens, log_p, logits):
        for token, p in enumerate(np.asarray(jax.nn.log_softmax(logits))):
            longer = (*tokens, token)
            if token == stop or len(longer) == length:
                found[longer] = log_p + p
            else:
                grow(longer, log_p + p, table[len(tokens), token])

    grow((), 0.0, first)
    return found


@pytest.mark.slow
@pytest.mark.weekly(unless=["1.0"])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_most_probable_finished_sequences(penalty):
    for seed in range(3):
        step, table = markov(seed)
        first = jnp.asarray(np.random.default_rng(seed + 9).normal(0, 1, (2, 4)), jnp.float32)
        tokens, lengths, scores = beam_search(step, jnp.zeros(2, int), first, 3, 3, 3, penalty)
        for row in range(2):
            exact = {t: p / ((5 + len(t)) / 6) ** penalty for t, p in all_sequences(table, first[row], 3, 3).items()}
            for j in range(3):
                sequence = tuple(np.asarray(tokens[row, j, : lengths[row, j]]).tolist())
                np.testing.assert_allclose(scores[row, j], exact[sequence], rtol=1e-5)
                assert (tokens[row, j, lengths[row, j] :] == 3).all()
            assert len({tuple(t) for t in np.asarray(tokens[row]).tolist()}) == 3
        # Without a stop token three of four beginnings live on, enough here to find the best of all 16 sequences.
        tokens, _, scores = beam_search(step, jnp.zeros(2, int), first, 2, 3, None, penalty)
        for row in range(2):
            exact = all_sequences(table, first[row], 2, None)
            best = max(exact, key=exact.get)
            assert tuple(np.asarray(tokens[row, 0]).tolist()) == best
            np.testing.assert_allclose(scores[row, 0], exact[best] / (7 / 6) ** penalty, rtol=1e-5)


def search_by_lists(table, first, max_length, k, stop, penalty):
    """Beam search of one row by lists in float64: [(score, tokens)], the finished ones first."""

    def log_p(logits):
        logits = np.asarray(logits, np.float64)
        return logits - np.log(np.exp(logits).sum())

    def score(value, length):
        return value / ((5 + length) / 6) ** penalty

    alive, finished = [(0.0, ())], []
    for t in range(max_length):
        if len(finished) == k and score(alive[0][0], max_length) <= finished[-1][0]:
            break
        longer = [
            (value + p, (*tokens, token))
            for value, tokens in alive
            for token, p in enumerate(log_p(table[t - 1, tokens[-1]] if t else first))
        ]
        longer = sorted(longer, reverse=True)[: 2 * k]
        finished += [(score(value, t + 1), tokens) for value, tokens in longer[:k] if tokens[-1] == stop]
        finished = sorted(finished, reverse=True)[:k]
        alive = [(value, tokens) for value, tokens in longer if tokens[-1] != stop][:k]
    return [*finished, *((score(value, max_length), tokens) for value, tokens in alive)][:k]


@pytest.mark.parametrize(("k", "max_length", "stop", "penalty"), [(2, 5, 3, 0.7), (3, 2, None, 1.0)])
def test_a_beam_is_that_of_lists(k, max_length, stop, penalty):
    """Eight rows, of which some finish early and some have fewer than k finished sequences."""
    step, table = markov(1)
    first = np.random.default_rng(2).normal(0, 2, (8, 4)).astype(np.float32)
    search = jax.jit(lambda first: beam_search(step, jnp.zeros(8, int), first, max_length, k, stop, penalty))
    tokens, lengths, scores = map(np.asarray, search(first))
    for row in range(8):
        expected = search_by_lists(np.asarray(table), first[row], max_length, k, stop, penalty)
        np.testing.assert_allclose(scores[row], [score for score, _ in expected], rtol=1e-5)
        for got, length, (_, want) in zip(tokens[row], lengths[row], expected, strict=True):
            assert (length, tuple(got[:length])) == (len(want), want)
            assert (got[length:] == stop).all()


@pytest.mark.slow
@pytest.mark.weekly(unless=["2.0"])
@pytest.mark.parametrize("penalty", [0.0, 2.0])
def test_a_beam_of_one_is_greedy(penalty):
    for seed in range(5):
        step, _ = markov(seed)
        first = jnp.asarray(np.random.default_rng(seed).normal(0, 2, (8, 4)), jnp.float32)
        tokens, lengths = generate(step, jnp.zeros(8, int), first, keys(8), 5, 0.0, 3)
        beams, beam_lengths, _ = beam_search(step, jnp.zeros(8, int), first, 5, 1, 3, penalty)
        np.testing.assert_array_equal(beams[:, 0], tokens)
        np.testing.assert_array_equal(beam_lengths[:, 0], lengths)
    with pytest.raises(ValueError, match="beam_size=4: out of range; allowed: 1 to 3"):
        beam_search(step, jnp.zeros(8, int), first, 5, 4, 3)


@pytest.mark.slow
def test_beams_carry_their_own_past():
    """The best sequence begins with the second-best token: its beam must bring along its own count."""
    first = jnp.log(jnp.array([[0.5, 0.4, 0.1]]))

    def step(seen, tokens):
        seen = seen * 3 + tokens
        certain = jnp.where(seen[:, None] == 1, jnp.array([0.0, 0.0, 9.0]), jnp.zeros(3))
        return seen, certain

    tokens, _, scores = beam_search(step, jnp.zeros(1, int), first, 2, 2, stop_token=2)
    np.testing.assert_array_equal(tokens[0, 0], [1, 2])
    np.testing.assert_allclose(scores[0, 0], np.log(0.4) + jax.nn.log_softmax(jnp.array([0.0, 0.0, 9.0]))[2], rtol=1e-5)


@pytest.mark.slow
def test_a_row_goes_on_while_an_alive_hypothesis_can_beat_the_finished_ones():
    """Two beams: END at once (e^-3) and 0 END (e^-1.2 e^-4) finish first; 0 1 END (e^-1.2 e^-0.05 e^-0.05) is best."""
    first = jnp.array([[-1.2, -9.0, -3.0]])
    first = first.at[0, 1].set(jnp.log(1 - jnp.exp(first[0, 0]) - jnp.exp(first[0, 2])) - 20)

    def step(count, tokens):
        after = jnp.array([[-9.0, -0.05, -4.0], [-9.0, -9.0, -0.05]])
        return count + 1, after[jnp.minimum(count, 1)]

    tokens, lengths, scores = beam_search(step, jnp.zeros(1, int), first, 4, 2, stop_token=2)
    assert tuple(np.asarray(tokens[0, 0, : lengths[0, 0]]).tolist()) == (0, 1, 2)
    assert scores[0, 0] > scores[0, 1]


def test_a_length_penalty_may_be_traced():
    """END at once has probability .53, 0 END .46 * 1: log -.635 and -.777. A penalty of 2 divides the latter, of length
    2, by (7/6)^2 = 1.36: -.571 is the greater then."""
    first = jnp.log(jnp.array([[0.46, 0.01, 0.53]]))

    def step(carry, tokens):
        return carry, jnp.broadcast_to(jnp.array([0.0, 0.0, 50.0]), (len(tokens), 3))

    lengths = jax.jit(lambda penalty: beam_search(step, jnp.zeros(1), first, 2, 2, 2, penalty)[1][0, 0])
    assert [int(lengths(penalty)) for penalty in (0.0, 2.0)] == [1, 2]


def test_no_sentence_shows_what_is_forbidden():
    logits = forbid_special(jnp.zeros((1, 6)))
    assert set(np.flatnonzero(np.isinf(logits[0]))) == {PAD, START, UNKNOWN}


@pytest.mark.weekly(unless=["1"])
@pytest.mark.slow(unless=["1"])
@pytest.mark.parametrize("beam_size", [1, 2])
def test_a_sentence_is_written_after_start_up_to_its_end_with_padding_behind(beam_size):
    # UNKNOWN is what each step finds most probable; the next is a countdown from the carry to END.
    def step(left, tokens):
        word = jnp.where(tokens == START, 10, jnp.where(left > 0, 11, END))
        return left - 1, 20.0 * jax.nn.one_hot(word, 12) + 40.0 * jax.nn.one_hot(UNKNOWN, 12)

    tokens, length = generate_sentences(step, jnp.array([2, 3]), 2, 4, beam_size)
    np.testing.assert_array_equal(tokens, [[10, 11, END, PAD], [10, 11, 11, END]])
    np.testing.assert_array_equal(length, [3, 4])


def test_the_nucleus_is_the_fewest_tokens_that_reach_p():
    """.5 + .3 reaches .8, whatever float32 says, and of four equal tokens two reach .5; the first of equals stay."""
    for p, top_p, want in (
        ([0.5, 0.3, 0.1, 0.1], 0.8, [0, 1]),
        ([0.25] * 4, 0.5, [0, 1]),
        ([0.1, 0.1, 0.3, 0.5], 0.81, [0, 2, 3]),
    ):
        left = filter_logits(jnp.log(jnp.array(p)), top_p=top_p)
        assert np.flatnonzero(np.isfinite(left)).tolist() == want
        each = filter_logits(jnp.log(jnp.array([p, p])), top_p=jnp.array([top_p, 1.0]))
        assert np.isfinite(each).sum(1).tolist() == [len(want), 4]
    # Of .1, .4, .2 and .3 the two most probable, or of three those whose shares 4/9 and 3/9 reach .7.
    logits = jnp.log(jnp.array([0.1, 0.4, 0.2, 0.3]))
    limited = (({"top_k": 1}, [1]), ({"top_k": 2}, [1, 3]), ({"top_k": 3, "top_p": 0.7}, [1, 3]))
    for limits, want in (*limited, ({"top_k": 4}, [0, 1, 2, 3])):
        assert np.flatnonzero(np.isfinite(filter_logits(logits, **limits))).tolist() == want


def test_a_sentence_of_a_beam_is_its_best_one(monkeypatch):
    def beam_search(step, carry, logits, **options):
        asked.append((carry, np.isneginf(logits).nonzero()[1].tolist(), options))
        return jnp.array([[[7, END, 5], [8, 8, 8]], [[9, 9, END], [6, 6, 6]]]), jnp.array([[2, 3], [3, 3]]), None

    asked = []
    monkeypatch.setattr(decoding, "beam_search", beam_search)
    tokens, length = generate_sentences(
        lambda carry, tokens: (carry + 1, jnp.zeros((2, 12)) + tokens[:, None]), 3, 2, 3, 4, length_penalty=0.25
    )
    np.testing.assert_array_equal(tokens, [[7, END, PAD], [9, 9, END]])
    np.testing.assert_array_equal(length, [2, 3])
    forbidden = sorted((PAD, START, UNKNOWN))
    options = {"stop_token": END, "beam_size": 4, "max_length": 3, "length_penalty": 0.25}
    assert asked == [(4, [*forbidden, *forbidden], options)]


@pytest.mark.slow(only=["float16"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_tokens_of_half_precision_follow_their_probabilities(dtype):
    """Of 50 equal tokens each is drawn with probability 1 / 50; chi squared of 49 degrees has a deviation of 10."""
    draws = jax.vmap(lambda k: sample_token(k, jnp.zeros(50, dtype)))(jax.random.split(jax.random.key(1), 20000))
    assert np.square(np.bincount(draws, minlength=50) - 400).sum() / 400 < 99
    step = lambda carry, tokens: (carry, jnp.zeros((len(tokens), 50), dtype))  # noqa: E731
    tokens, _ = jax.jit(lambda keys: generate(step, (), jnp.zeros((200, 50), dtype), keys, 100, 0.9))(
        jax.random.split(jax.random.key(2), 200)
    )
    assert np.square(np.bincount(np.ravel(tokens), minlength=50) - 400).sum() / 400 < 99


def test_small_temperatures_take_the_largest_logit():
    logits = jnp.array([-7.0, 3.0, 9.0, 8.0], jnp.float16)
    for temperature in (1e-4, 1e-6, 1e-38, jnp.float32(1e-6)):
        assert int(sample_token(jax.random.key(0), logits, temperature)) == 2
        assert int(jax.jit(sample_token)(jax.random.key(0), logits, temperature)) == 2


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_beam_of_any_type_finds_what_float32_finds(dtype):
    """Logits are multiples of 1 / 4, which all types hold."""
    table = np.random.default_rng(3).integers(-12, 12, (7, 7)) / 4

    run = jax.jit(lambda table: beam_search(lambda c, t: (c, table[t]), jnp.zeros(1), table[:1], 4, 2, stop_token=6))
    tokens, lengths, scores = run(jnp.asarray(table, dtype))
    want = run(jnp.asarray(table, jnp.float32))
    np.testing.assert_array_equal(tokens, want[0])
    np.testing.assert_array_equal(lengths, want[1])
    np.testing.assert_allclose(scores, want[2], rtol=1e-6)


def test_a_step_of_nan_is_told_by_minus_one():
    """The logits of the fourth token are NaN: it and all that follow are -1, in the row alone that reaches it."""

    def step(count, tokens):
        logits = 50.0 * jax.nn.one_hot((tokens + 1) % 5, 5)
        return count + 1, jnp.where((count >= 2)[:, None], jnp.nan, logits)

    first = 50 * jnp.eye(5)[jnp.array([0, 3])]
    for temperature in (0.0, 1.0, jnp.zeros(2)):
        run = jax.jit(lambda t: generate(step, jnp.zeros(2), first, keys(2), 6, t, stop_token=4))
        tokens, lengths = run(temperature)
        np.testing.assert_array_equal(tokens, [[0, 1, 2, -1, -1, -1], [3, 4, 4, 4, 4, 4]])
        np.testing.assert_array_equal(lengths, [4, 2])
    tokens, lengths = generate(step, jnp.zeros(2), first, keys(2), 6, 0)
    np.testing.assert_array_equal(tokens, [[0, 1, 2, -1, -1, -1], [3, 4, 0, -1, -1, -1]])
    for beam_size in (1, 2):
        tokens, _, scores = jax.jit(beam_search, static_argnums=(0, 3, 4, 5))(
            step, jnp.zeros(2), first, 6, beam_size, 4
        )
        np.testing.assert_array_equal(np.asarray(tokens)[0, :, 3:], -1)
        assert np.isnan(scores[0]).all()
        if beam_size == 1:
            np.testing.assert_array_equal(tokens[1, 0], [3, 4, 4, 4, 4, 4])
            assert np.isfinite(scores[1]).all()


def test_a_nucleus_of_one_keeps_all_tokens():
    logits = jnp.array([0.0, -15.0, -16.0])
    for top_p in (1.0, np.float32(1), jnp.float32(1)):
        np.testing.assert_array_equal(filter_logits(logits, top_p=top_p), logits)
        np.testing.assert_array_equal(jax.jit(lambda p: filter_logits(logits, top_p=p))(top_p), logits)
    rows = filter_logits(jnp.stack([logits, logits]), top_p=jnp.array([1.0, 0.5]))
    np.testing.assert_array_equal(rows, [logits, [0, -np.inf, -np.inf]])

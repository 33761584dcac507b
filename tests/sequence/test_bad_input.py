"""Texts, weights and numbers that do not fit: each is named before anything is computed."""

import jax
import numpy as np
import optax
import pytest

from dlcore.sequence import patterns
from dlcore.sequence.bptt import RNNWeights, backward, forward
from dlcore.sequence.char_rnn import chunk_at, next_token_loss
from dlcore.sequence.decoding import (
    beam_search,
    filter_logits,
    forbid_special,
    generate,
    generate_sentences,
    sample_token,
)
from dlcore.sequence.kalman import Filtered, constant_velocity, kalman_filter, kalman_smoother
from dlcore.sequence.language_model import continue_text
from dlcore.sequence.masked_language_model import hide_tokens, two_sided_table_accuracy
from dlcore.sequence.ngram import ngram_loss
from dlcore.sequence.patterns import PatternNet
from dlcore.sequence.seq2seq import matches
from dlcore.sequence.text_classification import pool_features

WEIGHTS = RNNWeights(np.ones((2, 3)), np.ones((3, 3)), np.ones(3))
X, H0, STATES, GRADIENT = np.ones((4, 5, 2)), np.ones((4, 3)), np.ones((4, 6, 3)), np.ones((4, 5, 3))
LOGITS, TOKENS = np.zeros((2, 4), np.float32), np.arange(6) % 3
KEYS = jax.random.split(jax.random.key(0), 2)
SPACE, ESTIMATES = constant_velocity(0.1), (np.ones((3, 4)), np.ones((3, 4, 4)), np.zeros(()))


def drawn(logits=LOGITS, keys=KEYS, max_length=3, temperature=1.0, stop_token=None):
    return generate(None, None, logits, keys, max_length, temperature, stop_token)


def answered(x, pattern, **fields):
    network = PatternNet(3, 0, False, 4, hidden_size=5, **fields)
    return jax.eval_shape(lambda: network.init(jax.random.key(0), x, pattern=pattern))


def fitted(target):
    learner = patterns.learner(model=PatternNet(3, 0, False, 4, hidden_size=5), optimizer=optax.sgd(0.1))
    batch = {"input": X, "target": target, "index": np.arange(4)}
    return jax.eval_shape(lambda: learner.evaluate(learner.init(jax.random.key(0), batch), batch))


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("x=", lambda: forward(WEIGHTS, H0, X[0])),
        ("input_kernel=", lambda: forward(WEIGHTS._replace(input_kernel=np.ones((3, 3))), H0, X)),
        ("h0=", lambda: forward(WEIGHTS, H0[:, :2], X)),
        ("input_kernel=", lambda: backward(WEIGHTS._replace(input_kernel=np.ones((3, 3))), STATES, X, GRADIENT)),
        ("gradient=", lambda: backward(WEIGHTS, STATES, X, GRADIENT[:, :4])),
        ("gradient=", lambda: backward(WEIGHTS, STATES, X, GRADIENT[..., :2])),
        ("states=", lambda: backward(WEIGHTS, STATES[:, 1:], X, GRADIENT)),
        ("no steps", lambda: backward(WEIGHTS, STATES[:, :1], X[:, :0], GRADIENT[:, :0])),
        ("streams=", lambda: chunk_at(TOKENS, 0, 2)),
        ("max_length=0", lambda: drawn(max_length=0)),
        ("logits=", lambda: drawn(logits=LOGITS[0])),
        ("keys=", lambda: drawn(keys=KEYS[:1])),
        ("temperature=-1", lambda: drawn(temperature=-1.0)),
        ("temperature=", lambda: drawn(temperature=np.ones(3))),
        ("stop_token=4", lambda: drawn(stop_token=4)),
        (r"logits\[1, 2\]=nan", lambda: drawn(logits=np.where(np.arange(8).reshape(2, 4) == 6, np.nan, 0))),
        (r"logits\[0, 0\]=inf", lambda: drawn(logits=LOGITS + np.inf)),
        ("logits=", lambda: sample_token(KEYS[0], LOGITS)),
        ("max_length=0", lambda: beam_search(None, None, LOGITS, 0, 2)),
        ("logits=", lambda: beam_search(None, None, LOGITS[0], 3, 2)),
        ("beam_size=0", lambda: beam_search(None, None, LOGITS, 3, 0)),
        ("stop_token=4", lambda: beam_search(None, None, LOGITS, 3, 2, 4)),
        (r"logits\[0, 0\]=nan", lambda: beam_search(None, None, LOGITS * np.nan, 3, 2)),
        (r"train\[2\]=2", lambda: two_sided_table_accuracy(TOKENS, TOKENS % 2, 2)),
        (r"test\[2\]=2", lambda: two_sided_table_accuracy(TOKENS % 2, TOKENS, 2)),
        ("order=-1", lambda: ngram_loss(TOKENS, TOKENS, -1, 3)),
        ("smoothing=-1", lambda: ngram_loss(TOKENS, TOKENS, 1, 3, -1.0)),
        (r"train\[2\]=2", lambda: ngram_loss(TOKENS, TOKENS % 2, 1, 2)),
        (r"test\[2\]=2", lambda: ngram_loss(TOKENS % 2, TOKENS, 1, 2)),
        ("5 steps; allowed: one step for one_to_many", lambda: answered(X, "one_to_many")),
        ("pattern='all_to_all'", lambda: answered(X, "all_to_all")),
        ("one_to_one writes forwards", lambda: answered(X[:, :1], "one_to_one", bidirectional=True)),
        ("cell='ltsm'", lambda: answered(X, "many_to_one", cell="ltsm")),
        ("feedback='none'", lambda: answered(X, "many_to_one", feedback="none")),
        (r"target.shape=\(4, 2\): does not fit the answers; allowed: \(4, 1\)", lambda: fitted(np.zeros((4, 2), int))),
        (r"target.shape=\(4, 1, 2\): does not fit the answers", lambda: fitted(np.zeros((4, 1, 2)))),
        ("top_k=-1", lambda: sample_token(KEYS[0], LOGITS[0], 1.0, -1)),
        (r"logits\[1\]=nan", lambda: sample_token(KEYS[0], np.array([0, np.nan, 1, 2]))),
        (r"logits\[0, 0\]=nan", lambda: filter_logits(LOGITS * np.nan, 2)),
        ("hidden_kernel=", lambda: forward(WEIGHTS._replace(hidden_kernel=np.ones((3, 1))), H0, X)),
        ("bias=", lambda: forward(WEIGHTS._replace(bias=np.ones(1)), H0, X)),
        ("hidden_kernel=", lambda: backward(WEIGHTS._replace(hidden_kernel=np.ones((1, 3))), STATES, X, GRADIENT)),
        ("bias=", lambda: backward(WEIGHTS._replace(bias=np.ones(1)), STATES, X, GRADIENT)),
        ("step=-1", lambda: chunk_at(LOGITS, -1, 2)),
        ("step=0.5", lambda: chunk_at(LOGITS, 0.5, 2)),
        ("tokens=", lambda: next_token_loss(None, None, None, LOGITS)),
        ("nothing to predict", lambda: next_token_loss(None, None, None, TOKENS[:, None])),
        ("size=3", lambda: forbid_special(LOGITS[:, :3])),
        ("batch=0", lambda: generate_sentences(None, None, 0, 3)),
        ("max_length=2.5", lambda: generate_sentences(None, None, 2, 2.5)),
        ("beam_size=0", lambda: generate_sentences(None, None, 2, 3, 0)),
        ("length_penalty=-1", lambda: generate_sentences(None, None, 2, 3, 2, -1.0)),
        ("logits=int32", lambda: sample_token(KEYS[0], np.array([1, 2]), 0.5)),
        (
            r"logits\[1\]: -inf of all",
            lambda: filter_logits(np.where(LOGITS > -1, [[0], [-np.inf]], 0).astype(np.float32)),
        ),
        ("temperature='hot': no number", lambda: sample_token(KEYS[0], LOGITS[0], "hot")),
        ("top_p=None: no number", lambda: filter_logits(LOGITS, 0, None)),
        ("start=3.0: not two deviations", lambda: constant_velocity(0.1, start=3.0)),
        ("covariance: not symmetric", lambda: kalman_filter(SPACE._replace(covariance=np.triu(np.ones((4, 4)))), X[0])),
        (
            "observation_noise: an eigenvalue of -4",
            lambda: kalman_filter(SPACE._replace(observation_noise=np.array([[1, 5], [5, 1]])), X[0]),
        ),
        (r"observations=\[0, 2\]: no steps", lambda: kalman_filter(SPACE, X[0, :0])),
        ("drift='far'", lambda: constant_velocity("far")),
        ("predicted_mean=", lambda: kalman_smoother(SPACE, Filtered(*ESTIMATES[:2], np.ones((3, 2)), *ESTIMATES[1:]))),
        ("lengths=", lambda: continue_text(None, None, TOKENS[None], np.ones(2, int), KEYS, 3)),
        ("max_length=0", lambda: continue_text(None, None, TOKENS[None], np.ones(1, int), KEYS[:1], 0)),
        ("mask_token=2.5", lambda: hide_tokens(KEYS[0], TOKENS, 2.5)),
        ("tokens: none", lambda: hide_tokens(KEYS[0], TOKENS[:0], 3)),
        ("test: 2 tokens", lambda: two_sided_table_accuracy(TOKENS, TOKENS[:2], 3)),
        ("train=", lambda: two_sided_table_accuracy(TOKENS[None], TOKENS, 3)),
        ("order=0.5", lambda: ngram_loss(TOKENS, TOKENS, 0.5, 3)),
        ("size=0", lambda: ngram_loss(TOKENS, TOKENS, 1, 0)),
        ("train: 1 tokens; allowed: above order=1", lambda: ngram_loss(TOKENS[:1], TOKENS, 1, 3)),
        ("target=", lambda: matches(TOKENS[None], np.ones((2, 3), int))),
        ("mask=", lambda: pool_features(X, np.ones((4, 1), bool), "mean")),
        (r"mask\[0\]: a token behind padding", lambda: pool_features(X, np.arange(20).reshape(4, 5) > 0, "last")),
    ],
)
def test_an_argument_that_does_not_fit_is_named(message, call):
    with pytest.raises(ValueError, match=message):
        call()

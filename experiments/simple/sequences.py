"""Simple methods on sequences: counts of n-grams, vectors of words, and linear prediction of sound."""

import itertools

import numpy as np

from dlcore.data.texts import Text
from dlcore.diagnostics.simple_methods import best_classifier
from dlcore.diagnostics.simple_sequences import best_kneser_ney, linear_prediction, word_vectors
from dlcore.ops import mu_law_decode
from experiments.simple.method import SimpleMethod, data_dir, page_splits

__all__ = ["METHODS"]


def _text_loss(text: Text, longest: int) -> float:
    """Measure the nats a character of Kneser-Ney n-grams on a test text."""
    vocabulary, train, valid, test = text.tokens()
    return best_kneser_ney(train, valid, len(vocabulary.characters), longest).loss(test)


def pages_ngrams(seed: int) -> float:
    """Predict the characters of the embedded pages."""
    return _text_loss(Text("pages"), longest=8)


def shakespeare_ngrams(seed: int) -> float:
    """Predict the characters of tiny Shakespeare, counted in its first 80 %."""
    return _text_loss(Text("shakespeare", data_dir()), longest=7)


def shakespeare_more_ngrams(seed: int) -> float:
    """Predict the characters of tiny Shakespeare, counted in its first 88 %."""
    return _text_loss(Text("shakespeare", data_dir(), valid_fraction=0.02, test_fraction=0.1), longest=7)


def topics_word_vectors(seed: int) -> float:
    """Classify lines of topics by vectors of their words, which stand near each other in a text without labels."""
    splits = page_splits("sequence.text_classification", seed=seed)
    size, tokens = len(splits.spec["vocabulary"]), Text("topics").tokens().train
    best, accuracy = 0.0, 0.0
    for dimensions in (8, 16, 32):
        vectors = word_vectors(tokens, size, dimensions)
        features = [
            (np.concatenate([words.mean(1), words.max(1)], 1), part.arrays["label"])
            for part in splits[:3]
            for words in [vectors[part.arrays["text"]]]
        ]
        _, model = best_classifier(features[0], features[1], kinds=("logistic",))
        if (score := model.score(*features[1])) > best:
            best, accuracy = score, model.score(*features[2])
    return accuracy


def tones_linear_prediction(seed: int) -> float:
    """Predict the codes of tones by a line through the samples before, with Student's t around it.

    Taps, forgetting, degrees of freedom, and the scale and floor of the errors are chosen on validation tones.
    """
    from scipy.stats import t as student

    levels, splits = 64, page_splits("generative.wave_net")
    edges = np.arange(levels + 1) - 0.5
    edges = np.interp(edges, np.arange(levels), np.asarray(mu_law_decode(np.arange(levels), levels)))
    edges[0], edges[-1] = -np.inf, np.inf

    def bits(codes, taps, forgetting, choices):
        means, squares = linear_prediction(np.asarray(mu_law_decode(codes, levels)), taps, forgetting)
        width = np.diff(np.clip(edges, -1, 1))[np.abs(means[..., None] - edges[1:-1]).argmin(-1)]
        losses = {}
        for freedom, scale, floor in choices:
            spread = scale * np.sqrt(np.minimum(squares, 1) + (floor * width) ** 2)
            parts = [student.cdf((edges[codes + k] - means) / spread, freedom) for k in (1, 0)]
            probability = (1 - 1e-3) * (parts[0] - parts[1]) + 1e-3 / levels
            losses[taps, forgetting, freedom, scale, floor] = float(-np.log2(probability).mean())
        return losses

    valid, test = splits.valid.arrays["codes"][:60], splits.test.arrays["codes"]
    choices, losses = list(itertools.product((3, 6), (0.5, 0.7, 1.0), (0.2, 0.4))), {}
    for taps, forgetting in itertools.product((16, 32), (0.998, 1.0)):
        losses |= bits(valid, taps, forgetting, choices)
    best = min(losses, key=lambda key: losses[key])
    return bits(test, *best[:2], [best[2:]])[best]


METHODS = [
    SimpleMethod(
        "pages-ngrams",
        ("sequence.char_rnn-pages", "sequence.language_model-pages", "sequence.transformer_xl-pages"),
        "test loss",
        "lower",
        "interpolated Kneser-Ney n-grams",
        pages_ngrams,
    ),
    SimpleMethod(
        "shakespeare-ngrams",
        (
            *(f"shakespeare-{name}" for name in ("lstm", "gru", "rnn", "gpt-4e-3")),
            *(f"shakespeare-{name}" for name in ("transformer-xl", "transformer-xl-128")),
        ),
        "test loss",
        "lower",
        "interpolated Kneser-Ney n-grams",
        shakespeare_ngrams,
    ),
    SimpleMethod(
        "shakespeare-88-ngrams",
        ("shakespeare-gpt", "shakespeare-gpt-long"),
        "test loss",
        "lower",
        "interpolated Kneser-Ney n-grams",
        shakespeare_more_ngrams,
    ),
    SimpleMethod(
        "topics-word-vectors",
        (
            *(f"topics-text-classification{name}" for name in ("", "-head", "-scratch")),
            *(f"topics-text-classification{name}" for name in ("-bert", "-bert-head", "-bert-scratch")),
        ),
        "test accuracy",
        "higher",
        "vectors of words by mutual information and SVD, logistic regression",
        topics_word_vectors,
        seeds=(0, 1, 2),
    ),
    SimpleMethod(
        "tones-linear-prediction",
        ("generative.wave_net-tones",),
        "test bits_per_dim_64_codes",
        "lower",
        "linear prediction fitted again after every sample, Student's t of the running error",
        tones_linear_prediction,
    ),
]

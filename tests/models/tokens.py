"""What the tests of the models of tokens share.

golden, meta, model, variables, inputs = from_golden("hf_gpt2", "gpt2", vocab_size=50)
check_cached(step, cache, tokens, logits)
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.models import create_model, load_torch
from tests.models.parity import check_output, read_golden, weight_rule

_PAIRS = {"encoder_layers": 1, "decoder_layers": 1}
_SIZES = {"vocab_size": 11, "num_heads": 2, "width": 8}
SMALL = {
    "gpt2": {**_SIZES, "window": 8, "num_layers": 1},
    "llama2_7b": {**_SIZES, "window": 8, "num_layers": 1, "num_kv_heads": 1, "mlp_features": 12},
    "bert_base": {**_SIZES, "window": 8, "num_layers": 1, "mlp_features": 12},
    "bart_base": {**_SIZES, **_PAIRS, "window": 8, "mlp_features": 12},
    "t5_small": {**_SIZES, **_PAIRS, "head_features": 3, "mlp_features": 12},
    "vit_gpt2": {**_SIZES, **_PAIRS, "window": 8, "image_size": 8, "patch_size": 4, "mlp_features": 12},
}
"""Fields that leave a model of each class one block."""


def from_golden(file, name, **fields):
    """(golden, meta, model, variables, {name of an input: array}) of a golden of transformers."""
    golden, meta, weights = read_golden(file)
    weights |= {key.removeprefix("const."): golden[key] for key in golden.files if key.startswith("const.")}
    inputs = {key: jnp.asarray(weight_rule().det_input(about)) for key, about in meta["inputs"].items()}
    return golden, meta, create_model(name, **fields), load_torch(name, weights, **fields), inputs


def mean_loss(logits, labels):
    """Cross-entropy, averaged over tokens."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def check_cached(step, cache, tokens, whole, prompt=2):
    """Logits of a prompt in one call, then of a token a call, equal those of all tokens in one call without a cache.

    step: (cache, tokens [B, T]) -> (cache, logits [B, T, V]).
    """
    step, parts = jax.jit(step), []
    ends = [0, prompt, *range(prompt + 1, tokens.shape[1] + 1)]
    for start, end in itertools.pairwise(ends):
        cache, logits = step(cache, tokens[:, start:end])
        parts.append(logits)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=1e-5)
    assert step._cache_size() <= 2, "a program for the prompt and one for every token"


def greedy_without_cache(logits_of, tokens, count):
    """The most probable continuation, by reading the whole sequence anew for each token. tokens: [B, T].

    What is not yet written is zeros, which no token before it sees.
    """
    length = tokens.shape[1]
    tokens = jnp.pad(tokens, ((0, 0), (0, count)))
    for t in range(length, length + count):
        tokens = tokens.at[:, t].set(logits_of(tokens)[:, t - 1].argmax(-1))
    return tokens[:, length:]


def check_encoder_decoder(file, name, start, **fields):
    """The encoder's output, the logits and the loss equal the golden's; the target is shifted behind the token `start`.

    The golden has no mask: every token of the source is seen.
    """
    golden, meta, model, variables, inputs = from_golden(file, name, **fields)
    source, labels = inputs["input_ids"], inputs["labels"]
    tokens = jnp.concatenate([jnp.full((len(labels), 1), start), labels[:, :-1]], 1)

    @jax.jit
    def run(variables, source, tokens):
        memory = model.apply(variables, source, mask=jnp.ones_like(source), method="encode")
        return memory["states"], model.apply(variables, memory, tokens, method="decode")

    states, logits = run(variables, source, tokens)
    check_output(golden, meta, "encoder_last", states)
    check_output(golden, meta, "logits", logits)
    np.testing.assert_allclose(mean_loss(logits, labels), golden["loss"][0], rtol=1e-6)


def reader(model, variables, source, length):
    """(step, cache) for `check_cached` of an encoder-decoder that has read the source."""

    def start(source):
        return model.apply(variables, model.apply(variables, source, method="encode"), length, method="start")

    return lambda carry, x: model.apply(variables, carry, x, method="read"), jax.jit(start)(source)

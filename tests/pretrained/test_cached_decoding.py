"""Cached decoding of published language and vision-language models equals one call on the whole sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.pretrained import from_pretrained
from tests.models.parity import GOLDENS
from tests.pretrained.test_published import read_published

PATTERNS = ("hf_*_for_causal_lm.npz", "hf_*_for_conditional_generation.npz")
FILES = sorted(path.stem for pattern in PATTERNS for path in (GOLDENS / "published").glob(pattern))
FILES.remove("hf_t5_for_conditional_generation")  # an encoder and a decoder, see tests/models
NEW = 3
"""Tokens that are decoded one by one, the last ones of the golden's sequence."""


@pytest.mark.slow(unless=["hf_gemma3_for_conditional_generation"])
@pytest.mark.covers("PT-01", "CP-13", "CP-15")
@pytest.mark.parametrize("name", FILES)
def test_a_prompt_and_single_tokens_give_the_logits_of_the_whole_sequence(name, tmp_path):
    _, _, inputs = read_published(name, tmp_path)
    net = from_pretrained(tmp_path)
    tokens = jnp.asarray(inputs["input_ids"])
    length = tokens.shape[1] - NEW
    whole = {key: value for key, value in inputs.items() if key != "token_type_ids"}
    if (types := inputs.get("token_type_ids")) is not None:
        whole["token_type_ids"] = np.where(np.arange(tokens.shape[1]) < length, types * 0, 1)
    expected = net(**whole)["logits"][:, length - 1 :]
    images = ()
    arrays = {key: jnp.moveaxis(jnp.asarray(inputs[key]), -3, -1) for key in inputs if key == "pixel_values"}
    if net.family.prepare is not None:
        images = (net.family.prepare(net.config, {**inputs, **arrays})["images"],)
    elif arrays:
        images = (arrays["pixel_values"],)

    @jax.jit
    def prefill(variables, tokens, *images):
        lengths = jnp.full(len(tokens), length)
        cache = net.model.init_cache(len(tokens), tokens.shape[1] + 8)
        padded = jnp.pad(tokens[:, :length], ((0, 0), (0, 4)))
        return net.model.apply(variables, padded, lengths, cache, *images, method="prefill")

    cache, logits = prefill(net.variables, tokens, *images)
    step = jax.jit(lambda variables, tokens, cache: net.model.apply(variables, tokens, cache=cache))
    rows = [logits]
    for i in range(length, tokens.shape[1]):
        logits, cache = step(net.variables, tokens[:, i : i + 1], cache)
        rows.append(logits[:, 0])
    np.testing.assert_allclose(jnp.stack(rows, 1), expected, rtol=0, atol=2e-5 * float(expected.std()))

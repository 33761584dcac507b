"""GIT: cached decoding of the published goldens equals one call on the whole sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.pretrained import from_pretrained
from tests.pretrained.test_published import read_published

NEW = 3
"""Tokens that are decoded one by one, the last ones of the golden's sequence."""


@pytest.mark.slow
@pytest.mark.covers("PT-01")
@pytest.mark.parametrize("name", ["hf_git", "hf_git_clip"])
def test_a_prompt_and_single_tokens_give_the_logits_of_the_whole_sequence(name, tmp_path):
    _, _, inputs = read_published(name, tmp_path)
    net = from_pretrained(tmp_path)
    images, tokens = jnp.moveaxis(jnp.asarray(inputs["pixel_values"]), -3, -1), jnp.asarray(inputs["input_ids"])
    expected = np.asarray(net(**inputs)["logits"])[:, -NEW - 1 :]
    length = tokens.shape[1] - NEW
    cache = net.model.init_cache(len(tokens))
    padded, lengths = jnp.pad(tokens[:, :length], ((0, 0), (0, 4))), jnp.full(len(tokens), length)
    cache, logits = net.model.apply(net.variables, padded, lengths, cache, images, method="prefill")
    step = jax.jit(lambda variables, tokens, cache: net.model.apply(variables, tokens, cache=cache))
    rows = [logits]
    for i in range(length, tokens.shape[1]):
        logits, cache = step(net.variables, tokens[:, i : i + 1], cache)
        rows.append(logits[:, 0])
    np.testing.assert_allclose(
        np.stack([np.asarray(row) for row in rows], 1), expected, rtol=0, atol=2e-5 * float(expected.std())
    )

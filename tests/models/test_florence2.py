"""Florence-2: cached decoding of the published golden equals teacher forcing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.pretrained import from_pretrained
from tests.pretrained.test_published import read_published


@pytest.mark.slow
@pytest.mark.covers("CP-16")
def test_single_tokens_give_the_logits_of_the_whole_text(tmp_path):
    _, _, inputs = read_published("hf_florence2", tmp_path)
    net = from_pretrained(tmp_path)
    expected = np.asarray(net(**inputs)["logits"])
    images, tokens = jnp.moveaxis(jnp.asarray(inputs["pixel_values"]), 1, -1), jnp.asarray(inputs["decoder_input_ids"])
    source, mask = jnp.asarray(inputs["input_ids"]), jnp.asarray(inputs["attention_mask"])
    memory = net.model.apply(net.variables, source, False, mask, images, method="encode")
    carry = net.model.apply(net.variables, memory, tokens.shape[1], method="start")
    step = jax.jit(lambda variables, carry, token: net.model.apply(variables, carry, token, method="step"))
    rows = []
    for token in tokens.T:
        carry, logits = step(net.variables, carry, token)
        rows.append(logits)
    np.testing.assert_allclose(jnp.stack(rows, 1), expected, rtol=0, atol=2e-5 * float(expected.std()))

"""Image-to-text models: cached decoding of the published goldens equals teacher forcing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.pretrained import from_pretrained
from tests.models.parity import GOLDENS
from tests.pretrained.test_published import read_published

PATTERNS = ("hf_vision_encoder_decoder_*.npz", "hf_blip_captioning.npz")
FILES = sorted(path.stem for pattern in PATTERNS for path in (GOLDENS / "published").glob(pattern))


@pytest.mark.slow
@pytest.mark.covers("CP-16")
@pytest.mark.parametrize("name", FILES)
def test_single_tokens_give_the_logits_of_the_whole_text(name, tmp_path):
    _, _, inputs = read_published(name, tmp_path)
    net = from_pretrained(tmp_path)
    images, tokens = jnp.moveaxis(jnp.asarray(inputs["pixel_values"]), 1, -1), jnp.asarray(list(inputs.values())[1])
    expected = np.asarray(net.model.apply(net.variables, images, tokens))
    memory = net.model.apply(net.variables, images, method="encode")
    carry = net.model.apply(net.variables, memory, tokens.shape[1], method="start")
    step = jax.jit(lambda variables, carry, token: net.model.apply(variables, carry, token, method="step"))
    rows = []
    for token in tokens.T:
        carry, logits = step(net.variables, carry, token)
        rows.append(logits)
    np.testing.assert_allclose(jnp.stack(rows, 1), expected, rtol=0, atol=2e-5 * float(expected.std()))

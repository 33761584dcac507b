"""The VQ autoencoder with the weights of diffusers: its outputs, its codes and its loss."""

import jax
import numpy as np
import pytest

from dlcore.generative.vq_model import VQModel, from_torch_names
from dlcore.generative.vq_vae import nearest_codes
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule

MODEL = VQModel((16, 16, 3), channels=(8, 16), embedding_dim=3, groups=4)


@pytest.mark.weekly
@pytest.mark.covers("GE-12")
def test_it_equals_the_librarys():
    golden, meta, weights = read_golden("df_vqmodel")
    x = nhwc(np.asarray(weight_rule().det_input(meta["inputs"]["x"])))
    variables, vectors = from_torch_names(MODEL, weights)

    @jax.jit
    def run(x):
        z = MODEL.apply(variables, x, method="encode")
        codes = nearest_codes(z, vectors)
        return z, codes, vectors[codes], MODEL.apply(variables, vectors[codes], method="decode")

    z, codes, q, decoded = run(x)
    np.testing.assert_array_equal(codes.reshape(-1), golden["indices"])
    for name, value in (("latents", z), ("quant", q), ("dec", decoded)):
        check_output(golden, meta, name, nchw(value))
    # Both terms of the loss, beta = 1/4 on the encoder's, have one value: they differ in what they train.
    np.testing.assert_allclose((1 + 0.25) * np.square(q - z).mean(), golden["loss"][0], rtol=1e-5)


def test_a_state_dict_that_does_not_fit_is_named():
    _, _, weights = read_golden("df_vqmodel")
    variables, vectors = from_torch_names(MODEL, weights)
    np.testing.assert_array_equal(vectors, weights["quantize.embedding.weight"])
    kernel = weights["encoder.conv_in.weight"].transpose(2, 3, 1, 0)
    assert sum(np.array_equal(leaf, kernel) for leaf in jax.tree.leaves(variables)) == 1
    with pytest.raises(ValueError, match=r"it has no quantize\.embedding\.weight; allowed: that of a VQModel"):
        from_torch_names(MODEL, {k: v for k, v in weights.items() if "quantize" not in k})
    with pytest.raises(ValueError, match=r"is of shape \(16, 3\); allowed: \[K, 5\]"):
        from_torch_names(VQModel((16, 16, 3), embedding_dim=5), weights)


def test_sides_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match=r"shape=\(7, 8, 1\): sides do not divide; allowed: multiples of 2"):
        _ = VQModel((7, 8, 1)).grid
